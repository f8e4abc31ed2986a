//! Changes of services and servers as edits of the file's text; comments and order stay.

use std::net::Ipv4Addr;

use toml_edit::{Array, ArrayOfTables, DocumentMut, InlineTable, Item, Table, TableLike, value};

use super::{ChangeError, Scheduler, SchedulerFlag, ServiceAddress, TableSize, Weight};

/// One change of what is desired.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// A new service, without servers.
    AddService {
        /// The service.
        service: ServiceAddress,
        /// How it chooses.
        scheduler: Scheduler,
    },
    /// Another scheduler.
    EditService {
        /// The service.
        service: ServiceAddress,
        /// How it chooses from now on.
        scheduler: Scheduler,
    },
    /// A service and its servers go.
    DeleteService {
        /// The service.
        service: ServiceAddress,
    },
    /// A new server, at the head of the list: it is picked before the others, as with IPVS.
    AddServer {
        /// The service.
        service: ServiceAddress,
        /// The server.
        server: Ipv4Addr,
        /// Its weight.
        weight: Weight,
    },
    /// Another weight.
    EditServer {
        /// The service.
        service: ServiceAddress,
        /// The server.
        server: Ipv4Addr,
        /// Its weight from now on.
        weight: Weight,
    },
    /// A server goes.
    DeleteServer {
        /// The service.
        service: ServiceAddress,
        /// The server.
        server: Ipv4Addr,
    },
}

impl Change {
    /// The text after the change. `text` must be a configuration that was read without error.
    ///
    /// # Errors
    ///
    /// When what the change adds is there, or what it changes is not.
    pub fn edit(&self, text: &str) -> Result<String, ChangeError> {
        // A text that is no TOML was refused when it was read; an empty one then says "no service".
        let mut document: DocumentMut = text.parse().unwrap_or_default();
        let services = document.entry("service").or_insert_with(tables);
        match *self {
            Self::AddService { service, scheduler } => {
                if find_service(services, service).is_some() {
                    return Err(ChangeError::ServiceExists(service));
                }
                let end = length(services);
                insert(services, end, [("address", value(service.to_string()))]);
                if let Some(table) = get_mut(services, end) {
                    set_scheduler(table, scheduler);
                }
            }
            Self::EditService { service, scheduler } => {
                set_scheduler(require_service(services, service)?, scheduler);
            }
            Self::DeleteService { service } => {
                let index =
                    find_service(services, service).ok_or(ChangeError::NoService(service))?;
                remove(services, index);
            }
            Self::AddServer { service, server, weight } => {
                let table = require_service(services, service)?;
                let servers = table.entry("server").or_insert_with(tables);
                if find_server(servers, server).is_some() {
                    return Err(ChangeError::ServerExists { service, server });
                }
                let fields = [
                    ("address", value(server.to_string())),
                    ("weight", value(i64::from(weight.get()))),
                ];
                insert(servers, 0, fields);
            }
            Self::EditServer { service, server, weight } => {
                let (servers, index) = require_server(services, service, server)?;
                if let Some(table) = get_mut(servers, index) {
                    set(table, "weight", value(i64::from(weight.get())));
                }
            }
            Self::DeleteServer { service, server } => {
                let (servers, index) = require_server(services, service, server)?;
                remove(servers, index);
            }
        }
        Ok(document.to_string())
    }
}

fn tables() -> Item {
    Item::ArrayOfTables(ArrayOfTables::new())
}

fn require_service(
    services: &mut Item,
    service: ServiceAddress,
) -> Result<&mut dyn TableLike, ChangeError> {
    let index = find_service(services, service).ok_or(ChangeError::NoService(service))?;
    get_mut(services, index).ok_or(ChangeError::NoService(service))
}

fn require_server(
    services: &mut Item,
    service: ServiceAddress,
    server: Ipv4Addr,
) -> Result<(&mut Item, usize), ChangeError> {
    let none = ChangeError::NoServer { service, server };
    let table = require_service(services, service)?;
    let servers = table.get_mut("server").ok_or_else(|| none.clone())?;
    let index = find_server(servers, server).ok_or(none)?;
    Ok((servers, index))
}

fn find_service(services: &Item, service: ServiceAddress) -> Option<usize> {
    position(services, |address| address.parse() == Ok(service))
}

fn find_server(servers: &Item, server: Ipv4Addr) -> Option<usize> {
    position(servers, |address| address.parse() == Ok(server))
}

/// The first table of the list whose `address` is wanted.
fn position(list: &Item, wanted: impl Fn(&str) -> bool) -> Option<usize> {
    let matches =
        |table: &dyn TableLike| table.get("address").and_then(Item::as_str).is_some_and(&wanted);
    match list {
        Item::ArrayOfTables(tables) => tables.iter().position(|table| matches(table)),
        Item::Value(list) => {
            let mut values = list.as_array()?.iter();
            values.position(|value| value.as_inline_table().is_some_and(|table| matches(table)))
        }
        _ => None,
    }
}

fn length(list: &Item) -> usize {
    match list {
        Item::ArrayOfTables(tables) => tables.len(),
        _ => list.as_array().map_or(0, Array::len),
    }
}

fn get_mut(list: &mut Item, index: usize) -> Option<&mut dyn TableLike> {
    match list {
        Item::ArrayOfTables(tables) => tables.get_mut(index).map(|table| table as _),
        Item::Value(list) => {
            let value = list.as_array_mut()?.get_mut(index)?;
            value.as_inline_table_mut().map(|table| table as _)
        }
        _ => None,
    }
}

/// Sets a scheduler and all that belongs to it; what belonged to another goes.
fn set_scheduler(service: &mut dyn TableLike, scheduler: Scheduler) {
    set(service, "scheduler", value(scheduler.name().name()));
    let flags: Array = scheduler.flags().into_iter().map(SchedulerFlag::name).collect();
    let size = scheduler.table_size().filter(|size| *size != TableSize::default());
    for (key, item) in [
        ("scheduler_flags", (!flags.is_empty()).then(|| value(flags))),
        ("table_size", size.map(|size| value(i64::from(size.get())))),
    ] {
        match item {
            Some(item) => set(service, key, item),
            None => {
                service.remove(key);
            }
        }
    }
}

/// Sets a key, keeping the comment that follows its value.
fn set(table: &mut dyn TableLike, key: &str, mut item: Item) {
    if let Some(old) = table.get_mut(key) {
        if let (Item::Value(old), Item::Value(new)) = (&*old, &mut item) {
            *new.decor_mut() = old.decor().clone();
        }
        *old = item;
    } else {
        table.insert(key, item);
    }
}

fn insert<const N: usize>(list: &mut Item, index: usize, fields: [(&str, Item); N]) {
    match list {
        Item::ArrayOfTables(tables) => tables.insert(index, Table::from_iter(fields)),
        Item::Value(list) => {
            let table: InlineTable = fields
                .into_iter()
                .filter_map(|(key, item)| Some((key, item.into_value().ok()?)))
                .collect();
            if let Some(list) = list.as_array_mut() {
                list.insert(index, table);
            }
        }
        _ => {}
    }
}

fn remove(list: &mut Item, index: usize) {
    match list {
        Item::ArrayOfTables(tables) => {
            tables.remove(index);
        }
        Item::Value(list) => {
            if let Some(list) = list.as_array_mut() {
                list.remove(index);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, HashFlags, Overrides};

    const TEXT: &str = r#"# the edge of the house
interfaces = ["eth0"] # uplink

[tables]
flows = 1024 # small

# the shop
[[service]]
address = "tcp:10.0.0.9:80"
# oldest first
[[service.server]]
address = "10.0.0.1"
weight = 2 # twice the cores

[[service.server]]
address = "10.0.0.2"

# names
[[service]]
address = "udp:10.0.0.9:53"

[limits]
icmp_per_second = 10
"#;

    fn service(text: &str) -> ServiceAddress {
        text.parse().expect("a service")
    }

    fn weight(number: i64) -> Weight {
        Weight::try_from(number).expect("a weight")
    }

    fn server(text: &str) -> Ipv4Addr {
        text.parse().expect("an address")
    }

    /// The services as short lines.
    fn listed(text: &str) -> Vec<String> {
        let config = Config::parse(text, "t.toml", &Overrides::default()).expect("valid");
        let services = config.services.iter().map(|service| {
            let servers: Vec<_> = service
                .servers
                .iter()
                .map(|server| format!(" {}*{}", server.address, server.weight))
                .collect();
            format!("{} {}{}", service.address, service.scheduler, servers.concat())
        });
        services.collect()
    }

    fn lines_gone(before: &str, after: &str) -> Vec<String> {
        let kept: Vec<&str> = after.lines().collect();
        before.lines().filter(|line| !kept.contains(line)).map(Into::into).collect()
    }

    #[test]
    fn a_new_server_is_picked_first_and_nothing_else_changes() {
        let change = Change::AddServer {
            service: service("tcp:10.0.0.9:80"),
            server: server("10.0.0.3"),
            weight: weight(3),
        };
        let text = change.edit(TEXT).expect("possible");
        assert_eq!(
            listed(&text),
            ["tcp:10.0.0.9:80 rr 10.0.0.3*3 10.0.0.1*2 10.0.0.2*1", "udp:10.0.0.9:53 rr"]
        );
        assert!(lines_gone(TEXT, &text).is_empty(), "{text}");
    }

    #[test]
    fn a_new_service_comes_last_and_takes_servers() {
        let new = service("udp:10.0.0.8:53");
        let text = Change::AddService { service: new, scheduler: Scheduler::Wrr }
            .edit(TEXT)
            .expect("possible");
        let change =
            Change::AddServer { service: new, server: server("10.0.0.1"), weight: weight(1) };
        let text = change.edit(&text).expect("possible");
        assert_eq!(listed(&text)[2], "udp:10.0.0.8:53 wrr 10.0.0.1*1");
        assert!(lines_gone(TEXT, &text).is_empty(), "{text}");
        let text = change.edit(&text).map(|_| ()).expect_err("twice").to_string();
        assert!(text.contains("has server 10.0.0.1 already"));
    }

    #[test]
    fn the_first_service_of_a_bare_file_can_be_added() {
        let new = service("tcp:10.0.0.9:80");
        let text = Change::AddService { service: new, scheduler: Scheduler::Rr }
            .edit("interfaces = [\"eth0\"]\n[tables]\nflows = 64\n")
            .expect("possible");
        assert_eq!(listed(&text), ["tcp:10.0.0.9:80 rr"]);
    }

    #[test]
    fn a_scheduler_brings_what_is_its_own_and_takes_what_was_the_others() {
        let service = service("tcp:10.0.0.9:80");
        let to = |text: &str, scheduler| {
            Change::EditService { service, scheduler }.edit(text).expect("possible")
        };
        let all = HashFlags { fallback: true, port: true };
        let size = TableSize::try_from(65_537).expect("a prime");
        let text = to(TEXT, Scheduler::Mh(all, size));
        assert!(text.contains("scheduler_flags = [\"mh-fallback\", \"mh-port\"]"), "{text}");
        assert!(listed(&text)[0].contains("mh (mh-fallback,mh-port) table-size 65537"), "{text}");
        assert!(lines_gone(TEXT, &text).is_empty(), "{text}");
        let text = to(&text, Scheduler::Sh(HashFlags { fallback: false, port: true }));
        assert!(listed(&text)[0].contains("sh (sh-port)"), "{text}");
        let text = to(&text, Scheduler::Fo);
        assert!(!text.contains("scheduler_flags") && !text.contains("table_size"), "{text}");
    }

    #[test]
    fn a_weight_changes_in_its_place_and_keeps_its_comment() {
        let edit = |address, number| Change::EditServer {
            service: service("tcp:10.0.0.9:80"),
            server: server(address),
            weight: weight(number),
        };
        let text = edit("10.0.0.1", 0).edit(TEXT).expect("possible");
        assert!(text.contains("weight = 0 # twice the cores"), "{text}");
        let text = edit("10.0.0.2", 5).edit(&text).expect("possible");
        assert_eq!(listed(&text)[0], "tcp:10.0.0.9:80 rr 10.0.0.1*0 10.0.0.2*5");
    }

    #[test]
    fn what_is_deleted_goes_alone() {
        let text = Change::DeleteServer {
            service: service("tcp:10.0.0.9:80"),
            server: server("10.0.0.2"),
        }
        .edit(TEXT)
        .expect("possible");
        assert_eq!(listed(&text)[0], "tcp:10.0.0.9:80 rr 10.0.0.1*2");
        let text = Change::DeleteService { service: service("tcp:10.0.0.9:80") }
            .edit(&text)
            .expect("possible");
        assert_eq!(listed(&text), ["udp:10.0.0.9:53 rr"]);
        for kept in ["# the edge of the house", "# small", "# names", "icmp_per_second = 10"] {
            assert!(text.contains(kept), "{text}");
        }
    }

    #[test]
    fn services_written_inline_can_be_changed_too() {
        let text = "interfaces = [\"a\"]\nservice = [{ address = \"tcp:10.0.0.9:80\", server = [{ address = \"10.0.0.1\" }] }]\n";
        let add = Change::AddServer {
            service: service("tcp:10.0.0.9:80"),
            server: server("10.0.0.2"),
            weight: weight(1),
        };
        let text = add.edit(text).expect("possible");
        assert_eq!(listed(&text), ["tcp:10.0.0.9:80 rr 10.0.0.2*1 10.0.0.1*1"]);
        let edit = Change::EditServer {
            service: service("tcp:10.0.0.9:80"),
            server: server("10.0.0.1"),
            weight: weight(7),
        };
        let text = edit.edit(&text).expect("possible");
        assert_eq!(listed(&text), ["tcp:10.0.0.9:80 rr 10.0.0.2*1 10.0.0.1*7"]);
    }

    #[test]
    fn what_is_not_there_cannot_change_and_what_is_cannot_come() {
        let (here, gone) = (service("tcp:10.0.0.9:80"), service("tcp:10.0.0.9:81"));
        let scheduler = Scheduler::Rr;
        let refused = |change: Change| change.edit(TEXT).expect_err("refused");
        assert_eq!(
            refused(Change::AddService { service: here, scheduler }),
            ChangeError::ServiceExists(here)
        );
        assert_eq!(
            refused(Change::EditService { service: gone, scheduler }),
            ChangeError::NoService(gone)
        );
        assert_eq!(refused(Change::DeleteService { service: gone }), ChangeError::NoService(gone));
        let server = server("10.0.0.77");
        assert_eq!(
            refused(Change::DeleteServer { service: here, server }),
            ChangeError::NoServer { service: here, server }
        );
    }
}
