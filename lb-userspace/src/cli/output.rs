//! What commands print, for people and as JSON.

use std::{
    fmt,
    io::{self, Write},
    path::Path,
};

use comfy_table::{CellAlignment, ContentArrangement, Table, presets};
use serde::Serialize;

use super::CliError;
use crate::{
    api::{Changes, FlowTable, Interface, NextHop, Server, Service, State, Stats, Traffic},
    census::FlowCounts,
    config::Mode,
};

/// Prints, and reports a reader that has gone instead of panicking.
pub(super) fn print(text: fmt::Arguments<'_>) -> Result<(), CliError> {
    let mut stdout = io::stdout().lock();
    stdout.write_fmt(text)?;
    stdout.flush()?;
    Ok(())
}

fn json<T: Serialize>(value: &T) -> Result<(), CliError> {
    let text = serde_json::to_string_pretty(value).map_err(io::Error::from)?;
    print(format_args!("{text}\n"))
}

pub(super) fn changes(changes: &Changes, as_json: bool) -> Result<(), CliError> {
    if as_json {
        return json(changes);
    }
    if changes.changes.is_empty() {
        return print(format_args!("nothing to change\n"));
    }
    let lines: Vec<_> = changes.changes.iter().map(ToString::to_string).collect();
    print(format_args!("{}\n", lines.join("\n")))
}

/// What `detach` did.
#[derive(Debug, Serialize)]
pub(super) struct Detached<'a> {
    /// The directory of the pins.
    pub(super) pin: &'a Path,
    /// Whether there was anything in it.
    pub(super) removed: bool,
}

pub(super) fn detached(detached: &Detached<'_>, as_json: bool) -> Result<(), CliError> {
    if as_json {
        return json(detached);
    }
    let Detached { pin, removed } = detached;
    let what = if *removed { "detached; removed" } else { "nothing is pinned in" };
    print(format_args!("{what} {}\n", pin.display()))
}

pub(super) fn state(state: &State, as_json: bool) -> Result<(), CliError> {
    if as_json { json(state) } else { print(format_args!("{}", StateText(state))) }
}

pub(super) fn stats(stats: &Stats, all: bool, as_json: bool) -> Result<(), CliError> {
    if as_json {
        return json(stats);
    }
    print(format_args!("{}", StatsText(stats, all)))
}

/// Explanations are broken to this many columns, wherever the output goes.
const WIDTH: u16 = 100;

/// A table without borders; columns from `numbers` on are aligned to the right.
fn table<const N: usize>(header: [&str; N], numbers: usize) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(header);
    for (number, column) in table.column_iter_mut().enumerate() {
        let left = u16::from(number > 0);
        column.set_padding((left, 1));
        if number >= numbers {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}

fn write_table(f: &mut fmt::Formatter<'_>, table: &Table) -> fmt::Result {
    for line in table.to_string().lines() {
        writeln!(f, "{}", line.trim_end())?;
    }
    Ok(())
}

/// `12 in use, room for 1,048,576 flows in 48.0 MiB of memory`; without the first part when they
/// are not counted.
pub(super) fn flow_table(table: &FlowTable) -> String {
    let FlowTable { flows, in_use, bytes } = table;
    let mebibytes = *bytes as f64 / f64::from(1 << 20);
    let in_use = in_use.map_or_else(String::new, |used| format!("{} in use, ", grouped(used)));
    format!("{in_use}room for {} flows in {mebibytes:.1} MiB of memory", grouped(*flows))
}

/// `1,048,576`.
fn grouped(number: u32) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (position, digit) in digits.chars().enumerate() {
        if position > 0 && (digits.len() - position).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

struct StateText<'a>(&'a State);

impl fmt::Display for StateText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let State { version: _, pid: _, config, pin: _, interfaces, services, flow_table: flows } =
            self.0;
        let mut rows = table(["INTERFACE", "MODE", "STATE"], 3);
        for interface in interfaces {
            let mode = interface.mode.map_or_else(|| "-".into(), |mode| mode.to_string());
            rows.add_row([interface.name.clone(), mode, interface_state(interface)]);
        }
        write_table(f, &rows)?;
        writeln!(f)?;
        if services.is_empty() {
            writeln!(f, "no services; add one with `tunlb service add tcp:VIP:PORT`")?;
        } else {
            write_services(f, services)?;
        }
        writeln!(f)?;
        writeln!(f, "flow table: {}", flow_table(flows))?;
        writeln!(f, "configuration: {}", config.display())
    }
}

fn interface_state(interface: &Interface) -> String {
    let Interface { name: _, index: _, mode, problem } = interface;
    match (problem, mode) {
        (Some(problem), _) => problem.clone(),
        (None, Some(Mode::Generic)) => "attached; slow: not in the driver".into(),
        (None, _) => "attached".into(),
    }
}

/// Two tables, the lines of the one between those of the other: services, and below each its
/// servers. So a line stays within 100 columns whatever the addresses, unless weights and names of
/// interfaces are long.
fn write_services(f: &mut fmt::Formatter<'_>, services: &[Service]) -> fmt::Result {
    let mut heads = table(["SERVICE", "SCHEDULER", "VIP"], 3);
    let columns =
        ["REAL SERVER", "WEIGHT", "ACTIVE", "INACTIVE", "NEXT HOP", "DEV", "SOURCE", "MTU"];
    let mut rows = table(columns, columns.len());
    for numbers in [1, 2, 3, 7] {
        if let Some(column) = rows.column_mut(numbers) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    for Service { address, scheduler, vip, servers } in services {
        heads.add_row([address.to_string(), scheduler.to_string(), vip.name().into()]);
        for Server { address, weight, flows, next_hop, problem: _ } in servers {
            let count = |count: fn(&FlowCounts) -> u32| {
                flows.as_ref().map_or_else(|| "-".into(), |flows| count(flows).to_string())
            };
            let (active, inactive) = (count(|flows| flows.active), count(|flows| flows.inactive));
            let mut row = vec![address.to_string(), weight.to_string(), active, inactive];
            match next_hop {
                Some(NextHop { interface, mac, vlan, source, mtu }) => {
                    let tag = vlan.map_or_else(String::new, |vlan| format!(" vlan {vlan}"));
                    let dev = format!("{interface}{tag}");
                    row.extend([mac.clone(), dev, source.to_string(), mtu.to_string()]);
                }
                None => row.push("none".into()),
            }
            rows.add_row(row);
        }
    }
    let (heads, rows) = (heads.to_string(), rows.to_string());
    let (mut heads, mut rows) = (heads.lines(), rows.lines());
    let mut head = |f: &mut fmt::Formatter<'_>| {
        heads.next().map_or(Ok(()), |line| writeln!(f, "{}", line.trim_end()))
    };
    let mut row = |f: &mut fmt::Formatter<'_>| {
        rows.next().map_or(Ok(()), |line| writeln!(f, "  {}", line.trim_end()))
    };
    head(f)?;
    row(f)?;
    for Service { address: _, scheduler: _, vip: _, servers } in services {
        head(f)?;
        for server in servers {
            row(f)?;
            if let (None, Some(problem)) = (&server.next_hop, &server.problem) {
                writeln!(f, "    {problem}")?;
            }
        }
        if servers.is_empty() {
            writeln!(f, "  none; add one with `tunlb server add`")?;
        }
    }
    Ok(())
}

struct StatsText<'a>(&'a Stats, bool);

impl fmt::Display for StatsText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(Stats { reasons, services }, all) = self;
        let mut rows = table(["COUNT", "REASON", "MEANING"], 3);
        rows.set_content_arrangement(ContentArrangement::Dynamic).set_width(WIDTH);
        if let Some(column) = rows.column_mut(0) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        for reason in reasons.iter().filter(|reason| *all || reason.count > 0) {
            rows.add_row([reason.count.to_string(), reason.reason.clone(), reason.help.clone()]);
        }
        if rows.row_iter().next().is_none() {
            writeln!(f, "no packet counted yet")?;
        } else {
            write_table(f, &rows)?;
        }
        if services.is_empty() {
            return Ok(());
        }
        writeln!(f)?;
        let mut rows = table(["SERVICE", "REAL SERVER", "FLOWS", "PACKETS", "BYTES"], 2);
        let mut add = |service: String, server: String, traffic: &Traffic| {
            let Traffic { flows, packets, bytes } = traffic;
            let [flows, packets, bytes] = [flows, packets, bytes].map(u64::to_string);
            rows.add_row([service, server, flows, packets, bytes]);
        };
        for service in services {
            add(service.address.to_string(), "all".into(), &service.traffic);
            for server in &service.servers {
                add(String::new(), server.address.to_string(), &server.traffic);
            }
        }
        write_table(f, &rows)
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::{
        api::{ReasonCount, ServerStats, ServiceStats},
        config::Scheduler,
        plan::Ownership,
    };

    const VIP: &str = "tcp:192.168.19.100:80";

    fn server(
        last: u8,
        weight: &str,
        flows: Option<(u32, u32)>,
        next_hop: Option<NextHop>,
        problem: Option<&str>,
    ) -> Server {
        Server {
            address: Ipv4Addr::new(192, 168, 19, last),
            weight: weight.parse().expect("a weight"),
            flows: flows.map(|(active, inactive)| FlowCounts { active, inactive }),
            next_hop,
            problem: problem.map(Into::into),
        }
    }

    #[test]
    fn a_list_says_mode_next_hop_or_reason_and_memory() {
        let hop = NextHop {
            interface: "eth0".into(),
            mac: "02:00:c0:a8:13:02".into(),
            vlan: None,
            source: Ipv4Addr::new(192, 168, 19, 254).into(),
            mtu: 1500,
        };
        let tagged = NextHop { vlan: Some(100), mtu: 576, ..hop.clone() };
        let unknown = "192.168.19.4 does not answer on link eth0: its MAC address is unknown";
        let interface = |name: &str, mode, problem: Option<&str>| Interface {
            name: name.into(),
            index: Some(2),
            mode,
            problem: problem.map(Into::into),
        };
        let service = |address: &str, servers| Service {
            address: address.parse().expect("a service"),
            scheduler: Scheduler::Wrr,
            vip: Ownership::Owned,
            servers,
        };
        let state = State {
            version: "1".into(),
            pid: 1,
            config: "/etc/tunlb.toml".into(),
            pin: "/sys/fs/bpf/tunlb".into(),
            interfaces: vec![
                interface("eth0", Some(Mode::Native), None),
                interface("eth1", Some(Mode::Generic), None),
                interface("eth2", None, Some("does not exist")),
            ],
            services: vec![
                service(
                    VIP,
                    vec![
                        server(2, "1", Some((3, 12)), Some(hop), None),
                        server(3, "2147483647", Some((1_000_000, 0)), Some(tagged), None),
                        server(4, "0", None, None, Some(unknown)),
                    ],
                ),
                service("udp:192.168.19.100:53", Vec::new()),
            ],
            flow_table: FlowTable { in_use: Some(1_000_015), ..FlowTable::new(1 << 20) },
        };
        let text = StateText(&state).to_string();
        let expected = "\
INTERFACE  MODE     STATE
eth0       native   attached
eth1       generic  attached; slow: not in the driver
eth2       -        does not exist

SERVICE                SCHEDULER  VIP
  REAL SERVER       WEIGHT   ACTIVE  INACTIVE  NEXT HOP           DEV            SOURCE           MTU
tcp:192.168.19.100:80  wrr        owned
  192.168.19.2           1        3        12  02:00:c0:a8:13:02  eth0           192.168.19.254  1500
  192.168.19.3  2147483647  1000000         0  02:00:c0:a8:13:02  eth0 vlan 100  192.168.19.254   576
  192.168.19.4           0        -         -  none
    192.168.19.4 does not answer on link eth0: its MAC address is unknown
udp:192.168.19.100:53  wrr        owned
  none; add one with `tunlb server add`

flow table: 1,000,015 in use, room for 1,048,576 flows in 48.0 MiB of memory
configuration: /etc/tunlb.toml
";
        assert_eq!(text, expected);
    }

    #[test]
    fn statistics_fit_in_100_columns() {
        let traffic = Traffic {
            flows: 1_000_000_000_000,
            packets: 1_000_000_000_000_000,
            bytes: 1_000_000_000_000_000_000,
        };
        let reason = |reason: &lb_common::Reason| ReasonCount {
            reason: reason.label().into(),
            count: 1_000_000_000_000,
            help: reason.help().into(),
        };
        let stats = Stats {
            reasons: lb_common::Reason::ALL.iter().map(reason).collect(),
            services: vec![ServiceStats {
                address: VIP.parse().expect("a service"),
                traffic,
                servers: vec![ServerStats { address: Ipv4Addr::new(192, 168, 19, 2), traffic }],
            }],
        };
        let text = StatsText(&stats, false).to_string();
        for line in text.lines() {
            assert!(line.chars().count() <= 100, "{line}");
        }
        // Broken or not, a meaning stays in its column.
        let meaning = text.find("MEANING").expect("a header");
        let (reasons, _) = text.split_once("\n\n").expect("two tables");
        assert!(reasons.lines().skip(1).all(|line| !line[meaning..].starts_with(' ')), "{text}");
    }

    #[test]
    fn numbers_are_grouped_by_thousands() {
        let numbers = [(0, "0"), (999, "999"), (1000, "1,000"), (u32::MAX, "4,294,967,295")];
        for (number, expected) in numbers {
            assert_eq!(grouped(number), expected);
        }
    }
}
