//! `mh`: Maglev's table (Eisenbud et al., "Maglev: a fast and reliable software network load
//! balancer", NSDI 2016, section 3.4), with ip_vs's hashes and turns.

use lb_common::hash;

use super::{Candidate, Pick};
use crate::config::TableSize;

/// A server while the table is filled.
struct Filler {
    candidate: u32,
    /// The next of its slots, in the order in which it would take them all.
    next: u32,
    /// How far it is to the one after that.
    skip: u32,
    /// How many slots it takes in a row.
    turns: u32,
}

/// The table of `size` slots for servers on `port`. A server of weight 0 keeps its slots, by the last
/// weight that was not 0.
pub(super) fn build(candidates: &[Candidate], port: u16, size: u32, fallback: bool) -> Vec<Pick> {
    let owners = owners(candidates, port, size);
    let pick = |owner: u32| candidates[owner as usize];
    let mut picks = vec![Pick::Refuse; owners.len()];
    // What comes next behind a slot: walking backwards, twice round for those at the end.
    let mut behind = None;
    for slot in (0..owners.len()).rev().chain((0..owners.len()).rev()) {
        let candidate = pick(owners[slot]);
        if candidate.is_available() {
            behind = Some(candidate.address);
            picks[slot] = Pick::Server(candidate.address);
        } else if fallback {
            picks[slot] = behind.map_or(Pick::Refuse, Pick::Instead);
        }
    }
    picks
}

/// The servers take slots in turn, each the first that is free in an order of its own.
fn owners(candidates: &[Candidate], port: u16, size: u32) -> Vec<u32> {
    let mut fillers = fillers(candidates, port, size);
    let mut owners = vec![0; size as usize];
    // A bit per slot fits into a CPU's nearest cache, which the owners do not.
    let mut taken = vec![0u64; size as usize / 64 + 1];
    let mut left = size;
    loop {
        for filler in &mut fillers {
            for _ in 0..filler.turns {
                while taken[filler.next as usize / 64] >> (filler.next % 64) & 1 != 0 {
                    filler.next += filler.skip;
                    if filler.next >= size {
                        filler.next -= size;
                    }
                }
                taken[filler.next as usize / 64] |= 1 << (filler.next % 64);
                owners[filler.next as usize] = filler.candidate;
                left -= 1;
                if left == 0 {
                    return owners;
                }
            }
        }
    }
}

fn fillers(candidates: &[Candidate], port: u16, size: u32) -> Vec<Filler> {
    let weights = || candidates.iter().map(|candidate| candidate.last_weight);
    let divisor = super::turns::divisor(weights());
    let heaviest = weights().max().unwrap_or(0) / divisor;
    // As ip_vs: half as many bits of the weights count as the size has.
    let shift = bits(heaviest).saturating_sub(bits(size) / 2);
    let known = candidates.iter().enumerate().filter(|(_, candidate)| candidate.last_weight > 0);
    let filler = |(number, candidate): (usize, &Candidate)| {
        let sum = candidate.address.to_bits().wrapping_add(port.into());
        Filler {
            candidate: number as u32,
            next: hash::maglev(sum) % size,
            skip: hash::maglev_skip(sum) % (size - 1) + 1,
            turns: ((candidate.last_weight / divisor) >> shift).max(1),
        }
    };
    known.map(filler).collect()
}

const fn bits(number: u32) -> u32 {
    u32::BITS - number.leading_zeros()
}

const _: () = assert!(bits(TableSize::RANGE[1]) == 20);
