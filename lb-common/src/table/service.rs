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

/// How the data path comes upon a slot of a lookup table.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Method(u8);

impl Method {
    /// Slot by slot, with every new flow, and over again at the end.
    pub const TURNS: Self = Self(0);
    /// By [`bucket`](crate::hash::bucket) of the client's address.
    pub const SOURCE: Self = Self(1);
    /// By [`bucket`](crate::hash::bucket) of the VIP.
    pub const DESTINATION: Self = Self(2);
    /// By [`maglev`](crate::hash::maglev) of the client's address.
    pub const MAGLEV: Self = Self(3);

    const PORT: u8 = 4;
    const BITS: u32 = 7;

    /// The same, with the client's port added to the address.
    pub const fn with_port(self) -> Self {
        Self(self.0 | Self::PORT)
    }

    /// Whether the client's port counts.
    #[inline(always)]
    pub const fn has_port(self) -> bool {
        self.0 & Self::PORT != 0
    }

    /// The same, with the client's port left out.
    #[inline(always)]
    pub const fn without_port(self) -> Self {
        Self(self.0 & !Self::PORT)
    }
}

/// Where a service's lookup table stands and how it is read, in one word so that it changes at once.
#[repr(transparent)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct LookupTable(u64);

impl LookupTable {
    /// The most slots that all tables may have together, so that every offset fits.
    pub const MOST_SLOTS: u32 = 1 << 28;

    const LENGTH_BITS: u32 = 29;

    /// The table of `length` slots that starts at slot `offset`, read by turns.
    pub const fn new(offset: u32, length: u32) -> Self {
        Self(
            (offset as u64) << (Self::LENGTH_BITS + Method::BITS) | (length as u64) << Method::BITS,
        )
    }

    /// The same table, read by this method.
    pub const fn read_by(self, method: Method) -> Self {
        Self(self.0 >> Method::BITS << Method::BITS | method.0 as u64)
    }

    /// Its first slot.
    #[inline(always)]
    pub const fn offset(self) -> u32 {
        (self.0 >> (Self::LENGTH_BITS + Method::BITS)) as u32
    }

    /// Its slots; 0 when no real server takes new flows.
    #[inline(always)]
    pub const fn length(self) -> u32 {
        (self.0 >> Method::BITS) as u32 & ((1 << Self::LENGTH_BITS) - 1)
    }

    /// How it is read.
    #[inline(always)]
    pub const fn method(self) -> Method {
        Method(self.0 as u8 & ((1 << Method::BITS) - 1))
    }
}

/// What stands in a slot of a lookup table.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot(pub u32);

impl Slot {
    /// The real server whose slot it is takes no new flows, and nobody takes them in its place.
    pub const REFUSE: Self = Self(u32::MAX);

    /// Above all real servers' indices.
    const INSTEAD: u32 = 1 << 31;

    /// New flows go to the real server with this index.
    pub const fn server(index: u32) -> Self {
        Self(index)
    }

    /// The real server whose slot it is takes no new flows: look at further slots as `mh-fallback`
    /// does, and go to the real server with this index when none of them helps.
    pub const fn instead(index: u32) -> Self {
        Self(Self::INSTEAD | index)
    }

    /// Whether the real server whose slot it is takes new flows.
    #[inline(always)]
    pub const fn is_available(self) -> bool {
        self.0 & Self::INSTEAD == 0
    }

    /// The real server's index, unless this is [`Slot::REFUSE`].
    #[inline(always)]
    pub const fn index(self) -> u32 {
        self.0 & !Self::INSTEAD
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
    /// [`Service::ROUND_ROBIN`] or another of the schedulers. Userspace's only, like all that follows:
    /// `table` says what the data path does.
    pub scheduler: u32,
    /// [`Service::PORT`] and [`Service::FALLBACK`].
    pub flags: u32,
    /// `rr` and `wrr`: where `position` was when the table was written.
    pub base: u64,
    /// `rr` and `wrr`: which pick of the cycle came next then.
    pub start: u32,
    /// `mh`: slots of its table.
    pub table_size: u32,
}

impl Service {
    /// Scheduler `rr`: weights other than 0 make no difference.
    pub const ROUND_ROBIN: u32 = 1;
    /// Scheduler `wrr`: weighted round robin.
    pub const WEIGHTED_ROUND_ROBIN: u32 = 2;
    /// Scheduler `sh`: by the client's address.
    pub const SOURCE_HASH: u32 = 3;
    /// Scheduler `dh`: by the VIP.
    pub const DESTINATION_HASH: u32 = 4;
    /// Scheduler `mh`: by the client's address, with Maglev's table.
    pub const MAGLEV: u32 = 5;
    /// Scheduler `fo`: the heaviest server.
    pub const FAIL_OVER: u32 = 6;

    /// `sh-port` and `mh-port`: the client's port counts.
    pub const PORT: u32 = 1;
    /// `sh-fallback` and `mh-fallback`: others take the flows of a server that takes none.
    pub const FALLBACK: u32 = 2;
}

const _: () = assert!(size_of::<ServiceKey>() == 24 && align_of::<ServiceKey>() == 8);
const _: () = assert!(size_of::<Service>() == 64 && align_of::<Service>() == 8);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lookup_table_is_read_as_it_is_written() {
        let most = LookupTable::MOST_SLOTS;
        for (offset, length) in [(0, 0), (0, most), (most - 1, 1), (7, 65_537)] {
            for method in [Method::TURNS, Method::MAGLEV.with_port(), Method::DESTINATION] {
                let table = LookupTable::new(offset, length).read_by(method);
                assert_eq!((table.offset(), table.length()), (offset, length));
                assert_eq!(table.method(), method);
            }
        }
    }
}
