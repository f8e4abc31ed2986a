//! Which packets of no flow open one.

use crate::{
    network,
    packet::{ACK, CWR, ECE, FIN, PSH, RST, SYN, URG},
    script::{Case, Script},
};

/// Three packets with the same flags, of three clients: whether and where they go.
fn three(s: &mut Script, flags: u8) {
    s.tcp("rr", &[1, 1]);
    for client in 1..=3 {
        s.send(&s.flow(client).tcp(flags));
    }
}

pub(crate) const CASES: &[Case] = &[
    ("SYN", |s| three(s, SYN)),
    ("SYN+ACK", |s| three(s, SYN | ACK)),
    ("SYN+FIN", |s| three(s, SYN | FIN)),
    ("SYN+RST", |s| three(s, SYN | RST)),
    ("SYN+PSH+URG", |s| three(s, SYN | PSH | URG)),
    ("SYN+ECE+CWR", |s| three(s, SYN | ECE | CWR)),
    ("SYN with data", |s| {
        s.tcp("rr", &[1, 1]);
        s.send(&s.flow(1).tcp_with(SYN, b"early data"));
        s.send(&s.flow(1).tcp(ACK));
    }),
    ("ACK of no flow", |s| three(s, ACK)),
    ("data of no flow", |s| {
        s.tcp("rr", &[1, 1]);
        s.send(&s.flow(1).tcp_with(ACK | PSH, b"late data"));
    }),
    ("FIN of no flow", |s| three(s, FIN)),
    ("FIN+ACK of no flow", |s| three(s, FIN | ACK)),
    ("RST of no flow", |s| three(s, RST)),
    ("RST+ACK of no flow", |s| three(s, RST | ACK)),
    ("no flags, no flow", |s| three(s, 0)),
    ("PSH+URG of no flow", |s| three(s, PSH | URG)),
    ("all flags, no flow", |s| three(s, 0xff)),
    ("a packet of no flow does not take a turn", |s| {
        s.tcp("rr", &[1, 1, 1]);
        s.syns([1]);
        s.send(&s.flow(2).tcp(ACK));
        s.send(&s.flow(3).tcp(RST));
        s.syns([4]);
    }),
    ("a packet with TTL 1 takes a turn and opens its flow", |s| {
        s.tcp("rr", &[1, 1, 1]);
        s.send(&s.flow(1).syn().ttl(1));
        s.send(&s.flow(1).syn());
        s.syns([2]);
    }),
    ("a packet that is too big takes a turn and opens its flow", |s| {
        s.udp("rr", &[1, 1, 1]);
        s.send(&s.flow(1).udp_of_length(1500));
        s.send(&s.flow(1).udp(b"smaller"));
        s.send(&s.flow(2).udp(b"another"));
    }),
    ("a server without a route takes its turn", |s| {
        let service = s.tcp("rr", &[1]);
        s.add(service, network::NO_ROUTE, 1);
        s.syns([1, 2, 3]);
        s.syns([1, 2, 3]);
    }),
];
