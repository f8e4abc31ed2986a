//! What the host is like now, as far as a real server's set-up is concerned.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv4Addr},
};

use ipnet::{IpNet, Ipv4Net};
use serde::{Deserialize, Serialize};

use super::{RealServerError, TUNNEL, Unwrapper, Unwrapping};
use crate::{
    netlink::{Link, LinkKind, Netlink, Route, RouteKind, RouteTo, TABLE_MAIN},
    sysctl::{SysctlError, Sysctls},
};

/// The sysctls of `net/ipv4/conf/INTERFACE/` that matter.
const CONF: [&str; 3] = ["arp_ignore", "arp_announce", "rp_filter"];

/// The key of a sysctl of an interface (or of `all` or `default`).
pub(super) fn conf(interface: &str, name: &str) -> String {
    format!("net/ipv4/conf/{interface}/{name}")
}

/// What tells one route of the main table from another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct RouteKey {
    pub(super) destination: IpNet,
    pub(super) metric: u32,
    pub(super) gateway: Option<IpAddr>,
    pub(super) interface: String,
}

impl std::fmt::Display for RouteKey {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.destination.prefix_len() == 0 {
            formatter.write_str("default")?;
        } else {
            write!(formatter, "{}", self.destination)?;
        }
        if let Some(gateway) = self.gateway {
            write!(formatter, " via {gateway}")?;
        }
        write!(formatter, " dev {}", self.interface)
    }
}

/// A unicast IPv4 route of the main table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ObservedRoute {
    pub(super) key: RouteKey,
    pub(super) mtu: Option<u32>,
    pub(super) advmss: Option<u32>,
}

/// The state of the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Observed {
    /// The interface that faces the director.
    pub(super) interface: String,
    pub(super) interface_up: bool,
    pub(super) mtu: u32,
    /// Whether `tunl0` is up; none if it does not exist.
    pub(super) tunnel_up: Option<bool>,
    pub(super) loopback_up: bool,
    /// IPv4 addresses, by the name of their interface.
    pub(super) addresses: BTreeSet<(String, Ipv4Net)>,
    pub(super) sysctls: BTreeMap<String, String>,
    pub(super) routes: Vec<ObservedRoute>,
    /// Destinations of routes with several next hops, whose MSS is not touched.
    pub(super) multipath: Vec<IpNet>,
    /// What the XDP program on the interface does, if it is attached.
    pub(super) program: Option<Unwrapping>,
    /// Which of the VIPs asked about the kernel would take for its own.
    pub(super) local: BTreeSet<Ipv4Addr>,
    /// Other interfaces that are up and answer ARP.
    pub(super) others: Vec<String>,
}

impl Observed {
    /// A sysctl's number for an interface. One that does not exist yet will be made from `default`.
    pub(super) fn number(&self, interface: &str, name: &str) -> i64 {
        self.sysctls
            .get(&conf(interface, name))
            .or_else(|| self.sysctls.get(&conf("default", name)))
            .and_then(|value| value.parse().ok())
            .unwrap_or(0)
    }

    /// What the kernel acts on: the larger of `all` and the interface (`IN_DEV_MAXCONF` of the kernel's inetdevice.h).
    pub(super) fn effective(&self, interface: &str, name: &str) -> i64 {
        self.number("all", name).max(self.number(interface, name))
    }

    /// The interfaces that have this address, with its prefix length there.
    pub(super) fn holders(&self, vip: Ipv4Addr) -> impl Iterator<Item = (&str, u8)> {
        self.addresses
            .iter()
            .filter(move |(_, network)| network.addr() == vip)
            .map(|(interface, network)| (interface.as_str(), network.prefix_len()))
    }
}

/// The interface that faces the director: the one named, else that of the default route, else the only one there is.
pub(super) async fn choose_interface(
    netlink: &Netlink,
    named: Option<&str>,
) -> Result<String, RealServerError> {
    let links = netlink.links().await?;
    if let Some(name) = named {
        return match links.iter().find(|link| link.name == name) {
            None => Err(RealServerError::NoInterface(name.to_owned())),
            Some(link) if !link.ethernet => Err(RealServerError::NotEthernet(name.to_owned())),
            Some(link) => Ok(link.name.clone()),
        };
    }
    let routes = netlink.routes_v4().await?;
    let defaults: BTreeSet<u32> = routes
        .iter()
        .filter(|route| is_plain(route) && route.is_default())
        .filter_map(|route| route.link)
        .collect();
    let usable = |link: &&Link| link.ethernet && link.up;
    let mut candidates: Vec<&Link> =
        links.iter().filter(|link| defaults.contains(&link.index)).filter(usable).collect();
    if candidates.is_empty() {
        candidates = links.iter().filter(usable).collect();
    }
    match candidates.as_slice() {
        [only] => Ok(only.name.clone()),
        several => Err(RealServerError::WhichInterface {
            candidates: if several.is_empty() {
                "there is none that is up".to_owned()
            } else {
                several.iter().map(|link| link.name.as_str()).collect::<Vec<_>>().join(", ")
            },
        }),
    }
}

/// Looks at the host.
pub(super) async fn observe(
    netlink: &Netlink,
    sysctls: &dyn Sysctls,
    unwrapper: &dyn Unwrapper,
    interface: &str,
    vips: &BTreeSet<Ipv4Addr>,
) -> Result<Observed, RealServerError> {
    let links = netlink.links().await?;
    let lan = links
        .iter()
        .find(|link| link.name == interface)
        .ok_or_else(|| RealServerError::NoInterface(interface.to_owned()))?;
    let names: BTreeMap<u32, &str> =
        links.iter().map(|link| (link.index, link.name.as_str())).collect();
    let program = unwrapper
        .status(interface)
        .map_err(|source| RealServerError::Unwrapper { interface: interface.to_owned(), source })?;
    let (routes, multipath) = observe_routes(netlink, &names).await?;
    Ok(Observed {
        interface: interface.to_owned(),
        interface_up: lan.up,
        mtu: lan.mtu,
        tunnel_up: links.iter().find(|link| link.name == TUNNEL).map(|link| link.admin_up),
        loopback_up: links.iter().any(|link| link.kind == LinkKind::Loopback && link.admin_up),
        addresses: observe_addresses(netlink, &names).await?,
        sysctls: observe_sysctls(sysctls, interface)?,
        routes,
        multipath,
        program,
        local: locals(netlink, vips).await?,
        others: links
            .iter()
            // A port of a bridge answers nothing itself.
            .filter(|link| link.ethernet && link.up && link.parent.is_none())
            .filter(|link| link.name != interface)
            .map(|link| link.name.clone())
            .collect(),
    })
}

async fn observe_addresses(
    netlink: &Netlink,
    names: &BTreeMap<u32, &str>,
) -> Result<BTreeSet<(String, Ipv4Net)>, RealServerError> {
    let addresses = netlink.addresses(None).await?;
    Ok(addresses
        .into_iter()
        .filter_map(|address| match (names.get(&address.link), address.network) {
            (Some(name), IpNet::V4(network)) => Some(((*name).to_owned(), network)),
            _ => None,
        })
        .collect())
}

fn observe_sysctls(
    sysctls: &dyn Sysctls,
    interface: &str,
) -> Result<BTreeMap<String, String>, RealServerError> {
    let mut values = BTreeMap::new();
    for place in ["all", "default", interface, TUNNEL] {
        for name in CONF {
            let key = conf(place, name);
            match sysctls.read(&key) {
                Ok(value) => {
                    values.insert(key, value);
                }
                // tunl0 need not exist.
                Err(SysctlError::Missing { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
    Ok(values)
}

async fn observe_routes(
    netlink: &Netlink,
    names: &BTreeMap<u32, &str>,
) -> Result<(Vec<ObservedRoute>, Vec<IpNet>), RealServerError> {
    let mut routes = Vec::new();
    let mut multipath = Vec::new();
    for route in netlink.routes_v4().await? {
        if !is_plain(&route) {
            continue;
        }
        match key_of(&route, names) {
            Some(key) => {
                routes.push(ObservedRoute { key, mtu: route.mtu, advmss: route.advmss });
            }
            None => multipath.push(route.destination),
        }
    }
    Ok((routes, multipath))
}

/// An ordinary route of the main table.
pub(super) fn is_plain(route: &Route) -> bool {
    route.table == TABLE_MAIN && route.kind == RouteKind::Unicast
}

/// The key of a route with one next hop.
pub(super) fn key_of(route: &Route, names: &BTreeMap<u32, &str>) -> Option<RouteKey> {
    Some(RouteKey {
        destination: route.destination,
        metric: route.metric,
        gateway: route.gateway,
        interface: (*names.get(&route.link?)?).to_owned(),
    })
}

async fn locals(
    netlink: &Netlink,
    vips: &BTreeSet<Ipv4Addr>,
) -> Result<BTreeSet<Ipv4Addr>, RealServerError> {
    let mut local = BTreeSet::new();
    for &vip in vips {
        if netlink.route_to(IpAddr::V4(vip)).await? == RouteTo::Local {
            local.insert(vip);
        }
    }
    Ok(local)
}
