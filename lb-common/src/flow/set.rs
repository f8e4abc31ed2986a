//! Finding a flow in its two sets, and finding a place for a new one.

use super::{hash::FlowHash, state::FlowState, word::FlowWord};

/// Flow words in a set: 64 bytes, one cache line.
pub const WAYS: usize = 8;

/// How full the first set may be before a new flow looks at the second as well. Lower spreads
/// better, higher keeps more flows in the line that is read first.
const CROWDED: u64 = 6;

/// Eight flow words that other CPUs read and change at the same time.
pub trait FlowSet: Copy {
    /// Reads a word. Only the lower three bits of `way` count.
    fn word(&self, way: usize) -> FlowWord;

    /// Replaces a word if it is still `old`; whether it was.
    fn replace(&self, way: usize, old: FlowWord, new: FlowWord) -> bool;

    /// The same number, of which the compiler knows nothing.
    fn opaque(number: u64) -> u64;
}

/// A word with the tag of this flow and its way, or the empty word.
///
/// Nearly always it is in the first way that is looked at, so that the CPU, too, knows where to look.
#[inline(always)]
pub fn find<S: FlowSet>(set: &S, hash: FlowHash) -> (usize, FlowWord) {
    let tag = hash.tag();
    let word = set.word(hash.way());
    if word.tag() == tag {
        return (hash.way(), word);
    }
    let mut way = 0;
    while way < WAYS {
        let word = set.word(way);
        if word.tag() == tag {
            return (way, word);
        }
        way += 1;
    }
    (0, FlowWord::EMPTY)
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

/// Where this very word stands in a flow's two candidate sets.
#[inline(always)]
pub fn standing<S: FlowSet>([first, second]: &[S; 2], word: FlowWord) -> Option<Place> {
    let mut slot = 0;
    // Not unrolled: rarely run, and the verifier walks it anyway.
    while slot < S::opaque(2 * WAYS as u64) {
        let way = slot as usize & (WAYS - 1);
        let set = (slot >> WAYS.ilog2()) as usize;
        let stands = if set == 0 { first.word(way) } else { second.word(way) };
        if stands == word {
            return Some(Place { set, way, old: word });
        }
        slot += 1;
    }
    None
}

/// The cheapest word of one set to give up, and how many words are worth keeping.
#[derive(Clone, Copy)]
struct Offer {
    score: u64,
    used: u64,
}

/// The way that is looked at in this turn. Opaque: LLVM would leave the mask out of the address that is
/// made of it, and old kernels (6.1) know no bounds of an exclusive or.
#[inline(always)]
fn way_of<S: FlowSet>(turn: usize, liked: usize) -> usize {
    S::opaque((turn ^ liked) as u64) as usize & (WAYS - 1)
}

impl Offer {
    /// How many ways after the best liked one the cheapest word was looked at.
    #[inline(always)]
    const fn turn(self) -> usize {
        self.score as usize & (WAYS - 1)
    }

    /// Its price, to be compared with another set's.
    #[inline(always)]
    const fn price(self) -> u64 {
        self.score >> PRICE_SHIFT
    }
}

/// A score is a price and, below it, the turn at which the way was looked at: one number holds all
/// that is to be known, and of equal prices the way that the flow likes best wins.
const PRICE_SHIFT: u32 = 4;
/// A price is a class and, below it, how recently the flow was seen.
const CLASS_SHIFT: u32 = PRICE_SHIFT + 16;
/// The classes, cheapest first. Those worth keeping have bit 1 set.
const EMPTY: u64 = 0;
const EXPIRED: u64 = 1;
const EXPENDABLE: u64 = 2;
const LASTING: u64 = 3;

/// By state: the class of a flow that has not expired, above its timeout in ticks.
const CLASS_AND_TIMEOUT: [u64; 16] = {
    let mut table = [0; 16];
    // No flow is in this state: it is that of an empty word, which never expires.
    table[FlowState::NONE.0 as usize] = EMPTY << 16 | 0xffff;
    let mut state = 1;
    while state < 16 {
        let flow = FlowState(state as u8);
        let class = if flow.is_expendable() { EXPENDABLE } else { LASTING };
        table[state] = class << 16 | flow.timeout_ticks() as u64;
        state += 1;
    }
    table
};

/// All ones when `a < b`, else 0, without a branch. Both are below 2^63.
#[inline(always)]
fn less<S: FlowSet>(a: u64, b: u64) -> u64 {
    S::opaque((a.wrapping_sub(b) as i64 >> 63) as u64)
}

/// What giving up a word costs: nothing for an empty one, then expired, then expendable, then the
/// rest; within a class the least recently seen is cheapest.
///
/// Without branches: the verifier would walk every combination of the outcomes of eight words.
#[inline(always)]
fn score<S: FlowSet>(word: FlowWord, turn: usize, now: u64) -> u64 {
    let entry = CLASS_AND_TIMEOUT[word.state().0 as usize & 0xf];
    let age = u64::from(word.age(now));
    let expired = less::<S>(entry & 0xffff, age);
    let class = entry >> 16 & !expired | EXPIRED & expired;
    class << CLASS_SHIFT | (0xffff - age) << PRICE_SHIFT | turn as u64
}

#[inline(always)]
fn offer<S: FlowSet>(set: &S, liked: usize, now: u64) -> Offer {
    let mut best = Offer { score: score::<S>(set.word(liked), 0, now), used: 0 };
    best.used = best.score >> (CLASS_SHIFT + 1);
    let mut turn = 1;
    // Not unrolled: LLVM would hold all eight words at once, more than the stack takes.
    while (turn as u64) < S::opaque(WAYS as u64) {
        let score = score::<S>(set.word(way_of::<S>(turn, liked)), turn, now);
        best.used += score >> (CLASS_SHIFT + 1);
        let better = less::<S>(score, best.score);
        best.score = best.score & !better | score & better;
        turn += 1;
    }
    best
}

/// Chooses where a new flow goes: into the first set while that is not crowded, else into the
/// emptier of the two; when both are full, in place of the cheapest word. In its set, of equally
/// cheap ways it takes the one that comes first from `liked` ([`FlowHash::way`]). `None` when another
/// CPU took the place meanwhile.
#[inline(always)]
pub fn place<S: FlowSet>([first, second]: &[S; 2], liked: usize, now: u64) -> Option<Place> {
    let a = offer(first, liked, now);
    if a.used < CROWDED {
        return confirm(first, 0, liked, a, now);
    }
    let b = offer(second, liked, now);
    let full = WAYS as u64;
    let take_second =
        if a.used == full && b.used == full { b.price() < a.price() } else { b.used < a.used };
    if take_second { confirm(second, 1, liked, b, now) } else { confirm(first, 0, liked, a, now) }
}

/// Reads the offered word again, and sees that it is still what was offered.
#[inline(always)]
fn confirm<S: FlowSet>(
    set: &S,
    number: usize,
    liked: usize,
    offer: Offer,
    now: u64,
) -> Option<Place> {
    let way = way_of::<S>(offer.turn(), liked);
    let old = set.word(way);
    (score::<S>(old, offer.turn(), now) == offer.score).then_some(Place { set: number, way, old })
}
