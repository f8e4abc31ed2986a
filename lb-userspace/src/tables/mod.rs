//! Makes the data path's tables what they shall be, in an order that keeps it right at every
//! instant.
//!
//! - A service comes: its real servers' entries (the service key last), its lookup slots, its
//!   entry, its index; then its VIP, and last the filter, which is what lets packets come this
//!   far. So a packet finds nothing of the service, or all of it.
//! - A service goes: the same in reverse.
//! - A lookup table changes: the new one is written to slots that nothing refers to, then one word
//!   ([`Service::table`]) switches over. The slots of the old one rest for a second. Tables change
//!   one after the other, those that do not grow first, so that room for one more is enough.
//! - A real server comes: its entry, then the lookup table with it.
//! - A real server goes: the lookup table without it; then its entry's service key, so that its
//!   flows are confirmed no more; then its flows; and after a second, and once
//!   more its flows, the index is free.
//! - A table makes way for another: the same slots elsewhere, then that word.
//! - A weight changes: the entry's weight, then the lookup table.
//!
//! What does not change is not written, so indices, flows and counters stay.

pub mod lookup;
mod place;
mod read;
mod space;

use std::{collections::BTreeMap, net::Ipv4Addr};

use lb_common::{
    Address, MacAddress,
    table::{LookupTable, RealServer, Service, Slot, VipFilter, Vlan},
};

use self::{
    lookup::{Pick, Turn},
    place::{Place, Step},
    space::{Entries, Slots},
};
use crate::{
    config::{Scheduler, Server, ServiceAddress, VirtualService, Weight, ipv4},
    nexthop::NextHop,
    plan::{Actual, ActualServer, ActualService, Diff, ServiceChange, ServiceEdit, VipChange},
    store::{Store, StoreError},
};

/// The ways to real servers; one that is not in here is not sent to.
pub type Ways = BTreeMap<Ipv4Addr, Way>;

/// How to reach a real server, by all that is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// Over a next hop.
    Over(NextHop),
    /// Not at present: the next hop does not answer, its link is down, or XDP cannot send there.
    Unresolved,
    /// No route leads there: clients are told.
    Unroutable,
}

/// What stands in the tables, and what is free in them.
#[derive(Debug)]
pub struct Tables {
    actual: Actual,
    /// The server that a service with `rr` had used last when its table was written.
    last_used: BTreeMap<ServiceAddress, Ipv4Addr>,
    services: Entries,
    real_servers: Entries,
    slots: Slots,
}

impl Tables {
    /// Takes over tables as they are; they may be empty, or in use.
    pub fn adopt(store: &mut dyn Store) -> Result<Self, StoreError> {
        let actual = read::adopt(store)?;
        let capacity = store.capacity();
        let services = || actual.services.values();
        let servers = services().flat_map(|service| service.servers.values());
        let tables = services().map(|service| service.table);
        let slots = tables.map(|table| table.offset()..table.offset() + table.length());
        Ok(Self {
            services: Entries::new(capacity.services, services().map(|service| service.index)),
            real_servers: Entries::new(capacity.real_servers, servers.map(|server| server.index)),
            slots: Slots::new(capacity.lookup, slots),
            actual,
            last_used: BTreeMap::new(),
        })
    }

    /// What the data path does.
    pub fn actual(&self) -> &Actual {
        &self.actual
    }

    /// Whether there is room for all that a diff adds; nothing is written.
    ///
    /// A server that takes another one's place needs room beside it.
    pub fn check(&self, store: &dyn Store, diff: &Diff) -> Result<(), StoreError> {
        let capacity = store.capacity();
        let mut services = 0usize;
        let mut servers = 0usize;
        let (mut freed_services, mut freed_servers) = (0usize, 0usize);
        for change in &diff.services {
            match change {
                ServiceChange::Add(service) => {
                    services += 1;
                    servers += service.servers.len();
                }
                ServiceChange::Edit(edit) => servers += edit.added.len(),
                ServiceChange::Remove(address) => {
                    freed_services += 1;
                    freed_servers +=
                        self.actual.services.get(address).map_or(0, |s| s.servers.len());
                }
            }
        }
        let is_new = |change: &&VipChange| matches!(change, VipChange::Set { from: None, .. });
        let vips = diff.vips.iter().filter(is_new).count();
        let gone = diff.vips.iter().filter(|c| matches!(c, VipChange::Remove { .. })).count();
        let vip_room = capacity.vips as usize - self.actual.vips.len().min(capacity.vips as usize);
        for (needed, room, table, entries, setting) in [
            (
                services,
                self.services.room() + freed_services,
                "service",
                capacity.services,
                "tables.services",
            ),
            (
                servers,
                self.real_servers.room() + freed_servers,
                "real server",
                capacity.real_servers,
                "tables.real_servers",
            ),
            (vips, vip_room + gone, "VIP", capacity.vips, "tables.vips"),
        ] {
            if needed > room {
                return Err(StoreError::Full { table, entries, setting });
            }
        }
        self.steps_at_rest(capacity.lookup, diff)?;
        Ok(())
    }

    /// Makes the tables what the diff's `desired` asked for.
    ///
    /// # Errors
    ///
    /// [`StoreError::Full`] or [`StoreError::NoStretch`], which [`Tables::check`] gives as well, before
    /// anything was written. [`StoreError::Access`] leaves the change
    /// half done; [`Tables::adopt`] then makes sense of what there is.
    pub fn apply(
        &mut self,
        store: &mut dyn Store,
        diff: &Diff,
        ways: &Ways,
    ) -> Result<(), StoreError> {
        self.check(store, diff)?;
        let steps = self.steps(store.capacity().lookup, diff)?;

        let removed = |vip: &Ipv4Addr| diff.vips.contains(&VipChange::Remove { vip: *vip });
        let kept: Vec<Ipv4Addr> =
            self.actual.vips.keys().copied().filter(|vip| !removed(vip)).collect();
        if kept.len() < self.actual.vips.len() {
            store.set_vip_filter(&filter(&kept));
        }
        for change in &diff.vips {
            if let VipChange::Remove { vip } = change {
                store.remove_vip(&Address::from(*vip))?;
                self.actual.vips.remove(vip);
            }
        }
        for change in &diff.services {
            if let ServiceChange::Remove(address) = change {
                self.remove_service(store, *address)?;
            }
        }
        for step in steps {
            match step {
                Step::Move(service, place) => self.move_table(store, service, place),
                Step::Change(ServiceChange::Remove(_), _) => {}
                Step::Change(ServiceChange::Edit(edit), place) => {
                    self.edit_service(store, edit, place, ways)?;
                }
                Step::Change(ServiceChange::Add(service), place) => {
                    self.add_service(store, service, place, ways)?;
                }
            }
        }
        for change in &diff.vips {
            if let VipChange::Set { vip, to, .. } = change {
                store.insert_vip(&Address::from(*vip), to.entry())?;
                self.actual.vips.insert(*vip, Some(*to));
            }
        }
        let vips: Vec<Ipv4Addr> = self.actual.vips.keys().copied().collect();
        store.set_vip_filter(&filter(&vips));
        Ok(())
    }

    fn add_service(
        &mut self,
        store: &mut dyn Store,
        service: &VirtualService,
        place: Place,
        ways: &Ways,
    ) -> Result<(), StoreError> {
        let full = |table, setting, entries| StoreError::Full { table, entries, setting };
        let capacity = store.capacity();
        let index = self
            .services
            .take()
            .ok_or_else(|| full("service", "tables.services", capacity.services))?;
        let VirtualService { address, scheduler, servers } = service;
        let mut actual = ActualService {
            index,
            scheduler: *scheduler,
            table: LookupTable::default(),
            picks: Vec::new(),
            turn: Turn::default(),
            servers: BTreeMap::new(),
        };
        for server in servers {
            let server_index = self.add_server(store, *address, index, *server, ways)?;
            actual.servers.insert(server.address, new_server(server_index, server.weight));
        }
        let mut entry = scheduler.mark(Service {
            key: address.key(),
            position: store.service(index).position,
            ..Service::default()
        });
        let candidates = lookup::candidates(service, None);
        let weighted = *scheduler == Scheduler::Wrr;
        actual.turn = Turn::first(&candidates, weighted, entry.position);
        actual.picks = lookup::build(service, &candidates);
        self.slots.take(place.offset, place.length);
        write_picks(store, &mut actual, &mut entry, place.offset);
        store.set_service(index, &entry);
        store.insert_service_index(&address.key(), index)?;
        self.actual.services.insert(*address, actual);
        Ok(())
    }

    fn edit_service(
        &mut self,
        store: &mut dyn Store,
        edit: &ServiceEdit,
        place: Place,
        ways: &Ways,
    ) -> Result<(), StoreError> {
        let ServiceEdit { service, scheduler: _, added, reweighted, removed, repicked } = edit;
        let address = service.address;
        let Some(mut actual) = self.actual.services.remove(&address) else { return Ok(()) };
        // By the weights that the old table was made of.
        let before = repicked.then(|| actual.clone());
        let picks = repicked.then(|| {
            let candidates = lookup::candidates(service, Some(&actual));
            (lookup::build(service, &candidates), candidates)
        });
        if *repicked {
            self.slots.take(place.offset, place.length);
        }
        for server in added {
            let index = self.add_server(store, address, actual.index, *server, ways)?;
            actual.servers.insert(server.address, new_server(index, server.weight));
        }
        for (server, _) in reweighted {
            if let Some(actual) = actual.servers.get_mut(&server.address) {
                actual.weight = server.weight;
                if server.weight.get() > 0 {
                    actual.last_weight = server.weight;
                }
                let [weight, last_weight] = [actual.weight, actual.last_weight].map(Weight::get);
                let old = store.real_server(actual.index);
                store.set_real_server(actual.index, &RealServer { weight, last_weight, ..old });
            }
        }
        let old = actual.table;
        actual.scheduler = service.scheduler;
        // Only now, since flows have been opened while a place was waited for and others' were
        // removed.
        let mut entry = service.scheduler.mark(store.service(actual.index));
        if let (Some((picks, candidates)), Some(before)) = (picks, before) {
            let position = entry.position;
            let last = self.last_used.remove(&address).filter(|_| position == before.turn.base);
            let (turn, last) = lookup::turn(service, &before, last, &candidates, position);
            self.last_used.extend(last.map(|last| (address, last)));
            (actual.turn, actual.picks) = (turn, picks);
            write_picks(store, &mut actual, &mut entry, place.offset);
        }
        store.set_service(actual.index, &entry);
        if *repicked {
            self.slots.give_up(old.offset(), old.length());
        }
        let removed = removed.iter().filter_map(|server| actual.servers.remove(server));
        self.remove_servers(store, removed)?;
        self.actual.services.insert(address, actual);
        Ok(())
    }

    /// Moves a table as it is, with its turn.
    fn move_table(&mut self, store: &mut dyn Store, service: ServiceAddress, place: Place) {
        let Some(actual) = self.actual.services.get_mut(&service) else { return };
        self.slots.take(place.offset, place.length);
        let old = actual.table;
        let mut entry = store.service(actual.index);
        write_picks(store, actual, &mut entry, place.offset);
        store.set_service(actual.index, &entry);
        self.slots.give_up(old.offset(), old.length());
    }

    fn remove_service(
        &mut self,
        store: &mut dyn Store,
        address: ServiceAddress,
    ) -> Result<(), StoreError> {
        let Some(actual) = self.actual.services.remove(&address) else { return Ok(()) };
        self.last_used.remove(&address);
        store.remove_service_index(&address.key())?;
        self.remove_servers(store, actual.servers.into_values())?;
        store.set_service(actual.index, &Service::default());
        self.services.give_up(actual.index);
        self.slots.give_up(actual.table.offset(), actual.table.length());
        Ok(())
    }

    fn remove_servers(
        &mut self,
        store: &mut dyn Store,
        servers: impl Iterator<Item = ActualServer>,
    ) -> Result<(), StoreError> {
        let indices = servers.map(|server| server.index).collect();
        read::clear(store, &indices)?;
        for index in indices {
            self.real_servers.give_up(index);
        }
        Ok(())
    }

    fn add_server(
        &mut self,
        store: &mut dyn Store,
        service: ServiceAddress,
        service_index: u32,
        server: Server,
        ways: &Ways,
    ) -> Result<u32, StoreError> {
        let entries = store.capacity().real_servers;
        let index = self.real_servers.take().ok_or(StoreError::Full {
            table: "real server",
            entries,
            setting: "tables.real_servers",
        })?;
        // A packet that was on its way when an entry was given up may have opened a flow since.
        let rested = self.real_servers.rested();
        if !rested.is_empty() {
            store.purge(&rested);
        }
        store.reset_counters(index)?;
        let mut entry = RealServer {
            address: server.address.into(),
            service_index,
            weight: server.weight.get(),
            last_weight: server.weight.get(),
            ..RealServer::default()
        };
        if let Some(way) = ways.get(&server.address) {
            set_way(&mut entry, way);
        }
        store.set_real_server(index, &entry);
        entry.service = service.key();
        store.set_real_server(index, &entry);
        Ok(index)
    }

    /// Writes the ways to all servers that `ways` says something about. How many entries changed.
    pub fn set_ways(&mut self, store: &mut dyn Store, ways: &BTreeMap<Ipv4Addr, Way>) -> usize {
        let mut changed = 0;
        let servers = self.actual.services.values().flat_map(|service| &service.servers);
        for (address, server) in servers {
            let Some(way) = ways.get(address) else { continue };
            let old = store.real_server(server.index);
            let mut new = old;
            set_way(&mut new, way);
            if new != old {
                store.set_real_server(server.index, &new);
                changed += 1;
            }
        }
        changed
    }
}

fn filter(vips: &[Ipv4Addr]) -> VipFilter {
    VipFilter::of(vips.iter().map(|vip| Address::from(*vip)))
}

/// A server that was just added.
const fn new_server(index: u32, weight: Weight) -> ActualServer {
    ActualServer { index, weight, last_weight: weight }
}

/// Writes a service's picks to the slots at `offset`, a cycle so that the data path goes on at its
/// turn, and points the entry at them; whoever calls writes the entry.
fn write_picks(
    store: &mut dyn Store,
    actual: &mut ActualService,
    entry: &mut Service,
    offset: u32,
) {
    let ActualService { scheduler, table, picks, turn, servers, .. } = actual;
    let index = |server: &Ipv4Addr| servers.get(server).map(|server| server.index);
    let slot = |pick: &Pick| match pick {
        Pick::Refuse => Slot::REFUSE,
        Pick::Server(server) => index(server).map_or(Slot::REFUSE, Slot::server),
        Pick::Instead(server) => index(server).map_or(Slot::REFUSE, Slot::instead),
    };
    let slots: Vec<u32> = picks.iter().map(slot).map(|Slot(slot)| slot).collect();
    store.set_lookup(offset, &lookup::slots_of(&slots, turn.head(slots.len())));
    *table = LookupTable::new(offset, slots.len() as u32).read_by(lookup::method(*scheduler));
    entry.table = *table;
    (entry.base, entry.start) = (turn.base, turn.start);
}

fn set_way(entry: &mut RealServer, way: &Way) {
    let NextHop { interface, vlan, source_mac, destination_mac, source, mtu } = match way {
        Way::Over(hop) => hop,
        Way::Unresolved => {
            entry.interface = 0;
            return;
        }
        Way::Unroutable => {
            entry.interface = RealServer::UNROUTABLE;
            return;
        }
    };
    entry.interface = *interface;
    entry.vlan = vlan.map_or(Vlan::NONE, Vlan::id);
    entry.source_mac = MacAddress(*source_mac);
    entry.next_hop = MacAddress(*destination_mac);
    entry.source = Address::from(*source);
    // No frame of Ethernet carries more.
    entry.mtu = u16::try_from(*mtu).unwrap_or(u16::MAX);
}

/// The next hop that an entry holds, if any.
pub fn next_hop(entry: &RealServer) -> Option<NextHop> {
    RealServer::can_send(entry.interface).then(|| NextHop {
        interface: entry.interface,
        vlan: entry.vlan.tag(),
        source_mac: entry.source_mac.0,
        destination_mac: entry.next_hop.0,
        source: ipv4(entry.source).unwrap_or(Ipv4Addr::UNSPECIFIED).into(),
        mtu: entry.mtu.into(),
    })
}

#[cfg(test)]
mod tests;
