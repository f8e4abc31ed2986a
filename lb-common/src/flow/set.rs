//! Finding a flow in its two sets, and finding a place for a new one.

use super::word::FlowWord;

/// Flow words in a set: 64 bytes, one cache line.
pub const WAYS: usize = 8;

/// How full the first set may be before a new flow looks at the second as well. Lower spreads
/// better, higher keeps more flows in the line that is read first.
const CROWDED: u32 = 5;

/// Eight flow words that other CPUs read and change at the same time.
pub trait FlowSet {
    /// Reads a word. Only the lower three bits of `way` count.
    fn word(&self, way: usize) -> FlowWord;

    /// Replaces a word if it is still `old`; whether it was.
    fn replace(&self, way: usize, old: FlowWord, new: FlowWord) -> bool;
}

/// The way that holds the flow with this tag.
#[inline(always)]
pub fn find<S: FlowSet>(set: &S, tag: u32) -> Option<(usize, FlowWord)> {
    let mut way = 0;
    while way < WAYS {
        let word = set.word(way);
        if word.tag() == tag {
            return Some((way, word));
        }
        way += 1;
    }
    None
}

/// Where a new flow goes, and what stood there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// 0 for the first candidate set, 1 for the second.
    pub set: usize,
    /// The way in it.
    pub way: usize,
    /// The word to replace.
    pub old: FlowWord,
}

/// The cheapest word of one set to give up, its price, and how many words are in use.
#[derive(Clone, Copy)]
struct Offer {
    price: u32,
    way: usize,
    old: FlowWord,
    used: u32,
}

/// What giving up a word costs: nothing for an empty one, then expired, then half-open, then the
/// rest; within a class the least recently seen is cheapest.
#[inline(always)]
fn price(word: FlowWord, now: u64) -> u32 {
    let recency = 0xffff - u32::from(word.age(now));
    if word.is_empty() {
        0
    } else if word.is_expired(now) {
        1 << 16
    } else if word.state().is_half_open() {
        2 << 16 | recency
    } else {
        3 << 16 | recency
    }
}

#[inline(always)]
fn offer<S: FlowSet>(set: &S, now: u64) -> Offer {
    let mut best = Offer { price: u32::MAX, way: 0, old: FlowWord::EMPTY, used: 0 };
    let mut way = 0;
    while way < WAYS {
        let old = set.word(way);
        let price = price(old, now);
        if price >= 2 << 16 {
            best.used += 1;
        }
        if price < best.price {
            best = Offer { price, way, old, used: best.used };
        }
        way += 1;
    }
    best
}

/// Chooses where a new flow goes: into the first set while that is not crowded, else into the
/// emptier of the two; when both are full, in place of the cheapest word.
#[inline(always)]
pub fn place<S: FlowSet>(first: &S, second: &S, now: u64) -> Place {
    let a = offer(first, now);
    if a.used < CROWDED {
        return Place { set: 0, way: a.way, old: a.old };
    }
    let b = offer(second, now);
    let full = WAYS as u32;
    let take_second =
        if a.used == full && b.used == full { b.price < a.price } else { b.used < a.used };
    if take_second {
        Place { set: 1, way: b.way, old: b.old }
    } else {
        Place { set: 0, way: a.way, old: a.old }
    }
}
