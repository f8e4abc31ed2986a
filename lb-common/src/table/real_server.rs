//! A real server of one virtual service, with all that sending to it takes.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::ServiceKey;
use crate::address::{Address, MacAddress};

/// An 802.1Q tag to send with, or none.
#[repr(transparent)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct Vlan(u16);

impl Vlan {
    /// No tag.
    pub const NONE: Self = Self(0);
    /// The bit of the tag's drop-eligible indicator, which nobody sends, marks "a tag is there".
    const PRESENT: u16 = 0x1000;

    /// A tag with this VLAN id (1 to 4094).
    pub const fn id(id: u16) -> Self {
        Self(Self::PRESENT | (id & 0x0fff))
    }

    /// The tag control information to send, if any.
    #[inline(always)]
    pub const fn tag(self) -> Option<u16> {
        if self.0 & Self::PRESENT == 0 { None } else { Some(self.0 & 0x0fff) }
    }
}

/// A real server as a destination of one service, like IPVS's `dest`: two cache lines.
///
/// Userspace writes it in words of 8 bytes through a shared mapping; the fields that one word holds
/// change together. `service` is written last when a server is added and first when it goes.
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct RealServer {
    /// The service it serves. A flow that finds this entry by its index is confirmed against it,
    /// so a stale or colliding flow word never sends a packet to a server that does not serve it.
    pub service: ServiceKey,
    /// The next hop's Ethernet address.
    pub next_hop: MacAddress,
    /// The tag that the egress VLAN wants.
    pub vlan: Vlan,
    /// The egress interface's Ethernet address.
    pub source_mac: MacAddress,
    /// The path's MTU in bytes, for the outer packet.
    pub mtu: u16,
    /// The egress interface's index; 0 when there is no resolved next hop, or
    /// [`RealServer::UNROUTABLE`]. Userspace takes it away before it changes more than one word of an
    /// entry in use: when it is not the same before and after the others were read, those are a mixture.
    pub interface: u32,
    /// The index of `service`.
    pub service_index: u32,
    /// The outer packet's destination.
    pub address: Address,
    /// The outer packet's source: the route's preferred source.
    pub source: Address,
    /// The weight; 0 takes no new flows.
    pub weight: u32,
    /// The last weight that was not 0. Userspace's only: `mh` goes by it.
    pub last_weight: u32,
    /// Zero.
    pub reserved: [u32; 10],
}

impl RealServer {
    /// In place of an interface: no route leads to the real server.
    pub const UNROUTABLE: u32 = u32::MAX;

    /// Whether this is an interface, to send out of.
    #[inline(always)]
    pub const fn can_send(interface: u32) -> bool {
        // The kernel's indices are positive `int`s.
        interface as i32 > 0
    }
}

const _: () = assert!(size_of::<RealServer>() == 128 && align_of::<RealServer>() == 8);
const _: () = assert!(core::mem::offset_of!(RealServer, next_hop) == 24);
const _: () = assert!(core::mem::offset_of!(RealServer, source_mac) == 32);
const _: () = assert!(core::mem::offset_of!(RealServer, source) == 64);
