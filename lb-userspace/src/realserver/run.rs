//! The commands `up`, `check` and `down` of this host, and how they print.

use std::{
    collections::BTreeSet,
    io::{self, Write as _},
    net::Ipv4Addr,
    process::ExitCode,
};

use serde::Serialize;

use super::{
    Action, Args, Change, CheckArgs, Command, DownArgs, Finding, Mode, RealServerError, Unwrapper,
    UpArgs, Verdict,
    check::check as findings_of,
    host::{Host as _, System},
    observe::choose_interface,
    plan::{Desired, plan},
    setup::{Wanted, desired, set_up, take_down},
    state::{Store, exists, peek},
};
use crate::{netlink::Netlink, sysctl::ProcSys};

/// What `up` has done, or would do.
#[derive(Debug, Serialize)]
pub struct UpReport {
    /// The interface that faces the director.
    pub interface: String,
    /// Who unwraps.
    pub mode: Mode,
    /// Whether an XDP program unwraps because this kernel has no ipip.
    pub no_ipip: bool,
    /// All VIPs that are set up now.
    pub vips: BTreeSet<Ipv4Addr>,
    /// What was changed; nothing if all was as it should be.
    pub changes: Vec<Change>,
    /// Whether nothing was done, only planned.
    pub dry_run: bool,
}

/// What `check` found.
#[derive(Debug, Serialize)]
pub struct CheckReport {
    /// The interface that faces the director.
    pub interface: String,
    /// Who unwraps, or should.
    pub mode: Mode,
    /// The VIPs that were checked.
    pub vips: BTreeSet<Ipv4Addr>,
    /// Whether nothing is wrong.
    pub right: bool,
    /// Line by line.
    pub findings: Vec<Finding>,
}

/// What `down` undid.
#[derive(Debug, Serialize)]
pub struct DownReport {
    /// The interface that faced the director.
    pub interface: String,
    /// The VIPs that were set up.
    pub vips: BTreeSet<Ipv4Addr>,
    /// What was done, in this order.
    pub undone: Vec<Action>,
}

/// Does what the command line says, in the network namespace of the calling thread, and prints the outcome.
///
/// Like [`up`], [`check`] and [`down`] it has to stay on that thread if other threads are in other namespaces: block on it,
/// do not spawn it onto several threads.
///
/// The exit code is 0, or 1 if `check` found something wrong.
pub async fn run(args: Args, unwrapper: &dyn Unwrapper) -> Result<ExitCode, RealServerError> {
    match args.command {
        Command::Up(args) => {
            let report = up(&args, unwrapper).await?;
            print(args.json, &report, up_text)?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Check(args) => {
            let report = check(&args, unwrapper).await?;
            print(args.json, &report, check_text)?;
            Ok(if report.right { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
        Command::Down(args) => {
            let report = down(&args, unwrapper).await?;
            print(args.json, &report, down_text)?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn system(unwrapper: &dyn Unwrapper) -> Result<System<'_>, RealServerError> {
    Ok(System { netlink: Netlink::connect()?, sysctls: &ProcSys, unwrapper })
}

fn require_root() -> Result<(), RealServerError> {
    if nix::unistd::Uid::effective().is_root() { Ok(()) } else { Err(RealServerError::NotRoot) }
}

/// Sets this host up; see [`Command::Up`].
pub async fn up(args: &UpArgs, unwrapper: &dyn Unwrapper) -> Result<UpReport, RealServerError> {
    require_root()?;
    let system = system(unwrapper)?;
    // A second `up` need not name the interface again.
    let before = peek(&args.state_dir)?;
    let interface = match (&args.interface, &before) {
        (None, Some(state)) => state.interface.clone(),
        (named, _) => choose_interface(&system.netlink, named.as_deref()).await?,
    };
    let wanted = Wanted {
        interface: interface.clone(),
        vips: args.vips.iter().copied().collect(),
        xdp: args.xdp,
        generic: args.generic,
    };
    if args.dry_run {
        let desired = desired(&wanted, before.as_ref())?;
        let observed = system.observe(&interface, &desired.vips).await?;
        return Ok(UpReport {
            interface,
            mode: desired.mode,
            no_ipip: false,
            changes: plan(&desired, &observed)?,
            vips: desired.vips,
            dry_run: true,
        });
    }
    let store = Store::open(&args.state_dir)?;
    match set_up(&system, &store, &wanted).await {
        Ok(done) => Ok(UpReport {
            interface,
            mode: done.mode,
            no_ipip: done.fell_back,
            vips: done.vips,
            changes: done.changes,
            dry_run: false,
        }),
        Err(error) => {
            if !exists(&args.state_dir) {
                store.clear()?;
            }
            Err(error)
        }
    }
}

/// Checks this host; see [`Command::Check`].
pub async fn check(
    args: &CheckArgs,
    unwrapper: &dyn Unwrapper,
) -> Result<CheckReport, RealServerError> {
    // The program's pins are root's.
    require_root()?;
    let system = system(unwrapper)?;
    let state = peek(&args.state_dir)?;
    let interface = match (&args.interface, &state) {
        (None, Some(state)) => state.interface.clone(),
        (named, _) => choose_interface(&system.netlink, named.as_deref()).await?,
    };
    let known = state.as_ref().map(|state| state.vips.clone()).unwrap_or_default();
    let vips: BTreeSet<Ipv4Addr> =
        if args.vips.is_empty() { known } else { args.vips.iter().copied().collect() };
    if vips.is_empty() {
        return Err(RealServerError::NoVip);
    }
    let observed = system.observe(&interface, &vips).await?;
    let mode = match &state {
        _ if args.xdp => Mode::Xdp,
        Some(state) => state.mode,
        None if observed.program.is_some() => Mode::Xdp,
        None => Mode::Kernel,
    };
    let desired = Desired { mode, generic: false, vips };
    let mut findings = findings_of(&desired, &observed);
    if state.is_none() {
        findings.push(Finding {
            verdict: Verdict::Note,
            what: format!(
                "not set up by `tunlb realserver up` ({} holds nothing for this host), so `down` undoes nothing",
                args.state_dir.display()
            ),
            remedy: None,
        });
    }
    let right = findings.iter().all(|finding| finding.verdict != Verdict::Wrong);
    Ok(CheckReport { interface, mode, vips: desired.vips, right, findings })
}

/// Undoes `up`; see [`Command::Down`].
pub async fn down(
    args: &DownArgs,
    unwrapper: &dyn Unwrapper,
) -> Result<DownReport, RealServerError> {
    require_root()?;
    if !exists(&args.state_dir) {
        return Err(RealServerError::NotSetUp(args.state_dir.clone()));
    }
    let store = Store::open(&args.state_dir)?;
    let mut state = take_down(&system(unwrapper)?, store).await?;
    state.undo.reverse();
    Ok(DownReport { interface: state.interface, vips: state.vips, undone: state.undo })
}

fn print<T: Serialize>(
    json: bool,
    report: &T,
    text: impl FnOnce(&T) -> String,
) -> Result<(), RealServerError> {
    let text = if json {
        let json = serde_json::to_string_pretty(report).map_err(io::Error::other);
        json.map_err(RealServerError::Output)? + "\n"
    } else {
        text(report)
    };
    match io::stdout().lock().write_all(text.as_bytes()) {
        // Whoever read it has seen enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other.map_err(RealServerError::Output),
    }
}

fn vip_list(vips: &BTreeSet<Ipv4Addr>) -> String {
    vips.iter().map(Ipv4Addr::to_string).collect::<Vec<_>>().join(", ")
}

fn up_text(report: &UpReport) -> String {
    let UpReport { interface, mode, no_ipip, vips, changes, dry_run } = report;
    let mut text = String::new();
    if *no_ipip {
        text += "this kernel offers no tunl0 (no ipip module): an XDP program unwraps instead\n";
    }
    for Change { action, undo: _, why } in changes {
        let tense = if *dry_run { "would " } else { "" };
        text += &format!("{tense}{action}: {why}\n");
    }
    let vips = vip_list(vips);
    text += &match (dry_run, changes.is_empty()) {
        (true, true) => format!("nothing to do on {interface} for {vips} ({mode} mode)\n"),
        (true, false) => format!("nothing was changed on {interface} for {vips} ({mode} mode)\n"),
        (false, true) => format!("{interface} was set up for {vips} already ({mode} mode)\n"),
        (false, false) => format!(
            "{interface} is set up for {vips} ({mode} mode); undo with: tunlb realserver down\n"
        ),
    };
    text
}

fn check_text(report: &CheckReport) -> String {
    let CheckReport { interface, mode, vips, right, findings } = report;
    let mut text = format!("real server for {} on {interface} ({mode} mode)\n", vip_list(vips));
    for finding in findings {
        text += &format!("{finding}\n");
    }
    text += if *right { "all right\n" } else { "not right: see WRONG above\n" };
    text
}

fn down_text(report: &DownReport) -> String {
    let DownReport { interface, vips, undone } = report;
    let mut text = String::new();
    for action in undone {
        text += &format!("{action}\n");
    }
    text += &format!("{interface} is as it was before it served {}\n", vip_list(vips));
    text
}
