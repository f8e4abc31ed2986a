//! What has to change so that the data path does what is desired: a pure function, so that what a
//! dry run prints is what is applied.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    net::Ipv4Addr,
};

use lb_common::table::{LookupTable, Vip};
use serde::{Deserialize, Serialize};

use crate::{
    config::{Scheduler, Server, ServiceAddress, VirtualService, Weight},
    tables::lookup::{self, Pick, Turn},
};

/// Who answers for a VIP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Ownership {
    /// The XDP program: the director's kernel does not know the address.
    Owned,
    /// The director's kernel: the address is configured on one of its interfaces.
    Local,
}

impl Ownership {
    /// The word in listings.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Owned => "owned",
            Self::Local => "local",
        }
    }

    /// The entry of the VIP table.
    pub const fn entry(self) -> Vip {
        match self {
            Self::Owned => Vip::OWNED,
            Self::Local => Vip::LOCAL,
        }
    }
}

/// What the data path shall do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Desired {
    /// The services.
    pub services: Vec<VirtualService>,
    /// The VIPs of the services.
    pub vips: BTreeMap<Ipv4Addr, Ownership>,
}

impl Desired {
    /// These services on a director that has the addresses `local` itself.
    pub fn new(services: Vec<VirtualService>, local: &BTreeSet<Ipv4Addr>) -> Self {
        let vip = |service: &VirtualService| service.address.vip;
        let ownership = |vip: &Ipv4Addr| {
            if local.contains(vip) { Ownership::Local } else { Ownership::Owned }
        };
        let vips = services.iter().map(vip).map(|vip| (vip, ownership(&vip))).collect();
        Self { services, vips }
    }
}

/// A server as the tables hold it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ActualServer {
    /// The index of its entry.
    pub index: u32,
    /// Its weight.
    pub weight: Weight,
    /// The last weight that it had and that was not 0; 0 when it never had one.
    pub last_weight: Weight,
}

/// A service as the tables hold it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ActualService {
    /// The index of its entry.
    pub index: u32,
    /// How it chooses.
    pub scheduler: Scheduler,
    /// Where its lookup table stands.
    pub table: LookupTable,
    /// What stands in its lookup table; a cycle from its first pick on.
    pub picks: Vec<Pick>,
    /// Where the data path was in the cycle when the table was written.
    pub turn: Turn,
    /// Its servers.
    pub servers: BTreeMap<Ipv4Addr, ActualServer>,
}

/// What the data path does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Actual {
    /// The services.
    pub services: BTreeMap<ServiceAddress, ActualService>,
    /// The VIPs; `None` for an entry of neither kind.
    pub vips: BTreeMap<Ipv4Addr, Option<Ownership>>,
}

/// A change of the VIP table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VipChange {
    /// A new VIP, or one that is answered for by somebody else from now on.
    Set {
        /// The VIP.
        vip: Ipv4Addr,
        /// Who answered before; `None` for a new one.
        from: Option<Ownership>,
        /// Who answers.
        to: Ownership,
    },
    /// A VIP without services.
    Remove {
        /// The VIP.
        vip: Ipv4Addr,
    },
}

/// A change of one service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServiceChange {
    /// A new service.
    Add(VirtualService),
    /// Something about a service that stays.
    Edit(ServiceEdit),
    /// A service goes.
    Remove(ServiceAddress),
}

/// What changes about a service that stays.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceEdit {
    /// The service as it shall be.
    pub service: VirtualService,
    /// The scheduler before, if it changes.
    pub scheduler: Option<Scheduler>,
    /// New servers.
    pub added: Vec<Server>,
    /// Servers of another weight, and the weight before.
    pub reweighted: Vec<(Server, Weight)>,
    /// Servers that go.
    pub removed: Vec<Ipv4Addr>,
    /// Whether the lookup table changes.
    pub repicked: bool,
}

/// Everything that has to change.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Diff {
    /// Changes of VIPs.
    pub vips: Vec<VipChange>,
    /// Changes of services.
    pub services: Vec<ServiceChange>,
}

/// What has to change so that `actual` becomes `desired`.
pub fn plan(desired: &Desired, actual: &Actual) -> Diff {
    let mut diff = Diff::default();
    for (&vip, &to) in &desired.vips {
        let from = actual.vips.get(&vip).copied();
        if from != Some(Some(to)) {
            diff.vips.push(VipChange::Set { vip, from: from.flatten(), to });
        }
    }
    let gone = actual.vips.keys().filter(|vip| !desired.vips.contains_key(vip));
    diff.vips.extend(gone.map(|&vip| VipChange::Remove { vip }));

    let mut wanted = BTreeSet::new();
    for service in &desired.services {
        wanted.insert(service.address);
        match actual.services.get(&service.address) {
            None => diff.services.push(ServiceChange::Add(service.clone())),
            Some(actual) => diff.services.extend(edit(service, actual).map(ServiceChange::Edit)),
        }
    }
    let gone = actual.services.keys().filter(|address| !wanted.contains(address));
    diff.services.extend(gone.map(|&address| ServiceChange::Remove(address)));
    diff
}

fn edit(service: &VirtualService, actual: &ActualService) -> Option<ServiceEdit> {
    let picks = || lookup::build(service, &lookup::candidates(service, Some(actual)));
    let scheduler = (service.scheduler != actual.scheduler).then_some(actual.scheduler);
    let mut edit = ServiceEdit {
        service: service.clone(),
        scheduler,
        added: Vec::new(),
        reweighted: Vec::new(),
        removed: Vec::new(),
        repicked: scheduler.is_some()
            || lookup::method(service.scheduler) != actual.table.method()
            || picks() != actual.picks,
    };
    let mut wanted = BTreeSet::new();
    for server in &service.servers {
        wanted.insert(server.address);
        match actual.servers.get(&server.address) {
            None => edit.added.push(*server),
            Some(old) if old.weight != server.weight => {
                edit.reweighted.push((*server, old.weight));
            }
            Some(_) => {}
        }
    }
    edit.removed = actual.servers.keys().copied().filter(|old| !wanted.contains(old)).collect();
    (!edit.is_empty()).then_some(edit)
}

impl ServiceEdit {
    fn is_empty(&self) -> bool {
        let Self { service: _, scheduler, added, reweighted, removed, repicked } = self;
        scheduler.is_none()
            && added.is_empty()
            && reweighted.is_empty()
            && removed.is_empty()
            && !repicked
    }

    fn lines(&self, lines: &mut Vec<Line>) {
        let Self { service, scheduler, added, reweighted, removed, repicked } = self;
        let address = service.address;
        if let Some(from) = scheduler {
            let detail = format!("scheduler {from} -> {}", service.scheduler);
            lines.push(Line::new(Action::Change, Kind::Service, address, detail));
        }
        lines.extend(added.iter().map(|server| added_line(address, server)));
        for (Server { address: server, weight }, from) in reweighted {
            let name = format!("{address} {server}");
            let detail = format!("weight {from} -> {weight}");
            lines.push(Line::new(Action::Change, Kind::Server, name, detail));
        }
        for server in removed {
            let name = format!("{address} {server}");
            lines.push(Line::new(Action::Remove, Kind::Server, name, ""));
        }
        // Otherwise the lines above say why the picks change.
        let only_order = scheduler.is_none()
            && added.is_empty()
            && reweighted.is_empty()
            && removed.is_empty()
            && *repicked;
        if only_order {
            let order: Vec<_> =
                service.servers.iter().map(|server| server.address.to_string()).collect();
            let detail = format!("order {}", order.join(" "));
            lines.push(Line::new(Action::Change, Kind::Service, address, detail));
        }
    }
}

fn added_line(service: ServiceAddress, server: &Server) -> Line {
    let Server { address, weight } = server;
    let name = format!("{service} {address}");
    Line::new(Action::Add, Kind::Server, name, format!("weight {weight}"))
}

/// What happens to an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// It comes.
    Add,
    /// It changes.
    Change,
    /// It goes.
    Remove,
}

/// What an object is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// An interface of the director.
    Interface,
    /// A VIP.
    Vip,
    /// A virtual service.
    Service,
    /// A real server of a service.
    Server,
}

/// One change, for people and for JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// What happens.
    pub action: Action,
    /// To what kind of object.
    pub kind: Kind,
    /// Which one.
    pub name: String,
    /// What about it; may be empty.
    pub detail: String,
}

impl Line {
    /// A line.
    pub fn new(
        action: Action,
        kind: Kind,
        name: impl fmt::Display,
        detail: impl Into<String>,
    ) -> Self {
        Self { action, kind, name: name.to_string(), detail: detail.into() }
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { action, kind, name, detail } = self;
        let sign = match action {
            Action::Add => '+',
            Action::Change => '~',
            Action::Remove => '-',
        };
        let kind = match kind {
            Kind::Interface => "interface",
            Kind::Vip => "vip",
            Kind::Service => "service",
            Kind::Server => "server",
        };
        write!(f, "{sign} {kind} {name}")?;
        if !detail.is_empty() {
            write!(f, " {detail}")?;
        }
        Ok(())
    }
}

impl Diff {
    /// Whether nothing changes.
    pub fn is_empty(&self) -> bool {
        let Self { vips, services } = self;
        vips.is_empty() && services.is_empty()
    }

    /// The servers that come, each with its service.
    pub fn added(&self) -> impl Iterator<Item = (ServiceAddress, Ipv4Addr)> {
        let servers = |change: &ServiceChange| {
            let (service, servers) = match change {
                ServiceChange::Add(service) => (service.address, service.servers.clone()),
                ServiceChange::Edit(edit) => (edit.service.address, edit.added.clone()),
                ServiceChange::Remove(address) => (*address, Vec::new()),
            };
            servers.into_iter().map(move |server| (service, server.address))
        };
        self.services.iter().flat_map(servers)
    }

    /// One line per change: `+` comes, `~` changes, `-` goes.
    pub fn lines(&self) -> Vec<Line> {
        let Self { vips, services } = self;
        let mut lines = Vec::new();
        for change in vips {
            lines.push(match change {
                VipChange::Set { vip, from: None, to } => {
                    Line::new(Action::Add, Kind::Vip, vip, to.name())
                }
                VipChange::Set { vip, from: Some(from), to } => {
                    let detail = format!("{} -> {}", from.name(), to.name());
                    Line::new(Action::Change, Kind::Vip, vip, detail)
                }
                VipChange::Remove { vip } => Line::new(Action::Remove, Kind::Vip, vip, ""),
            });
        }
        for change in services {
            match change {
                ServiceChange::Add(service) => {
                    let VirtualService { address, scheduler, servers } = service;
                    let detail = format!("scheduler {scheduler}");
                    lines.push(Line::new(Action::Add, Kind::Service, address, detail));
                    lines.extend(servers.iter().map(|server| added_line(*address, server)));
                }
                ServiceChange::Edit(edit) => edit.lines(&mut lines),
                ServiceChange::Remove(address) => {
                    lines.push(Line::new(Action::Remove, Kind::Service, address, ""));
                }
            }
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(text: &str, scheduler: Scheduler, servers: &[(&str, i64)]) -> VirtualService {
        VirtualService {
            address: text.parse().expect("a service"),
            scheduler,
            servers: servers
                .iter()
                .map(|(address, weight)| Server {
                    address: address.parse().expect("an address"),
                    weight: Weight::try_from(*weight).expect("a weight"),
                })
                .collect(),
        }
    }

    /// What the tables hold once `desired` is applied.
    fn carried_out(desired: &Desired) -> Actual {
        let actual = |service: &VirtualService| {
            let server = |server: &Server| {
                let Server { address, weight } = *server;
                (address, ActualServer { index: 0, weight, last_weight: weight })
            };
            let actual = ActualService {
                index: 0,
                scheduler: service.scheduler,
                table: LookupTable::default().read_by(lookup::method(service.scheduler)),
                picks: lookup::build(service, &lookup::candidates(service, None)),
                turn: Turn::default(),
                servers: service.servers.iter().map(server).collect(),
            };
            (service.address, actual)
        };
        Actual {
            services: desired.services.iter().map(actual).collect(),
            vips: desired.vips.iter().map(|(vip, to)| (*vip, Some(*to))).collect(),
        }
    }

    fn desired(services: &[VirtualService]) -> Desired {
        Desired::new(services.to_vec(), &BTreeSet::new())
    }

    #[test]
    fn every_change_is_a_line() {
        let before = desired(&[
            service("tcp:10.0.0.9:80", Scheduler::Rr, &[("10.0.0.1", 1), ("10.0.0.2", 1)]),
            service("udp:10.0.0.8:53", Scheduler::Wrr, &[]),
        ]);
        let mut after = desired(&[
            service("tcp:10.0.0.9:80", Scheduler::Wrr, &[("10.0.0.1", 2), ("10.0.0.3", 4)]),
            service("udp:10.0.0.7:53", Scheduler::Rr, &[("10.0.0.1", 0)]),
        ]);
        after.vips.insert(Ipv4Addr::new(10, 0, 0, 9), Ownership::Local);
        let diff = plan(&after, &carried_out(&before));
        let lines: Vec<_> = diff.lines().iter().map(Line::to_string).collect();
        assert_eq!(
            lines,
            [
                "+ vip 10.0.0.7 owned",
                "~ vip 10.0.0.9 owned -> local",
                "- vip 10.0.0.8",
                "~ service tcp:10.0.0.9:80 scheduler rr -> wrr",
                "+ server tcp:10.0.0.9:80 10.0.0.3 weight 4",
                "~ server tcp:10.0.0.9:80 10.0.0.1 weight 1 -> 2",
                "- server tcp:10.0.0.9:80 10.0.0.2",
                "+ service udp:10.0.0.7:53 scheduler rr",
                "+ server udp:10.0.0.7:53 10.0.0.1 weight 0",
                "- service udp:10.0.0.8:53",
            ]
        );
    }

    #[test]
    fn another_order_is_a_change_of_its_own() {
        let list = [("10.0.0.1", 1), ("10.0.0.2", 1), ("10.0.0.3", 1)];
        let swapped = [list[1], list[0], list[2]];
        let before = desired(&[service("tcp:10.0.0.9:80", Scheduler::Rr, &list)]);
        let after = desired(&[service("tcp:10.0.0.9:80", Scheduler::Rr, &swapped)]);
        let diff = plan(&after, &carried_out(&before));
        assert_eq!(
            diff.lines().iter().map(Line::to_string).collect::<Vec<_>>(),
            ["~ service tcp:10.0.0.9:80 order 10.0.0.2 10.0.0.1 10.0.0.3"]
        );
    }

    #[test]
    fn what_is_carried_out_needs_no_change() {
        let list = [("10.0.0.1", 3), ("10.0.0.2", 0), ("10.0.0.3", 1)];
        let desired = desired(&[
            service("tcp:10.0.0.9:80", Scheduler::Wrr, &list),
            service("udp:10.0.0.9:80", Scheduler::Rr, &list),
        ]);
        assert!(plan(&desired, &carried_out(&desired)).is_empty());
    }
}
