//! Next hops follow the real kernel's routes, neighbours and links.

use std::{
    collections::BTreeSet,
    net::IpAddr,
    os::fd::{AsFd as _, OwnedFd},
    time::Duration,
};

use lb_userspace::{
    netlink::{Netlink, Route},
    nexthop::{NextHop, NextHopError, Pace, Resolutions, Upkeep, resolve},
    sysctl::{ProcSys, Sysctls as _},
};
use tokio::sync::watch;

use crate::support::{in_namespace, new_namespace, within};

const PATIENCE: Duration = Duration::from_secs(2);

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

/// A director (here) with eth0 192.168.19.254/24, and another namespace with the segment's other end, eth0 192.168.19.1
/// and 192.168.19.2.
struct Segment {
    here: Netlink,
    there: Netlink,
    far: OwnedFd,
    near_index: u32,
    far_index: u32,
}

async fn segment() -> Segment {
    let far = new_namespace();
    let here = Netlink::connect().expect("connect");
    let there = within(&far, Netlink::connect).expect("connect there");
    here.create_veth("eth0", "eth0", Some(far.as_fd())).await.expect("veth");
    let near_index = here.require_link("eth0").await.expect("eth0").index;
    let far_index = there.require_link("eth0").await.expect("eth0").index;
    for (netlink, index, address) in [
        (&here, near_index, "192.168.19.254/24"),
        (&there, far_index, "192.168.19.1/24"),
        (&there, far_index, "192.168.19.2/24"),
    ] {
        let address = address.parse().expect("a network");
        netlink.add_address(index, address).await.expect("address");
        netlink.set_link_up(index, true).await.expect("up");
    }
    let lo = here.require_link("lo").await.expect("lo").index;
    here.set_link_up(lo, true).await.expect("up");
    Segment { here, there, far, near_index, far_index }
}

#[test]
fn a_server_is_resolved_before_first_use() {
    in_namespace(|| async {
        let segment = segment().await;
        let near = segment.here.require_link("eth0").await.expect("eth0");
        let far = segment.there.require_link("eth0").await.expect("eth0");
        let on_link = NextHop {
            interface: segment.near_index,
            vlan: None,
            source_mac: near.mac,
            destination_mac: far.mac,
            source: ip("192.168.19.254"),
            mtu: 1500,
        };
        let hop = resolve(&segment.here, ip("192.168.19.2"), PATIENCE).await;
        assert_eq!(hop, Ok(on_link));

        let behind = ip("10.7.7.7");
        let hop = resolve(&segment.here, behind, PATIENCE).await;
        assert_eq!(hop, Err(NextHopError::NoRoute(behind)));
        let mut default = Route::new("0.0.0.0/0".parse().expect("a network"), segment.near_index)
            .via(ip("192.168.19.1"));
        default.mtu = Some(1400);
        segment.here.add_route(&default).await.expect("add");
        let hop = resolve(&segment.here, behind, PATIENCE).await;
        assert_eq!(hop, Ok(NextHop { mtu: 1400, ..on_link }));

        let own = ip("192.168.19.254");
        let hop = resolve(&segment.here, own, PATIENCE).await;
        assert_eq!(hop, Err(NextHopError::Local(own)));
        let silent = ip("192.168.19.77");
        let hop = resolve(&segment.here, silent, Duration::from_millis(50)).await;
        let expected = NextHopError::Unresolved { neighbour: silent, link: "eth0".to_owned() };
        assert_eq!(hop, Err(expected));
    });
}

async fn until(
    results: &mut watch::Receiver<Resolutions>,
    address: IpAddr,
    what: &str,
    wanted: impl Fn(&Result<NextHop, NextHopError>) -> bool,
) {
    let wait = results.wait_for(|all| all.get(&address).is_some_and(&wanted));
    let came = tokio::time::timeout(Duration::from_secs(5), wait).await.is_ok();
    assert!(came, "{what} did not come; {:?}", results.borrow());
}

#[test]
fn an_upkeep_follows_route_mac_and_link() {
    in_namespace(|| async {
        let segment = segment().await;
        let pace = Pace { refresh: Duration::from_millis(500), ..Pace::default() };
        let upkeep = Upkeep::start(pace).expect("start");
        let server = ip("10.7.7.7");
        upkeep.follow(BTreeSet::from([server]));
        let mut results = upkeep.results();
        until(&mut results, server, "no route", |hop| *hop == Err(NextHopError::NoRoute(server)))
            .await;

        let default = Route::new("0.0.0.0/0".parse().expect("a network"), segment.near_index)
            .via(ip("192.168.19.1"));
        segment.here.add_route(&default).await.expect("add");
        let far = segment.there.require_link("eth0").await.expect("eth0");
        until(
            &mut results,
            server,
            "the route",
            |hop| matches!(hop, Ok(hop) if hop.destination_mac == far.mac),
        )
        .await;

        // The router announces its new MAC address, as drivers do.
        within(&segment.far, || {
            ProcSys.write("net/ipv4/conf/eth0/arp_notify", "1").expect("write");
        });
        let mac = [2, 0, 0, 0, 7, 7];
        segment.there.set_link_mac(segment.far_index, mac).await.expect("set");
        until(
            &mut results,
            server,
            "the new MAC",
            |hop| matches!(hop, Ok(hop) if hop.destination_mac == mac),
        )
        .await;

        segment.there.set_link_up(segment.far_index, false).await.expect("down");
        until(&mut results, server, "the loss of carrier", Result::is_err).await;
        segment.there.set_link_up(segment.far_index, true).await.expect("up");
        until(&mut results, server, "the carrier's return", Result::is_ok).await;

        segment.here.delete_route(&default).await.expect("delete");
        until(&mut results, server, "the route's end", |hop| {
            *hop == Err(NextHopError::NoRoute(server))
        })
        .await;

        upkeep.follow(BTreeSet::new());
        let wait = results.wait_for(Resolutions::is_empty);
        tokio::time::timeout(Duration::from_secs(5), wait)
            .await
            .expect("in time")
            .expect("a result");
    });
}
