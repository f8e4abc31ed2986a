//! `bench end-to-end`: packets per second from the clients' side to the real servers' side, tunlb against IPVS.

mod cpu;
pub(super) mod hardware;
pub(super) mod ipvs;
mod lane;
mod report;
mod rows;
mod tunlb;

use std::{
    fs,
    path::Path,
    process::{self, Command},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use lb_userspace::demo::interrupt::Interrupt;

use self::{
    lane::Lane,
    report::Report,
    rows::{Extent, Generator, Load, Pair, Scheduler},
};
use super::{
    host::Host,
    output, pktgen,
    programs::{Inside, Programs},
    traffic::Traffic,
};
use crate::repo::Repo;

/// Measure packets per second through a director, tunlb against IPVS, in a virtual machine.
///
/// The same generator sends the same packets into two hosts with six VIPs of a hundred real servers each: one runs tunlb,
/// one IPVS in Tunnel mode, set up by ipvsadm. Counted is what arrives at the real servers' side. With live frames packets
/// reach the director as a network card's driver hands them over, and that is what the target is about; with pktgen they
/// come from the stack, and veth copies each for XDP. The rounds go back and forth between the two. Emulated, absolute
/// rates mean nothing; ratios within one run do.
///
/// On hardware, this machine only sends; another is the director, with six VIPs, and others the real servers:
///
/// cargo xtask bench end-to-end --interface IF --dst-mac MAC --vip FIRST-VIP --seconds 30
///
/// What arrived is read where it arrives: the receive counters of the real servers' interfaces (`ip -s link`,
/// `ethtool -S IF`) before and after. On the director, `tunlb stats` or `ipvsadm -Ln --stats` say what it forwarded, and
/// `mpstat -P ALL 1` what that took.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// A fast run with few packets: shows that everything works, its numbers mean nothing.
    #[arg(long)]
    quick: bool,

    /// How often to measure every row.
    #[arg(long, default_value_t = 9, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,

    /// How long to measure each engine in each round; with --interface, how long to send.
    #[arg(long, default_value_t = 1.0, value_name = "N", value_parser = seconds)]
    seconds: f64,

    /// How many flows "many" are; a power of two.
    #[arg(long, default_value_t = 65536, value_name = "N", value_parser = power_of_two)]
    flows: u32,

    /// On the kernel that runs here, not in the virtual machine; without ip_vs or pktgen, only what is there.
    #[arg(long)]
    here: bool,

    #[command(flatten)]
    hardware: hardware::Args,

    #[command(flatten)]
    inside: Inside,
}

fn seconds(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(seconds) if (0.1..=3600.0).contains(&seconds) => Ok(seconds),
        _ => Err("it has to be from 0.1 to 3600".to_owned()),
    }
}

/// As many as pktgen has source ports for.
fn power_of_two(text: &str) -> Result<u32, String> {
    match text.parse::<u32>() {
        Ok(count) if count.is_power_of_two() && (2..=1 << 18).contains(&count) => Ok(count),
        _ => Err("it has to be a power of two from 2 to 262144".to_owned()),
    }
}

pub(crate) fn run(repo: &Repo, args: &Args) -> Result<()> {
    let name = "end-to-end";
    if let Some(interface) = &args.hardware.interface {
        root(name)?;
        let time = Duration::from_secs_f64(args.seconds);
        return hardware::run(repo, &args.hardware, interface, time, args.flows);
    }
    if let (Some(path), Some(tunlb)) = (&args.inside.inside, &args.inside.tunlb) {
        let report = measure(repo, args, tunlb, true)?;
        return fs::write(path, serde_json::to_string(&report)?)
            .with_context(|| format!("cannot write {}", path.display()));
    }
    let programs = Programs::find(repo, args.quick, args.inside.tunlb.as_deref())?;
    let report: Report = if args.here {
        root(name)?;
        measure(repo, args, &programs.tunlb, false)?
    } else {
        let mut arguments = vec![
            format!("--rounds={}", args.rounds),
            format!("--seconds={}", args.seconds),
            format!("--flows={}", args.flows),
        ];
        if args.quick {
            arguments.push("--quick".to_owned());
        }
        // Each row, and what opens its flows.
        let limit = Duration::from_secs_f64(900.0 + 60.0 * f64::from(args.rounds) * args.seconds);
        programs.measure_in_vm(repo, name, &arguments, limit)?
    };
    println!("{report}");
    output::write(repo, name, &report, |path| report::draw(path, &report))
}

pub(super) fn root(part: &str) -> Result<()> {
    if crate::machine::is_root() {
        return Ok(());
    }
    bail!(
        "not root: loading XDP programs needs it (sudo -E env PATH=\"$PATH\" cargo xtask bench {part})"
    )
}

/// Lets the kernel's threads that handle soft interrupts go before the generator, which runs on the same CPU. Else an
/// engine that falls behind shares that CPU evenly with a generator of frames for which there is no room any more.
fn give_way() -> Result<()> {
    let own = process::id().to_string();
    crate::process::output(Command::new("renice").args(["-n", "19", "-p", &own])).map(drop)
}

/// Measures on this kernel. `all` is to fail where something cannot be measured.
fn measure(repo: &Repo, args: &Args, tunlb: &Path, all: bool) -> Result<Report> {
    give_way()?;
    let full = !args.quick;
    let extent = Extent {
        rounds: if full { args.rounds } else { 2 },
        time: if full { Duration::from_secs_f64(args.seconds) } else { Duration::from_millis(50) },
        flows: if full { args.flows } else { 1024 },
        // The first one has the machine's interrupts.
        cpu: thread::available_parallelism()?.get() - 1,
        settle: full,
        interrupt: Interrupt::install().context("cannot catch signals")?,
    };
    let mut missing = Vec::new();
    let mut there = |what: &str, loaded: Result<()>| match loaded {
        Ok(()) => Ok(true),
        Err(error) if all => Err(error),
        Err(error) => {
            missing.push(format!("{what}: {error:#}"));
            Ok(false)
        }
    };
    let with_ipvs = there("IPVS", ipvs::load())?;
    let with_pktgen = there("pktgen", pktgen::load())?;
    let name = format!("tunlb-bench-{}", process::id());
    let mut traffic = Traffic::load(repo)?;
    let alone = Lane::build(&format!("{name}-alone"))?;
    let generator_alone = rows::baseline(&mut traffic, &alone, &extent)?;
    drop(alone);
    let mut rows = Vec::new();
    let schedulers = [Scheduler::SourceHash, Scheduler::RoundRobin];
    let loads = [Load::OneFlow, Load::ManyFlows];
    // A quick run shows that each way works, not every combination.
    let (schedulers, loads) =
        if full { (&schedulers[..], &loads[..]) } else { (&schedulers[..1], &loads[1..]) };
    for &scheduler in schedulers {
        // Anew for each, so that no connections of the one before are left in IPVS's table.
        let pair = Pair::build(&name, tunlb, scheduler, with_ipvs)?;
        let mut row = |generator, load| {
            eprintln!("bench: {}", report::name(generator, scheduler, load));
            rows::measure(&mut traffic, &pair, (generator, scheduler, load), &extent)
        };
        for &load in loads {
            rows.push(row(Generator::LiveFrames, load)?);
            if with_pktgen {
                rows.push(row(Generator::Pktgen, load)?);
            }
        }
        // Last: what it leaves in the tables would be in the others' way.
        rows.push(row(Generator::LiveFrames, Load::SynFlood)?);
    }
    Ok(Report {
        quick: args.quick,
        host: Host::this(),
        rounds: extent.rounds,
        seconds: extent.time.as_secs_f64(),
        flows: extent.flows,
        missing,
        generator_alone,
        rows,
    })
}
