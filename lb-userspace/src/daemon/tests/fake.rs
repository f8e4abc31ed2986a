//! A kernel in memory, a network that the test makes up, and a daemon on them.

use std::{
    collections::BTreeSet,
    fs,
    net::Ipv4Addr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use hyper::Method;
use lb_common::{
    MacAddress,
    flow::{FlowState, FlowWord},
    memory::{MemoryTables, SEED},
    table::{RealServer, Service},
};
use serde::Serialize;
use tokio::{
    sync::{oneshot, watch},
    task::JoinHandle,
};

use super::super::*;
use crate::{
    api::{NewServer, NewService, State},
    census::Census,
    client::{Client, ClientError},
    config::SchedulerName,
    netlink::{Link, LinkKind, NetlinkError},
    nexthop::NextHop,
    store::Store,
};

/// What outlives the daemon.
pub(super) struct Kernel {
    pub(super) tables: Option<MemoryTables>,
    pub(super) attached: Vec<Attachment>,
    pub(super) opened: usize,
    pub(super) flows: Arc<FakeFlows>,
}

/// The flow table, beside the other tables, as the sweeper's thread shares it; the test opens flows.
pub(super) struct FakeFlows {
    pub(super) words: [AtomicU64; 64],
    /// The data path's clock, in ticks.
    pub(super) now: AtomicU64,
    /// Whether the clock cannot be read.
    pub(super) broken: AtomicBool,
}

impl FakeFlows {
    /// Adds a flow of the real server with this index.
    pub(super) fn open(&self, real_server: u32, state: FlowState) {
        let now = self.now.load(Ordering::Relaxed);
        let word = FlowWord::new(1, real_server as u16, state, now);
        let free = self.words.iter().find(|word| word.load(Ordering::Relaxed) == 0);
        free.expect("room").store(word.0, Ordering::Relaxed);
    }
}

impl Kernel {
    pub(super) fn new() -> Arc<Mutex<Self>> {
        let mut tables = MemoryTables::new(16, SEED, 1000);
        tables.services = vec![Service::default(); 3];
        tables.real_servers = vec![RealServer::default(); 4];
        tables.lookup = vec![0; 1024];
        let flows = Arc::new(FakeFlows {
            words: std::array::from_fn(|_| AtomicU64::new(0)),
            now: AtomicU64::new(1000),
            broken: AtomicBool::new(false),
        });
        Arc::new(Mutex::new(Self { tables: Some(tables), attached: Vec::new(), opened: 0, flows }))
    }
}

/// Interface `bad0` cannot be attached to.
pub(super) struct FakePlane {
    pub(super) kernel: Arc<Mutex<Kernel>>,
    pub(super) tables: Option<MemoryTables>,
}

impl FakePlane {
    pub(super) fn open(kernel: &Arc<Mutex<Kernel>>) -> Self {
        let mut locked = kernel.lock().expect("the lock");
        locked.opened += 1;
        Self { kernel: kernel.clone(), tables: locked.tables.take() }
    }
}

impl Drop for FakePlane {
    fn drop(&mut self) {
        self.kernel.lock().expect("the lock").tables = self.tables.take();
    }
}

struct FakeSweeper {
    flows: Arc<FakeFlows>,
    real_servers: u32,
}

impl Sweeper for FakeSweeper {
    fn sweep(&mut self) -> Result<Census, DataPlaneError> {
        if self.flows.broken.load(Ordering::Relaxed) {
            return Err("no clock".into());
        }
        let mut census = Census::new(self.real_servers);
        census.take(&self.flows.words, self.flows.now.load(Ordering::Relaxed));
        Ok(census)
    }
}

impl DataPlane for FakePlane {
    fn store(&mut self) -> &mut dyn Store {
        self.tables.as_mut().expect("one daemon at a time")
    }

    fn sweeper(&mut self) -> Result<Box<dyn Sweeper>, DataPlaneError> {
        let real_servers = self.store().capacity().real_servers;
        let flows = self.kernel.lock().expect("the lock").flows.clone();
        Ok(Box::new(FakeSweeper { flows, real_servers }))
    }

    fn attachments(&self) -> Result<Vec<Attachment>, DataPlaneError> {
        Ok(self.kernel.lock().expect("the lock").attached.clone())
    }

    fn attach(
        &mut self,
        attachment: &Attachment,
        _mac: MacAddress,
    ) -> Result<bool, DataPlaneError> {
        if attachment.interface == "bad0" {
            return Err("bad0 has no XDP".into());
        }
        let attached = &mut self.kernel.lock().expect("the lock").attached;
        let adopted = attached.contains(attachment);
        attached.retain(|other| other.interface != attachment.interface);
        attached.push(attachment.clone());
        Ok(adopted)
    }

    fn set_mac(&mut self, _: &Attachment, _: MacAddress) -> Result<(), DataPlaneError> {
        Ok(())
    }

    fn detach(&mut self, interface: &str) -> Result<(), DataPlaneError> {
        let attached = &mut self.kernel.lock().expect("the lock").attached;
        attached.retain(|other| other.interface != interface);
        Ok(())
    }

    fn remove(&mut self) -> Result<(), DataPlaneError> {
        self.kernel.lock().expect("the lock").attached.clear();
        Ok(())
    }
}

pub(super) fn link(name: &str, index: u32) -> Link {
    Link {
        index,
        name: name.into(),
        mac: [2, 0, 0, 0, 0, index as u8],
        ethernet: true,
        mtu: 1500,
        admin_up: true,
        up: true,
        kind: LinkKind::Physical,
        parent: None,
    }
}

pub(super) fn hop() -> NextHop {
    NextHop {
        interface: 2,
        vlan: None,
        source_mac: [2, 0, 0, 0, 0, 2],
        destination_mac: [2, 0, 0, 0, 0, 9],
        source: Ipv4Addr::new(192, 168, 19, 254).into(),
        mtu: 1500,
    }
}

/// A network in which every server that is followed has the same next hop.
pub(super) struct FakeNetwork {
    pub(super) base: watch::Receiver<View>,
    pub(super) silent: watch::Receiver<BTreeSet<Ipv4Addr>>,
    pub(super) servers: BTreeSet<Ipv4Addr>,
}

impl Network for FakeNetwork {
    fn follow(&mut self, servers: BTreeSet<Ipv4Addr>) {
        self.servers = servers;
    }

    fn resolved(&self, servers: BTreeSet<Ipv4Addr>) -> impl Future<Output = ()> + Send + 'static {
        let mut silent = self.silent.clone();
        async move {
            let _ = silent.wait_for(|silent| silent.is_disjoint(&servers)).await;
        }
    }

    async fn view(&mut self) -> Result<View, NetlinkError> {
        let mut view = self.base.borrow_and_update().clone();
        for server in &self.servers {
            view.hops.entry(*server).or_insert(Ok(hop()));
        }
        Ok(view)
    }

    async fn changed(&mut self) {
        if self.base.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

pub(super) struct Scene {
    pub(super) folder: tempfile::TempDir,
    pub(super) kernel: Arc<Mutex<Kernel>>,
    pub(super) network: watch::Sender<View>,
    /// Servers that don't answer yet.
    pub(super) silent: watch::Sender<BTreeSet<Ipv4Addr>>,
}

pub(super) struct Running {
    pub(super) client: Client,
    pub(super) stop: Option<oneshot::Sender<()>>,
    pub(super) daemon: JoinHandle<Result<(), DaemonError>>,
}

pub(super) const CONFIG: &str = "# kept\ninterfaces = [\"eth0\"]\n";

impl Scene {
    pub(super) fn new(config: &str) -> Self {
        let links = vec![link("lo", 1), link("eth0", 2), link("eth1", 3), link("bad0", 4)];
        let view = View { links, ..View::default() };
        let scene = Self {
            folder: tempfile::tempdir().expect("a temporary folder"),
            kernel: Kernel::new(),
            network: watch::channel(view).0,
            silent: watch::channel(BTreeSet::new()).0,
        };
        fs::write(scene.config(), config).expect("written");
        scene
    }

    pub(super) fn config(&self) -> PathBuf {
        self.folder.path().join("tunlb.toml")
    }

    pub(super) fn text(&self) -> String {
        fs::read_to_string(self.config()).expect("readable")
    }

    pub(super) fn options(&self) -> Options {
        let overrides = Overrides {
            socket: Some(self.folder.path().join("tunlb.sock")),
            pin: Some("/sys/fs/bpf/test".into()),
            ..Overrides::default()
        };
        Options { config: self.config(), overrides, debug: false }
    }

    pub(super) fn spawn(&self, ready: impl FnOnce(&Config) + Send + 'static) -> Running {
        let (stop, stopped) = oneshot::channel::<()>();
        let options = self.options();
        let client = Client::new(options.overrides.socket.as_deref().expect("a socket"));
        let network = FakeNetwork {
            base: self.network.subscribe(),
            silent: self.silent.subscribe(),
            servers: BTreeSet::new(),
        };
        let kernel = self.kernel.clone();
        let daemon = tokio::spawn(async move {
            let open = |_: &Config| Ok(FakePlane::open(&kernel));
            let stop = async {
                let _ = stopped.await;
            };
            run(&options, network, open, stop, ready).await
        });
        Running { client, stop: Some(stop), daemon }
    }

    pub(super) async fn start(&self) -> Running {
        let (ready, is_ready) = oneshot::channel();
        let running = self.spawn(move |_| {
            let _ = ready.send(());
        });
        is_ready.await.expect("the daemon starts");
        running
    }

    pub(super) async fn refused(&self) -> String {
        let error = self.spawn(|_| ()).daemon.await.expect("no panic").expect_err("refused");
        chain(&error)
    }

    /// What is in the tables; only while no daemon runs.
    pub(super) fn tables<T>(&self, look: impl FnOnce(&MemoryTables) -> T) -> T {
        look(self.kernel.lock().expect("the lock").tables.as_ref().expect("no daemon runs"))
    }

    pub(super) fn flows(&self) -> Arc<FakeFlows> {
        self.kernel.lock().expect("the lock").flows.clone()
    }

    /// The entry of a real server; only while no daemon runs.
    pub(super) fn index(&self, server: &str) -> u32 {
        let address = server.parse::<Ipv4Addr>().expect("an address").into();
        let place = |tables: &MemoryTables| {
            tables.real_servers.iter().position(|entry| entry.address == address)
        };
        self.tables(place).expect("there") as u32
    }

    pub(super) fn attached(&self) -> Vec<String> {
        let kernel = self.kernel.lock().expect("the lock");
        kernel.attached.iter().map(|attachment| attachment.interface.clone()).collect()
    }
}

impl Running {
    pub(super) async fn ask<B: Serialize>(
        &self,
        method: Method,
        path: &str,
        body: &B,
    ) -> Vec<String> {
        let changes: Changes =
            self.client.request(method, path, Some(body)).await.expect("accepted");
        changes.changes.iter().map(ToString::to_string).collect()
    }

    pub(super) async fn error<B: Serialize>(
        &self,
        method: Method,
        path: &str,
        body: Option<&B>,
    ) -> String {
        let answer = self.client.request::<B, Changes>(method, path, body).await;
        answer.expect_err("refused").to_string()
    }

    pub(super) async fn state(&self) -> State {
        self.client.get("/v1/state").await.expect("a state")
    }

    pub(super) async fn apply(&self) -> Result<Changes, ClientError> {
        self.client.request(Method::POST, "/v1/apply", None::<&()>).await
    }

    pub(super) async fn add_service(&self) -> Vec<String> {
        self.ask(Method::POST, "/v1/services", &new_service()).await
    }

    pub(super) async fn add_server(&self, address: &str) -> Vec<String> {
        let address = address.parse().expect("an address");
        let body = NewServer { address, weight: "1".parse().expect("a weight") };
        self.ask(Method::POST, &servers_path(), &body).await
    }

    /// Ends the daemon as SIGTERM does.
    pub(super) async fn stop(mut self) {
        self.stop.take().map(|stop| stop.send(()));
        self.daemon.await.expect("no panic").expect("ends well");
    }

    /// Waits for the daemon to follow a change of the network.
    pub(super) async fn until(&self, wanted: impl Fn(&State) -> bool) {
        for _ in 0..200 {
            if wanted(&self.state().await) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("not seen: {:?}", self.state().await);
    }
}

pub(super) const SERVICE: &str = "tcp:10.0.0.9:80";

pub(super) fn servers_path() -> String {
    format!("/v1/services/{SERVICE}/servers")
}

/// The service, with the least that can be said of one.
pub(super) fn new_service() -> NewService {
    NewService {
        address: SERVICE.parse().expect("valid"),
        scheduler: SchedulerName::Rr,
        scheduler_flags: Vec::new(),
        table_size: None,
    }
}
