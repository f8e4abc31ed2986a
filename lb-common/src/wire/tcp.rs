//! TCP (RFC 9293): the one segment that the director sends, a reset.

use network_types::tcp::TcpHdr;

use super::checksum::Sum;
use crate::wire;

/// Length of a header without options.
pub const HEADER: usize = TcpHdr::LEN;

const FIN: u8 = 0x01;
const SYN: u8 = 0x02;
const RST: u8 = 0x04;
const ACK: u8 = 0x10;

/// The reset that answers a segment with this header and of `length` bytes, its checksum still to come
/// (RFC 9293, 3.10.7.1: when the connection does not exist). `None` when the header does not fit the
/// segment.
#[inline(always)]
pub const fn reset(segment: [u8; HEADER], length: usize) -> Option<[u8; HEADER]> {
    #[rustfmt::skip]
    let [s0, s1, d0, d1, q0, q1, q2, q3, a0, a1, a2, a3, offset, flags, ..] = segment;
    let header = (offset >> 4) as usize * 4;
    if header < HEADER || header > length {
        return None;
    }
    let (sequence, acknowledged, kind) = if flags & ACK != 0 {
        ([a0, a1, a2, a3], [0; 4], RST)
    } else {
        let counted =
            (length - header) as u32 + (flags & SYN != 0) as u32 + (flags & FIN != 0) as u32;
        let next = u32::from_be_bytes([q0, q1, q2, q3]).wrapping_add(counted);
        ([0; 4], next.to_be_bytes(), RST | ACK)
    };
    let [q0, q1, q2, q3] = sequence;
    let [a0, a1, a2, a3] = acknowledged;
    let words = (HEADER as u8 / 4) << 4;
    Some([d0, d1, s0, s1, q0, q1, q2, q3, a0, a1, a2, a3, words, kind, 0, 0, 0, 0, 0, 0])
}

/// The same header with its checksum, as a segment without data between these addresses.
#[inline(always)]
pub const fn with_checksum(
    header: [u8; HEADER],
    source: [u8; 4],
    destination: [u8; 4],
) -> [u8; HEADER] {
    #[rustfmt::skip]
    let [s0, s1, d0, d1, q0, q1, q2, q3, a0, a1, a2, a3, o, f, w0, w1, _, _, u0, u1] = header;
    let check = Sum::ZERO
        .word32(u32::from_ne_bytes(source))
        .word32(u32::from_ne_bytes(destination))
        .word32(u32::from_ne_bytes([0, wire::TCP, 0, HEADER as u8]))
        .word32(u32::from_ne_bytes([s0, s1, d0, d1]))
        .word32(u32::from_ne_bytes([q0, q1, q2, q3]))
        .word32(u32::from_ne_bytes([a0, a1, a2, a3]))
        .word32(u32::from_ne_bytes([o, f, w0, w1]))
        .word32(u32::from_ne_bytes([0, 0, u0, u1]))
        .checksum();
    let [c0, c1] = check.to_ne_bytes();
    [s0, s1, d0, d1, q0, q1, q2, q3, a0, a1, a2, a3, o, f, w0, w1, c0, c1, u0, u1]
}
