//! An interface that the director is attached to.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::address::MacAddress;

/// What the program must know of its own interface. One word, so that it changes at once.
#[repr(C, align(8))]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct Interface {
    /// Its Ethernet address; frames for a VIP addressed to another one are not ours.
    pub mac: MacAddress,
    /// Zero.
    pub reserved: u16,
}

const _: () = assert!(size_of::<Interface>() == 8);
