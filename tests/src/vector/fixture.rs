//! What stands in the tables when a vector starts.

use std::net::Ipv4Addr;

use anyhow::Result;
use lb_common::{
    Address, Be16, MacAddress,
    table::{
        Interface, LookupTable, Method, RealServer, Service, ServiceKey, Slot, Vip, VipFilter, Vlan,
    },
};
use lb_userspace::{
    config::{Scheduler, SchedulerFlag, SchedulerName, VirtualService},
    store::{Capacity, Store},
    tables::lookup::{self, Candidate, Pick},
};
use serde::{Deserialize, Deserializer, de::Error};

/// The interface on which frames come in: loopback's index, as which BPF_PROG_TEST_RUN runs.
pub(super) const INTERFACE: u32 = 1;

/// Table sizes: more than any fixture needs, and more flows than crowd each other out.
pub(super) const CAPACITY: Capacity =
    Capacity { services: 512, real_servers: 16, lookup: 8192, vips: 8, flows: 512 };
/// Services that a fixture has at most.
pub(super) const SERVICES: u32 = 8;
/// A limit below this can be reached by the few frames of a case.
pub(super) const FEW: u32 = 10;

/// The tables of a director, or of a real server where `tunnel_ends` are given.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fixture {
    /// The interface's Ethernet address.
    #[serde(deserialize_with = "mac")]
    pub mac: MacAddress,
    /// ICMP errors per tick.
    pub limit: u32,
    /// VIPs that the program answers for.
    #[serde(default)]
    pub owned: Vec<Ipv4Addr>,
    /// VIPs that are addresses of the director.
    #[serde(default)]
    pub local: Vec<Ipv4Addr>,
    /// The services; their servers are numbered throughout, from 0.
    #[serde(default)]
    pub service: Vec<FixtureService>,
    /// Real server: addresses at which tunnels end.
    #[serde(default)]
    pub tunnel_ends: Vec<Ipv4Addr>,
    /// Real server: VIPs that it serves.
    #[serde(default)]
    pub served: Vec<Ipv4Addr>,
}

/// A virtual service.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FixtureService {
    /// The VIP.
    pub address: Ipv4Addr,
    /// The port.
    pub port: u16,
    /// The protocol's number.
    pub protocol: u8,
    /// The order in which new flows go to the servers, by position in `server`; of services without
    /// `scheduler`.
    #[serde(default)]
    pub lookup: Vec<u32>,
    /// The scheduler, whose table the daemon's code lays out.
    pub scheduler: Option<SchedulerName>,
    /// Its flags.
    #[serde(default)]
    pub scheduler_flags: Vec<SchedulerFlag>,
    /// The servers.
    #[serde(default)]
    pub server: Vec<FixtureServer>,
}

/// A real server.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FixtureServer {
    /// The outer destination.
    pub address: Ipv4Addr,
    /// The outer source.
    pub source: Ipv4Addr,
    /// The weight.
    pub weight: u32,
    /// The weight before it was 0.
    #[serde(default)]
    pub last_weight: u32,
    /// The egress interface; 0 without a resolved next hop.
    pub interface: u32,
    /// The next hop's Ethernet address.
    #[serde(deserialize_with = "mac")]
    pub next_hop: MacAddress,
    /// The egress interface's Ethernet address.
    #[serde(deserialize_with = "mac")]
    pub source_mac: MacAddress,
    /// The VLAN of the egress.
    pub vlan: Option<u16>,
    /// The path's MTU.
    pub mtu: u16,
    /// Gone: its entry is free, so that its index stays taken.
    #[serde(default)]
    pub removed: bool,
}

impl Fixture {
    /// Whether it is a real server's.
    pub fn is_real_server(&self) -> bool {
        !self.tunnel_ends.is_empty()
    }

    /// Makes a director's tables what the fixture says, its services standing from `first` on.
    /// Flows, positions and counters stay.
    pub(super) fn write(&self, store: &mut dyn Store, first: u32) -> Result<()> {
        let (services, lookup, real_servers) = self.entries(first);
        store.set_interface(0, Interface::new(self.mac));
        for (address, _) in store.vips()? {
            store.remove_vip(&address)?;
        }
        for (address, vip) in self.vips() {
            store.insert_vip(&address, vip)?;
        }
        store.set_vip_filter(&VipFilter::of(self.vips().into_iter().map(|(address, _)| address)));
        for (key, _) in store.service_indices()? {
            store.remove_service_index(&key)?;
        }
        for (index, service) in (first..).zip(&services) {
            store.set_service(index, service);
            store.insert_service_index(&service.key, index)?;
        }
        for index in 0..CAPACITY.real_servers {
            let entry = real_servers.get(index as usize).copied().unwrap_or_default();
            store.set_real_server(index, &entry);
        }
        store.set_lookup(0, &lookup);
        Ok(())
    }

    /// The VIPs, or a real server's addresses.
    fn vips(&self) -> Vec<(Address, Vip)> {
        let Self { owned, local, tunnel_ends, served, .. } = self;
        [
            (owned, Vip::OWNED),
            (local, Vip::LOCAL),
            (tunnel_ends, Vip::TUNNEL_END),
            (served, Vip::SERVED),
        ]
        .into_iter()
        .flat_map(|(addresses, vip)| addresses.iter().map(move |&a| (a.into(), vip)))
        .collect()
    }

    /// Service entries from this index on, lookup slots and real-server entries, each in the order
    /// of their indices.
    fn entries(&self, first_service: u32) -> (Vec<Service>, Vec<u32>, Vec<RealServer>) {
        let (mut services, mut lookup, mut servers) = (Vec::new(), Vec::new(), Vec::new());
        for service in &self.service {
            let key = service.key();
            let first = servers.len() as u32;
            let service_index = first_service + services.len() as u32;
            let (method, slots) = service.slots(first);
            let table = LookupTable::new(lookup.len() as u32, slots.len() as u32);
            services.push(Service { table: table.read_by(method), key, ..Service::default() });
            lookup.extend(slots);
            servers.extend(service.server.iter().map(|server| server.entry(key, service_index)));
        }
        (services, lookup, servers)
    }
}

impl FixtureService {
    /// The lookup table, of servers whose entries start at `first`, and how it is read.
    fn slots(&self, first: u32) -> (Method, Vec<u32>) {
        let Some(name) = self.scheduler else {
            return (Method::TURNS, self.lookup.iter().map(|position| first + position).collect());
        };
        let scheduler = Scheduler::new(name, &self.scheduler_flags, None).expect("compatible");
        let address = format!("tcp:{}:{}", self.address, self.port).parse().expect("a service");
        let candidates: Vec<_> = self.server.iter().map(FixtureServer::candidate).collect();
        let service = VirtualService { address, scheduler, servers: Vec::new() };
        let index = |server: Ipv4Addr| {
            let position = self.server.iter().position(|other| other.address == server);
            first + position.expect("one of the servers") as u32
        };
        let slot = |pick| match pick {
            Pick::Server(server) => Slot::server(index(server)),
            Pick::Instead(server) => Slot::instead(index(server)),
            Pick::Refuse => Slot::REFUSE,
        };
        let picks = lookup::build(&service, &candidates);
        let slots = picks.into_iter().map(|pick| slot(pick).0).collect();
        (lookup::method(scheduler), slots)
    }

    fn key(&self) -> ServiceKey {
        ServiceKey::new(self.address.into(), Be16::new(self.port), self.protocol)
    }
}

impl FixtureServer {
    fn candidate(&self) -> Candidate {
        let Self { address, weight, last_weight, .. } = *self;
        Candidate { address, weight, last_weight: weight.max(last_weight) }
    }

    fn entry(&self, service: ServiceKey, service_index: u32) -> RealServer {
        if self.removed {
            return RealServer::default();
        }
        RealServer {
            service,
            interface: self.interface,
            next_hop: self.next_hop,
            vlan: self.vlan.map_or(Vlan::NONE, Vlan::id),
            source_mac: self.source_mac,
            mtu: self.mtu,
            address: self.address.into(),
            source: self.source.into(),
            service_index,
            weight: self.weight,
            ..RealServer::default()
        }
    }
}

fn mac<'de, D: Deserializer<'de>>(deserializer: D) -> std::result::Result<MacAddress, D::Error> {
    let text = String::deserialize(deserializer)?;
    let octets: std::result::Result<Vec<u8>, _> =
        text.split(':').map(|octet| u8::from_str_radix(octet, 16)).collect();
    let octets = octets.ok().and_then(|octets| octets.try_into().ok());
    octets.map(MacAddress).ok_or_else(|| D::Error::custom(format!("bad MAC address `{text}`")))
}
