//! The one module that talks netlink: links, addresses, routes, neighbours, and notice of their changes.
//!
//! It is not for XDP programs (the BPF module attaches those) nor for sysctls. What leaves this module are plain types of
//! our own; no type of the netlink crates does.
//!
//! A netlink socket belongs to the network namespace of the thread that opens it. [`Netlink::connect`] and
//! [`Monitor::connect`] therefore act on the namespace that the calling thread is in at that moment, and stay there.

mod address;
mod error;
mod link;
mod monitor;
mod neighbour;
mod route;

use std::{net::IpAddr, time::Duration};

use futures_util::StreamExt as _;
use rtnetlink::{
    packet_core::{
        NLM_F_ACK, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload,
    },
    packet_route::{AddressFamily, RouteNetlinkMessage},
};

pub use self::{
    address::Address,
    error::NetlinkError,
    link::{Link, LinkKind},
    monitor::{Change, Monitor},
    neighbour::{Neighbour, NeighbourState},
    route::{Path, Rejection, Route, RouteKind, RouteTo, TABLE_LOCAL, TABLE_MAIN},
};

/// The kernel answers at once. The limit only keeps an answer that could not be decoded from blocking its caller for ever.
const ANSWER_LIMIT: Duration = Duration::from_secs(5);

/// How often a listing that changed underway is started again before its last result is taken as it is.
const LISTING_ATTEMPTS: usize = 5;

/// A connection to the routing subsystem of one network namespace; clones share it.
///
/// The connection closes when its last clone goes.
#[derive(Clone, Debug)]
pub struct Netlink {
    handle: rtnetlink::Handle,
}

/// What is asked of the kernel, for the message when it refuses.
#[derive(Clone, Debug)]
struct About {
    operation: &'static str,
    object: String,
}

impl About {
    fn new(operation: &'static str, object: impl Into<String>) -> Self {
        Self { operation, object: object.into() }
    }
}

impl Netlink {
    /// Connects to the network namespace of the calling thread; needs a running tokio runtime.
    pub fn connect() -> Result<Self, NetlinkError> {
        let (connection, handle, unsolicited) =
            rtnetlink::new_connection().map_err(NetlinkError::Connect)?;
        // Nothing is subscribed to, so nothing unsolicited comes; without a receiver the connection ends with its last handle.
        drop(unsolicited);
        tokio::spawn(connection);
        Ok(Self { handle })
    }

    /// Asks for a change and waits for the kernel's acknowledgement.
    async fn change(
        &self,
        message: RouteNetlinkMessage,
        flags: u16,
        about: About,
    ) -> Result<(), NetlinkError> {
        self.exchange(message, NLM_F_REQUEST | NLM_F_ACK | flags, &about).await.map(drop)
    }

    /// Asks for one object.
    async fn query(
        &self,
        message: RouteNetlinkMessage,
        about: About,
    ) -> Result<RouteNetlinkMessage, NetlinkError> {
        let (mut answers, _) = self.exchange(message, NLM_F_REQUEST, &about).await?;
        answers.pop().ok_or_else(|| NetlinkError::unexpected(about))
    }

    /// Lists all objects of a kind; starts again if the list changed while the kernel wrote it.
    async fn list(
        &self,
        message: RouteNetlinkMessage,
        about: About,
    ) -> Result<Vec<RouteNetlinkMessage>, NetlinkError> {
        let mut attempt = 1;
        loop {
            let (answers, interrupted) =
                self.exchange(message.clone(), NLM_F_REQUEST | NLM_F_DUMP, &about).await?;
            if !interrupted || attempt == LISTING_ATTEMPTS {
                return Ok(answers);
            }
            attempt += 1;
        }
    }

    /// Sends one request and collects its answers, and whether the kernel marked them as interrupted by a change.
    async fn exchange(
        &self,
        message: RouteNetlinkMessage,
        flags: u16,
        about: &About,
    ) -> Result<(Vec<RouteNetlinkMessage>, bool), NetlinkError> {
        let mut request = NetlinkMessage::from(message);
        request.header.flags = flags;
        let mut handle = self.handle.clone();
        let mut stream = handle.request(request).map_err(|_| NetlinkError::closed(about))?;
        let mut answers = Vec::new();
        let mut interrupted = false;
        let collect = async {
            while let Some(answer) = stream.next().await {
                interrupted |= answer.header.flags & NLM_F_DUMP_INTR != 0;
                match answer.payload {
                    NetlinkPayload::InnerMessage(inner) => answers.push(inner),
                    NetlinkPayload::Error(error) => {
                        if let Some(code) = error.code {
                            return Err(NetlinkError::refused(about, code.get()));
                        }
                    }
                    _ => return Err(NetlinkError::unexpected(about.clone())),
                }
            }
            Ok(())
        };
        match tokio::time::timeout(ANSWER_LIMIT, collect).await {
            Ok(result) => result?,
            Err(_) => return Err(NetlinkError::no_answer(about)),
        }
        Ok((answers, interrupted))
    }
}

/// The netlink address family of an address.
fn family_of(address: IpAddr) -> AddressFamily {
    match address {
        IpAddr::V4(_) => AddressFamily::Inet,
        IpAddr::V6(_) => AddressFamily::Inet6,
    }
}

/// The length in bits of an address of this family.
fn address_bits(address: IpAddr) -> u8 {
    match address {
        IpAddr::V4(_) => 32,
        IpAddr::V6(_) => 128,
    }
}
