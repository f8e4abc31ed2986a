//! `tunlb demo` as a user runs it: it succeeds, can be kept and removed, and leaves nothing behind however it ends. Needs root;
//! says so and passes without.

use std::{
    fs,
    path::Path,
    process::{Child, Command, Output, Stdio},
    thread,
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

/// So many seconds, or longer by the factor TUNLB_PATIENCE, which is set where an emulated processor runs the tests.
fn patience(seconds: u64) -> Duration {
    let factor = std::env::var("TUNLB_PATIENCE").ok().and_then(|factor| factor.parse().ok());
    Duration::from_secs(seconds * factor.unwrap_or(1))
}

/// A demo under a name of its own.
struct Demo {
    prefix: String,
}

impl Demo {
    fn new(test: &str) -> Self {
        assert!(nix::unistd::geteuid().is_root(), "this test needs root");
        Self { prefix: format!("t{}-{test}", std::process::id()) }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tunlb"));
        command
            .args(["demo", "--prefix", &self.prefix])
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().expect("runs")
    }

    fn start(&self, arguments: &[&str]) -> Child {
        self.command(arguments).spawn().expect("starts")
    }

    /// Everything of this demo that is there: namespaces, files, pins, processes.
    fn traces(&self) -> Vec<String> {
        let mut traces = Vec::new();
        for directory in ["/run/netns", "/run", "/sys/fs/bpf"] {
            let entries = fs::read_dir(directory).into_iter().flatten().flatten();
            traces.extend(
                entries
                    .filter(|entry| entry.file_name().to_string_lossy().starts_with(&self.prefix))
                    .map(|entry| entry.path().display().to_string()),
            );
        }
        for process in fs::read_dir("/proc").expect("lists").flatten() {
            // A process that ends meanwhile has no command line; nor has a dead one that waits to
            // be reaped.
            let line = fs::read(process.path().join("cmdline")).unwrap_or_default();
            let line = String::from_utf8_lossy(&line).replace('\0', " ");
            if line.contains(&self.prefix) && !line.contains(" demo --prefix ") {
                traces.push(line);
            }
        }
        traces
    }

    fn wait_until(&self, what: &str, happened: impl Fn(&Self) -> bool) {
        let end = Instant::now() + patience(10);
        while !happened(self) {
            assert!(Instant::now() < end, "not in time: {what}");
            thread::sleep(Duration::from_millis(1));
        }
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        // After a failed test; else there is nothing to remove.
        self.run(&["--remove"]);
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn demo_succeeds_and_leaves_nothing() {
    let demo = Demo::new("run");
    let begin = Instant::now();
    let output = demo.command(&[]).env_clear().output().expect("runs");
    assert!(begin.elapsed() < patience(15), "{:?}", begin.elapsed());
    let said = text(&output.stdout);
    assert!(output.status.success(), "{said}{}", text(&output.stderr));
    for part in ["client -> director", "director -> rs1", "rs1 -> client", "outer IP", "inner IP"] {
        assert!(said.contains(part), "{part}: {said}");
    }
    let answers: Vec<_> = said
        .lines()
        .filter(|line| line.contains("GET "))
        .map(|line| &line[line.len() - 4..])
        .collect();
    assert_eq!(answers, ["web1", "web2", "web1", "web2"]);
    assert_eq!(demo.traces(), [""; 0]);
}

#[test]
fn json_is_one_document_that_says_the_same() {
    let demo = Demo::new("json");
    let output = demo.run(&["--json"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).expect("is JSON");
    assert_eq!(report["passed"], true);
    assert_eq!(report["answers"][0]["body"], "web1");
    assert_eq!(report["answers"][1]["body"], "web2");
    assert_eq!(report["way"].as_array().map(Vec::len), Some(3));
    let outer = &report["way"][1]["rows"][1];
    assert_eq!(outer["layer"], "outer IP");
    assert_eq!(outer["source"]["value"], "192.168.19.254");
    assert_eq!(outer["destination"]["value"], "192.168.19.2");
}

#[test]
fn signals_leave_nothing_at_any_moment() {
    let demo = Demo::new("int");
    let netns = |host: &str| format!("/run/netns/{}-{host}", demo.prefix);
    let run = |file: &str| format!("/run/{}/{file}", demo.prefix);
    let moments = [
        (netns("client"), Signal::SIGINT),
        (netns("switch"), Signal::SIGTERM),
        (run("web1.log"), Signal::SIGHUP),
        (run("director.log"), Signal::SIGINT),
        (run("tunlb.sock"), Signal::SIGTERM),
    ];
    for (moment, signal) in moments {
        let child = demo.start(&[]);
        demo.wait_until(&moment, |_| Path::new(&moment).exists());
        let pid = Pid::from_raw(child.id().cast_signed());
        kill(pid, signal).expect("can be signalled");
        let output = child.wait_with_output().expect("ends");
        assert!(!output.status.success(), "{moment}: {}", text(&output.stdout));
        assert!(text(&output.stderr).contains("interrupted"), "{}", text(&output.stderr));
        assert_eq!(demo.traces(), [""; 0], "{moment}");
    }
}

#[test]
fn next_run_removes_what_a_killed_one_left() {
    let demo = Demo::new("kill");
    let socket = format!("/run/{}/tunlb.sock", demo.prefix);
    let mut child = demo.start(&[]);
    demo.wait_until("the director serves", |_| Path::new(&socket).exists());
    child.kill().expect("can be killed");
    child.wait().expect("ends");
    assert!(!demo.traces().is_empty());
    let output = demo.run(&[]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_eq!(demo.traces(), [""; 0]);
}

#[test]
fn kept_demo_runs_on_until_it_is_removed() {
    let demo = Demo::new("keep");
    let output = demo.run(&["--keep"]);
    let said = text(&output.stdout);
    assert!(output.status.success(), "{said}{}", text(&output.stderr));
    assert!(said.contains("demo --remove"), "{said}");
    assert!(!demo.traces().is_empty());

    let again = demo.run(&[]);
    assert!(!again.status.success());
    assert!(text(&again.stderr).contains("tunlb demo --remove"), "{}", text(&again.stderr));

    // It still works: a request of the kind that it tells the user to make.
    let client = format!("/run/netns/{}-client", demo.prefix);
    let namespace = fs::File::open(client).expect("is there");
    let answer = thread::spawn(move || {
        nix::sched::setns(namespace, nix::sched::CloneFlags::CLONE_NEWNET).expect("enters");
        let mut stream = std::net::TcpStream::connect("192.168.19.100:80").expect("connects");
        std::io::Write::write_all(&mut stream, b"GET / HTTP/1.0\r\n\r\n").expect("sends");
        std::io::read_to_string(stream).expect("answers")
    });
    assert!(answer.join().expect("asks").ends_with("web1\n"), "the fifth request is rs1's turn");

    let removed = demo.run(&["--remove"]);
    assert!(removed.status.success(), "{}", text(&removed.stderr));
    assert_eq!(demo.traces(), [""; 0]);
    assert!(text(&demo.run(&["--remove"]).stdout).contains("nothing to remove"));
}

#[test]
fn second_run_at_the_same_time_is_refused() {
    let demo = Demo::new("twice");
    let lock = format!("/run/{}/state.json", demo.prefix);
    let first = demo.start(&[]);
    demo.wait_until("the first has its directory", |_| Path::new(&lock).exists());
    let second = demo.run(&[]);
    assert!(text(&second.stderr).contains("another"), "{}", text(&second.stderr));
    assert!(!second.status.success());
    let first = first.wait_with_output().expect("ends");
    assert!(first.status.success(), "{}", text(&first.stderr));
    assert_eq!(demo.traces(), [""; 0]);
}

#[test]
fn demo_without_root_says_so_and_does_nothing() {
    let demo = Demo::new("user");
    // A copy where every user may go; the build directory may be closed to others.
    let folder = tempfile::tempdir().expect("a folder");
    let program = folder.path().join("tunlb");
    fs::copy(env!("CARGO_BIN_EXE_tunlb"), &program).expect("a copy of the program");
    for path in [folder.path(), &program] {
        let everyone = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        fs::set_permissions(path, everyone).expect("open to all");
    }
    let mut command = Command::new(program);
    command.args(["demo", "--prefix", &demo.prefix]);
    // Group first: after the user has changed it is not allowed any more.
    std::os::unix::process::CommandExt::gid(&mut command, 65534);
    std::os::unix::process::CommandExt::uid(&mut command, 65534);
    let output = command.output().expect("starts as nobody");
    assert!(!output.status.success());
    assert!(text(&output.stderr).contains("sudo"), "{}", text(&output.stderr));
    assert_eq!(demo.traces(), [""; 0]);
}
