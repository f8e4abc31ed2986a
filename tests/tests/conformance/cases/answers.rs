//! What no server takes: whether and what the client is told.

use etherparse::IpNumber;

use crate::{
    network,
    packet::{ACK, Packet, RST, SYN},
    script::{Case, Script},
};

/// A SYN and a datagram to a service with this one server, then again.
fn only_server(s: &mut Script, server: std::net::Ipv4Addr) {
    s.tcp_to(server);
    s.udp_to(server);
    for _ in 0..2 {
        s.syns([1]);
        s.send(&s.flow(1).udp(b"a question"));
    }
}

/// A packet of another protocol to a VIP with a TCP service.
fn protocol(s: &mut Script, number: u8, payload: &[u8]) {
    s.tcp("rr", &[1]);
    let mut packet = Packet::new(network::client(1), s.vip, IpNumber(number));
    packet.payload = payload.to_vec();
    s.send(&packet);
}

/// An ICMP message to a VIP with a TCP service.
fn icmp(s: &mut Script, kind: u8, payload: &[u8]) {
    s.tcp("rr", &[1]);
    s.send(&Packet::icmp(network::client(1), s.vip, (kind, 0), [0, 7, 0, 1], payload));
}

pub(crate) const CASES: &[Case] = &[
    ("no server: SYN", |s| {
        s.tcp("rr", &[]);
        s.syns([1]);
    }),
    ("no server: SYN with IP options", |s| {
        s.tcp("rr", &[]);
        s.send(&s.flow(1).syn().options(&[1, 1, 1, 0]));
    }),
    ("no server: SYN with TTL 1", |s| {
        s.tcp("rr", &[]);
        s.send(&s.flow(1).syn().ttl(1));
    }),
    ("no server: UDP", |s| {
        s.udp("rr", &[]);
        s.send(&s.flow(1).udp(b"a question"));
    }),
    ("no server: UDP of 1400 bytes", |s| {
        s.udp("rr", &[]);
        s.send(&s.flow(1).udp_of_length(1400).tos(0xb8));
    }),
    ("no server: ACK and RST", |s| {
        s.tcp("rr", &[]);
        s.segments(s.flow(1), &[ACK, RST]);
    }),
    ("all servers have weight 0: rr", |s| {
        s.tcp("rr", &[0, 0]);
        s.syns([1]);
    }),
    ("all servers have weight 0: wrr", |s| {
        s.tcp("wrr", &[0, 0]);
        s.syns([1]);
    }),
    ("all servers have weight 0: UDP", |s| {
        s.udp("rr", &[0]);
        s.send(&s.flow(1).udp(b"a question"));
    }),
    ("a server with an unreachable route", |s| only_server(s, network::UNREACHABLE)),
    ("a server with a blackhole route", |s| only_server(s, network::BLACKHOLE)),
    ("a server with a prohibiting route", |s| only_server(s, network::PROHIBITED)),
    ("a server without a route", |s| only_server(s, network::NO_ROUTE)),
    ("a server that does not answer ARP", |s| only_server(s, network::SILENT)),
    ("port without a service: SYN", |s| {
        s.tcp("rr", &[1]);
        let mut flow = s.flow(1);
        flow.port = 81;
        s.send(&flow.syn());
    }),
    ("port without a service: ACK and RST", |s| {
        s.tcp("rr", &[1]);
        let mut flow = s.flow(1);
        flow.port = 81;
        s.segments(flow, &[ACK, RST]);
    }),
    ("port without a service: UDP", |s| {
        s.tcp("rr", &[1]);
        s.send(&s.flow(1).udp(b"a question"));
    }),
    ("port without a service: UDP with TTL 1", |s| {
        s.tcp("rr", &[1]);
        s.send(&s.flow(1).udp(b"a question").ttl(1));
    }),
    ("the same port of the other protocol: TCP", |s| {
        s.udp("rr", &[1]);
        s.syns([1]);
    }),
    ("SCTP", |s| protocol(s, 132, &[0x9c, 0x40, 0, 80, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 20])),
    ("GRE", |s| protocol(s, 47, &[0, 0, 8, 0])),
    ("IP in IP", |s| {
        let inner = s.flow(1).tcp(SYN).bytes();
        protocol(s, 4, &inner);
    }),
    ("an unknown protocol", |s| protocol(s, 253, b"experiment")),
    ("echo request", |s| icmp(s, 8, b"is anybody there")),
    ("echo request without payload", |s| icmp(s, 8, b"")),
    ("echo request with TTL 1 and TOS 0xbb", |s| {
        s.tcp("rr", &[1]);
        let request =
            Packet::icmp(network::client(1), s.vip, (8, 0), [0, 7, 0, 1], b"is anybody there");
        s.send(&request.ttl(1).tos(0xbb));
    }),
    ("echo request with IP options", |s| {
        s.tcp("rr", &[1]);
        let request =
            Packet::icmp(network::client(1), s.vip, (8, 0), [0, 7, 0, 1], b"is anybody there");
        s.send(&request.options(&[1, 1, 1, 0]));
    }),
    ("echo request with a wrong checksum", |s| {
        s.tcp("rr", &[1]);
        let mut request =
            Packet::icmp(network::client(1), s.vip, (8, 0), [0, 7, 0, 1], b"is anybody there");
        request.payload[2] ^= 0x55;
        s.send(&request);
    }),
    ("echo request from the VIP", |s| {
        s.tcp("rr", &[1]);
        s.send(&Packet::icmp(s.vip, s.vip, (8, 0), [0, 7, 0, 1], b"it is me"));
    }),
    ("echo request of another code", |s| {
        s.tcp("rr", &[1]);
        s.send(&Packet::icmp(network::client(1), s.vip, (8, 1), [0, 7, 0, 1], b"anybody"));
    }),
    ("echo reply", |s| icmp(s, 0, b"who asked")),
    ("timestamp request", |s| icmp(s, 13, &[0; 12])),
];
