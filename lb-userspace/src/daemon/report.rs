//! What the daemon tells about itself: state and statistics.

use lb_common::{Reason, table::ServerCounters};

use super::{Control, DaemonError, DataPlane};
use crate::{
    api::{
        FlowTable, Interface, NextHop, ReasonCount, Server, ServerStats, Service, ServiceStats,
        State, Stats, Traffic,
    },
    config::VirtualService,
    plan::Ownership,
    tables,
};

impl<D: DataPlane> Control<D> {
    /// What the director does.
    pub fn state(&mut self) -> Result<State, DaemonError> {
        let interfaces = self.interfaces()?;
        let flows = self.plane.store().capacity().flows;
        let in_use = self.counted.in_use();
        let services = self.config.services.clone();
        let services = services.iter().map(|service| self.service(service)).collect();
        Ok(State {
            version: env!("CARGO_PKG_VERSION").into(),
            pid: std::process::id(),
            config: self.file.path().into(),
            pin: self.config.settings.pin.clone(),
            interfaces,
            services,
            flow_table: FlowTable { in_use, ..FlowTable::new(flows) },
        })
    }

    fn interfaces(&self) -> Result<Vec<Interface>, DaemonError> {
        let attached = self.plane.attachments().map_err(DaemonError::DataPlane)?;
        let interface = |name: &String| {
            let link = self.view.links.iter().find(|link| link.name == *name);
            let attachment = attached
                .iter()
                .find(|a| a.interface == *name && Some(a.index) == link.map(|link| link.index));
            let problem = match (link, attachment) {
                (None, _) => Some("does not exist".into()),
                (Some(link), Some(_)) if !link.up => Some("is down".into()),
                (Some(_), Some(_)) => None,
                (Some(_), None) => {
                    Some(self.problems.get(name).cloned().unwrap_or_else(|| "not attached".into()))
                }
            };
            let mode = attachment.map(|attachment| attachment.mode);
            let index = link.map(|link| link.index);
            Interface { name: name.clone(), index, mode, problem }
        };
        Ok(self.config.interfaces.iter().map(interface).collect())
    }

    fn service(&mut self, service: &VirtualService) -> Service {
        let VirtualService { address, scheduler, servers } = service;
        let actual = self.tables.actual();
        let vip = actual.vips.get(&address.vip).copied().flatten().unwrap_or(Ownership::Owned);
        let entries = actual.services.get(address).map(|service| service.servers.clone());
        let entries = entries.unwrap_or_default();
        let servers = servers.iter().map(|server| {
            let entry = entries.get(&server.address);
            let flows = entry.and_then(|entry| self.counted.of(entry.index));
            let entry = entry.map(|entry| self.plane.store().real_server(entry.index));
            let hop = entry.as_ref().and_then(tables::next_hop);
            let problem = match (hop, self.view.hops.get(&server.address)) {
                (Some(_), _) => None,
                (None, Some(Err(error))) => Some(error.to_string()),
                (None, _) => Some("not resolved yet".into()),
            };
            let next_hop = hop.map(|hop| NextHop {
                interface: self.link_name(hop.interface),
                mac: lb_common::MacAddress(hop.destination_mac).to_string(),
                vlan: hop.vlan,
                source: hop.source,
                mtu: hop.mtu,
            });
            Server { address: server.address, weight: server.weight, flows, next_hop, problem }
        });
        let servers = servers.collect();
        Service { address: *address, scheduler: *scheduler, vip, servers }
    }

    fn link_name(&self, index: u32) -> String {
        let link = self.view.links.iter().find(|link| link.index == index);
        link.map_or_else(|| format!("#{index}"), |link| link.name.clone())
    }

    /// What was counted.
    pub fn stats(&mut self) -> Result<Stats, DaemonError> {
        let store = self.plane.store();
        let mut counts = store.reasons()?;
        counts.resize(Reason::ALL.len(), 0);
        let mut services = Vec::new();
        for service in &self.config.services {
            let Some(actual) = self.tables.actual().services.get(&service.address) else {
                continue;
            };
            let mut stats = ServiceStats {
                address: service.address,
                traffic: Traffic::default(),
                servers: Vec::new(),
            };
            for server in &service.servers {
                let Some(entry) = actual.servers.get(&server.address) else { continue };
                let ServerCounters { flows, packets, bytes, reserved: _ } =
                    store.counters(entry.index)?;
                counts[Reason::Forwarded as usize] += packets;
                stats.traffic.flows += flows;
                stats.traffic.packets += packets;
                stats.traffic.bytes += bytes;
                let traffic = Traffic { flows, packets, bytes };
                stats.servers.push(ServerStats { address: server.address, traffic });
            }
            services.push(stats);
        }
        // The counters go on while they are read, the real servers' first.
        let scheduled = counts[Reason::Scheduled as usize];
        let sent = &mut counts[Reason::Forwarded as usize];
        *sent = sent.saturating_sub(scheduled);
        let reason = |(reason, count): (&Reason, u64)| ReasonCount {
            reason: reason.label().into(),
            count,
            help: reason.help().into(),
        };
        Ok(Stats { reasons: Reason::ALL.iter().zip(counts).map(reason).collect(), services })
    }
}
