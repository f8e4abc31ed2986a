//! The short way does nothing but what the long way would have done.

mod common;

use common::{
    ACK, CLIENT, DNS, FIN, HTTP, HTTPS, PSH, RST, SYN, frame, header, packet, segment, tables, tcp,
    udp,
};
use etherparse::IpNumber;
use lb_common::{
    Reason, Verdict, long_way,
    memory::{MemoryPacket, MemoryTables},
    short_way,
    table::Vlan,
};
use proptest::{collection::vec, prelude::*};

/// A datagram that fills the shortest frame of Ethernet.
fn datagram(port: u16) -> Vec<u8> {
    frame(&packet(header(IpNumber::UDP), &udp(port, DNS, b"eighteen bytes ...")), &[])
}

/// A packet of one of few flows, in a frame that is changed here and there.
#[derive(Clone, Debug)]
struct Step {
    frame: Vec<u8>,
    ticks: u64,
}

fn step() -> impl Strategy<Value = Step> {
    let flags = prop_oneof![
        6 => Just(ACK),
        2 => Just(SYN),
        1 => proptest::sample::select(vec![ACK | PSH, ACK | FIN, RST, SYN | ACK, 0]),
    ];
    let service = proptest::sample::select(vec![HTTP, HTTPS, 81]);
    let length = prop_oneof![4 => Just(0usize), 2 => 0usize..100, 1 => 400usize..1500];
    let ttl = prop_oneof![6 => 2u8..=255, 1 => 0u8..2];
    let whole = (0u16..12, service, flags, length, ttl, any::<bool>(), 0u8..5).prop_map(
        |(port, service, flags, length, ttl, dont_fragment, kind)| {
            let is_udp = kind == 0;
            let mut header = header(if is_udp { IpNumber::UDP } else { IpNumber::TCP });
            header.time_to_live = ttl;
            header.dont_fragment = dont_fragment;
            let data = vec![7; length + if is_udp { 18 } else { 0 }];
            let port = 1000 + port;
            let transport =
                if is_udp { udp(port, DNS, &data) } else { tcp(port, service, flags, &data) };
            frame(&packet(header, &transport), &[])
        },
    );
    let change = (0usize..80, any::<u8>());
    let changes = prop_oneof![
        4 => Just(Vec::new()),
        1 => vec(change, 1..3),
    ];
    let padding = prop_oneof![4 => Just(0), 1 => 1usize..8];
    let ticks = prop_oneof![6 => Just(0), 2 => 1u64..3, 1 => 1u64..1000];
    (whole, changes, padding, ticks).prop_map(|(mut frame, changes, padding, ticks)| {
        for (position, value) in changes {
            if let Some(byte) = frame.get_mut(position) {
                *byte = value;
            }
        }
        frame.extend(std::iter::repeat_n(0, padding));
        Step { frame, ticks }
    })
}

/// Two services of two real servers each whose ways differ: a small path, a VLAN, another interface, a
/// path that is too small for IPv4, no next hop; and few sets, so that flows stand in second ones.
fn uneven() -> MemoryTables {
    let mut tables = tables(2);
    let [small, tagged, elsewhere, tiny, nowhere, _] = &mut tables.real_servers[..] else {
        panic!("six servers");
    };
    small.mtu = 600;
    tagged.vlan = Vlan::id(5);
    elsewhere.interface = 7;
    tiny.mtu = 80;
    nowhere.interface = 0;
    tables
}

/// What is left of a run.
fn state(tables: &MemoryTables) -> (Vec<u64>, Vec<u64>, Vec<[u64; 3]>) {
    let words = tables.flows().into_iter().map(|(word, _)| word.0).collect();
    let reasons = Reason::ALL.iter().map(|reason| tables.counted(*reason)).collect();
    let counters = (0..6).map(|server| {
        let counters = tables.counters(server);
        [counters.flows, counters.packets, counters.bytes]
    });
    (words, reasons, counters.collect())
}

proptest! {
    #[test]
    fn the_short_way_ends_where_the_long_way_ends(steps in vec(step(), 1..60)) {
        let mut both = uneven();
        let mut long = uneven();
        for Step { frame, ticks } in steps {
            both.now += ticks;
            long.now += ticks;
            let mut one = MemoryPacket::new(&frame, common::INTERFACE);
            let mut other = MemoryPacket::new(&frame, common::INTERFACE);
            let short = short_way(&mut one, &&both);
            if short.is_none() {
                prop_assert_eq!(one.frame(), &frame[..], "refused but changed");
            }
            let verdict = short.unwrap_or_else(|| long_way(&mut one, &&both));
            prop_assert_eq!(verdict, long_way(&mut other, &&long));
            prop_assert_eq!(one.frame(), other.frame());
            prop_assert_eq!(state(&both), state(&long));
        }
    }
}

/// Which packets the short way is for: without this, it might refuse them all.
#[test]
fn known_flows_and_foreign_packets_go_the_short_way() {
    let mut tables = tables(4);
    let mut go = |frame: &[u8]| -> Option<Verdict> {
        let mut packet = MemoryPacket::new(frame, common::INTERFACE);
        let short = short_way(&mut packet, &&tables);
        if short.is_none() {
            long_way(&mut packet, &&tables);
        }
        tables.now += 1;
        short
    };
    let forwarded = Some(Reason::Forwarded.transmit());
    assert_eq!(go(&segment(CLIENT, 1, HTTP, SYN)), None);
    assert_eq!(go(&segment(CLIENT, 1, HTTP, ACK)), None, "changes the state");
    assert_eq!(go(&segment(CLIENT, 1, HTTP, ACK)), forwarded);
    assert_eq!(go(&segment(CLIENT, 1, HTTP, ACK | PSH)), forwarded);
    assert_eq!(go(&segment(CLIENT, 1, HTTP, ACK | FIN)), None);
    assert_eq!(go(&datagram(1)), None);
    assert_eq!(go(&datagram(1)), None, "changes the state");
    assert_eq!(go(&datagram(1)), forwarded);
    let mut foreign = segment(CLIENT, 1, HTTP, ACK);
    foreign[33] ^= 1;
    assert_eq!(go(&foreign), Some(Reason::PassNotVip.pass()));
}
