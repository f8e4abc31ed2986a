//! Neighbours, the kernel's table of MAC addresses: read, set, delete, and have the kernel resolve them.

use std::net::IpAddr;

use rtnetlink::{
    packet_core::{NLM_F_CREATE, NLM_F_REPLACE},
    packet_route::{
        AddressFamily, RouteNetlinkMessage,
        neighbour::{
            NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage,
            NeighbourState as WireState,
        },
    },
};

use super::{About, Netlink, NetlinkError, family_of};

/// How far the kernel trusts a neighbour entry (`NUD_*`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NeighbourState {
    /// Asked, not answered yet.
    Incomplete,
    /// Confirmed a short time ago.
    Reachable,
    /// Confirmed once, not checked since.
    Stale,
    /// In use, soon to be checked.
    Delay,
    /// Being checked.
    Probe,
    /// Asked, no answer.
    Failed,
    /// The link needs no resolution.
    NoArp,
    /// Set by hand, never checked.
    Permanent,
    /// Nothing is known.
    None,
}

impl NeighbourState {
    /// Whether the entry's MAC address may be used.
    pub fn usable(self) -> bool {
        match self {
            Self::Reachable
            | Self::Stale
            | Self::Delay
            | Self::Probe
            | Self::NoArp
            | Self::Permanent => true,
            Self::Incomplete | Self::Failed | Self::None => false,
        }
    }

    /// Whether the entry is someone's decision, not the result of asking.
    pub fn fixed(self) -> bool {
        matches!(self, Self::NoArp | Self::Permanent)
    }
}

/// One entry of the neighbour table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Neighbour {
    /// Index of the link.
    pub link: u32,
    /// The neighbour's address.
    pub address: IpAddr,
    /// Its MAC address, if known and of six bytes.
    pub mac: Option<[u8; 6]>,
    /// How far the entry is trusted.
    pub state: NeighbourState,
}

impl Netlink {
    /// All entries of the neighbour tables (ARP and ND), without proxies.
    pub async fn neighbours(&self) -> Result<Vec<Neighbour>, NetlinkError> {
        let message = RouteNetlinkMessage::GetNeighbour(NeighbourMessage::default());
        let answers = self.list(message, About::new("list", "neighbours")).await?;
        Ok(answers.into_iter().filter_map(as_neighbour).collect())
    }

    /// The entry for an address on a link, if there is one.
    pub async fn neighbour(
        &self,
        link: u32,
        address: IpAddr,
    ) -> Result<Option<Neighbour>, NetlinkError> {
        let message = message(link, address);
        let about = About::new("read neighbour", object(link, address));
        match self.query(RouteNetlinkMessage::GetNeighbour(message), about).await {
            Ok(answer) => Ok(as_neighbour(answer)),
            Err(error) if error.not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Sets an entry that the kernel neither checks nor forgets.
    pub async fn set_neighbour(
        &self,
        link: u32,
        address: IpAddr,
        mac: [u8; 6],
    ) -> Result<(), NetlinkError> {
        let mut message = message(link, address);
        message.header.state = WireState::Permanent;
        message.attributes.push(NeighbourAttribute::LinkLayerAddress(mac.to_vec()));
        self.change(
            RouteNetlinkMessage::NewNeighbour(message),
            NLM_F_CREATE | NLM_F_REPLACE,
            About::new("set neighbour", object(link, address)),
        )
        .await
    }

    /// Deletes an entry.
    pub async fn delete_neighbour(&self, link: u32, address: IpAddr) -> Result<(), NetlinkError> {
        self.change(
            RouteNetlinkMessage::DelNeighbour(message(link, address)),
            0,
            About::new("delete neighbour", object(link, address)),
        )
        .await
    }

    /// Tells the kernel that the entry is in use (`NTF_USE`): it resolves an unknown one and checks a stale one.
    ///
    /// The data path transmits behind the stack's back, so nothing else would. A permanent entry must not be probed:
    /// the kernel would take its permanence away (`__neigh_update` of kernel 5.16 and later).
    pub async fn probe_neighbour(&self, link: u32, address: IpAddr) -> Result<(), NetlinkError> {
        let mut message = message(link, address);
        message.header.flags = NeighbourFlags::Use;
        self.change(
            RouteNetlinkMessage::NewNeighbour(message),
            NLM_F_CREATE | NLM_F_REPLACE,
            About::new("probe neighbour", object(link, address)),
        )
        .await
    }
}

fn object(link: u32, address: IpAddr) -> String {
    format!("{address} on link number {link}")
}

fn message(link: u32, address: IpAddr) -> NeighbourMessage {
    let mut message = NeighbourMessage::default();
    message.header.family = family_of(address);
    message.header.ifindex = link;
    message.attributes.push(NeighbourAttribute::Destination(address.into()));
    message
}

fn as_neighbour(message: RouteNetlinkMessage) -> Option<Neighbour> {
    match message {
        RouteNetlinkMessage::NewNeighbour(message) => Neighbour::from_message(&message),
        _ => None,
    }
}

impl Neighbour {
    /// Entries of other families (a bridge's forwarding table comes through the same message) give nothing.
    pub(super) fn from_message(message: &NeighbourMessage) -> Option<Self> {
        if !matches!(message.header.family, AddressFamily::Inet | AddressFamily::Inet6) {
            return None;
        }
        let mut address = None;
        let mut mac = None;
        for attribute in &message.attributes {
            match attribute {
                NeighbourAttribute::Destination(NeighbourAddress::Inet(v4)) => {
                    address = Some(IpAddr::V4(*v4));
                }
                NeighbourAttribute::Destination(NeighbourAddress::Inet6(v6)) => {
                    address = Some(IpAddr::V6(*v6));
                }
                NeighbourAttribute::LinkLayerAddress(bytes) => {
                    mac = <[u8; 6]>::try_from(bytes.as_slice()).ok();
                }
                _ => {}
            }
        }
        Some(Self {
            link: message.header.ifindex,
            address: address?,
            mac,
            state: message.header.state.into(),
        })
    }
}

impl From<WireState> for NeighbourState {
    fn from(state: WireState) -> Self {
        match state {
            WireState::Incomplete => Self::Incomplete,
            WireState::Reachable => Self::Reachable,
            WireState::Stale => Self::Stale,
            WireState::Delay => Self::Delay,
            WireState::Probe => Self::Probe,
            WireState::Failed => Self::Failed,
            WireState::Noarp => Self::NoArp,
            WireState::Permanent => Self::Permanent,
            _ => Self::None,
        }
    }
}
