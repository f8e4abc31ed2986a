//! Bad input: a clear message with the object and the remedy, exit code 1, and nothing changed.

use std::{
    fs,
    os::unix::{fs::PermissionsExt as _, process::CommandExt as _},
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use lb_userspace::{api::State, demo::seed::Host};
use nix::{
    mount::{MntFlags, MsFlags, mount, umount2},
    sys::signal::Signal,
};
use tests::lab::{Director, Lab, SEED, XdpProgram, program, refusal};

/// The user `nobody`.
const NOBODY: u32 = 65534;

/// What bad input must not change.
#[derive(Debug, PartialEq)]
struct Everything {
    config: Option<String>,
    pins: Vec<String>,
    program: Option<XdpProgram>,
    socket: bool,
    state: Option<State>,
}

impl Everything {
    fn of(lab: &Lab, director: &Director<'_>) -> Self {
        let socket = director.socket.exists();
        Self {
            config: fs::read_to_string(&director.config).ok(),
            pins: director.pins(),
            program: lab.xdp(Host::Director, "eth0"),
            socket,
            state: socket.then(|| director.state()),
        }
    }
}

#[track_caller]
fn assert_says(said: &str, phrases: &[&str]) {
    for phrase in phrases {
        assert!(said.contains(phrase), "`{phrase}` is not in: {said}");
    }
}

/// A service with what is wrong in it.
fn service(rest: &str) -> String {
    format!("{SEED}\n[[service]]\naddress = \"udp:192.168.19.100:7\"\n{rest}")
}

#[test]
fn configuration_that_cannot_be_carried_out_starts_nothing() {
    let lab = Lab::new("config");
    let director = lab.director(SEED);
    let head = director.head("eth0");
    let pin_line = format!("pin = \"{}\"", director.pin.display());
    let elsewhere = format!("pin = \"{}\"", lab.path("pins").display());
    let line = |text: &str, found: &str| {
        let number = text.lines().position(|line| line.contains(found)).expect("is there") + 1;
        format!("director.toml:{number}: ")
    };
    let cases: &[(String, Option<&str>, &[&str])] = &[
        (format!("{head}[[service]\n"), Some("[[service]"), &[]),
        (format!("{head}{SEED}").replace("interfaces = ", "interfaces "), Some("interfaces"), &[]),
        (format!("{head}{}", service("quick = true")), Some("quick"), &["unknown field `quick`"]),
        (format!("mode = \"fast\"\n{head}"), Some("fast"), &["native and generic"]),
        (
            format!("{head}{SEED}\n{}", SEED.replace("# the VIP", "# again")),
            Some("# again"),
            &["service tcp:192.168.19.100:80 stands on line", "merge the two"],
        ),
        (
            format!("{head}{}", SEED.replace("19.3", "19.2")),
            Some("rack 2"),
            &["has server 192.168.19.2 on line", "remove one"],
        ),
        (
            format!("{head}{}", service("[[service.server]]\naddress = \"192.168.19.300\"")),
            Some("192.168.19.300"),
            &["service udp:192.168.19.100:7", "`192.168.19.300`"],
        ),
        (
            format!("{head}{}", service("[[service.server]]\naddress = \"192.168.19.100\"")),
            Some("address = \"192.168.19.100\""),
            &["a real server cannot be the VIP", "server's own address"],
        ),
        (
            format!("{head}{}", SEED.replace("\"rr\"", "\"fastest\"")),
            Some("fastest"),
            &["tcp:192.168.19.100:80", "`fastest`", "rr"],
        ),
        (
            director.head("eth7"),
            None,
            &["no interface eth7 here", "`interfaces` may name: ", "eth0"],
        ),
        (director.head("lo"), None, &["interface lo is not an Ethernet device"]),
        (
            head.replace(&pin_line, &elsewhere),
            None,
            &["cannot use", "must be on a BPF file system", "below /sys/fs/bpf"],
        ),
    ];
    for (text, place, phrases) in cases {
        director.write_config(text);
        let before = Everything::of(&lab, &director);
        let said = refusal(&director.run(&[]));
        assert_says(&said, phrases);
        if let Some(found) = place {
            assert_says(&said, &[&line(text, found)]);
        }
        assert_eq!(Everything::of(&lab, &director), before, "{said}");
        assert_eq!((before.program, before.socket), (None, false));
        assert!(!director.pin.exists(), "{said}: {:?}", director.pins());
    }

    fs::remove_file(&director.config).expect("removes");
    let said = refusal(&director.run(&[]));
    assert_says(&said, &["no configuration at", "director.toml", "interfaces = [\"eth0\"]"]);
    assert_eq!(Everything::of(&lab, &director).config, None);
}

#[test]
fn command_that_cannot_be_carried_out_changes_nothing() {
    let lab = Lab::new("command");
    let mut director = lab.director("");
    let text =
        format!("{}{SEED}", director.head("eth0").replace("[tables]", "[tables]\nservices = 2"));
    director.write_config(&text);
    director.start();
    director.ok("service add udp:192.168.19.100:7");
    let before = Everything::of(&lab, &director);
    let malformed = lab.path("malformed.toml");
    fs::write(&malformed, "interfaces = [\n").expect("writes");
    let moved = lab.path("moved.toml");
    fs::write(&moved, director.config_text().replace("flows = 16384", "flows = 32768"))
        .expect("writes");
    let gone = lab.path("gone.toml");
    fs::write(&gone, director.config_text().replace("[\"eth0\"]", "[\"eth0\", \"eth7\"]"))
        .expect("writes");
    let apply = |path: &Path| format!("apply {}", path.display());
    let cases: &[(String, &[&str])] = &[
        (
            "service add tcp:192.168.19.100:80".into(),
            &["service tcp:192.168.19.100:80 exists already", "`tunlb service edit`"],
        ),
        (
            "service edit tcp:192.168.19.100:81 --scheduler wrr".into(),
            &["no service tcp:192.168.19.100:81", "`tunlb list`"],
        ),
        ("service delete udp:192.168.19.100:80".into(), &["no service udp:192.168.19.100:80"]),
        (
            "service add tcp:192.168.19.101:80".into(),
            &["3 services do not fit", "raise `tables.services` (now 2)"],
        ),
        (
            "server add tcp:192.168.19.100:80 192.168.19.3".into(),
            &["service tcp:192.168.19.100:80 has server 192.168.19.3", "`tunlb server edit`"],
        ),
        (
            "server add tcp:192.168.19.100:81 192.168.19.3".into(),
            &["no service tcp:192.168.19.100:81"],
        ),
        (
            "server edit tcp:192.168.19.100:80 192.168.19.4 --weight 0".into(),
            &["has no server 192.168.19.4", "`tunlb list`"],
        ),
        (
            "server delete udp:192.168.19.100:7 192.168.19.2".into(),
            &["service udp:192.168.19.100:7 has no server 192.168.19.2"],
        ),
        (
            "server add udp:192.168.19.100:7 192.168.19.100".into(),
            &["a real server cannot be the VIP"],
        ),
        (apply(&malformed), &["malformed.toml:"]),
        (apply(&moved), &["`tables` cannot change while the director runs", "`tunlb detach`"]),
        (apply(&gone), &["no interface eth7 here", "eth0"]),
        (apply(&lab.path("none.toml")), &["cannot read", "none.toml"]),
    ];
    for (command, phrases) in cases {
        assert_says(&director.refused(command), phrases);
        assert_eq!(Everything::of(&lab, &director), before, "{command}");
    }
    assert_eq!(lab.fetch(2), ["web1", "web2"]);
}

#[test]
fn second_daemon_is_refused_and_the_first_goes_on() {
    let lab = Lab::new("second");
    let director = lab.seed_director();
    let before = Everything::of(&lab, &director);
    let pid = format!("pid {}", director.state().pid);
    let same = refusal(&director.run(&[]));
    assert_says(&same, &["a director", "already", "director.sock", &pid, "stop it first"]);

    let other_socket = lab.path("other.sock").display().to_string();
    let said = refusal(&director.run(&["--socket", &other_socket]));
    assert_says(
        &said,
        &["another director uses", &director.pin.display().to_string(), &pid, "--pin"],
    );

    // Its own pins, and the same interface.
    let other_pins = format!("{}-second", director.pin.display());
    let said = refusal(&director.run(&["--socket", &other_socket, "--pin", &other_pins]));
    assert_says(&said, &["cannot attach to eth0", "another XDP program is attached", "xdp off"]);
    assert!(!Path::new(&other_pins).exists());

    assert_eq!(Everything::of(&lab, &director), before);
    assert_eq!(lab.fetch(2), ["web1", "web2"]);
}

#[test]
fn pinned_maps_of_another_size_are_not_reused() {
    let lab = Lab::new("layout");
    let mut director = lab.seed_director();
    director.stop(Signal::SIGTERM);
    let text = director.config_text();
    director.write_config(&text.replace("flows = 16384", "flows = 32768"));
    let before = Everything::of(&lab, &director);
    let said = refusal(&director.run(&[]));
    let pin = director.pin.display().to_string();
    assert_says(&said, &["pinned map", &pin, &format!("`tunlb detach --pin {pin}`")]);
    assert_eq!(Everything::of(&lab, &director), before);
    assert_eq!(lab.fetch(2), ["web1", "web2"], "traffic goes on");
    director.write_config(&text);
    director.start();
    assert_eq!(lab.fetch(2), ["web1", "web2"]);
}

/// Runs a copy of `tunlb` where the user nobody can reach it, as that user, on the director's host.
fn as_nobody(lab: &Lab, arguments: &[&str]) -> Output {
    let copy = lab.path("tunlb");
    if !copy.exists() {
        fs::copy(program(), &copy).expect("copies");
        let open = fs::Permissions::from_mode(0o755);
        fs::set_permissions(lab.path(""), open).expect("opens the folder");
    }
    let mut command = Command::new(copy);
    command.args(arguments).uid(NOBODY).gid(NOBODY);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = lab.scene().topology().namespace(Host::Director).spawn(&mut command);
    child.expect("starts").wait_with_output().expect("ends")
}

#[test]
fn whoever_is_not_root_is_told_so() {
    let lab = Lab::new("nobody");
    let mut director = lab.director(SEED);
    let config = director.config.display().to_string();
    let said = refusal(&as_nobody(&lab, &["director", "--config", &config]));
    assert_says(&said, &["the director needs root", "sudo"]);
    assert!(!director.pin.exists());
    let state = lab.path("state").display().to_string();
    let up = ["realserver", "up", "--vip", "192.168.19.100", "--state-dir", &state];
    assert_says(&refusal(&as_nobody(&lab, &up)), &["root"]);

    director.start();
    let before = Everything::of(&lab, &director);
    let (socket, pin) = (director.socket.display().to_string(), director.pin.display().to_string());
    for command in [
        &["list"][..],
        &["stats"],
        &["service", "delete", "tcp:192.168.19.100:80"],
        &["server", "edit", "tcp:192.168.19.100:80", "192.168.19.2", "--weight", "0"],
        &["apply"],
        &["detach"],
    ] {
        let said = refusal(&as_nobody(&lab, &[command, &["--socket", &socket]].concat()));
        assert_says(&said, &["not allowed to connect to", &socket, "run as root"]);
    }
    let own = lab.path("own.sock").display().to_string();
    let said = refusal(&as_nobody(&lab, &["detach", "--socket", &own, "--pin", &pin]));
    assert_says(&said, &["root"]);
    assert_eq!(Everything::of(&lab, &director), before);
    assert_eq!(lab.fetch(2), ["web1", "web2"]);
}

/// As in a container, or under a kernel that does not let this process load programs.
#[test]
fn root_that_may_not_load_programs_is_told_what_is_missing() {
    let lab = Lab::new("bare");
    let director = lab.director(SEED);
    let mut command = Command::new("/usr/bin/setpriv");
    command.args(["--bounding-set=-all", "--inh-caps=-all"]).arg(program());
    command.args(["director", "--config"]).arg(&director.config);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = lab.scene().topology().namespace(Host::Director).spawn(&mut command);
    let said = refusal(&child.expect("starts").wait_with_output().expect("ends"));
    assert_says(&said, &["CAP_BPF"]);
    assert_eq!(lab.xdp(Host::Director, "eth0"), None);
    assert!(!director.pin.exists(), "{:?}", director.pins());
}

/// A file system with room for little.
struct TinyDisk(PathBuf);

impl TinyDisk {
    fn mount(path: PathBuf) -> Self {
        fs::create_dir(&path).expect("creates");
        let options = Some("size=16k");
        mount(Some("tiny"), &path, Some("tmpfs"), MsFlags::empty(), options).expect("mounts");
        Self(path)
    }

    fn fill(&self) {
        while fs::write(self.0.join("more"), vec![0; 1 << 16]).is_ok() {}
    }
}

impl Drop for TinyDisk {
    fn drop(&mut self) {
        // If this fails the folder cannot be removed, which is seen.
        let _ = umount2(&self.0, MntFlags::MNT_DETACH);
    }
}

#[test]
fn change_that_cannot_be_persisted_is_not_made() {
    let lab = Lab::new("full");
    let disk = TinyDisk::mount(lab.path("disk"));
    let mut director = lab.director("");
    director.config = disk.0.join("director.toml");
    director.configure(SEED);
    director.start();
    let before = Everything::of(&lab, &director);
    disk.fill();
    let said = director.refused("server edit tcp:192.168.19.100:80 192.168.19.2 --weight 0");
    assert_says(&said, &["cannot write", "director.toml", "No space left on device"]);
    assert_eq!(Everything::of(&lab, &director), before);
    assert_eq!(lab.fetch(2), ["web1", "web2"]);

    fs::remove_file(disk.0.join("more")).expect("removes");
    director.ok("server edit tcp:192.168.19.100:80 192.168.19.2 --weight 0");
    assert_eq!(lab.fetch(2), ["web2", "web2"]);
    drop(director);
}
