//! Notice of every change to links, addresses, routes and neighbours of a namespace.

use std::{
    net::IpAddr,
    pin::Pin,
    task::{Context, Poll},
};

use futures_util::{Stream, StreamExt as _};
use rtnetlink::{
    MulticastGroup,
    packet_core::NetlinkPayload,
    packet_route::{
        AddressFamily, RouteNetlinkMessage, link::LinkMessage, neighbour::NeighbourMessage,
    },
};
use tokio::task::JoinHandle;

use super::{Address, Link, Neighbour, NetlinkError, Route};

const GROUPS: [MulticastGroup; 8] = [
    MulticastGroup::Link,
    MulticastGroup::Ipv4Ifaddr,
    MulticastGroup::Ipv6Ifaddr,
    MulticastGroup::Ipv4Route,
    MulticastGroup::Ipv6Route,
    MulticastGroup::Ipv4Rule,
    MulticastGroup::Ipv6Rule,
    MulticastGroup::Neigh,
];

/// Something that changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A link appeared or changed.
    Link(Link),
    /// A link went.
    LinkGone {
        /// Its index.
        index: u32,
        /// Its name.
        name: String,
    },
    /// An address was added or changed.
    Address(Address),
    /// An address was deleted.
    AddressGone(Address),
    /// A route was added or changed.
    Route(Box<Route>),
    /// A route was deleted.
    RouteGone(Box<Route>),
    /// A routing rule came or went.
    Rule,
    /// A neighbour entry appeared or changed.
    Neighbour(Neighbour),
    /// A neighbour entry was deleted.
    NeighbourGone {
        /// Index of its link.
        link: u32,
        /// Its address.
        address: IpAddr,
    },
    /// The kernel dropped notices because they were not read in time: whatever is known must be read again.
    Lost,
}

/// A stream of changes; it ends only if the socket fails.
pub struct Monitor {
    changes: Pin<Box<dyn Stream<Item = Change> + Send>>,
    connection: JoinHandle<()>,
}

impl Monitor {
    /// Subscribes in the network namespace of the calling thread; needs a running tokio runtime.
    ///
    /// A change made after this returns is seen.
    pub fn connect() -> Result<Self, NetlinkError> {
        let (connection, handle, messages) =
            rtnetlink::new_multicast_connection(&GROUPS).map_err(NetlinkError::Connect)?;
        drop(handle);
        let connection = tokio::spawn(connection);
        let changes = messages.filter_map(async |(message, _)| change_of(message.payload));
        Ok(Self { changes: Box::pin(changes), connection })
    }
}

impl Drop for Monitor {
    fn drop(&mut self) {
        // The connection would notice only at the next change that there is nobody to tell.
        self.connection.abort();
    }
}

impl Stream for Monitor {
    type Item = Change;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Change>> {
        self.changes.as_mut().poll_next(context)
    }
}

fn change_of(payload: NetlinkPayload<RouteNetlinkMessage>) -> Option<Change> {
    let message = match payload {
        NetlinkPayload::InnerMessage(message) => message,
        NetlinkPayload::Overrun(_) => return Some(Change::Lost),
        _ => return None,
    };
    match message {
        // A bridge tells of its ports by link messages of its own family; the port itself neither came nor went.
        RouteNetlinkMessage::NewLink(message) | RouteNetlinkMessage::DelLink(message)
            if message.header.interface_family == AddressFamily::Bridge =>
        {
            None
        }
        RouteNetlinkMessage::NewLink(message) => Some(Change::Link(Link::from(message))),
        RouteNetlinkMessage::DelLink(message) => Some(link_gone(message)),
        RouteNetlinkMessage::NewAddress(message) => {
            Address::from_message(&message).map(Change::Address)
        }
        RouteNetlinkMessage::DelAddress(message) => {
            Address::from_message(&message).map(Change::AddressGone)
        }
        RouteNetlinkMessage::NewRoute(message) => {
            Route::from_message(message).map(|route| Change::Route(Box::new(route)))
        }
        RouteNetlinkMessage::DelRoute(message) => {
            Route::from_message(message).map(|route| Change::RouteGone(Box::new(route)))
        }
        RouteNetlinkMessage::NewRule(_) | RouteNetlinkMessage::DelRule(_) => Some(Change::Rule),
        RouteNetlinkMessage::NewNeighbour(message) => {
            Neighbour::from_message(&message).map(Change::Neighbour)
        }
        RouteNetlinkMessage::DelNeighbour(message) => neighbour_gone(&message),
        _ => None,
    }
}

fn link_gone(message: LinkMessage) -> Change {
    let Link { index, name, .. } = Link::from(message);
    Change::LinkGone { index, name }
}

fn neighbour_gone(message: &NeighbourMessage) -> Option<Change> {
    let Neighbour { link, address, .. } = Neighbour::from_message(message)?;
    Some(Change::NeighbourGone { link, address })
}
