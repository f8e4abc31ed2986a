//! What is fixed when the program is loaded, and what outlives it.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::flow::HashSeed;

/// The number of the map layouts. It changes whenever a type in a map changes its meaning.
pub const LAYOUT: u32 = 1;

/// The pinned record by which a later daemon knows what the maps mean.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Settings {
    /// [`LAYOUT`] of the daemon that made the maps.
    pub layout: u32,
    /// Flow sets in the flow table, a power of two.
    pub flow_sets: u32,
    /// The seed of the flow hash: random per boot, kept across restarts.
    pub seed: HashSeed,
}

/// What the program was told when it was loaded; in read-only memory that the verifier knows.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// The seed of the flow hash.
    pub seed: HashSeed,
    /// Flow sets minus one.
    pub set_mask: u32,
    /// Answers of each [`Limiter`](super::Limiter) per tick and CPU.
    pub limit: u32,
}

const _: () = assert!(size_of::<Settings>() == 40);
