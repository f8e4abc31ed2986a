//! The seed's network with real servers that run, and a director that the test controls. Needs root.

mod director;
mod network;
mod traffic;
mod udp;

use std::{
    env, fs,
    net::SocketAddrV4,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Mutex,
    time::{Duration, Instant},
};

use lb_userspace::{
    bpf::XdpUnwrapper,
    demo::{
        http::{self, Connection},
        interrupt::Interrupt,
        scene::{Options, Scene},
        seed::{self, Host},
    },
};
use tempfile::TempDir;

pub use self::{
    director::{Director, SEED, count, refusal},
    network::XdpProgram,
    traffic::{Progress, Report, under_traffic},
    udp::{EchoServer, ask},
};

/// How long something that should happen at once may take on a busy machine.
pub const SOON: Duration = Duration::from_secs(10);

/// How long one request may take: TCP tries a lost SYN after 1 and 3 seconds.
pub const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// The network, its two real servers with their web servers, and a folder for files.
///
/// Dropped, also by a panic, it takes all of it away: processes, pins, namespaces, files.
pub struct Lab {
    /// Further servers; ended before the network goes.
    servers: Mutex<Vec<Child>>,
    /// Further pin directories.
    pins: Mutex<Vec<PathBuf>>,
    folder: TempDir,
    prefix: String,
    scene: Scene,
}

impl Lab {
    /// Builds the network under a name of its own, so that tests can run side by side.
    ///
    /// # Panics
    ///
    /// If a step fails, and without root.
    #[must_use]
    pub fn new(test: &str) -> Self {
        assert!(nix::unistd::geteuid().is_root(), "this test needs root");
        let prefix = format!("t{}-{test}", std::process::id());
        let options = Options::seed(&prefix, program());
        let scene = Scene::build(options, Interrupt::default()).expect("the network");
        let folder = tempfile::tempdir().expect("a folder");
        Self { servers: Mutex::default(), pins: Mutex::default(), folder, prefix, scene }
    }

    /// What the names of its namespaces and pin directories begin with.
    #[must_use]
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// The network and what runs on it.
    #[must_use]
    pub const fn scene(&self) -> &Scene {
        &self.scene
    }

    /// A file of this test alone.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Runs `work` in a thread on a host.
    ///
    /// # Panics
    ///
    /// If the host's namespace cannot be entered.
    pub fn on<T: Send>(&self, host: Host, work: impl FnOnce() -> T + Send) -> T {
        self.scene.topology().run(host, work).expect("enters the namespace")
    }

    /// Runs a future to its end on a host.
    ///
    /// # Panics
    ///
    /// If the host's namespace cannot be entered.
    pub fn on_async<T, F>(&self, host: Host, work: impl FnOnce() -> F + Send) -> T
    where
        T: Send,
        F: Future<Output = T>,
    {
        self.scene.topology().run_async(host, work).expect("enters the namespace")
    }

    /// One request of the client over a connection of its own: which server answered.
    ///
    /// # Errors
    ///
    /// What the client saw.
    pub fn try_fetch(
        &self,
        service: SocketAddrV4,
        timeout: Duration,
    ) -> Result<String, http::Error> {
        let answer = self.on_async(Host::Client, || http::fetch(service, timeout))?;
        Ok(answer.text())
    }

    /// Which servers answer the next `number` requests of the client to the seed's service, each over
    /// a connection of its own.
    ///
    /// # Panics
    ///
    /// If one is not answered.
    #[must_use]
    pub fn fetch(&self, number: usize) -> Vec<String> {
        let one = |_| self.try_fetch(seed::SERVICE, ANSWER_WITHIN).expect("an answer");
        (0..number).map(one).collect()
    }

    /// Waits until the client gets an answer again.
    ///
    /// # Panics
    ///
    /// If it does not within `limit`.
    pub fn await_answer(&self, limit: Duration) -> String {
        let end = Instant::now() + limit;
        loop {
            match self.try_fetch(seed::SERVICE, Duration::from_millis(250)) {
                Ok(answer) => return answer,
                Err(error) => assert!(Instant::now() < end, "not within {limit:?}: {error}"),
            }
        }
    }

    /// Makes a real server unwrap on another interface, too.
    ///
    /// # Panics
    ///
    /// If `tunlb realserver up` fails.
    pub fn unwrap_on(&self, host: Host, interface: &str) {
        let pins = self.on(host, || XdpUnwrapper::pin_directory(interface)).expect("a name");
        self.pins.lock().expect("no test panicked").push(pins);
        let (vip, state) = (seed::VIP.to_string(), self.path(interface).display().to_string());
        let arguments = [
            "realserver",
            "up",
            "--xdp",
            "--vip",
            &vip,
            "--interface",
            interface,
            "--state-dir",
            &state,
        ];
        let output = self.scene.tunlb(host, &arguments).expect("runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    /// Starts another web server on a host, which answers `body`.
    ///
    /// # Panics
    ///
    /// If it does not listen soon.
    pub fn serve(&self, host: Host, listen: SocketAddrV4, body: &str) {
        let mut command = Command::new(program());
        command
            .args(["demo-http", "--listen", &listen.to_string(), "--body", body])
            .stdin(Stdio::null());
        let child = self.scene.topology().namespace(host).spawn(&mut command).expect("starts");
        self.servers.lock().expect("no test panicked").push(child);
        let connects = || self.on(host, || std::net::TcpStream::connect(listen).is_ok());
        eventually("the web server listens", SOON, connects);
    }

    /// The names in a pin directory, sorted; none if it is not there.
    #[must_use]
    pub fn pins(directory: &Path) -> Vec<String> {
        let entries = fs::read_dir(directory).into_iter().flatten().flatten();
        let mut names: Vec<_> =
            entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        for server in self.servers.get_mut().into_iter().flatten() {
            // Both fail only if it has ended already.
            let _ = server.kill();
            let _ = server.wait();
        }
        for pins in self.pins.get_mut().into_iter().flatten() {
            // Gone if the real server was not set up after all.
            let _ = fs::remove_dir_all(pins);
        }
    }
}

/// A client's connection, and one request over it.
pub struct KeepAlive(Connection);

impl KeepAlive {
    /// Connects to the seed's service from the current namespace.
    ///
    /// # Panics
    ///
    /// If it does not.
    pub async fn open() -> Self {
        let open = Connection::open(seed::SERVICE);
        let opened = tokio::time::timeout(ANSWER_WITHIN, open).await;
        Self(opened.expect("connects in time").expect("connects"))
    }

    /// Which server answers the next request; an error if none does within `timeout`.
    ///
    /// # Errors
    ///
    /// What the client saw.
    pub async fn ask_within(&mut self, timeout: Duration) -> Result<String, String> {
        match tokio::time::timeout(timeout, self.0.request("/", None)).await {
            Ok(Ok(answer)) => Ok(answer.text()),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err(format!("no answer within {timeout:?}")),
        }
    }

    /// Which server answers the next request.
    ///
    /// # Panics
    ///
    /// If none does.
    pub async fn ask(&mut self) -> String {
        self.ask_within(ANSWER_WITHIN).await.expect("an answer")
    }
}

/// The `tunlb` that was built with these tests.
///
/// # Panics
///
/// If it was not.
#[must_use]
pub fn program() -> PathBuf {
    let test = env::current_exe().expect("the test's own path");
    // target/debug/deps/TEST -> target/debug/tunlb
    let folder = test.parent().and_then(Path::parent).expect("the build folder");
    let program = folder.join("tunlb");
    assert!(
        program.exists(),
        "no {}; run `cargo build --workspace` first (`cargo xtask test` does)",
        program.display()
    );
    program
}

/// A port of the seed's VIP.
#[must_use]
pub const fn vip(port: u16) -> SocketAddrV4 {
    SocketAddrV4::new(seed::VIP, port)
}

/// By how much limits of time are longer than on an idle processor: TUNLB_PATIENCE, which is set where an emulated one runs
/// the tests.
fn patience() -> u32 {
    env::var("TUNLB_PATIENCE").ok().and_then(|factor| factor.parse().ok()).unwrap_or(1)
}

/// Waits until something holds.
///
/// # Panics
///
/// If it does not within `limit`.
pub fn eventually(what: &str, limit: Duration, mut holds: impl FnMut() -> bool) {
    let limit = limit * patience();
    let end = Instant::now() + limit;
    while !holds() {
        assert!(Instant::now() < end, "not within {limit:?}: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
