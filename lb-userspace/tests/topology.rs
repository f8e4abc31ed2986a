//! Namespaces and the demo's network: they work, and they leave nothing behind. Needs root; says so
//! and passes without.

use std::{
    net::{SocketAddrV4, UdpSocket},
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use lb_userspace::{
    demo::{
        seed::{self, Host},
        topology::{self, Topology},
    },
    netns::{self, Namespace},
};

/// Names of this test process only, so that parallel runs do not meet.
fn prefix(test: &str) -> String {
    format!("t{}-{test}", std::process::id())
}

fn require_root() {
    assert!(nix::unistd::geteuid().is_root(), "this test needs root");
}

/// The interfaces of the current thread's namespace.
fn interfaces() -> Vec<String> {
    let mut names: Vec<_> = nix::net::if_::if_nameindex()
        .expect("lists interfaces")
        .iter()
        .map(|interface| interface.name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

/// The network namespace of the calling thread. (Not told by its interfaces: the ipip module puts a tunl0 in each.)
fn here() -> String {
    let link = std::fs::read_link("/proc/thread-self/ns/net").expect("reads the link");
    link.to_string_lossy().into_owned()
}

fn mounts_of(name: &str) -> usize {
    std::fs::read_to_string("/proc/self/mountinfo")
        .expect("reads mounts")
        .lines()
        .filter(|line| line.contains(&format!("/netns/{name} ")))
        .count()
}

#[test]
fn namespace_is_separate_and_goes_with_its_value() {
    require_root();
    let name = prefix("ns");
    let namespace = Namespace::create(&name).expect("creates");
    let outside = here();
    let inside = namespace.run(here).expect("enters");
    assert_ne!(inside, outside);
    assert_eq!(here(), outside, "the caller's thread stays where it is");

    let child = namespace
        .spawn(Command::new("readlink").arg("/proc/self/ns/net").stdout(Stdio::piped()))
        .expect("starts");
    let told = child.wait_with_output().expect("ends").stdout;
    assert_eq!(String::from_utf8_lossy(&told).trim(), inside);

    let again = Namespace::create(&name).map(|_| ());
    assert!(matches!(again, Err(netns::Error::Exists(_))), "{again:?}");
    // Two where /run itself is a shared mount, as under systemd.
    assert!(mounts_of(&name) >= 1);
    drop(namespace);
    assert!(!netns::exists(&name));
    assert_eq!(mounts_of(&name), 0);
}

#[test]
fn namespace_goes_on_panic() {
    require_root();
    let name = prefix("panic");
    let result = std::panic::catch_unwind(|| {
        let namespace = Namespace::create(&name).expect("creates");
        namespace.run(|| panic!("on purpose")).expect("enters");
    });
    assert!(result.is_err());
    assert!(!netns::exists(&name));
}

#[test]
fn leftovers_of_a_crash_can_be_removed() {
    require_root();
    let name = prefix("crash");
    let mut namespace = Namespace::create(&name).expect("creates");
    namespace.keep();
    drop(namespace);
    assert!(netns::exists(&name));
    netns::remove(&name).expect("removes");
    assert!(!netns::exists(&name));

    // A crash between making the file and mounting on it.
    std::fs::write(netns::path(&name), "").expect("writes");
    netns::remove(&name).expect("removes");
    assert!(!netns::exists(&name));
    netns::remove(&name).expect("nothing there is no error");
}

#[test]
fn client_and_real_server_reach_each_other_through_the_router() {
    require_root();
    let before = interfaces();
    let prefix = prefix("udp");
    let topology = Topology::build(&prefix).expect("builds");
    let watch = topology.watch().expect("captures");

    let server = topology
        .run(Host::Rs1, || UdpSocket::bind((seed::RS1, 7)))
        .expect("enters")
        .expect("binds");
    let client = topology
        .run(Host::Client, || UdpSocket::bind((seed::CLIENT, 33456)))
        .expect("enters")
        .expect("binds");
    for socket in [&server, &client] {
        socket.set_read_timeout(Some(Duration::from_secs(5))).expect("sets a limit");
    }
    let mut buffer = [0; 16];
    client.send_to(b"ping", (seed::RS1, 7)).expect("sends");
    let (length, from) = server.recv_from(&mut buffer).expect("arrives");
    assert_eq!(
        (&buffer[..length], from),
        (&b"ping"[..], SocketAddrV4::new(seed::CLIENT, 33456).into())
    );
    server.send_to(b"pong", from).expect("sends");
    let (length, from) = client.recv_from(&mut buffer).expect("arrives");
    assert_eq!((&buffer[..length], from), (&b"pong"[..], SocketAddrV4::new(seed::RS1, 7).into()));

    // Client and router see ping and pong on the client's link and on the router's port, rs1 on its
    // own; the director does not.
    let sights = watch.take().expect("captures");
    let seen = |host, sent| {
        sights
            .iter()
            .filter(|sight| (sight.host, sight.sent) == (host, sent))
            // Hosts also speak of themselves now and then, as with IGMP.
            .filter(|sight| sight.frame.ip().is_some_and(|ip| ip.ports.is_some()))
            .map(|sight| (sight.frame.ethernet, sight.frame.ip().map(|ip| ip.ttl)))
            .collect::<Vec<_>>()
    };
    for (host, ttl_sent, ttl_received) in
        [(Host::Client, 64, 63), (Host::Router, 63, 64), (Host::Rs1, 64, 63)]
    {
        let (sent, received) = (seen(host, true), seen(host, false));
        assert_eq!((sent.len(), received.len()), (1, 1), "{host}: {sights:#?}");
        assert_eq!((sent[0].1, received[0].1), (Some(ttl_sent), Some(ttl_received)), "{host}");
    }
    assert_eq!(seen(Host::Rs1, false)[0].0.source, seed::mac_of(seed::ROUTER_INSIDE));
    assert_eq!(seen(Host::Rs1, false)[0].0.destination, seed::mac_of(seed::RS1));
    assert!(seen(Host::Director, true).is_empty() && seen(Host::Director, false).is_empty());

    drop(watch);
    drop(topology);
    assert!(!topology::exists(&prefix));
    assert!(!Path::new(netns::DIRECTORY).join(format!("{prefix}-client")).exists());
    assert_eq!(interfaces(), before);
}
