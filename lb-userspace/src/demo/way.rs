//! The way of the packets of one request, read from captured frames: what they show, and whether it
//! is right.

use std::net::{Ipv4Addr, SocketAddr};

use serde::Serialize;

use super::seed::{self, Host, mac_of};
use crate::capture::{Ethernet, Frame, Ip, Mac, Ports};

/// The length of an IPv4 header without options, in bytes: what IP-in-IP adds.
const OUTER_LENGTH: u16 = 20;

/// A frame that was seen on the link of a host.
#[derive(Debug, Clone)]
pub struct Sight {
    /// The host whose link it was.
    pub host: Host,
    /// Whether the host sent it; else it was sent to the host.
    pub sent: bool,
    /// The frame.
    pub frame: Frame,
}

/// What was found about one thing that has to hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    /// What has to hold.
    pub name: &'static str,
    /// Whether it does.
    pub passed: bool,
    /// What was seen.
    pub seen: String,
}

impl Check {
    /// A check from what is wrong; nothing wrong is passed.
    #[must_use]
    pub fn from_faults(name: &'static str, faults: &[String], right: String) -> Self {
        Self {
            name,
            passed: faults.is_empty(),
            seen: faults.first().map_or(right, |first| match faults.len() {
                1 => first.clone(),
                more => format!("{first} (and {} more)", more - 1),
            }),
        }
    }
}

/// One end of a row: an address, and whose it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct End {
    /// The host's name, as the seed has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<&'static str>,
    /// The address or port.
    pub value: String,
}

/// A row of a table: one layer's source and destination.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Row {
    /// The layer.
    pub layer: &'static str,
    /// The source.
    pub source: End,
    /// The destination.
    pub destination: End,
}

/// A table: a packet on one part of its way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Leg {
    /// From where to where.
    pub title: String,
    /// Its layers, outermost first.
    pub rows: Vec<Row>,
}

/// The frames of the connection from `client` to the service, in the order in which they were seen.
#[derive(Debug)]
pub struct Way<'a> {
    client: SocketAddr,
    /// From the client, on its own link.
    asked: Vec<&'a Sight>,
    /// The same packets as they reach the director.
    arrived: Vec<&'a Sight>,
    /// What the director sent with them inside.
    tunnelled: Vec<&'a Sight>,
    /// The answers as they leave a real server.
    answered: Vec<&'a Sight>,
    /// The same answers as they reach the client.
    received: Vec<&'a Sight>,
    /// Anything from the service's address on the director's link.
    strayed: Vec<&'a Sight>,
}

impl<'a> Way<'a> {
    /// Picks the frames of one connection out of all that were seen.
    #[must_use]
    pub fn of(client: SocketAddr, sights: &'a [Sight]) -> Self {
        let pick = |wanted: &dyn Fn(&Sight, &Ip) -> bool| {
            sights
                .iter()
                .filter(|sight| sight.frame.ip().is_some_and(|ip| wanted(sight, ip)))
                .collect::<Vec<_>>()
        };
        let request = |ip: &Ip| is_request(ip, client);
        let answer = |ip: &Ip| is_answer(ip, client);
        Self {
            client,
            asked: pick(&|sight, ip| sight.host == Host::Client && sight.sent && request(ip)),
            arrived: pick(&|sight, ip| sight.host == Host::Director && !sight.sent && request(ip)),
            tunnelled: pick(&|sight, ip| {
                sight.host == Host::Director
                    && sight.sent
                    && (request(ip) || ip.inner.as_deref().is_some_and(request))
            }),
            answered: pick(&|sight, ip| {
                Host::REAL_SERVERS.contains(&sight.host) && sight.sent && answer(ip)
            }),
            received: pick(&|sight, ip| sight.host == Host::Client && !sight.sent && answer(ip)),
            strayed: pick(&|sight, ip| {
                sight.host == Host::Director
                    && (answer(ip) || ip.inner.as_deref().is_some_and(answer))
            }),
        }
    }

    /// The real server that the director's first packet went to.
    #[must_use]
    pub fn real_server(&self) -> Option<Host> {
        let first = self.tunnelled.first()?;
        Host::real_server_at(first.frame.ip()?.destination)
    }

    /// The seed's three tables, from the first packet each way; a part that was not seen is left
    /// out.
    #[must_use]
    pub fn legs(&self) -> Vec<Leg> {
        let real_server = self.real_server().map_or("real server", Host::name);
        let mut legs = Vec::new();
        if let (Some(asked), Some(arrived)) = (self.asked.first(), self.arrived.first()) {
            let mut rows = vec![
                mac_row("MAC, client's link", asked.frame.ethernet),
                mac_row("MAC, director's link", arrived.frame.ethernet),
            ];
            rows.extend(arrived.frame.ip().into_iter().flat_map(|ip| packet_rows("IP", ip)));
            legs.push(Leg { title: "client -> director".to_owned(), rows });
        }
        if let Some(tunnelled) = self.tunnelled.first() {
            let mut rows = vec![mac_row("MAC", tunnelled.frame.ethernet)];
            if let Some(outer) = tunnelled.frame.ip() {
                rows.extend(packet_rows("outer IP", outer));
                rows.extend(outer.inner.iter().flat_map(|inner| packet_rows("inner IP", inner)));
            }
            legs.push(Leg { title: format!("director -> {real_server} (IP in IP)"), rows });
        }
        if let (Some(answered), Some(received)) = (self.answered.first(), self.received.first()) {
            let mut rows = vec![
                mac_row("MAC, server's link", answered.frame.ethernet),
                mac_row("MAC, client's link", received.frame.ethernet),
            ];
            rows.extend(received.frame.ip().into_iter().flat_map(|ip| packet_rows("IP", ip)));
            legs.push(Leg {
                title: format!("{real_server} -> client (not through the director)"),
                rows,
            });
        }
        legs
    }

    /// What is wrong with how the director passed the packets on: each exactly once, in order, in a
    /// right outer header.
    #[must_use]
    pub fn tunnel_faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        if self.arrived.is_empty() {
            faults.push(format!("no packet of {} reached the director", self.client));
        }
        if self.arrived.len() != self.tunnelled.len() {
            faults.push(format!(
                "{} packets of {} reached the director and {} left it",
                self.arrived.len(),
                self.client,
                self.tunnelled.len()
            ));
        }
        let real_server = self.real_server();
        for (arrived, tunnelled) in self.arrived.iter().zip(&self.tunnelled) {
            if let (Some(before), Some(after)) = (arrived.frame.ip(), tunnelled.frame.ip()) {
                faults.extend(encapsulation_faults(before, tunnelled.frame.ethernet, after));
                if Host::real_server_at(after.destination) != real_server {
                    faults.push(format!(
                        "{} moved to {} within the connection",
                        self.client, after.destination
                    ));
                }
            }
        }
        faults
    }

    /// What is wrong with how the answers went: from the chosen real server, to the client, past
    /// the director.
    #[must_use]
    pub fn answer_faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        if !self.strayed.is_empty() {
            faults.push(format!(
                "{} packets from {} to {} crossed the director's link",
                self.strayed.len(),
                seed::SERVICE,
                self.client
            ));
        }
        if self.answered.is_empty() || self.answered.len() != self.received.len() {
            faults.push(format!(
                "real servers sent {} packets to {} and {} arrived",
                self.answered.len(),
                self.client,
                self.received.len()
            ));
        }
        if let Some(other) =
            self.answered.iter().find(|sight| Some(sight.host) != self.real_server())
        {
            faults.push(format!("{} answered for another real server", other.host));
        }
        faults
    }

    /// How many packets the director passed on, and how many came back to the client.
    #[must_use]
    pub fn counts(&self) -> (usize, usize) {
        (self.tunnelled.len(), self.received.len())
    }
}

/// What is wrong with an encapsulated packet, given what it was before. The rules are those of
/// IPVS's Tunnel mode.
fn encapsulation_faults(before: &Ip, ethernet: Ethernet, outer: &Ip) -> Vec<String> {
    let mut faults = Vec::new();
    let mut expect = |what: &str, right: bool, seen: &dyn std::fmt::Debug| {
        if !right {
            faults.push(format!("{what} is {seen:?}"));
        }
    };
    expect("the outer protocol", outer.is_ipip(), &outer.protocol);
    let Some(inner) = outer.inner.as_deref() else {
        return faults;
    };
    let server = Host::real_server_at(outer.destination);
    expect("the outer source", outer.source == seed::DIRECTOR, &outer.source);
    expect("the outer destination", server.is_some(), &outer.destination);
    expect(
        "the destination MAC",
        ethernet.destination == mac_of(outer.destination),
        &ethernet.destination,
    );
    expect("the source MAC", ethernet.source == mac_of(seed::DIRECTOR), &ethernet.source);
    expect("the outer header length", outer.header_length == OUTER_LENGTH, &outer.header_length);
    expect(
        "the outer total length",
        outer.total_length == before.total_length + OUTER_LENGTH,
        &outer.total_length,
    );
    expect("the outer checksum", outer.checksum_valid, &"wrong");
    expect("the inner checksum", inner.checksum_valid, &"wrong");
    // The director is a hop: it takes one off, and the outer header starts with what is left.
    expect("the inner TTL", inner.ttl == before.ttl - 1, &inner.ttl);
    expect("the outer TTL", outer.ttl == inner.ttl, &outer.ttl);
    expect("the outer TOS", outer.tos == outer_tos(before.tos), &outer.tos);
    expect("the outer DF bit", outer.dont_fragment == before.dont_fragment, &outer.dont_fragment);
    let unchanged = (inner.source, inner.destination, inner.protocol, inner.tos)
        == (before.source, before.destination, before.protocol, before.tos);
    expect("the inner header", unchanged, inner);
    expect("the inner packet's content", inner.body == before.body, &"changed");
    faults
}

/// The outer header's TOS: DSCP and ECN copied, but "congestion experienced" (3) becomes ECT(0)
/// (2).
const fn outer_tos(inner: u8) -> u8 {
    if inner & 3 == 3 { inner & !1 } else { inner }
}

fn is_request(ip: &Ip, client: SocketAddr) -> bool {
    goes(ip, client, SocketAddr::V4(seed::SERVICE))
}

fn is_answer(ip: &Ip, client: SocketAddr) -> bool {
    goes(ip, SocketAddr::V4(seed::SERVICE), client)
}

fn goes(ip: &Ip, from: SocketAddr, to: SocketAddr) -> bool {
    ip.is_tcp()
        && from.ip() == ip.source
        && to.ip() == ip.destination
        && ip.ports == Some(Ports { source: from.port(), destination: to.port() })
}

fn mac_row(layer: &'static str, ethernet: Ethernet) -> Row {
    let end = |mac: Mac| End { name: Host::with_mac(mac).map(seed_name), value: mac.to_string() };
    Row { layer, source: end(ethernet.source), destination: end(ethernet.destination) }
}

fn packet_rows(layer: &'static str, ip: &Ip) -> Vec<Row> {
    let address = |address: Ipv4Addr| End { name: None, value: address.to_string() };
    let port = |port: u16| End { name: None, value: port.to_string() };
    let mut rows =
        vec![Row { layer, source: address(ip.source), destination: address(ip.destination) }];
    rows.extend(ip.ports.map(|ports| Row {
        layer: "PORT",
        source: port(ports.source),
        destination: port(ports.destination),
    }));
    rows
}

/// The name that the seed's tables have for a host.
const fn seed_name(host: Host) -> &'static str {
    match host {
        Host::Director => "lvs",
        other => other.name(),
    }
}

#[cfg(test)]
mod tests;
