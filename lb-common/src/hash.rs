//! The hashes by which IPVS's schedulers choose: the same numbers, hence the same servers.
//!
//! Not for: finding flows. Nothing here is secret, so a client can aim at a server of its choice, as
//! with IPVS.

/// The kernel's `GOLDEN_RATIO_32` (include/linux/hash.h): 2^32 divided by the golden ratio's square.
const GOLDEN_RATIO: u32 = 0x61C8_8647;

/// Buckets of the tables of `sh` and `dh`.
pub const BUCKETS: u32 = 256;

/// The bucket of an address plus a port, both as numbers: the kernel's `hash_32(x, 8)`.
#[inline(always)]
pub const fn bucket(sum: u32) -> u32 {
    sum.wrapping_mul(GOLDEN_RATIO) >> 24
}

/// The keys of `mh`'s two hashes, each used for both halves: constants of the kernel's ip_vs_mh.c.
const MAGLEV_KEYS: [u64; 2] = [2_654_435_761, 2_654_446_892];

/// `mh`: where packets with this address plus port look, and where a server's slots begin.
#[inline(always)]
pub const fn maglev(sum: u32) -> u32 {
    sip_1_3(sum, MAGLEV_KEYS[0])
}

/// `mh`: how far it is from one of a server's slots to the next.
pub const fn maglev_skip(sum: u32) -> u32 {
    sip_1_3(sum, MAGLEV_KEYS[1])
}

/// The low half of SipHash-1-3 of four bytes, little endian, under a key with equal halves: what
/// the kernel's `hsiphash` is on 64-bit machines.
#[inline(always)]
const fn sip_1_3(word: u32, key: u64) -> u32 {
    // Aumasson and Bernstein, "SipHash: a fast short-input PRF", 2012. One block, since four bytes
    // are fewer than eight: the word, and its length in the uppermost byte.
    let block = word as u64 | 4 << 56;
    let mut state = [
        key ^ 0x736f_6d65_7073_6575,
        key ^ 0x646f_7261_6e64_6f6d,
        key ^ 0x6c79_6765_6e65_7261,
        key ^ 0x7465_6462_7974_6573 ^ block,
    ];
    state = sip_round(state);
    state[0] ^= block;
    state[2] ^= 0xff;
    state = sip_round(sip_round(sip_round(state)));
    (state[0] ^ state[1] ^ state[2] ^ state[3]) as u32
}

#[inline(always)]
const fn sip_round([mut a, mut b, mut c, mut d]: [u64; 4]) -> [u64; 4] {
    a = a.wrapping_add(b);
    b = b.rotate_left(13) ^ a;
    a = a.rotate_left(32);
    c = c.wrapping_add(d);
    d = d.rotate_left(16) ^ c;
    a = a.wrapping_add(d);
    d = d.rotate_left(21) ^ a;
    c = c.wrapping_add(b);
    b = b.rotate_left(17) ^ c;
    c = c.rotate_left(32);
    [a, b, c, d]
}

#[cfg(test)]
mod tests {
    use std::hash::{DefaultHasher, Hasher as _};

    use super::*;

    /// The standard library's hasher is SipHash-1-3 with a key of zeros.
    #[test]
    fn sip_1_3_is_that_of_the_standard_library() {
        for word in [0, 1, 0x0a01_0002, 0x7fff_ffff, u32::MAX] {
            let mut hasher = DefaultHasher::new();
            hasher.write(&word.to_le_bytes());
            assert_eq!(sip_1_3(word, 0), hasher.finish() as u32);
        }
    }
}
