//! The daemon on tables in memory and a network that the test makes up, over a real socket.

mod fake;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    net::Ipv4Addr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use hyper::Method;
use lb_common::{Address, flow::FlowState, table::Vip};

use self::fake::{CONFIG, FakePlane, SERVICE, Scene, link, servers_path};
use super::*;
use crate::{
    api::{NewServer, ServerPatch, ServicePatch, State, Stats, Text},
    config::{Mode, SchedulerFlag, SchedulerName},
    plan::Ownership,
};

#[tokio::test(flavor = "multi_thread")]
async fn a_change_is_in_the_file_and_in_the_tables_and_survives_a_restart() {
    let scene = Scene::new(CONFIG);
    let daemon = scene.start().await;
    assert_eq!(
        daemon.add_service().await,
        ["+ vip 10.0.0.9 owned", "+ service tcp:10.0.0.9:80 scheduler rr"]
    );
    daemon.add_server("10.1.0.1").await;
    let added = daemon.add_server("10.1.0.2").await;
    assert_eq!(added, ["+ server tcp:10.0.0.9:80 10.1.0.2 weight 1"]);
    let body = ServerPatch { weight: "7".parse().expect("a weight") };
    let path = format!("{}/10.1.0.1", servers_path());
    let edited = daemon.ask(Method::PATCH, &path, &body).await;
    assert_eq!(edited, ["~ server tcp:10.0.0.9:80 10.1.0.1 weight 1 -> 7"]);
    let body = ServicePatch {
        scheduler: SchedulerName::Mh,
        scheduler_flags: vec![SchedulerFlag::MhPort],
        table_size: Some(509),
    };
    let edited = daemon.ask(Method::PATCH, &format!("/v1/services/{SERVICE}"), &body).await;
    assert_eq!(edited, ["~ service tcp:10.0.0.9:80 scheduler rr -> mh (mh-port) table-size 509"]);

    let state = daemon.state().await;
    let [service] = state.services.as_slice() else { panic!("{state:?}") };
    assert_eq!(service.scheduler.to_string(), "mh (mh-port) table-size 509");
    assert_eq!(service.vip, Ownership::Owned);
    let servers: Vec<_> =
        service.servers.iter().map(|s| (s.address.to_string(), s.weight.get())).collect();
    assert_eq!(servers, [("10.1.0.2".into(), 1), ("10.1.0.1".into(), 7)]);
    let next_hop = service.servers[0].next_hop.as_ref().expect("resolved");
    assert_eq!((next_hop.interface.as_str(), next_hop.mtu), ("eth0", 1500));
    assert_eq!(state.interfaces[0].mode, Some(Mode::Native));
    daemon.stop().await;

    assert!(scene.text().starts_with(CONFIG), "{}", scene.text());
    let before = scene.tables(|tables| (tables.services.clone(), tables.real_servers.clone()));
    assert_eq!(before.1.iter().filter(|entry| entry.interface == 2).count(), 2);
    assert_eq!(scene.attached(), ["eth0"]);

    let daemon = scene.start().await;
    assert_eq!(daemon.state().await, State { pid: std::process::id(), ..state });
    daemon.stop().await;
    let after = scene.tables(|tables| (tables.services.clone(), tables.real_servers.clone()));
    assert_eq!(before, after);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_refused_changes_nothing() {
    let scene = Scene::new(CONFIG);
    let daemon = scene.start().await;
    daemon.add_service().await;
    for server in ["10.1.0.1", "10.1.0.2", "10.1.0.3", "10.1.0.4"] {
        daemon.add_server(server).await;
    }
    let text = scene.text();
    let state = daemon.state().await;

    let new_service = fake::new_service();
    let new_server = |address: &str| NewServer {
        address: address.parse().expect("an address"),
        weight: "1".parse().expect("a weight"),
    };
    let post = Method::POST;
    let cases = [
        (daemon.error(post.clone(), "/v1/services", Some(&new_service)).await, "exists already"),
        (
            daemon.error(post.clone(), &servers_path(), Some(&new_server("10.1.0.1"))).await,
            "has server 10.1.0.1 already",
        ),
        (
            daemon.error(post.clone(), &servers_path(), Some(&new_server("10.0.0.9"))).await,
            "cannot be the VIP",
        ),
        (
            daemon.error(post.clone(), &servers_path(), Some(&new_server("224.0.0.1"))).await,
            "not a unicast address",
        ),
        // The tables hold four.
        (
            daemon.error(post.clone(), &servers_path(), Some(&new_server("10.1.0.5"))).await,
            "raise `tables.real_servers`",
        ),
        (daemon.error(post.clone(), "/v1/services", Some(&"x")).await, "invalid type"),
        (
            daemon.error(Method::DELETE, "/v1/services/tcp:10.0.0.9:81", None::<&()>).await,
            "no service tcp:10.0.0.9:81",
        ),
        (
            daemon.error(Method::DELETE, "/v1/services/x", None::<&()>).await,
            "`x` is no virtual service",
        ),
        (
            daemon
                .error(Method::DELETE, &format!("{}/10.1.0.9", servers_path()), None::<&()>)
                .await,
            "has no server 10.1.0.9",
        ),
        (daemon.error(Method::GET, "/v2", None::<&()>).await, "no such path"),
    ];
    for (error, expected) in cases {
        assert!(error.contains(expected), "{error}\n  does not say\n{expected}");
    }
    assert_eq!(scene.text(), text);
    assert_eq!(daemon.state().await, state);
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edited_file_is_planned_and_applied() {
    let scene = Scene::new(CONFIG);
    let daemon = scene.start().await;
    daemon.add_service().await;
    let edited = scene.text().replace("[\"eth0\"]", "[\"eth1\"]").replace("\"rr\"", "\"wrr\"");
    fs::write(scene.config(), &edited).expect("written");
    let path = format!("/v1/services/{SERVICE}");
    let error = daemon.error(Method::DELETE, &path, None::<&()>).await;
    assert!(error.contains("was edited since it was read; run `tunlb apply` first"), "{error}");
    let lines =
        ["+ interface eth1", "~ service tcp:10.0.0.9:80 scheduler rr -> wrr", "- interface eth0"];
    let planned: Changes = daemon.client.get("/v1/plan").await.expect("a plan");
    let said =
        |changes: &Changes| changes.changes.iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(said(&planned), lines);
    assert_eq!(scene.attached(), ["eth0"]);
    assert_eq!(said(&daemon.apply().await.expect("valid")), lines);
    assert_eq!(scene.attached(), ["eth1"]);
    assert_eq!(daemon.apply().await.expect("valid"), Changes::default());

    fs::write(scene.config(), "interfaces = [\"eth1\"]\nmode = \"generic\"\n").expect("written");
    let error = daemon.apply().await.expect_err("fixed").to_string();
    assert!(error.contains("`mode` cannot change while the director runs"), "{error}");
    fs::write(scene.config(), "interfaces = [").expect("written");
    let error = daemon.apply().await.expect_err("malformed").to_string();
    assert!(error.contains("tunlb.toml:1: "), "{error}");
    fs::write(scene.config(), "interfaces = [\"eth9\"]").expect("written");
    let error = daemon.apply().await.expect_err("unknown").to_string();
    assert!(error.contains("no interface eth9 here"), "{error}");
    assert_eq!(scene.attached(), ["eth1"]);
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_apply_that_fails_half_way_is_taken_back_whole() {
    let scene = Scene::new(CONFIG);
    let daemon = scene.start().await;
    daemon.add_service().await;
    daemon.add_server("10.1.0.1").await;
    let (text, state) = (scene.text(), daemon.state().await);
    let new =
        "interfaces = [\"eth0\", \"eth1\", \"bad0\"]\n[[service]]\naddress = \"udp:10.0.0.8:53\"\n";
    let body = Text { name: "new.toml".into(), text: new.into() };
    let error = daemon.error(Method::POST, "/v1/apply", Some(&body)).await;
    assert!(error.contains("bad0 has no XDP"), "{error}");
    assert_eq!(scene.text(), text);
    assert_eq!(daemon.state().await, state);
    assert_eq!(scene.attached(), ["eth0"]);
    let body = Text { text: new.replace(", \"bad0\"", ""), ..body };
    let lines = daemon.ask(Method::POST, "/v1/apply", &body).await;
    assert!(lines.contains(&"- service tcp:10.0.0.9:80".to_owned()), "{lines:?}");
    assert_eq!(scene.text(), body.text);
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_network_is_followed() {
    let scene = Scene::new(CONFIG);
    let daemon = scene.start().await;
    daemon.add_service().await;
    daemon.add_server("10.1.0.1").await;
    let server = Ipv4Addr::new(10, 1, 0, 1);

    scene.network.send_modify(|view| {
        view.addresses.insert(Ipv4Addr::new(10, 0, 0, 9));
        let unreachable = crate::nexthop::NextHopError::NoRoute(server.into());
        view.hops = BTreeMap::from([(server, Err(unreachable))]);
    });
    daemon.until(|state| state.services[0].vip == Ownership::Local).await;
    let state = daemon.state().await;
    let problem = state.services[0].servers[0].problem.as_deref();
    assert_eq!(problem, Some("no route to 10.1.0.1"));

    let eth0 = |view: &View| view.links.iter().position(|link| link.name == "eth0");
    scene.network.send_modify(|view| {
        view.hops.clear();
        let eth0 = eth0(view).expect("there");
        view.links[eth0].up = false;
    });
    daemon.until(|state| state.interfaces[0].problem.as_deref() == Some("is down")).await;
    assert!(daemon.state().await.services[0].servers[0].next_hop.is_some());
    scene.network.send_modify(|view| {
        let eth0 = eth0(view).expect("there");
        view.links.remove(eth0);
    });
    daemon.until(|state| state.interfaces[0].problem.as_deref() == Some("does not exist")).await;
    scene.network.send_modify(|view| view.links.push(link("eth0", 17)));
    daemon.until(|state| state.interfaces[0].problem.is_none()).await;
    assert_eq!(daemon.state().await.interfaces[0].index, Some(17));
    daemon.stop().await;
    let vip = Address::from(Ipv4Addr::new(10, 0, 0, 9));
    assert_eq!(scene.tables(|tables| tables.vips.get(&vip).copied()), Some(Vip::LOCAL));
}

#[tokio::test(flavor = "multi_thread")]
async fn statistics_name_every_reason_service_and_server() {
    let scene = Scene::new(CONFIG);
    let daemon = scene.start().await;
    daemon.add_service().await;
    daemon.add_server("10.1.0.1").await;
    let stats: Stats = daemon.client.get("/v1/stats").await.expect("stats");
    assert_eq!(stats.reasons.len(), lb_common::Reason::ALL.len());
    assert_eq!(stats.services[0].servers[0].address, Ipv4Addr::new(10, 1, 0, 1));
    daemon.stop().await;
}

/// What `list` says of each server's flows, and of all.
fn counts(state: &State) -> (Vec<Option<(u32, u32)>>, Option<u32>) {
    let servers = state.services.iter().flat_map(|service| &service.servers);
    let flows = servers.map(|server| server.flows.map(|flows| (flows.active, flows.inactive)));
    (flows.collect(), state.flow_table.in_use)
}

#[tokio::test(flavor = "multi_thread")]
async fn flows_are_counted_from_the_first_answer_on_and_go_when_their_time_is_over() {
    let scene = Scene::new(CONFIG);
    let daemon = scene.start().await;
    daemon.add_service().await;
    daemon.add_server("10.1.0.1").await;
    daemon.add_server("10.1.0.2").await;
    // The list has the newest first.
    assert_eq!(counts(&daemon.state().await), (vec![Some((0, 0)); 2], Some(0)));
    daemon.stop().await;

    let (one, two) = (scene.index("10.1.0.1"), scene.index("10.1.0.2"));
    let flows = scene.flows();
    for (server, state) in [
        (one, FlowState::ESTABLISHED),
        (one, FlowState::SYN_RECV),
        (one, FlowState::CLOSE),
        (two, FlowState::UDP),
        // An entry that no service has: of a server that was removed as the packet came.
        (3, FlowState::ESTABLISHED),
    ] {
        flows.open(server, state);
    }
    let daemon = scene.start().await;
    assert_eq!(counts(&daemon.state().await), (vec![Some((0, 1)), Some((2, 1))], Some(5)));

    // 61 seconds later.
    flows.now.fetch_add(57, Ordering::Relaxed);
    daemon.until(|state| state.flow_table.in_use == Some(3)).await;
    assert_eq!(counts(&daemon.state().await).0, [Some((0, 1)), Some((1, 0))]);
    flows.open(two, FlowState::SYN_RECV);
    daemon.until(|state| counts(state).0[0] == Some((1, 1))).await;
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_comes_into_another_servers_entry_has_none_of_its_flows() {
    let scene = Scene::new(CONFIG);
    let daemon = scene.start().await;
    daemon.add_service().await;
    // All that the tables hold, so that the next one gets the entry of whoever goes.
    for server in ["10.1.0.1", "10.1.0.2", "10.1.0.3", "10.1.0.4"] {
        daemon.add_server(server).await;
    }
    daemon.stop().await;
    let entry = scene.index("10.1.0.1");
    scene.flows().open(entry, FlowState::ESTABLISHED);

    let daemon = scene.start().await;
    assert_eq!(counts(&daemon.state().await).0[3], Some((1, 0)));
    // What is counted until the next sweep is from before.
    scene.flows().broken.store(true, Ordering::Relaxed);
    let path = format!("{}/10.1.0.1", servers_path());
    daemon.client.request::<(), Changes>(Method::DELETE, &path, None).await.expect("removed");
    daemon.add_server("10.1.0.5").await;
    let now = counts(&daemon.state().await).0[0];
    assert!(matches!(now, None | Some((0, 0))), "{now:?}");
    daemon.stop().await;
    assert_eq!(scene.index("10.1.0.5"), entry);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_counted_is_not_told() {
    let scene = Scene::new(CONFIG);
    scene.flows().broken.store(true, Ordering::Relaxed);
    let daemon = scene.start().await;
    daemon.add_service().await;
    daemon.add_server("10.1.0.1").await;
    assert_eq!(counts(&daemon.state().await), (vec![None], None));
    scene.flows().broken.store(false, Ordering::Relaxed);
    daemon.until(|state| counts(state) == (vec![Some((0, 0))], Some(0))).await;
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn detach_removes_everything_and_ends_the_daemon() {
    let scene = Scene::new(CONFIG);
    let daemon = scene.start().await;
    let _: Changes =
        daemon.client.request(Method::POST, "/v1/detach", None::<&()>).await.expect("detached");
    daemon.daemon.await.expect("no panic").expect("ends well");
    assert!(scene.attached().is_empty());
    let error = daemon.client.get::<State>("/v1/state").await.expect_err("ended").to_string();
    assert!(error.starts_with("no director listens on "), "{error}");
    assert!(error.ends_with("start it with `tunlb director`"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_start_says_why_and_touches_nothing() {
    let scene = Scene::new("interfaces = [\"eth9\"]\n");
    let error = scene.refused().await;
    assert!(error.contains("no interface eth9 here; `interfaces` may name: lo, eth0"), "{error}");
    fs::write(scene.config(), "interfaces = [\"eth0\"]\ntypo = 1\n").expect("written");
    let error = scene.refused().await;
    assert!(error.contains("tunlb.toml:2: unknown field `typo`"), "{error}");
    fs::remove_file(scene.config()).expect("removed");
    let error = scene.refused().await;
    assert!(error.contains("at least with: interfaces = [\"eth0\"]"), "{error}");
    assert_eq!(scene.kernel.lock().expect("the lock").opened, 0);

    fs::write(scene.config(), "interfaces = [\"eth0\", \"bad0\"]\n").expect("written");
    let error = scene.refused().await;
    assert!(error.contains("bad0 has no XDP"), "{error}");
    assert!(scene.attached().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_daemon_is_refused_and_the_first_goes_on() {
    let scene = Scene::new(CONFIG);
    let daemon = scene.start().await;
    let ready = Arc::new(AtomicUsize::new(0));
    let counted = ready.clone();
    let second = scene.spawn(move |_| {
        counted.fetch_add(1, Ordering::Relaxed);
    });
    let error = second.daemon.await.expect("no panic").expect_err("refused").to_string();
    assert!(error.contains(&format!("pid {}", std::process::id())), "{error}");
    assert_eq!(ready.load(Ordering::Relaxed), 0);
    daemon.state().await;
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_does_not_answer_holds_up_nobody_else() {
    let scene = Scene::new(CONFIG);
    let daemon = scene.start().await;
    daemon.add_service().await;
    let slow = Ipv4Addr::new(10, 1, 0, 9);
    scene.silent.send_replace(BTreeSet::from([slow]));
    let client = daemon.client.clone();
    let body = NewServer { address: slow, weight: "1".parse().expect("a weight") };
    let path = servers_path();
    let waiting = tokio::spawn(async move {
        client.request::<_, Changes>(Method::POST, &path, Some(&body)).await
    });
    let others = async {
        daemon.add_server("10.1.0.1").await;
        daemon.state().await
    };
    let state = tokio::time::timeout(Duration::from_secs(5), others).await.expect("in time");
    assert_eq!(state.services[0].servers.len(), 1);
    assert!(!waiting.is_finished());
    assert!(!scene.text().contains("10.1.0.9"), "{}", scene.text());

    scene.silent.send_replace(BTreeSet::new());
    waiting.await.expect("no panic").expect("accepted");
    let servers = daemon.state().await.services.remove(0).servers;
    let servers: Vec<_> = servers.iter().map(|server| server.address.to_string()).collect();
    assert_eq!(servers, ["10.1.0.9", "10.1.0.1"]);
    assert!(scene.text().contains("10.1.0.9"), "{}", scene.text());
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_waits_when_the_daemon_ends_is_refused_and_not_made() {
    let scene = Scene::new(CONFIG);
    let daemon = scene.start().await;
    daemon.add_service().await;
    let text = scene.text();
    scene.silent.send_replace(BTreeSet::from([Ipv4Addr::new(10, 1, 0, 9)]));
    let client = daemon.client.clone();
    let path = servers_path();
    let body =
        NewServer { address: Ipv4Addr::new(10, 1, 0, 9), weight: "1".parse().expect("a weight") };
    let waiting = tokio::spawn(async move {
        client.request::<_, Changes>(Method::POST, &path, Some(&body)).await
    });
    tokio::time::sleep(Duration::from_millis(50)).await;
    daemon.state().await;
    daemon.stop().await;
    let error = waiting.await.expect("no panic").expect_err("refused").to_string();
    assert!(error.contains("the director is stopping"), "{error}");
    assert_eq!(scene.text(), text);
}

#[test]
fn what_others_detached_is_told_and_attached_again() {
    let scene = Scene::new(CONFIG);
    let overrides = scene.options().overrides;
    let file = ConfigFile::read(&scene.config()).expect("readable");
    let config = Config::parse(file.text(), "", &overrides).expect("valid");
    let view = scene.network.borrow().clone();
    let plane = FakePlane::open(&scene.kernel);
    let mut control = Control::start(plane, file, overrides, config, view).expect("starts");
    let mut problem = |after_upkeep: bool| {
        if after_upkeep {
            control.keep_up();
        }
        control.state().expect("a state").interfaces[0].problem.clone()
    };
    assert_eq!(problem(false), None);
    scene.kernel.lock().expect("the lock").attached.clear();
    assert_eq!(problem(false).as_deref(), Some("not attached"));
    assert_eq!(problem(true), None);
    assert_eq!(scene.attached(), ["eth0"]);
}
