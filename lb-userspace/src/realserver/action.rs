//! What can be done to a host, and undone: plain data, so that it can be shown, written down and compared.

use std::{collections::BTreeSet, fmt, net::Ipv4Addr};

use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};

use super::{TUNNEL, observe::RouteKey};

/// One thing done to the host, or undone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "action", rename_all = "snake_case")]
#[expect(missing_docs, reason = "the fields say what they are")]
pub enum Action {
    /// Make the tunnel device (the kernel loads its module).
    CreateTunnel,
    /// Give the tunnel device up. The kernel keeps the one that its module made.
    DeleteTunnel,
    /// Set an interface up or down.
    SetUp { interface: String, up: bool },
    /// Give an interface an address.
    AddAddress { interface: String, address: Ipv4Net },
    /// Take an address from an interface.
    DeleteAddress { interface: String, address: Ipv4Net },
    /// Set a sysctl.
    SetSysctl { key: String, value: String },
    /// Set or clear the MSS that a route advertises.
    #[serde(rename = "set_advmss")]
    SetAdvMss(RouteMss),
    /// Attach the unwrapping program, or change its VIPs.
    Attach { interface: String, vips: BTreeSet<Ipv4Addr>, generic: bool },
    /// Detach the unwrapping program.
    Detach { interface: String },
}

/// The MSS of one route.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteMss {
    pub(super) route: RouteKey,
    pub(super) advmss: Option<u32>,
}

impl Action {
    /// What it acts on: of several actions on the same thing, the first one's undoing restores what there was.
    pub(super) fn subject(&self) -> String {
        match self {
            Self::CreateTunnel | Self::DeleteTunnel => "tunnel".to_owned(),
            Self::SetUp { interface, .. } => format!("up {interface}"),
            Self::AddAddress { interface, address }
            | Self::DeleteAddress { interface, address } => {
                format!("address {interface} {address}")
            }
            Self::SetSysctl { key, .. } => format!("sysctl {key}"),
            Self::SetAdvMss(mss) => format!("advmss {}:{}", mss.route, mss.route.metric),
            Self::Attach { interface, .. } | Self::Detach { interface } => {
                format!("program {interface}")
            }
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CreateTunnel => write!(formatter, "create {TUNNEL} (loads the ipip module)"),
            Self::DeleteTunnel => {
                write!(formatter, "give {TUNNEL} up (the kernel keeps it while ipip is loaded)")
            }
            Self::SetUp { interface, up } => {
                write!(formatter, "set {interface} {}", if *up { "up" } else { "down" })
            }
            Self::AddAddress { interface, address } => {
                write!(formatter, "add address {address} to {interface}")
            }
            Self::DeleteAddress { interface, address } => {
                write!(formatter, "delete address {address} from {interface}")
            }
            Self::SetSysctl { key, value } => write!(formatter, "set sysctl {key} to {value}"),
            Self::SetAdvMss(RouteMss { route, advmss: Some(advmss) }) => {
                write!(formatter, "set advmss of route {route} to {advmss}")
            }
            Self::SetAdvMss(RouteMss { route, advmss: None }) => {
                write!(formatter, "clear advmss of route {route}")
            }
            Self::Attach { interface, vips, generic } => {
                let vips: Vec<String> = vips.iter().map(Ipv4Addr::to_string).collect();
                let mode = if *generic { "generic" } else { "native" };
                write!(
                    formatter,
                    "attach the unwrapping XDP program ({mode}) to {interface} for {}",
                    vips.join(", ")
                )
            }
            Self::Detach { interface } => {
                write!(formatter, "detach the unwrapping XDP program from {interface}")
            }
        }
    }
}

/// An action and what takes it back to what there is now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Change {
    /// What to do.
    pub action: Action,
    /// What to do to have it as it was.
    pub undo: Action,
    /// Why.
    pub why: &'static str,
}
