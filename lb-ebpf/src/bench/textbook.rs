//! The textbook's flow table: the kernel's LRU hash map from a flow's full key to its real server.
//!
//! Not for: being slow. All that is not the flow table is as in the director, and what the pipeline
//! does for the director's table alone is left out.

use core::{cell::Cell, mem::MaybeUninit, ptr};

use aya_ebpf::{macros::map, maps::LruHashMap};
use lb_common::{
    Address, Addresses, Reason, Tables,
    flow::{FlowHash, FlowKey, FlowSet, FlowWord, HashSeed},
    table::{Front, Limiter, LookupTable, RealServer, ServiceKey, Vip},
};

use crate::maps::{MapFlowSet, Maps};

/// The flows. A value is real server, state and last-seen time, as a [`FlowWord`].
#[map]
static LRU_FLOWS: LruHashMap<FlowKey, u64> = LruHashMap::with_max_entries(1 << 20, 0);

/// The director's maps, but for the flows; made anew for each packet.
pub struct Textbook {
    /// The packet's flow, once it is known.
    key: Cell<MaybeUninit<FlowKey>>,
    /// What the LRU map has for it; null when nothing.
    word: Cell<*mut u64>,
}

impl Textbook {
    /// For a packet.
    #[inline(always)]
    pub fn new() -> Self {
        // Not null, or all of it would be cleared by a call of `memset`.
        Self { key: Cell::new(MaybeUninit::uninit()), word: Cell::new(ptr::dangling_mut()) }
    }
}

/// What the LRU map has for one flow, in the form of a set with one way.
#[derive(Clone, Copy)]
pub struct Entry {
    key: *const FlowKey,
    word: *mut u64,
}

impl FlowSet for Entry {
    #[inline(always)]
    fn word(&self, way: usize) -> FlowWord {
        if way == 0 && !self.word.is_null() {
            // SAFETY: the pointer is to a map value, which outlives the program run.
            FlowWord(unsafe { self.word.read_volatile() })
        } else {
            FlowWord::EMPTY
        }
    }

    #[inline(always)]
    fn replace(&self, _: usize, _: FlowWord, new: FlowWord) -> bool {
        if self.word.is_null() {
            // SAFETY: the key is the `Textbook`'s, which lives until the packet is done with.
            return LRU_FLOWS.insert(unsafe { *self.key }, new.0, 0).is_ok();
        }
        // SAFETY: as in `word`.
        unsafe { self.word.write_volatile(new.0) };
        true
    }

    #[inline(always)]
    fn opaque(number: u64) -> u64 {
        MapFlowSet::opaque(number)
    }
}

impl Addresses for Textbook {
    #[inline(always)]
    fn vip(&self, address: &Address) -> Option<Vip> {
        Maps.vip(address)
    }

    #[inline(always)]
    fn count(&self, reason: Reason) {
        Maps.count(reason);
    }
}

/// Every flow's tag is 1, and its sets are 0 and 1: the key alone tells flows apart.
const HASH: FlowHash = FlowHash::new(1 << 36);

impl Tables for Textbook {
    type FlowSet = Entry;

    #[inline(always)]
    fn seed(&self) -> HashSeed {
        HashSeed([0; 4])
    }

    #[inline(always)]
    fn flow_hash(&self, key: &FlowKey) -> FlowHash {
        self.key.set(MaybeUninit::new(*key));
        // SAFETY: the key has just been written, and is not changed while it is looked up.
        let found = LRU_FLOWS.get_ptr_mut(unsafe { (*self.key.as_ptr()).assume_init_ref() });
        self.word.set(found.unwrap_or(ptr::null_mut()));
        HASH
    }

    #[inline(always)]
    fn set_mask(&self) -> u32 {
        1
    }

    #[inline(always)]
    fn now(&self) -> u64 {
        Maps.now()
    }

    #[inline(always)]
    fn random(&self) -> u32 {
        Maps.random()
    }

    #[inline(always)]
    fn front(&self) -> Option<&Front> {
        Maps.front()
    }

    #[inline(always)]
    fn interface_slot(&self) -> u32 {
        Maps.interface_slot()
    }

    #[inline(always)]
    fn service_index(&self, key: &ServiceKey) -> Option<u32> {
        Maps.service_index(key)
    }

    #[inline(always)]
    fn lookup_table(&self, service: u32) -> Option<LookupTable> {
        Maps.lookup_table(service)
    }

    #[inline(always)]
    fn advance(&self, service: u32) -> u64 {
        Maps.advance(service)
    }

    #[inline(always)]
    fn lookup(&self, slot: u32) -> Option<u32> {
        Maps.lookup(slot)
    }

    #[inline(always)]
    fn real_server(&self, index: u32) -> Option<&RealServer> {
        Maps.real_server(index)
    }

    #[inline(always)]
    fn flow_set(&self, index: u32) -> Option<Self::FlowSet> {
        let word = if index == 0 { self.word.get() } else { ptr::null_mut() };
        Some(Entry { key: self.key.as_ptr().cast(), word })
    }

    #[inline(always)]
    fn prefetch_flow_key(&self, _: u32) {}

    #[inline(always)]
    fn store_flow_key(&self, _: u32, _: &FlowKey) {
        // The LRU map has the key.
    }

    #[inline(always)]
    fn count_flow(&self, real_server: u32) {
        Maps.count_flow(real_server);
    }

    #[inline(always)]
    fn count_packet(&self, real_server: u32, bytes: u64) {
        Maps.count_packet(real_server, bytes);
    }

    #[inline(always)]
    fn admit(&self, limiter: Limiter) -> bool {
        Maps.admit(limiter)
    }
}
