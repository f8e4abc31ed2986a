//! Which way the kernel would send a packet, as `ip route get` asks it.

use std::net::IpAddr;

use nix::errno::Errno;
use rtnetlink::packet_route::{
    RouteNetlinkMessage,
    route::{RouteAttribute, RouteMessage},
};

use super::{About, Netlink, NetlinkError, Route, RouteKind, address_bits, family_of};

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
