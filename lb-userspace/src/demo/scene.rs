//! What runs on the demo's network: real servers, their web servers, the director. For the demo and
//! for the namespace tests.

use std::{
    fs::{self, File},
    io,
    net::{SocketAddr, TcpStream},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::Duration,
};

use nix::sys::signal::Signal;

use super::{
    interrupt::{Interrupt, Interrupted},
    process::Process,
    runtime::{self, Runtime},
    seed::{self, Host},
    topology::{self, Topology},
};
use crate::{
    api::State,
    bpf,
    client::{Client, ClientError},
    netns,
};

/// How long a program may take until it answers.
const READY_WITHIN: Duration = Duration::from_secs(8);

/// What can go wrong.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The directory under /run.
    #[error(transparent)]
    Runtime(#[from] runtime::Error),
    /// The network.
    #[error(transparent)]
    Topology(#[from] topology::Error),
    /// A process in a namespace.
    #[error(transparent)]
    Namespace(#[from] netns::Error),
    /// The user wants to stop.
    #[error(transparent)]
    Interrupted(#[from] Interrupted),
    /// The switch's program, without which nothing that the director sends arrives.
    #[error("cannot attach the program of the director's switch port")]
    Pass(#[source] bpf::BpfError),
    /// The pins of a real server's program cannot be named.
    #[error("cannot tell where a real server pins its program")]
    Pins(#[source] bpf::BpfError),
    /// A command did not do its work.
    #[error("`tunlb {command}` on {host} failed: {said}")]
    Command {
        /// Where.
        host: Host,
        /// Its arguments.
        command: String,
        /// What it wrote to standard error.
        said: String,
    },
    /// A program that should go on running does not, or does not answer.
    #[error("{name} on {host} {what}; it said: {said}")]
    Program {
        /// Where.
        host: Host,
        /// Which.
        name: &'static str,
        /// What is wrong with it.
        what: &'static str,
        /// The end of what it wrote.
        said: String,
    },
    /// The director does not tell its state.
    #[error(transparent)]
    Director(ClientError),
    /// A program's file or process cannot be dealt with.
    #[error("cannot run {name} on {host}")]
    Run {
        /// Where.
        host: Host,
        /// Which.
        name: &'static str,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
}

/// What to build.
#[derive(Debug, Clone)]
pub struct Options {
    /// What the names of namespaces and directories begin with.
    pub prefix: String,
    /// The `tunlb` program.
    pub program: PathBuf,
    /// The services of the director's configuration, in TOML.
    pub services: String,
}

impl Options {
    /// The seed's service, run by `program`.
    #[must_use]
    pub fn seed(prefix: &str, program: PathBuf) -> Self {
        let services = Self::round_robin(&format!("tcp:{}", seed::SERVICE));
        Self { prefix: prefix.to_owned(), program, services }
    }

    /// The configuration of one service with both real servers.
    #[must_use]
    pub fn round_robin(address: &str) -> String {
        let mut service = format!("[[service]]\naddress = \"{address}\"\nscheduler = \"rr\"\n");
        for address in Host::REAL_SERVERS.into_iter().filter_map(Host::address) {
            service.push_str(&format!("\n[[service.server]]\naddress = \"{address}\"\n"));
        }
        service.push('\n');
        service
    }
}

/// The network with everything that runs on it. Dropped, it takes all of it away.
///
/// Fields are dropped in this order: first what ends the processes and removes what they left, then
/// what reaps them, then the network under them.
#[derive(Debug)]
pub struct Scene {
    runtime: Runtime,
    children: Children,
    topology: Topology,
    options: Options,
    interrupt: Interrupt,
}

impl Scene {
    /// Builds the network, sets up the real servers and starts their web servers. The director's
    /// host has its link and no more.
    ///
    /// # Errors
    ///
    /// Whatever step fails; what was made until then is removed.
    pub fn build(options: Options, interrupt: Interrupt) -> Result<Self, Error> {
        let runtime = Runtime::claim(&options.prefix)?;
        interrupt.check()?;
        let topology = Topology::build(&options.prefix)?;
        let mut scene =
            Self { runtime, children: Children::default(), topology, options, interrupt };
        scene.open_switch_to_director()?;
        for host in Host::REAL_SERVERS {
            scene.interrupt.check()?;
            scene.set_up_real_server(host)?;
            scene.start_web_server(host)?;
        }
        for host in Host::REAL_SERVERS {
            scene.await_web_server(host)?;
        }
        Ok(scene)
    }

    /// Starts the director and waits until it balances: attached, and with a next hop for each
    /// real server of this network.
    ///
    /// # Errors
    ///
    /// [`Error::Program`] with what it said if it ends or does not answer.
    pub fn start_director(&mut self) -> Result<(), Error> {
        let config = self.runtime.write("director.toml", &self.config())?;
        let config = config.display().to_string();
        self.start(Host::Director, DIRECTOR, &["director", "--config", &config])?;
        self.await_ready(Host::Director, DIRECTOR, || {
            self.director_state().is_ok_and(|state| balances(&state))
        })
    }

    /// What the director says about itself.
    ///
    /// # Errors
    ///
    /// [`Error::Director`] if it does not run or refuses.
    pub fn director_state(&self) -> Result<State, Error> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|source| Error::Run {
            host: Host::Director,
            name: DIRECTOR,
            source,
        })?;
        let client = Client::new(&self.socket());
        runtime.block_on(client.get("/v1/state")).map_err(Error::Director)
    }

    /// Ends the director with a signal and waits until it has gone. What it pinned stays, and so
    /// does the traffic.
    ///
    /// # Errors
    ///
    /// [`Error::Program`] if it does not end.
    pub fn stop_director(&mut self, signal: Signal) -> Result<(), Error> {
        let Some(process) = self.children.process(DIRECTOR) else {
            return Ok(());
        };
        let sent = process.signal(signal);
        if sent.is_err() || !process.ended_within(READY_WITHIN) {
            return Err(self.program_error(Host::Director, DIRECTOR, "does not end"));
        }
        self.children.reap(DIRECTOR);
        Ok(())
    }

    /// Runs a `tunlb` command on a host to its end.
    ///
    /// # Errors
    ///
    /// [`Error::Namespace`] if it cannot be started, [`Error::Run`] if not be waited for; not if it
    /// fails.
    pub fn tunlb(&self, host: Host, arguments: &[&str]) -> Result<Output, Error> {
        let mut command = Command::new(&self.options.program);
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let child = self.topology.namespace(host).spawn(&mut command)?;
        child.wait_with_output().map_err(|source| Error::Run { host, name: "tunlb", source })
    }

    /// The network.
    #[must_use]
    pub const fn topology(&self) -> &Topology {
        &self.topology
    }

    /// The director's control socket.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.runtime.path("tunlb.sock")
    }

    /// Leaves everything running when this value goes; [`Runtime::remove`] takes it away.
    ///
    /// # Errors
    ///
    /// [`Error::Runtime`]; then it is not kept.
    pub fn keep(&mut self) -> Result<(), Error> {
        self.runtime.keep()?;
        self.topology.keep();
        self.children.keep();
        Ok(())
    }

    /// The director's configuration file.
    fn config(&self) -> String {
        let Self { runtime, options, .. } = self;
        format!(
            "interfaces = [\"{}\"]\nsocket = \"{}\"\npin = \"{}\"\n\n{}",
            Host::Director.interface(),
            self.socket().display(),
            runtime.pins().display(),
            options.services
        )
    }

    /// What XDP sends out of one end of a veth arrives only if the other end has an XDP program
    /// too.
    fn open_switch_to_director(&mut self) -> Result<(), Error> {
        let port = self.topology.switch_port(Host::Director);
        let directory = self.runtime.pins_of("switch");
        self.runtime.record_pins(directory.clone())?;
        self.topology
            .run(Host::Switch, || bpf::pin_pass(Host::Director.name(), port, &directory))?
            .map_err(Error::Pass)
    }

    fn set_up_real_server(&mut self, host: Host) -> Result<(), Error> {
        let state = self.runtime.path(host.name()).display().to_string();
        let pins =
            self.topology.run(host, || bpf::XdpUnwrapper::pin_directory(host.interface()))?;
        self.runtime.record_pins(pins.map_err(Error::Pins)?)?;
        let vip = seed::VIP.to_string();
        let arguments = [
            "realserver",
            "up",
            "--vip",
            &vip,
            "--interface",
            host.interface(),
            "--state-dir",
            &state,
        ];
        let output = self.tunlb(host, &arguments)?;
        if output.status.success() {
            return Ok(());
        }
        Err(Error::Command {
            host,
            command: arguments.join(" "),
            said: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
        })
    }

    fn start_web_server(&mut self, host: Host) -> Result<(), Error> {
        let listen = seed::SERVICE.to_string();
        let body = host.answer().unwrap_or_default();
        self.start(host, web_server(host), &["demo-http", "--listen", &listen, "--body", body])
    }

    fn await_web_server(&self, host: Host) -> Result<(), Error> {
        let namespace = self.topology.namespace(host);
        self.await_ready(host, web_server(host), || {
            // The service's address is the host's own, so this goes over its loopback and past the
            // director.
            namespace
                .run(|| {
                    TcpStream::connect_timeout(
                        &SocketAddr::V4(seed::SERVICE),
                        Duration::from_secs(1),
                    )
                })
                .is_ok_and(|connected| connected.is_ok())
        })
    }

    /// Starts a `tunlb` command that goes on, with its output in a file.
    fn start(&mut self, host: Host, name: &'static str, arguments: &[&str]) -> Result<(), Error> {
        let failed = |source| Error::Run { host, name, source };
        let log = File::create(self.log(name)).map_err(failed)?;
        let mut command = Command::new(&self.options.program);
        command
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(log.try_clone().map_err(failed)?)
            .stderr(log)
            // Ctrl-C is for the demo, which ends its programs in order; and what is kept must
            // outlive its terminal.
            .process_group(0);
        let child = self.topology.namespace(host).spawn(&mut command)?;
        let process = Process::running(name, child.id()).map_err(failed)?;
        self.children.add(process.clone(), child);
        Ok(self.runtime.record(process)?)
    }

    fn await_ready(
        &self,
        host: Host,
        name: &'static str,
        ready: impl Fn() -> bool,
    ) -> Result<(), Error> {
        let alive = || self.children.process(name).is_some_and(Process::alive);
        let answered = self.interrupt.wait_for(READY_WITHIN, || !alive() || ready())?;
        match (alive(), answered) {
            (true, true) => Ok(()),
            (true, false) => Err(self.program_error(host, name, "does not answer")),
            (false, _) => Err(self.program_error(host, name, "has ended")),
        }
    }

    fn program_error(&self, host: Host, name: &'static str, what: &'static str) -> Error {
        Error::Program { host, name, what, said: last_lines(&self.log(name)) }
    }

    fn log(&self, name: &str) -> PathBuf {
        self.runtime.path(&format!("{name}.log"))
    }
}

/// Whether packets for this network's real servers get there.
fn balances(state: &State) -> bool {
    let mut servers = state.services.iter().flat_map(|service| &service.servers);
    state.interfaces.iter().all(|interface| interface.mode.is_some() && interface.problem.is_none())
        && servers.all(|server| {
            server.next_hop.is_some() || Host::real_server_at(server.address).is_none()
        })
}

/// The director's name as a process.
const DIRECTOR: &str = "director";

/// The name of a real server's web server as a process.
const fn web_server(host: Host) -> &'static str {
    match host.answer() {
        Some(name) => name,
        None => "web",
    }
}

/// Child processes, which are killed and reaped when this value goes.
#[derive(Debug, Default)]
struct Children(Vec<(Process, Child)>);

impl Children {
    fn add(&mut self, process: Process, child: Child) {
        self.0.push((process, child));
    }

    fn process(&self, name: &str) -> Option<&Process> {
        let found = self.0.iter().find(|(process, _)| process.name == name);
        found.map(|(process, _)| process)
    }

    fn reap(&mut self, name: &str) {
        self.0.retain_mut(|(process, child)| {
            let ended = process.name == name;
            if ended {
                // It has ended: this only takes the exit status, which nobody asks for.
                let _ = child.wait();
            }
            !ended
        });
    }

    /// Dropping a `Child` leaves the process running.
    fn keep(&mut self) {
        self.0.clear();
    }
}

impl Drop for Children {
    fn drop(&mut self) {
        for (_, child) in &mut self.0 {
            // Both fail only if the process has already ended and been reaped.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// The end of a log, for an error message. The verifier's lines in it can be thousands of
/// characters long.
fn last_lines(log: &Path) -> String {
    const LINES: usize = 10;
    const WIDTH: usize = 160;
    let text = fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<_> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    if lines.is_empty() {
        return "nothing".to_owned();
    }
    let start = lines.len().saturating_sub(LINES);
    let cut = |line: &&str| line.chars().take(WIDTH).collect::<String>();
    lines[start..].iter().map(cut).collect::<Vec<_>>().join("\n")
}
