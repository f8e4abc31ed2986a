//! A director whose configuration file, start and end are the test's.

use std::{
    fs::{self, File},
    os::unix::process::CommandExt as _,
    path::PathBuf,
    process::{Child, Command, Output, Stdio},
};

use lb_userspace::{
    api::{State, Stats},
    demo::seed::Host,
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use super::{Lab, SOON, eventually, program};

/// The director of a [`Lab`]. Dropped, it ends the process; the lab removes the pins.
pub struct Director<'lab> {
    lab: &'lab Lab,
    child: Option<Child>,
    /// Its configuration file.
    pub config: PathBuf,
    /// Its socket.
    pub socket: PathBuf,
    /// Its pin directory.
    pub pin: PathBuf,
    log: PathBuf,
}

/// The seed's service.
pub const SEED: &str = "\
# The shop.
[[service]]
address = \"tcp:192.168.19.100:80\" # the VIP
scheduler = \"rr\"

[[service.server]]
address = \"192.168.19.2\" # rack 1

[[service.server]]
address = \"192.168.19.3\" # rack 2
";

impl Lab {
    /// A director for `services`, in TOML; not started yet.
    ///
    /// # Panics
    ///
    /// If its configuration cannot be written.
    #[must_use]
    pub fn director(&self, services: &str) -> Director<'_> {
        let director = Director {
            lab: self,
            child: None,
            config: self.path("director.toml"),
            socket: self.path("director.sock"),
            pin: format!("/sys/fs/bpf/{}", self.prefix()).into(),
            log: self.path("director.log"),
        };
        director.configure(services);
        director
    }

    /// A director for the seed's service, started.
    ///
    /// # Panics
    ///
    /// If it does not become ready.
    #[must_use]
    pub fn seed_director(&self) -> Director<'_> {
        let mut director = self.director(SEED);
        director.start();
        director
    }
}

impl Director<'_> {
    /// Writes its configuration file; a director that runs does not look at it.
    ///
    /// # Panics
    ///
    /// If it cannot be written.
    pub fn configure(&self, services: &str) {
        self.write_config(&format!("{}{services}", self.head("eth0")));
    }

    /// The lines of its configuration before the services. A small flow table, so that it starts
    /// in no time.
    #[must_use]
    pub fn head(&self, interface: &str) -> String {
        format!(
            "interfaces = [\"{interface}\"]\nsocket = \"{}\"\npin = \"{}\"\n\n\
             [tables]\nflows = 16384\n\n",
            self.socket.display(),
            self.pin.display()
        )
    }

    /// Writes its configuration file, the whole of it.
    ///
    /// # Panics
    ///
    /// If it cannot be written.
    pub fn write_config(&self, text: &str) {
        fs::write(&self.config, text).expect("writes");
    }

    /// Its configuration file.
    ///
    /// # Panics
    ///
    /// If it cannot be read.
    #[must_use]
    pub fn config_text(&self) -> String {
        fs::read_to_string(&self.config).expect("reads")
    }

    /// Starts it and waits until it says that it is ready.
    ///
    /// # Panics
    ///
    /// If it does not.
    pub fn start(&mut self) {
        self.start_with(&[]);
    }

    /// The same with further arguments.
    ///
    /// # Panics
    ///
    /// If it does not become ready.
    pub fn start_with(&mut self, arguments: &[&str]) {
        assert!(self.child.is_none(), "it runs already");
        let log = File::create(&self.log).expect("creates");
        let mut command = Command::new(program());
        command
            .args(["director", "--config"])
            .arg(&self.config)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("clones"))
            .stderr(log)
            .process_group(0);
        let namespace = self.lab.scene().topology().namespace(Host::Director);
        self.child = Some(namespace.spawn(&mut command).expect("starts"));
        let log = self.log.clone();
        let said = || fs::read_to_string(&log).unwrap_or_default();
        let mut ended = false;
        eventually("the director is ready", SOON, || {
            ended = self
                .child
                .as_mut()
                .is_some_and(|child| child.try_wait().is_ok_and(|s| s.is_some()));
            ended || said().contains("ready: ")
        });
        assert!(!ended, "the director has ended: {}", said());
    }

    /// Runs it as one that cannot start, to its end.
    ///
    /// # Panics
    ///
    /// If it cannot be run.
    #[must_use]
    pub fn run(&self, arguments: &[&str]) -> Output {
        let config = self.config.display().to_string();
        let mut all = vec!["director", "--config", &config];
        all.extend(arguments);
        self.lab.scene().tunlb(Host::Director, &all).expect("runs")
    }

    /// What it has said since it was started last.
    #[must_use]
    pub fn said(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Whether its process has ended.
    ///
    /// # Panics
    ///
    /// If it cannot be asked.
    pub fn ended(&mut self) -> bool {
        self.child.as_mut().is_none_or(|child| child.try_wait().expect("can be asked").is_some())
    }

    /// Ends it with a signal.
    ///
    /// # Panics
    ///
    /// If it does not end.
    pub fn stop(&mut self, signal: Signal) {
        if let Some(child) = &mut self.child {
            let _ = kill(Pid::from_raw(child.id().cast_signed()), signal);
        }
        eventually("the director ends", SOON, || self.ended());
        self.child = None;
    }

    /// Runs a `tunlb` command on the director's host, with its socket.
    ///
    /// # Panics
    ///
    /// If it cannot be run.
    #[must_use]
    pub fn tunlb(&self, arguments: &[&str]) -> Output {
        let socket = self.socket.display().to_string();
        let mut all = arguments.to_vec();
        all.extend(["--socket", &socket]);
        self.lab.scene().tunlb(Host::Director, &all).expect("runs")
    }

    /// What a command prints.
    ///
    /// # Panics
    ///
    /// If it fails.
    #[track_caller]
    pub fn ok(&self, line: &str) -> String {
        let arguments: Vec<_> = line.split(' ').collect();
        let Output { status, stdout, stderr } = self.tunlb(&arguments);
        let said = String::from_utf8_lossy(&stderr);
        assert!(status.success(), "`{line}`: {said}");
        String::from_utf8(stdout).expect("text")
    }

    /// What a command that the director refuses says.
    ///
    /// # Panics
    ///
    /// If it does not fail with exit code 1 and one line.
    #[track_caller]
    pub fn refused(&self, line: &str) -> String {
        let arguments: Vec<_> = line.split(' ').collect();
        refusal(&self.tunlb(&arguments))
    }

    /// `list --json`.
    ///
    /// # Panics
    ///
    /// If it fails.
    #[must_use]
    #[track_caller]
    pub fn state(&self) -> State {
        serde_json::from_str(&self.ok("list --json")).expect("a state")
    }

    /// `stats --all --json`.
    ///
    /// # Panics
    ///
    /// If it fails.
    #[must_use]
    #[track_caller]
    pub fn stats(&self) -> Stats {
        serde_json::from_str(&self.ok("stats --all --json")).expect("statistics")
    }

    /// What is pinned.
    #[must_use]
    pub fn pins(&self) -> Vec<String> {
        Lab::pins(&self.pin)
    }
}

impl Drop for Director<'_> {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            // Both fail only if it has ended already.
            let _ = child.kill();
            let _ = child.wait();
        }
        if std::thread::panicking() {
            eprintln!("the director said:\n{}", self.said());
        }
    }
}

/// What a command that failed said, in one line.
///
/// # Panics
///
/// If it did not fail with exit code 1, or said anything else.
#[must_use]
#[track_caller]
pub fn refusal(output: &Output) -> String {
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let printed = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{printed}{said}");
    assert_eq!(printed, "");
    let lines: Vec<_> = said.lines().filter(|line| line.starts_with("tunlb: ")).collect();
    let [line] = lines.as_slice() else { panic!("not one line: {said}") };
    (*line).to_owned()
}

/// How often something was counted.
///
/// # Panics
///
/// If there is no such reason.
#[must_use]
pub fn count(stats: &Stats, reason: &str) -> u64 {
    let found = stats.reasons.iter().find(|counted| counted.reason == reason);
    found.unwrap_or_else(|| panic!("no reason {reason}")).count
}
