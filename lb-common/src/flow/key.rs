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
    /// Zero. Not in one array with the next: LLVM fills three bytes by calling a function, and in a
    /// program of two functions old kernels (6.1) forget that most numbers do not matter to safety,
    /// and verify far more paths.
    pub zero: u8,
    /// Zero.
    pub reserved: u16,
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
            zero: 0,
            reserved: 0,
        }
    }

    /// The service that the flow is of.
    #[inline(always)]
    pub const fn service(&self) -> ServiceKey {
        ServiceKey::new(self.destination, self.destination_port, self.protocol)
    }

    /// The flow's keyed hash. Reads 13 bytes of an IPv4 key.
    #[inline(always)]
    pub const fn hash(&self, seed: &HashSeed) -> FlowHash {
        let source = u32::from_ne_bytes(self.source.v4_octets());
        let destination = u32::from_ne_bytes(self.destination.v4_octets());
        let addresses = source as u64 | (destination as u64) << 32;
        let Be16([s0, s1]) = self.source_port;
        let Be16([d0, d1]) = self.destination_port;
        // The source port, which varies most, in the lowest bits: they reach every bit of a product.
        let ports = u32::from_le_bytes([s0, s1, d0, d1]) as u64 | (self.protocol as u64) << 32;
        seed.mix(addresses, ports)
    }
}

const _: () = assert!(size_of::<FlowKey>() == 40 && align_of::<FlowKey>() == 8);
