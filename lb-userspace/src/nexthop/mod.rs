//! Next hops: out of which interface, to which MAC address and from which source a packet for a real server leaves.
//!
//! The data path never looks up a route; what is resolved here is written into the real server's entry. Deciding is a pure
//! function, [`decide`]; [`Memory`] bridges what the kernel
//! forgets for a moment; asking the kernel is behind the trait [`Network`]; [`Upkeep`] keeps a set of addresses resolved.

mod decide;
mod memory;
mod network;
mod upkeep;

use std::net::IpAddr;

pub use self::{
    decide::{Known, decide, neighbour_to_probe},
    memory::{HOLD, Memory},
    network::{Network, gather, resolve},
    upkeep::{Pace, Resolutions, Upkeep, watch},
};

/// How the encapsulated packets for one real server leave this host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NextHop {
    /// Index of the interface to transmit on; for a VLAN device, of the device below it.
    pub interface: u32,
    /// The 802.1Q tag to put on, if the way leads over a VLAN device.
    pub vlan: Option<u16>,
    /// MAC address of the outgoing interface.
    pub source_mac: [u8; 6],
    /// MAC address of the real server, or of the router towards it.
    pub destination_mac: [u8; 6],
    /// Source address of the outer header.
    pub source: IpAddr,
    /// Largest outer packet in bytes: the route's MTU (set or learned), at most the link's.
    pub mtu: u32,
}

/// Why there is no next hop for a real server.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NextHopError {
    /// No route leads to it.
    #[error("no route to {0}")]
    NoRoute(IpAddr),
    /// A route says that it is unreachable.
    #[error("the route to {0} says unreachable")]
    Unreachable(IpAddr),
    /// A route says that it is prohibited.
    #[error("the route to {0} says prohibited")]
    Prohibited(IpAddr),
    /// A route drops what goes there.
    #[error("the route to {0} is a blackhole")]
    Blackhole(IpAddr),
    /// It is an address of this host.
    #[error("{0} is an address of this host")]
    Local(IpAddr),
    /// It is a broadcast or multicast address.
    #[error("{0} is not the address of one host")]
    NotUnicast(IpAddr),
    /// The link of the route has just gone.
    #[error("the link of the route to {0} is gone")]
    LinkGone(IpAddr),
    /// The link is down, or has no carrier.
    #[error("link {0} is down")]
    LinkDown(String),
    /// Only Ethernet frames can be transmitted.
    #[error("link {0} is not an Ethernet device")]
    NotEthernet(String),
    /// A VLAN device on something that is not an untagged Ethernet device.
    #[error("link {0} carries more than one VLAN tag, which is not supported")]
    StackedVlan(String),
    /// XDP cannot send through a bridge.
    #[error("link {0} is a bridge, through which XDP cannot send; route over one of its ports")]
    Bridge(String),
    /// The kernel has no source address of the family.
    #[error("link {0} has no source address for the outer header")]
    NoSource(String),
    /// The MAC address is not known (yet).
    #[error("{neighbour} does not answer on link {link}: its MAC address is unknown")]
    Unresolved {
        /// The real server, or the router towards it.
        neighbour: IpAddr,
        /// Name of the link.
        link: String,
    },
    /// The kernel could not be asked.
    #[error("{0}")]
    Query(String),
}

impl NextHopError {
    /// Whether routing says that the real server cannot be reached, as opposed to a next hop or a link
    /// that is not there at present: then IPVS, too, answers "host unreachable".
    pub const fn is_unroutable(&self) -> bool {
        matches!(
            self,
            Self::NoRoute(_) | Self::Unreachable(_) | Self::Prohibited(_) | Self::Blackhole(_)
        )
    }
}
