use std::collections::BTreeSet;

use lb_common::{
    Reason, Verdict,
    flow::{FlowSet as _, FlowState, FlowWord},
    memory::{MemoryPacket, MemoryTables, SEED},
    table::{Interface, Tables as _, Vip},
};
use proptest::prelude::*;

use super::*;
use crate::{
    census::{Census, FlowCounts},
    config::{HashFlags, Scheduler, TableSize, Weight},
    plan::{Desired, Ownership, plan},
};

mod room;

const MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];

fn memory(services: usize, real_servers: usize, lookup: usize) -> MemoryTables {
    let mut memory = MemoryTables::new(64, SEED, 1000);
    memory.services = vec![Service::default(); services];
    memory.real_servers = vec![RealServer::default(); real_servers];
    memory.lookup = vec![0; lookup];
    memory.front.interfaces[0] = Interface::new(MacAddress(MAC));
    memory.now = 1000;
    memory
}

fn service(text: &str, scheduler: Scheduler, servers: &[(&str, i64)]) -> VirtualService {
    let server = |(address, weight): &(&str, i64)| Server {
        address: address.parse().expect("an address"),
        weight: Weight::try_from(*weight).expect("a weight"),
    };
    VirtualService {
        address: text.parse().expect("a service"),
        scheduler,
        servers: servers.iter().map(server).collect(),
    }
}

fn desired(services: &[VirtualService]) -> Desired {
    Desired::new(services.to_vec(), &BTreeSet::new())
}

fn hop() -> NextHop {
    NextHop {
        interface: 7,
        vlan: None,
        source_mac: MAC,
        destination_mac: [2, 0, 0, 0, 0, 2],
        source: Ipv4Addr::new(192, 168, 19, 254).into(),
        mtu: 1500,
    }
}

fn hops(desired: &Desired) -> Ways {
    let servers = desired.services.iter().flat_map(|service| &service.servers);
    servers.map(|server| (server.address, Way::Over(hop()))).collect()
}

fn apply(tables: &mut Tables, memory: &mut MemoryTables, desired: &Desired) {
    let diff = plan(desired, tables.actual());
    tables.apply(memory, &diff, &hops(desired)).expect("room");
}

/// A TCP packet of a client for 10.0.0.9:80; flags 2 is SYN, 16 is ACK.
fn send(memory: &MemoryTables, client_port: u16, flags: u8) -> (Verdict, Ipv4Addr) {
    let mut frame = Vec::new();
    frame.extend(MAC);
    frame.extend([2, 0, 0, 0, 0, 9, 8, 0]);
    frame.extend([0x45, 0, 0, 40, 0, 0, 0x40, 0, 64, 6, 0, 0, 10, 9, 0, 1, 10, 0, 0, 9]);
    frame.extend(client_port.to_be_bytes());
    frame.extend([0, 80, 0, 0, 0, 0, 0, 0, 0, 0, 0x50, flags, 0, 0, 0, 0, 0, 0]);
    let mut packet = MemoryPacket::new(&frame, 7);
    let verdict = lb_common::director(&mut packet, &memory);
    let [a, b, c, d] = packet.frame()[30..34] else { panic!("an IPv4 header") };
    (verdict, [a, b, c, d].into())
}

fn opened(memory: &MemoryTables, client_port: u16) -> Ipv4Addr {
    let (verdict, server) = send(memory, client_port, 2);
    assert_eq!(verdict.reason, Reason::Scheduled);
    server
}

/// A pass over the flow table.
fn swept(memory: &MemoryTables, now: u64) -> Census {
    let mut census = Census::new(memory.real_servers.len() as u32);
    for set in (0..=memory.set_mask).filter_map(|set| memory.flow_set(set)) {
        census.take(set, now);
    }
    census
}

const A: &str = "10.1.0.1";
const B: &str = "10.1.0.2";
const C: &str = "10.1.0.3";
const SERVICE: &str = "tcp:10.0.0.9:80";

fn ip(text: &str) -> Ipv4Addr {
    text.parse().expect("an address")
}

#[test]
fn new_flows_go_round_in_list_order() {
    let mut memory = memory(4, 8, 64);
    let mut tables = Tables::adopt(&mut memory).expect("empty");
    apply(
        &mut tables,
        &mut memory,
        &desired(&[service(SERVICE, Scheduler::Rr, &[(A, 1), (B, 1)])]),
    );
    let picks: Vec<_> = (0..4).map(|port| opened(&memory, 1000 + port)).collect();
    assert_eq!(picks, [ip(A), ip(B), ip(A), ip(B)]);
}

/// As measured with IPVS: the pointer stays on the last used server, a new one enters at the head.
#[test]
fn a_server_added_at_the_head_is_used_after_the_wrap() {
    let mut memory = memory(4, 8, 64);
    let mut tables = Tables::adopt(&mut memory).expect("empty");
    apply(
        &mut tables,
        &mut memory,
        &desired(&[service(SERVICE, Scheduler::Rr, &[(B, 1), (A, 1)])]),
    );
    assert_eq!(opened(&memory, 1), ip(B));
    let list = [(C, 1), (B, 1), (A, 1)];
    apply(&mut tables, &mut memory, &desired(&[service(SERVICE, Scheduler::Rr, &list)]));
    let picks: Vec<_> = (2..6).map(|port| opened(&memory, port)).collect();
    assert_eq!(picks, [ip(A), ip(C), ip(B), ip(A)]);
}

#[test]
fn a_service_in_a_used_entry_starts_at_the_head_of_its_list() {
    let mut memory = memory(1, 8, 64);
    let mut tables = Tables::adopt(&mut memory).expect("empty");
    let list = [(A, 1), (B, 1), (C, 1)];
    let all = desired(&[service(SERVICE, Scheduler::Rr, &list)]);
    apply(&mut tables, &mut memory, &all);
    opened(&memory, 1);
    apply(&mut tables, &mut memory, &desired(&[]));
    let mut tables = Tables::adopt(&mut memory).expect("empty again");
    apply(&mut tables, &mut memory, &all);
    assert_eq!([opened(&memory, 2), opened(&memory, 3)], [ip(A), ip(B)]);
}

#[test]
fn weight_0_keeps_its_flows_and_takes_no_new_ones() {
    let mut memory = memory(4, 8, 64);
    let mut tables = Tables::adopt(&mut memory).expect("empty");
    let with = |weight| desired(&[service(SERVICE, Scheduler::Rr, &[(A, weight), (B, 1)])]);
    apply(&mut tables, &mut memory, &with(1));
    assert_eq!(opened(&memory, 1), ip(A));
    apply(&mut tables, &mut memory, &with(0));
    let (verdict, server) = send(&memory, 1, 16);
    assert_eq!((verdict.reason, server), (Reason::Forwarded, ip(A)));
    assert!((10..20).all(|port| opened(&memory, port) == ip(B)));
}

#[test]
fn a_removed_server_loses_its_flows_but_not_its_count() {
    let mut memory = memory(4, 8, 64);
    let mut tables = Tables::adopt(&mut memory).expect("empty");
    let list = [(A, 1), (B, 1)];
    apply(&mut tables, &mut memory, &desired(&[service(SERVICE, Scheduler::Rr, &list)]));
    assert_eq!([opened(&memory, 1), opened(&memory, 2)], [ip(A), ip(B)]);
    assert_eq!(send(&memory, 1, 16).0.reason, Reason::Forwarded);
    assert_eq!(send(&memory, 2, 16).0.reason, Reason::Forwarded);
    apply(&mut tables, &mut memory, &desired(&[service(SERVICE, Scheduler::Rr, &list[1..])]));
    assert_eq!(send(&memory, 1, 16).0.reason, Reason::ResetNoFlow);
    let (verdict, server) = send(&memory, 2, 16);
    assert_eq!((verdict.reason, server), (Reason::Forwarded, ip(B)));
    assert_eq!(memory.counted(Reason::Forwarded), 3);
    assert_eq!(MemoryTables::flows(&memory).len(), 1);
}

#[test]
fn a_reused_entry_has_no_flows_of_whoever_had_it() {
    let mut memory = memory(4, 1, 64);
    let mut tables = Tables::adopt(&mut memory).expect("empty");
    apply(&mut tables, &mut memory, &desired(&[service(SERVICE, Scheduler::Rr, &[(A, 1)])]));
    let none = service(SERVICE, Scheduler::Rr, &[]);
    apply(&mut tables, &mut memory, &desired(&[none]));
    // A packet that was on its way opens its flow only now.
    let late = FlowWord::new(1, 0, FlowState::ESTABLISHED, 1000);
    assert!((&memory).flow_set(0).expect("a set").replace(0, FlowWord::EMPTY, late));
    apply(&mut tables, &mut memory, &desired(&[service(SERVICE, Scheduler::Rr, &[(B, 1)])]));
    assert_eq!((&memory).flow_set(0).expect("a set").word(0), FlowWord::EMPTY);
}

#[test]
fn expired_flows_are_swept_and_no_others() {
    let mut memory = memory(4, 8, 64);
    let mut tables = Tables::adopt(&mut memory).expect("empty");
    apply(&mut tables, &mut memory, &desired(&[service(SERVICE, Scheduler::Rr, &[(A, 1)])]));
    opened(&memory, 1);
    let opened_at = memory.now;
    assert_eq!(swept(&memory, opened_at).expired(), 0);
    let timeout = u64::from(FlowState::SYN_RECV.timeout_ticks());
    assert_eq!(swept(&memory, opened_at + timeout).expired(), 0);
    memory.now = opened_at + timeout + 1;
    opened(&memory, 2);
    let census = swept(&memory, memory.now);
    assert_eq!((census.expired(), census.in_use()), (1, 1));
    assert_eq!(MemoryTables::flows(&memory).len(), 1);
    // Without the sweep it would come to life again when the clock's 16 bits come round.
    memory.now = opened_at + (1 << 16);
    assert_eq!(send(&memory, 1, 16).0.reason, Reason::ResetNoFlow);
}

/// As ip_vs keeps its counts: a SYN alone is active already, and stays so when the client goes on; a FIN
/// makes it inactive, and so does a reset.
#[test]
fn servers_have_the_flows_that_ipvs_would_count() {
    let mut memory = memory(4, 8, 64);
    let mut tables = Tables::adopt(&mut memory).expect("empty");
    let wanted = desired(&[service(SERVICE, Scheduler::Rr, &[(A, 1), (B, 1)])]);
    apply(&mut tables, &mut memory, &wanted);
    for port in 1..=4 {
        opened(&memory, port);
    }
    let counts = |memory: &MemoryTables| {
        let census = swept(memory, memory.now);
        let service = &tables.actual().services[&wanted.services[0].address];
        [A, B].map(|server| {
            let FlowCounts { active, inactive } = census.of(service.servers[&ip(server)].index);
            (active, inactive)
        })
    };
    assert_eq!(counts(&memory), [(2, 0), (2, 0)]);
    let (ack, fin, reset) = (0x10, 0x11, 0x04);
    let first = send(&memory, 1, ack).1;
    assert_eq!(counts(&memory), [(2, 0), (2, 0)]);
    assert_eq!(send(&memory, 1, fin).1, first);
    let (one, other) = if first == ip(A) { (0, 1) } else { (1, 0) };
    assert_eq!(counts(&memory)[one], (1, 1));
    assert_eq!(counts(&memory)[other], (2, 0));
    // The flow of the other server: established, then reset.
    for flags in [ack, reset] {
        assert_ne!(send(&memory, 2, flags).1, first);
    }
    assert_eq!(counts(&memory), [(1, 1); 2]);
}

/// Whenever in a tick the last packet came, and whenever a sweep happens to be.
#[test]
fn flows_are_gone_two_seconds_and_a_tick_after_their_timeout_and_not_before_it() {
    const MILLISECOND: u64 = 1_000_000;
    const TICK: u64 = lb_common::flow::TICK_NANOSECONDS;
    let period = crate::daemon::SWEEP_PERIOD.as_nanos() as u64;
    let mut memory = memory(4, 8, 64);
    let mut tables = Tables::adopt(&mut memory).expect("empty");
    apply(&mut tables, &mut memory, &desired(&[service(SERVICE, Scheduler::Rr, &[(A, 1)])]));
    // IPVS's seconds: half-open, established, closing, closed.
    let flows: [(&[u8], u64); 4] = [
        (&[0x02], 60),
        (&[0x02, 0x10], 900),
        (&[0x02, 0x10, 0x11], 120),
        (&[0x02, 0x10, 0x04], 10),
    ];
    for (segments, seconds) in flows {
        for (last, phase) in (0..11).flat_map(|last| (0..5).map(move |phase| (last, phase))) {
            let last = 1000 * TICK + last * 100 * MILLISECOND;
            memory.now = last / TICK;
            for flags in segments {
                assert_ne!(send(&memory, 1, *flags).0.reason, Reason::ResetNoFlow);
            }
            let timeout = last + seconds * 1000 * MILLISECOND;
            let mut time = last + phase * period / 5;
            while swept(&memory, time / TICK).expired() == 0 {
                time += period;
            }
            assert!(time >= timeout, "{} ns early", timeout - time);
            let late = time - timeout;
            assert!(late <= 2000 * MILLISECOND + TICK, "{seconds} s: {late} ns late");
        }
    }
}

#[test]
fn unchanged_entries_are_adopted_as_they_are() {
    let mut memory = memory(4, 8, 64);
    let mut tables = Tables::adopt(&mut memory).expect("empty");
    let wanted = desired(&[
        service(SERVICE, Scheduler::Wrr, &[(A, 3), (B, 0), (C, 1)]),
        service("udp:10.0.0.9:80", Scheduler::Rr, &[(A, 1)]),
    ]);
    apply(&mut tables, &mut memory, &wanted);
    opened(&memory, 1);
    let adopted = Tables::adopt(&mut memory).expect("in use");
    assert_eq!(adopted.actual(), tables.actual());
    assert!(plan(&wanted, adopted.actual()).is_empty());
    assert_eq!(send(&memory, 1, 16).0.reason, Reason::Forwarded);
}

#[test]
fn what_a_daemon_left_half_done_is_put_right() {
    let mut memory = memory(4, 8, 64);
    let mut tables = Tables::adopt(&mut memory).expect("empty");
    let wanted = desired(&[service(SERVICE, Scheduler::Rr, &[(A, 1), (B, 1)])]);
    apply(&mut tables, &mut memory, &wanted);
    opened(&memory, 1);
    // Killed after the first step of removing the service.
    let key = wanted.services[0].address.key();
    memory.service_indices.remove(&key);
    let tables = Tables::adopt(&mut memory).expect("readable");
    assert!(tables.actual().services.is_empty());
    assert!(memory.real_servers.iter().all(|entry| entry.service.protocol == 0));
    assert!(memory.services.iter().all(|entry| entry.key.protocol == 0));
    assert!(MemoryTables::flows(&memory).is_empty());
}

#[test]
fn what_does_not_fit_is_refused_before_the_first_write() {
    let cases = [
        (memory(1, 8, 64), "tables.services"),
        (memory(4, 2, 64), "tables.real_servers"),
        (memory(4, 8, 3), "`tables.lookup` (now 3)"),
    ];
    for (mut memory, setting) in cases {
        let mut tables = Tables::adopt(&mut memory).expect("empty");
        let two = [(A, 1), (B, 1)];
        let before = desired(&[service(SERVICE, Scheduler::Rr, &two)]);
        apply(&mut tables, &mut memory, &before);
        let snapshot =
            (memory.services.clone(), memory.real_servers.clone(), memory.lookup.clone());
        let after = desired(&[
            service(SERVICE, Scheduler::Rr, &two),
            service("tcp:10.0.0.8:80", Scheduler::Rr, &two),
        ]);
        let diff = plan(&after, tables.actual());
        let error = tables.apply(&mut memory, &diff, &hops(&after)).expect_err("full");
        assert!(error.to_string().contains(setting), "{error}");
        assert_eq!(
            snapshot,
            (memory.services.clone(), memory.real_servers.clone(), memory.lookup.clone())
        );
        assert!(plan(&before, tables.actual()).is_empty());
        apply(&mut tables, &mut memory, &before);
    }
}

#[test]
fn next_hops_come_and_go() {
    let mut memory = memory(4, 8, 64);
    let mut tables = Tables::adopt(&mut memory).expect("empty");
    let wanted = desired(&[service(SERVICE, Scheduler::Rr, &[(A, 1)])]);
    let diff = plan(&wanted, tables.actual());
    tables.apply(&mut memory, &diff, &Ways::new()).expect("room");
    assert_eq!(send(&memory, 1, 2).0.reason, Reason::DropNoNextHop);
    let tagged = NextHop { vlan: Some(5), ..hop() };
    let mut set = |memory: &mut MemoryTables, way: Way| {
        tables.set_ways(memory, &BTreeMap::from([(ip(A), way)]))
    };
    assert_eq!(set(&mut memory, Way::Over(tagged)), 1);
    assert_eq!(set(&mut memory, Way::Over(tagged)), 0);
    assert_eq!(next_hop(&memory.real_servers[0]), Some(tagged));
    set(&mut memory, Way::Over(hop()));
    assert_eq!(send(&memory, 1, 2).0.reason, Reason::Forwarded);
    assert_eq!(send(&memory, 1, 16).0.reason, Reason::Forwarded);
    set(&mut memory, Way::Unresolved);
    assert_eq!(send(&memory, 1, 16).0.reason, Reason::DropNoNextHop);
    set(&mut memory, Way::Unroutable);
    assert_eq!(next_hop(&memory.real_servers[0]), None);
    assert_eq!(send(&memory, 1, 16).0.reason, Reason::HostUnreachable);
    assert_eq!(send(&memory, 2, 2).0.reason, Reason::HostUnreachable);
}

fn any_scheduler() -> impl Strategy<Value = Scheduler> {
    let flags = (any::<bool>(), any::<bool>());
    let flags = flags.prop_map(|(fallback, port)| HashFlags { fallback, port });
    let size = TableSize::try_from(251).expect("a prime");
    prop_oneof![
        Just(Scheduler::Rr),
        Just(Scheduler::Wrr),
        flags.clone().prop_map(Scheduler::Sh),
        Just(Scheduler::Dh),
        flags.prop_map(move |flags| Scheduler::Mh(flags, size)),
        Just(Scheduler::Fo),
    ]
}

fn any_service() -> impl Strategy<Value = VirtualService> {
    let server = (0u8..12, 0i64..9);
    let servers = prop::collection::vec(server, 0..6);
    (0u8..3, 0u8..2, any_scheduler(), servers).prop_map(|(vip, port, scheduler, servers)| {
        let mut seen = BTreeSet::new();
        let servers: Vec<_> = servers
            .into_iter()
            .filter(|(address, _)| seen.insert(*address))
            .map(|(address, weight)| (format!("10.1.0.{}", address + 1), weight))
            .collect();
        let servers: Vec<_> = servers.iter().map(|(a, weight)| (a.as_str(), *weight)).collect();
        service(&format!("tcp:10.0.0.{}:{}", vip + 1, port + 80), scheduler, &servers)
    })
}

fn any_desired() -> impl Strategy<Value = Desired> {
    let local =
        prop::collection::btree_set((1u8..4).prop_map(|n| Ipv4Addr::new(10, 0, 0, n)), 0..3);
    (prop::collection::vec(any_service(), 0..6), local).prop_map(|(services, local)| {
        let mut seen = BTreeSet::new();
        let services = services.into_iter().filter(|s| seen.insert(s.address)).collect();
        Desired::new(services, &local)
    })
}

proptest! {
    /// From any state to any other: afterwards the tables, read anew, are what was desired.
    #[test]
    fn a_plan_leads_to_what_is_desired(steps in prop::collection::vec(any_desired(), 1..5)) {
        let mut memory = memory(64, 256, 8192);
        let mut tables = Tables::adopt(&mut memory).expect("empty");
        for wanted in &steps {
            apply(&mut tables, &mut memory, wanted);
            let read = Tables::adopt(&mut memory).expect("readable");
            prop_assert_eq!(read.actual(), tables.actual());
            prop_assert!(plan(wanted, read.actual()).is_empty());
            prop_assert_eq!(read.actual().services.len(), wanted.services.len());
            for service in &wanted.services {
                let actual = &read.actual().services[&service.address];
                prop_assert_eq!(actual.scheduler, service.scheduler);
                let weights: BTreeMap<_, _> =
                    actual.servers.iter().map(|(a, s)| (*a, s.weight)).collect();
                let list = service.servers.iter().map(|s| (s.address, s.weight)).collect();
                prop_assert_eq!(weights, list);
                prop_assert_eq!(actual.picks.len() as u64, lookup::slots(service));
            }
            for (vip, ownership) in &wanted.vips {
                let expected =
                    if *ownership == Ownership::Local { Vip::LOCAL } else { Vip::OWNED };
                prop_assert_eq!(memory.vips.get(&Address::from(*vip)), Some(&expected));
                prop_assert!(memory.front.vip_filter.may_contain_v4(vip.octets()));
            }
            prop_assert_eq!(memory.vips.len(), wanted.vips.len());
        }
    }
}
