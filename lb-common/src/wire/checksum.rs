//! The Internet checksum: a one's complement sum of 16-bit words (RFC 1071), and its incremental
//! update (RFC 1624).
//!
//! The sum is independent of byte order (RFC 1071, 2 (B)): words read in one order give the checksum
//! in that order. Packets are summed in the machine's own order, without swapping.

/// A sum under way; carries are folded in at the end.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sum(u64);

impl Sum {
    /// The sum of nothing.
    pub const ZERO: Self = Self(0);

    /// Adds one 16-bit word.
    #[inline(always)]
    #[must_use]
    pub const fn word(self, word: u16) -> Self {
        Self(self.0 + word as u64)
    }

    /// Adds two 16-bit words.
    #[inline(always)]
    #[must_use]
    pub const fn word32(self, words: u32) -> Self {
        Self(self.0 + words as u64)
    }

    /// Adds another sum.
    #[inline(always)]
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self(self.0 + other.0)
    }

    /// The checksum field that makes header and field together sum to all ones.
    #[inline(always)]
    pub const fn checksum(self) -> u16 {
        // Three folds: the first leaves at most 33 bits of a 64-bit sum of fewer than 2^31 words.
        let mut sum = self.0;
        sum = (sum & 0xffff) + (sum >> 16 & 0xffff) + (sum >> 32);
        sum = (sum & 0xffff) + (sum >> 16);
        sum = (sum & 0xffff) + (sum >> 16);
        !(sum as u16)
    }
}

/// The checksum after one 16-bit word of what it covers went from `old` to `new` (RFC 1624,
/// equation 3).
#[inline(always)]
pub const fn update(checksum: u16, old: u16, new: u16) -> u16 {
    Sum::ZERO.word(!checksum).word(!old).word(new).checksum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc1071_worked_example() {
        // RFC 1071, section 3: the words 0001 f203 f4f5 f6f7 sum to ddf2.
        let sum = Sum::ZERO.word(0x0001).word(0xf203).word(0xf4f5).word(0xf6f7);
        assert_eq!(sum.checksum(), !0xddf2);
        assert_eq!(
            Sum::ZERO.word32(0x0001_f203).word32(0xf4f5_f6f7).checksum(),
            !0xddf2,
            "in big-endian order"
        );
        assert_eq!(
            Sum::ZERO.word32(0x03f2_0100).word32(0xf7f6_f5f4).checksum(),
            (!0xddf2_u16).swap_bytes(),
            "in little-endian order"
        );
    }

    #[test]
    fn rfc1624_worked_example() {
        // RFC 1624, section 4: HC = dd2f, m = 5555, m' = 3285 gives 0000.
        assert_eq!(update(0xdd2f, 0x5555, 0x3285), 0x0000);
    }
}
