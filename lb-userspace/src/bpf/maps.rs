//! The director's pinned maps as a [`Store`]: hot tables through shared mappings, without a system
//! call; hash tables and per-CPU counters through bpf(2).

use std::{collections::BTreeSet, path::Path, sync::Arc};

use aya::maps::{HashMap, Map, MapData, MapError, PerCpuArray, PerCpuValues};
use lb_common::{
    Address, Reason,
    flow::{FlowKey, FlowWord, HashSeed},
    table::{Front, Interface, RealServer, ServerCounters, Service, ServiceKey, Vip, VipFilter},
};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::{BpfError, Sweeper, entry};
use crate::{
    store::{Capacity, Store, StoreError},
    sys::SharedWords,
};

type KeyWords = [u64; size_of::<ServiceKey>() / 8];
type AddressWords = [u64; size_of::<Address>() / 8];
type CounterWords = [u64; size_of::<ServerCounters>() / 8];

/// Words of a flow key.
const KEY_WORDS: usize = size_of::<FlowKey>() / 8;

/// The director's maps.
pub struct MapStore {
    capacity: Capacity,
    seed: HashSeed,
    flows: Arc<SharedWords>,
    flow_keys: SharedWords,
    services: SharedWords,
    lookup: SharedWords,
    real_servers: SharedWords,
    front: SharedWords,
    service_indices: HashMap<MapData, KeyWords, u32>,
    vips: HashMap<MapData, AddressWords, u32>,
    counters: PerCpuArray<MapData, CounterWords>,
    reasons: PerCpuArray<MapData, u64>,
}

impl MapStore {
    /// Opens the maps pinned in a directory, whose layouts have been checked.
    pub(super) fn open(
        directory: &Path,
        capacity: Capacity,
        seed: HashSeed,
    ) -> Result<Self, BpfError> {
        let Capacity { services, real_servers, lookup, vips: _, flows } = capacity;
        let words = |name, entries: u32, bytes: usize| map_words(directory, name, entries, bytes);
        Ok(Self {
            capacity,
            seed,
            flows: Arc::new(words("FLOWS", flows, size_of::<u64>())?),
            flow_keys: words("FLOW_KEYS", flows, size_of::<FlowKey>())?,
            services: words("SERVICES", services, size_of::<Service>())?,
            // The kernel rounds every value up to 8 bytes.
            lookup: words("LOOKUP", lookup, size_of::<u64>())?,
            real_servers: words("REAL_SERVERS", real_servers, size_of::<RealServer>())?,
            front: words("FRONT", 1, size_of::<Front>())?,
            service_indices: typed(directory, "SERVICE_INDEX", Map::HashMap)?,
            vips: typed(directory, "VIPS", Map::HashMap)?,
            counters: typed(directory, "SERVER_COUNTERS", Map::PerCpuArray)?,
            reasons: typed(directory, "REASONS", Map::PerCpuArray)?,
        })
    }

    /// The flow table, for a thread of its own.
    pub(super) fn sweeper(&self) -> Sweeper {
        Sweeper::new(self.flows.clone(), self.capacity.real_servers)
    }
}

fn open(directory: &Path, name: &str) -> Result<MapData, BpfError> {
    MapData::from_pin(directory.join(name))
        .map_err(|source| BpfError::Map { name: name.into(), source })
}

fn typed<T: TryFrom<Map, Error = MapError>>(
    directory: &Path,
    name: &str,
    kind: fn(MapData) -> Map,
) -> Result<T, BpfError> {
    T::try_from(kind(open(directory, name)?))
        .map_err(|source| BpfError::Map { name: name.into(), source })
}

fn map_words(
    directory: &Path,
    name: &str,
    entries: u32,
    bytes: usize,
) -> Result<SharedWords, BpfError> {
    let map = open(directory, name)?;
    SharedWords::map(map.fd(), entries as usize * bytes / 8)
        .map_err(|source| BpfError::Io { path: directory.join(name), source })
}

/// Reads a value of whole words.
fn read<T: FromBytes, const WORDS: usize>(words: &SharedWords, index: usize) -> T {
    const { assert!(size_of::<T>() == WORDS * 8) };
    let value: [u64; WORDS] = words.read(index);
    match T::read_from_bytes(value.as_bytes()) {
        Ok(value) => value,
        Err(_) => unreachable!("the sizes are equal"),
    }
}

/// Writes a value of whole words, the ones in `skip` excepted, front to back.
fn write<T: IntoBytes + Immutable + KnownLayout>(
    words: &SharedWords,
    index: usize,
    value: &T,
    skip: &[usize],
) {
    let count = size_of::<T>() / 8;
    for (word, bytes) in value.as_bytes().chunks_exact(8).enumerate() {
        if !skip.contains(&word) {
            let mut eight = [0; 8];
            eight.copy_from_slice(bytes);
            words.store(index * count + word, u64::from_ne_bytes(eight));
        }
    }
}

fn access(table: &'static str) -> impl Fn(MapError) -> StoreError {
    move |source| StoreError::Access { table, source: Box::new(source) }
}

impl Store for MapStore {
    fn capacity(&self) -> Capacity {
        self.capacity
    }

    fn service(&self, index: u32) -> Service {
        read::<_, { size_of::<Service>() / 8 }>(&self.services, index as usize)
    }

    fn set_service(&mut self, index: u32, service: &Service) {
        const POSITION: usize = core::mem::offset_of!(Service, position) / 8;
        write(&self.services, index as usize, service, &[POSITION]);
    }

    fn real_server(&self, index: u32) -> RealServer {
        read::<_, { entry::WORDS }>(&self.real_servers, index as usize)
    }

    fn set_real_server(&mut self, index: u32, real_server: &RealServer) {
        let index = index as usize;
        for (word, value) in entry::writes(&self.real_server(index as u32), real_server) {
            self.real_servers.store(index * entry::WORDS + word, value);
        }
    }

    fn lookup(&self, slot: u32) -> u32 {
        self.lookup.load(slot as usize) as u32
    }

    fn set_lookup(&mut self, offset: u32, real_servers: &[u32]) {
        for (slot, real_server) in (offset as usize..).zip(real_servers) {
            self.lookup.store(slot, u64::from(*real_server));
        }
    }

    fn service_indices(&self) -> Result<Vec<(ServiceKey, u32)>, StoreError> {
        let entries = self
            .service_indices
            .iter()
            .map(|entry| entry.map(|(key, index)| (zerocopy::transmute!(key), index)));
        entries.collect::<Result<_, _>>().map_err(access("SERVICE_INDEX"))
    }

    fn insert_service_index(&mut self, key: &ServiceKey, index: u32) -> Result<(), StoreError> {
        let key: KeyWords = zerocopy::transmute!(*key);
        self.service_indices.insert(key, index, 0).map_err(access("SERVICE_INDEX"))
    }

    fn remove_service_index(&mut self, key: &ServiceKey) -> Result<(), StoreError> {
        let key: KeyWords = zerocopy::transmute!(*key);
        gone_is_fine(self.service_indices.remove(&key)).map_err(access("SERVICE_INDEX"))
    }

    fn vips(&self) -> Result<Vec<(Address, Vip)>, StoreError> {
        let entries = self
            .vips
            .iter()
            .map(|entry| entry.map(|(key, vip)| (zerocopy::transmute!(key), Vip(vip))));
        entries.collect::<Result<_, _>>().map_err(access("VIPS"))
    }

    fn insert_vip(&mut self, address: &Address, vip: Vip) -> Result<(), StoreError> {
        let key: AddressWords = zerocopy::transmute!(*address);
        self.vips.insert(key, vip.0, 0).map_err(access("VIPS"))
    }

    fn remove_vip(&mut self, address: &Address) -> Result<(), StoreError> {
        let key: AddressWords = zerocopy::transmute!(*address);
        gone_is_fine(self.vips.remove(&key)).map_err(access("VIPS"))
    }

    fn set_vip_filter(&mut self, filter: &VipFilter) {
        const { assert!(core::mem::offset_of!(Front, vip_filter) == 0) };
        write(&self.front, 0, filter, &[]);
    }

    fn set_interface(&mut self, slot: u32, interface: Interface) {
        const FIRST: usize = core::mem::offset_of!(Front, interfaces) / size_of::<Interface>();
        write(&self.front, FIRST + slot as usize, &interface, &[]);
    }

    fn flows(&self, each: &mut dyn FnMut(FlowWord, FlowKey)) {
        for slot in 0..self.flows.len() {
            let word = FlowWord(self.flows.load(slot));
            if word.is_empty() {
                continue;
            }
            let key: FlowKey = read::<_, KEY_WORDS>(&self.flow_keys, slot);
            // Word and key are two writes: a key may be that of the flow before or after.
            if key.hash(&self.seed).tag() == word.tag() {
                each(word, key);
            }
        }
    }

    fn purge(&mut self, real_servers: &BTreeSet<u32>) -> u64 {
        let mut purged = 0;
        for slot in 0..self.flows.len() {
            // A packet may move the flow's state on meanwhile: look again until it is gone.
            loop {
                let word = FlowWord(self.flows.load(slot));
                if word.is_empty() || !real_servers.contains(&word.real_server()) {
                    break;
                }
                if self.flows.replace(slot, word.0, FlowWord::EMPTY.0) {
                    purged += 1;
                }
            }
        }
        purged
    }

    fn counters(&self, real_server: u32) -> Result<ServerCounters, StoreError> {
        let values = self.counters.get(&real_server, 0).map_err(access("SERVER_COUNTERS"))?;
        let mut sum = ServerCounters::default();
        for [flows, packets, bytes, _] in values.iter() {
            sum.flows += flows;
            sum.packets += packets;
            sum.bytes += bytes;
        }
        Ok(sum)
    }

    fn reset_counters(&mut self, real_server: u32) -> Result<(), StoreError> {
        let values = self.counters.get(&real_server, 0).map_err(access("SERVER_COUNTERS"))?;
        let zero = vec![[0; size_of::<ServerCounters>() / 8]; values.len()];
        let zero = PerCpuValues::try_from(zero).map_err(|source| StoreError::Access {
            table: "SERVER_COUNTERS",
            source: source.into(),
        })?;
        self.counters.set(real_server, zero, 0).map_err(access("SERVER_COUNTERS"))
    }

    fn reasons(&self) -> Result<Vec<u64>, StoreError> {
        let sum = |reason: &Reason| -> Result<u64, MapError> {
            Ok(self.reasons.get(&(*reason as u32), 0)?.iter().sum())
        };
        Reason::ALL.iter().map(sum).collect::<Result<_, _>>().map_err(access("REASONS"))
    }

    fn retire(&mut self, packets: u64) -> Result<(), StoreError> {
        // The data path never writes this slot, so read and write cannot lose a count.
        let slot = Reason::Forwarded as u32;
        let values = self.reasons.get(&slot, 0).map_err(access("REASONS"))?;
        let mut values: Vec<u64> = values.iter().copied().collect();
        if let Some(first) = values.first_mut() {
            *first += packets;
        }
        let values = PerCpuValues::try_from(values)
            .map_err(|source| StoreError::Access { table: "REASONS", source: source.into() })?;
        self.reasons.set(slot, values, 0).map_err(access("REASONS"))
    }
}

fn gone_is_fine(result: Result<(), MapError>) -> Result<(), MapError> {
    match result {
        Err(MapError::KeyNotFound) => Ok(()),
        Err(MapError::SyscallError(error))
            if error.io_error.raw_os_error() == Some(libc::ENOENT) =>
        {
            Ok(())
        }
        other => other,
    }
}
