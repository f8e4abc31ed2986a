//! The network of the demo and of the namespace tests: six namespaces, the links between them,
//! addresses and routes.
//!
//! Nothing of it touches the namespace that it is made from. What runs on the hosts is not its
//! matter.

use std::{
    collections::HashMap,
    future::Future,
    io,
    net::{IpAddr, Ipv4Addr},
    os::fd::AsFd,
};

use ipnet::{IpNet, Ipv4Net};

use super::seed::{self, Host, mac_of};
use crate::{
    capture::{Capture, Direction, Frame},
    demo::way::Sight,
    netlink::{Netlink, NetlinkError, Route},
    netns::{self, Namespace},
    sys::{Offload, switch_offload},
    sysctl::{ProcSys, SysctlError, Sysctls},
};

/// What can go wrong while the network is made or used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A namespace cannot be made, entered or removed.
    #[error(transparent)]
    Namespace(#[from] netns::Error),
    /// The kernel refuses a link, address or route.
    #[error("cannot set up the network of {host}")]
    Network {
        /// Whose network.
        host: Host,
        /// What was refused.
        #[source]
        source: NetlinkError,
    },
    /// An offload of a link cannot be switched.
    #[error("cannot switch offloads of {interface} of {host}")]
    Offload {
        /// Whose link.
        host: Host,
        /// The link.
        interface: &'static str,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// A sysctl cannot be written.
    #[error("cannot set a sysctl of {host}")]
    Sysctl {
        /// Whose.
        host: Host,
        /// Which, and what the kernel said.
        #[source]
        source: SysctlError,
    },
    /// Frames cannot be captured.
    #[error("cannot capture frames on {host}; CAP_NET_RAW is needed")]
    Capture {
        /// Where.
        host: Host,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
}

/// The network. Dropped, it takes its namespaces and with them every link in them away.
#[derive(Debug)]
pub struct Topology {
    prefix: String,
    namespaces: HashMap<Host, Namespace>,
    /// The hosts by the index of their port on the switch.
    ports: HashMap<u32, Host>,
    /// The index of the client's interface.
    client: u32,
}

impl Topology {
    /// Builds the network in namespaces called `PREFIX-client`, `PREFIX-router` and so on.
    ///
    /// # Errors
    ///
    /// Whatever step fails; what was made until then is removed. [`netns::Error::Exists`] if a
    /// namespace of that name is there.
    pub fn build(prefix: &str) -> Result<Self, Error> {
        let mut namespaces = HashMap::new();
        for host in Host::ALL {
            namespaces.insert(host, Namespace::create(&namespace_name(prefix, host))?);
        }
        let mut topology =
            Self { prefix: prefix.to_owned(), namespaces, ports: HashMap::new(), client: 0 };
        // Before there is an interface, so that none gets an IPv6 address and talks.
        for host in Host::ALL {
            topology.run(host, quiet_ipv6)?.map_err(|source| Error::Sysctl { host, source })?;
        }
        topology.lay_cables()?;
        topology.configure_hosts()?;
        topology
            .run(Host::Router, || ProcSys.write("net/ipv4/ip_forward", "1"))?
            .map_err(|source| Error::Sysctl { host: Host::Router, source })?;
        Ok(topology)
    }

    /// What the names of its namespaces begin with.
    #[must_use]
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// The namespace of a host.
    #[must_use]
    pub fn namespace(&self, host: Host) -> &Namespace {
        &self.namespaces[&host]
    }

    /// The index of a host's port on the switch; 0, which no interface has, for a host without one.
    #[must_use]
    pub fn switch_port(&self, host: Host) -> u32 {
        let port = self.ports.iter().find(|(_, owner)| **owner == host);
        port.map_or(0, |(index, _)| *index)
    }

    /// Runs `work` in a thread on a host.
    ///
    /// # Errors
    ///
    /// [`Error::Namespace`] if the host's namespace cannot be entered.
    pub fn run<T: Send>(&self, host: Host, work: impl FnOnce() -> T + Send) -> Result<T, Error> {
        Ok(self.namespace(host).run(work)?)
    }

    /// Runs a future to its end in a thread on a host.
    ///
    /// # Errors
    ///
    /// [`Error::Namespace`] if the host's namespace cannot be entered.
    pub fn run_async<T, F>(&self, host: Host, work: impl FnOnce() -> F + Send) -> Result<T, Error>
    where
        T: Send,
        F: Future<Output = T>,
    {
        Ok(self.namespace(host).run_async(work)?)
    }

    /// Starts to capture what passes every port of the switch and the client's interface.
    ///
    /// # Errors
    ///
    /// [`Error::Capture`].
    pub fn watch(&self) -> Result<Watch<'_>, Error> {
        let start = |host| {
            self.run(host, Capture::start)?.map_err(|source| Error::Capture { host, source })
        };
        Ok(Watch { topology: self, client: start(Host::Client)?, switch: start(Host::Switch)? })
    }

    /// Leaves the network behind when this value is dropped; [`remove`] takes it away.
    pub fn keep(&mut self) {
        for namespace in self.namespaces.values_mut() {
            namespace.keep();
        }
    }

    fn lay_cables(&mut self) -> Result<(), Error> {
        self.client = self
            .on_network(Host::Router, async |netlink| {
                let client = self.namespace(Host::Client).handle().as_fd();
                netlink.create_veth("eth0", "eth0", Some(client)).await?;
                let router = netlink.require_link("eth0").await?.index;
                set_mac(&netlink, router, seed::ROUTER_OUTSIDE).await?;
                netlink.set_link_up(router, true).await
            })
            .and_then(|()| self.index_of(Host::Client, Host::Client.interface()))?;
        self.ports = self.on_network(Host::Switch, async |netlink| {
            netlink.create_bridge(Host::Switch.interface()).await?;
            let bridge = netlink.require_link(Host::Switch.interface()).await?.index;
            netlink.set_link_up(bridge, true).await?;
            let mut ports = HashMap::new();
            for host in Host::ON_SWITCH {
                let end = self.namespace(host).handle().as_fd();
                netlink.create_veth(host.name(), host.interface(), Some(end)).await?;
                let port = netlink.require_link(host.name()).await?.index;
                netlink.set_link_parent(port, Some(bridge)).await?;
                netlink.set_link_up(port, true).await?;
                ports.insert(port, host);
            }
            Ok(ports)
        })?;
        Ok(())
    }

    fn configure_hosts(&self) -> Result<(), Error> {
        for host in Host::ALL {
            let Some(address) = host.address() else {
                continue;
            };
            self.on_network(host, async |netlink| {
                let loopback = netlink.require_link("lo").await?.index;
                netlink.set_link_up(loopback, true).await?;
                let link = netlink.require_link(host.interface()).await?.index;
                set_mac(&netlink, link, address).await?;
                netlink.add_address(link, network(address)).await?;
                netlink.set_link_up(link, true).await?;
                if host == Host::Router {
                    let outside = netlink.require_link("eth0").await?.index;
                    return netlink.add_address(outside, network(seed::ROUTER_OUTSIDE)).await;
                }
                let gateway =
                    if host == Host::Client { seed::ROUTER_OUTSIDE } else { seed::ROUTER_INSIDE };
                let everywhere = IpNet::V4(Ipv4Net::default());
                netlink.add_route(&Route::new(everywhere, link).via(IpAddr::V4(gateway))).await
            })?;
            self.send_finished_packets(host, host.interface())?;
        }
        self.send_finished_packets(Host::Router, "eth0")
    }

    /// A veth promises to fill in checksums and to cut large segments, and does neither when XDP
    /// sends the packet on. So everyone has to send packets that are complete.
    fn send_finished_packets(&self, host: Host, interface: &'static str) -> Result<(), Error> {
        self.run(host, || {
            // Segmentation goes first: it depends on the checksum offload.
            for offload in
                [Offload::TcpSegmentation, Offload::GenericSegmentation, Offload::TxChecksum]
            {
                switch_offload(interface, offload, false)?;
            }
            Ok(())
        })?
        .map_err(|source| Error::Offload { host, interface, source })
    }

    fn index_of(&self, host: Host, interface: &str) -> Result<u32, Error> {
        self.on_network(host, async |netlink| Ok(netlink.require_link(interface).await?.index))
    }

    fn on_network<T: Send>(
        &self,
        host: Host,
        work: impl AsyncFnOnce(Netlink) -> Result<T, NetlinkError> + Send,
    ) -> Result<T, Error> {
        self.run_async(host, || async { work(Netlink::connect()?).await })?
            .map_err(|source| Error::Network { host, source })
    }
}

/// A running capture of the network's links.
#[derive(Debug)]
pub struct Watch<'a> {
    topology: &'a Topology,
    client: Capture,
    switch: Capture,
}

impl Watch<'_> {
    /// Takes what was seen since the last call: first on the client's link, then on the switch's
    /// ports, each in order.
    ///
    /// # Errors
    ///
    /// [`Error::Capture`].
    pub fn take(&self) -> Result<Vec<Sight>, Error> {
        let take = |host, capture: &Capture| {
            capture.take().map_err(|source| Error::Capture { host, source })
        };
        let on_client = take(Host::Client, &self.client)?.into_iter().map(|seen| {
            let host = (seen.interface == self.topology.client).then_some(Host::Client);
            // On the host itself, out is what it sends.
            (host, seen.direction == Direction::Out, seen.bytes)
        });
        let on_switch = take(Host::Switch, &self.switch)?.into_iter().map(|seen| {
            let host = self.topology.ports.get(&seen.interface).copied();
            // On the other end of its cable, in is what it sends.
            (host, seen.direction == Direction::In, seen.bytes)
        });
        Ok(on_client
            .chain(on_switch)
            .filter_map(|(host, sent, bytes)| {
                Some(Sight { host: host?, sent, frame: Frame::parse(&bytes)? })
            })
            .collect())
    }
}

/// Removes the namespaces of a network that was kept or left by a crash. What is not there is no
/// error.
///
/// # Errors
///
/// The first namespace that cannot be removed; the others are tried all the same.
pub fn remove(prefix: &str) -> Result<(), netns::Error> {
    let mut result = Ok(());
    for host in Host::ALL {
        result = result.and(netns::remove(&namespace_name(prefix, host)));
    }
    result
}

/// Whether a namespace of a network of that prefix is there.
#[must_use]
pub fn exists(prefix: &str) -> bool {
    Host::ALL.into_iter().any(|host| netns::exists(&namespace_name(prefix, host)))
}

/// The name of the namespace of a host.
#[must_use]
pub fn namespace_name(prefix: &str, host: Host) -> String {
    format!("{prefix}-{host}")
}

fn network(address: Ipv4Addr) -> IpNet {
    IpNet::V4(Ipv4Net::new_assert(address, seed::PREFIX_LENGTH))
}

async fn set_mac(netlink: &Netlink, link: u32, address: Ipv4Addr) -> Result<(), NetlinkError> {
    netlink.set_link_mac(link, mac_of(address).0).await
}

/// The seed's network is IPv4; router solicitations would only clutter captures. A kernel without
/// IPv6 is quiet as it is.
fn quiet_ipv6() -> Result<(), SysctlError> {
    for scope in ["all", "default"] {
        match ProcSys.write(&format!("net/ipv6/conf/{scope}/disable_ipv6"), "1") {
            Ok(()) | Err(SysctlError::Missing { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
