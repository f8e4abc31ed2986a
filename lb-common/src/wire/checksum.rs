//! The Internet checksum: a one's complement sum of 16-bit words (RFC 1071), and its incremental
//! update (RFC 1624).
//!
//! Sums here are over words in network byte order, read as big-endian numbers. (The sum could be
//! taken in any byte order as long as one stays with it; this one keeps the worked examples of the
//! RFCs readable.)

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

    /// Adds four bytes.
    #[inline(always)]
    #[must_use]
    pub const fn bytes4(self, bytes: [u8; 4]) -> Self {
        Self(self.0 + u32::from_be_bytes(bytes) as u64)
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
            Sum::ZERO.bytes4([0x00, 0x01, 0xf2, 0x03]).bytes4([0xf4, 0xf5, 0xf6, 0xf7]).checksum(),
            !0xddf2
        );
    }

    #[test]
    fn rfc1624_worked_example() {
        // RFC 1624, section 4: HC = dd2f, m = 5555, m' = 3285 gives 0000.
        assert_eq!(update(0xdd2f, 0x5555, 0x3285), 0x0000);
    }
}
