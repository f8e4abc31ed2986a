//! What the daemon knows of the host's network: links, addresses and next hops.

use std::{
    collections::{BTreeMap, BTreeSet},
    future::Future,
    net::{IpAddr, Ipv4Addr},
    time::Duration,
};

use futures_util::StreamExt as _;
use tokio::{
    sync::watch,
    time::{Instant, timeout},
};

use crate::{
    netlink::{Change, Link, Monitor, Netlink, NetlinkError},
    nexthop::{NextHop, NextHopError, Pace, Resolutions, Upkeep},
};

/// A glimpse of the host's network.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct View {
    /// Its links.
    pub links: Vec<Link>,
    /// Its IPv4 addresses.
    pub addresses: BTreeSet<Ipv4Addr>,
    /// The next hops of the servers that are followed, as far as they are known by now.
    pub hops: BTreeMap<Ipv4Addr, Result<NextHop, NextHopError>>,
}

/// The host's network.
pub trait Network: Send {
    /// Keeps the next hops of these servers fresh from now on.
    fn follow(&mut self, servers: BTreeSet<Ipv4Addr>);

    /// Waits until the next hop of each of these servers, which are followed, is known, or its
    /// answer has been due for a while.
    fn resolved(&self, servers: BTreeSet<Ipv4Addr>) -> impl Future<Output = ()> + Send + 'static;

    /// What there is now.
    fn view(&mut self) -> impl Future<Output = Result<View, NetlinkError>> + Send;

    /// Waits until the view may have changed. May be cancelled without losing a change.
    fn changed(&mut self) -> impl Future<Output = ()> + Send;
}

/// How long a new server's neighbour may take to answer before its first use.
const PATIENCE: Duration = Duration::from_millis(1500);

/// Changes come in bursts; one view per burst will do.
const SETTLE: Duration = Duration::from_millis(20);

/// The network of the kernel's namespace that this process is in.
pub struct KernelNetwork {
    netlink: Netlink,
    monitor: Monitor,
    monitored: bool,
    upkeep: Upkeep,
    hops: watch::Receiver<Resolutions>,
    dirty: bool,
    /// When what changed has had time to settle.
    settled: Option<Instant>,
}

impl KernelNetwork {
    /// Begins to watch the network namespace of the calling thread.
    pub fn connect() -> Result<Self, NetlinkError> {
        let upkeep = Upkeep::start(Pace::default())?;
        Ok(Self {
            netlink: Netlink::connect()?,
            monitor: Monitor::connect()?,
            monitored: true,
            hops: upkeep.results(),
            upkeep,
            dirty: false,
            settled: None,
        })
    }
}

impl Network for KernelNetwork {
    fn follow(&mut self, servers: BTreeSet<Ipv4Addr>) {
        self.upkeep.follow(servers.into_iter().map(IpAddr::V4).collect());
    }

    fn resolved(&self, servers: BTreeSet<Ipv4Addr>) -> impl Future<Output = ()> + Send + 'static {
        let mut hops = self.hops.clone();
        async move {
            let known = |hops: &Resolutions| {
                servers.iter().all(|server| match hops.get(&IpAddr::V4(*server)) {
                    None | Some(Err(NextHopError::Unresolved { .. })) => false,
                    Some(_) => true,
                })
            };
            // A server that never answers is no reason not to go on: `list` shows it.
            let _ = timeout(PATIENCE, hops.wait_for(known)).await;
        }
    }

    async fn view(&mut self) -> Result<View, NetlinkError> {
        let links = self.netlink.links().await?;
        let addresses = self.netlink.addresses(None).await?;
        let v4 = |address: IpAddr| match address {
            IpAddr::V4(v4) => Some(v4),
            IpAddr::V6(_) => None,
        };
        let hops = self.hops.borrow_and_update().clone();
        Ok(View {
            links,
            addresses: addresses.iter().filter_map(|address| v4(address.network.addr())).collect(),
            hops: hops.into_iter().filter_map(|(server, hop)| Some((v4(server)?, hop))).collect(),
        })
    }

    async fn changed(&mut self) {
        while !self.dirty {
            tokio::select! {
                change = self.monitor.next(), if self.monitored => match change {
                    Some(change) => self.dirty = concerns(&change),
                    None => {
                        tracing::warn!("notice of network changes has ended; restart the daemon");
                        self.monitored = false;
                    }
                },
                changed = self.hops.changed() => match changed {
                    Ok(()) => self.dirty = true,
                    Err(_) => std::future::pending().await,
                },
            }
        }
        // Kept beyond this future: whoever waits may be called away again and again.
        let settled = *self.settled.get_or_insert_with(|| Instant::now() + SETTLE);
        tokio::time::sleep_until(settled).await;
        self.settled = None;
        self.dirty = false;
    }
}

/// Whether a change is one of links or addresses; the rest is the next hops' business.
fn concerns(change: &Change) -> bool {
    matches!(
        change,
        Change::Link(_)
            | Change::LinkGone { .. }
            | Change::Address(_)
            | Change::AddressGone(_)
            | Change::Lost
    )
}
