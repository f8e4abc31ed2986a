//! What the demo found: one value, printed as text or as JSON.

use std::{fmt, io, path::Path};

use comfy_table::{Table, presets::ASCII_MARKDOWN};
use serde::Serialize;

use super::{
    seed::{self, Host, mac_of},
    topology::namespace_name,
    way::{Check, End, Leg},
};
use crate::{bpf::Mode, netns};

/// What the demo found.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// The network.
    pub topology: Network,
    /// How the director's program is attached, as it says itself; none if it is not.
    pub director_mode: Option<Mode>,
    /// The way of the first request's packets, as captured.
    pub way: Vec<Leg>,
    /// The answers, in the order of the requests.
    pub answers: Vec<Answered>,
    /// What has to hold, and whether it does.
    pub checks: Vec<Check>,
    /// Whether everything holds.
    pub passed: bool,
    /// How to enter and remove what was left running; none if nothing was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kept: Option<Kept>,
    /// How long it took, in milliseconds.
    pub milliseconds: u128,
}

/// The network's hosts.
#[derive(Debug, Clone, Serialize)]
pub struct Network {
    /// The virtual service.
    pub service: String,
    /// The hosts that have an address.
    pub hosts: Vec<HostInfo>,
    /// The namespace of the switch.
    pub switch: String,
}

/// A host.
#[derive(Debug, Clone, Serialize)]
pub struct HostInfo {
    /// Its name.
    pub host: Host,
    /// Its network namespace.
    pub namespace: String,
    /// Its interfaces: name, address, MAC.
    pub interfaces: Vec<Interface>,
    /// Its default gateway.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gateway: Option<String>,
}

/// An interface of a host.
#[derive(Debug, Clone, Serialize)]
pub struct Interface {
    /// Its name.
    pub name: &'static str,
    /// Its address and prefix length.
    pub address: String,
    /// Its MAC address.
    pub mac: String,
}

/// An answer to a request.
#[derive(Debug, Clone, Serialize)]
pub struct Answered {
    /// The client's address and port.
    pub client: String,
    /// HTTP status code.
    pub status: u16,
    /// The body, without its newline.
    pub body: String,
}

/// What to do with a network that was kept.
#[derive(Debug, Clone, Serialize)]
pub struct Kept {
    /// Commands that enter a host, or ask the director.
    pub enter: Vec<String>,
    /// The command that removes everything.
    pub remove: String,
}

impl Network {
    /// The seed's network under a prefix.
    #[must_use]
    pub fn of(prefix: &str) -> Self {
        let interface = |name, address| Interface {
            name,
            address: format!("{address}/{}", seed::PREFIX_LENGTH),
            mac: mac_of(address).to_string(),
        };
        let hosts = Host::ALL.into_iter().filter_map(|host| {
            let own = interface(host.interface(), host.address()?);
            Some(HostInfo {
                host,
                namespace: namespace_name(prefix, host),
                interfaces: match host {
                    Host::Router => vec![interface("eth0", seed::ROUTER_OUTSIDE), own],
                    _ => vec![own],
                },
                gateway: match host {
                    Host::Router => None,
                    Host::Client => Some(seed::ROUTER_OUTSIDE.to_string()),
                    _ => Some(seed::ROUTER_INSIDE.to_string()),
                },
            })
        });
        Self {
            service: format!("tcp:{}", seed::SERVICE),
            hosts: hosts.collect(),
            switch: namespace_name(prefix, Host::Switch),
        }
    }
}

impl Kept {
    /// The commands for a network of that prefix, with `program` as `tunlb`, `socket` as the
    /// director's and `remove` as the one that removes it.
    #[must_use]
    pub fn of(prefix: &str, program: &Path, socket: &Path, remove: String) -> Self {
        let client = namespace_name(prefix, Host::Client);
        Self {
            enter: vec![
                format!("ip netns exec {client} curl http://{}/", seed::VIP),
                format!("nsenter --net={} bash", netns::path(&client).display()),
                format!("{} list --socket {}", program.display(), socket.display()),
            ],
            remove,
        }
    }
}

impl Report {
    /// The first check that failed.
    #[must_use]
    pub fn failure(&self) -> Option<&Check> {
        self.checks.iter().find(|check| !check.passed)
    }

    /// Writes it as one JSON document.
    ///
    /// # Errors
    ///
    /// If it cannot be written.
    pub fn write_json(&self, to: &mut impl io::Write) -> io::Result<()> {
        serde_json::to_writer_pretty(&mut *to, self)?;
        writeln!(to)
    }
}

/// The network as a picture.
const PICTURE: &str = r"
    client  192.168.18.250
      | eth0
      |
      | eth0  192.168.18.254
    router
      | eth1  192.168.19.1
      |
      +---------------------+---------------------+   one layer-2 segment
      | eth0                | eth0                | eth0
    director              rs1                   rs2
    192.168.19.254        192.168.19.2          192.168.19.3
    XDP                   web1 on the VIP       web2 on the VIP

    VIP 192.168.19.100
";

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { topology, director_mode, way, answers, checks, passed, kept, milliseconds } =
            self;
        writeln!(f, "The network\n{PICTURE}")?;
        writeln!(f, "    service {}", topology.service)?;
        if let Some(mode) = director_mode {
            writeln!(f, "    the director's program runs in {mode} XDP mode")?;
        }
        writeln!(f)?;
        writeln!(f, "The way of one request, as captured")?;
        for leg in way {
            writeln!(f, "\n{}\n{}", leg.title, table(leg))?;
        }
        writeln!(f, "\nThe answers\n")?;
        for Answered { client, status, body } in answers {
            writeln!(f, "  GET http://{}/ from {client}: {status} {body}", seed::VIP)?;
        }
        writeln!(f, "\nThe checks\n")?;
        for Check { name, passed, seen } in checks {
            writeln!(f, "  {:<4}  {name}: {seen}", if *passed { "ok" } else { "FAIL" })?;
        }
        if let Some(Kept { enter, remove }) = kept {
            writeln!(
                f,
                "\nIt is left running. To enter the client (or another host), or to ask the director:"
            )?;
            for command in enter {
                writeln!(f, "  {command}")?;
            }
            writeln!(f, "To remove it:\n  {remove}")?;
        }
        let seconds = *milliseconds / 1000;
        let tenths = *milliseconds % 1000 / 100;
        match (passed, kept) {
            (true, None) => writeln!(
                f,
                "\nAll as it should be, in {seconds}.{tenths} s; nothing is left behind."
            ),
            (true, Some(_)) => writeln!(f, "\nAll as it should be, in {seconds}.{tenths} s."),
            (false, _) => writeln!(f, "\nNot as it should be."),
        }
    }
}

fn table(leg: &Leg) -> Table {
    let mut table = Table::new();
    table.load_style(ASCII_MARKDOWN).set_header(["", "source", "destination"]);
    for row in &leg.rows {
        table.add_row([row.layer.to_owned(), cell(&row.source), cell(&row.destination)]);
    }
    table
}

fn cell(end: &End) -> String {
    let End { name, value } = end;
    name.map_or_else(|| value.clone(), |name| format!("{name} ({value})"))
}
