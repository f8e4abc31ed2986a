//! Who answers for a VIP, and that all else passes untouched.

use std::{
    io::{Read, Write},
    net::{IpAddr, Ipv4Addr, SocketAddrV4, TcpListener, TcpStream, UdpSocket},
    thread,
    time::{Duration, Instant},
};

use etherparse::{IcmpEchoHeader, Icmpv4Header, Icmpv4Type, Ipv4HeaderSlice};
use ipnet::IpNet;
use lb_userspace::{
    demo::seed::{self, Host, mac_of},
    plan::Ownership,
};
use socket2::{Domain, Protocol, Socket, Type};
use tests::lab::{Lab, count, eventually, vip};

const SECONDS: Duration = Duration::from_secs(30);
const SILENCE: Duration = Duration::from_millis(300);

/// Pings an address from a host: whether the payload came back.
fn ping(lab: &Lab, from: Host, to: Ipv4Addr) -> bool {
    const PAYLOAD: &[u8] = b"is anybody there";
    let echo = IcmpEchoHeader { id: 77, seq: 1 };
    let header = Icmpv4Header::with_checksum(Icmpv4Type::EchoRequest(echo), PAYLOAD);
    let mut request = header.to_bytes().to_vec();
    request.extend_from_slice(PAYLOAD);
    lab.on(from, || {
        let socket = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::ICMPV4)).expect("opens");
        socket.set_read_timeout(Some(SILENCE)).expect("sets a limit");
        socket.send_to(&request, &SocketAddrV4::new(to, 0).into()).expect("sends");
        let end = Instant::now() + SILENCE;
        while Instant::now() < end {
            let mut buffer = [0; 256];
            let Ok(length) = (&socket).read(&mut buffer) else { return false };
            let packet = &buffer[..length];
            let ip = Ipv4HeaderSlice::from_slice(packet).expect("an IP packet");
            let (reply, payload) =
                Icmpv4Header::from_slice(&packet[ip.slice().len()..]).expect("an ICMP message");
            if reply.icmp_type == Icmpv4Type::EchoReply(echo) {
                assert_eq!(ip.source_addr(), to);
                assert_eq!(payload, PAYLOAD);
                return true;
            }
        }
        false
    })
}

/// The MAC address that the router knows for an address on the servers' side.
fn neighbour(lab: &Lab, address: Ipv4Addr) -> Option<[u8; 6]> {
    let link = lab.index(Host::Router, "eth1");
    let entry = lab
        .network(Host::Router, async |netlink| netlink.neighbour(link, IpAddr::V4(address)).await);
    entry.and_then(|entry| entry.mac)
}

/// Makes the router forget an address, if it knows it.
fn forget(lab: &Lab, address: Ipv4Addr) {
    let link = lab.index(Host::Router, "eth1");
    lab.network(Host::Router, async |netlink| {
        match netlink.delete_neighbour(link, IpAddr::V4(address)).await {
            Err(error) if error.not_found() => Ok(()),
            deleted => deleted,
        }
    });
}

/// Sends back what a peer sends, once.
fn echo_once(listener: TcpListener) -> thread::JoinHandle<()> {
    thread::spawn(move || {
        let (mut peer, _) = listener.accept().expect("accepts");
        let mut bytes = Vec::new();
        peer.read_to_end(&mut bytes).expect("reads");
        peer.write_all(&bytes).expect("writes");
    })
}

/// Sends bytes over TCP and gets them back.
fn exchange(lab: &Lab, to: SocketAddrV4) {
    let sent: Vec<u8> = (0..100_000_u32).map(|n| n.to_le_bytes()[n as usize % 4]).collect();
    let received = lab.on(Host::Client, || {
        let mut stream = TcpStream::connect_timeout(&to.into(), SECONDS).expect("connects");
        stream.set_read_timeout(Some(SECONDS)).expect("sets a limit");
        stream.write_all(&sent).expect("sends");
        stream.shutdown(std::net::Shutdown::Write).expect("ends");
        let mut received = Vec::new();
        stream.read_to_end(&mut received).expect("receives");
        received
    });
    assert!(sent == received, "{} bytes came back", received.len());
}

#[test]
fn owned_vip_answers_without_an_address_on_the_director() {
    let lab = Lab::new("owned");
    assert!(!ping(&lab, Host::Router, seed::VIP), "nobody has it yet");
    forget(&lab, seed::VIP);
    let director = lab.seed_director();
    let addresses = lab.network(Host::Director, async |netlink| netlink.addresses(None).await);
    assert!(addresses.iter().all(|address| address.network.addr() != IpAddr::V4(seed::VIP)));
    assert_eq!(director.state().services[0].vip, Ownership::Owned);

    for host in [Host::Router, Host::Client, Host::Rs2] {
        // A real server has the VIP itself.
        let expected = if host == Host::Rs2 { seed::DIRECTOR } else { seed::VIP };
        assert!(ping(&lab, host, expected), "from {host}");
    }
    assert_eq!(neighbour(&lab, seed::VIP), Some(mac_of(seed::DIRECTOR).0));
    let stats = director.stats();
    assert_eq!(count(&stats, "echo-answered"), 2);
    assert!(count(&stats, "arp-answered") >= 1);

    // When the last service of the VIP goes, so does the answer.
    director.ok("service delete tcp:192.168.19.100:80");
    assert!(!ping(&lab, Host::Router, seed::VIP));
    forget(&lab, seed::VIP);
    assert!(!ping(&lab, Host::Router, seed::VIP));
    assert_eq!(neighbour(&lab, seed::VIP), None);
}

#[test]
fn local_vip_is_answered_by_the_kernel_and_passes_what_no_service_takes() {
    let lab = Lab::new("local");
    let director = lab.seed_director();
    let link = lab.index(Host::Director, "lo");
    let network = IpNet::from(IpAddr::V4(seed::VIP));
    lab.network(Host::Director, async |netlink| netlink.add_address(link, network).await);
    let owner = || director.state().services[0].vip;
    eventually("the VIP is local", SECONDS, || owner() == Ownership::Local);
    assert!(director.ok("list").contains("local"));

    let before = director.stats();
    forget(&lab, seed::VIP);
    assert!(ping(&lab, Host::Router, seed::VIP));
    assert_eq!(neighbour(&lab, seed::VIP), Some(mac_of(seed::DIRECTOR).0));
    let listener = lab.on(Host::Director, || TcpListener::bind(vip(81))).expect("listens");
    let echo = echo_once(listener);
    exchange(&lab, vip(81));
    echo.join().expect("echoes");
    let stats = director.stats();
    assert!(count(&stats, "pass-local-vip") > count(&before, "pass-local-vip"));
    assert_eq!(count(&stats, "echo-answered"), count(&before, "echo-answered"));
    // The service itself is balanced as ever.
    assert_eq!(lab.fetch(2), ["web1", "web2"]);

    lab.network(Host::Director, async |netlink| netlink.delete_address(link, network).await);
    eventually("the VIP is owned", SECONDS, || owner() == Ownership::Owned);
    assert!(ping(&lab, Host::Router, seed::VIP));
    assert_eq!(lab.fetch(2), ["web1", "web2"]);
}

#[test]
fn what_is_not_for_a_vip_passes_untouched() {
    let lab = Lab::new("pass");
    let director = lab.seed_director();
    // To the director itself, also on the service's port.
    for port in [22, 80] {
        let address = SocketAddrV4::new(seed::DIRECTOR, port);
        let echo =
            echo_once(lab.on(Host::Director, || TcpListener::bind(address)).expect("listens"));
        exchange(&lab, address);
        echo.join().expect("echoes");
    }
    assert!(ping(&lab, Host::Client, seed::DIRECTOR));

    // Through the director as a router.
    lab.sysctl(Host::Director, "net/ipv4/ip_forward", "1");
    let route = lab.host_route(Host::Router, "eth1", seed::RS1.into(), seed::DIRECTOR.into());
    lab.network(Host::Router, async |netlink| netlink.add_route(&route).await);
    let before = count(&director.stats(), "pass-not-vip");
    let server = lab.on(Host::Rs1, || UdpSocket::bind((seed::RS1, 9))).expect("binds");
    server.set_read_timeout(Some(SECONDS)).expect("sets a limit");
    let client = lab.on(Host::Client, || UdpSocket::bind((seed::CLIENT, 0))).expect("binds");
    for length in [0, 1, 17, 1472] {
        let sent: Vec<u8> = (0..251).cycle().take(length).collect();
        client.send_to(&sent, (seed::RS1, 9)).expect("sends");
        let mut buffer = [0; 2048];
        let (length, _) = server.recv_from(&mut buffer).expect("arrives");
        assert_eq!(buffer[..length], sent);
    }
    assert!(count(&director.stats(), "pass-not-vip") >= before + 4, "they came through here");
}
