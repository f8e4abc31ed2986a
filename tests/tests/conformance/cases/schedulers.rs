//! Which server a new flow gets.

use crate::{
    network,
    script::{Case, Command, Protocol, Service},
};

pub(crate) const CASES: &[Case] = &[
    ("rr, three servers", |s| {
        s.tcp("rr", &[1, 1, 1]);
        s.syns(1..=7);
    }),
    ("rr, one server", |s| {
        s.tcp("rr", &[1]);
        s.syns(1..=3);
    }),
    ("rr, weights 3, 0, 1", |s| {
        s.tcp("rr", &[3, 0, 1]);
        s.syns(1..=5);
    }),
    ("rr, UDP", |s| {
        s.udp("rr", &[1, 1, 1]);
        for client in 1..=5 {
            s.send(&s.flow(client).udp(b"a question"));
        }
    }),
    ("rr, two services with the same servers", |s| {
        s.tcp("rr", &[1, 1, 1]);
        let other = Service { protocol: Protocol::Tcp, vip: s.vip, port: 81 };
        s.service(other, "rr", &[1, 1, 1]);
        for client in 1..=4 {
            s.syns([client]);
            let mut flow = s.flow(client);
            flow.port = 81;
            s.send(&flow.syn());
        }
    }),
    ("rr, a server is added", |s| {
        let service = s.tcp("rr", &[1, 1]);
        s.syns(1..=3);
        s.add(service, network::server(3), 1);
        s.syns(4..=10);
    }),
    ("rr, the server that was picked last is removed", |s| {
        let service = s.tcp("rr", &[1, 1, 1, 1]);
        s.syns(1..=2);
        s.delete(service, 3);
        s.syns(3..=7);
    }),
    ("rr, the server that is next is removed", |s| {
        let service = s.tcp("rr", &[1, 1, 1, 1]);
        s.syns(1..=2);
        s.delete(service, 2);
        s.syns(3..=7);
    }),
    ("rr, a server gets weight 0 and back", |s| {
        let service = s.tcp("rr", &[1, 1, 1]);
        s.syns(1..=2);
        s.weight(service, 1, 0);
        s.syns(3..=6);
        s.weight(service, 1, 1);
        s.syns(7..=12);
    }),
    ("wrr, weights 1, 1, 1", |s| {
        s.tcp("wrr", &[1, 1, 1]);
        s.syns(1..=7);
    }),
    ("wrr, weights 1, 2, 3", |s| {
        s.tcp("wrr", &[1, 2, 3]);
        s.syns(1..=13);
    }),
    ("wrr, weights 5, 1, 1", |s| {
        s.tcp("wrr", &[5, 1, 1]);
        s.syns(1..=15);
    }),
    ("wrr, weights 4, 2", |s| {
        s.tcp("wrr", &[4, 2]);
        s.syns(1..=7);
    }),
    ("wrr, weights 7, 5, 3, 2", |s| {
        s.tcp("wrr", &[7, 5, 3, 2]);
        s.syns(1..=18);
    }),
    ("wrr, weights 2, 0, 1", |s| {
        s.tcp("wrr", &[2, 0, 1]);
        s.syns(1..=7);
    }),
    ("wrr, a weight is changed", |s| {
        let service = s.tcp("wrr", &[1, 2, 3]);
        s.syns(1..=4);
        s.weight(service, 1, 4);
        s.syns(5..=16);
    }),
    ("wrr, a server is added", |s| {
        let service = s.tcp("wrr", &[1, 2]);
        s.syns(1..=4);
        s.add(service, network::server(3), 3);
        s.syns(5..=16);
    }),
    ("wrr, a server is removed", |s| {
        let service = s.tcp("wrr", &[1, 2, 3]);
        s.syns(1..=4);
        s.delete(service, 3);
        s.syns(5..=12);
    }),
    ("wrr, a command that changes nothing", |s| {
        let service = s.tcp("wrr", &[1, 3]);
        s.syns(1..=2);
        s.weight(service, 2, 3);
        s.syns(3..=10);
    }),
    ("rr becomes wrr", |s| {
        let service = s.tcp("rr", &[1, 3]);
        s.syns(1..=3);
        s.command(Command::EditService { service, scheduler: "wrr" });
        s.syns(4..=12);
    }),
    ("wrr becomes rr", |s| {
        let service = s.tcp("wrr", &[1, 3]);
        s.syns(1..=3);
        s.command(Command::EditService { service, scheduler: "rr" });
        s.syns(4..=8);
    }),
    ("the same server twice", |s| {
        let service = s.tcp("rr", &[1]);
        s.add(service, network::server(1), 1);
        s.syns([1]);
    }),
    ("a server with a multicast address", |s| {
        s.tcp_to([224, 0, 0, 1].into());
        s.syns([1]);
    }),
    ("a server that is the director", |s| {
        s.tcp_to(network::DIRECTOR_SERVERS);
        s.syns([1]);
    }),
    ("lc", |s| {
        s.tcp("lc", &[1, 1, 1]);
        s.syns(1..=6);
    }),
    ("wlc, weights 1, 2, 3", |s| {
        s.tcp("wlc", &[1, 2, 3]);
        s.syns(1..=12);
    }),
    ("sed, weights 1, 2, 3", |s| {
        s.tcp("sed", &[1, 2, 3]);
        s.syns(1..=12);
    }),
    ("nq, weights 1, 2, 3", |s| {
        s.tcp("nq", &[1, 2, 3]);
        s.syns(1..=12);
    }),
    ("fo, weights 1, 3, 2", |s| {
        s.tcp("fo", &[1, 3, 2]);
        s.syns(1..=3);
    }),
    ("ovf, weights 1, 2, 3", |s| {
        s.tcp("ovf", &[1, 2, 3]);
        s.syns(1..=10);
    }),
    ("sh, weights 1, 2, 1", |s| {
        s.tcp("sh", &[1, 2, 1]);
        s.syns(1..=16);
    }),
    ("dh, three servers", |s| {
        s.tcp("dh", &[1, 1, 1]);
        s.syns(1..=3);
    }),
    ("mh, weights 1, 2, 1", |s| {
        s.tcp("mh", &[1, 2, 1]);
        s.syns(1..=16);
    }),
    ("lblc, three servers", |s| {
        s.tcp("lblc", &[1, 1, 1]);
        s.syns(1..=4);
    }),
    ("lblcr, three servers", |s| {
        s.tcp("lblcr", &[1, 1, 1]);
        s.syns(1..=4);
    }),
];
