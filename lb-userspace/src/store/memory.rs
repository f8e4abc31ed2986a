//! [`Store`] over the pipeline's tables in ordinary memory, for tests without privileges.

use std::collections::BTreeSet;

use lb_common::{
    Address, Reason,
    flow::{FlowKey, FlowWord},
    memory::MemoryTables,
    table::{Interface, RealServer, ServerCounters, Service, ServiceKey, Vip, VipFilter},
};

use super::{Capacity, Store, StoreError};

/// VIPs that fit; the other tables are as long as their vectors.
const VIPS: u32 = 64;

impl Store for MemoryTables {
    fn capacity(&self) -> Capacity {
        Capacity {
            services: self.services.len() as u32,
            real_servers: self.real_servers.len() as u32,
            lookup: self.lookup.len() as u32,
            vips: VIPS,
            flows: self.flow_slots(),
        }
    }

    fn service(&self, index: u32) -> Service {
        let service = self.services.get(index as usize).copied().unwrap_or_default();
        Service { position: self.position(index), ..service }
    }

    fn set_service(&mut self, index: u32, service: &Service) {
        self.services[index as usize] = *service;
    }

    fn real_server(&self, index: u32) -> RealServer {
        self.real_servers.get(index as usize).copied().unwrap_or_default()
    }

    fn set_real_server(&mut self, index: u32, real_server: &RealServer) {
        self.real_servers[index as usize] = *real_server;
    }

    fn lookup(&self, slot: u32) -> u32 {
        self.lookup.get(slot as usize).copied().unwrap_or_default()
    }

    fn set_lookup(&mut self, offset: u32, real_servers: &[u32]) {
        self.lookup[offset as usize..][..real_servers.len()].copy_from_slice(real_servers);
    }

    fn service_indices(&self) -> Result<Vec<(ServiceKey, u32)>, StoreError> {
        Ok(self.service_indices.iter().map(|(key, index)| (*key, *index)).collect())
    }

    fn insert_service_index(&mut self, key: &ServiceKey, index: u32) -> Result<(), StoreError> {
        self.service_indices.insert(*key, index);
        Ok(())
    }

    fn remove_service_index(&mut self, key: &ServiceKey) -> Result<(), StoreError> {
        self.service_indices.remove(key);
        Ok(())
    }

    fn vips(&self) -> Result<Vec<(Address, Vip)>, StoreError> {
        Ok(self.vips.iter().map(|(address, vip)| (*address, *vip)).collect())
    }

    fn insert_vip(&mut self, address: &Address, vip: Vip) -> Result<(), StoreError> {
        if !self.vips.contains_key(address) && self.vips.len() >= VIPS as usize {
            return Err(StoreError::Full { table: "VIP", entries: VIPS, setting: "tables.vips" });
        }
        self.vips.insert(*address, vip);
        Ok(())
    }

    fn remove_vip(&mut self, address: &Address) -> Result<(), StoreError> {
        self.vips.remove(address);
        Ok(())
    }

    fn set_vip_filter(&mut self, filter: &VipFilter) {
        self.front.vip_filter = *filter;
    }

    /// There is one slot.
    fn set_interface(&mut self, slot: u32, interface: Interface) {
        if slot == 0 {
            self.front.interfaces[0] = interface;
        }
    }

    fn flows(&self, each: &mut dyn FnMut(FlowWord, FlowKey)) {
        for (word, key) in Self::flows(self) {
            if key.hash(&self.seed).tag() == word.tag() {
                each(word, key);
            }
        }
    }

    fn purge(&mut self, real_servers: &BTreeSet<u32>) -> u64 {
        real_servers.iter().map(|index| Self::purge(self, *index)).sum()
    }

    fn counters(&self, real_server: u32) -> Result<ServerCounters, StoreError> {
        Ok(Self::counters(self, real_server))
    }

    fn reset_counters(&mut self, real_server: u32) -> Result<(), StoreError> {
        Self::reset_counters(self, real_server);
        Ok(())
    }

    fn reasons(&self) -> Result<Vec<u64>, StoreError> {
        // What was retired is kept beside the counters of those that are there.
        let live: u64 = (0..self.real_servers.len() as u32)
            .map(|index| Self::counters(self, index).packets)
            .sum();
        let scheduled = self.counted(Reason::Scheduled);
        let count = |reason: &Reason| match reason {
            Reason::Forwarded => self.counted(Reason::Forwarded) + scheduled - live,
            other => self.counted(*other),
        };
        Ok(Reason::ALL.iter().map(count).collect())
    }

    fn retire(&mut self, packets: u64) -> Result<(), StoreError> {
        self.add(Reason::Forwarded, packets);
        Ok(())
    }
}
