//! Asking the kernel about the way to an address, behind a trait, and resolving one address before its first use.

use std::{future::Future, net::IpAddr, time::Duration};

use tokio::time::{Instant, sleep};

use crate::netlink::{Link, LinkKind, Neighbour, Netlink, NetlinkError, RouteTo};

use super::{
    Known, NextHop, NextHopError, decide,
    decide::{neighbour_to_probe, path},
};

/// How often an awaited answer is looked for. An answer on a local network takes less than a millisecond.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// What next hops are resolved from.
pub trait Network: Send + Sync {
    /// What the kernel would do with a packet to this address.
    fn route_to(
        &self,
        address: IpAddr,
    ) -> impl Future<Output = Result<RouteTo, NetlinkError>> + Send;

    /// The link of this index.
    fn link(&self, index: u32) -> impl Future<Output = Result<Option<Link>, NetlinkError>> + Send;

    /// The neighbour entry of this address on a link.
    fn neighbour(
        &self,
        link: u32,
        address: IpAddr,
    ) -> impl Future<Output = Result<Option<Neighbour>, NetlinkError>> + Send;

    /// Has the kernel resolve or check the entry.
    fn probe(
        &self,
        link: u32,
        address: IpAddr,
    ) -> impl Future<Output = Result<(), NetlinkError>> + Send;
}

impl Network for Netlink {
    async fn route_to(&self, address: IpAddr) -> Result<RouteTo, NetlinkError> {
        Netlink::route_to(self, address).await
    }

    async fn link(&self, index: u32) -> Result<Option<Link>, NetlinkError> {
        self.link_by_index(index).await
    }

    async fn neighbour(
        &self,
        link: u32,
        address: IpAddr,
    ) -> Result<Option<Neighbour>, NetlinkError> {
        Netlink::neighbour(self, link, address).await
    }

    async fn probe(&self, link: u32, address: IpAddr) -> Result<(), NetlinkError> {
        self.probe_neighbour(link, address).await
    }
}

/// Asks for all that [`decide`] needs.
pub async fn gather<N: Network>(network: &N, address: IpAddr) -> Result<Known, NextHopError> {
    gather_raw(network, address).await.map_err(|error| NextHopError::Query(error.to_string()))
}

async fn gather_raw<N: Network>(network: &N, address: IpAddr) -> Result<Known, NetlinkError> {
    let mut known = Known {
        route: network.route_to(address).await?,
        link: None,
        parent: None,
        neighbour: None,
    };
    let Ok(path) = path(address, &known.route) else {
        return Ok(known);
    };
    known.link = network.link(path.link).await?;
    let Some(link) = &known.link else {
        return Ok(known);
    };
    if let LinkKind::Vlan { parent, .. } = link.kind {
        known.parent = network.link(parent).await?;
    }
    if link.ethernet {
        known.neighbour = network.neighbour(path.link, path.gateway.unwrap_or(address)).await?;
    }
    Ok(known)
}

/// Resolves one address, and waits up to `patience` for its MAC address to be found.
pub async fn resolve<N: Network>(
    network: &N,
    address: IpAddr,
    patience: Duration,
) -> Result<NextHop, NextHopError> {
    let deadline = Instant::now() + patience;
    loop {
        let known = gather(network, address).await?;
        let outcome = decide(address, &known);
        if !matches!(outcome, Err(NextHopError::Unresolved { .. })) || Instant::now() >= deadline {
            return outcome;
        }
        probe(network, address, &known).await;
        sleep(LOOK_AGAIN).await;
    }
}

/// Probes the neighbour if it is one to be probed. That a probe failed shows in what is known next time.
pub(super) async fn probe<N: Network>(network: &N, address: IpAddr, known: &Known) {
    if let Some((link, neighbour)) = neighbour_to_probe(address, known)
        && let Err(error) = network.probe(link, neighbour).await
    {
        tracing::debug!(%address, %neighbour, %error, "cannot probe");
    }
}
