//! Lookup tables: the order in which a service's real servers take new flows.
//!
//! The data path walks a table slot by slot and starts over at its end, so a table is a cycle.

use std::net::Ipv4Addr;

use crate::config::{Scheduler, Server};

/// Slots of a `wrr` table at most, unless there are more servers: 16 KiB. Weights that would take
/// more are scaled down to whole slots, each to one at least.
pub const MOST_WRR_SLOTS: u64 = 4096;

/// The servers in the order in which they take new flows; those of weight 0 take none.
///
/// `rr` has one slot per server, in list order. `wrr` has a slot per unit of weight (after
/// division by the greatest common divisor, and scaled to [`MOST_WRR_SLOTS`]), interleaved by
/// smooth weighted round robin: in every prefix of the cycle a server has been picked less than
/// one time more than its share, because only a server that is behind or even is ever picked.
pub fn build(scheduler: Scheduler, servers: &[Server]) -> Vec<Ipv4Addr> {
    let usable: Vec<_> = servers.iter().filter(|server| server.weight.get() > 0).collect();
    let weights: Vec<u64> = match scheduler {
        Scheduler::Rr => vec![1; usable.len()],
        Scheduler::Wrr => {
            scaled(usable.iter().map(|server| u64::from(server.weight.get())).collect())
        }
    };
    interleave(&weights).into_iter().map(|server| usable[server].address).collect()
}

/// Weights with the same proportions (as near as may be), each at least 1, of a sum that fits.
fn scaled(mut weights: Vec<u64>) -> Vec<u64> {
    reduce(&mut weights);
    let most = MOST_WRR_SLOTS.max(weights.len() as u64);
    let total: u64 = weights.iter().sum();
    if total > most {
        for weight in &mut weights {
            *weight = (*weight * most / total).max(1);
        }
        // Those that were lifted to 1 may have made it too many: the heaviest give way.
        let excess = weights.iter().sum::<u64>().saturating_sub(most);
        for _ in 0..excess {
            // Never below 1: `most` has room for one slot each.
            if let Some(heaviest) = weights.iter_mut().max() {
                *heaviest -= 1;
            }
        }
        reduce(&mut weights);
    }
    weights
}

fn reduce(weights: &mut [u64]) {
    let divisor = weights.iter().copied().fold(0, gcd).max(1);
    for weight in weights {
        *weight /= divisor;
    }
}

const fn gcd(mut a: u64, mut b: u64) -> u64 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

/// Smooth weighted round robin: everybody gains its weight, the richest is picked (the first on a
/// tie) and pays the sum of all weights.
fn interleave(weights: &[u64]) -> Vec<usize> {
    if weights.iter().all(|&weight| weight == 1) {
        return (0..weights.len()).collect();
    }
    let total: i64 = weights.iter().sum::<u64>() as i64;
    let mut credit = vec![0i64; weights.len()];
    (0..total)
        .map(|_| {
            let mut richest = 0;
            for (server, weight) in weights.iter().enumerate() {
                credit[server] += *weight as i64;
                if credit[server] > credit[richest] {
                    richest = server;
                }
            }
            credit[richest] -= total;
            richest
        })
        .collect()
}

/// Whether two tables are the same cycle.
pub fn same_cycle(a: &[Ipv4Addr], b: &[Ipv4Addr]) -> bool {
    if a.len() != b.len() || a.is_empty() {
        return a.len() == b.len();
    }
    (0..a.len()).any(|start| {
        let (head, tail) = a.split_at(start);
        let (b_head, b_tail) = b.split_at(b.len() - start);
        tail == b_head && head == b_tail
    })
}

/// Which pick of the `new` cycle comes next after the data path has made `position` picks of the
/// `old` one, as IPVS has it: `rr` goes on behind the server that was used last, or behind its
/// nearest predecessor that is still there; `wrr` starts again at the head.
pub fn next_pick(scheduler: Scheduler, old: &[Ipv4Addr], new: &[Ipv4Addr], position: u64) -> usize {
    if scheduler == Scheduler::Wrr || old.is_empty() || new.is_empty() || position == 0 {
        return 0;
    }
    let last = ((position - 1) % old.len() as u64) as usize;
    let predecessors = old[..=last].iter().rev().chain(old[last + 1..].iter().rev());
    let kept = predecessors.filter_map(|server| new.iter().position(|other| other == server));
    kept.map(|index| (index + 1) % new.len()).next().unwrap_or(0)
}

/// Turns a cycle so that the data path, which looks at slot `position % length`, comes upon pick
/// `next` first.
pub fn turned<T: Copy>(cycle: &[T], next: usize, position: u64) -> Vec<T> {
    let length = cycle.len();
    if length == 0 {
        return Vec::new();
    }
    let slot = (position % length as u64) as usize;
    let start = (next + length - slot) % length;
    cycle[start..].iter().chain(&cycle[..start]).copied().collect()
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;
    use crate::config::Weight;

    fn address(number: usize) -> Ipv4Addr {
        Ipv4Addr::from_bits(0x0a00_0001 + number as u32)
    }

    fn servers(weights: &[i64]) -> Vec<Server> {
        let server = |(number, weight): (usize, &i64)| Server {
            address: address(number),
            weight: Weight::try_from(*weight).expect("a weight"),
        };
        weights.iter().enumerate().map(server).collect()
    }

    /// The numbers of the servers in the order of their picks.
    fn picks(scheduler: Scheduler, weights: &[i64]) -> Vec<u32> {
        let table = build(scheduler, &servers(weights));
        table.into_iter().map(|server| server.to_bits() - 0x0a00_0001).collect()
    }

    #[test]
    fn rr_goes_through_the_list_and_skips_weight_0() {
        assert_eq!(picks(Scheduler::Rr, &[1, 5, 0, 1]), [0, 1, 3]);
        assert!(picks(Scheduler::Rr, &[0, 0]).is_empty());
    }

    /// The first sequence is the one that nginx's commit "smooth weighted round-robin balancing"
    /// gives as its example.
    #[test]
    fn wrr_interleaves_smoothly() {
        assert_eq!(picks(Scheduler::Wrr, &[5, 1, 1]), [0, 0, 1, 0, 2, 0, 0]);
        assert_eq!(picks(Scheduler::Wrr, &[4, 2]), [0, 1, 0]);
        assert_eq!(picks(Scheduler::Wrr, &[7, 7]), [0, 1]);
    }

    #[test]
    fn extreme_weights_make_a_table_of_bounded_length() {
        let table = picks(Scheduler::Wrr, &[2_147_483_647, 1, 1]);
        assert!(table.len() as u64 <= MOST_WRR_SLOTS);
        assert_eq!(table.iter().filter(|&&server| server == 1).count(), 1);
        let many = vec![2_147_483_647; 5000];
        assert_eq!(picks(Scheduler::Wrr, &many).len(), 5000);
        let mut uneven = vec![1; 4000];
        uneven.push(2_147_483_647);
        let table = picks(Scheduler::Wrr, &uneven);
        assert_eq!(table.len() as u64, MOST_WRR_SLOTS);
    }

    #[test]
    fn rr_goes_on_behind_the_server_that_was_used_last() {
        let [a, b, c, d] = [0, 1, 2, 3].map(address);
        let next = |old: &[_], new: &[_], position| next_pick(Scheduler::Rr, old, new, position);
        // A new one enters at the head and is used after the wrap.
        assert_eq!(next(&[a, b, c], &[d, a, b, c], 1), 2);
        assert_eq!(next(&[a, b, c], &[d, a, b, c], 3), 0);
        // The last used one goes: its predecessor stands for it.
        assert_eq!(next(&[a, b, c], &[a, c], 2), 1);
        assert_eq!(next(&[a, b, c], &[b, c], 1), 0);
        assert_eq!(next_pick(Scheduler::Wrr, &[a, b], &[b, c], 1), 0);
        assert_eq!(next(&[], &[b, c], 7), 0);
    }

    #[test]
    fn a_turned_table_shows_the_wanted_pick_next() {
        for position in 0..10u64 {
            for next in 0..4 {
                let table = turned(&[0, 1, 2, 3], next, position);
                assert_eq!(table[(position % 4) as usize], next);
            }
        }
    }

    proptest! {
        /// Of a whole cycle every server has its weight; of every prefix it has less than one
        /// more than its share, and is behind by less than 1 + ln n (measured bound).
        #[test]
        fn wrr_gives_everyone_its_share(weights in prop::collection::vec(1i64..100, 1..20)) {
            let table = picks(Scheduler::Wrr, &weights);
            let total: i64 = weights.iter().sum();
            let behind = 1.0 + (weights.len() as f64).ln();
            let mut counts: HashMap<u32, i64> = HashMap::new();
            for (made, server) in table.iter().enumerate() {
                *counts.entry(*server).or_default() += 1;
                for (server, weight) in weights.iter().enumerate() {
                    let share = (made as i64 + 1) as f64 * *weight as f64 / total as f64;
                    let count = counts.get(&(server as u32)).copied().unwrap_or(0) as f64;
                    prop_assert!(count - share < 1.0, "{count} of {share}");
                    prop_assert!(share - count < behind, "{count} of {share}");
                }
            }
            let divisor = weights.iter().fold(0, |a, &b| gcd(a, b as u64)) as i64;
            for (server, weight) in weights.iter().enumerate() {
                prop_assert_eq!(counts[&(server as u32)], weight / divisor);
            }
        }

        #[test]
        fn wrr_of_any_weights_fits_and_forgets_nobody(
            weights in prop::collection::vec(0i64..=2_147_483_647, 0..60)
        ) {
            let table = picks(Scheduler::Wrr, &weights);
            prop_assert!(table.len() as u64 <= MOST_WRR_SLOTS);
            for (server, weight) in weights.iter().enumerate() {
                prop_assert_eq!(table.contains(&(server as u32)), *weight > 0);
            }
        }

        #[test]
        fn a_turned_cycle_is_the_same_cycle(
            weights in prop::collection::vec(0i64..9, 0..9), next in 0usize..9, position: u64
        ) {
            let table = build(Scheduler::Wrr, &servers(&weights));
            let next = if table.is_empty() { 0 } else { next % table.len() };
            prop_assert!(same_cycle(&table, &turned(&table, next, position)));
        }
    }
}
