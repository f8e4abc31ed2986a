//! The VIPs: which addresses are balanced, and who answers for them.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::address::Address;

/// Who answers ARP, echo and unmatched packets for a VIP.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Vip(pub u32);

impl Vip {
    /// The XDP program answers; the director's stack does not know the address.
    pub const OWNED: Self = Self(1);
    /// The address is configured on the director: its kernel answers.
    pub const LOCAL: Self = Self(2);
    /// On a real server: an address that the inner packet may have.
    pub const SERVED: Self = Self(3);
    /// On a real server: an address of the host, at which tunnels end.
    pub const TUNNEL_END: Self = Self(4);
}

/// A bitmap over hashed addresses: a clear bit means "certainly no VIP".
///
/// One line of it decides for nearly every packet that is not for a VIP.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct VipFilter {
    words: [u64; Self::WORDS],
}

impl Default for VipFilter {
    fn default() -> Self {
        Self { words: [0; Self::WORDS] }
    }
}

impl VipFilter {
    /// 4,096 bits: a hundred VIPs let 2.4 % of foreign packets on to the exact table.
    const WORDS: usize = 64;

    /// The word and the bit in it that stand for an IPv4 address.
    #[inline(always)]
    fn position_v4(octets: [u8; 4]) -> (usize, u32) {
        // Fibonacci hashing: 2^32 divided by the golden ratio.
        let hash = u32::from_be_bytes(octets).wrapping_mul(0x9E37_79B1) >> 20;
        ((hash >> 6) as usize & (Self::WORDS - 1), hash & 63)
    }

    /// Whether an IPv4 address may be a VIP.
    #[inline(always)]
    pub fn may_contain_v4(&self, octets: [u8; 4]) -> bool {
        let (word, bit) = Self::position_v4(octets);
        self.words[word] >> bit & 1 != 0
    }

    /// The filter that lets exactly these addresses (and what collides with them) through.
    pub fn of(addresses: impl IntoIterator<Item = Address>) -> Self {
        let mut filter = Self::default();
        for address in addresses {
            let (word, bit) = Self::position_v4(address.v4_octets());
            filter.words[word] |= 1 << bit;
        }
        filter
    }
}

const _: () = assert!(size_of::<Vip>() == 4);
const _: () = assert!(size_of::<VipFilter>() == 512);
