//! The daemon's heart, without sockets and clocks: what is desired, what is done, and how the one
//! becomes the other.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::Ipv4Addr,
};

use lb_common::MacAddress;

use super::{Attachment, DaemonError, DataPlane, View, sweeping::Counted};
use crate::{
    config::{Change, Config, ConfigError, ConfigFile, Overrides, Settings},
    netlink::Link,
    nexthop::{NextHop, NextHopError},
    plan::{Action, Desired, Diff, Kind, Line, plan},
    store::StoreError,
    tables::{Tables, Way, Ways},
};

/// The director: configuration, data path, and the network as it was last seen.
pub struct Control<D> {
    pub(super) plane: D,
    pub(super) file: ConfigFile,
    overrides: Overrides,
    pub(super) config: Config,
    pub(super) tables: Tables,
    pub(super) view: View,
    /// Why an interface is not attached.
    pub(super) problems: BTreeMap<String, String>,
    /// The real servers' flows.
    pub(super) counted: Counted,
}

/// A configuration that may take the place of the present one.
#[derive(Clone, Debug)]
pub struct Candidate {
    text: String,
    config: Config,
    origin: Origin,
}

/// Where a candidate's text is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Origin {
    /// In the configuration file: the operator wrote it.
    File,
    /// Nowhere yet.
    Request,
}

impl Candidate {
    /// The servers of all services.
    pub fn servers(&self) -> BTreeSet<Ipv4Addr> {
        servers(&self.config)
    }
}

/// The servers of all services.
pub fn servers(config: &Config) -> BTreeSet<Ipv4Addr> {
    let servers = config.services.iter().flat_map(|service| &service.servers);
    servers.map(|server| server.address).collect()
}

impl<D: DataPlane> Control<D> {
    /// Takes over what the data path does, makes it what the configuration says, and attaches it.
    ///
    /// # Errors
    ///
    /// What was not there before is removed again; what was goes on.
    pub fn start(
        mut plane: D,
        file: ConfigFile,
        overrides: Overrides,
        config: Config,
        view: View,
    ) -> Result<Self, DaemonError> {
        for name in &config.interfaces {
            require_link(&view, name)?;
        }
        let attached = plane.attachments().map_err(DaemonError::DataPlane)?;
        let tables = Tables::adopt(plane.store())?;
        let fresh = attached.is_empty() && tables.actual().services.is_empty();
        let problems = BTreeMap::new();
        let counted = Counted::default();
        let mut control = Self { plane, file, overrides, config, tables, view, problems, counted };
        let started = control.bring_up();
        if started.is_err() && fresh {
            control.plane.remove().map_err(DaemonError::DataPlane)?;
        }
        started.map(|()| control)
    }

    fn bring_up(&mut self) -> Result<(), DaemonError> {
        let diff = self.diff(&self.config);
        for line in diff.lines() {
            tracing::info!("{line}");
        }
        self.change_tables(&diff)?;
        self.write_ways();
        for name in self.config.interfaces.clone() {
            self.attach(&name)?;
        }
        for attachment in self.plane.attachments().map_err(DaemonError::DataPlane)? {
            if !self.config.interfaces.contains(&attachment.interface) {
                self.detach(&attachment.interface)?;
            }
        }
        Ok(())
    }

    /// The configuration file as it stands on disk now.
    pub fn reread(&self) -> Result<Candidate, DaemonError> {
        let file = ConfigFile::read(self.file.path())?;
        let text = file.text().to_owned();
        let config = self.parse(&text, &file.path().display().to_string())?;
        Ok(Candidate { text, config, origin: Origin::File })
    }

    /// A text that shall take the place of the configuration file's.
    pub fn replacement(&self, text: String, name: &str) -> Result<Candidate, DaemonError> {
        let config = self.parse(&text, name)?;
        Ok(Candidate { text, config, origin: Origin::Request })
    }

    /// The configuration after one change.
    pub fn changed(&self, change: &Change) -> Result<Candidate, DaemonError> {
        self.file.require_unchanged()?;
        let text = change.edit(self.file.text()).map_err(ConfigError::from)?;
        // No place: the line is not in the file, and never will be.
        let config = Config::parse(&text, "", &self.overrides).map_err(|error| match error {
            ConfigError::Invalid { place: _, problem } => problem.into(),
            other => other,
        })?;
        Ok(Candidate { text, config, origin: Origin::Request })
    }

    fn parse(&self, text: &str, name: &str) -> Result<Config, DaemonError> {
        Ok(Config::parse(text, name, &self.overrides)?)
    }

    /// What a candidate would change; refused if it could not be applied.
    pub fn plan(&mut self, candidate: &Candidate) -> Result<Vec<Line>, DaemonError> {
        let diff = self.check(&candidate.config)?;
        Ok(self.lines(&candidate.config, &diff))
    }

    /// Applies a candidate, whole or not at all; when this returns without error it is on disk.
    pub fn apply(&mut self, candidate: Candidate) -> Result<Vec<Line>, DaemonError> {
        let Candidate { text, config, origin } = candidate;
        let diff = self.check(&config)?;
        let lines = self.lines(&config, &diff);
        let before = self.file.text().to_owned();
        if origin == Origin::Request {
            self.file.require_unchanged()?;
            self.file.write(text.clone())?;
        } else {
            self.file.sync()?;
        }
        let old = std::mem::replace(&mut self.config, config);
        if let Err(error) = self.carry_out(&old, &diff) {
            self.config = old;
            return Err(match self.take_back(before, origin) {
                Ok(()) => error,
                Err(second) => DaemonError::NotUndone(Box::new(error), Box::new(second)),
            });
        }
        self.file.accept(text);
        for line in &lines {
            tracing::info!("{line}");
        }
        Ok(lines)
    }

    fn check(&mut self, config: &Config) -> Result<Diff, DaemonError> {
        let fixed = fixed_settings(&self.config.settings, &config.settings);
        if !fixed.is_empty() {
            return Err(DaemonError::Fixed { settings: fixed.join(", ") });
        }
        for name in &config.interfaces {
            if !self.config.interfaces.contains(name) {
                require_link(&self.view, name)?;
            }
        }
        let diff = self.diff(config);
        self.tables.check(self.plane.store(), &diff)?;
        Ok(diff)
    }

    fn diff(&self, config: &Config) -> Diff {
        let desired = Desired::new(config.services.clone(), &self.view.addresses);
        plan(&desired, self.tables.actual())
    }

    fn lines(&self, config: &Config, diff: &Diff) -> Vec<Line> {
        let (old, new) = (&self.config.interfaces, &config.interfaces);
        let line = |action, name: &String| Line::new(action, Kind::Interface, name, "");
        let added = new.iter().filter(|name| !old.contains(name));
        let removed = old.iter().filter(|name| !new.contains(name));
        let mut lines: Vec<_> = added.map(|name| line(Action::Add, name)).collect();
        lines.extend(diff.lines());
        lines.extend(removed.map(|name| line(Action::Remove, name)));
        lines
    }

    /// New interfaces first, since they may refuse, and nothing has happened to any flow by then; then
    /// the tables; then the interfaces that go. Until the tables are done, a new interface's packets
    /// find the old ones.
    fn carry_out(&mut self, old: &Config, diff: &Diff) -> Result<(), DaemonError> {
        let mut attached = Vec::new();
        let done = self.attach_new(old, &mut attached);
        let done = done.and_then(|()| Ok(self.change_tables(diff)?));
        if let Err(error) = done {
            for name in attached {
                self.detach(&name)?;
            }
            return Err(error);
        }
        for name in &old.interfaces {
            if !self.config.interfaces.contains(name) {
                self.detach(name)?;
            }
        }
        Ok(())
    }

    fn change_tables(&mut self, diff: &Diff) -> Result<(), StoreError> {
        let ways = self.ways();
        let done = self.tables.apply(self.plane.store(), diff, &ways);
        let services = &self.tables.actual().services;
        let added = diff.added().filter_map(|(service, server)| {
            Some(services.get(&service)?.servers.get(&server)?.index)
        });
        self.counted.renew(added);
        done
    }

    fn attach_new(&mut self, old: &Config, attached: &mut Vec<String>) -> Result<(), DaemonError> {
        for name in self.config.interfaces.clone() {
            if !old.interfaces.contains(&name) {
                self.attach(&name)?;
                attached.push(name);
            }
        }
        Ok(())
    }

    /// Makes everything what the configuration says that was in force before a failed change.
    fn take_back(&mut self, text: String, origin: Origin) -> Result<(), DaemonError> {
        if origin == Origin::Request {
            self.file.write(text)?;
        }
        self.tables = Tables::adopt(self.plane.store())?;
        self.bring_up()
    }

    /// Follows the network: next hops, owners of VIPs, interfaces.
    pub fn set_view(&mut self, view: View) {
        self.view = view;
        self.write_ways();
        // Only addresses of the director can have made a difference: who answers for a VIP.
        let diff = self.diff(&self.config);
        for line in diff.lines() {
            tracing::info!("{line}");
        }
        if let Err(error) = self.change_tables(&diff) {
            let error = super::chain(&error);
            tracing::error!(error, "cannot follow a change of the director's addresses");
            self.adopt_again();
        }
        self.follow_links();
    }

    /// Makes sense of what a change left that was broken off; the next one does the rest.
    fn adopt_again(&mut self) {
        match Tables::adopt(self.plane.store()) {
            Ok(tables) => self.tables = tables,
            Err(error) => {
                let error = super::chain(&error);
                tracing::error!(error, "cannot read the tables; restart the director");
            }
        }
    }

    /// What is due from time to time: attaches again where others have detached.
    pub fn keep_up(&mut self) {
        self.follow_links();
    }

    /// Attaches to interfaces that came back, and writes MAC addresses that changed.
    fn follow_links(&mut self) {
        let attached = match self.plane.attachments() {
            Ok(attached) => attached,
            Err(error) => {
                tracing::error!(error, "cannot read where the program is attached");
                return;
            }
        };
        for name in self.config.interfaces.clone() {
            let link = self.view.links.iter().find(|link| link.name == name);
            let Some(link) = link else {
                if self.problems.insert(name.clone(), "does not exist".into()).is_none() {
                    tracing::warn!("interface {name} is gone; its packets are balanced no more");
                }
                continue;
            };
            let there = |a: &&Attachment| a.interface == name && a.index == link.index;
            match attached.iter().find(there) {
                Some(attachment) if !self.problems.contains_key(&name) => {
                    let mac = MacAddress(link.mac);
                    if let Err(error) = self.plane.set_mac(attachment, mac) {
                        tracing::error!(error, "cannot write the MAC address of {name}");
                    }
                }
                // Once per change of the network is often enough to try.
                _ => {
                    if let Err(error) = self.attach(&name) {
                        let error = super::chain(&error);
                        tracing::warn!("interface {name} is not attached: {error}");
                        self.problems.insert(name, error);
                    }
                }
            }
        }
    }

    fn attach(&mut self, name: &str) -> Result<(), DaemonError> {
        let link = require_link(&self.view, name)?;
        let attachment = Attachment {
            interface: name.into(),
            index: link.index,
            mode: self.config.settings.mode,
        };
        let mac = MacAddress(link.mac);
        let adopted = self.plane.attach(&attachment, mac).map_err(DaemonError::DataPlane)?;
        self.problems.remove(name);
        let how = if adopted { "took over" } else { "attached to" };
        tracing::info!("{how} interface {name} in {} mode", attachment.mode);
        Ok(())
    }

    fn detach(&mut self, name: &str) -> Result<(), DaemonError> {
        self.plane.detach(name).map_err(DaemonError::DataPlane)?;
        self.problems.remove(name);
        tracing::info!("detached from interface {name}");
        Ok(())
    }

    /// What is known of the ways to all real servers.
    fn ways(&self) -> Ways {
        self.view.hops.iter().map(|(server, hop)| (*server, way(hop))).collect()
    }

    fn write_ways(&mut self) {
        let ways = self.ways();
        let changed = self.tables.set_ways(self.plane.store(), &ways);
        if changed > 0 {
            tracing::debug!("wrote {changed} ways to real servers");
        }
    }

    /// Removes everything from the kernel.
    pub fn remove(&mut self) -> Result<(), DaemonError> {
        self.plane.remove().map_err(DaemonError::DataPlane)
    }
}

/// The link with this name, if the program can be attached to it.
pub(super) fn require_link<'v>(view: &'v View, name: &str) -> Result<&'v Link, DaemonError> {
    let Some(link) = view.links.iter().find(|link| link.name == name) else {
        let usable = view.links.iter().filter(|link| link.ethernet);
        let present: Vec<_> = usable.map(|link| link.name.as_str()).collect();
        let present = if present.is_empty() { "none".into() } else { present.join(", ") };
        return Err(DaemonError::NoInterface { name: name.into(), present });
    };
    if !link.ethernet {
        return Err(DaemonError::NotEthernet { name: name.into() });
    }
    Ok(link)
}

/// The keys of settings that differ.
fn fixed_settings(old: &Settings, new: &Settings) -> Vec<&'static str> {
    let Settings { mode, socket, pin, capacity, icmp_per_second } = old;
    let differs = [
        (*mode != new.mode, "`mode`"),
        (*socket != new.socket, "`socket`"),
        (*pin != new.pin, "`pin`"),
        (*capacity != new.capacity, "`tables`"),
        (*icmp_per_second != new.icmp_per_second, "`limits.icmp_per_second`"),
    ];
    differs.into_iter().filter_map(|(differs, key)| differs.then_some(key)).collect()
}

fn way(hop: &Result<NextHop, NextHopError>) -> Way {
    match hop {
        Ok(hop) => Way::Over(*hop),
        Err(error) if error.is_unroutable() => Way::Unroutable,
        Err(_) => Way::Unresolved,
    }
}
