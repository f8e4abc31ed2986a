//! The hosts and addresses of the network that the demo builds.

use std::{
    fmt,
    net::{Ipv4Addr, SocketAddrV4},
};

use serde::Serialize;

use crate::capture::Mac;

/// The virtual service's address.
pub const VIP: Ipv4Addr = Ipv4Addr::new(192, 168, 19, 100);
/// The virtual service that the web servers stand behind.
pub const SERVICE: SocketAddrV4 = SocketAddrV4::new(VIP, 80);
/// The client's address.
pub const CLIENT: Ipv4Addr = Ipv4Addr::new(192, 168, 18, 250);
/// The router on the client's side: the client's gateway.
pub const ROUTER_OUTSIDE: Ipv4Addr = Ipv4Addr::new(192, 168, 18, 254);
/// The router on the servers' side: everyone else's gateway.
pub const ROUTER_INSIDE: Ipv4Addr = Ipv4Addr::new(192, 168, 19, 1);
/// The director's address.
pub const DIRECTOR: Ipv4Addr = Ipv4Addr::new(192, 168, 19, 254);
/// The first real server's address.
pub const RS1: Ipv4Addr = Ipv4Addr::new(192, 168, 19, 2);
/// The second real server's address.
pub const RS2: Ipv4Addr = Ipv4Addr::new(192, 168, 19, 3);
/// Both networks are /24.
pub const PREFIX_LENGTH: u8 = 24;

/// A host of the network, with a namespace of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Host {
    /// Asks.
    Client,
    /// Forwards between the client's network and the servers'.
    Router,
    /// Runs the load balancer.
    Director,
    /// The first real server.
    Rs1,
    /// The second real server.
    Rs2,
    /// The bridge that makes router, director and real servers one layer-2 segment.
    Switch,
}

impl Host {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Client, Self::Router, Self::Director, Self::Rs1, Self::Rs2, Self::Switch];

    /// The real servers.
    pub const REAL_SERVERS: [Self; 2] = [Self::Rs1, Self::Rs2];

    /// Those with a port on the switch.
    pub const ON_SWITCH: [Self; 4] = [Self::Router, Self::Director, Self::Rs1, Self::Rs2];

    /// What its namespace's name ends with, and its switch port is called.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Router => "router",
            Self::Director => "director",
            Self::Rs1 => "rs1",
            Self::Rs2 => "rs2",
            Self::Switch => "switch",
        }
    }

    /// The interface towards the servers' segment; the client's only one.
    #[must_use]
    pub const fn interface(self) -> &'static str {
        match self {
            Self::Router => "eth1",
            Self::Client | Self::Director | Self::Rs1 | Self::Rs2 => "eth0",
            Self::Switch => "br0",
        }
    }

    /// The address on [`Host::interface`]; none of the switch, which has none.
    #[must_use]
    pub const fn address(self) -> Option<Ipv4Addr> {
        match self {
            Self::Client => Some(CLIENT),
            Self::Router => Some(ROUTER_INSIDE),
            Self::Director => Some(DIRECTOR),
            Self::Rs1 => Some(RS1),
            Self::Rs2 => Some(RS2),
            Self::Switch => None,
        }
    }

    /// What a real server's web server answers.
    #[must_use]
    pub const fn answer(self) -> Option<&'static str> {
        match self {
            Self::Rs1 => Some("web1"),
            Self::Rs2 => Some("web2"),
            Self::Client | Self::Router | Self::Director | Self::Switch => None,
        }
    }

    /// The real server at `address`.
    #[must_use]
    pub fn real_server_at(address: Ipv4Addr) -> Option<Self> {
        Self::REAL_SERVERS.into_iter().find(|host| host.address() == Some(address))
    }

    /// The host that owns a MAC address.
    #[must_use]
    pub fn with_mac(mac: Mac) -> Option<Self> {
        if mac == mac_of(ROUTER_OUTSIDE) {
            return Some(Self::Router);
        }
        Self::ALL
            .into_iter()
            .find(|host| host.address().is_some_and(|address| mac_of(address) == mac))
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// The MAC address of the interface that has `address`: locally administered, and the address
/// readable in it.
#[must_use]
pub const fn mac_of(address: Ipv4Addr) -> Mac {
    let [a, b, c, d] = address.octets();
    Mac([2, 0, a, b, c, d])
}
