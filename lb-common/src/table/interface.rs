//! An interface that the director is attached to.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::address::MacAddress;

/// What the program must know of its own interface. One word, so that it changes at once: the
/// interface's Ethernet address, and two bytes of zero. Frames for a VIP addressed to another one are
/// not ours.
#[repr(transparent)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct Interface(u64);

impl Interface {
    /// The interface with this address.
    #[inline(always)]
    pub const fn new(mac: MacAddress) -> Self {
        let MacAddress([a, b, c, d, e, f]) = mac;
        Self(u64::from_le_bytes([a, b, c, d, e, f, 0, 0]))
    }

    /// Its Ethernet address.
    #[inline(always)]
    pub const fn mac(self) -> MacAddress {
        let [a, b, c, d, e, f, ..] = self.0.to_le_bytes();
        MacAddress([a, b, c, d, e, f])
    }

    /// Whether this is its address, given in two parts: so two loads and two comparisons do.
    #[inline(always)]
    pub const fn has_address(self, first: [u8; 4], last: [u8; 2]) -> bool {
        self.0 as u32 == u32::from_le_bytes(first)
            && self.0 >> 32 == u16::from_le_bytes(last) as u64
    }
}

const _: () = assert!(size_of::<Interface>() == 8);
