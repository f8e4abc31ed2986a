//! Packets that come in fragments.

use crate::{
    packet::ACK,
    script::{Case, Script},
};

fn udp_in_two(s: &mut Script) -> Vec<Vec<u8>> {
    s.udp("rr", &[1, 1]);
    s.flow(1).udp(&[b'x'; 1000]).may_fragment().fragments(&[512])
}

pub(crate) const CASES: &[Case] = &[
    ("UDP in two fragments", |s| {
        for fragment in udp_in_two(s) {
            s.send_bytes(&fragment);
        }
    }),
    ("UDP in two fragments, the last one first", |s| {
        for fragment in udp_in_two(s).iter().rev() {
            s.send_bytes(fragment);
        }
    }),
    ("UDP in two fragments with DF", |s| {
        s.udp("rr", &[1, 1]);
        for fragment in s.flow(1).udp(&[b'x'; 1000]).fragments(&[512]) {
            s.send_bytes(&fragment);
        }
    }),
    ("TCP of a known flow in two fragments", |s| {
        s.tcp("rr", &[1, 1]);
        s.syns([1]);
        let data = s.flow(1).tcp_with(ACK, &[b'x'; 1000]).may_fragment().id(0x777);
        for fragment in data.fragments(&[512]) {
            s.send_bytes(&fragment);
        }
    }),
    ("the first fragment alone", |s| {
        let fragments = udp_in_two(s);
        s.send_bytes(&fragments[0]);
    }),
    ("the last fragment alone", |s| {
        let fragments = udp_in_two(s);
        s.send_bytes(&fragments[1]);
    }),
];
