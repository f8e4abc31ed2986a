//! `tunlb demo`: the seed's network in namespaces of its own, real requests, proof from the wire.
//!
//! [`topology`] and [`scene`] are also what the namespace tests are built on.

pub mod http;
pub mod interrupt;
mod process;
pub mod report;
pub mod runtime;
pub mod scene;
pub mod seed;
pub mod topology;
pub mod way;

use std::{
    env, io,
    io::Write,
    thread,
    time::{Duration, Instant},
};

use self::{
    interrupt::{Interrupt, Interrupted},
    report::{Answered, Kept, Network, Report},
    runtime::Runtime,
    scene::{Options, Scene},
    seed::Host,
    topology::Watch,
    way::{Check, Sight, Way},
};
use crate::bpf::Mode;

/// What the demo's namespaces and directories are called.
pub const PREFIX: &str = "tunlb-demo";

/// How many requests it makes: enough to come around twice.
const REQUESTS: usize = 4;

/// How long a request may take. Within it TCP tries a lost SYN twice more.
const ANSWER_WITHIN: Duration = Duration::from_secs(4);

/// How long nothing must be seen until all packets of the closed connections count as through.
const QUIET: Duration = Duration::from_millis(30);

/// How long the last packets may be on their way, on a machine that is busy with other things.
const SETTLE_WITHIN: Duration = Duration::from_secs(1);

/// What `tunlb demo` takes.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// Leave the network, the director and the servers running, and print how to enter and remove
    /// them
    #[arg(long, conflicts_with = "remove")]
    pub keep: bool,
    /// Remove what a run with --keep left running
    #[arg(long)]
    pub remove: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// What its namespaces and directories are called, so that tests can run side by side
    #[arg(long, hide = true, default_value = PREFIX, value_parser = valid_prefix)]
    pub prefix: String,
}

/// A prefix becomes part of file names.
fn valid_prefix(prefix: &str) -> Result<String, String> {
    let valid = |c: char| c.is_ascii_alphanumeric() || c == '-';
    if prefix.is_empty() || !prefix.chars().all(valid) {
        return Err("use letters, digits and dashes".to_owned());
    }
    Ok(prefix.to_owned())
}

/// Why the demo did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Not root.
    #[error(
        "the demo makes network namespaces and loads XDP programs, which takes root; run it with sudo"
    )]
    NotRoot,
    /// The program cannot find itself.
    #[error("cannot find the path of this program, which the demo has to start again")]
    Program(#[source] io::Error),
    /// Signals cannot be caught.
    #[error("cannot install signal handlers")]
    Signals(#[source] io::Error),
    /// Output cannot be written.
    #[error("cannot write the report")]
    Output(#[source] io::Error),
    /// The network or what runs on it.
    #[error(transparent)]
    Scene(#[from] scene::Error),
    /// A request failed.
    #[error("request {number} of {REQUESTS} from the client failed")]
    Request {
        /// Which, from 1.
        number: usize,
        /// How.
        #[source]
        source: http::Error,
    },
    /// What was seen is not as it should be.
    #[error("the demo failed: {name}: {seen}")]
    Check {
        /// What has to hold.
        name: &'static str,
        /// What was seen instead.
        seen: String,
    },
}

impl From<Interrupted> for Error {
    fn from(interrupted: Interrupted) -> Self {
        Self::Scene(interrupted.into())
    }
}

impl From<topology::Error> for Error {
    fn from(error: topology::Error) -> Self {
        Self::Scene(error.into())
    }
}

impl From<runtime::Error> for Error {
    fn from(error: runtime::Error) -> Self {
        Self::Scene(error.into())
    }
}

/// Runs the demo, or removes what was kept of it.
///
/// Whatever the outcome, all it made is removed when it returns, unless it is to be kept and all
/// went well.
///
/// # Errors
///
/// [`Error`]: each says what to do or what was seen. The report is printed also if a check in it
/// fails.
pub fn run(args: &Args) -> Result<(), Error> {
    let Args { keep, remove, json, prefix } = args;
    if !nix::unistd::geteuid().is_root() {
        return Err(Error::NotRoot);
    }
    let mut output = io::stdout().lock();
    if *remove {
        let existed = Runtime::remove(prefix)?;
        let said = match (*json, existed) {
            (true, _) => format!("{{\"removed\": {existed}}}"),
            (false, true) => "removed the demo's network and all that ran on it".to_owned(),
            (false, false) => "there was nothing to remove".to_owned(),
        };
        return writeln!(output, "{said}").map_err(Error::Output);
    }
    let interrupt = Interrupt::install().map_err(Error::Signals)?;
    let report = show(prefix, *keep, &interrupt)?;
    if *json { report.write_json(&mut output) } else { write!(output, "{report}") }
        .map_err(Error::Output)?;
    match report.failure() {
        None => Ok(()),
        Some(Check { name, seen, .. }) => Err(Error::Check { name, seen: seen.clone() }),
    }
}

/// Builds it, watches the requests, judges; by the end everything is gone or, if wanted and right,
/// kept.
fn show(prefix: &str, keep: bool, interrupt: &Interrupt) -> Result<Report, Error> {
    let begin = Instant::now();
    let program = env::current_exe().map_err(Error::Program)?;
    let mut remove = format!("{} demo --remove", program.display());
    if prefix != PREFIX {
        remove.push_str(" --prefix ");
        remove.push_str(prefix);
    }
    let mut scene = Scene::build(Options::seed(prefix, program.clone()), interrupt.clone())?;
    scene.start_director()?;
    let mode = scene.director_state()?.interfaces.first().and_then(|interface| interface.mode);
    let watch = scene.topology().watch()?;
    let mut answers = Vec::new();
    for number in 1..=REQUESTS {
        interrupt.check()?;
        let answer = scene
            .topology()
            .run_async(Host::Client, || http::fetch(seed::SERVICE, ANSWER_WITHIN))?
            .map_err(|source| Error::Request { number, source })?;
        answers.push(answer);
    }
    let (sights, mut checks) = settle(&watch, &answers, interrupt)?;
    checks.push(native(mode));
    drop(watch);
    let passed = checks.iter().all(|check| check.passed);
    let kept = (keep && passed).then(|| Kept::of(prefix, &program, &scene.socket(), remove));
    if kept.is_some() {
        scene.keep()?;
    }
    let way =
        answers.first().map_or_else(Vec::new, |answer| Way::of(answer.client, &sights).legs());
    drop(scene);
    Ok(Report {
        topology: Network::of(prefix),
        director_mode: mode,
        way,
        answers: answers
            .iter()
            .map(|answer| Answered {
                client: answer.client.to_string(),
                status: answer.status,
                body: answer.text(),
            })
            .collect(),
        checks,
        passed,
        kept,
        milliseconds: begin.elapsed().as_millis(),
    })
}

/// Generic mode would do the same work, slower; the demo is to show the real thing.
fn native(mode: Option<Mode>) -> Check {
    Check {
        name: "the director runs in the driver",
        passed: mode == Some(Mode::Native),
        seen: mode.map_or_else(|| "not attached".to_owned(), |mode| format!("{mode} XDP")),
    }
}

/// Takes what was seen, until all is as it should be and nothing more comes, or time is up.
fn settle(
    watch: &Watch<'_>,
    answers: &[http::Answer],
    interrupt: &Interrupt,
) -> Result<(Vec<Sight>, Vec<Check>), Error> {
    let end = Instant::now() + SETTLE_WITHIN;
    let mut sights = watch.take()?;
    loop {
        interrupt.check()?;
        thread::sleep(QUIET);
        let later = watch.take()?;
        let quiet = later.is_empty();
        sights.extend(later);
        let checks = judge(answers, &sights);
        let passed = checks.iter().all(|check| check.passed);
        if (quiet && passed) || Instant::now() >= end {
            return Ok((sights, checks));
        }
    }
}

/// Everything that has to hold of the answers and of what was seen on the wire.
fn judge(answers: &[http::Answer], sights: &[Sight]) -> Vec<Check> {
    let ways: Vec<_> = answers.iter().map(|answer| Way::of(answer.client, sights)).collect();
    let (tunnelled, received) =
        ways.iter().map(Way::counts).fold((0, 0), |sum, (to, from)| (sum.0 + to, sum.1 + from));
    let expected = (0..REQUESTS).map(|turn| Host::REAL_SERVERS[turn % 2].answer());
    let came: Vec<_> = answers.iter().map(http::Answer::text).collect();
    let alternate = answers.iter().all(|answer| answer.status == 200)
        && came.iter().map(|body| Some(body.as_str())).eq(expected);
    vec![
        Check { name: "the answers alternate", passed: alternate, seen: came.join(", ") },
        Check::from_faults(
            "every packet of the client leaves the director once, in a right outer header",
            &ways.iter().flat_map(Way::tunnel_faults).collect::<Vec<_>>(),
            format!("{tunnelled} packets"),
        ),
        Check::from_faults(
            "no answer crosses the director",
            &ways.iter().flat_map(Way::answer_faults).collect::<Vec<_>>(),
            format!("{received} packets went from the real servers to the client directly"),
        ),
    ]
}
