//! What commands print, for people and as JSON.

use std::{
    fmt,
    io::{self, Write},
    path::Path,
};

use comfy_table::{CellAlignment, Table, presets};
use serde::Serialize;

use super::CliError;
use crate::api::{Changes, FlowTable, Interface, Server, Service, State, Stats, Traffic};

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

/// `1048576 flows, 48.0 MiB`.
pub(super) fn flow_table(table: &FlowTable) -> String {
    let FlowTable { flows, bytes } = table;
    format!("{flows} flows, {:.1} MiB", *bytes as f64 / f64::from(1 << 20))
}

struct StateText<'a>(&'a State);

impl fmt::Display for StateText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let State { version: _, pid: _, config, pin: _, interfaces, services, flow_table: flows } =
            self.0;
        let mut rows = table(["INTERFACE", "MODE", "STATE"], 3);
        for Interface { name, index: _, mode, problem } in interfaces {
            let mode = mode.map_or_else(|| "-".into(), |mode| mode.to_string());
            let state = problem.clone().unwrap_or_else(|| "attached".into());
            rows.add_row([name.clone(), mode, state]);
        }
        write_table(f, &rows)?;
        writeln!(f)?;
        let mut rows =
            table(["SERVICE", "SCHEDULER", "VIP", "REAL SERVER", "WEIGHT", "NEXT HOP"], 6);
        if let Some(column) = rows.column_mut(4) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        for Service { address, scheduler, vip, servers } in services {
            let mut head = [address.to_string(), scheduler.to_string(), vip.name().into()];
            if servers.is_empty() {
                let [service, scheduler, vip] = head.clone();
                rows.add_row([
                    service,
                    scheduler,
                    vip,
                    "none".into(),
                    String::new(),
                    String::new(),
                ]);
            }
            for server in servers {
                let [service, scheduler, vip] = std::mem::take(&mut head);
                let Server { address, weight, next_hop: _, problem: _ } = server;
                let next_hop = next_hop(server);
                let (address, weight) = (address.to_string(), weight.to_string());
                rows.add_row([service, scheduler, vip, address, weight, next_hop]);
            }
        }
        if services.is_empty() {
            writeln!(f, "no services; add one with `tunlb service add tcp:VIP:PORT`")?;
        } else {
            write_table(f, &rows)?;
        }
        writeln!(f)?;
        writeln!(f, "flow table: {}", flow_table(flows))?;
        writeln!(f, "configuration: {}", config.display())
    }
}

fn next_hop(server: &Server) -> String {
    match (&server.next_hop, &server.problem) {
        (Some(hop), _) => {
            let vlan = hop.vlan.map_or_else(String::new, |vlan| format!(" vlan {vlan}"));
            format!("{} dev {}{vlan} src {} mtu {}", hop.mac, hop.interface, hop.source, hop.mtu)
        }
        (None, Some(problem)) => format!("none: {problem}"),
        (None, None) => "none".into(),
    }
}

struct StatsText<'a>(&'a Stats, bool);

impl fmt::Display for StatsText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(Stats { reasons, services }, all) = self;
        let mut rows = table(["COUNT", "REASON", "MEANING"], 3);
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
