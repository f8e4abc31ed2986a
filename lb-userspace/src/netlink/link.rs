//! Network interfaces: list them, make and delete veth pairs and bridges, and change what they are set to.

use std::os::fd::{AsRawFd as _, BorrowedFd};

use nix::errno::Errno;
use rtnetlink::{
    LinkBridge, LinkMessageBuilder, LinkUnspec, LinkVeth,
    packet_core::{NLM_F_CREATE, NLM_F_EXCL},
    packet_route::{
        RouteNetlinkMessage,
        link::{
            InfoData, InfoKind, InfoVeth, InfoVlan, LinkAttribute, LinkFlags, LinkInfo,
            LinkMessage, VlanProtocol,
        },
    },
};

use super::{About, Netlink, NetlinkError};

/// What kind of device a link is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LinkKind {
    /// One end of a pair of virtual Ethernet devices.
    Veth,
    /// A bridge.
    Bridge,
    /// An IPv4 tunnel device (`tunl0` and its like).
    Ipip,
    /// An 802.1Q device on another link.
    Vlan {
        /// Index of the link that carries the tagged frames.
        parent: u32,
        /// VLAN identifier, 1 to 4094.
        id: u16,
    },
    /// The loopback device.
    Loopback,
    /// A device without a kind of its own, as physical ones are.
    Physical,
    /// Any other, by the kernel's name for it.
    Other(String),
}

/// A network interface as the kernel shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Index in its namespace.
    pub index: u32,
    /// Name.
    pub name: String,
    /// MAC address; zero where the device has none of six bytes.
    pub mac: [u8; 6],
    /// Whether `mac` is an Ethernet address.
    pub ethernet: bool,
    /// Largest packet in bytes, without the Ethernet header.
    pub mtu: u32,
    /// Whether it is set up (`IFF_UP`).
    pub admin_up: bool,
    /// Whether it is set up and can carry frames (`IFF_UP` and `IFF_RUNNING`).
    pub up: bool,
    /// What kind of device it is.
    pub kind: LinkKind,
    /// Index of the bridge (or bond) it is a port of.
    pub parent: Option<u32>,
}

impl Netlink {
    /// All links of the namespace.
    pub async fn links(&self) -> Result<Vec<Link>, NetlinkError> {
        let message = RouteNetlinkMessage::GetLink(LinkMessage::default());
        let answers = self.list(message, About::new("list", "links")).await?;
        Ok(answers.into_iter().filter_map(as_link).collect())
    }

    /// The link of that name, if there is one.
    pub async fn link_by_name(&self, name: &str) -> Result<Option<Link>, NetlinkError> {
        let mut message = LinkMessage::default();
        message.attributes.push(LinkAttribute::IfName(name.to_owned()));
        self.one_link(message, name.to_owned()).await
    }

    /// The link of that index, if there is one.
    pub async fn link_by_index(&self, index: u32) -> Result<Option<Link>, NetlinkError> {
        let mut message = LinkMessage::default();
        message.header.index = index;
        self.one_link(message, format!("number {index}")).await
    }

    /// The link of that name; an error if there is none.
    pub async fn require_link(&self, name: &str) -> Result<Link, NetlinkError> {
        self.link_by_name(name)
            .await?
            .ok_or_else(|| NetlinkError::NotFound { object: format!("link {name}") })
    }

    async fn one_link(
        &self,
        message: LinkMessage,
        object: String,
    ) -> Result<Option<Link>, NetlinkError> {
        let about = About::new("read link", object);
        match self.query(RouteNetlinkMessage::GetLink(message), about).await {
            Ok(answer) => Ok(as_link(answer)),
            // A name that is too long for any link is refused with ERANGE.
            Err(error) if error.errno() == Some(Errno::ERANGE) || error.not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Creates a pair of virtual Ethernet devices, both down; the peer in another namespace if one is given.
    pub async fn create_veth(
        &self,
        name: &str,
        peer: &str,
        peer_namespace: Option<BorrowedFd<'_>>,
    ) -> Result<(), NetlinkError> {
        let mut end = LinkMessageBuilder::<LinkUnspec>::new().name(peer);
        if let Some(namespace) = peer_namespace {
            end = end.setns_by_fd(namespace.as_raw_fd());
        }
        let message = LinkMessageBuilder::<LinkVeth>::new(name, peer)
            .set_info_data(InfoData::Veth(InfoVeth::Peer(end.build())))
            .build();
        self.create_link(message, About::new("create veth pair", format!("{name}/{peer}"))).await
    }

    /// Creates a bridge, down.
    pub async fn create_bridge(&self, name: &str) -> Result<(), NetlinkError> {
        let message = LinkMessageBuilder::<LinkBridge>::new(name).build();
        self.create_link(message, About::new("create bridge", name)).await
    }

    /// Creates an IPv4 tunnel device without end points, or has the kernel create it.
    ///
    /// For the name `tunl0` it suffices to ask: the kernel loads the module, and the module makes the device.
    /// [`NetlinkError::unsupported`] then tells a kernel that has no such module.
    pub async fn create_ipip(&self, name: &str) -> Result<(), NetlinkError> {
        let message =
            LinkMessageBuilder::<LinkUnspec>::new_with_info_kind(InfoKind::IpIp).name(name);
        self.create_link(message.build(), About::new("create ipip tunnel", name)).await
    }

    async fn create_link(&self, message: LinkMessage, about: About) -> Result<(), NetlinkError> {
        self.change(RouteNetlinkMessage::NewLink(message), NLM_F_CREATE | NLM_F_EXCL, about).await
    }

    /// Sets a link up or down.
    pub async fn set_link_up(&self, index: u32, up: bool) -> Result<(), NetlinkError> {
        let message = LinkUnspec::new_with_index(index);
        let message = if up { message.up() } else { message.down() };
        let operation = if up { "set up link" } else { "set down link" };
        self.set_link(message, About::new(operation, number(index))).await
    }

    /// Sets a link's MAC address.
    pub async fn set_link_mac(&self, index: u32, mac: [u8; 6]) -> Result<(), NetlinkError> {
        let message = LinkUnspec::new_with_index(index).address(mac.to_vec());
        self.set_link(message, About::new("set MAC of link", number(index))).await
    }

    /// Sets a link's MTU in bytes.
    pub async fn set_link_mtu(&self, index: u32, mtu: u32) -> Result<(), NetlinkError> {
        let message = LinkUnspec::new_with_index(index).mtu(mtu);
        self.set_link(message, About::new("set MTU of link", number(index))).await
    }

    /// Makes a link a port of a bridge, or of none.
    pub async fn set_link_parent(
        &self,
        index: u32,
        bridge: Option<u32>,
    ) -> Result<(), NetlinkError> {
        let message = LinkUnspec::new_with_index(index).controller(bridge.unwrap_or(0));
        self.set_link(message, About::new("set bridge of link", number(index))).await
    }

    /// Renames a link, which must be down.
    pub async fn rename_link(&self, index: u32, name: &str) -> Result<(), NetlinkError> {
        let message = LinkUnspec::new_with_index(index).name(name);
        self.set_link(message, About::new("rename link", number(index))).await
    }

    /// Moves a link to another network namespace, under a new name if one is given.
    pub async fn move_link(
        &self,
        index: u32,
        namespace: BorrowedFd<'_>,
        name: Option<&str>,
    ) -> Result<(), NetlinkError> {
        let mut message = LinkUnspec::new_with_index(index).setns_by_fd(namespace.as_raw_fd());
        if let Some(name) = name {
            message = message.name(name);
        }
        self.set_link(message, About::new("move to another namespace link", number(index))).await
    }

    /// Deletes a link; the other end of a veth pair goes with it.
    pub async fn delete_link(&self, index: u32) -> Result<(), NetlinkError> {
        let message = LinkUnspec::new_with_index(index).build();
        self.change(
            RouteNetlinkMessage::DelLink(message),
            0,
            About::new("delete link", number(index)),
        )
        .await
    }

    async fn set_link(
        &self,
        message: LinkMessageBuilder<LinkUnspec>,
        about: About,
    ) -> Result<(), NetlinkError> {
        self.change(RouteNetlinkMessage::NewLink(message.build()), 0, about).await
    }
}

fn number(index: u32) -> String {
    format!("number {index}")
}

fn as_link(message: RouteNetlinkMessage) -> Option<Link> {
    match message {
        RouteNetlinkMessage::NewLink(message) => Some(Link::from(message)),
        _ => None,
    }
}

impl From<LinkMessage> for Link {
    fn from(message: LinkMessage) -> Self {
        let flags = message.header.flags;
        let admin_up = flags.contains(LinkFlags::Up);
        let mut link = Self {
            index: message.header.index,
            name: String::new(),
            mac: [0; 6],
            ethernet: false,
            mtu: 0,
            admin_up,
            up: admin_up && flags.contains(LinkFlags::Running),
            kind: LinkKind::Physical,
            parent: None,
        };
        let mut lower = 0;
        let mut infos = Vec::new();
        for attribute in message.attributes {
            match attribute {
                LinkAttribute::IfName(name) => link.name = name,
                LinkAttribute::Mtu(mtu) => link.mtu = mtu,
                LinkAttribute::Controller(index) => link.parent = Some(index),
                LinkAttribute::Link(index) => lower = index,
                LinkAttribute::LinkInfo(info) => infos = info,
                LinkAttribute::Address(bytes) => {
                    if let Ok(mac) = <[u8; 6]>::try_from(bytes) {
                        link.mac = mac;
                        link.ethernet = true;
                    }
                }
                _ => {}
            }
        }
        link.kind = if flags.contains(LinkFlags::Loopback) {
            LinkKind::Loopback
        } else {
            kind_of(&infos, lower)
        };
        link.ethernet &= link.kind != LinkKind::Loopback;
        link
    }
}

fn kind_of(infos: &[LinkInfo], lower: u32) -> LinkKind {
    let kind = infos.iter().find_map(|info| match info {
        LinkInfo::Kind(kind) => Some(kind),
        _ => None,
    });
    match kind {
        None => LinkKind::Physical,
        Some(InfoKind::Veth) => LinkKind::Veth,
        Some(InfoKind::Bridge) => LinkKind::Bridge,
        Some(InfoKind::IpIp) => LinkKind::Ipip,
        Some(InfoKind::Vlan) => vlan(infos, lower),
        Some(other) => LinkKind::Other(other.to_string()),
    }
}

/// 802.1ad devices are not [`LinkKind::Vlan`]: their tag has another Ethernet type.
fn vlan(infos: &[LinkInfo], parent: u32) -> LinkKind {
    let mut found = None;
    for info in infos {
        let LinkInfo::Data(InfoData::Vlan(data)) = info else {
            continue;
        };
        for attribute in data {
            match attribute {
                InfoVlan::Id(id) => found = Some(*id),
                InfoVlan::Protocol(VlanProtocol::Ieee8021Ad) => {
                    return LinkKind::Other("802.1ad".to_owned());
                }
                _ => {}
            }
        }
    }
    match found {
        Some(id) => LinkKind::Vlan { parent, id },
        None => LinkKind::Other("vlan".to_owned()),
    }
}
