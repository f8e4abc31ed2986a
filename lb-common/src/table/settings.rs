//! What outlives the daemon and the program: how to read the maps.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::flow::HashSeed;

/// The number of the map layouts. It changes whenever a type in a map changes its meaning, or how a
/// flow's tag or sets are found.
pub const LAYOUT: u32 = 3;

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

const _: () = assert!(size_of::<Settings>() == 40);
