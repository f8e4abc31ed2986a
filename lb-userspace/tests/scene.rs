//! Traffic through the whole: many requests over many connections, large bodies each way. Needs
//! root; says so and passes without.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{SocketAddrV4, UdpSocket},
    path::PathBuf,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    thread,
    time::{Duration, Instant},
};

use hyper::body::Bytes;
use lb_userspace::{
    demo::{
        http::{self, Connection},
        interrupt::Interrupt,
        scene::{Options, Scene},
        seed::{self, Host},
        topology::namespace_name,
    },
    netns::Namespace,
};
use nix::sys::signal::Signal;

const SEED: &str = "tcp:192.168.19.100:80";

/// So many seconds, or longer by the factor TUNLB_PATIENCE, which is set where an emulated processor runs the tests.
fn patience(seconds: u64) -> Duration {
    let factor = std::env::var("TUNLB_PATIENCE").ok().and_then(|factor| factor.parse().ok());
    Duration::from_secs(seconds * factor.unwrap_or(1))
}

/// The network with all that runs on it, under a name of its own, with these services.
fn scene(test: &str, services: &str) -> Scene {
    assert!(nix::unistd::geteuid().is_root(), "this test needs root");
    let prefix = format!("t{}-{test}", std::process::id());
    let mut options = Options::seed(&prefix, PathBuf::from(env!("CARGO_BIN_EXE_tunlb")));
    options.services = services.split(' ').map(Options::round_robin).collect();
    let mut scene = Scene::build(options, Interrupt::default()).expect("builds");
    scene.start_director().expect("starts");
    scene
}

/// The body of `GET /bytes/N`, as it has to arrive.
fn pattern(length: usize) -> Vec<u8> {
    (0_u8..251).cycle().take(length).collect()
}

#[test]
fn a_thousand_requests_over_fifty_connections_spread_evenly_and_stay() {
    let scene = scene("many", SEED);
    let answers = scene
        .topology()
        .run_async(Host::Client, || async {
            let mut answers: BTreeMap<_, Vec<String>> = BTreeMap::new();
            let mut connections = Vec::new();
            for _ in 0..50 {
                connections.push(Connection::open(seed::SERVICE).await.expect("connects"));
            }
            // Round after round, so that packets of all connections mix.
            for _ in 0..20 {
                for connection in &mut connections {
                    let answer = connection.request("/", None).await.expect("answers");
                    answers.entry(answer.client).or_default().push(answer.text());
                }
            }
            answers
        })
        .expect("enters");
    assert_eq!(answers.len(), 50);
    let mut connections_of: BTreeMap<&str, usize> = BTreeMap::new();
    for (client, bodies) in &answers {
        assert_eq!(bodies.len(), 20);
        assert!(bodies.iter().all(|body| *body == bodies[0]), "{client} moved: {bodies:?}");
        *connections_of.entry(&bodies[0]).or_default() += 1;
    }
    assert_eq!(connections_of, BTreeMap::from([("web1", 25), ("web2", 25)]));
}

#[test]
fn a_megabyte_goes_each_way_and_comes_whole() {
    let scene = scene("large", SEED);
    const LENGTH: usize = 1 << 20;
    scene
        .topology()
        .run_async(Host::Client, || async {
            // Both real servers.
            for _ in 0..2 {
                let mut connection = Connection::open(seed::SERVICE).await.expect("connects");
                let exchange = async {
                    let path = format!("/bytes/{LENGTH}");
                    let answer = connection.request(&path, None).await.expect("answers");
                    assert!(answer.body == pattern(LENGTH), "{} bytes", answer.body.len());
                    // Full-size packets do not fit with the outer header: the director says so.
                    let body = Bytes::from(pattern(LENGTH));
                    let answer = connection.request("/", Some(body)).await.expect("answers");
                    assert_eq!(answer.text(), LENGTH.to_string());
                };
                tokio::time::timeout(patience(10), exchange).await.expect("in time");
            }
        })
        .expect("enters");
}

#[test]
fn a_director_that_stops_or_is_killed_under_traffic_loses_nothing() {
    let mut scene = scene("restart", SEED);
    let name = namespace_name(scene.topology().prefix(), Host::Client);
    let client = Namespace::open(&name).expect("is there");
    let stop = AtomicBool::new(false);
    let requests = AtomicUsize::new(0);
    let busy = async || {
        let mut old = Vec::new();
        for _ in 0..4 {
            old.push(Connection::open(seed::SERVICE).await.expect("connects"));
        }
        let mut answers = vec![Vec::new(); old.len()];
        while !stop.load(Ordering::SeqCst) {
            // Connections from before keep their real server, and new ones find one.
            for (connection, answers) in old.iter_mut().zip(&mut answers) {
                answers.push(connection.request("/", None).await.expect("answers").text());
            }
            let fresh = http::fetch(seed::SERVICE, patience(5)).await.expect("answers");
            assert_eq!(fresh.status, 200);
            requests.fetch_add(1, Ordering::SeqCst);
        }
        answers
    };
    let progress = || {
        let before = requests.load(Ordering::SeqCst);
        let end = Instant::now() + patience(5);
        while requests.load(Ordering::SeqCst) < before + 20 {
            assert!(Instant::now() < end, "traffic stands still");
            thread::sleep(Duration::from_millis(1));
        }
    };
    // A failure below must end the traffic too: the scope waits for it.
    struct Stop<'a>(&'a AtomicBool);
    impl Drop for Stop<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::SeqCst);
        }
    }
    let answers = thread::scope(|scope| {
        let stopped = Stop(&stop);
        let traffic = scope.spawn(|| client.run_async(busy).expect("enters"));
        for signal in [Signal::SIGTERM, Signal::SIGKILL] {
            progress();
            scene.stop_director(signal).expect("ends");
            progress();
            scene.start_director().expect("starts again");
            progress();
        }
        drop(stopped);
        traffic.join().expect("no request failed")
    });
    for answers in answers {
        assert!(answers.iter().all(|answer| *answer == answers[0]), "moved: {answers:?}");
    }
}

#[test]
fn datagrams_of_a_client_stay_with_one_real_server() {
    let scene = scene("udp", "tcp:192.168.19.100:80 udp:192.168.19.100:7");
    let service = SocketAddrV4::new(seed::VIP, 7);
    let socket = |host, address: SocketAddrV4| {
        let socket = scene.topology().run(host, || UdpSocket::bind(address));
        let socket = socket.expect("enters").expect("binds");
        socket.set_read_timeout(Some(patience(5))).expect("sets a limit");
        socket
    };
    let servers = Host::REAL_SERVERS.map(|host| (host, socket(host, service)));
    thread::scope(|scope| {
        for (host, server) in &servers {
            // Each answers with its name, until one datagram says to stop.
            scope.spawn(move || {
                let mut buffer = [0; 16];
                while let Ok((length, from)) = server.recv_from(&mut buffer) {
                    if &buffer[..length] == b"stop" {
                        break;
                    }
                    server.send_to(host.name().as_bytes(), from).expect("sends");
                }
            });
        }
        let mut answers = Vec::new();
        for port in 5000..5004 {
            let client = socket(Host::Client, SocketAddrV4::new(seed::CLIENT, port));
            let mut own = BTreeSet::new();
            for _ in 0..5 {
                let mut buffer = [0; 16];
                client.send_to(b"who", service).expect("sends");
                let (length, from) = client.recv_from(&mut buffer).expect("answers");
                assert_eq!(from, service.into());
                own.insert(String::from_utf8_lossy(&buffer[..length]).into_owned());
            }
            answers.push(own.into_iter().collect::<Vec<_>>().join("+"));
        }
        for (host, server) in &servers {
            let stop = || UdpSocket::bind("127.0.0.1:0")?.send_to(b"stop", service);
            scene.topology().run(*host, stop).expect("enters").expect("sends");
            let _ = server;
        }
        assert_eq!(answers, ["rs1", "rs2", "rs1", "rs2"]);
    });
}
