//! Virtual services: the key that finds one, and what is known of it.

use core::fmt;

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::address::{Address, Be16};

/// VIP, port and protocol of a virtual service.
#[repr(C)]
#[derive(
    Clone,
    Copy,
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
pub struct ServiceKey {
    /// The VIP.
    pub address: Address,
    /// The port.
    pub port: Be16,
    /// The IP protocol number; 0 marks an entry that is not in use.
    pub protocol: u8,
    /// Zero.
    pub zero: u8,
    /// Zero.
    pub reserved: u32,
}

impl ServiceKey {
    /// The key of a service.
    #[inline(always)]
    pub const fn new(address: Address, port: Be16, protocol: u8) -> Self {
        Self { address, port, protocol, zero: 0, reserved: 0 }
    }
}

impl fmt::Debug for ServiceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}:{}", self.protocol, self.address, self.port.host())
    }
}

/// Where a service's lookup table stands, in one word so that it changes at once.
#[repr(transparent)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct LookupTable(u64);

impl LookupTable {
    /// The table of `length` slots that starts at slot `offset`.
    pub const fn new(offset: u32, length: u32) -> Self {
        Self((offset as u64) << 32 | length as u64)
    }

    /// Its first slot.
    #[inline(always)]
    pub const fn offset(self) -> u32 {
        (self.0 >> 32) as u32
    }

    /// Its slots; 0 when no real server takes new flows.
    #[inline(always)]
    pub const fn length(self) -> u32 {
        self.0 as u32
    }
}

/// A virtual service, one cache line. Userspace writes all of it but `position`, word by word.
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct Service {
    /// The lookup table of real-server indices.
    pub table: LookupTable,
    /// The round-robin position; only the data path writes it.
    pub position: u64,
    /// What finds the service; protocol 0 when the entry is free.
    pub key: ServiceKey,
    /// [`Service::ROUND_ROBIN`] or [`Service::WEIGHTED_ROUND_ROBIN`].
    pub scheduler: u32,
    /// Zero.
    pub reserved: [u32; 5],
}

impl Service {
    /// Scheduler `rr`: weights other than 0 make no difference.
    pub const ROUND_ROBIN: u32 = 1;
    /// Scheduler `wrr`: smooth weighted round robin.
    pub const WEIGHTED_ROUND_ROBIN: u32 = 2;
}

const _: () = assert!(size_of::<ServiceKey>() == 24 && align_of::<ServiceKey>() == 8);
const _: () = assert!(size_of::<Service>() == 64 && align_of::<Service>() == 8);
