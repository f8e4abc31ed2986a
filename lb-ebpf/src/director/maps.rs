//! The director's maps, as lb-common's [`Tables`].
//!
//! Sizes here are defaults; the loader sets them. Names are at most 15 characters.

use core::intrinsics::{AtomicOrdering, atomic_cxchg, atomic_xadd};

use aya_ebpf::{
    Global,
    bindings::{BPF_F_MMAPABLE, BPF_F_RDONLY_PROG},
    helpers::generated::bpf_get_prandom_u32,
    macros::map,
    maps::{Array, HashMap, PerCpuArray},
};
use lb_common::{
    Address, Addresses, Reason, Tables,
    flow::{FlowKey, FlowSet, FlowWord, HashSeed, WAYS},
    table::{
        Front, Limiter, LookupTable, REASONS as REASON_SLOTS, RateLimit, RealServer,
        ServerCounters, Service, ServiceKey, Settings, Vip,
    },
};

/// Flow sets: 8 flow words in a cache line.
#[map]
static FLOWS: Array<[u64; WAYS]> = Array::pinned(1 << 17, BPF_F_MMAPABLE);

/// The full keys of the flows, slot by slot. Written on insertion, read by userspace only.
#[map]
static FLOW_KEYS: Array<FlowKey> = Array::pinned(1 << 20, BPF_F_MMAPABLE);

/// From a service's key to its index.
#[map]
static SERVICE_INDEX: HashMap<ServiceKey, u32> = HashMap::pinned(1024, 0);

/// The services.
#[map]
static SERVICES: Array<Service> = Array::pinned(1024, BPF_F_MMAPABLE);

/// All services' lookup tables of real-server indices.
#[map]
static LOOKUP: Array<u32> = Array::pinned(1 << 20, BPF_F_MMAPABLE);

/// The real servers.
#[map]
static REAL_SERVERS: Array<RealServer> = Array::pinned(4096, BPF_F_MMAPABLE);

/// What was sent to each real server.
#[map]
static SERVER_COUNTERS: PerCpuArray<ServerCounters> = PerCpuArray::pinned(4096, 0);

/// Packets per reason.
#[map]
static REASONS: PerCpuArray<u64> = PerCpuArray::pinned(REASON_SLOTS, 0);

/// What each limiter has given out.
#[map]
static LIMITS: PerCpuArray<RateLimit> = PerCpuArray::pinned(Limiter::COUNT, 0);

/// The VIPs.
#[map]
static VIPS: HashMap<Address, Vip> = HashMap::pinned(1024, 0);

/// What stands in front: the VIPs' filter, and the interfaces that the director is attached to.
#[map]
static FRONT: Array<Front> = Array::pinned(1, BPF_F_MMAPABLE);

/// What the maps mean. Userspace's only: a program never reads it.
#[map]
static SETTINGS: Array<Settings> = Array::pinned(1, BPF_F_RDONLY_PROG);

/// The flow hash's seed, in four words so that the verifier folds each into its instruction.
#[unsafe(no_mangle)]
static SEED_0: Global<u64> = Global::new(0);
#[unsafe(no_mangle)]
static SEED_1: Global<u64> = Global::new(0);
#[unsafe(no_mangle)]
static SEED_2: Global<u64> = Global::new(0);
#[unsafe(no_mangle)]
static SEED_3: Global<u64> = Global::new(0);

/// Flow sets minus one.
#[unsafe(no_mangle)]
static SET_MASK: Global<u32> = Global::new((1 << 17) - 1);

/// ICMP errors per tick and CPU.
#[unsafe(no_mangle)]
static ICMP_LIMIT: Global<u32> = Global::new(1000);

/// Nanoseconds in a jiffy.
#[unsafe(no_mangle)]
static JIFFY: Global<u64> = Global::new(4_000_000);

/// The slot of the program's interface in [`Front::interfaces`].
#[unsafe(no_mangle)]
static INTERFACE_SLOT: Global<u32> = Global::new(0);

/// The director's maps.
pub struct Maps;

/// A cache line of the flow table, which other CPUs change at the same time.
#[derive(Clone, Copy)]
pub struct MapFlowSet(*mut [u64; WAYS]);

impl MapFlowSet {
    #[inline(always)]
    fn at(&self, way: usize) -> *mut u64 {
        // SAFETY: the mask keeps the pointer inside the map value, which outlives the program run.
        unsafe { self.0.cast::<u64>().add(way & (WAYS - 1)) }
    }
}

impl FlowSet for MapFlowSet {
    #[inline(always)]
    fn word(&self, way: usize) -> FlowWord {
        // SAFETY: `at` points into the map value. Volatile, because the word is shared: an aligned
        // 8-byte load is single-copy atomic, and BPF has no atomic load instruction.
        FlowWord(unsafe { self.at(way).read_volatile() })
    }

    #[inline(always)]
    fn replace(&self, way: usize, old: FlowWord, new: FlowWord) -> bool {
        // SAFETY: `at` points into the map value, aligned to 8 bytes.
        let (_, replaced) = unsafe {
            atomic_cxchg::<u64, { AtomicOrdering::SeqCst }, { AtomicOrdering::SeqCst }>(
                self.at(way),
                old.0,
                new.0,
            )
        };
        replaced
    }

    #[inline(always)]
    fn opaque(mut number: u64) -> u64 {
        // SAFETY: the register is copied to itself. (Without any instruction, two lines of source
        // would share an offset in the BTF line table, which the kernel refuses.)
        unsafe {
            core::arch::asm!("{0} = {0}", inout(reg) number, options(pure, nomem, nostack));
        }
        number
    }
}

impl Addresses for Maps {
    #[inline(always)]
    fn vip(&self, address: &Address) -> Option<Vip> {
        // SAFETY: the value is one word; userspace replaces it as a whole.
        unsafe { VIPS.get(address) }.copied()
    }

    #[inline(always)]
    fn count(&self, reason: Reason) {
        if let Some(count) = REASONS.get_ptr_mut(reason as u32) {
            // SAFETY: the slot is this CPU's own, and XDP programs do not interrupt each other.
            unsafe { *count += 1 };
        }
    }
}

impl Tables for Maps {
    type FlowSet = MapFlowSet;

    #[inline(always)]
    fn seed(&self) -> HashSeed {
        HashSeed([SEED_0.load(), SEED_1.load(), SEED_2.load(), SEED_3.load()])
    }

    #[inline(always)]
    fn set_mask(&self) -> u32 {
        SET_MASK.load()
    }

    #[inline(always)]
    fn now(&self) -> u64 {
        lb_ebpf::ticks(JIFFY.load())
    }

    #[inline(always)]
    fn random(&self) -> u32 {
        // SAFETY: the helper takes nothing and gives a number.
        unsafe { bpf_get_prandom_u32() }
    }

    #[inline(always)]
    fn front(&self) -> Option<&Front> {
        FRONT.get(0)
    }

    #[inline(always)]
    fn interface_slot(&self) -> u32 {
        INTERFACE_SLOT.load()
    }

    #[inline(always)]
    fn service_index(&self, key: &ServiceKey) -> Option<u32> {
        // SAFETY: the value is one word; userspace replaces it as a whole.
        unsafe { SERVICE_INDEX.get(key) }.copied()
    }

    #[inline(always)]
    fn lookup_table(&self, service: u32) -> Option<LookupTable> {
        let service = SERVICES.get_ptr(service)?;
        // SAFETY: the pointer is to a map value of this type. Volatile, so that it is one load.
        Some(unsafe { (&raw const (*service).table).read_volatile() })
    }

    #[inline(always)]
    fn advance(&self, service: u32) -> u64 {
        match SERVICES.get_ptr_mut(service) {
            // SAFETY: the field is inside the map value and aligned. SeqCst, because LLVM 22 turns
            // a relaxed add whose result is used into one that yields the operand.
            Some(service) => unsafe {
                atomic_xadd::<u64, u64, { AtomicOrdering::SeqCst }>(&raw mut (*service).position, 1)
            },
            None => 0,
        }
    }

    #[inline(always)]
    fn lookup(&self, slot: u32) -> Option<u32> {
        LOOKUP.get(slot).copied()
    }

    #[inline(always)]
    fn real_server(&self, index: u32) -> Option<&RealServer> {
        REAL_SERVERS.get(index)
    }

    #[inline(always)]
    fn flow_set(&self, index: u32) -> Option<Self::FlowSet> {
        FLOWS.get_ptr_mut(index).map(MapFlowSet)
    }

    #[inline(always)]
    fn prefetch_flow_key(&self, slot: u32) {
        if let Some(place) = FLOW_KEYS.get_ptr(slot) {
            // SAFETY: the pointer is to a map value of this type. Volatile, because the value is not
            // used: a CPU goes on while a load is under way.
            unsafe { place.cast::<u64>().read_volatile() };
        }
    }

    #[inline(always)]
    fn store_flow_key(&self, slot: u32, key: &FlowKey) {
        if let Some(place) = FLOW_KEYS.get_ptr_mut(slot) {
            // SAFETY: the pointer is to a map value of this type. Userspace checks what it reads
            // there against the flow word's tag.
            unsafe { place.write(*key) };
        }
    }

    #[inline(always)]
    fn count_flow(&self, real_server: u32) {
        if let Some(counters) = SERVER_COUNTERS.get_ptr_mut(real_server) {
            // SAFETY: the slot is this CPU's own, and XDP programs do not interrupt each other.
            unsafe { (*counters).flows += 1 };
        }
    }

    #[inline(always)]
    fn count_packet(&self, real_server: u32, bytes: u64) {
        if let Some(counters) = SERVER_COUNTERS.get_ptr_mut(real_server) {
            // SAFETY: the slot is this CPU's own, and XDP programs do not interrupt each other.
            let counters = unsafe { &mut *counters };
            counters.packets += 1;
            counters.bytes += bytes;
        }
    }

    #[inline(always)]
    fn admit(&self, limiter: Limiter) -> bool {
        match LIMITS.get_ptr_mut(limiter as u32) {
            // SAFETY: the slot is this CPU's own, and XDP programs do not interrupt each other.
            Some(limit) => unsafe { (*limit).admit(self.now(), ICMP_LIMIT.load()) },
            None => false,
        }
    }
}
