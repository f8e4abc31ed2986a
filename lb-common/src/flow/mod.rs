//! Flows: one client connection as the director sees it, in one 64-bit word of a cache line.
//!
//! A flow's hash gives a tag and two candidate sets of eight words each. The second set is the
//! first one XOR a function of the tag, so two flows that share a tag and one set share both: a
//! SYN always sees the word that it could be mistaken for.

mod hash;
mod key;
mod set;
mod state;
mod word;

pub use hash::{FlowHash, HashSeed};
pub use key::FlowKey;
pub use set::{FlowSet, Place, WAYS, find, place, standing};
pub use state::{FlowState, Segment, TICK_NANOSECONDS};
pub use word::FlowWord;
