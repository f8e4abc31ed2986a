//! Ways made by hand, right and wrong.

use etherparse::{Ipv4Header, PacketBuilder, ip_number};

use super::*;

const PORT: u16 = 33456;

fn client() -> SocketAddr {
    SocketAddr::from((seed::CLIENT, PORT))
}

fn ethernet(from: Ipv4Addr, to: Ipv4Addr, packet: &[u8]) -> Vec<u8> {
    let mut bytes = mac_of(to).0.to_vec();
    bytes.extend(mac_of(from).0);
    bytes.extend([8, 0]);
    bytes.extend(packet);
    bytes
}

fn segment(from: (Ipv4Addr, u16), to: (Ipv4Addr, u16), ttl: u8) -> Vec<u8> {
    let mut bytes = Vec::new();
    PacketBuilder::ipv4(from.0.octets(), to.0.octets(), ttl)
        .tcp(from.1, to.1, 1, 1024)
        .write(&mut bytes, b"GET /")
        .expect("writes to memory");
    bytes
}

fn request(ttl: u8) -> Vec<u8> {
    segment((seed::CLIENT, PORT), (seed::VIP, 80), ttl)
}

fn answer(ttl: u8) -> Vec<u8> {
    segment((seed::VIP, 80), (seed::CLIENT, PORT), ttl)
}

fn tunnelled(outer_ttl: u8, server: Ipv4Addr, inner: &[u8]) -> Vec<u8> {
    let length = u16::try_from(inner.len()).expect("short");
    let addresses = (seed::DIRECTOR.octets(), server.octets());
    let header = Ipv4Header::new(length, outer_ttl, ip_number::IPV4, addresses.0, addresses.1);
    let mut header = header.expect("short");
    // As etherparse sets it in the inner header.
    header.dont_fragment = true;
    header.header_checksum = header.calc_header_checksum();
    let mut bytes = Vec::new();
    header.write(&mut bytes).expect("writes to memory");
    bytes.extend(inner);
    bytes
}

fn sight(host: Host, sent: bool, bytes: &[u8]) -> Sight {
    Sight { host, sent, frame: Frame::parse(bytes).expect("a frame") }
}

/// A packet from the client to the director, on to `server`, and the answer past the director.
fn exchange(server: Host) -> Vec<Sight> {
    use seed::{CLIENT, DIRECTOR, ROUTER_INSIDE, ROUTER_OUTSIDE};
    let address = server.address().expect("has one");
    let wrapped = tunnelled(62, address, &request(62));
    vec![
        sight(Host::Client, true, &ethernet(CLIENT, ROUTER_OUTSIDE, &request(64))),
        sight(Host::Director, false, &ethernet(ROUTER_INSIDE, DIRECTOR, &request(63))),
        sight(Host::Director, true, &ethernet(DIRECTOR, address, &wrapped)),
        sight(server, false, &ethernet(DIRECTOR, address, &wrapped)),
        sight(server, true, &ethernet(address, ROUTER_INSIDE, &answer(64))),
        sight(Host::Client, false, &ethernet(ROUTER_OUTSIDE, CLIENT, &answer(63))),
    ]
}

#[test]
fn right_way_has_no_faults_and_gives_the_seeds_tables() {
    let sights = exchange(Host::Rs1);
    let way = Way::of(client(), &sights);
    assert_eq!(way.tunnel_faults(), [""; 0]);
    assert_eq!(way.answer_faults(), [""; 0]);
    let text: Vec<_> = way
        .legs()
        .into_iter()
        .flat_map(|leg| {
            let rows = leg.rows.into_iter().map(|row| {
                let end = |end: End| end.name.map_or(end.value, str::to_owned);
                format!("{}: {} -> {}", row.layer, end(row.source), end(row.destination))
            });
            [leg.title].into_iter().chain(rows).collect::<Vec<_>>()
        })
        .collect();
    assert_eq!(
        text,
        [
            "client -> director",
            "MAC, client's link: client -> router",
            "MAC, director's link: router -> lvs",
            "IP: 192.168.18.250 -> 192.168.19.100",
            "PORT: 33456 -> 80",
            "director -> rs1 (IP in IP)",
            "MAC: lvs -> rs1",
            "outer IP: 192.168.19.254 -> 192.168.19.2",
            "inner IP: 192.168.18.250 -> 192.168.19.100",
            "PORT: 33456 -> 80",
            "rs1 -> client (not through the director)",
            "MAC, server's link: rs1 -> router",
            "MAC, client's link: router -> client",
            "IP: 192.168.19.100 -> 192.168.18.250",
            "PORT: 80 -> 33456",
        ]
    );
}

#[test]
fn other_connections_do_not_count() {
    let sights = exchange(Host::Rs1);
    let way = Way::of(SocketAddr::from((seed::CLIENT, PORT + 1)), &sights);
    assert!(way.legs().is_empty());
    assert!(!way.tunnel_faults().is_empty() && !way.answer_faults().is_empty());
}

/// Replaces what the director sent, and expects one fault that contains `said`.
fn director_sends(packet: &[u8], to: Ipv4Addr, said: &str) {
    let mut sights = exchange(Host::Rs1);
    sights[2] = sight(Host::Director, true, &ethernet(seed::DIRECTOR, to, packet));
    let faults = Way::of(client(), &sights).tunnel_faults();
    assert!(faults.len() == 1 && faults[0].contains(said), "{said}: {faults:?}");
}

#[test]
fn every_wrong_header_is_a_fault() {
    let right = tunnelled(62, seed::RS1, &request(62));
    director_sends(&tunnelled(64, seed::RS1, &request(62)), seed::RS1, "outer TTL");
    director_sends(&right, seed::RS2, "destination MAC");
    director_sends(&request(62), seed::RS1, "outer protocol");
    let mut changed = right.clone();
    *changed.last_mut().expect("not empty") ^= 1;
    director_sends(&changed, seed::RS1, "content");
    let mut checksum = right.clone();
    checksum[10] ^= 1;
    director_sends(&checksum, seed::RS1, "outer checksum");
    let undecremented = tunnelled(63, seed::RS1, &request(63));
    director_sends(&undecremented, seed::RS1, "inner TTL");
}

#[test]
fn lost_packet_is_a_fault() {
    let mut sights = exchange(Host::Rs1);
    sights.remove(2);
    let faults = Way::of(client(), &sights).tunnel_faults();
    assert!(faults[0].contains("1 packets") && faults[0].contains("0 left"), "{faults:?}");
}

#[test]
fn connection_that_moves_is_a_fault() {
    let mut sights = exchange(Host::Rs1);
    sights.extend(exchange(Host::Rs2));
    let way = Way::of(client(), &sights);
    assert!(way.tunnel_faults().iter().any(|fault| fault.contains("moved")));
    assert!(way.answer_faults().iter().any(|fault| fault.contains("rs2 answered")));
}

#[test]
fn answer_on_the_directors_link_is_a_fault() {
    for (sent, from, to) in
        [(false, seed::RS1, seed::DIRECTOR), (true, seed::DIRECTOR, seed::ROUTER_INSIDE)]
    {
        let mut sights = exchange(Host::Rs1);
        sights.push(sight(Host::Director, sent, &ethernet(from, to, &answer(64))));
        let faults = Way::of(client(), &sights).answer_faults();
        assert!(faults[0].contains("crossed the director"), "{faults:?}");
    }
}

#[test]
fn congestion_experienced_is_not_copied_out() {
    // RFC 3168, 9.1.1, full functionality: CE inside is ECT(0) outside; all else is copied.
    assert_eq!([0, 1, 2, 3, 0xb8, 0xbb].map(outer_tos), [0, 1, 2, 2, 0xb8, 0xba]);
}
