//! What stands in maps, and the trait through which the pipeline reads and writes it.
//!
//! Every type here is `repr(C)`, has no padding, and has its size asserted beside it; zerocopy's
//! derives refuse padding, `bool` and `Option` at compile time. Arrays that the data path reads hold
//! values of 64 or 128 bytes and start on a page, so a value fills cache lines without an alignment
//! of the type's own (LLVM's BPF backend cannot copy types aligned to more than 8).

mod counters;
mod front;
mod interface;
mod real_server;
mod service;
mod settings;
mod vip;

pub use counters::{Limiter, REASONS, RateLimit, ServerCounters};
pub use front::{Front, INTERFACES};
pub use interface::Interface;
pub use real_server::{RealServer, Vlan};
pub use service::{LookupTable, Method, Service, ServiceKey, Slot};
pub use settings::{LAYOUT, Settings};
pub use vip::{Vip, VipFilter};

use crate::{
    address::Address,
    flow::{FlowHash, FlowKey, FlowSet, HashSeed},
    reason::Reason,
};

/// The addresses that packets may be for, and the counters of outcomes.
pub trait Addresses {
    /// The VIP (or, on a real server, the tunnel's end) with this address.
    fn vip(&self, address: &Address) -> Option<Vip>;

    /// Counts an outcome.
    fn count(&self, reason: Reason);
}

/// The tables that the director decides by.
pub trait Tables: Addresses {
    /// Eight flow words of one cache line.
    type FlowSet: FlowSet;

    /// The seed of the flow hash.
    fn seed(&self) -> HashSeed;

    /// The hash of a packet's flow.
    #[inline(always)]
    fn flow_hash(&self, key: &FlowKey) -> FlowHash {
        key.hash(&self.seed())
    }

    /// Flow sets minus one.
    fn set_mask(&self) -> u32;

    /// The time in ticks of 2^30 ns, since a moment that is the same for everybody until the next boot.
    fn now(&self) -> u64;

    /// A number nobody can predict.
    fn random(&self) -> u32;

    /// What stands in front of everything else.
    fn front(&self) -> Option<&Front>;

    /// The slot of the interface that the program is attached to.
    fn interface_slot(&self) -> u32;

    /// The index of the service with this key.
    fn service_index(&self, key: &ServiceKey) -> Option<u32>;

    /// The lookup table of the service with this index, read at once.
    fn lookup_table(&self, service: u32) -> Option<LookupTable>;

    /// Advances the service's round-robin position and gives what it was before.
    fn advance(&self, service: u32) -> u64;

    /// What stands in this slot of the lookup tables: a [`Slot`].
    fn lookup(&self, slot: u32) -> Option<u32>;

    /// The real server with this index.
    fn real_server(&self, index: u32) -> Option<&RealServer>;

    /// The flow set with this number.
    fn flow_set(&self, index: u32) -> Option<Self::FlowSet>;

    /// Begins to fetch the place of a new flow's key into the cache, while other memory is waited for.
    fn prefetch_flow_key(&self, slot: u32);

    /// Keeps a new flow's full key; the pipeline never reads it back.
    fn store_flow_key(&self, slot: u32, key: &FlowKey);

    /// Counts a flow opened to the real server with this index.
    fn count_flow(&self, real_server: u32);

    /// Counts a packet of `bytes` (of IP) sent to the real server with this index.
    fn count_packet(&self, real_server: u32, bytes: u64);

    /// Whether the limiter has one more to give in this tick.
    fn admit(&self, limiter: Limiter) -> bool;
}
