//! That a flow keeps its server, and what its states do.

use crate::{
    network,
    packet::{ACK, FIN, PSH, RST, SYN},
    script::{Case, Command, Script},
};

/// A flow with these segments to one of three servers. Then a SYN of another client, which says whether the last one has
/// taken a turn.
fn segments(s: &mut Script, flags: &[u8]) {
    s.tcp("rr", &[1, 1, 1]);
    s.segments(s.flow(1), flags);
    s.syns([2]);
}

pub(crate) const CASES: &[Case] = &[
    ("packets of three flows, mixed", |s| {
        s.tcp("rr", &[1, 1, 1]);
        s.syns(1..=3);
        for client in [2, 1, 3, 3, 1, 2] {
            s.send(&s.flow(client).tcp_with(ACK | PSH, b"data"));
        }
    }),
    ("another port of a client is another flow", |s| {
        s.tcp("rr", &[1, 1, 1]);
        let flow = s.flow(1);
        for port in [1000, 1001, 1002, 1000, 1001, 1002] {
            s.send(&flow.with_client_port(port).syn());
        }
    }),
    ("UDP, two datagrams each of three ports", |s| {
        s.udp("rr", &[1, 1, 1]);
        let flow = s.flow(1);
        for port in [1000, 1001, 1002, 1000, 1001, 1002] {
            s.send(&flow.with_client_port(port).udp(b"a question"));
        }
    }),
    ("UDP and TCP of the same addresses and ports", |s| {
        s.tcp("rr", &[1, 1]);
        s.udp("rr", &[1, 1]);
        s.syns([1, 2]);
        s.send(&s.flow(1).udp(b"a question"));
        s.send(&s.flow(2).udp(b"a question"));
    }),
    ("a SYN again", |s| segments(s, &[SYN, SYN])),
    ("a SYN on an established flow", |s| segments(s, &[SYN, ACK, SYN, ACK])),
    ("FIN, then data", |s| segments(s, &[SYN, ACK, FIN | ACK, ACK])),
    ("FIN, then SYN", |s| segments(s, &[SYN, ACK, FIN | ACK, ACK, SYN, ACK])),
    ("FIN twice, then SYN", |s| segments(s, &[SYN, ACK, FIN | ACK, FIN | ACK, SYN, ACK])),
    ("FIN before ACK, then SYN", |s| segments(s, &[SYN, FIN, SYN, ACK])),
    ("RST, then data", |s| segments(s, &[SYN, ACK, RST, ACK])),
    ("RST, then SYN", |s| segments(s, &[SYN, ACK, RST, SYN, ACK])),
    ("RST+ACK, then SYN", |s| segments(s, &[SYN, ACK, RST | ACK, SYN, ACK])),
    ("RST before ACK, then SYN", |s| segments(s, &[SYN, RST, SYN, ACK])),
    ("no flags, then SYN", |s| segments(s, &[SYN, ACK, 0, SYN, ACK])),
    ("PSH alone, then SYN", |s| segments(s, &[SYN, ACK, PSH, SYN, ACK])),
    ("RST, then SYN+FIN", |s| segments(s, &[SYN, ACK, RST, SYN | FIN, ACK])),
    ("RST, then SYN+ACK", |s| segments(s, &[SYN, ACK, RST, SYN | ACK, ACK])),
    // No ACK after the SYN+RST: IPVS has the entry end at its next timer tick, before or after that.
    ("RST, then SYN+RST", |s| segments(s, &[SYN, ACK, RST, SYN | RST, SYN, ACK])),
    ("SYN+RST on an established flow", |s| segments(s, &[SYN, ACK, SYN | RST, ACK, SYN])),
    ("SYN+FIN opens; then SYN", |s| segments(s, &[SYN | FIN, SYN, ACK])),
    ("SYN+ACK opens; FIN; then SYN", |s| segments(s, &[SYN | ACK, FIN, SYN, ACK])),
    ("weight 0: known flows stay", |s| {
        let service = s.tcp("rr", &[1, 1]);
        s.syns([1, 2]);
        s.weight(service, 1, 0);
        s.weight(service, 2, 0);
        s.segments(s.flow(1), &[ACK, PSH | ACK]);
        s.segments(s.flow(2), &[ACK, PSH | ACK]);
        s.syns([3]);
    }),
    ("weight 0: a SYN of a known flow stays", |s| {
        let service = s.tcp("rr", &[1, 1]);
        s.segments(s.flow(1), &[SYN, ACK]);
        s.weight(service, 2, 0);
        s.segments(s.flow(1), &[SYN, ACK]);
        s.syns([2, 3]);
    }),
    ("weight 0: FIN, then SYN", |s| {
        let service = s.tcp("rr", &[1, 1]);
        s.segments(s.flow(1), &[SYN, ACK, FIN | ACK]);
        s.weight(service, 2, 0);
        s.segments(s.flow(1), &[SYN, ACK]);
    }),
    ("weight 0: RST, then SYN", |s| {
        let service = s.tcp("rr", &[1, 1]);
        s.segments(s.flow(1), &[SYN, ACK, RST]);
        s.weight(service, 2, 0);
        s.segments(s.flow(1), &[SYN, ACK]);
    }),
    ("weight 0: UDP stays", |s| {
        let service = s.udp("rr", &[1, 1]);
        s.send(&s.flow(1).udp(b"one"));
        s.weight(service, 2, 0);
        s.send(&s.flow(1).udp(b"two"));
        s.send(&s.flow(2).udp(b"one"));
    }),
    ("server removed: packets of its TCP flows", |s| {
        let service = s.tcp("rr", &[1, 1]);
        s.segments(s.flow(1), &[SYN, ACK]);
        s.delete(service, 2);
        s.segments(s.flow(1), &[ACK, FIN | ACK]);
        s.syns([2]);
    }),
    ("server removed: a SYN of its flows", |s| {
        let service = s.tcp("rr", &[1, 1]);
        s.segments(s.flow(1), &[SYN, ACK]);
        s.delete(service, 2);
        s.segments(s.flow(1), &[SYN, ACK]);
    }),
    ("server removed: UDP flows", |s| {
        let service = s.udp("rr", &[1, 1]);
        s.send(&s.flow(1).udp(b"one"));
        s.delete(service, 2);
        s.send(&s.flow(1).udp(b"two"));
        s.send(&s.flow(2).udp(b"one"));
    }),
    ("server removed and added again", |s| {
        let service = s.tcp("rr", &[1, 1]);
        s.segments(s.flow(1), &[SYN, ACK]);
        s.delete(service, 2);
        s.add(service, network::server(2), 1);
        s.segments(s.flow(1), &[ACK, ACK]);
    }),
    ("service removed: packets of its flows", |s| {
        let service = s.tcp("rr", &[1, 1]);
        s.segments(s.flow(1), &[SYN, ACK]);
        s.command(Command::DeleteService { service });
        s.segments(s.flow(1), &[ACK, SYN]);
    }),
    ("service removed and added again", |s| {
        let service = s.tcp("rr", &[1, 1]);
        s.segments(s.flow(1), &[SYN, ACK]);
        s.command(Command::DeleteService { service });
        s.service(service, "rr", &[1, 1]);
        s.segments(s.flow(1), &[ACK, SYN]);
    }),
    ("another scheduler: known flows stay", |s| {
        let service = s.tcp("rr", &[1, 1, 1]);
        s.syns(1..=3);
        s.command(Command::EditService { service, scheduler: "wrr" });
        for client in 1..=3 {
            s.send(&s.flow(client).tcp(ACK));
        }
    }),
];
