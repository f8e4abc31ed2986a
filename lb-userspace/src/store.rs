//! The data path's tables as userspace reads and writes them.
//!
//! [`Store`] is what the map formats allow, one method per access; what the entries mean and in
//! which order they change is the business of whoever calls it. `bpf` implements it over pinned
//! maps, `lb_common::memory::MemoryTables` for tests without privileges.

mod memory;

use std::collections::BTreeSet;

use lb_common::{
    Address,
    flow::{FlowKey, FlowWord},
    table::{Interface, RealServer, ServerCounters, Service, ServiceKey, Vip, VipFilter},
};

use crate::config::ServiceAddress;

/// Why a table could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The table has no room for one more entry.
    #[error(
        "the {table} table is full at {entries} entries; raise `{setting}` in the configuration and restart after `tunlb detach`"
    )]
    Full {
        /// The table.
        table: &'static str,
        /// Its size.
        entries: u32,
        /// The configuration key that sizes it.
        setting: &'static str,
    },
    /// There are too few lookup slots in a row.
    #[error(
        "service {service} needs {slots} free lookup slots in a row, beside the table that they replace; raise `tables.lookup` (now {entries}) in the configuration and restart after `tunlb detach`"
    )]
    NoStretch {
        /// Whose table it is.
        service: ServiceAddress,
        /// How long the table is.
        slots: u64,
        /// How many slots there are for all tables.
        entries: u32,
    },
    /// The kernel refused.
    #[error("cannot access the {table} table")]
    Access {
        /// The table.
        table: &'static str,
        /// What the kernel said.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// How many entries each table has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capacity {
    /// Services.
    pub services: u32,
    /// Real servers, counted per service.
    pub real_servers: u32,
    /// Slots of all lookup tables together.
    pub lookup: u32,
    /// VIPs.
    pub vips: u32,
    /// Flows.
    pub flows: u32,
}

/// The data path's tables. Writes are visible to the data path at once; entries that it reads as a
/// whole are written word by word, each word atomically.
pub trait Store: Send {
    /// The sizes of the tables.
    fn capacity(&self) -> Capacity;
    /// Reads a service entry; a free one has `key.protocol` 0.
    fn service(&self, index: u32) -> Service;
    /// Writes a service entry, all but its position.
    fn set_service(&mut self, index: u32, service: &Service);
    /// Reads a real-server entry; a free one has `service.protocol` 0.
    fn real_server(&self, index: u32) -> RealServer;
    /// Writes a real-server entry.
    fn set_real_server(&mut self, index: u32, real_server: &RealServer);
    /// Reads a slot of the lookup tables.
    fn lookup(&self, slot: u32) -> u32;
    /// Writes lookup slots from `offset` on.
    fn set_lookup(&mut self, offset: u32, real_servers: &[u32]);
    /// Every key by which the data path finds a service.
    fn service_indices(&self) -> Result<Vec<(ServiceKey, u32)>, StoreError>;
    /// Makes the data path find a service.
    fn insert_service_index(&mut self, key: &ServiceKey, index: u32) -> Result<(), StoreError>;
    /// Makes the data path find a service no more.
    fn remove_service_index(&mut self, key: &ServiceKey) -> Result<(), StoreError>;
    /// Every VIP.
    fn vips(&self) -> Result<Vec<(Address, Vip)>, StoreError>;
    /// Adds or changes a VIP.
    fn insert_vip(&mut self, address: &Address, vip: Vip) -> Result<(), StoreError>;
    /// Removes a VIP.
    fn remove_vip(&mut self, address: &Address) -> Result<(), StoreError>;
    /// Writes the filter in front of the VIPs.
    fn set_vip_filter(&mut self, filter: &VipFilter);
    /// Writes what the program in interface slot `slot` knows of its interface.
    fn set_interface(&mut self, slot: u32, interface: Interface);
    /// Calls `each` with every flow in use: word and full key. Flows that change meanwhile may be
    /// left out.
    fn flows(&self, each: &mut dyn FnMut(FlowWord, FlowKey));
    /// Removes every flow of these real servers, in one pass; how many there were.
    fn purge(&mut self, real_servers: &BTreeSet<u32>) -> u64;
    /// What was sent to a real server, over all CPUs.
    fn counters(&self, real_server: u32) -> Result<ServerCounters, StoreError>;
    /// Sets a real server's counters to zero on all CPUs, before its entry is used anew.
    fn reset_counters(&mut self, real_server: u32) -> Result<(), StoreError>;
    /// How often each reason was counted, over all CPUs, indexed by the reason. The slot of
    /// [`Reason::Forwarded`](lb_common::Reason::Forwarded) holds only what [`Store::retire`] put there.
    fn reasons(&self) -> Result<Vec<u64>, StoreError>;
    /// Adds packets that were sent to real servers which are gone, so that the count of
    /// [`Reason::Forwarded`](lb_common::Reason::Forwarded) never falls.
    fn retire(&mut self, packets: u64) -> Result<(), StoreError>;
}
