//! IPv4 headers (RFC 791): read, write, age by a hop, wrap.

use network_types::ip::Ipv4Hdr;

use super::checksum::{self, Sum};

/// Length of a header without options.
pub const HEADER: usize = Ipv4Hdr::LEN;
/// Where the TTL is.
pub const TTL: usize = core::mem::offset_of!(Ipv4Hdr, ttl);
/// The flag "don't fragment" in the flags-and-offset field.
pub const DONT_FRAGMENT: u16 = 0x4000;
/// "More fragments" and the offset: not 0 in every fragment.
const FRAGMENT: u16 = 0x3fff;
/// The TTL of packets that the director itself originates, Linux's default.
pub const DEFAULT_TTL: u8 = 64;
/// The smallest MTU that IPv4 allows (RFC 791).
pub const MINIMUM_MTU: u16 = 68;

/// Reads a header.
#[inline(always)]
pub fn from_bytes(bytes: [u8; HEADER]) -> Ipv4Hdr {
    #[rustfmt::skip]
    let [vihl, tos, l0, l1, i0, i1, f0, f1, ttl, proto, c0, c1, s0, s1, s2, s3, d0, d1, d2, d3] =
        bytes;
    Ipv4Hdr {
        vihl,
        tos,
        tot_len: [l0, l1],
        id: [i0, i1],
        frags: [f0, f1],
        ttl,
        proto,
        check: [c0, c1],
        src_addr: [s0, s1, s2, s3],
        dst_addr: [d0, d1, d2, d3],
    }
}

/// Writes a header.
#[inline(always)]
pub fn to_bytes(header: &Ipv4Hdr) -> [u8; HEADER] {
    let Ipv4Hdr {
        vihl,
        tos,
        tot_len: [l0, l1],
        id: [i0, i1],
        frags: [f0, f1],
        ttl,
        proto,
        check: [c0, c1],
        src_addr: [s0, s1, s2, s3],
        dst_addr: [d0, d1, d2, d3],
    } = *header;
    [vihl, tos, l0, l1, i0, i1, f0, f1, ttl, proto, c0, c1, s0, s1, s2, s3, d0, d1, d2, d3]
}

/// The header's length in bytes, options included; below [`HEADER`] when malformed.
#[inline(always)]
pub fn header_length(header: &Ipv4Hdr) -> usize {
    header.ihl() as usize
}

/// Whether the header is of version 4, at least 20 bytes long, and inside its packet.
#[inline(always)]
pub fn is_well_formed(header: &Ipv4Hdr) -> bool {
    let length = header_length(header);
    header.version() == 4 && length >= HEADER && total_length(header) >= length
}

/// The packet's length in bytes.
#[inline(always)]
pub fn total_length(header: &Ipv4Hdr) -> usize {
    u16::from_be_bytes(header.tot_len) as usize
}

/// Whether the packet is a fragment.
#[inline(always)]
pub fn is_fragment(header: &Ipv4Hdr) -> bool {
    u16::from_be_bytes(header.frags) & FRAGMENT != 0
}

/// Whether "don't fragment" is set.
#[inline(always)]
pub fn dont_fragment(header: &Ipv4Hdr) -> bool {
    u16::from_be_bytes(header.frags) & DONT_FRAGMENT != 0
}

/// Whether no client can have this source: 0/8, 127/8, multicast, reserved and broadcast. Linux
/// drops these on input as martians.
#[inline(always)]
pub const fn is_martian(source: [u8; 4]) -> bool {
    let [first, ..] = source;
    first == 0 || first == 127 || first >= 224
}

/// Takes one hop off the TTL, which must not be 0, and keeps the checksum right.
#[inline(always)]
pub fn decrement_ttl(header: &mut Ipv4Hdr) {
    let old = u16::from_be_bytes([header.ttl, header.proto]);
    header.ttl = header.ttl.wrapping_sub(1);
    let new = u16::from_be_bytes([header.ttl, header.proto]);
    let check = u16::from_be_bytes(header.check);
    header.check = checksum::update(check, old, new).to_be_bytes();
}

/// Fills in the checksum of a header without options.
#[inline(always)]
pub fn seal(header: &mut Ipv4Hdr) {
    let [s0, s1, s2, s3] = header.src_addr;
    let [d0, d1, d2, d3] = header.dst_addr;
    let [l0, l1] = header.tot_len;
    let [i0, i1] = header.id;
    let [f0, f1] = header.frags;
    header.check = Sum::ZERO
        .bytes4([header.vihl, header.tos, l0, l1])
        .bytes4([i0, i1, f0, f1])
        .word(u16::from_be_bytes([header.ttl, header.proto]))
        .bytes4([s0, s1, s2, s3])
        .bytes4([d0, d1, d2, d3])
        .checksum()
        .to_be_bytes();
}

/// The outer TOS for an inner one: DSCP copied, ECN by RFC 3168's full functionality as Linux does
/// it, so that "congestion experienced" becomes ECT(0).
#[inline(always)]
pub const fn outer_tos(inner: u8) -> u8 {
    if inner & 3 == 3 { inner & !1 } else { inner }
}

const _: () = assert!(HEADER == 20);
