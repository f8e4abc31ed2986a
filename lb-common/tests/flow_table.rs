//! Where flows are kept, what they push out, and what they are mistaken for.

mod common;

use std::{collections::HashMap, sync::atomic::AtomicU64, sync::atomic::Ordering};

use common::{
    ACK, DNS, FIN, HTTP, HTTPS, PSH, SEED, SYN, VIP, datagram, direct, reached, segment, tables,
};
use lb_common::{
    Be16, Reason,
    flow::{FlowKey, FlowState, FlowWord, WAYS, find, place, standing},
    memory::MemoryTables,
};
use proptest::{collection::vec, prelude::*};

/// A deterministic stream of numbers (splitmix64), so that a failure repeats.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ z >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ z >> 31
    }

    fn key(&mut self) -> FlowKey {
        let number = self.next();
        let source = (number as u32).to_be_bytes();
        FlowKey::v4(source, VIP, Be16::new((number >> 32) as u16), Be16::new(HTTP), 6)
    }
}

/// A flow table alone.
struct Table {
    words: Vec<AtomicU64>,
    mask: u32,
}

/// What an insertion did.
#[derive(Default, Debug)]
struct Tally {
    insertions: u64,
    displaced: u64,
    first: u64,
    liked: u64,
}

impl Table {
    fn new(sets: u32) -> Self {
        let words = (0..sets as usize * WAYS).map(|_| AtomicU64::new(0)).collect();
        Self { words, mask: sets - 1 }
    }

    fn set(&self, index: u32) -> &[AtomicU64] {
        &self.words[index as usize * WAYS..][..WAYS]
    }

    fn insert(&self, key: &FlowKey, state: FlowState, now: u64, tally: &mut Tally) {
        let hash = key.hash(&SEED);
        let sets = hash.sets(self.mask);
        let place =
            place(&sets.map(|set| self.set(set)), hash.way(), now).expect("nobody else writes");
        tally.insertions += 1;
        tally.first += u64::from(place.set == 0);
        tally.liked += u64::from(place.way == hash.way());
        tally.displaced += u64::from(!place.old.is_empty() && !place.old.is_expired(now));
        let slot = &self.set(sets[place.set])[place.way];
        slot.store(FlowWord::new(hash.tag(), 1, state, now).0, Ordering::Relaxed);
    }

    /// Forgets a flow, if it is still there.
    fn remove(&self, key: &FlowKey) {
        let hash = key.hash(&SEED);
        let sets = hash.sets(self.mask).map(|set| self.set(set));
        let found = sets.iter().map(|set| find(set, hash).1);
        if let Some(word) = found.into_iter().find(|word| !word.is_empty()) {
            let place = standing(&sets, word).expect("it was just found");
            sets[place.set][place.way].store(0, Ordering::Relaxed);
        }
    }
}

/// Filling tables to one half, and replacing every flow of the full half twice over.
#[test]
#[cfg_attr(miri, ignore = "millions of insertions")]
fn half_full_tables_evict_fewer_than_one_flow_in_a_million() {
    const SETS: u32 = 1 << 16;
    let half = SETS as usize * WAYS / 2;
    let mut numbers = Numbers(1);
    let mut filling = Tally::default();
    let mut churn = Tally::default();
    for _ in 0..4 {
        let table = Table::new(SETS);
        let mut live: Vec<FlowKey> = (0..half).map(|_| numbers.key()).collect();
        for key in &live {
            table.insert(key, FlowState::ESTABLISHED, 0, &mut filling);
        }
        for _ in 0..half {
            let gone = numbers.next() as usize % half;
            table.remove(&live[gone]);
            live[gone] = numbers.key();
            table.insert(&live[gone], FlowState::ESTABLISHED, 0, &mut churn);
        }
    }
    println!("filling {filling:?}, churn {churn:?}");
    for tally in [&filling, &churn] {
        assert!(tally.insertions >= 1_000_000);
        assert!(tally.displaced * 1_000_000 < tally.insertions, "{tally:?}");
        assert!(tally.first * 10 > tally.insertions * 7, "{tally:?}");
        assert!(tally.liked * 2 > tally.insertions, "{tally:?}");
    }
}

fn any_word(now: u64) -> impl Strategy<Value = FlowWord> {
    let state = proptest::sample::select(vec![
        FlowState::SYN_RECV,
        FlowState::ESTABLISHED,
        FlowState::FIN_WAIT,
        FlowState::TIME_WAIT,
        FlowState::CLOSE,
        FlowState::UDP,
    ]);
    prop_oneof![
        1 => Just(FlowWord::EMPTY),
        // States live from 10 to 839 ticks.
        8 => (1u32..1 << 28, any::<u16>(), state, 0..900u64).prop_map(move |(tag, server, state, age)| {
            FlowWord::new(tag, server, state, now.wrapping_sub(age))
        }),
    ]
}

fn set_of(words: &[FlowWord]) -> Vec<AtomicU64> {
    words.iter().map(|word| AtomicU64::new(word.0)).collect()
}

/// What losing a word means: 0 nothing, 1 an expired flow, 2 a half-open one, 3 any other.
fn loss(word: FlowWord, now: u64) -> u32 {
    if word.is_empty() {
        0
    } else if word.is_expired(now) {
        1
    } else if word.state() == FlowState::SYN_RECV {
        2
    } else {
        3
    }
}

const NOW: u64 = 70_000;

proptest! {
    #[test]
    fn half_open_flood_never_evicts_established(
        first in vec(any_word(NOW), WAYS),
        second in vec(any_word(NOW), WAYS),
        liked in 0..WAYS,
    ) {
        let (a, b) = (set_of(&first), set_of(&second));
        let chosen = place(&[a.as_slice(), b.as_slice()], liked, NOW).expect("nobody else writes");
        let set = if chosen.set == 0 { &first } else { &second };
        prop_assert_eq!(set[chosen.way], chosen.old);
        if chosen.old.is_empty() {
            prop_assert!(set[liked].is_empty() == (chosen.way == liked));
        }
        let cheapest = first.iter().chain(&second).map(|&word| loss(word, NOW)).min();
        if loss(chosen.old, NOW) >= 2 {
            // A live flow goes only where nothing else can, half-open before any other.
            prop_assert_eq!(Some(loss(chosen.old, NOW)), cheapest);
            // And of its kind, the one not seen for longest.
            let kind = loss(chosen.old, NOW);
            let oldest = first.iter().chain(&second)
                .filter(|&&word| loss(word, NOW) == kind)
                .map(|word| word.age(NOW))
                .max();
            prop_assert_eq!(Some(chosen.old.age(NOW)), oldest);
        }
    }

    #[test]
    fn ages_are_right_across_the_wrap(seen: u64, age in 0u64..65_000, state in 1u8..12) {
        let word = FlowWord::new(1, 2, FlowState(state), seen);
        let now = seen.wrapping_add(age);
        prop_assert_eq!(u64::from(word.age(now)), age);
        let timeout = u64::from(FlowState(state).timeout_ticks());
        prop_assert_eq!(word.is_expired(now), age > timeout);
    }

    #[test]
    fn a_clock_read_a_little_earlier_finds_a_flow_just_seen(seen: u64, early in 1u64..=16) {
        let word = FlowWord::new(1, 2, FlowState::ESTABLISHED, seen);
        prop_assert_eq!(word.age(seen.wrapping_sub(early)), 0);
        prop_assert!(!word.is_expired(seen.wrapping_sub(early)));
    }

    #[test]
    fn words_keep_what_they_are_given(tag in 1u32..1 << 28, server: u16, state in 0u8..16, now: u64, later: u64) {
        let word = FlowWord::new(tag, server, FlowState(state), now);
        prop_assert_eq!(word.tag(), tag);
        prop_assert_eq!(word.real_server(), u32::from(server));
        prop_assert_eq!(word.state(), FlowState(state));
        prop_assert_eq!(word.age(now), 0);
        let touched = word.touched(FlowState::ESTABLISHED, later);
        prop_assert_eq!(touched, FlowWord::new(tag, server, FlowState::ESTABLISHED, later));
    }

    /// The model: a flow's server is that of the SYN that opened it, whatever comes between. At
    /// most 50 ticks pass, less than the shortest timeout here.
    #[test]
    fn flows_stick_to_their_server(
        packets in vec((0u16..24, prop_oneof![2 => Just(SYN), 3 => Just(ACK), 3 => Just(ACK | PSH), 1 => Just(ACK | FIN)], 0u64..2), 1..50),
    ) {
        let mut tables = tables(256);
        let mut servers: HashMap<u16, u32> = HashMap::new();
        let mut half_open: HashMap<u16, bool> = HashMap::new();
        for (port, flags, ticks) in packets {
            tables.now += ticks;
            // A FIN of a half-open flow would let its next SYN open a new one.
            let flags = if half_open.get(&port) == Some(&true) && flags & FIN != 0 { ACK } else { flags };
            let frame = segment(common::CLIENT, port, HTTP, flags);
            match servers.get(&port) {
                Some(&server) => prop_assert_eq!(reached(&tables, &frame), (server, false)),
                None if flags == SYN => {
                    let (server, new) = reached(&tables, &frame);
                    prop_assert!(new);
                    servers.insert(port, server);
                    half_open.insert(port, true);
                }
                None => {
                    prop_assert_eq!(direct(&tables, &frame).0, Reason::ResetNoFlow.transmit());
                }
            }
            if flags & ACK != 0 && servers.contains_key(&port) {
                half_open.insert(port, false);
            }
            // Half-open again after a SYN in FIN_WAIT.
            if flags == SYN {
                half_open.insert(port, true);
            }
        }
        prop_assert_eq!(tables.flows().len(), servers.len());
    }
}

/// 2,048 established flows in a table of 4,096, then packets from fifty times as many strangers:
/// whatever `flood` makes of each, none of the established flows is displaced.
fn established_flows_outlast(flood: impl Fn(&MemoryTables, [u8; 4], u16)) {
    let tables = tables(512);
    let established = |port: u16, flags| segment([10, 1, (port >> 8) as u8, 7], port, HTTP, flags);
    let servers: Vec<u32> = (0..2048)
        .map(|port| {
            let (server, _) = reached(&tables, &established(port, SYN));
            assert_eq!(reached(&tables, &established(port, ACK)), (server, false));
            server
        })
        .collect();
    let mut numbers = Numbers(2);
    for _ in 0..100_000 {
        let number = numbers.next();
        let [_, b, c, d] = (number as u32).to_be_bytes();
        flood(&tables, [100, b, c, d], (number >> 32) as u16);
    }
    assert_eq!(tables.flows().len(), 4096, "the flood filled the table");
    for (port, server) in servers.into_iter().enumerate() {
        assert_eq!(reached(&tables, &established(port as u16, ACK)), (server, false));
    }
}

#[test]
#[cfg_attr(miri, ignore = "a hundred thousand packets")]
fn a_syn_flood_leaves_established_flows_where_they_are() {
    established_flows_outlast(|tables, client, port| {
        reached(tables, &segment(client, port, HTTP, SYN));
    });
}

#[test]
#[cfg_attr(miri, ignore = "two hundred thousand packets")]
fn a_flood_of_closed_flows_leaves_established_flows_where_they_are() {
    established_flows_outlast(|tables, client, port| {
        reached(tables, &segment(client, port, HTTP, SYN));
        reached(tables, &segment(client, port, HTTP, FIN));
    });
}

#[test]
#[cfg_attr(miri, ignore = "a hundred thousand packets")]
fn a_flood_of_lone_datagrams_leaves_established_flows_where_they_are() {
    established_flows_outlast(|tables, client, port| {
        reached(tables, &datagram(client, port, DNS));
    });
}

/// Flows of two services whose tags and sets are the same: found by trying many.
fn twins(sets: u32) -> Vec<([u8; 4], u16, [u8; 4], u16)> {
    const TRIES: u64 = 1 << 16;
    let client =
        |number: u64| ([10, 9, (number >> 8) as u8, number as u8], 1024 + (number >> 8) as u16);
    let hash = |number, destination| {
        let (address, port) = client(number);
        FlowKey::v4(address, VIP, Be16::new(port), Be16::new(destination), 6).hash(&SEED)
    };
    let http: HashMap<u32, u64> = (0..TRIES).map(|n| (hash(n, HTTP).tag(), n)).collect();
    (0..TRIES)
        .filter_map(|number| {
            let other = hash(number, HTTPS);
            let twin = *http.get(&other.tag())?;
            let mut expected = hash(twin, HTTP).sets(sets - 1);
            let mut actual = other.sets(sets - 1);
            expected.sort_unstable();
            actual.sort_unstable();
            let ((a, a_port), (b, b_port)) = (client(twin), client(number));
            (expected == actual).then_some((a, a_port, b, b_port))
        })
        .collect()
}

#[test]
#[cfg_attr(miri, ignore = "a search for collisions")]
fn a_false_match_never_reaches_a_server_of_another_service() {
    let twins = twins(2);
    assert!(!twins.is_empty(), "no two flows look alike");
    println!("{} pairs of flows that look alike", twins.len());
    for (a, a_port, b, b_port) in twins {
        let tables = tables(2);
        let (http, _) = reached(&tables, &segment(a, a_port, HTTP, SYN));
        assert!(http < 2);
        assert_eq!(reached(&tables, &segment(a, a_port, HTTP, ACK)), (http, false));
        // Not a SYN: the word is of another service, so there is no flow.
        let verdict = direct(&tables, &segment(b, b_port, HTTPS, ACK)).0;
        assert_eq!(verdict, Reason::ResetNoFlow.transmit());
        assert_eq!(reached(&tables, &segment(a, a_port, HTTP, ACK)), (http, false));
        // A SYN opens a flow to its own service's server, beside the other.
        let (https, new) = reached(&tables, &segment(b, b_port, HTTPS, SYN));
        assert!(new && (2..4).contains(&https), "{https}");
        assert_eq!(reached(&tables, &segment(b, b_port, HTTPS, ACK)), (https, false));
        assert_eq!(reached(&tables, &segment(a, a_port, HTTP, ACK)), (http, false));
        assert_eq!(tables.flows().len(), 2);
    }
}

#[test]
fn the_stored_key_is_the_flow_s() {
    let tables = tables(16);
    reached(&tables, &segment([10, 0, 0, 9], 4711, HTTP, SYN));
    reached(&tables, &datagram([10, 0, 0, 9], 4711, DNS));
    let mut keys: Vec<_> = tables.flows().into_iter().map(|(_, key)| key).collect();
    keys.sort_unstable();
    let port = Be16::new(4711);
    assert_eq!(
        keys,
        [
            FlowKey::v4([10, 0, 0, 9], VIP, port, Be16::new(DNS), 17),
            FlowKey::v4([10, 0, 0, 9], VIP, port, Be16::new(HTTP), 6),
        ]
    );
}
