//! What a flow is: the addresses, ports and protocol of its client's packets.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::hash::{FlowHash, HashSeed};
use crate::address::{Address, Be16};
use crate::table::ServiceKey;

/// The full key of a flow, as listing and purging read it.
#[repr(C)]
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    Hash,
    PartialOrd,
    Ord,
    FromBytes,
    IntoBytes,
    Immutable,
    KnownLayout,
)]
pub struct FlowKey {
    /// The client.
    pub source: Address,
    /// The VIP.
    pub destination: Address,
    /// The client's port.
    pub source_port: Be16,
    /// The service's port.
    pub destination_port: Be16,
    /// The IP protocol number.
    pub protocol: u8,
    /// Zero.
    pub reserved: [u8; 3],
}

impl FlowKey {
    /// The flow of an IPv4 client.
    #[inline(always)]
    pub const fn v4(
        source: [u8; 4],
        destination: [u8; 4],
        source_port: Be16,
        destination_port: Be16,
        protocol: u8,
    ) -> Self {
        Self {
            source: Address::v4(source),
            destination: Address::v4(destination),
            source_port,
            destination_port,
            protocol,
            reserved: [0; 3],
        }
    }

    /// The service that the flow is of.
    #[inline(always)]
    pub const fn service(&self) -> ServiceKey {
        ServiceKey::new(self.destination, self.destination_port, self.protocol)
    }

    /// The flow's keyed hash. Reads 13 bytes of an IPv4 key.
    #[inline(always)]
    pub fn hash(&self, seed: &HashSeed) -> FlowHash {
        let source = u32::from_be_bytes(self.source.v4_octets());
        let destination = u32::from_be_bytes(self.destination.v4_octets());
        let addresses = u64::from(source) << 32 | u64::from(destination);
        let ports = u64::from(self.source_port.host()) << 16
            | u64::from(self.destination_port.host())
            | u64::from(self.protocol) << 32;
        seed.mix(addresses, ports)
    }
}

const _: () = assert!(size_of::<FlowKey>() == 40 && align_of::<FlowKey>() == 8);
