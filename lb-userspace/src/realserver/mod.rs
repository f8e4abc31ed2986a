//! `tunlb realserver`: sets a real server up to receive tunnelled packets, checks it, and undoes it.
//!
//! A real server has to unwrap what the director sends (by the kernel's `tunl0`, or by an XDP program where the kernel has no
//! ipip), accept packets to the VIP without ever answering ARP for it, let them pass the reverse path filter, and ask clients
//! for segments that leave room for the outer header.
//!
//! `up` observes, plans (a pure function), writes down how to undo, and only then changes anything. `down` undoes exactly
//! that.

mod action;
mod args;
mod check;
#[cfg(test)]
mod fake;
mod host;
mod observe;
mod plan;
mod run;
mod setup;
mod state;
mod unwrapper;

use std::{io, net::Ipv4Addr, path::PathBuf};

use serde::{Deserialize, Serialize};

pub use self::{
    action::{Action, Change},
    args::{Args, CheckArgs, Command, DownArgs, UpArgs},
    check::{Finding, Verdict},
    run::{CheckReport, DownReport, UpReport, check, down, run, up},
    unwrapper::{UnwrapError, Unwrapper, Unwrapping},
};
use crate::{netlink::NetlinkError, sysctl::SysctlError};

/// The tunnel device that the kernel's ipip module makes; it takes packets from every sender.
const TUNNEL: &str = "tunl0";
/// The loopback device, which carries the VIPs where there is no tunnel device.
const LOOPBACK: &str = "lo";
/// Where `up` keeps what `down` needs, unless told otherwise: it goes with a reboot, as the set-up does.
const DEFAULT_STATE_DIR: &str = "/run/tunlb/realserver";
/// Bytes that the outer IPv4 header adds to each of the clients' packets.
const TUNNEL_OVERHEAD: u32 = 20;
/// Bytes of an IPv4 and a TCP header without options: what the MSS does not count.
const TCP_IP_HEADERS: u32 = 40;

/// Who unwraps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// The kernel's tunnel device.
    Kernel,
    /// An XDP program on the interface.
    Xdp,
}

impl std::fmt::Display for Mode {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Self::Kernel => "kernel",
            Self::Xdp => "xdp",
        })
    }
}

/// Why a real server could not be set up, checked or undone.
#[derive(Debug, thiserror::Error)]
pub enum RealServerError {
    /// Not root.
    #[error("setting up a real server needs root; run it with sudo")]
    NotRoot,
    /// The interface does not exist.
    #[error("no interface {0}; see `ip link`")]
    NoInterface(String),
    /// No interface was named and none is the obvious one.
    #[error(
        "cannot tell which interface faces the director ({candidates}); name it with --interface"
    )]
    WhichInterface {
        /// What there is.
        candidates: String,
    },
    /// The interface cannot receive tunnelled packets from a network.
    #[error(
        "interface {0} is not an Ethernet interface; name the one that faces the director with --interface"
    )]
    NotEthernet(String),
    /// No VIP was given, and none is known.
    #[error("no VIP given and none set up; name it with --vip")]
    NoVip,
    /// The address cannot be a VIP.
    #[error("{0} cannot be a VIP: it is no address of a single host")]
    InvalidVip(Ipv4Addr),
    /// ARP is always answered for an interface's own addresses.
    #[error(
        "VIP {vip} is an address of {interface} itself, which would answer ARP for it; remove it there: ip addr del {vip}/{prefix} dev {interface}"
    )]
    VipOnInterface {
        /// The VIP.
        vip: Ipv4Addr,
        /// The interface that faces the director.
        interface: String,
        /// The prefix length it has there.
        prefix: u8,
    },
    /// The set-up in force is another one.
    #[error("this host is set up with {was}, not {wanted}; run `tunlb realserver down` first")]
    Differs {
        /// What is set up.
        was: String,
        /// What was asked for.
        wanted: String,
    },
    /// Nothing to undo.
    #[error(
        "nothing to undo: {0} does not exist, so `tunlb realserver up` has not set up anything here"
    )]
    NotSetUp(PathBuf),
    /// Another process is at it.
    #[error("another `tunlb realserver` is at work on {0}; wait for it to end")]
    Busy(PathBuf),
    /// The state was written in another network namespace.
    #[error(
        "{0} belongs to another network namespace; enter that one, or give each its own --state-dir"
    )]
    OtherNamespace(PathBuf),
    /// The state file is damaged or of another version.
    #[error("cannot understand {path}: {reason}; undo by hand, then delete it")]
    BadState {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// The state file could not be read or written.
    #[error("cannot {operation} {path}")]
    State {
        /// What was attempted.
        operation: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// A change failed; those before it were undone.
    #[error("cannot {change}; everything before it was undone{}", trouble(.not_undone))]
    Failed {
        /// The change.
        change: String,
        /// Why.
        #[source]
        source: Box<RealServerError>,
        /// What could not be undone either, with its reason.
        not_undone: Vec<String>,
    },
    /// Something could not be undone; it stays in the state file, so that `down` can be repeated.
    #[error("could not undo everything, run `tunlb realserver down` again once it is mended: {}", .0.join("; "))]
    NotUndone(Vec<String>),
    /// The route whose MSS is to be set has gone.
    #[error("the route {0} is gone")]
    RouteGone(String),
    /// The kernel has ipip, but its `tunl0` is not made in this namespace.
    #[error(
        "ipip makes no {TUNNEL} in this network namespace (sysctl net.core.fb_tunnels_only_for_init_net is set); use --xdp"
    )]
    NoTunnelHere,
    /// Netlink refused.
    #[error(transparent)]
    Netlink(#[from] NetlinkError),
    /// A sysctl refused.
    #[error(transparent)]
    Sysctl(#[from] SysctlError),
    /// The XDP program could not be attached, read or detached.
    #[error("the unwrapping XDP program on {interface}: {source}")]
    Unwrapper {
        /// The interface.
        interface: String,
        /// Why.
        source: UnwrapError,
    },
    /// The output could not be written.
    #[error("cannot write the output")]
    Output(#[source] io::Error),
}

fn trouble(not_undone: &[String]) -> String {
    if not_undone.is_empty() {
        String::new()
    } else {
        format!(", except: {}", not_undone.join("; "))
    }
}
