//! The director itself: the daemon with a configuration file, as its users run it.

use std::{
    fmt::Write as _,
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use lb_userspace::{api::State, client::Client, netns::Namespace};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tempfile::TempDir;

use super::{
    lane::{IN, SERVERS, VIPS, server, vip},
    rows::Scheduler,
};

/// How long the daemon may take until all next hops are there; emulated, it takes some seconds.
const READY_WITHIN: Duration = Duration::from_secs(60);

/// A service's scheduler, in the configuration's words.
const fn settings(scheduler: Scheduler) -> &'static str {
    match scheduler {
        Scheduler::RoundRobin => "scheduler = \"rr\"",
        Scheduler::SourceHash => "scheduler = \"sh\"\nscheduler_flags = [\"sh-port\"]",
    }
}

/// A running daemon; dropped, it ends and takes its pins along.
pub(super) struct Daemon {
    child: Child,
    pins: PathBuf,
    folder: TempDir,
}

impl Daemon {
    /// Starts it in a namespace and waits until it balances.
    pub(super) fn start(
        program: &Path,
        director: &Namespace,
        scheduler: Scheduler,
    ) -> Result<Self> {
        let folder = tempfile::tempdir().context("cannot make a folder for the daemon")?;
        let pins = Path::new("/sys/fs/bpf").join(director.name());
        let (config, log) = (folder.path().join("tunlb.toml"), folder.path().join("log"));
        let socket = folder.path().join("socket");
        fs::write(&config, configuration(&socket, &pins, scheduler))?;
        let log = File::create(log)?;
        let mut command = Command::new(program);
        command.args(["director", "--config"]).arg(&config);
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let child = director.spawn(&mut command)?;
        let mut daemon = Self { child, pins, folder };
        daemon.await_ready(&Client::new(&socket))?;
        Ok(daemon)
    }

    fn await_ready(&mut self, client: &Client) -> Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let end = Instant::now() + READY_WITHIN;
        while Instant::now() < end && self.child.try_wait()?.is_none() {
            let state = runtime.block_on(client.get::<State>("/v1/state"));
            if state.is_ok_and(|state| balances(&state)) {
                return Ok(());
            }
            thread::sleep(Duration::from_millis(100));
        }
        let said = fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
        bail!("the director does not balance; it said: {}", said.trim());
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // It fails only if the daemon has ended already.
        let _ = kill(Pid::from_raw(self.child.id().cast_signed()), Signal::SIGTERM);
        let _ = self.child.wait();
        if let Err(error) = fs::remove_dir_all(&self.pins) {
            eprintln!("{} is left behind: {error}", self.pins.display());
        }
    }
}

fn balances(state: &State) -> bool {
    let mut servers = state.services.iter().flat_map(|service| &service.servers);
    state.interfaces.iter().all(|interface| interface.mode.is_some() && interface.problem.is_none())
        && state.services.len() == 2 * VIPS as usize
        && servers.all(|server| server.next_hop.is_some())
}

fn configuration(socket: &Path, pins: &Path, scheduler: Scheduler) -> String {
    let mut text = format!(
        "interfaces = [\"{IN}\"]\nsocket = \"{}\"\npin = \"{}\"\n",
        socket.display(),
        pins.display()
    );
    for number in 0..VIPS {
        for protocol in ["tcp", "udp"] {
            // Writing to a String cannot fail.
            let _ = write!(
                text,
                "\n[[service]]\naddress = \"{protocol}:{}:80\"\n{}\n",
                vip(number),
                settings(scheduler)
            );
            for index in 0..SERVERS {
                let address = server(number, index);
                let _ = writeln!(text, "\n[[service.server]]\naddress = \"{address}\"");
            }
        }
    }
    text
}
