use std::collections::{BTreeMap, HashMap};

use proptest::prelude::*;

use super::*;
use crate::config::{HashFlags, Server, TableSize, Weight};

fn address(number: usize) -> Ipv4Addr {
    Ipv4Addr::from_bits(0x0a03_0001 + number as u32)
}

fn service(scheduler: Scheduler, weights: &[u32]) -> VirtualService {
    let server = |(number, weight): (usize, &u32)| Server {
        address: address(number),
        weight: Weight::try_from(i64::from(*weight)).expect("a weight"),
    };
    VirtualService {
        address: "tcp:10.9.9.9:80".parse().expect("a service"),
        scheduler,
        servers: weights.iter().enumerate().map(server).collect(),
    }
}

fn picks(scheduler: Scheduler, weights: &[u32]) -> Vec<Pick> {
    let service = service(scheduler, weights);
    build(&service, &candidates(&service, None))
}

fn maglev(size: i64, fallback: bool) -> Scheduler {
    let size = TableSize::try_from(size).expect("a prime");
    Scheduler::Mh(HashFlags { fallback, port: false }, size)
}

/// How many slots each server has.
fn shares(picks: &[Pick]) -> BTreeMap<Ipv4Addr, u32> {
    let mut shares = BTreeMap::new();
    for pick in picks {
        if let Pick::Server(server) = pick {
            *shares.entry(*server).or_default() += 1;
        }
    }
    shares
}

fn any_scheduler() -> impl Strategy<Value = Scheduler> {
    let flags = (any::<bool>(), any::<bool>());
    let flags = flags.prop_map(|(fallback, port)| HashFlags { fallback, port });
    prop_oneof![
        Just(Scheduler::Rr),
        Just(Scheduler::Wrr),
        flags.clone().prop_map(Scheduler::Sh),
        Just(Scheduler::Dh),
        flags.prop_map(|flags| Scheduler::Mh(flags, TableSize::default())),
        Just(Scheduler::Fo),
    ]
}

#[test]
fn weights_too_big_for_a_table_are_counted_without_one() {
    let slots = |weights: &[u32]| slots(&service(Scheduler::Wrr, weights));
    assert_eq!(slots(&[2_147_483_647, 1]), 2_147_483_648);
    assert_eq!(slots(&[2_147_483_646, 0, 2]), 1_073_741_824);
}

/// As in Maglev's paper
/// (section 5.3), where 65,537 slots are shared evenly: within 1 % among 100 servers.
#[test]
fn maglevs_shares_are_even() {
    let shares = shares(&picks(maglev(65_537, false), &[1; 100]));
    assert_eq!(shares.len(), 100);
    assert!(shares.values().all(|&slots| slots == 655 || slots == 656), "{shares:?}");
}

/// Where server `gone` of `all` is no more, as slots that moved though they were not its own.
fn moved_needlessly(size: i64, all: &[u32], gone: usize) -> usize {
    let full = service(maglev(size, false), all);
    let mut less = full.clone();
    less.servers.remove(gone);
    let [before, after] = [full, less].map(|s| build(&s, &candidates(&s, None)));
    let own = Pick::Server(address(gone));
    before.iter().zip(&after).filter(|(before, after)| **before != own && before != after).count()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn removing_or_adding_one_of_100_servers_moves_few_others(gone in 0usize..100) {
        let moved = moved_needlessly(65_537, &[1; 100], gone);
        prop_assert!(moved <= 65_537 * 2 / 100, "{moved}");
    }

    #[test]
    fn a_table_is_as_long_as_is_said(
        scheduler in any_scheduler(), weights in prop::collection::vec(0u32..200, 0..12)
    ) {
        let picks = picks(scheduler, &weights);
        prop_assert_eq!(picks.len() as u64, slots(&service(scheduler, &weights)));
    }

    #[test]
    fn no_new_flow_goes_to_weight_0(
        scheduler in any_scheduler(), weights in prop::collection::vec(0u32..3, 0..12)
    ) {
        for pick in picks(scheduler, &weights) {
            if let Pick::Server(server) | Pick::Instead(server) = pick {
                let number = server.to_bits() - address(0).to_bits();
                prop_assert!(weights[number as usize] > 0);
            }
        }
    }

    #[test]
    fn with_fallback_nobody_is_refused_by_mh(weights in prop::collection::vec(0u32..3, 1..12)) {
        let picks = picks(maglev(251, true), &weights);
        prop_assert!(!picks.contains(&Pick::Refuse));
    }

    /// Servers that had a weight keep their slots while it is 0, so that no other flow moves.
    #[test]
    fn quiescing_moves_nobody_elses_slots(
        weights in prop::collection::vec(1u32..9, 2..12), quiesced: prop::sample::Index
    ) {
        let quiesced = quiesced.index(weights.len());
        let service = service(maglev(251, false), &weights);
        let before = candidates(&service, None);
        let mut after = before.clone();
        after[quiesced].weight = 0;
        let own = Pick::Server(address(quiesced));
        for (before, after) in build(&service, &before).iter().zip(build(&service, &after)) {
            prop_assert_eq!(after, if *before == own { Pick::Refuse } else { *before });
        }
    }

    #[test]
    fn wrr_gives_everyone_its_share(weights in prop::collection::vec(0u32..300, 1..20)) {
        let shares = shares(&picks(Scheduler::Wrr, &weights));
        let divisor = turns::divisor(weights.iter().copied());
        for (number, weight) in weights.iter().enumerate() {
            let share = shares.get(&address(number)).copied().unwrap_or(0);
            prop_assert_eq!(share, weight / divisor);
        }
    }

    #[test]
    fn the_data_path_comes_upon_the_pick_whose_turn_it_is(
        length in 1usize..20, start in 0u32..20, base: u64, made in 0u64..50
    ) {
        let cycle: Vec<usize> = (0..length).collect();
        let turn = Turn { base, start: start % length as u32 };
        let slots = slots_of(&cycle, turn.head(length));
        // Where the counter wraps, the table would have to be as long as a power of two.
        prop_assume!(base.checked_add(made).is_some());
        let slot = slots[((base + made) % length as u64) as usize];
        prop_assert_eq!(slot, ((u64::from(turn.start) + made) % length as u64) as usize);
        prop_assert_eq!(cycle_of(&slots, turn.head(length)), cycle);
    }
}

/// These servers, those of an even number with weight 0.
fn listed(numbers: &[usize]) -> Vec<Candidate> {
    let weight = |number| (number % 2) as u32;
    let candidate =
        |&number| Candidate { address: address(number), weight: weight(number), last_weight: 1 };
    numbers.iter().map(candidate).collect()
}

#[test]
fn rr_goes_on_behind_the_server_that_was_used_last() {
    let next = |old: &[usize], new: &[usize], made: u64| {
        let old: Vec<_> = old.iter().map(|&number| Pick::Server(address(number))).collect();
        let turn = Turn { base: 7, start: 0 };
        let (turn, last) = turn.round_robin(&old, None, &listed(new), 7 + made);
        assert_eq!(turn.base, 7 + made);
        (turn.start, last.map(|last| (last.to_bits() - address(0).to_bits()) as usize))
    };
    // A new one enters at the head and is used after the wrap.
    assert_eq!(next(&[1, 3, 5], &[7, 1, 3, 5], 1), (2, Some(1)));
    assert_eq!(next(&[1, 3, 5], &[7, 1, 3, 5], 3), (4, Some(5)));
    // And at the end, at once.
    assert_eq!(next(&[1, 3, 5], &[1, 3, 5, 7], 3), (3, Some(5)));
    // The last used one goes: its predecessor stands for it, or the head of the list.
    assert_eq!(next(&[1, 3, 5], &[1, 5], 2), (1, Some(1)));
    assert_eq!(next(&[1, 3, 5], &[3, 5], 1), (0, None));
    // It stays, but takes no more flows.
    assert_eq!(next(&[1, 2, 3], &[1, 2, 3], 2), (1, Some(2)));
    assert_eq!(next(&[2, 1, 3], &[2, 1, 3], 1), (0, Some(2)));
    assert_eq!(next(&[1, 2], &[2], 1), (0, None));
    // Nobody was used yet.
    assert_eq!(next(&[], &[3, 5], 7), (0, None));
    assert_eq!(next(&[1, 3], &[1, 3, 5], 0), (0, None));
}

#[test]
fn the_heaviest_of_equals_is_the_first() {
    let fo = |weights: &[u32]| picks(Scheduler::Fo, weights);
    assert_eq!(fo(&[1, 3, 3]), [Pick::Server(address(1))]);
    assert!(fo(&[0, 0]).is_empty());
}

/// `dh` fills its buckets one by one, whatever the weights.
#[test]
fn dh_gives_everyone_as_many_buckets() {
    let buckets = picks(Scheduler::Dh, &[7, 1, 0, 1]);
    let counts: HashMap<_, _> = shares(&buckets).into_iter().collect();
    assert_eq!(counts, [0, 1, 3].map(|number| (address(number), 64)).into());
    assert_eq!(buckets.iter().filter(|pick| **pick == Pick::Refuse).count(), 64);
}
