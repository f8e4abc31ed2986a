//! Packets that are as big as the path, or bigger.

use crate::{
    network,
    packet::{ACK, SYN},
    script::Case,
};

pub(crate) const CASES: &[Case] = &[
    ("1480 bytes with DF", |s| {
        s.tcp("rr", &[1]);
        s.syns([1]);
        s.send(&s.flow(1).tcp_of_length(1480));
    }),
    ("1481 bytes with DF", |s| {
        s.tcp("rr", &[1]);
        s.syns([1]);
        s.send(&s.flow(1).tcp_of_length(1481));
    }),
    ("1500 bytes with DF", |s| {
        s.tcp("rr", &[1]);
        s.syns([1]);
        s.send(&s.flow(1).tcp_of_length(1500));
    }),
    ("1500 bytes with DF, DSCP and ECN set", |s| {
        s.tcp("rr", &[1]);
        s.syns([1]);
        s.send(&s.flow(1).tcp_of_length(1500).tos(0xbb));
    }),
    ("1500 bytes with DF and TTL 2", |s| {
        s.tcp("rr", &[1]);
        s.syns([1]);
        s.send(&s.flow(1).tcp_of_length(1500).ttl(2));
    }),
    ("1500 bytes with DF and TTL 1", |s| {
        s.tcp("rr", &[1]);
        s.syns([1]);
        s.send(&s.flow(1).tcp_of_length(1500).ttl(1));
    }),
    ("1500 bytes with DF and IP options", |s| {
        s.tcp("rr", &[1]);
        s.syns([1]);
        s.send(&s.flow(1).tcp_of_length(1496).options(&[1, 1, 1, 0]));
    }),
    ("a SYN of 1500 bytes with DF", |s| {
        s.tcp("rr", &[1, 1]);
        s.send(&s.flow(1).tcp_with(SYN, &[0; 1460]));
        s.send(&s.flow(1).tcp(ACK));
    }),
    ("1480 bytes without DF", |s| {
        s.tcp("rr", &[1]);
        s.syns([1]);
        s.send(&s.flow(1).tcp_of_length(1480).may_fragment());
    }),
    ("1481 bytes without DF", |s| {
        s.tcp("rr", &[1]);
        s.syns([1]);
        s.send(&s.flow(1).tcp_of_length(1481).may_fragment());
    }),
    ("UDP of 1500 bytes with DF", |s| {
        s.udp("rr", &[1]);
        s.send(&s.flow(1).udp_of_length(1500));
    }),
    ("UDP of 1500 bytes without DF", |s| {
        s.udp("rr", &[1]);
        s.send(&s.flow(1).udp_of_length(1500).may_fragment());
    }),
    ("route of MTU 1400: 1380 bytes with DF", |s| {
        s.tcp_to(network::NARROW);
        s.syns([1]);
        s.send(&s.flow(1).tcp_of_length(1380));
    }),
    ("route of MTU 1400: 1381 bytes with DF", |s| {
        s.tcp_to(network::NARROW);
        s.syns([1]);
        s.send(&s.flow(1).tcp_of_length(1381));
    }),
    ("route of MTU 1400: 1381 bytes without DF", |s| {
        s.tcp_to(network::NARROW);
        s.syns([1]);
        s.send(&s.flow(1).tcp_of_length(1381).may_fragment());
    }),
    ("route of MTU 80", |s| {
        s.tcp_to(network::TOO_NARROW);
        s.syns([1]);
    }),
];
