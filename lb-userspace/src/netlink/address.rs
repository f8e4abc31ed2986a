//! Addresses of interfaces: list, add, delete.

use std::net::IpAddr;

use ipnet::IpNet;
use rtnetlink::{
    AddressMessageBuilder,
    packet_core::{NLM_F_CREATE, NLM_F_EXCL},
    packet_route::{
        RouteNetlinkMessage,
        address::{AddressAttribute, AddressMessage},
    },
};

use super::{About, Netlink, NetlinkError};

/// An address on a link, with the prefix length it was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Address {
    /// Index of the link.
    pub link: u32,
    /// The address itself (not cut to its network) and the prefix length.
    pub network: IpNet,
}

impl Netlink {
    /// All addresses of the namespace, or those of one link.
    pub async fn addresses(&self, link: Option<u32>) -> Result<Vec<Address>, NetlinkError> {
        let message = RouteNetlinkMessage::GetAddress(AddressMessage::default());
        let answers = self.list(message, About::new("list", "addresses")).await?;
        Ok(answers
            .into_iter()
            .filter_map(|answer| match answer {
                RouteNetlinkMessage::NewAddress(message) => Address::from_message(&message),
                _ => None,
            })
            .filter(|address| link.is_none_or(|index| index == address.link))
            .collect())
    }

    /// Adds an address to a link; [`NetlinkError::already_exists`] tells that the link has it.
    pub async fn add_address(&self, link: u32, network: IpNet) -> Result<(), NetlinkError> {
        self.change(
            RouteNetlinkMessage::NewAddress(message(link, network)),
            NLM_F_CREATE | NLM_F_EXCL,
            About::new("add address", format!("{network} to link number {link}")),
        )
        .await
    }

    /// Deletes an address from a link; [`NetlinkError::not_found`] tells that the link does not have it.
    pub async fn delete_address(&self, link: u32, network: IpNet) -> Result<(), NetlinkError> {
        self.change(
            RouteNetlinkMessage::DelAddress(message(link, network)),
            0,
            About::new("delete address", format!("{network} from link number {link}")),
        )
        .await
    }
}

fn message(link: u32, network: IpNet) -> AddressMessage {
    match network {
        IpNet::V4(net) => AddressMessageBuilder::<std::net::Ipv4Addr>::new()
            .index(link)
            .address(net.addr(), net.prefix_len())
            .build(),
        IpNet::V6(net) => AddressMessageBuilder::<std::net::Ipv6Addr>::new()
            .index(link)
            .address(net.addr(), net.prefix_len())
            .build(),
    }
}

impl Address {
    pub(super) fn from_message(message: &AddressMessage) -> Option<Self> {
        let mut own: Option<IpAddr> = None;
        let mut peer: Option<IpAddr> = None;
        for attribute in &message.attributes {
            match attribute {
                // On a point-to-point link IFA_ADDRESS is the peer; IFA_LOCAL, where present, is always ours.
                AddressAttribute::Local(address) => own = Some(*address),
                AddressAttribute::Address(address) => peer = Some(*address),
                _ => {}
            }
        }
        let network = IpNet::new(own.or(peer)?, message.header.prefix_len).ok()?;
        Some(Self { link: message.header.index, network })
    }
}
