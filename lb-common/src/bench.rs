//! What a benchmark's frame carries behind its headers: which flow's packet to make of it next.
//!
//! The program under test runs again and again on one frame. Before each run the measuring loop
//! (lb-ebpf's `bench`) advances the plan's generator, and writes the headers anew from the plan.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// The plan, at [`Plan::OFFSET`] of the frame.
///
/// The frame must be Ethernet without tags and have no padding.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Plan {
    /// The generator: each packet makes it `state * multiplier + increment`.
    pub state: u64,
    /// 1 walks through the flows, a good multiplier picks them at random.
    pub multiplier: u64,
    /// See `state`.
    pub increment: u64,
    /// The number of flows minus one, which is a mask; at most 40 bits.
    pub mask: u64,
    /// The number of VIPs: consecutive addresses from `vip` on.
    pub vips: u64,
    /// The frame's first 8 bytes.
    pub ethernet_0: u64,
    /// The IPv4 header's first 8 bytes.
    pub ipv4_0: u64,
    /// The frame's bytes 8 to 11.
    pub ethernet_8: u32,
    /// Bytes 8 to 11 of the IPv4 header: TTL, protocol, checksum.
    pub ipv4_8: u32,
    /// The first VIP, in host byte order.
    pub vip: u32,
    /// The destination port, in host byte order.
    pub port: u16,
    /// The frame's bytes 12 and 13: the EtherType.
    pub ethertype: [u8; 2],
}

impl Plan {
    /// Where the plan is in the frame, in bytes: behind any header that a benchmark uses.
    pub const OFFSET: usize = 64;
    /// The length of a frame with a plan, in bytes.
    pub const FRAME: usize = Self::OFFSET + size_of::<Self>();
    /// Where the header's part begins that the loop does not write anew: what is behind the ports.
    pub const REST: usize = 38;
    /// How long it is, in bytes: to the end of a TCP header.
    pub const REST_LENGTH: usize = 16;
    /// The length of a frame for the generator of frames that go out for good, in bytes. Behind the
    /// plan it has a copy of [`Plan::REST`], since a frame comes back as the director has left it,
    /// as a reset perhaps. The copy does not go out.
    pub const LIVE_FRAME: usize = Self::FRAME + Self::REST_LENGTH;
    /// The flow's number is what stands above this many bits of `state`.
    pub const SHIFT: u32 = 24;
    /// Knuth's multiplier for random picks (MMIX).
    pub const RANDOM: u64 = 6_364_136_223_846_793_005;
    /// The increment with which multiplier 1 goes from one flow to the next.
    pub const NEXT: u64 = 1 << Self::SHIFT;

    /// The number of the next packet's flow; advances the generator.
    #[inline(always)]
    pub fn next_flow(&mut self) -> u64 {
        self.state = self.state.wrapping_mul(self.multiplier).wrapping_add(self.increment);
        (self.state >> Self::SHIFT) & self.mask
    }

    /// The source address of a flow's packets, in host byte order: 10.0.0.0/8.
    #[inline(always)]
    pub const fn source(flow: u64) -> u32 {
        0x0A00_0000 | flow as u32 & 0x00ff_ffff
    }

    /// The source port of a flow's packets, in host byte order.
    #[inline(always)]
    pub const fn source_port(flow: u64) -> u16 {
        (flow ^ flow >> 24) as u16
    }

    /// The VIP of a flow's packets, in host byte order.
    #[inline(always)]
    pub const fn destination(&self, flow: u64) -> u32 {
        self.vip + (((flow & 0xffff) * self.vips) >> 16) as u32
    }
}

const _: () = assert!(size_of::<Plan>() == 72 && Plan::OFFSET.is_multiple_of(8));
