//! Whether there is room for what comes.

use super::*;

fn maglev(text: &str, size: i64, servers: &[(&str, i64)]) -> VirtualService {
    let size = TableSize::try_from(size).expect("a prime");
    service(text, Scheduler::Mh(HashFlags { fallback: false, port: false }, size), servers)
}

#[test]
fn an_edit_without_slots_for_the_new_table_is_refused_before_it_is_tried() {
    let mut memory = memory(4, 8, 501);
    let mut tables = Tables::adopt(&mut memory).expect("empty");
    let with = |servers: &[_]| desired(&[maglev(SERVICE, 251, servers)]);
    apply(&mut tables, &mut memory, &with(&[(A, 1)]));
    let lookup = memory.lookup.clone();
    let wanted = with(&[(A, 1), (B, 1)]);
    let diff = plan(&wanted, tables.actual());
    let planned = tables.check(&memory, &diff).expect_err("no room").to_string();
    let applied = tables.apply(&mut memory, &diff, &hops(&wanted)).expect_err("no room");
    assert_eq!(planned, applied.to_string());
    assert!(planned.contains("service tcp:10.0.0.9:80 needs 251 free lookup slots"), "{planned}");
    assert_eq!(lookup, memory.lookup);
    // What needs no new table is still possible.
    apply(&mut tables, &mut memory, &desired(&[]));
    apply(&mut tables, &mut memory, &wanted);
}

#[test]
fn room_for_one_more_table_is_enough_for_many_edits_at_once() {
    let names: Vec<_> = (1..=3).map(|port| format!("tcp:10.0.0.9:{port}")).collect();
    let mut memory = memory(3, 8, 4 * 251);
    let mut tables = Tables::adopt(&mut memory).expect("empty");
    let all = |servers: &[_]| {
        let services: Vec<_> = names.iter().map(|name| maglev(name, 251, servers)).collect();
        desired(&services)
    };
    for servers in [&[(A, 1)][..], &[(A, 1), (B, 1)], &[(B, 1)]] {
        let wanted = all(servers);
        tables.check(&memory, &plan(&wanted, tables.actual())).expect("room");
        apply(&mut tables, &mut memory, &wanted);
        let read = Tables::adopt(&mut memory).expect("readable");
        assert_eq!(read.actual(), tables.actual());
        assert!(plan(&wanted, tables.actual()).is_empty());
    }
}

/// The one that shrinks makes the room, though it comes last.
#[test]
fn tables_that_shrink_go_before_those_that_grow() {
    let other = "tcp:10.0.0.9:81";
    let mut memory = memory(2, 4, 251 + 509 + 251);
    let mut tables = Tables::adopt(&mut memory).expect("empty");
    let two = |first, second| {
        desired(&[maglev(SERVICE, first, &[(A, 1)]), maglev(other, second, &[(A, 1)])])
    };
    apply(&mut tables, &mut memory, &two(251, 509));
    apply(&mut tables, &mut memory, &two(509, 251));
}

/// Room for both tables and once more for the longer one, in pieces that are too short: it is
/// moved together.
#[test]
fn others_make_way_for_a_long_table() {
    let mut memory = memory(4, 8, 2 * 251 + 4);
    let mut tables = Tables::adopt(&mut memory).expect("empty");
    let small =
        |port: u16, servers: &[_]| service(&format!("tcp:10.0.0.9:{port}"), Scheduler::Rr, servers);
    let long = |servers: &[_]| maglev("tcp:10.0.0.8:80", 251, servers);
    let two = [(A, 1), (B, 1)];
    apply(&mut tables, &mut memory, &desired(&[long(&two)]));
    apply(&mut tables, &mut memory, &desired(&[long(&two), small(80, &two)]));
    assert_eq!(opened(&memory, 1), ip(A));
    for servers in [&two[1..], &two] {
        let steps = [
            desired(&[long(servers), small(80, &two)]),
            desired(&[long(servers), small(80, &two), small(81, servers)]),
            desired(&[long(&two[..1]), small(80, &two), small(81, servers)]),
            desired(&[long(&two[..1]), small(80, &two)]),
        ];
        for wanted in steps {
            tables.check(&memory, &plan(&wanted, tables.actual())).expect("room");
            apply(&mut tables, &mut memory, &wanted);
            let read = Tables::adopt(&mut memory).expect("readable");
            assert_eq!(read.actual(), tables.actual());
            assert!(plan(&wanted, tables.actual()).is_empty());
        }
    }
    // A table that was moved goes on with its turn.
    assert_eq!([opened(&memory, 2), opened(&memory, 3)], [ip(B), ip(A)]);
}
