//! From the raw configuration to the one that can be carried out.

use std::{
    collections::HashMap,
    net::Ipv4Addr,
    ops::Range,
    path::{Path, PathBuf},
};

use lb_common::{flow::WAYS, table::LookupTable};
use toml::Spanned;

use super::{
    Config, ConfigError, DEFAULT_PIN, DEFAULT_SOCKET, Mode, NameError, Overrides, Place, Problem,
    Scheduler, SchedulerFlag, SchedulerName, Server, ServiceAddress, Settings, VirtualService,
    Weight, raw, unicast,
};
use crate::{store::Capacity, tables::lookup};

/// The kernel's IFNAMSIZ without the terminating zero.
const INTERFACE_NAME: usize = 15;

/// Flow words hold 16 bits of a real server's index.
const MOST_REAL_SERVERS: u32 = 1 << 16;

/// A place in the text that is named by its line when something is wrong there.
struct Text<'a> {
    text: &'a str,
    file: &'a str,
}

impl Text<'_> {
    fn line(&self, span: &Range<usize>) -> usize {
        let before = self.text.as_bytes().iter().take(span.start);
        before.filter(|&&byte| byte == b'\n').count() + 1
    }

    fn invalid(&self, span: Option<Range<usize>>, problem: impl Into<Problem>) -> ConfigError {
        let line = span.map_or(0, |span| self.line(&span));
        ConfigError::Invalid {
            place: Place { file: self.file.into(), line },
            problem: problem.into(),
        }
    }

    fn number(
        &self,
        key: &'static str,
        value: Option<&Spanned<i64>>,
        default: u32,
        [least, most]: [u32; 2],
    ) -> Result<u32, ConfigError> {
        let Some(spanned) = value else {
            return Ok(default);
        };
        let value = *spanned.get_ref();
        let number = u32::try_from(value).ok().filter(|number| (least..=most).contains(number));
        number.ok_or_else(|| {
            self.invalid(Some(spanned.span()), Problem::Range { key, value, least, most })
        })
    }

    fn path(
        &self,
        key: &'static str,
        value: Option<Spanned<String>>,
        default: &str,
    ) -> Result<PathBuf, ConfigError> {
        let Some(value) = value else {
            return Ok(default.into());
        };
        if Path::new(value.get_ref()).is_absolute() {
            return Ok(value.into_inner().into());
        }
        let span = Some(value.span());
        Err(self.invalid(span, Problem::Path { key, value: value.into_inner() }))
    }
}

pub(super) fn resolve(
    text: &str,
    file: &str,
    overrides: &Overrides,
) -> Result<Config, ConfigError> {
    let text = Text { text, file };
    let raw: raw::Config = toml::from_str(text.text).map_err(|error| {
        let message = error.message().trim().replace('\n', "; ");
        text.invalid(error.span(), Problem::Syntax(message))
    })?;
    let raw::Config { interfaces, mode, socket, pin, tables, limits, service } = raw;

    let mode = match mode.as_ref().map(|mode| mode.get_ref().as_str()) {
        None | Some("native") => Mode::Native,
        Some("generic") => Mode::Generic,
        Some(other) => {
            let span = mode.as_ref().map(Spanned::span);
            return Err(text.invalid(span, Problem::Mode(other.into())));
        }
    };
    let socket = text.path("socket", socket, DEFAULT_SOCKET)?;
    let pin = text.path("pin", pin, DEFAULT_PIN)?;
    let settings = Settings {
        mode: if overrides.generic { Mode::Generic } else { mode },
        socket: overrides.socket.clone().unwrap_or(socket),
        pin: overrides.pin.clone().unwrap_or(pin),
        capacity: capacity(&text, &tables)?,
        icmp_per_second: text.number(
            "limits.icmp_per_second",
            limits.icmp_per_second.as_ref(),
            1000,
            [0, 1_000_000],
        )?,
    };
    let interfaces = resolve_interfaces(&text, interfaces, overrides)?;
    let services = resolve_services(&text, &service, settings.capacity.lookup)?;
    let config = Config { settings, interfaces, services };
    fits(&text, &config)?;
    Ok(config)
}

fn capacity(text: &Text<'_>, tables: &raw::Tables) -> Result<Capacity, ConfigError> {
    let raw::Tables { flows, real_servers, services, lookup, vips } = tables;
    // Two sets at least, so that a flow's two candidates can differ; 2^28 flows take 12 GiB.
    let flows_range = [2 * WAYS as u32, 1 << 28];
    let flows = text.number("tables.flows", flows.as_ref(), 1 << 20, flows_range)?;
    let servers = [1, MOST_REAL_SERVERS];
    let entries = [1, 1 << 20];
    let slots = [1, LookupTable::MOST_SLOTS];
    Ok(Capacity {
        services: text.number("tables.services", services.as_ref(), 1024, entries)?,
        real_servers: text.number("tables.real_servers", real_servers.as_ref(), 4096, servers)?,
        lookup: text.number("tables.lookup", lookup.as_ref(), 1 << 20, slots)?,
        vips: text.number("tables.vips", vips.as_ref(), 1024, entries)?,
        flows: flows.next_power_of_two(),
    })
}

fn resolve_interfaces(
    text: &Text<'_>,
    raw: Option<Spanned<Vec<Spanned<String>>>>,
    overrides: &Overrides,
) -> Result<Vec<String>, ConfigError> {
    let span = raw.as_ref().map(Spanned::span);
    let mut names: Vec<(String, Option<Range<usize>>)> = Vec::new();
    if overrides.interfaces.is_empty() {
        let raw = raw.map(Spanned::into_inner).unwrap_or_default();
        names.extend(raw.into_iter().map(|name| {
            let span = name.span();
            (name.into_inner(), Some(span))
        }));
    } else {
        names.extend(overrides.interfaces.iter().map(|name| (name.clone(), None)));
    }
    if names.is_empty() {
        return Err(text.invalid(span, Problem::NoInterface));
    }
    let mut interfaces: Vec<String> = Vec::new();
    for (name, span) in names {
        let odd = |c: char| c == '/' || c.is_whitespace() || c.is_control();
        if name.is_empty()
            || name.len() > INTERFACE_NAME
            || name.contains(odd)
            || name == "."
            || name == ".."
        {
            return Err(text.invalid(span, Problem::Interface(name)));
        }
        if interfaces.contains(&name) {
            return Err(text.invalid(span, Problem::DuplicateInterface(name)));
        }
        interfaces.push(name);
    }
    Ok(interfaces)
}

fn resolve_services(
    text: &Text<'_>,
    raw: &[Spanned<raw::Service>],
    most_slots: u32,
) -> Result<Vec<VirtualService>, ConfigError> {
    // Spans and not lines: counting lines is for what is wrong only.
    let mut spans: HashMap<ServiceAddress, Range<usize>> = HashMap::new();
    let mut services = Vec::with_capacity(raw.len());
    for service in raw {
        let raw::Service { address, server, .. } = service.get_ref();
        let span = address.span();
        let address: ServiceAddress = address
            .get_ref()
            .parse()
            .map_err(|error: NameError| text.invalid(Some(span.clone()), error))?;
        if let Some(first) = spans.insert(address, span.clone()) {
            let first = text.line(&first);
            let problem = Problem::DuplicateService { service: address, first };
            return Err(text.invalid(Some(span), problem));
        }
        let scheduler = resolve_scheduler(text, address, service.get_ref())?;
        let servers = resolve_servers(text, address, server)?;
        let service = VirtualService { address, scheduler, servers };
        let slots = lookup::slots(&service);
        if slots > most_slots.into() {
            let problem =
                Problem::Slots { service: address, scheduler, slots, entries: most_slots };
            return Err(text.invalid(Some(span), problem));
        }
        services.push(service);
    }
    Ok(services)
}

fn resolve_scheduler(
    text: &Text<'_>,
    service: ServiceAddress,
    raw: &raw::Service,
) -> Result<Scheduler, ConfigError> {
    let raw::Service { address: _, scheduler, scheduler_flags, table_size, server: _ } = raw;
    let invalid = |span, source| text.invalid(span, Problem::InService { service, source });
    let name = match scheduler {
        None => SchedulerName::default(),
        Some(name) => name.get_ref().parse().map_err(|e| invalid(Some(name.span()), e))?,
    };
    let flags = scheduler_flags.iter().flat_map(Spanned::get_ref);
    let flag = |flag: &Spanned<String>| {
        flag.get_ref().parse().map_err(|error| invalid(Some(flag.span()), error))
    };
    let flags: Vec<SchedulerFlag> = flags.map(flag).collect::<Result<_, _>>()?;
    let size = table_size.as_ref().map(|size| *size.get_ref());
    Scheduler::new(name, &flags, size).map_err(|error| {
        let span = match &error {
            NameError::IncompatibleFlag { .. } => scheduler_flags.as_ref().map(Spanned::span),
            _ => table_size.as_ref().map(Spanned::span),
        };
        invalid(span, error)
    })
}

fn resolve_servers(
    text: &Text<'_>,
    service: ServiceAddress,
    raw: &[Spanned<raw::Server>],
) -> Result<Vec<Server>, ConfigError> {
    let mut spans: HashMap<Ipv4Addr, Range<usize>> = HashMap::new();
    let mut servers = Vec::with_capacity(raw.len());
    for server in raw {
        let raw::Server { address, weight } = server.get_ref();
        let span = address.span();
        let server = unicast(address.get_ref()).map_err(|source| {
            text.invalid(Some(span.clone()), Problem::InService { service, source })
        })?;
        if server == service.vip {
            return Err(text.invalid(Some(span), Problem::ServerIsVip { service }));
        }
        if let Some(first) = spans.insert(server, span.clone()) {
            let first = text.line(&first);
            let problem = Problem::DuplicateServer { service, server, first };
            return Err(text.invalid(Some(span), problem));
        }
        let weight = match weight {
            None => Weight::default(),
            Some(weight) => Weight::try_from(*weight.get_ref()).map_err(|source| {
                text.invalid(Some(weight.span()), Problem::InService { service, source })
            })?,
        };
        servers.push(Server { address: server, weight });
    }
    Ok(servers)
}

/// Refuses more services, servers or VIPs than the tables of the same file hold, and lookup tables
/// that leave no room for changing one: the new one is written beside the old one.
fn fits(text: &Text<'_>, config: &Config) -> Result<(), ConfigError> {
    let capacity = &config.settings.capacity;
    let servers = config.services.iter().map(|service| service.servers.len()).sum();
    let mut vips: Vec<_> = config.services.iter().map(|service| service.address.vip).collect();
    vips.sort_unstable();
    vips.dedup();
    for (count, what, setting, entries) in [
        (config.services.len(), "services", "tables.services", capacity.services),
        (servers, "real servers", "tables.real_servers", capacity.real_servers),
        (vips.len(), "VIPs", "tables.vips", capacity.vips),
    ] {
        if count > entries as usize {
            return Err(text.invalid(None, Problem::Full { count, what, setting, entries }));
        }
    }
    let lengths =
        || config.services.iter().map(|service| (lookup::slots(service), service.address));
    let slots = lengths().map(|(slots, _)| slots).sum();
    let entries = capacity.lookup;
    match lengths().max() {
        Some((spare, service)) if slots + spare > entries.into() => {
            Err(text.invalid(None, Problem::Spare { slots, spare, service, entries }))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Config, String> {
        Config::parse(text, "t.toml", &Overrides::default()).map_err(|error| error.to_string())
    }

    #[test]
    fn the_least_configuration_gets_the_defaults() {
        let config = parse("interfaces = [\"eth0\"]").expect("valid");
        assert_eq!(config.interfaces, ["eth0"]);
        assert!(config.services.is_empty());
        let Settings { mode, socket, pin, capacity, icmp_per_second } = config.settings;
        assert_eq!((mode, icmp_per_second), (Mode::Native, 1000));
        assert_eq!((socket, pin), (DEFAULT_SOCKET.into(), DEFAULT_PIN.into()));
        assert_eq!(capacity.flows, 1_048_576);
    }

    #[test]
    fn the_seeds_example_is_valid() {
        let config = parse(include_str!("../../../examples/seed.toml")).expect("valid");
        let [service] = config.services.as_slice() else { panic!("one service") };
        assert_eq!(service.address.to_string(), "tcp:192.168.19.100:80");
        let servers: Vec<_> = service.servers.iter().map(|s| s.address.to_string()).collect();
        assert_eq!(servers, ["192.168.19.2", "192.168.19.3"]);
    }

    #[test]
    fn a_scheduler_comes_with_flags_and_a_table_size() {
        let config = parse(
            "interfaces = [\"a\"]\n[[service]]\naddress = \"tcp:10.0.0.9:80\"\nscheduler = \"mh\"\n\
             scheduler_flags = [\"mh-port\", \"mh-fallback\"]\ntable_size = 65537",
        );
        let scheduler = config.expect("valid").services[0].scheduler;
        assert_eq!(scheduler.to_string(), "mh (mh-fallback,mh-port) table-size 65537");
    }

    #[test]
    fn flows_are_rounded_up_to_a_power_of_two() {
        let config = parse("interfaces = [\"a\"]\n[tables]\nflows = 1000").expect("valid");
        assert_eq!(config.settings.capacity.flows, 1024);
    }

    #[test]
    fn the_command_line_goes_before_the_file() {
        let overrides = Overrides {
            interfaces: vec!["v0".into(), "v1".into()],
            socket: Some("/s".into()),
            pin: Some("/p".into()),
            generic: true,
        };
        let config = Config::parse("", "t.toml", &overrides).expect("valid");
        assert_eq!(config.interfaces, ["v0", "v1"]);
        assert_eq!(config.settings.mode, Mode::Generic);
        assert_eq!(config.settings.socket, PathBuf::from("/s"));
        assert_eq!(config.settings.pin, PathBuf::from("/p"));
    }

    /// Every refusal names the file, the line, the object and what to do.
    #[test]
    fn what_cannot_be_carried_out_is_refused_where_it_stands() {
        let with = |rest: &str| format!("interfaces = [\"a\"]\n{rest}");
        let service = |rest: &str| {
            format!("interfaces = [\"a\"]\n[[service]]\naddress = \"tcp:10.0.0.9:80\"\n{rest}")
        };
        let cases = [
            (String::new(), "t.toml: no interface to attach to; name at least one"),
            ("interfaces = []".into(), "t.toml:1: no interface to attach to"),
            ("interfaces = [\"a\"".into(), "t.toml:1: "),
            ("interfaces = [\"a b\"]".into(), "t.toml:1: `a b` cannot be an interface's name"),
            ("interfaces = [\"a\",\n\"a\"]".into(), "t.toml:2: interface `a` is named twice"),
            (with("modus = 1"), "t.toml:2: unknown field `modus`"),
            (with("mode = \"fast\""), "t.toml:2: `fast` is no mode; native and generic are"),
            (with("pin = \"x\""), "t.toml:2: `pin` is `x`; give an absolute path"),
            (with("[tables]\nflows = 0"), "t.toml:3: `tables.flows` is 0; it must be 16 to"),
            (with("[tables]\nreal_servers = 65537"), "must be 1 to 65536"),
            (with("[limits]\nicmp_per_second = -1"), "t.toml:3: `limits.icmp_per_second` is -1"),
            (with("[[service]]\nscheduler = \"rr\""), "t.toml:2: missing field `address`"),
            (with("[[service]]\naddress = \"x\""), "t.toml:3: `x` is no virtual service"),
            (with("[[service]]\naddress = \"tcp:fd00::1:80\""), "IPv6"),
            (service("scheduler = \"lc\""), "t.toml:4: service tcp:10.0.0.9:80: `lc` is no"),
            (
                service("scheduler = \"rr\"\nscheduler_flags = [\"sh-port\"]"),
                "t.toml:5: service tcp:10.0.0.9:80: incompatible scheduler flag `sh-port`: rr takes no",
            ),
            (
                service("scheduler = \"sh\"\nscheduler_flags = [\n\"port\"]"),
                "t.toml:6: service tcp:10.0.0.9:80: `port` is no scheduler flag",
            ),
            (
                service("table_size = 4093"),
                "t.toml:4: service tcp:10.0.0.9:80: scheduler rr has no table size",
            ),
            (
                service("scheduler = \"mh\"\ntable_size = 4096"),
                "t.toml:5: service tcp:10.0.0.9:80: table size 4096 is no prime",
            ),
            (
                service(
                    "scheduler = \"wrr\"\nserver = [{ address = \"10.0.0.1\", weight = 2000000 }, { address = \"10.0.0.2\" }]",
                ),
                "t.toml:3: service tcp:10.0.0.9:80: scheduler wrr takes 2000001 lookup slots, more than \
                 `tables.lookup` (1048576); give smaller weights",
            ),
            (
                with(
                    "[tables]\nlookup = 300\n[[service]]\naddress = \"tcp:10.0.0.9:80\"\nscheduler = \"mh\"\n[[service.server]]\naddress = \"10.0.0.1\"",
                ),
                "scheduler mh takes 4093 lookup slots, more than `tables.lookup` (300); raise it",
            ),
            (
                with(
                    "[tables]\nlookup = 700\n[[service]]\naddress = \"tcp:10.0.0.9:80\"\nscheduler = \"dh\"\nserver = [{ address = \"10.0.0.1\" }]\n[[service]]\naddress = \"tcp:10.0.0.9:81\"\nscheduler = \"sh\"\nserver = [{ address = \"10.0.0.1\" }]",
                ),
                "t.toml: the lookup tables take 512 slots, and 256 more while that of service \
                 tcp:10.0.0.9:81 is replaced; raise `tables.lookup` (now 700) to 768 or more",
            ),
            (
                service("[[service]]\naddress = \"tcp:10.0.0.9:80\""),
                "t.toml:5: service tcp:10.0.0.9:80 stands on line 3 already",
            ),
            (
                service("[[service.server]]\naddress = \"x\""),
                "t.toml:5: service tcp:10.0.0.9:80: `x` is no IPv4",
            ),
            (
                service("[[service.server]]\naddress = \"10.0.0.9\""),
                "t.toml:5: service tcp:10.0.0.9:80: a real server cannot be the VIP",
            ),
            (service("[[service.server]]\naddress = \"224.0.0.1\""), "not a unicast address"),
            (
                service("[[service.server]]\naddress = \"10.0.0.1\"\nweight = -1"),
                "t.toml:6: service tcp:10.0.0.9:80: weight -1 is out of range",
            ),
            (
                service("[[service.server]]\naddress = \"10.0.0.1\"\nweight = \"1\""),
                "t.toml:6: invalid type",
            ),
            (
                service("server = [{address = \"10.0.0.1\"},\n{address = \"10.0.0.1\"}]"),
                "t.toml:5: service tcp:10.0.0.9:80 has server 10.0.0.1 on line 4 already",
            ),
            (
                with(
                    "[tables]\nservices = 1\n[[service]]\naddress = \"tcp:10.0.0.1:1\"\n[[service]]\naddress = \"tcp:10.0.0.1:2\"",
                ),
                "2 services do not fit; raise `tables.services` (now 1)",
            ),
        ];
        for (text, expected) in cases {
            let error = parse(&text).expect_err(&text);
            assert!(error.contains(expected), "{error}\n  does not say\n{expected}");
        }
    }
}
