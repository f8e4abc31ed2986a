//! Links, addresses, routes, neighbours and their changes, against the real kernel.

use std::{net::IpAddr, os::fd::AsFd as _, time::Duration};

use crate::support::{in_namespace, new_namespace, within};
use futures_util::StreamExt as _;
use ipnet::IpNet;
use lb_userspace::netlink::{
    Address, Change, LinkKind, Monitor, NeighbourState, Netlink, Path, Rejection, Route, RouteKind,
    RouteTo,
};

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn net(text: &str) -> IpNet {
    text.parse().expect("a network")
}

/// lo and veth pair a/b, up, 10.0.0.1/24 on a.
async fn pair(netlink: &Netlink) -> (u32, u32) {
    netlink.create_veth("a", "b", None).await.expect("veth");
    let a = netlink.require_link("a").await.expect("a").index;
    let b = netlink.require_link("b").await.expect("b").index;
    netlink.add_address(a, net("10.0.0.1/24")).await.expect("address");
    netlink.set_link_up(a, true).await.expect("up");
    netlink.set_link_up(b, true).await.expect("up");
    (a, b)
}

#[test]
fn links_are_made_changed_and_deleted() {
    in_namespace(|| async {
        let netlink = Netlink::connect().expect("connect");
        let lo = netlink.require_link("lo").await.expect("lo");
        assert_eq!(lo.kind, LinkKind::Loopback);
        assert!(!lo.ethernet && !lo.up);

        netlink.create_veth("a", "b", None).await.expect("veth");
        let a = netlink.require_link("a").await.expect("a");
        assert_eq!(a.kind, LinkKind::Veth);
        assert!(a.ethernet && !a.admin_up && !a.up);
        assert_eq!(a.mtu, 1500);
        let again = netlink.create_veth("a", "b", None).await.expect_err("exists");
        assert!(again.already_exists(), "{again}");

        netlink.set_link_up(a.index, true).await.expect("up");
        let half = netlink.require_link("a").await.expect("a");
        assert!(half.admin_up && !half.up, "no carrier while the peer is down");

        let mac = [2, 0, 0, 0, 0, 9];
        netlink.set_link_mac(a.index, mac).await.expect("mac");
        netlink.set_link_mtu(a.index, 1400).await.expect("mtu");
        netlink.create_bridge("br").await.expect("bridge");
        let bridge = netlink.require_link("br").await.expect("br");
        assert_eq!(bridge.kind, LinkKind::Bridge);
        netlink.set_link_parent(a.index, Some(bridge.index)).await.expect("join");
        let a = netlink.link_by_index(a.index).await.expect("read").expect("a");
        assert_eq!((a.mac, a.mtu, a.parent), (mac, 1400, Some(bridge.index)));
        netlink.set_link_parent(a.index, None).await.expect("leave");

        netlink.set_link_up(a.index, false).await.expect("down");
        netlink.rename_link(a.index, "c").await.expect("rename");
        assert_eq!(netlink.link_by_name("a").await.expect("read"), None);
        // A kernel with tunnel modules has devices of its own in every namespace.
        let mut names: Vec<String> =
            netlink.links().await.expect("list").into_iter().map(|link| link.name).collect();
        names.retain(|name| ["lo", "a", "b", "c", "br"].contains(&name.as_str()));
        names.sort();
        assert_eq!(names, ["b", "br", "c", "lo"]);

        netlink.delete_link(a.index).await.expect("delete");
        assert_eq!(netlink.link_by_name("b").await.expect("read"), None);
        let gone = netlink.delete_link(a.index).await.expect_err("gone");
        assert!(gone.not_found(), "{gone}");
        let missing = netlink.require_link("nope").await.expect_err("missing");
        assert_eq!(missing.to_string(), "link nope does not exist");
    });
}

#[test]
fn a_veth_pair_spans_namespaces_and_a_link_moves() {
    in_namespace(|| async {
        let netlink = Netlink::connect().expect("connect");
        let other = new_namespace();
        let there = within(&other, Netlink::connect).expect("connect there");
        netlink.create_veth("a", "b", Some(other.as_fd())).await.expect("veth");
        assert_eq!(netlink.link_by_name("b").await.expect("read"), None);
        there.require_link("b").await.expect("the peer");

        let a = netlink.require_link("a").await.expect("a").index;
        netlink.move_link(a, other.as_fd(), Some("eth0")).await.expect("move");
        there.require_link("eth0").await.expect("moved");
    });
}

#[test]
fn addresses_are_added_listed_and_deleted() {
    in_namespace(|| async {
        let netlink = Netlink::connect().expect("connect");
        let (a, _) = pair(&netlink).await;
        let twice = netlink.add_address(a, net("10.0.0.1/24")).await;
        assert!(twice.expect_err("exists").already_exists());
        netlink.add_address(a, net("192.0.2.1/32")).await.expect("add");
        let listed = netlink.addresses(Some(a)).await.expect("list");
        for network in [net("10.0.0.1/24"), net("192.0.2.1/32")] {
            assert!(listed.contains(&Address { link: a, network }), "{listed:?}");
        }
        netlink.delete_address(a, net("192.0.2.1/32")).await.expect("delete");
        let gone = netlink.delete_address(a, net("192.0.2.1/32")).await.expect_err("gone");
        assert!(gone.not_found(), "{gone}");
    });
}

#[test]
fn the_way_of_a_packet_is_the_kernels() {
    in_namespace(|| async {
        let netlink = Netlink::connect().expect("connect");
        let (a, _) = pair(&netlink).await;
        let lo = netlink.require_link("lo").await.expect("lo").index;
        netlink.set_link_up(lo, true).await.expect("up");

        let on_link = netlink.route_to(ip("10.0.0.7")).await.expect("route");
        let path = Path { link: a, gateway: None, source: Some(ip("10.0.0.1")), mtu: None };
        assert_eq!(on_link, RouteTo::Unicast(path));
        assert_eq!(netlink.route_to(ip("10.0.0.1")).await.expect("route"), RouteTo::Local);
        let nowhere = netlink.route_to(ip("198.51.100.1")).await.expect("route");
        assert_eq!(nowhere, RouteTo::Rejected(Rejection::NoRoute));
        let nowhere = netlink.route_to(ip("2001:db8::1")).await.expect("route");
        assert_eq!(nowhere, RouteTo::Rejected(Rejection::NoRoute));

        let gateway = ip("10.0.0.254");
        let mut default = Route::new(net("0.0.0.0/0"), a).via(gateway);
        default.mtu = Some(1300);
        netlink.add_route(&default).await.expect("default");
        assert_eq!(
            netlink.route_to(ip("198.51.100.1")).await.expect("route"),
            RouteTo::Unicast(Path { gateway: Some(gateway), mtu: Some(1300), ..path })
        );
        let again = netlink.add_route(&default).await.expect_err("exists");
        assert!(again.already_exists(), "{again}");

        for (kind, rejection) in [
            (RouteKind::Unreachable, Rejection::Unreachable),
            (RouteKind::Prohibit, Rejection::Prohibited),
            (RouteKind::Blackhole, Rejection::Blackhole),
        ] {
            let route = Route::rejecting(net("203.0.113.0/24"), kind);
            netlink.add_route(&route).await.expect("add");
            let way = netlink.route_to(ip("203.0.113.5")).await.expect("route");
            assert_eq!(way, RouteTo::Rejected(rejection));
            netlink.delete_route(&route).await.expect("delete");
        }
    });
}

#[test]
fn a_route_is_changed_and_put_back_whole() {
    in_namespace(|| async {
        let netlink = Netlink::connect().expect("connect");
        let (a, _) = pair(&netlink).await;
        let find = async |netlink: &Netlink| {
            let routes = netlink.routes_v4().await.expect("list");
            let mut found =
                routes.into_iter().filter(|route| route.destination == net("10.0.0.0/24"));
            let route = found.next().expect("the on-link route");
            assert_eq!(found.next(), None);
            route
        };
        let before = find(&netlink).await;
        assert_eq!((before.link, before.advmss), (Some(a), None));

        let mut changed = before.clone();
        changed.advmss = Some(1440);
        netlink.replace_route(&changed).await.expect("replace");
        assert_eq!(find(&netlink).await, changed);
        netlink.replace_route(&before).await.expect("put back");
        assert_eq!(find(&netlink).await, before);
    });
}

#[test]
fn a_neighbour_is_resolved_by_probing() {
    in_namespace(|| async {
        let netlink = Netlink::connect().expect("connect");
        let other = new_namespace();
        let there = within(&other, Netlink::connect).expect("connect there");
        netlink.create_veth("a", "b", Some(other.as_fd())).await.expect("veth");
        let a = netlink.require_link("a").await.expect("a").index;
        let b = there.require_link("b").await.expect("b");
        netlink.add_address(a, net("10.0.0.1/24")).await.expect("a");
        there.add_address(b.index, net("10.0.0.2/24")).await.expect("b");
        netlink.set_link_up(a, true).await.expect("up");
        there.set_link_up(b.index, true).await.expect("up");

        let peer = ip("10.0.0.2");
        assert_eq!(netlink.neighbour(a, peer).await.expect("read"), None);
        netlink.probe_neighbour(a, peer).await.expect("probe");
        let mut found = None;
        for _ in 0..100 {
            found = netlink.neighbour(a, peer).await.expect("read");
            if found.is_some_and(|entry| entry.state.usable()) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let found = found.expect("an entry");
        assert!(found.state.usable(), "{found:?}");
        assert_eq!(found.mac, Some(b.mac));

        let mac = [2, 0, 0, 0, 0, 7];
        let fixed = ip("10.0.0.9");
        netlink.set_neighbour(a, fixed, mac).await.expect("set");
        let entry = netlink.neighbour(a, fixed).await.expect("read");
        let entry = entry.expect("an entry");
        assert_eq!((entry.mac, entry.state), (Some(mac), NeighbourState::Permanent));
        assert!(netlink.neighbours().await.expect("list").contains(&entry));
        netlink.delete_neighbour(a, fixed).await.expect("delete");
        let left = netlink.neighbour(a, fixed).await.expect("read");
        assert!(left.is_none_or(|entry| !entry.state.usable()), "{left:?}");
    });
}

/// Reads changes until `wanted` says yes.
async fn expect_change(monitor: &mut Monitor, wanted: impl Fn(&Change) -> bool) {
    let search = async {
        while let Some(change) = monitor.next().await {
            if wanted(&change) {
                return;
            }
        }
        panic!("the monitor ended");
    };
    tokio::time::timeout(Duration::from_secs(3), search).await.expect("the change in time");
}

#[test]
fn the_monitor_sees_every_kind_of_change() {
    in_namespace(|| async {
        let netlink = Netlink::connect().expect("connect");
        let mut monitor = Monitor::connect().expect("monitor");
        let (a, _) = pair(&netlink).await;
        expect_change(
            &mut monitor,
            |change| matches!(change, Change::Link(link) if link.name == "a"),
        )
        .await;
        let address = Address { link: a, network: net("10.0.0.1/24") };
        expect_change(&mut monitor, |change| *change == Change::Address(address)).await;
        expect_change(&mut monitor, |change| {
            matches!(change, Change::Route(route) if route.destination == net("10.0.0.0/24"))
        })
        .await;
        netlink.set_neighbour(a, ip("10.0.0.9"), [2, 0, 0, 0, 0, 7]).await.expect("set");
        expect_change(
            &mut monitor,
            |change| matches!(change, Change::Neighbour(entry) if entry.address == ip("10.0.0.9")),
        )
        .await;
        netlink.set_link_up(a, false).await.expect("down");
        expect_change(
            &mut monitor,
            |change| matches!(change, Change::Link(link) if link.index == a && !link.up),
        )
        .await;
        netlink.delete_link(a).await.expect("delete");
        expect_change(
            &mut monitor,
            |change| matches!(change, Change::LinkGone { index, .. } if *index == a),
        )
        .await;
    });
}

#[test]
fn a_missing_kind_of_device_is_told_from_other_refusals() {
    in_namespace(|| async {
        let netlink = Netlink::connect().expect("connect");
        match netlink.create_ipip("tunl0").await {
            // Made by us, or by the module that was just loaded.
            Ok(()) => {}
            Err(error) => assert!(error.unsupported() || error.already_exists(), "{error}"),
        }
        let long = netlink.link_by_name("a-name-longer-than-any").await;
        assert_eq!(long.expect("read"), None);
    });
}
