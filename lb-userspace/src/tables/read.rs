//! Reading what the data path does, and putting right what a daemon left that died half-way.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::Ipv4Addr,
};

use lb_common::table::{RealServer, Service, ServiceKey, Slot, Vip};

use super::lookup::{self, Pick, Turn};
use crate::{
    config::{Scheduler, ServiceAddress, Weight, ipv4},
    plan::{Actual, ActualServer, ActualService, Ownership},
    store::{Store, StoreError},
};

/// Puts right what only a daemon that died in the middle of a change can have left, then reads
/// what the data path does.
pub(super) fn adopt(store: &mut dyn Store) -> Result<Actual, StoreError> {
    for (key, index) in store.service_indices()? {
        if ServiceAddress::from_key(&key).is_none() || store.service(index).key != key {
            store.remove_service_index(&key)?;
        }
    }
    let indexed: BTreeMap<u32, ServiceKey> =
        store.service_indices()?.into_iter().map(|(key, index)| (index, key)).collect();
    for index in 0..store.capacity().services {
        if store.service(index).key.protocol != 0 && !indexed.contains_key(&index) {
            store.set_service(index, &Service::default());
        }
    }
    let mut seen = BTreeSet::new();
    let (mut free, mut stray) = (BTreeSet::new(), BTreeSet::new());
    for index in 0..store.capacity().real_servers {
        let entry = store.real_server(index);
        if entry.service.protocol == 0 {
            free.insert(index);
        } else if indexed.get(&entry.service_index) != Some(&entry.service)
            || !seen.insert((entry.service, entry.address))
        {
            stray.insert(index);
        }
    }
    // Flows of free entries must not come upon who gets the entry next.
    take_out(store, &stray, &free)?;
    read(store)
}

/// Takes real servers' entries out of use, with their flows; what they forwarded stays counted.
pub(super) fn clear(store: &mut dyn Store, indices: &BTreeSet<u32>) -> Result<(), StoreError> {
    take_out(store, indices, &BTreeSet::new())
}

/// As [`clear`]; the flows of `others` go as well.
fn take_out(
    store: &mut dyn Store,
    indices: &BTreeSet<u32>,
    others: &BTreeSet<u32>,
) -> Result<(), StoreError> {
    for index in indices {
        let entry = store.real_server(*index);
        // The confirmation fails from here on, whatever else still points at the entry.
        store.set_real_server(*index, &RealServer { service: ServiceKey::default(), ..entry });
    }
    let purged: BTreeSet<u32> = indices.union(others).copied().collect();
    if !purged.is_empty() {
        store.purge(&purged);
    }
    for index in indices {
        let counters = store.counters(*index)?;
        store.retire(counters.packets)?;
        store.reset_counters(*index)?;
    }
    Ok(())
}

/// Reads what the data path does.
pub(super) fn read(store: &dyn Store) -> Result<Actual, StoreError> {
    let mut actual = Actual::default();
    let mut servers: BTreeMap<u32, BTreeMap<Ipv4Addr, ActualServer>> = BTreeMap::new();
    let mut addresses: BTreeMap<u32, Ipv4Addr> = BTreeMap::new();
    for index in 0..store.capacity().real_servers {
        let entry = store.real_server(index);
        if entry.service.protocol == 0 {
            continue;
        }
        if let Some(address) = ipv4(entry.address) {
            let [weight, last_weight] = [entry.weight, entry.last_weight].map(Weight::from_table);
            let server = ActualServer { index, weight, last_weight };
            servers.entry(entry.service_index).or_default().insert(address, server);
            addresses.insert(index, address);
        }
    }
    for (key, index) in store.service_indices()? {
        let service = store.service(index);
        let Some(address) = ServiceAddress::from_key(&key) else { continue };
        let address_of =
            |slot: Slot| addresses.get(&slot.index()).copied().unwrap_or(Ipv4Addr::UNSPECIFIED);
        let pick = |slot| match Slot(store.lookup(slot)) {
            Slot::REFUSE => Pick::Refuse,
            slot if slot.is_available() => Pick::Server(address_of(slot)),
            slot => Pick::Instead(address_of(slot)),
        };
        let slots = service.table.offset()..service.table.offset() + service.table.length();
        let picks: Vec<Pick> = slots.map(pick).collect();
        let turn = Turn { base: service.base, start: service.start };
        let actual_service = ActualService {
            index,
            scheduler: Scheduler::of(&service).unwrap_or_default(),
            table: service.table,
            picks: lookup::cycle_of(&picks, turn.head(picks.len())),
            turn,
            servers: servers.remove(&index).unwrap_or_default(),
        };
        actual.services.insert(address, actual_service);
    }
    for (address, vip) in store.vips()? {
        let ownership = match vip {
            Vip::OWNED => Some(Ownership::Owned),
            Vip::LOCAL => Some(Ownership::Local),
            _ => None,
        };
        if let Some(vip) = ipv4(address) {
            actual.vips.insert(vip, ownership);
        }
    }
    Ok(actual)
}
