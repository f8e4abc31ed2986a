//! The pipeline's [`Packet`] and tables in ordinary memory, for tests, fuzzers and the CLI.

use std::{
    collections::HashMap,
    sync::atomic::{AtomicU64, Ordering},
    vec::Vec,
};

use std::cell::{Cell, RefCell};

use crate::{
    address::Address,
    flow::{FlowKey, FlowSet, FlowWord, HashSeed, WAYS},
    packet::Packet,
    reason::Reason,
    table::{
        Addresses, Front, Limiter, LookupTable, RateLimit, RealServer, ServerCounters, Service,
        ServiceKey, Tables, Vip,
    },
};

/// A seed as random as any: the fractional parts of the square roots of 2, 3, 5 and 7.
pub const SEED: HashSeed = HashSeed([
    0x6A09_E667_F3BC_C908,
    0xBB67_AE85_84CA_A73B,
    0x3C6E_F372_FE94_F82B,
    0xA54F_F53A_5F1D_36F1,
]);

/// A frame with room to grow at the head, as an XDP driver hands it over.
#[derive(Clone, Debug)]
pub struct MemoryPacket {
    bytes: Vec<u8>,
    start: usize,
    interface: u32,
}

impl MemoryPacket {
    /// What XDP guarantees in front of a frame.
    const HEADROOM: usize = 256;

    /// A frame that came in on this interface.
    pub fn new(frame: &[u8], interface: u32) -> Self {
        let mut bytes = vec![0; Self::HEADROOM];
        bytes.extend_from_slice(frame);
        Self { bytes, start: Self::HEADROOM, interface }
    }

    /// The frame as it is by now.
    pub fn frame(&self) -> &[u8] {
        &self.bytes[self.start..]
    }
}

impl Packet for MemoryPacket {
    fn load<const N: usize>(&self, offset: usize) -> Option<[u8; N]> {
        self.frame().get(offset..offset.checked_add(N)?)?.try_into().ok()
    }

    fn store<const N: usize>(&mut self, offset: usize, bytes: &[u8; N]) -> bool {
        let start = self.start;
        let Some(end) = offset.checked_add(N) else {
            return false;
        };
        let target = self.bytes[start..].get_mut(offset..end);
        target.map(|target| target.copy_from_slice(bytes)).is_some()
    }

    fn bytes<const N: usize>(&mut self, offset: usize) -> Option<&mut [u8; N]> {
        self.bytes[self.start..].get_mut(offset..offset.checked_add(N)?)?.try_into().ok()
    }

    fn len(&self) -> usize {
        self.bytes.len() - self.start
    }

    fn move_head(&mut self, bytes: i32) -> bool {
        let start = self.start as i64 - i64::from(bytes);
        // As bpf_xdp_adjust_head: an Ethernet header must remain.
        let valid = start >= 0 && start + 14 <= self.bytes.len() as i64;
        if valid {
            self.start = start as usize;
        }
        valid
    }

    fn truncate(&mut self, length: usize) -> bool {
        let valid = length >= 14 && length <= self.len();
        if valid {
            self.bytes.truncate(self.start + length);
        }
        valid
    }

    fn interface(&self) -> u32 {
        self.interface
    }
}

/// The director's tables. Fields are what the maps of the same names hold.
#[derive(Debug)]
pub struct MemoryTables {
    /// The seed of the flow hash.
    pub seed: HashSeed,
    /// Flow sets minus one.
    pub set_mask: u32,
    /// ICMP errors per tick.
    pub limit: u32,
    /// The clock, in ticks.
    pub now: u64,
    /// What stands in front; the program's interface is in slot 0.
    pub front: Front,
    /// The VIPs.
    pub vips: HashMap<Address, Vip>,
    /// Keys to indices in `services`.
    pub service_indices: HashMap<ServiceKey, u32>,
    /// The services.
    pub services: Vec<Service>,
    /// The lookup tables.
    pub lookup: Vec<u32>,
    /// The real servers.
    pub real_servers: Vec<RealServer>,
    positions: RefCell<HashMap<u32, u64>>,
    flows: Vec<AtomicU64>,
    flow_keys: RefCell<HashMap<u32, FlowKey>>,
    reasons: RefCell<HashMap<Reason, u64>>,
    counters: RefCell<HashMap<u32, ServerCounters>>,
    given: [Cell<RateLimit>; Limiter::COUNT as usize],
}

impl MemoryTables {
    /// Empty tables with `flow_sets` flow sets, a power of two.
    pub fn new(flow_sets: u32, seed: HashSeed, limit: u32) -> Self {
        assert!(flow_sets.is_power_of_two(), "{flow_sets} flow sets are not a power of two");
        Self {
            seed,
            set_mask: flow_sets - 1,
            limit,
            now: 0,
            front: Front::default(),
            vips: HashMap::new(),
            service_indices: HashMap::new(),
            services: Vec::new(),
            lookup: Vec::new(),
            real_servers: Vec::new(),
            positions: RefCell::default(),
            flows: (0..flow_sets as usize * WAYS).map(|_| AtomicU64::new(0)).collect(),
            flow_keys: RefCell::default(),
            reasons: RefCell::default(),
            counters: RefCell::default(),
            given: Default::default(),
        }
    }

    /// How often a reason was counted; known flows' packets are counted with their real servers.
    pub fn counted(&self, reason: Reason) -> u64 {
        let counted = self.reasons.borrow().get(&reason).copied().unwrap_or_default();
        if reason != Reason::Forwarded {
            return counted;
        }
        let sent: u64 = self.counters.borrow().values().map(|counters| counters.packets).sum();
        counted + sent - self.counted(Reason::Scheduled)
    }

    /// What was sent to a real server.
    pub fn counters(&self, real_server: u32) -> ServerCounters {
        self.counters.borrow().get(&real_server).copied().unwrap_or_default()
    }

    /// Adds to what was counted under a reason.
    pub fn add(&mut self, reason: Reason, count: u64) {
        *self.reasons.get_mut().entry(reason).or_default() += count;
    }

    /// Sets what was sent to a real server to zero.
    pub fn reset_counters(&mut self, real_server: u32) {
        self.counters.get_mut().remove(&real_server);
    }

    /// A service's round-robin position.
    pub fn position(&self, service: u32) -> u64 {
        self.positions.borrow().get(&service).copied().unwrap_or_default()
    }

    /// Removes every flow of a real server; how many there were.
    pub fn purge(&mut self, real_server: u32) -> u64 {
        let mut purged = 0;
        for word in &mut self.flows {
            let old = FlowWord(*word.get_mut());
            if !old.is_empty() && old.real_server() == real_server {
                *word.get_mut() = 0;
                purged += 1;
            }
        }
        purged
    }

    /// How many flows there is room for.
    pub fn flow_slots(&self) -> u32 {
        self.flows.len() as u32
    }

    /// The flow words in use, with the full keys stored for them.
    pub fn flows(&self) -> Vec<(FlowWord, FlowKey)> {
        let keys = self.flow_keys.borrow();
        let words = self.flows.iter().map(|word| FlowWord(word.load(Ordering::Relaxed)));
        let used = words.enumerate().filter(|(_, word)| !word.is_empty());
        used.filter_map(|(slot, word)| Some((word, *keys.get(&(slot as u32))?))).collect()
    }
}

impl FlowSet for &[AtomicU64] {
    fn word(&self, way: usize) -> FlowWord {
        FlowWord(self[way & (WAYS - 1)].load(Ordering::Relaxed))
    }

    fn replace(&self, way: usize, old: FlowWord, new: FlowWord) -> bool {
        let word = &self[way & (WAYS - 1)];
        word.compare_exchange(old.0, new.0, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }

    fn opaque(number: u64) -> u64 {
        number
    }
}

impl Addresses for &MemoryTables {
    fn vip(&self, address: &Address) -> Option<Vip> {
        self.vips.get(address).copied()
    }

    fn count(&self, reason: Reason) {
        *self.reasons.borrow_mut().entry(reason).or_default() += 1;
    }
}

impl<'a> Tables for &'a MemoryTables {
    type FlowSet = &'a [AtomicU64];

    fn seed(&self) -> HashSeed {
        self.seed
    }

    fn set_mask(&self) -> u32 {
        self.set_mask
    }

    fn now(&self) -> u64 {
        self.now
    }

    fn random(&self) -> u32 {
        4
    }

    fn front(&self) -> Option<&Front> {
        Some(&self.front)
    }

    fn interface_slot(&self) -> u32 {
        0
    }

    fn service_index(&self, key: &ServiceKey) -> Option<u32> {
        self.service_indices.get(key).copied()
    }

    fn lookup_table(&self, service: u32) -> Option<LookupTable> {
        self.services.get(service as usize).map(|service| service.table)
    }

    fn advance(&self, service: u32) -> u64 {
        let mut positions = self.positions.borrow_mut();
        let position = positions.entry(service).or_default();
        *position += 1;
        *position - 1
    }

    fn lookup(&self, slot: u32) -> Option<u32> {
        self.lookup.get(slot as usize).copied()
    }

    fn real_server(&self, index: u32) -> Option<&RealServer> {
        self.real_servers.get(index as usize)
    }

    fn flow_set(&self, index: u32) -> Option<Self::FlowSet> {
        self.flows.get(index as usize * WAYS..(index as usize + 1) * WAYS)
    }

    fn prefetch_flow_key(&self, _: u32) {}

    fn store_flow_key(&self, slot: u32, key: &FlowKey) {
        self.flow_keys.borrow_mut().insert(slot, *key);
    }

    fn count_flow(&self, real_server: u32) {
        self.counters.borrow_mut().entry(real_server).or_default().flows += 1;
    }

    fn count_packet(&self, real_server: u32, bytes: u64) {
        let mut counters = self.counters.borrow_mut();
        let counters = counters.entry(real_server).or_default();
        counters.packets += 1;
        counters.bytes += bytes;
    }

    fn admit(&self, limiter: Limiter) -> bool {
        let given = &self.given[limiter as usize];
        let mut used = given.get();
        let admitted = used.admit(self.now, self.limit);
        given.set(used);
        admitted
    }
}
