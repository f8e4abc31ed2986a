//! IPv4 headers (RFC 791): read, write, age by a hop, wrap.

use core::mem::offset_of;

use network_types::ip::Ipv4Hdr;

use super::checksum::{self, Sum};

/// Length of a header without options.
pub const HEADER: usize = Ipv4Hdr::LEN;
/// Where the TTL is.
pub const TTL: usize = offset_of!(Ipv4Hdr, ttl);
/// The flag "don't fragment" in the flags-and-offset field.
const DONT_FRAGMENT: u16 = 0x4000;
/// "More fragments" and the offset: not 0 in every fragment.
const FRAGMENT: u16 = 0x3fff;
/// The offset alone.
const OFFSET: u16 = 0x1fff;
/// Version 4, and a header of five words: no options.
pub const NO_OPTIONS: u8 = 0x45;
/// The TTL of packets that the director itself originates, Linux's default.
pub const DEFAULT_TTL: u8 = 64;
/// The smallest MTU that IPv4 allows (RFC 791).
pub const MINIMUM_MTU: u16 = 68;

/// A header without its options, as the five words that it is on the wire.
///
/// Words instead of network-types' struct, because LLVM would load and spill its twenty bytes one by
/// one; where a field is in them is taken from that struct.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ipv4([u32; HEADER / 4]);

impl Ipv4 {
    /// Reads a header.
    #[inline(always)]
    pub const fn from_bytes(bytes: [u8; HEADER]) -> Self {
        #[rustfmt::skip]
        let [a0, a1, a2, a3, b0, b1, b2, b3, c0, c1, c2, c3, d0, d1, d2, d3, e0, e1, e2, e3] = bytes;
        Self([
            u32::from_ne_bytes([a0, a1, a2, a3]),
            u32::from_ne_bytes([b0, b1, b2, b3]),
            u32::from_ne_bytes([c0, c1, c2, c3]),
            u32::from_ne_bytes([d0, d1, d2, d3]),
            u32::from_ne_bytes([e0, e1, e2, e3]),
        ])
    }

    /// Writes a header.
    #[inline(always)]
    pub const fn to_bytes(self) -> [u8; HEADER] {
        let [a, b, c, d, e] = self.0;
        let [a0, a1, a2, a3] = a.to_ne_bytes();
        let [b0, b1, b2, b3] = b.to_ne_bytes();
        let [c0, c1, c2, c3] = c.to_ne_bytes();
        let [d0, d1, d2, d3] = d.to_ne_bytes();
        let [e0, e1, e2, e3] = e.to_ne_bytes();
        [a0, a1, a2, a3, b0, b1, b2, b3, c0, c1, c2, c3, d0, d1, d2, d3, e0, e1, e2, e3]
    }

    /// The header's five words.
    #[inline(always)]
    pub const fn words(self) -> [[u8; 4]; HEADER / 4] {
        let [a, b, c, d, e] = self.0;
        [a.to_ne_bytes(), b.to_ne_bytes(), c.to_ne_bytes(), d.to_ne_bytes(), e.to_ne_bytes()]
    }

    /// A header without options, with its checksum.
    #[inline(always)]
    pub const fn new(fields: Fields) -> Self {
        let Fields { tos, length, id, dont_fragment, ttl, protocol, source, destination } = fields;
        let [l0, l1] = length.to_be_bytes();
        let [i0, i1] = id.to_be_bytes();
        let [f0, f1] = if dont_fragment { DONT_FRAGMENT.to_be_bytes() } else { [0; 2] };
        let mut header = Self([
            u32::from_ne_bytes([NO_OPTIONS, tos, l0, l1]),
            u32::from_ne_bytes([i0, i1, f0, f1]),
            u32::from_ne_bytes([ttl, protocol, 0, 0]),
            u32::from_ne_bytes(source),
            u32::from_ne_bytes(destination),
        ]);
        let [a, b, c, d, e] = header.0;
        let check = Sum::ZERO.word32(a).word32(b).word32(c).word32(d).word32(e).checksum();
        let [c0, c1] = check.to_ne_bytes();
        header.0[2] = u32::from_ne_bytes([ttl, protocol, c0, c1]);
        header
    }

    /// The byte at this offset.
    #[inline(always)]
    const fn byte(self, offset: usize) -> u8 {
        self.0[offset / 4].to_ne_bytes()[offset % 4]
    }

    /// The 16-bit number at this even offset.
    #[inline(always)]
    const fn number(self, offset: usize) -> u16 {
        u16::from_be_bytes([self.byte(offset), self.byte(offset + 1)])
    }

    /// The version.
    #[inline(always)]
    const fn version(self) -> u8 {
        self.byte(offset_of!(Ipv4Hdr, vihl)) >> 4
    }

    /// The header's length in bytes, options included; below [`HEADER`] when malformed.
    #[inline(always)]
    pub const fn header_length(self) -> usize {
        ((self.byte(offset_of!(Ipv4Hdr, vihl)) & 0xf) as usize) << 2
    }

    /// The packet's length in bytes.
    #[inline(always)]
    pub const fn total_length(self) -> usize {
        self.number(offset_of!(Ipv4Hdr, tot_len)) as usize
    }

    /// Type of service: DSCP and ECN.
    #[inline(always)]
    pub const fn tos(self) -> u8 {
        self.byte(offset_of!(Ipv4Hdr, tos))
    }

    /// Whether the header is of version 4, at least 20 bytes long, and inside its packet.
    #[inline(always)]
    pub const fn is_well_formed(self) -> bool {
        let length = self.header_length();
        self.version() == 4 && length >= HEADER && self.total_length() >= length
    }

    /// Whether the packet is a fragment.
    #[inline(always)]
    pub const fn is_fragment(self) -> bool {
        is_fragment(self.number(offset_of!(Ipv4Hdr, frags)).to_be_bytes())
    }

    /// Whether the packet, a fragment, is the first one.
    #[inline(always)]
    pub const fn is_first_fragment(self) -> bool {
        self.number(offset_of!(Ipv4Hdr, frags)) & OFFSET == 0
    }

    /// Whether "don't fragment" is set.
    #[inline(always)]
    pub const fn dont_fragment(self) -> bool {
        self.number(offset_of!(Ipv4Hdr, frags)) & DONT_FRAGMENT != 0
    }

    /// Hops to live.
    #[inline(always)]
    pub const fn ttl(self) -> u8 {
        self.byte(TTL)
    }

    /// What it carries.
    #[inline(always)]
    pub const fn protocol(self) -> u8 {
        self.byte(offset_of!(Ipv4Hdr, proto))
    }

    /// TTL, protocol and checksum: the bytes from [`TTL`] on that ageing changes.
    #[inline(always)]
    pub const fn ttl_to_checksum(self) -> [u8; 4] {
        self.0[TTL / 4].to_ne_bytes()
    }

    /// Who sent it.
    #[inline(always)]
    pub const fn source(self) -> [u8; 4] {
        self.0[offset_of!(Ipv4Hdr, src_addr) / 4].to_ne_bytes()
    }

    /// Who it is for.
    #[inline(always)]
    pub const fn destination(self) -> [u8; 4] {
        self.0[offset_of!(Ipv4Hdr, dst_addr) / 4].to_ne_bytes()
    }

    /// The same header with another TTL, the checksum kept right.
    #[inline(always)]
    #[must_use]
    pub const fn with_ttl(mut self, ttl: u8) -> Self {
        let [old, protocol, c0, c1] = self.ttl_to_checksum();
        let check = checksum::update(
            u16::from_ne_bytes([c0, c1]),
            u16::from_ne_bytes([old, protocol]),
            u16::from_ne_bytes([ttl, protocol]),
        );
        let [c0, c1] = check.to_ne_bytes();
        self.0[TTL / 4] = u32::from_ne_bytes([ttl, protocol, c0, c1]);
        self
    }

    /// The same header with the ECN field at "congestion experienced", the checksum kept right.
    #[inline(always)]
    #[must_use]
    pub const fn congested(mut self) -> Self {
        const CHECK: usize = offset_of!(Ipv4Hdr, check);
        let [vihl, tos, l0, l1] = self.0[0].to_ne_bytes();
        let marked = tos | CONGESTED;
        let check = checksum::update(
            u16::from_ne_bytes([self.byte(CHECK), self.byte(CHECK + 1)]),
            u16::from_ne_bytes([vihl, tos]),
            u16::from_ne_bytes([vihl, marked]),
        );
        self.0[0] = u32::from_ne_bytes([vihl, marked, l0, l1]);
        let [c0, c1] = check.to_ne_bytes();
        self.0[2] = u32::from_ne_bytes([self.ttl(), self.protocol(), c0, c1]);
        self
    }

    /// The same header on the way back. The checksum stays: it does not see the order of words.
    #[inline(always)]
    #[must_use]
    pub const fn reversed(self) -> Self {
        let [a, b, c, source, destination] = self.0;
        Self([a, b, c, destination, source])
    }
}

/// The fields of a header without options that is to be written.
#[derive(Clone, Copy, Debug)]
pub struct Fields {
    /// Type of service: DSCP and ECN.
    pub tos: u8,
    /// The packet's length in bytes.
    pub length: u16,
    /// Identification.
    pub id: u16,
    /// The flag "don't fragment".
    pub dont_fragment: bool,
    /// Hops to live.
    pub ttl: u8,
    /// What it carries.
    pub protocol: u8,
    /// From.
    pub source: [u8; 4],
    /// To.
    pub destination: [u8; 4],
}

/// Whether the bytes of flags and offset are those of a fragment.
#[inline(always)]
pub const fn is_fragment(flags_and_offset: [u8; 2]) -> bool {
    u16::from_ne_bytes(flags_and_offset) & FRAGMENT.to_be() != 0
}

/// The TTL-to-checksum bytes one hop on: what [`Ipv4::with_ttl`] makes of a TTL of at least 1, in
/// fewer steps. A TTL that falls by one, and stands in the low byte of its little-endian word, lets
/// the checksum rise by one (RFC 1624), and a carry out of it comes back in at its low end.
#[inline(always)]
pub const fn one_hop_on(ttl_to_checksum: [u8; 4]) -> [u8; 4] {
    let aged = u32::from_le_bytes(ttl_to_checksum) as u64 - 1 + (1 << 16);
    // A checksum of ffff is as good as a carry: it stands for 0.
    let carry = (aged + (1 << 16)) >> 32;
    ((aged + (carry << 16)) as u32).to_le_bytes()
}

/// Whether no client can have this source: 0.0.0.0, 127/8, 224/4 and 255.255.255.255. Linux drops
/// these on input as martians (`ip_route_input_slow`).
#[inline(always)]
pub const fn is_martian(source: [u8; 4]) -> bool {
    let [first, ..] = source;
    first == 127 || first & 0xf0 == 224 || matches!(source, [0, 0, 0, 0] | [255, 255, 255, 255])
}

/// ECN "congestion experienced" (RFC 3168).
pub const CONGESTED: u8 = 3;

/// The outer TOS for an inner one: DSCP copied, ECN by RFC 3168's full functionality as Linux does
/// it, so that "congestion experienced" becomes ECT(0).
#[inline(always)]
pub const fn outer_tos(inner: u8) -> u8 {
    if inner & CONGESTED == CONGESTED { inner & !1 } else { inner }
}

const _: () = assert!(HEADER == 20);
