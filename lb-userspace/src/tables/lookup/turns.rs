//! `rr` and `wrr`: cycles that the data path walks, and where it goes on after a change.

use std::net::Ipv4Addr;

use super::{Candidate, Pick};

/// One slot per server, in the order of the list.
pub(super) fn round_robin(candidates: &[Candidate]) -> Vec<Pick> {
    let available = candidates.iter().filter(|candidate| candidate.is_available());
    available.map(|candidate| Pick::Server(candidate.address)).collect()
}

/// Rounds of thresholds that fall by the weights' common divisor, from the largest weight to the
/// divisor: in each, all servers of at least that weight, in the order of the list.
pub(super) fn weighted_round_robin(candidates: &[Candidate]) -> Vec<Pick> {
    let weights = || candidates.iter().map(|candidate| candidate.weight);
    let divisor = divisor(weights());
    let mut cycle = Vec::new();
    let mut threshold = weights().max().unwrap_or(0);
    while threshold > 0 {
        let members = candidates.iter().filter(|candidate| candidate.weight >= threshold);
        let round: Vec<_> = members.map(|member| Pick::Server(member.address)).collect();
        let next = weights().filter(|&weight| weight < threshold).max().unwrap_or(0);
        for _ in 0..(threshold - next) / divisor {
            cycle.extend_from_slice(&round);
        }
        threshold = next;
    }
    cycle
}

/// The greatest common divisor of those that are not 0; 1 when there are none.
pub(super) fn divisor(weights: impl Iterator<Item = u32>) -> u32 {
    weights.fold(0, gcd).max(1)
}

const fn gcd(mut a: u32, mut b: u32) -> u32 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

/// Where the data path is in a cycle: which pick came next when its counter stood at `base`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Turn {
    /// The counter when the table was written.
    pub base: u64,
    /// The pick that came next then; as many as there are when it was the first one again, 0 when no
    /// server had been used.
    pub start: u32,
}

impl Turn {
    /// A new service's turn: `rr` begins at the head of the list. `wrr` begins with a round of
    /// everybody, as IPVS does because of its first server, which is alone at first.
    pub fn first(candidates: &[Candidate], weighted: bool, position: u64) -> Self {
        let start = if weighted { round(candidates, 1) } else { 0 };
        Self { base: position, start }
    }

    /// The slot in which the cycle's first pick stands, so that the data path, which looks at slot
    /// `position % length`, finds the right ones.
    pub fn head(self, length: usize) -> usize {
        let length = length.max(1) as u64;
        ((self.base % length + length - u64::from(self.start) % length) % length) as usize
    }

    /// The pick that comes next when the counter stands at `position`.
    fn next(self, length: usize, position: u64) -> usize {
        let made = position.wrapping_sub(self.base) % length as u64;
        ((u64::from(self.start) + made) % length as u64) as usize
    }

    /// `rr` after a change: it goes on behind the server that was used last, or behind its nearest
    /// predecessor that is still there. That server is told as well, since it is in no pick while its
    /// weight is 0.
    ///
    /// `last` is what this told when `old` was written, if no flow was opened since.
    pub fn round_robin(
        self,
        old: &[Pick],
        last: Option<Ipv4Addr>,
        new: &[Candidate],
        position: u64,
    ) -> (Self, Option<Ipv4Addr>) {
        let unused = old.is_empty() || position == self.base && self.start == 0;
        let used = if unused {
            0
        } else {
            (self.next(old.len(), position) + old.len() - 1) % old.len() + 1
        };
        let predecessors = last.into_iter().chain(old[..used].iter().rev().map(Pick::address));
        let place = |last| new.iter().position(|candidate| candidate.address == last);
        let Some(index) = predecessors.filter_map(place).next() else {
            return (Self { base: position, start: 0 }, None);
        };
        let before = new[..=index].iter().filter(|candidate| candidate.is_available());
        (Self { base: position, start: before.count() as u32 }, Some(new[index].address))
    }

    /// `wrr` after a change: it starts again at the head of the list, with the threshold that it had
    /// as far as the new weights allow.
    ///
    /// `old_weight` are the weights that `old` was made of.
    pub fn weighted_round_robin(
        self,
        old: &[Pick],
        old_weight: impl Fn(Ipv4Addr) -> u32,
        new: &[Candidate],
        position: u64,
    ) -> Self {
        if old.is_empty() {
            return Self::first(new, true, position);
        }
        let next = self.next(old.len(), position);
        let current = if position == self.base { next } else { (next + old.len() - 1) % old.len() };
        let weights = old.iter().map(|pick| old_weight(pick.address()));
        let divisor_before = divisor(weights);
        // A server is picked once per threshold, from its weight downwards.
        let picked = old[..current].iter().filter(|pick| **pick == old[current]).count();
        let weight = old_weight(old[current].address());
        // Weights read from tables are any.
        let fallen = (picked as u64 + 1).saturating_mul(divisor_before.into());
        let threshold = u64::from(weight).saturating_sub(fallen).saturating_add(1);
        let threshold = u32::try_from(threshold).unwrap_or(u32::MAX);

        // ip_vs counts thresholds so that the last one is 1.
        let divisor = divisor(new.iter().map(|candidate| candidate.weight));
        let most = new.iter().map(|candidate| candidate.weight).max().unwrap_or(0);
        let threshold = threshold.min(most.saturating_add(1).saturating_sub(divisor)).max(1);
        let rounds_left = if divisor > 1 { threshold / divisor + 1 } else { threshold };
        Self { base: position, start: round(new, rounds_left) }
    }
}

/// The first pick of a `wrr` cycle's round after which only `left - 1` come.
fn round(candidates: &[Candidate], left: u32) -> u32 {
    let divisor = divisor(candidates.iter().map(|candidate| candidate.weight));
    candidates.iter().map(|candidate| (candidate.weight / divisor).saturating_sub(left)).sum()
}

/// The cycle that stands in slots, its first pick at `head`.
pub(in crate::tables) fn cycle_of<T: Copy>(slots: &[T], head: usize) -> Vec<T> {
    let (tail, start) = slots.split_at(head.min(slots.len()));
    [start, tail].concat()
}

/// The slots in which a cycle stands, its first pick at `head`.
pub(in crate::tables) fn slots_of<T: Copy>(cycle: &[T], head: usize) -> Vec<T> {
    cycle_of(cycle, cycle.len() - head.min(cycle.len()))
}
