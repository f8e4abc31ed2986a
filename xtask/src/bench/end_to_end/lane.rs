//! A director's host between a generator and the real servers' side, in three network namespaces.
//!
//! `g0 ── d0 (director) d1 ── s0`: what goes into g0 arrives at the director; what it sends to real servers arrives at s0,
//! where it is counted and dropped. Each engine has a lane of its own, so that going from one to the other changes nothing
//! in either.

use std::{
    fs,
    net::{IpAddr, Ipv4Addr},
    os::fd::AsFd as _,
};

use anyhow::{Context as _, Result};
use ipnet::{IpNet, Ipv4Net};
use lb_userspace::{
    netlink::{Netlink, NetlinkError, Route},
    netns::Namespace,
    sysctl::{ProcSys, SysctlError, Sysctls as _},
};

use super::super::frame::{INTERFACE, VIP};

/// The VIPs of the recipe, and the real servers of each.
pub(super) const VIPS: u32 = 6;
pub(super) const SERVERS: u32 = 100;

/// The generator's end.
pub(super) const GENERATOR: &str = "g0";
/// Where clients' packets come in.
pub(super) const IN: &str = "d0";
/// Where packets for real servers leave.
const OUT: &str = "d1";
/// The real servers' side.
pub(super) const SINK: &str = "s0";

/// The director's address on d1, and the router behind which all real servers are.
const DIRECTOR: Ipv4Addr = Ipv4Addr::new(192, 168, 20, 1);
const ROUTER: Ipv4Addr = Ipv4Addr::new(192, 168, 20, 2);
/// Not that of s0: without a program there the kernel drops the frames first thing, as another host's.
const ROUTER_MAC: [u8; 6] = [2, 0, 0, 0, 0, 0x20];

/// The namespaces, which go with this value.
pub(super) struct Lane {
    pub(super) client: Namespace,
    pub(super) director: Namespace,
    pub(super) servers: Namespace,
    /// The index of [`GENERATOR`].
    pub(super) generator: u32,
}

impl Lane {
    /// Makes the links; no engine yet.
    pub(super) fn build(name: &str) -> Result<Self> {
        let create = |host: &str| Namespace::create(&format!("{name}-{host}"));
        let mut lane = Self {
            client: create("client")?,
            director: create("director")?,
            servers: create("servers")?,
            generator: 0,
        };
        for namespace in [&lane.client, &lane.director, &lane.servers] {
            // Router solicitations would be counted as packets.
            namespace.run(quiet_ipv6)??;
        }
        let director = lane.director.handle().as_fd();
        lane.generator = on_network(&lane.client, async |netlink| {
            netlink.create_veth(GENERATOR, IN, Some(director)).await?;
            up(&netlink, GENERATOR).await
        })?;
        let servers = lane.servers.handle().as_fd();
        on_network(&lane.director, async |netlink| {
            netlink.create_veth(OUT, SINK, Some(servers)).await?;
            let link = netlink.require_link(IN).await?.index;
            netlink.set_link_mac(link, INTERFACE.mac().0).await?;
            up(&netlink, "lo").await?;
            up(&netlink, IN).await?;
            let out = up(&netlink, OUT).await?;
            netlink.add_address(out, IpNet::V4(Ipv4Net::new_assert(DIRECTOR, 24))).await?;
            netlink.set_neighbour(out, IpAddr::V4(ROUTER), ROUTER_MAC).await?;
            let servers = IpNet::V4(Ipv4Net::new_assert(server(0, 0), 10));
            netlink.add_route(&Route::new(servers, out).via(IpAddr::V4(ROUTER))).await
        })?;
        on_network(&lane.servers, async |netlink| up(&netlink, SINK).await)?;
        Ok(lane)
    }

    /// Makes the VIPs the director's own, which IPVS takes packets for and the kernel's stack answers ARP for.
    pub(super) fn own_vips(&self) -> Result<()> {
        on_network(&self.director, async |netlink| {
            let loopback = netlink.require_link("lo").await?.index;
            for vip in (0..VIPS).map(vip) {
                netlink.add_address(loopback, IpNet::V4(Ipv4Net::new_assert(vip, 32))).await?;
            }
            Ok(())
        })
    }

    /// Packets that have arrived at the real servers' side.
    pub(super) fn arrived(&self) -> Result<u64> {
        self.servers.run(|| received(SINK))?
    }
}

/// The address of a VIP.
pub(super) fn vip(number: u32) -> Ipv4Addr {
    Ipv4Addr::from_bits(VIP + number)
}

/// The address of a real server: 100.64.0.0/10 is not among the sources.
pub(super) fn server(vip: u32, number: u32) -> Ipv4Addr {
    Ipv4Addr::from_bits(0x6440_0000 + (vip << 8) + number)
}

/// The packets that an interface of the current namespace has received.
pub(super) fn received(interface: &str) -> Result<u64> {
    device_counter(interface, 1)
}

/// The packets that it has sent.
pub(super) fn sent(interface: &str) -> Result<u64> {
    device_counter(interface, 9)
}

/// A column of `/proc/net/dev` of this thread's network namespace.
fn device_counter(interface: &str, column: usize) -> Result<u64> {
    let text = fs::read_to_string("/proc/thread-self/net/dev").context("cannot read net/dev")?;
    column_of(&text, interface, column).with_context(|| format!("no interface {interface} here"))
}

fn column_of(text: &str, interface: &str, column: usize) -> Option<u64> {
    let lines = text.lines().filter_map(|line| line.split_once(':'));
    let (_, counters) = lines.into_iter().find(|(name, _)| name.trim() == interface)?;
    counters.split_whitespace().nth(column)?.parse().ok()
}

async fn up(netlink: &Netlink, name: &str) -> Result<u32, NetlinkError> {
    let link = netlink.require_link(name).await?.index;
    netlink.set_link_up(link, true).await?;
    Ok(link)
}

fn on_network<T: Send>(
    namespace: &Namespace,
    work: impl AsyncFnOnce(Netlink) -> Result<T, NetlinkError> + Send,
) -> Result<T> {
    Ok(namespace.run_async(|| async { work(Netlink::connect()?).await })??)
}

fn quiet_ipv6() -> Result<(), SysctlError> {
    for scope in ["all", "default"] {
        match ProcSys.write(&format!("net/ipv6/conf/{scope}/disable_ipv6"), "1") {
            Ok(()) | Err(SysctlError::Missing { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_of_net_dev() {
        let text = "Inter-|   Receive    |  Transmit\n face |bytes packets errs\n\
                    lo: 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16\n  s0:100 200 0 0 0 0 0 0 300 400 0 0 0 0 0 0\n";
        assert_eq!(column_of(text, "s0", 1), Some(200));
        assert_eq!(column_of(text, "s0", 9), Some(400));
        assert_eq!(column_of(text, "s1", 1), None);
    }

    #[test]
    fn real_servers_are_no_clients() {
        assert_eq!(server(5, 99), Ipv4Addr::new(100, 64, 5, 99));
        assert_ne!(server(0, 0).octets()[0], 10);
    }
}
