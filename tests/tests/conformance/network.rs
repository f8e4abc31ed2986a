//! The network around a director, the same for each engine: two ports, and nobody on them but the test.
//!
//! ```text
//!   outside                      director
//!   clients ─────────── eth0  10.9.0.254
//!   servers ─────────── eth1  10.1.0.254
//! ```
//!
//! Nothing outside has an address, so nothing there answers; what a host's MAC address is stands in the director's neighbour
//! table.

use std::{
    io,
    net::{IpAddr, Ipv4Addr},
    os::fd::{AsRawFd, OwnedFd},
};

use anyhow::{Context as _, Result};
use ipnet::{IpNet, Ipv4Net};
use lb_userspace::{
    bpf::{self, Pass},
    demo::seed::mac_of,
    netlink::{Netlink, Route, RouteKind},
    netns::Namespace,
    sys::{Offload, switch_offload},
    sysctl::{ProcSys, Sysctls as _},
};
use nix::sys::socket::SockaddrLike as _;
use nix::{
    ifaddrs::getifaddrs,
    sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, bind, send, socket},
};

/// The director's addresses.
pub(crate) const DIRECTOR_CLIENTS: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 254);
pub(crate) const DIRECTOR_SERVERS: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 254);

/// The router behind which the clients are.
const ROUTER: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 1);

/// A real server on the clients' side of the director.
pub(crate) const ONE_ARMED: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 5);
/// One with a route of MTU 1,400.
pub(crate) const NARROW: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 60);
/// One with a route whose MTU leaves less than IPv4's minimum of 68 bytes.
pub(crate) const TOO_NARROW: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 61);
/// One that does not answer ARP.
pub(crate) const SILENT: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 70);
/// Those that routes reject.
pub(crate) const UNREACHABLE: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 80);
pub(crate) const BLACKHOLE: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 81);
pub(crate) const PROHIBITED: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 82);
/// One that no route leads to.
pub(crate) const NO_ROUTE: Ipv4Addr = Ipv4Addr::new(172, 31, 0, 9);

/// A VIP of its own for every case.
pub(crate) fn vip(section: usize, case: usize) -> Ipv4Addr {
    let [section, case] =
        [section, case + 1].map(|number| u8::try_from(number).expect("not so many cases"));
    Ipv4Addr::new(198, 18, section, case)
}

/// The VIP of the marks between the packets of all cases.
pub(crate) const MARKS_VIP: Ipv4Addr = Ipv4Addr::new(198, 19, 0, 1);

/// An address that the director has itself, in both engines.
pub(crate) const LOCAL_VIP: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);

/// Real server `number`, from 1 on.
pub(crate) const fn server(number: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 1, 0, number)
}

/// How many real servers answer ARP.
const SERVERS: u8 = 8;

/// Client `number`, from 1 on.
pub(crate) const fn client(number: u8) -> Ipv4Addr {
    Ipv4Addr::new(203, 0, 113, number)
}

const CLIENTS: Ipv4Net = Ipv4Net::new_assert(Ipv4Addr::new(203, 0, 113, 0), 24);

/// A port of the director.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Port {
    Clients,
    Servers,
}

impl Port {
    pub(crate) const ALL: [Self; 2] = [Self::Clients, Self::Servers];

    /// The name of its end outside.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Clients => "clients",
            Self::Servers => "servers",
        }
    }

    /// The name of the director's end.
    const fn interface(self) -> &'static str {
        match self {
            Self::Clients => "eth0",
            Self::Servers => "eth1",
        }
    }

    const fn director(self) -> Ipv4Addr {
        match self {
            Self::Clients => DIRECTOR_CLIENTS,
            Self::Servers => DIRECTOR_SERVERS,
        }
    }

    const fn neighbour(self) -> Ipv4Addr {
        match self {
            Self::Clients => ROUTER,
            Self::Servers => server(1),
        }
    }
}

/// An IPv4 packet in a frame to the director.
pub(crate) fn frame(port: Port, packet: &[u8]) -> Vec<u8> {
    let mut frame = mac_of(port.director()).0.to_vec();
    frame.extend(mac_of(port.neighbour()).0);
    frame.extend([0x08, 0x00]);
    frame.extend_from_slice(packet);
    frame
}

/// The network. Dropped, it is gone.
pub(crate) struct Network {
    pub(crate) director: Namespace,
    pub(crate) outside: Namespace,
    _pass: Vec<Pass>,
}

impl Network {
    /// Builds it in namespaces called `PREFIX-director` and `PREFIX-outside`.
    pub(crate) fn build(prefix: &str) -> Result<Self> {
        let director = Namespace::create(&format!("{prefix}-director"))?;
        let outside = Namespace::create(&format!("{prefix}-outside"))?;
        for namespace in [&director, &outside] {
            namespace.run(quiet)?.context("set sysctls")?;
        }
        outside.run_async(|| lay_cables(&director))??;
        director.run_async(configure_director)??;
        for (namespace, names) in
            [(&director, Port::ALL.map(Port::interface)), (&outside, Port::ALL.map(Port::name))]
        {
            namespace.run(|| names.into_iter().try_for_each(send_finished_packets))??;
        }
        // Without one, what XDP sends never arrives.
        let pass = || Port::ALL.into_iter().map(|port| bpf::attach_pass(port.name())).collect();
        let pass: Result<Vec<_>, _> = outside.run(pass)?;
        Ok(Self { _pass: pass?, director, outside })
    }
}

/// Nobody talks unasked, and nobody holds answers back.
fn quiet() -> Result<()> {
    for (path, value) in [
        ("net/ipv6/conf/all/disable_ipv6", "1"),
        ("net/ipv6/conf/default/disable_ipv6", "1"),
        ("net/ipv4/conf/all/rp_filter", "0"),
        ("net/ipv4/conf/default/rp_filter", "0"),
        // No kind of ICMP message is limited.
        ("net/ipv4/icmp_ratemask", "0"),
    ] {
        ProcSys.write(path, value)?;
    }
    Ok(())
}

async fn lay_cables(director: &Namespace) -> Result<()> {
    use std::os::fd::AsFd as _;
    let netlink = Netlink::connect()?;
    for port in Port::ALL {
        let end = Some(director.handle().as_fd());
        netlink.create_veth(port.name(), port.interface(), end).await?;
        let index = netlink.require_link(port.name()).await?.index;
        netlink.set_link_mac(index, mac_of(port.neighbour()).0).await?;
        netlink.set_link_up(index, true).await?;
    }
    Ok(())
}

async fn configure_director() -> Result<()> {
    let netlink = Netlink::connect()?;
    let lo = netlink.require_link("lo").await?.index;
    netlink.set_link_up(lo, true).await?;
    netlink.add_address(lo, IpNet::new(LOCAL_VIP.into(), 32)?).await?;
    let mut links = [0; 2];
    for (port, link) in Port::ALL.into_iter().zip(&mut links) {
        *link = netlink.require_link(port.interface()).await?.index;
        netlink.set_link_mac(*link, mac_of(port.director()).0).await?;
        netlink.set_link_up(*link, true).await?;
        netlink.add_address(*link, IpNet::new(port.director().into(), 24)?).await?;
    }
    let [clients, servers] = links;
    let on_servers_side = (1..=SERVERS).map(server).chain([NARROW, TOO_NARROW]);
    let neighbours = on_servers_side.map(|address| (servers, address));
    for (link, address) in neighbours.chain([(clients, ROUTER), (clients, ONE_ARMED)]) {
        netlink.set_neighbour(link, address.into(), mac_of(address).0).await?;
    }
    let host = |address: Ipv4Addr| IpNet::from(IpAddr::from(address));
    netlink.add_route(&Route::new(CLIENTS.into(), clients).via(ROUTER.into())).await?;
    for (server, mtu) in [(NARROW, 1400), (TOO_NARROW, 80)] {
        let mut route = Route::new(host(server), servers);
        route.mtu = Some(mtu);
        netlink.add_route(&route).await?;
    }
    for (server, kind) in [
        (UNREACHABLE, RouteKind::Unreachable),
        (BLACKHOLE, RouteKind::Blackhole),
        (PROHIBITED, RouteKind::Prohibit),
    ] {
        netlink.add_route(&Route::rejecting(host(server), kind)).await?;
    }
    Ok(())
}

/// Makes VIPs the kernel's own, as IPVS needs it; in the current namespace.
pub(crate) async fn own_vips(vips: &[Ipv4Addr]) -> Result<()> {
    let netlink = Netlink::connect()?;
    let lo = netlink.require_link("lo").await?.index;
    for vip in vips {
        netlink.add_address(lo, IpNet::new((*vip).into(), 32)?).await?;
    }
    Ok(())
}

/// A veth promises to fill in checksums and to cut large segments; what leaves here shall be complete.
fn send_finished_packets(interface: &str) -> Result<()> {
    // Segmentation goes first: it depends on the checksum offload.
    for offload in [Offload::TcpSegmentation, Offload::GenericSegmentation, Offload::TxChecksum] {
        switch_offload(interface, offload, false)
            .with_context(|| format!("switch offloads of {interface}"))?;
    }
    Ok(())
}

/// Sends frames into a port.
pub(crate) struct Sender(OwnedFd);

impl Sender {
    /// Opens it in the current namespace, which is the one outside.
    pub(crate) fn open(port: Port) -> Result<Self> {
        // Without a protocol it receives nothing.
        let socket = socket(AddressFamily::Packet, SockType::Raw, SockFlag::SOCK_CLOEXEC, None)?;
        let interfaces = getifaddrs()?;
        let address = interfaces
            .filter(|interface| interface.interface_name == port.name())
            .filter_map(|interface| interface.address)
            .find(|address| address.family() == Some(AddressFamily::Packet))
            .with_context(|| format!("no interface {}", port.name()))?;
        bind(socket.as_raw_fd(), &address)?;
        Ok(Self(socket))
    }

    pub(crate) fn send(&self, frame: &[u8]) -> io::Result<()> {
        send(self.0.as_raw_fd(), frame, MsgFlags::empty())?;
        Ok(())
    }
}
