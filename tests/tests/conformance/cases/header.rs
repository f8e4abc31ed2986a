//! The outer header, and what becomes of the inner one.

use crate::{network, packet::SYN, script::Case};

pub(crate) const CASES: &[Case] = &[
    ("DSCP: every one of 64, and no ECN", |s| {
        s.tcp("rr", &[1]);
        for dscp in 0..64 {
            s.send(&s.flow(1).syn().tos(dscp << 2));
        }
    }),
    ("ECN: not capable, ECT(1), ECT(0), congestion", |s| {
        s.tcp("rr", &[1]);
        for ecn in 0..4 {
            s.send(&s.flow(1).syn().tos(ecn));
        }
    }),
    ("TOS 0xff", |s| {
        s.tcp("rr", &[1]);
        s.send(&s.flow(1).syn().tos(0xff));
    }),
    ("TTL 255, 64, 3, 2", |s| {
        s.tcp("rr", &[1]);
        for ttl in [255, 64, 3, 2] {
            s.send(&s.flow(1).syn().ttl(ttl));
        }
    }),
    ("TTL 1", |s| {
        s.tcp("rr", &[1]);
        s.send(&s.flow(1).syn().ttl(1));
    }),
    ("TTL 0", |s| {
        s.tcp("rr", &[1]);
        s.send(&s.flow(1).syn().ttl(0));
    }),
    ("TTL 1 of a known flow", |s| {
        s.tcp("rr", &[1]);
        s.syns([1]);
        s.send(&s.flow(1).tcp_of_length(800).ttl(1));
    }),
    ("TTL 1, DSCP and ECN set", |s| {
        s.tcp("rr", &[1]);
        s.send(&s.flow(1).syn().ttl(1).tos(0xbb));
    }),
    ("TTL 1 with IP options", |s| {
        s.tcp("rr", &[1]);
        s.send(&s.flow(1).syn().ttl(1).options(&[1, 1, 1, 0]));
    }),
    ("TTL 1, UDP", |s| {
        s.udp("rr", &[1]);
        s.send(&s.flow(1).udp(b"a question").ttl(1));
    }),
    ("without DF", |s| {
        s.tcp("rr", &[1]);
        s.send(&s.flow(1).syn().may_fragment());
    }),
    ("the reserved flag", |s| {
        s.tcp("rr", &[1]);
        s.send_bytes(&s.flow(1).syn().spoiled(|bytes| bytes[6] |= 0x80));
        s.send_bytes(&s.flow(1).syn().may_fragment().spoiled(|bytes| bytes[6] |= 0x80));
    }),
    ("identification 0 and 65535", |s| {
        s.tcp("rr", &[1]);
        for id in [0, 0xffff] {
            s.send(&s.flow(1).syn().id(id));
            s.send(&s.flow(1).syn().id(id).may_fragment());
        }
    }),
    ("padding of a short frame", |s| {
        s.udp("rr", &[1]);
        let mut packet = s.flow(1).udp(b"x").bytes();
        packet.resize(46, 0xaa);
        s.send_bytes(&packet);
    }),
    ("IP options: none that do anything", |s| {
        s.tcp("rr", &[1]);
        s.send(&s.flow(1).syn().options(&[1, 1, 1, 0]));
    }),
    ("IP options: router alert", |s| {
        s.tcp("rr", &[1]);
        s.send(&s.flow(1).syn().options(&[148, 4, 0, 0]));
    }),
    ("IP options: an unknown one", |s| {
        s.tcp("rr", &[1]);
        s.send(&s.flow(1).syn().options(&[0x9e, 4, 1, 2]));
    }),
    ("IP options: record route", |s| {
        s.tcp("rr", &[1]);
        s.send(&s.flow(1).syn().options(&[7, 11, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0]));
    }),
    ("IP options: timestamp with addresses", |s| {
        s.tcp("rr", &[1]);
        // Full, so that what is written does not depend on the time.
        s.send(&s.flow(1).syn().options(&[68, 4, 5, 1]));
    }),
    ("IP options: loose source route", |s| {
        s.tcp("rr", &[1]);
        s.send(&s.flow(1).syn().options(&[131, 7, 4, 10, 9, 0, 1, 0]));
    }),
    ("IP options: a length that is wrong", |s| {
        s.tcp("rr", &[1]);
        s.send(&s.flow(1).syn().options(&[7, 40, 4, 0]));
    }),
    ("IP options: forty bytes", |s| {
        s.tcp("rr", &[1]);
        s.send(&s.flow(1).tcp_with(SYN, b"data").options(&[1; 40]));
    }),
    ("a server on the clients' interface", |s| {
        s.tcp_to(network::ONE_ARMED);
        s.syns([1]);
        s.send(&s.flow(1).tcp_of_length(1000));
    }),
    ("a server with a route of its own", |s| {
        s.tcp_to(network::NARROW);
        s.syns([1]);
    }),
];
