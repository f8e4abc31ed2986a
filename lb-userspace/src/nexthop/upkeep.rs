//! Keeps the next hops of a set of addresses resolved, for as long as it runs.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    time::Duration,
};

use futures_util::{Stream, StreamExt as _};
use tokio::{
    sync::watch,
    task::JoinHandle,
    time::{Instant, MissedTickBehavior, interval, sleep},
};

use crate::netlink::{Change, Monitor, Netlink, NetlinkError};

use super::{
    Known, Memory, NextHop, NextHopError, decide,
    decide::path,
    network::{Network, gather, probe},
};

/// What is known about each followed address.
pub type Resolutions = BTreeMap<IpAddr, Result<NextHop, NextHopError>>;

/// How quickly the upkeep reacts.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// How long changes are collected after the first one before the addresses are resolved again.
    pub settle: Duration,
    /// How often every entry is probed, since the data path's traffic does not keep entries alive.
    pub refresh: Duration,
}

impl Default for Pace {
    /// 50 ms: a link that goes down takes its routes with it in well under that. 5 s: with the kernel's own delays (5 s until
    /// it checks an entry in use, 3 s until it gives up) a real server with a new MAC address is found within 15 s.
    fn default() -> Self {
        Self { settle: Duration::from_millis(50), refresh: Duration::from_secs(5) }
    }
}

/// A running upkeep; it stops when this is dropped.
#[derive(Debug)]
pub struct Upkeep {
    targets: watch::Sender<BTreeSet<IpAddr>>,
    results: watch::Receiver<Resolutions>,
    task: JoinHandle<()>,
}

impl Upkeep {
    /// Starts in the network namespace of the calling thread; needs a running tokio runtime.
    pub fn start(pace: Pace) -> Result<Self, NetlinkError> {
        let netlink = Netlink::connect()?;
        let monitor = Monitor::connect()?;
        let (targets, followed) = watch::channel(BTreeSet::new());
        let (publish, results) = watch::channel(Resolutions::new());
        let task = tokio::spawn(watch(netlink, monitor, followed, publish, pace));
        Ok(Self { targets, results, task })
    }

    /// Follows exactly these addresses from now on.
    pub fn follow(&self, addresses: BTreeSet<IpAddr>) {
        self.targets.send_if_modified(|current| {
            let differ = *current != addresses;
            *current = addresses;
            differ
        });
    }

    /// Where the resolutions are published whenever one changes. An address that is followed appears at the first pass,
    /// resolved or with the reason why not.
    pub fn results(&self) -> watch::Receiver<Resolutions> {
        self.results.clone()
    }
}

impl Drop for Upkeep {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Resolves `targets` at once, on every change that may concern them, and every [`Pace::refresh`]; returns when nobody
/// sets targets or reads results any more.
pub async fn watch<N: Network>(
    network: N,
    mut changes: impl Stream<Item = Change> + Unpin,
    mut targets: watch::Receiver<BTreeSet<IpAddr>>,
    results: watch::Sender<Resolutions>,
    pace: Pace,
) {
    let mut refresh = interval(pace.refresh);
    refresh.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut neighbours = BTreeSet::new();
    let mut memory = Memory::default();
    let mut monitored = true;
    loop {
        let mut refreshing = false;
        let was_monitored = monitored;
        tokio::select! {
            changed = targets.changed() => if changed.is_err() {
                return;
            },
            () = results.closed() => return,
            change = changes.next(), if monitored => match change {
                Some(change) if !concerns(&change, &neighbours) => continue,
                Some(_) => monitored = settle(&mut changes, pace.settle).await,
                None => monitored = false,
            },
            _ = refresh.tick() => refreshing = true,
        }
        if was_monitored && !monitored {
            tracing::warn!(
                "notice of network changes has ended; next hops follow only every {:?}",
                pace.refresh
            );
        }
        let addresses = targets.borrow_and_update().clone();
        let last = results.borrow().clone();
        let (resolved, used) = pass(&network, &addresses, &last, &mut memory, refreshing).await;
        neighbours = used;
        results.send_if_modified(|current| {
            let differ = *current != resolved;
            *current = resolved;
            differ
        });
    }
}

/// Swallows changes for a while; tells whether the stream goes on. The time runs from the first change, so that changes
/// without end do not put off the answer without end.
async fn settle(changes: &mut (impl Stream<Item = Change> + Unpin), time: Duration) -> bool {
    let end = sleep(time);
    tokio::pin!(end);
    loop {
        tokio::select! {
            () = &mut end => return true,
            change = changes.next() => if change.is_none() {
                return false;
            },
        }
    }
}

/// Neighbours come and go all the time on a large segment; only those on our way matter. All else may move a route.
fn concerns(change: &Change, neighbours: &BTreeSet<(u32, IpAddr)>) -> bool {
    match change {
        Change::Neighbour(entry) => neighbours.contains(&(entry.link, entry.address)),
        Change::NeighbourGone { link, address } => neighbours.contains(&(*link, *address)),
        _ => true,
    }
}

/// Resolves all addresses, and gives the neighbours that they depend on. Probes what is unresolved, or all on a refresh.
async fn pass<N: Network>(
    network: &N,
    addresses: &BTreeSet<IpAddr>,
    last: &Resolutions,
    memory: &mut Memory,
    refreshing: bool,
) -> (Resolutions, BTreeSet<(u32, IpAddr)>) {
    let mut resolutions = Resolutions::new();
    let mut neighbours = BTreeSet::new();
    for &address in addresses {
        let outcome = match gather(network, address).await {
            Ok(known) => {
                let outcome = decide(address, &known);
                if refreshing || matches!(outcome, Err(NextHopError::Unresolved { .. })) {
                    probe(network, address, &known).await;
                }
                match path(address, &known.route) {
                    Ok(path) => {
                        let neighbour = (path.link, path.gateway.unwrap_or(address));
                        neighbours.insert(neighbour);
                        bridge(outcome, address, neighbour, known, memory)
                    }
                    Err(_) => outcome,
                }
            }
            // A question without an answer says nothing about the way.
            Err(error) => match last.get(&address) {
                Some(Ok(hop)) => {
                    tracing::warn!("the next hop to {address} is kept as it was: {error}");
                    Ok(*hop)
                }
                _ => Err(error),
            },
        };
        resolutions.insert(address, outcome);
    }
    memory.retain(|neighbour| neighbours.contains(neighbour));
    (resolutions, neighbours)
}

/// What is decided, or what would be if the neighbour entry had not just gone.
fn bridge(
    outcome: Result<NextHop, NextHopError>,
    address: IpAddr,
    (link, neighbour): (u32, IpAddr),
    known: Known,
    memory: &mut Memory,
) -> Result<NextHop, NextHopError> {
    match outcome {
        Ok(_) | Err(NextHopError::Unresolved { .. }) => {
            let entry = memory.recall(link, neighbour, known.neighbour, Instant::now());
            decide(address, &Known { neighbour: entry, ..known })
        }
        Err(_) => {
            memory.forget(link, neighbour);
            outcome
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex, MutexGuard};

    use futures_util::stream;
    use tokio::sync::mpsc;

    use super::{
        super::decide::tests::{SERVER, eth0, on_link},
        super::resolve,
        *,
    };
    use crate::netlink::{Link, Neighbour, NeighbourState, RouteTo};

    /// One address's surroundings, changeable while they are watched; a probe resolves.
    #[derive(Clone)]
    struct Fake(Arc<Mutex<(Known, Option<Neighbour>, usize)>>);

    impl Fake {
        fn new(known: Known) -> Self {
            Self(Arc::new(Mutex::new((known, on_link().neighbour, 0))))
        }

        fn lock(&self) -> MutexGuard<'_, (Known, Option<Neighbour>, usize)> {
            self.0.lock().expect("the lock")
        }

        fn probes(&self) -> usize {
            self.lock().2
        }
    }

    impl Network for Fake {
        async fn route_to(&self, _: IpAddr) -> Result<RouteTo, NetlinkError> {
            Ok(self.lock().0.route)
        }

        async fn link(&self, _: u32) -> Result<Option<Link>, NetlinkError> {
            Ok(self.lock().0.link.clone())
        }

        async fn neighbour(&self, _: u32, _: IpAddr) -> Result<Option<Neighbour>, NetlinkError> {
            Ok(self.lock().0.neighbour)
        }

        async fn probe(&self, _: u32, _: IpAddr) -> Result<(), NetlinkError> {
            let mut inner = self.lock();
            inner.2 += 1;
            if inner.0.neighbour.is_none() {
                inner.0.neighbour = inner.1;
            }
            Ok(())
        }
    }

    fn unresolved() -> Known {
        Known { neighbour: None, ..on_link() }
    }

    #[tokio::test]
    async fn an_unknown_neighbour_is_probed_before_first_use() {
        let fake = Fake::new(unresolved());
        let hop = resolve(&fake, SERVER, Duration::from_secs(1)).await;
        assert_eq!(hop.expect("a next hop").destination_mac, [2, 0, 0, 0, 0, 2]);
        assert_eq!(fake.probes(), 1);
    }

    #[tokio::test]
    async fn a_silent_neighbour_is_given_up_after_the_patience() {
        let fake = Fake::new(unresolved());
        fake.lock().1 = None;
        let hop = resolve(&fake, SERVER, Duration::from_millis(30)).await;
        assert!(matches!(hop, Err(NextHopError::Unresolved { .. })), "{hop:?}");
    }

    struct Watched {
        fake: Fake,
        changes: mpsc::UnboundedSender<Change>,
        targets: watch::Sender<BTreeSet<IpAddr>>,
        results: watch::Receiver<Resolutions>,
    }

    fn watched(fake: Fake, pace: Pace) -> Watched {
        let (changes, mut incoming) = mpsc::unbounded_channel();
        let (targets, followed) = watch::channel(BTreeSet::from([SERVER]));
        let (publish, results) = watch::channel(Resolutions::new());
        let stream = stream::poll_fn(move |context| incoming.poll_recv(context));
        tokio::spawn(watch(fake.clone(), stream, followed, publish, pace));
        Watched { fake, changes, targets, results }
    }

    async fn until(
        results: &mut watch::Receiver<Resolutions>,
        wanted: impl Fn(Option<&Result<NextHop, NextHopError>>) -> bool,
    ) {
        let wait = results.wait_for(|all| wanted(all.get(&SERVER)));
        tokio::time::timeout(Duration::from_secs(3), wait)
            .await
            .expect("in time")
            .expect("a result");
    }

    fn quick() -> Pace {
        Pace { settle: Duration::from_millis(5), refresh: Duration::from_secs(60) }
    }

    /// A kernel that gives no answer.
    struct Silent;

    impl Network for Silent {
        async fn route_to(&self, to: IpAddr) -> Result<RouteTo, NetlinkError> {
            Err(NetlinkError::NoAnswer {
                operation: "look up the route to",
                object: to.to_string(),
            })
        }

        async fn link(&self, _: u32) -> Result<Option<Link>, NetlinkError> {
            unreachable!("the route comes first")
        }

        async fn neighbour(&self, _: u32, _: IpAddr) -> Result<Option<Neighbour>, NetlinkError> {
            unreachable!("the route comes first")
        }

        async fn probe(&self, _: u32, _: IpAddr) -> Result<(), NetlinkError> {
            unreachable!("the route comes first")
        }
    }

    #[tokio::test]
    async fn a_next_hop_outlasts_a_question_without_an_answer() {
        let addresses = BTreeSet::from([SERVER]);
        let mut memory = Memory::default();
        let nothing = Resolutions::new();
        let (known, _) =
            pass(&Fake::new(on_link()), &addresses, &nothing, &mut memory, false).await;
        assert!(matches!(known.get(&SERVER), Some(Ok(_))), "{known:?}");
        let (kept, _) = pass(&Silent, &addresses, &known, &mut memory, false).await;
        assert_eq!(kept, known);
        let (unknown, _) = pass(&Silent, &addresses, &nothing, &mut memory, false).await;
        assert!(matches!(unknown.get(&SERVER), Some(Err(NextHopError::Query(_)))), "{unknown:?}");
    }

    #[tokio::test]
    async fn next_hops_follow_mac_and_link() {
        let mut watched = watched(Fake::new(on_link()), quick());
        until(&mut watched.results, |hop| matches!(hop, Some(Ok(_)))).await;

        let moved =
            Neighbour { mac: Some([2, 0, 0, 0, 0, 3]), ..on_link().neighbour.expect("an entry") };
        watched.fake.lock().0.neighbour = Some(moved);
        watched.changes.send(Change::Neighbour(moved)).expect("send");
        until(
            &mut watched.results,
            |hop| matches!(hop, Some(Ok(hop)) if hop.destination_mac == [2, 0, 0, 0, 0, 3]),
        )
        .await;

        let down = Link { up: false, ..eth0() };
        watched.fake.lock().0.link = Some(down.clone());
        watched.changes.send(Change::Link(down)).expect("send");
        until(
            &mut watched.results,
            |hop| matches!(hop, Some(Err(NextHopError::LinkDown(name))) if name == "eth0"),
        )
        .await;

        watched.fake.lock().0.link = Some(eth0());
        watched.changes.send(Change::Link(eth0())).expect("send");
        until(&mut watched.results, |hop| matches!(hop, Some(Ok(_)))).await;

        watched.targets.send_replace(BTreeSet::new());
        until(&mut watched.results, |hop| hop.is_none()).await;
    }

    #[tokio::test]
    async fn an_entry_that_goes_is_probed_and_held_until_the_kernel_gives_up() {
        let mut watched = watched(Fake::new(on_link()), quick());
        until(&mut watched.results, |hop| matches!(hop, Some(Ok(_)))).await;
        let entry = on_link().neighbour.expect("an entry");
        let probes = watched.fake.probes();

        // Nobody answers the probe.
        watched.fake.lock().1 = None;
        watched.fake.lock().0.neighbour = None;
        let gone = Change::NeighbourGone { link: entry.link, address: entry.address };
        watched.changes.send(gone).expect("send");
        while watched.fake.probes() == probes {
            sleep(Duration::from_millis(5)).await;
        }
        sleep(Duration::from_millis(20)).await;
        assert!(watched.results.borrow()[&SERVER].is_ok());

        let failed = Neighbour { mac: None, state: NeighbourState::Failed, ..entry };
        watched.fake.lock().0.neighbour = Some(failed);
        watched.changes.send(Change::Neighbour(failed)).expect("send");
        until(&mut watched.results, |hop| {
            matches!(hop, Some(Err(NextHopError::Unresolved { .. })))
        })
        .await;
    }

    #[tokio::test]
    async fn neighbours_of_others_cause_no_work() {
        let mut watched = watched(Fake::new(on_link()), quick());
        until(&mut watched.results, |hop| matches!(hop, Some(Ok(_)))).await;
        let stranger = Neighbour {
            link: 2,
            address: "192.168.19.77".parse().expect("an address"),
            mac: None,
            state: NeighbourState::Failed,
        };
        watched.fake.lock().0.link = None;
        watched.changes.send(Change::Neighbour(stranger)).expect("send");
        sleep(Duration::from_millis(50)).await;
        assert!(watched.results.borrow()[&SERVER].is_ok());
        watched.changes.send(Change::Lost).expect("send");
        until(&mut watched.results, |hop| matches!(hop, Some(Err(_)))).await;
    }

    #[tokio::test]
    async fn entries_are_refreshed_though_nothing_changes() {
        let pace = Pace { settle: Duration::from_millis(5), refresh: Duration::from_millis(20) };
        let watched = watched(Fake::new(on_link()), pace);
        let wait = async {
            while watched.fake.probes() < 3 {
                sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(3), wait).await.expect("three probes");
    }
}
