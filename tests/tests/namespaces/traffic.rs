//! What passes the director arrives whole, and is counted to the byte.

use std::time::Duration;

use lb_userspace::demo::{
    http::Connection,
    seed::{self, Host},
};
use nix::sys::socket::{getsockopt, sockopt};
use tests::lab::{EchoServer, Lab, SEED, ask, count, vip};

const MEGABYTE: usize = 1 << 20;

/// Sends a megabyte from the client to each real server, one after the other.
fn upload(lab: &Lab) {
    lab.on_async(Host::Client, || async {
        for _ in Host::REAL_SERVERS {
            let exchange = async {
                let mut connection = Connection::open(vip(80)).await.expect("connects");
                connection.request("/", Some(vec![7; MEGABYTE].into())).await.expect("answers")
            };
            let answer = tokio::time::timeout(Duration::from_secs(15), exchange);
            assert_eq!(answer.await.expect("in time").text(), MEGABYTE.to_string());
        }
    });
}

/// What the client's kernel believes: the MTU of the way to the VIP, and the largest segment that
/// the server takes.
fn beliefs(lab: &Lab) -> (i32, u32) {
    lab.on(Host::Client, || {
        let stream = std::net::TcpStream::connect(seed::SERVICE).expect("connects");
        let mtu = getsockopt(&stream, sockopt::IpMtu).expect("an MTU");
        (mtu, getsockopt(&stream, sockopt::TcpMaxSeg).expect("a segment size"))
    })
}

#[test]
fn real_servers_segment_size_makes_room_for_the_outer_header() {
    let lab = Lab::new("mss");
    let director = lab.seed_director();
    upload(&lab);
    let (mtu, segment) = beliefs(&lab);
    assert_eq!(mtu, 1500);
    assert!(segment <= 1500 - 20 - 40, "{segment} with outer and inner headers is beyond 1500");
    let stats = director.stats();
    assert_eq!(count(&stats, "fragmentation-needed"), 0, "nothing was too big");
    assert_eq!(count(&stats, "drop-too-big"), 0);
}

/// Real servers that were set up otherwise, without MSS for the tunnel: the director tells the
/// client about the path instead.
#[test]
fn director_tells_clients_the_mtu_of_the_tunnel() {
    let lab = Lab::new("pmtu");
    for host in Host::REAL_SERVERS {
        let clamped = lab.network(host, async |netlink| {
            let routes = netlink.routes_v4().await?;
            let clamped: Vec<_> =
                routes.into_iter().filter(|route| route.advmss.is_some()).collect();
            for route in &clamped {
                let mut whole = route.clone();
                whole.advmss = None;
                netlink.replace_route(&whole).await?;
            }
            Ok(clamped.len())
        });
        assert!(clamped > 0, "`tunlb realserver up` sets an MSS on {host}");
    }
    let director = lab.seed_director();
    upload(&lab);
    let (mtu, segment) = beliefs(&lab);
    assert_eq!(mtu, 1480, "1500 without the outer header");
    assert!(segment <= 1480 - 40, "{segment}");
    assert!(count(&director.stats(), "fragmentation-needed") > 0);
}

#[test]
fn datagrams_are_counted_to_the_byte_and_stay_with_their_server() {
    let lab = Lab::new("count");
    let _echo = Host::REAL_SERVERS.map(|host| EchoServer::start(&lab, host, 7));
    let udp = SEED.replace("tcp:192.168.19.100:80", "udp:192.168.19.100:7");
    let mut director = lab.director(&format!("{SEED}{udp}"));
    director.start();
    let clients: Vec<_> = (0..6).map(|_| lab.udp_client(7, Duration::from_secs(2))).collect();
    for round in 0..5 {
        for (number, client) in clients.iter().enumerate() {
            let question = format!("{round} of client {number}");
            let expected = ["rs1", "rs2"][number % 2];
            assert_eq!(ask(client, &question).expect("an answer"), expected);
        }
    }
    let stats = director.stats();
    let service = &stats.services[1];
    assert_eq!(service.address.to_string(), "udp:192.168.19.100:7");
    // Header of IP, header of UDP, payload.
    let bytes = 20 + 8 + "0 of client 0".len() as u64;
    let traffic = &service.traffic;
    assert_eq!((traffic.flows, traffic.packets, traffic.bytes), (6, 30, 30 * bytes));
    for server in &service.servers {
        let traffic = &server.traffic;
        assert_eq!((traffic.flows, traffic.packets, traffic.bytes), (3, 15, 15 * bytes));
    }
    assert_eq!(count(&stats, "scheduled"), 6);
    assert_eq!(count(&stats, "forwarded"), 24);
    assert_eq!(stats.services[0].traffic.packets, 0, "the TCP service had none of it");

    // The largest datagram that fits, and one that does not: UDP of the client sets DF, so its
    // kernel learns the MTU and fragments from then on, and fragments are dropped under their name.
    let client = &clients[0];
    let fits = "x".repeat(1480 - 20 - 8);
    assert_eq!(ask(client, &fits).expect("fits"), "rs1");
    ask(client, &format!("{fits}x")).expect_err("does not fit");
    assert_eq!(count(&director.stats(), "fragmentation-needed"), 1);
}
