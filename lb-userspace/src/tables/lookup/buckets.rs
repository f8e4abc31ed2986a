//! `sh` and `dh`: 256 buckets, filled with the servers in the order of the list, over and over.

use lb_common::hash::BUCKETS;

use super::{Candidate, Pick};

/// `sh`: a server takes as many buckets in a row as its weight, one if that is 0.
///
/// With `fallback`, a bucket whose server takes no flows has what ip_vs finds by adding 0, 1, 2, … to
/// the hash and, since it adds the hash to itself, that is: from twice the bucket's number on.
pub(super) fn source(candidates: &[Candidate], fallback: bool) -> Vec<Pick> {
    let buckets = fill(candidates, |candidate| candidate.weight.max(1));
    let instead = |bucket: usize| {
        let others = (0..BUCKETS as usize).map(|added| (2 * bucket + added) % BUCKETS as usize);
        others.map(|other| buckets[other]).find(Candidate::is_available)
    };
    let pick = |(bucket, candidate): (usize, &Candidate)| {
        let own = candidate.is_available().then_some(*candidate);
        let taker = own.or_else(|| if fallback { instead(bucket) } else { None });
        taker.map_or(Pick::Refuse, |taker| Pick::Server(taker.address))
    };
    buckets.iter().enumerate().map(pick).collect()
}

/// `dh`: a bucket each, whatever the weight.
pub(super) fn destination(candidates: &[Candidate]) -> Vec<Pick> {
    let pick = |candidate: Candidate| {
        if candidate.is_available() { Pick::Server(candidate.address) } else { Pick::Refuse }
    };
    fill(candidates, |_| 1).into_iter().map(pick).collect()
}

fn fill(candidates: &[Candidate], buckets: impl Fn(&Candidate) -> u32) -> Vec<Candidate> {
    let repeated =
        |candidate| std::iter::repeat_n(candidate, buckets(candidate).min(BUCKETS) as usize);
    candidates.iter().cycle().flat_map(repeated).take(BUCKETS as usize).copied().collect()
}
