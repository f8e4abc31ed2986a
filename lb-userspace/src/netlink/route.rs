//! Routes: list, add, replace, delete, and ask which way the kernel would send a packet.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use nix::errno::Errno;
use rtnetlink::{
    packet_core::{NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE},
    packet_route::{
        AddressFamily, RouteNetlinkMessage,
        route::{
            RouteAddress, RouteAttribute, RouteFlags, RouteHeader, RouteMessage, RouteMetric,
            RouteProtocol, RouteScope, RouteType, RouteVia,
        },
    },
};

use super::{About, Netlink, NetlinkError, address_bits, family_of};

/// The table that ordinary routes are in.
pub const TABLE_MAIN: u32 = 254;
/// The table that the kernel keeps the host's own addresses in.
pub const TABLE_LOCAL: u32 = 255;

/// What a route does with a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RouteKind {
    /// Sends it on.
    Unicast,
    /// Delivers it to this host.
    Local,
    /// Drops it silently.
    Blackhole,
    /// Answers that the host is unreachable.
    Unreachable,
    /// Answers that it is forbidden.
    Prohibit,
    /// Anything else, by the kernel's number (`RTN_*`).
    Other(u8),
}

/// A route of a table.
///
/// What a route carries beyond the public fields (several next hops, encapsulation, other metrics) is kept, so that a route
/// that was listed can be changed and put back whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// Where it leads.
    pub destination: IpNet,
    /// The table it is in.
    pub table: u32,
    /// Its metric (priority): the lowest is taken first.
    pub metric: u32,
    /// Index of the link it goes out by; none for a route with several next hops.
    pub link: Option<u32>,
    /// The next router; none if the destination is on the link.
    pub gateway: Option<IpAddr>,
    /// The source address that it prefers.
    pub source: Option<IpAddr>,
    /// What it does.
    pub kind: RouteKind,
    /// Its MTU in bytes, if it sets one.
    pub mtu: Option<u32>,
    /// The TCP segment size in bytes to advertise, if it sets one.
    pub advmss: Option<u32>,
    scope: RouteScope,
    protocol: RouteProtocol,
    tos: u8,
    onlink: bool,
    other_metrics: Vec<RouteMetric>,
    other_attributes: Vec<RouteAttribute>,
}

impl Route {
    /// A unicast route of the main table to `destination` over the link of index `link`.
    pub fn new(destination: IpNet, link: u32) -> Self {
        Self {
            destination: destination.trunc(),
            table: TABLE_MAIN,
            metric: 0,
            link: Some(link),
            gateway: None,
            source: None,
            kind: RouteKind::Unicast,
            mtu: None,
            advmss: None,
            scope: RouteScope::Link,
            protocol: RouteProtocol::Static,
            tos: 0,
            onlink: false,
            other_metrics: Vec::new(),
            other_attributes: Vec::new(),
        }
    }

    /// The same route through a router.
    #[must_use]
    pub fn via(mut self, gateway: IpAddr) -> Self {
        self.gateway = Some(gateway);
        self.scope = RouteScope::Universe;
        self
    }

    /// A route of the main table that does not send packets on.
    pub fn rejecting(destination: IpNet, kind: RouteKind) -> Self {
        let mut route = Self::new(destination, 0);
        route.link = None;
        route.kind = kind;
        route.scope = RouteScope::Universe;
        route
    }

    /// The default route of a family is the one to everywhere.
    pub fn is_default(&self) -> bool {
        self.destination.prefix_len() == 0
    }

    fn object(&self) -> String {
        let mut name = self.destination.to_string();
        if let Some(gateway) = self.gateway {
            name += &format!(" via {gateway}");
        }
        if let Some(link) = self.link {
            name += &format!(" over link number {link}");
        }
        name
    }

    pub(super) fn from_message(message: RouteMessage) -> Option<Self> {
        let RouteHeader {
            address_family,
            destination_prefix_length,
            source_prefix_length: _,
            tos,
            table,
            protocol,
            scope,
            kind,
            flags,
        } = message.header;
        let unspecified = match address_family {
            AddressFamily::Inet => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            AddressFamily::Inet6 => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
            _ => return None,
        };
        let mut route = Self::new(IpNet::new(unspecified, destination_prefix_length).ok()?, 0);
        route.link = None;
        route.table = u32::from(table);
        route.kind = kind.into();
        route.scope = scope;
        route.protocol = protocol;
        route.tos = tos;
        route.onlink = flags.contains(RouteFlags::Onlink);
        for attribute in message.attributes {
            match attribute {
                RouteAttribute::Destination(address) => {
                    let address = plain(&address)?;
                    route.destination = IpNet::new(address, destination_prefix_length).ok()?;
                }
                RouteAttribute::Table(table) => route.table = table,
                RouteAttribute::Priority(metric) => route.metric = metric,
                RouteAttribute::Oif(link) => route.link = Some(link),
                RouteAttribute::Gateway(address) => route.gateway = plain(&address),
                RouteAttribute::Via(via) => route.gateway = plain_via(&via),
                RouteAttribute::PrefSource(address) => route.source = plain(&address),
                RouteAttribute::Metrics(metrics) => route.take_metrics(metrics),
                // What the kernel reports about use and age is no part of the route.
                RouteAttribute::CacheInfo(_) | RouteAttribute::MfcStats(_) => {}
                other => route.other_attributes.push(other),
            }
        }
        Some(route)
    }

    fn take_metrics(&mut self, metrics: Vec<RouteMetric>) {
        for metric in metrics {
            match metric {
                RouteMetric::Mtu(mtu) => self.mtu = Some(mtu),
                RouteMetric::Advmss(advmss) => self.advmss = Some(advmss),
                other => self.other_metrics.push(other),
            }
        }
    }

    fn to_message(&self) -> RouteMessage {
        let mut message = RouteMessage::default();
        message.header = RouteHeader {
            address_family: family_of(self.destination.addr()),
            destination_prefix_length: self.destination.prefix_len(),
            source_prefix_length: 0,
            tos: self.tos,
            // Tables above 255 only fit into the attribute.
            table: u8::try_from(self.table).unwrap_or(RouteHeader::RT_TABLE_UNSPEC),
            protocol: self.protocol,
            scope: self.scope,
            kind: self.kind.into(),
            flags: if self.onlink { RouteFlags::Onlink } else { RouteFlags::empty() },
        };
        let attributes = &mut message.attributes;
        if self.destination.prefix_len() > 0 {
            attributes.push(RouteAttribute::Destination(self.destination.addr().into()));
        }
        attributes.push(RouteAttribute::Table(self.table));
        if self.metric != 0 {
            attributes.push(RouteAttribute::Priority(self.metric));
        }
        if let Some(link) = self.link {
            attributes.push(RouteAttribute::Oif(link));
        }
        match self.gateway {
            // An IPv4 route through an IPv6 router has an attribute of its own.
            Some(IpAddr::V6(gateway)) if self.destination.addr().is_ipv4() => {
                attributes.push(RouteAttribute::Via(RouteVia::Inet6(gateway)));
            }
            Some(gateway) => attributes.push(RouteAttribute::Gateway(gateway.into())),
            None => {}
        }
        if let Some(source) = self.source {
            attributes.push(RouteAttribute::PrefSource(source.into()));
        }
        let mut metrics = self.other_metrics.clone();
        metrics.extend(self.mtu.map(RouteMetric::Mtu));
        metrics.extend(self.advmss.map(RouteMetric::Advmss));
        if !metrics.is_empty() {
            attributes.push(RouteAttribute::Metrics(metrics));
        }
        attributes.extend(self.other_attributes.iter().cloned());
        message
    }
}

/// The way of a packet, as the kernel would send it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Path {
    /// Index of the link it goes out by.
    pub link: u32,
    /// The next router; none if the destination is on the link.
    pub gateway: Option<IpAddr>,
    /// The source address that the kernel would give it.
    pub source: Option<IpAddr>,
    /// The MTU in bytes that the route sets or that the kernel has learned for this destination.
    pub mtu: Option<u32>,
}

/// Why a packet would not be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rejection {
    /// No route leads there.
    NoRoute,
    /// A route says unreachable.
    Unreachable,
    /// A route says prohibited.
    Prohibited,
    /// A route drops silently.
    Blackhole,
}

/// What the kernel would do with a packet to an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RouteTo {
    /// Send it on.
    Unicast(Path),
    /// Deliver it to this host.
    Local,
    /// Refuse it.
    Rejected(Rejection),
    /// Something that no single host can be the target of (broadcast, multicast).
    Other,
}

impl Netlink {
    /// All routes of a family that are not copies for one destination, in every table.
    async fn routes_of(&self, family: AddressFamily) -> Result<Vec<Route>, NetlinkError> {
        let mut message = RouteMessage::default();
        message.header.address_family = family;
        let answers =
            self.list(RouteNetlinkMessage::GetRoute(message), About::new("list", "routes")).await?;
        Ok(answers
            .into_iter()
            .filter_map(|answer| match answer {
                RouteNetlinkMessage::NewRoute(message)
                    if !message.header.flags.contains(RouteFlags::Cloned) =>
                {
                    Route::from_message(message)
                }
                _ => None,
            })
            .collect())
    }

    /// The IPv4 routes of every table.
    pub async fn routes_v4(&self) -> Result<Vec<Route>, NetlinkError> {
        self.routes_of(AddressFamily::Inet).await
    }

    /// The IPv6 routes of every table.
    pub async fn routes_v6(&self) -> Result<Vec<Route>, NetlinkError> {
        self.routes_of(AddressFamily::Inet6).await
    }

    /// Adds a route; [`NetlinkError::already_exists`] tells that one with this destination, table and metric is there.
    pub async fn add_route(&self, route: &Route) -> Result<(), NetlinkError> {
        self.change(
            RouteNetlinkMessage::NewRoute(route.to_message()),
            NLM_F_CREATE | NLM_F_EXCL,
            About::new("add route", route.object()),
        )
        .await
    }

    /// Puts a route in the place of the one with the same destination, table and metric, which must exist.
    pub async fn replace_route(&self, route: &Route) -> Result<(), NetlinkError> {
        self.change(
            RouteNetlinkMessage::NewRoute(route.to_message()),
            NLM_F_REPLACE,
            About::new("replace route", route.object()),
        )
        .await
    }

    /// Deletes a route.
    pub async fn delete_route(&self, route: &Route) -> Result<(), NetlinkError> {
        self.change(
            RouteNetlinkMessage::DelRoute(route.to_message()),
            0,
            About::new("delete route", route.object()),
        )
        .await
    }

    /// Asks what the kernel would do with a packet of this host's to `destination` (as `ip route get` does).
    pub async fn route_to(&self, destination: IpAddr) -> Result<RouteTo, NetlinkError> {
        let mut message = RouteMessage::default();
        message.header.address_family = family_of(destination);
        message.header.destination_prefix_length = address_bits(destination);
        message.attributes.push(RouteAttribute::Destination(destination.into()));
        let about = About::new("find the route to", destination.to_string());
        let answer = match self.query(RouteNetlinkMessage::GetRoute(message), about.clone()).await {
            Ok(answer) => answer,
            Err(error) => return rejection_of(&error).map(RouteTo::Rejected).ok_or(error),
        };
        let RouteNetlinkMessage::NewRoute(message) = answer else {
            return Err(NetlinkError::unexpected(about));
        };
        let Some(route) = Route::from_message(message) else {
            return Err(NetlinkError::unexpected(about));
        };
        Ok(RouteTo::from(&route))
    }
}

/// For IPv4 the kernel answers a rejecting route by the error it would give a socket.
fn rejection_of(error: &NetlinkError) -> Option<Rejection> {
    match error.errno()? {
        Errno::ENETUNREACH => Some(Rejection::NoRoute),
        Errno::EHOSTUNREACH => Some(Rejection::Unreachable),
        Errno::EACCES => Some(Rejection::Prohibited),
        Errno::EINVAL => Some(Rejection::Blackhole),
        _ => None,
    }
}

impl From<&Route> for RouteTo {
    fn from(route: &Route) -> Self {
        match (route.kind, route.link) {
            (RouteKind::Unicast, Some(link)) => Self::Unicast(Path {
                link,
                gateway: route.gateway,
                source: route.source,
                mtu: route.mtu,
            }),
            (RouteKind::Unicast, None) => Self::Rejected(Rejection::NoRoute),
            (RouteKind::Local, _) => Self::Local,
            // For IPv6 the answer is a route, and "none at all" is an unreachable route of the highest metric there is.
            (RouteKind::Unreachable, _) if route.metric == u32::MAX => {
                Self::Rejected(Rejection::NoRoute)
            }
            (RouteKind::Unreachable, _) => Self::Rejected(Rejection::Unreachable),
            (RouteKind::Prohibit, _) => Self::Rejected(Rejection::Prohibited),
            (RouteKind::Blackhole, _) => Self::Rejected(Rejection::Blackhole),
            (RouteKind::Other(_), _) => Self::Other,
        }
    }
}

impl From<RouteType> for RouteKind {
    fn from(kind: RouteType) -> Self {
        match kind {
            RouteType::Unicast => Self::Unicast,
            RouteType::Local => Self::Local,
            RouteType::BlackHole => Self::Blackhole,
            RouteType::Unreachable => Self::Unreachable,
            RouteType::Prohibit => Self::Prohibit,
            other => Self::Other(other.into()),
        }
    }
}

impl From<RouteKind> for RouteType {
    fn from(kind: RouteKind) -> Self {
        match kind {
            RouteKind::Unicast => Self::Unicast,
            RouteKind::Local => Self::Local,
            RouteKind::Blackhole => Self::BlackHole,
            RouteKind::Unreachable => Self::Unreachable,
            RouteKind::Prohibit => Self::Prohibit,
            RouteKind::Other(number) => number.into(),
        }
    }
}

fn plain(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(v4) => Some(IpAddr::V4(*v4)),
        RouteAddress::Inet6(v6) => Some(IpAddr::V6(*v6)),
        _ => None,
    }
}

fn plain_via(via: &RouteVia) -> Option<IpAddr> {
    match via {
        RouteVia::Inet(v4) => Some(IpAddr::V4(*v4)),
        RouteVia::Inet6(v6) => Some(IpAddr::V6(*v6)),
        _ => None,
    }
}
