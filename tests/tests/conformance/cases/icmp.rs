//! ICMP errors: about what a server answered, and about the tunnel itself.

use std::net::Ipv4Addr;

use etherparse::IpNumber;

use crate::{
    network,
    packet::{ACK, Packet, RST, SYN},
    script::{Case, Script},
};

/// A router on the way to the clients, and one on the way to the servers.
const CLIENTS_ROUTER: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 200);
const SERVERS_ROUTER: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 3);

/// A router tells the VIP, of a flow that is established, of an error with what its server answered.
fn about_answer(s: &mut Script, kind: (u8, u8), rest: [u8; 4]) {
    established(s);
    let answer = s.flow(1).answer().bytes();
    s.send(&Packet::icmp(CLIENTS_ROUTER, s.vip, kind, rest, &answer));
}

fn established(s: &mut Script) {
    s.tcp("rr", &[1, 1]);
    s.segments(s.flow(1), &[SYN, ACK]);
}

/// A router tells the director of an error with an encapsulated packet of a known flow, quoting so many bytes of it. Then the
/// client sends a big packet.
fn about_tunnel(s: &mut Script, kind: (u8, u8), rest: [u8; 4], quoted: usize) {
    s.tcp("rr", &[1]);
    s.segments(s.flow(1), &[SYN, ACK]);
    about_tunnel_to(s, network::server(1), kind, rest, quoted);
}

fn about_tunnel_to(s: &mut Script, server: Ipv4Addr, kind: (u8, u8), rest: [u8; 4], quoted: usize) {
    let mut outer = Packet::new(network::DIRECTOR_SERVERS, server, IpNumber::IPV4).ttl(60);
    outer.payload = s.flow(1).tcp_with(ACK, &[b'x'; 400]).ttl(60).bytes();
    let quote = outer.bytes();
    let quote = &quote[..quoted.min(quote.len())];
    let error = Packet::icmp(SERVERS_ROUTER, network::DIRECTOR_SERVERS, kind, rest, quote);
    s.send_from_servers(&error.may_fragment().bytes());
}

const MTU_1300: [u8; 4] = [0, 0, 5, 20];

pub(crate) const CASES: &[Case] = &[
    ("unreachable (3/1) about an answer", |s| about_answer(s, (3, 1), [0; 4])),
    ("port unreachable (3/3) about an answer", |s| about_answer(s, (3, 3), [0; 4])),
    ("fragmentation needed (3/4) about an answer", |s| about_answer(s, (3, 4), MTU_1300)),
    ("source quench (4/0) about an answer", |s| about_answer(s, (4, 0), [0; 4])),
    ("redirect (5/1) about an answer", |s| about_answer(s, (5, 1), [10, 9, 0, 9])),
    ("time exceeded (11/0) about an answer", |s| about_answer(s, (11, 0), [0; 4])),
    ("reassembly time (11/1) about an answer", |s| about_answer(s, (11, 1), [0; 4])),
    ("parameter problem (12/0) about an answer", |s| about_answer(s, (12, 0), [20, 0, 0, 0])),
    ("an error about an answer, 8 bytes of it quoted", |s| {
        established(s);
        let answer = s.flow(1).answer().bytes();
        s.send(&Packet::icmp(CLIENTS_ROUTER, s.vip, (3, 1), [0; 4], &answer[..28]));
    }),
    ("an error about an answer, 4 bytes of it quoted", |s| {
        established(s);
        let answer = s.flow(1).answer().bytes();
        s.send(&Packet::icmp(CLIENTS_ROUTER, s.vip, (3, 1), [0; 4], &answer[..24]));
    }),
    ("an error about an answer with IP options", |s| {
        established(s);
        let answer = s.flow(1).answer().options(&[1, 1, 1, 0]).bytes();
        s.send(&Packet::icmp(CLIENTS_ROUTER, s.vip, (3, 1), [0; 4], &answer));
    }),
    ("an error about an answer, with TTL 1", |s| {
        established(s);
        let answer = s.flow(1).answer().bytes();
        s.send(&Packet::icmp(CLIENTS_ROUTER, s.vip, (3, 1), [0; 4], &answer).ttl(1));
    }),
    ("an error about an answer, wrong checksum", |s| {
        established(s);
        let answer = s.flow(1).answer().bytes();
        let mut error = Packet::icmp(CLIENTS_ROUTER, s.vip, (3, 1), [0; 4], &answer);
        error.payload[2] ^= 0x55;
        s.send(&error);
    }),
    ("an error about an answer, from 127.0.0.1 and from the VIP", |s| {
        established(s);
        let answer = s.flow(1).answer().bytes();
        for source in [Ipv4Addr::LOCALHOST, s.vip] {
            s.send(&Packet::icmp(source, s.vip, (3, 1), [0; 4], &answer));
        }
    }),
    ("an error about an answer to an unknown flow", |s| {
        established(s);
        let answer = s.flow(2).answer().bytes();
        s.send(&Packet::icmp(CLIENTS_ROUTER, s.vip, (3, 1), [0; 4], &answer));
    }),
    ("an error about a UDP answer", |s| {
        s.udp("rr", &[1, 1]);
        s.send(&s.flow(1).udp(b"a question"));
        let flow = s.flow(1);
        let mut back = flow;
        (back.client, back.vip) = (flow.vip, flow.client);
        (back.client_port, back.port) = (flow.port, flow.client_port);
        let answer = back.udp(b"an answer").bytes();
        s.send(&Packet::icmp(CLIENTS_ROUTER, s.vip, (3, 3), [0; 4], &answer));
    }),
    ("an error about a client's packet", |s| {
        established(s);
        let sent = s.flow(1).tcp(ACK).bytes();
        s.send(&Packet::icmp(CLIENTS_ROUTER, s.vip, (3, 1), [0; 4], &sent));
    }),
    ("an error does not end a flow; RST does", |s| {
        about_answer(s, (3, 1), [0; 4]);
        s.segments(s.flow(1), &[ACK, RST]);
    }),
    ("tunnel: host unreachable (3/1)", |s| about_tunnel(s, (3, 1), [0; 4], 576)),
    ("tunnel: protocol unreachable (3/2)", |s| about_tunnel(s, (3, 2), [0; 4], 576)),
    ("tunnel: port unreachable (3/3)", |s| about_tunnel(s, (3, 3), [0; 4], 576)),
    ("tunnel: prohibited (3/13)", |s| about_tunnel(s, (3, 13), [0; 4], 576)),
    ("tunnel: time exceeded (11/0)", |s| about_tunnel(s, (11, 0), [0; 4], 576)),
    ("tunnel: parameter problem (12/0)", |s| about_tunnel(s, (12, 0), [0; 4], 576)),
    ("tunnel: unreachable, 24 bytes after the outer header", |s| {
        about_tunnel(s, (3, 1), [0; 4], 44);
    }),
    ("tunnel: unreachable, 8 bytes after the outer header", |s| {
        about_tunnel(s, (3, 1), [0; 4], 28);
    }),
    ("tunnel: fragmentation needed (3/4), then a big packet", |s| {
        s.tcp_to(network::server(8));
        s.segments(s.flow(1), &[SYN, ACK]);
        about_tunnel_to(s, network::server(8), (3, 4), MTU_1300, 576);
        s.send(&s.flow(1).tcp_of_length(1281));
        s.send(&s.flow(1).tcp_of_length(1280));
    }),
    ("tunnel: an error about a packet of no flow", |s| {
        s.tcp("rr", &[1]);
        about_tunnel_to(s, network::server(1), (3, 1), [0; 4], 576);
    }),
    ("tunnel: an error about another server", |s| {
        s.tcp("rr", &[1]);
        s.segments(s.flow(1), &[SYN, ACK]);
        about_tunnel_to(s, network::server(2), (3, 1), [0; 4], 576);
    }),
];
