//! A real server is set up, checked and undone on the real kernel; the XDP program is a stand-in.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv4Addr},
    os::fd::{AsFd as _, OwnedFd},
    path::Path,
    sync::Mutex,
    time::Duration,
};

use ipnet::IpNet;
use lb_userspace::{
    netlink::{Address, Link, Netlink, Route},
    nexthop::{NextHopError, resolve},
    realserver::{
        CheckArgs, DownArgs, Mode, RealServerError, UnwrapError, Unwrapper, Unwrapping, UpArgs,
        Verdict, check, down, up,
    },
    sysctl::{ProcSys, Sysctls as _},
};

use crate::support::{in_namespace, new_namespace, within};

pub(crate) const VIP: Ipv4Addr = Ipv4Addr::new(192, 168, 19, 100);
const VIP2: Ipv4Addr = Ipv4Addr::new(192, 168, 19, 101);

/// Remembers what is attached; unwraps nothing.
#[derive(Default)]
pub(crate) struct StandIn {
    attached: Mutex<BTreeMap<String, Unwrapping>>,
    broken: bool,
}

impl Unwrapper for StandIn {
    fn attach(
        &self,
        interface: &str,
        vips: &BTreeSet<Ipv4Addr>,
        generic: bool,
    ) -> Result<(), UnwrapError> {
        if self.broken {
            return Err("the verifier said no".into());
        }
        let unwrapping = Unwrapping { vips: vips.clone(), generic };
        self.attached.lock().expect("the lock").insert(interface.to_owned(), unwrapping);
        Ok(())
    }

    fn status(&self, interface: &str) -> Result<Option<Unwrapping>, UnwrapError> {
        Ok(self.attached.lock().expect("the lock").get(interface).cloned())
    }

    fn detach(&self, interface: &str) -> Result<(), UnwrapError> {
        self.attached.lock().expect("the lock").remove(interface);
        Ok(())
    }
}

/// rs1 of the seed (here), with the router at the other end of its wire.
struct Seed {
    rs1: Netlink,
    router: Netlink,
    router_index: u32,
    _router_namespace: OwnedFd,
}

pub(crate) fn network(text: &str) -> IpNet {
    text.parse().expect("a network")
}

async fn seed() -> Seed {
    let router_namespace = new_namespace();
    let rs1 = Netlink::connect().expect("connect");
    let router = within(&router_namespace, Netlink::connect).expect("connect there");
    rs1.create_veth("eth0", "eth1", Some(router_namespace.as_fd())).await.expect("veth");
    let index = rs1.require_link("eth0").await.expect("eth0").index;
    let router_index = router.require_link("eth1").await.expect("eth1").index;
    rs1.add_address(index, network("192.168.19.2/24")).await.expect("address");
    router.add_address(router_index, network("192.168.19.1/24")).await.expect("address");
    rs1.set_link_up(index, true).await.expect("up");
    router.set_link_up(router_index, true).await.expect("up");
    let gateway = "192.168.19.1".parse().expect("an address");
    let default = Route::new(network("0.0.0.0/0"), index).via(gateway);
    rs1.add_route(&default).await.expect("default route");
    Seed { rs1, router, router_index, _router_namespace: router_namespace }
}

/// All that `up` might touch.
#[derive(Debug, PartialEq)]
struct Snapshot {
    links: Vec<Link>,
    addresses: Vec<Address>,
    routes: Vec<Route>,
    sysctls: BTreeMap<String, Option<String>>,
}

async fn snapshot(netlink: &Netlink) -> Snapshot {
    // Duplicate address detection adds and settles IPv6 addresses in its own time; they are none of our business.
    let mut addresses = netlink.addresses(None).await.expect("addresses");
    addresses.retain(|address| address.network.addr().is_ipv4());
    let links = netlink.links().await.expect("links");
    let mut sysctls = BTreeMap::new();
    let places = links.iter().map(|link| link.name.as_str()).chain(["all", "default"]);
    for place in places {
        for name in ["arp_ignore", "arp_announce", "rp_filter"] {
            let key = format!("net/ipv4/conf/{place}/{name}");
            let value = ProcSys.read(&key).ok();
            sysctls.insert(key, value);
        }
    }
    Snapshot { links, addresses, routes: netlink.routes_v4().await.expect("routes"), sysctls }
}

pub(crate) fn up_args(folder: &Path, vip: Ipv4Addr) -> UpArgs {
    UpArgs {
        vips: vec![vip],
        interface: None,
        xdp: true,
        generic: false,
        dry_run: false,
        state_dir: folder.join("state"),
        json: false,
    }
}

pub(crate) fn check_args(folder: &Path) -> CheckArgs {
    CheckArgs {
        vips: Vec::new(),
        interface: None,
        xdp: false,
        state_dir: folder.join("state"),
        json: false,
    }
}

pub(crate) fn down_args(folder: &Path) -> DownArgs {
    DownArgs { state_dir: folder.join("state"), json: false }
}

/// Whether the router gets an answer when it asks who has the VIP.
async fn router_gets_an_answer(seed: &Seed) -> bool {
    // A wire that has just come up may lose the first question; silence counts only once another answer has come.
    let own = IpAddr::V4(Ipv4Addr::new(192, 168, 19, 2));
    resolve(&seed.router, own, Duration::from_secs(5)).await.expect("rs1's own address");
    let vip = IpAddr::V4(VIP);
    let hop = resolve(&seed.router, vip, Duration::from_millis(300)).await;
    // Each question is to be a new one.
    seed.router.delete_neighbour(seed.router_index, vip).await.expect("forget");
    match hop {
        Ok(_) => true,
        Err(NextHopError::Unresolved { .. }) => false,
        Err(other) => panic!("{other}"),
    }
}

#[test]
fn up_check_and_down_leave_the_host_as_it_was() {
    in_namespace(|| async {
        let seed = seed().await;
        let folder = tempfile::tempdir().expect("a folder");
        let unwrapper = StandIn::default();
        let before = snapshot(&seed.rs1).await;

        let report = up(&up_args(folder.path(), VIP), &unwrapper).await.expect("up");
        assert_eq!((report.interface.as_str(), report.mode), ("eth0", Mode::Xdp));
        let report = check(&check_args(folder.path()), &unwrapper).await.expect("check");
        assert!(report.right, "{:#?}", report.findings);
        assert!(!router_gets_an_answer(&seed).await, "the VIP must stay silent");
        let routes = seed.rs1.routes_v4().await.expect("routes");
        let changed: Vec<_> = routes.iter().filter(|route| route.advmss == Some(1440)).collect();
        assert_eq!(changed.len(), 2, "{routes:#?}");

        let again = up(&up_args(folder.path(), VIP), &unwrapper).await.expect("up again");
        assert!(again.changes.is_empty(), "{:?}", again.changes);
        let more = up(&up_args(folder.path(), VIP2), &unwrapper).await.expect("up with another");
        assert_eq!(more.vips, BTreeSet::from([VIP, VIP2]));
        let status = unwrapper.status("eth0").expect("status").expect("attached");
        assert_eq!(status.vips, more.vips);
        let report = check(&check_args(folder.path()), &unwrapper).await.expect("check");
        assert!(report.right, "{:#?}", report.findings);

        down(&down_args(folder.path()), &unwrapper).await.expect("down");
        assert_eq!(snapshot(&seed.rs1).await, before);
        assert_eq!(unwrapper.status("eth0").expect("status"), None);
        assert!(!folder.path().join("state").exists());
        let error = down(&down_args(folder.path()), &unwrapper).await.expect_err("nothing left");
        assert!(matches!(error, RealServerError::NotSetUp(_)), "{error}");
    });
}

#[test]
fn the_mode_follows_the_kernel_unless_one_is_asked_for() {
    in_namespace(|| async {
        let seed = seed().await;
        let folder = tempfile::tempdir().expect("a folder");
        let unwrapper = StandIn::default();
        let before = snapshot(&seed.rs1).await;
        let args = UpArgs { xdp: false, ..up_args(folder.path(), VIP) };
        let report = up(&args, &unwrapper).await.expect("up");
        // Which of the two depends on the kernel that runs the test; both must be right, and be undone.
        assert_eq!(report.no_ipip, report.mode == Mode::Xdp);
        let found = check(&check_args(folder.path()), &unwrapper).await.expect("check");
        assert!(found.right, "{:#?}", found.findings);
        assert_eq!(found.mode, report.mode);
        assert!(!router_gets_an_answer(&seed).await, "the VIP must stay silent");
        down(&down_args(folder.path()), &unwrapper).await.expect("down");
        let mut after = snapshot(&seed.rs1).await;
        if report.mode == Mode::Kernel && before.links.iter().all(|link| link.name != "tunl0") {
            // The module makes its device in every namespace when it is loaded, and keeps it.
            after.links.retain(|link| link.name != "tunl0");
            after.sysctls.retain(|key, _| !key.contains("tunl0"));
        }
        assert_eq!(after, before);
    });
}

#[test]
fn check_finds_a_vip_that_answers_arp() {
    in_namespace(|| async {
        let seed = seed().await;
        let lo = seed.rs1.require_link("lo").await.expect("lo").index;
        seed.rs1.set_link_up(lo, true).await.expect("up");
        seed.rs1.add_address(lo, IpNet::from(IpAddr::V4(VIP))).await.expect("address");
        assert!(router_gets_an_answer(&seed).await, "the mistake has no effect here");

        let folder = tempfile::tempdir().expect("a folder");
        let args = CheckArgs { vips: vec![VIP], xdp: true, ..check_args(folder.path()) };
        let report = check(&args, &StandIn::default()).await.expect("check");
        assert!(!report.right);
        let arp = report
            .findings
            .iter()
            .find(|finding| finding.what.contains("answers ARP for the VIP"))
            .expect("the finding");
        assert_eq!(arp.verdict, Verdict::Wrong);
        let remedy = "echo 1 > /proc/sys/net/ipv4/conf/eth0/arp_ignore";
        assert_eq!(arp.remedy.as_deref(), Some(remedy));
        ProcSys.write("net/ipv4/conf/eth0/arp_ignore", "1").expect("the remedy");
        assert!(!router_gets_an_answer(&seed).await, "the remedy does not help");
        assert!(!folder.path().join("state").exists());
    });
}

#[test]
fn a_failed_up_leaves_nothing_behind() {
    in_namespace(|| async {
        let seed = seed().await;
        let folder = tempfile::tempdir().expect("a folder");
        let before = snapshot(&seed.rs1).await;
        let unwrapper = StandIn { broken: true, ..StandIn::default() };
        let error = up(&up_args(folder.path(), VIP), &unwrapper).await.expect_err("broken");
        assert!(
            error.to_string().starts_with("cannot attach the unwrapping XDP program"),
            "{error}"
        );
        assert_eq!(snapshot(&seed.rs1).await, before);
        assert!(!folder.path().join("state").exists());

        let own = Ipv4Addr::new(192, 168, 19, 2);
        let error = up(&up_args(folder.path(), own), &StandIn::default()).await.expect_err("own");
        assert!(matches!(error, RealServerError::VipOnInterface { .. }), "{error}");
        let args = UpArgs { interface: Some("eth7".to_owned()), ..up_args(folder.path(), VIP) };
        let error = up(&args, &StandIn::default()).await.expect_err("no such interface");
        assert_eq!(error.to_string(), "no interface eth7; see `ip link`");
        let args = UpArgs { dry_run: true, ..up_args(folder.path(), VIP) };
        let report = up(&args, &StandIn::default()).await.expect("dry run");
        assert!(!report.changes.is_empty());
        assert_eq!(snapshot(&seed.rs1).await, before);
        assert!(!folder.path().join("state").exists());
    });
}

#[test]
fn a_state_of_another_namespace_is_not_touched() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().to_owned();
    in_namespace(|| async move {
        let _here = seed().await;
        up(&up_args(&path, VIP), &StandIn::default()).await.expect("up");
        let elsewhere = new_namespace();
        within(&elsewhere, || {
            let attempt = down_in_thread(&path);
            assert!(matches!(attempt, Err(RealServerError::OtherNamespace(_))), "{attempt:?}");
        });
        assert!(path.join("state/state.json").exists());
        down(&down_args(&path), &StandIn::default()).await.expect("down");
    });
}

/// Runs `down` on a thread of its own, which inherits the namespace that the caller is in.
fn down_in_thread(path: &Path) -> Result<(), RealServerError> {
    let path = path.to_owned();
    std::thread::spawn(move || {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(down(&down_args(&path), &StandIn::default())).map(drop)
    })
    .join()
    .expect("the thread")
}
