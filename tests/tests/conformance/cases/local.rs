//! The VIP is an address of the director in both engines, as keepalived sets it up.

use crate::{
    network,
    packet::{ACK, FIN, Packet, RST, SYN},
    script::Case,
};

pub(crate) const CASES: &[Case] = &[
    ("local VIP: a whole connection", |s| {
        s.tcp("rr", &[1, 1]);
        s.segments(s.flow(1), &[SYN, ACK, ACK, FIN | ACK, ACK]);
    }),
    ("local VIP: ACK of no flow", |s| {
        s.tcp("rr", &[1, 1]);
        s.segments(s.flow(1), &[ACK]);
    }),
    ("local VIP: RST of no flow", |s| {
        s.tcp("rr", &[1, 1]);
        s.segments(s.flow(1), &[RST]);
    }),
    ("local VIP: no server", |s| {
        s.tcp("rr", &[]);
        s.syns([1]);
    }),
    ("local VIP: port without a service, SYN", |s| {
        s.tcp("rr", &[1]);
        let mut flow = s.flow(1);
        flow.port = 81;
        s.send(&flow.syn());
    }),
    ("local VIP: port without a service, UDP", |s| {
        s.tcp("rr", &[1]);
        s.send(&s.flow(1).udp(b"a question"));
    }),
    ("local VIP: echo request", |s| {
        s.tcp("rr", &[1]);
        s.send(&Packet::icmp(network::client(1), s.vip, (8, 0), [0, 7, 0, 1], b"anybody"));
    }),
    ("local VIP: UDP in two fragments", |s| {
        s.udp("rr", &[1]);
        for fragment in s.flow(1).udp(&[b'x'; 1000]).may_fragment().fragments(&[512]) {
            s.send_bytes(&fragment);
        }
    }),
    ("local VIP: fragments for a port without a service", |s| {
        s.tcp("rr", &[1]);
        for fragment in s.flow(2).udp(&[b'x'; 1000]).may_fragment().fragments(&[512]) {
            s.send_bytes(&fragment);
        }
    }),
    ("local VIP: an error about an answer", |s| {
        s.tcp("rr", &[1]);
        s.segments(s.flow(1), &[SYN, ACK]);
        let answer = s.flow(1).answer().bytes();
        s.send(&Packet::icmp(network::client(1), s.vip, (3, 1), [0; 4], &answer));
    }),
];
