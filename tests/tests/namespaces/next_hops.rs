//! Next hops follow the network: MAC addresses, links, routes, interfaces.

use std::{
    net::{IpAddr, Ipv4Addr},
    os::fd::AsFd as _,
    time::Duration,
};

use ipnet::IpNet;
use lb_userspace::{
    api::{NextHop, Server},
    demo::seed::{self, Host, mac_of},
};
use tests::lab::{Director, KeepAlive, Lab, eventually};

/// Only the first real server, so that every request shows whether it is reached.
const ONE: &str = "
[[service]]
address = \"tcp:192.168.19.100:80\"
[[service.server]]
address = \"192.168.19.2\"
";

/// How long a change may go unnoticed.
const SECONDS: Duration = Duration::from_secs(30);

fn first_server(director: &Director<'_>) -> Server {
    director.state().services[0].servers[0].clone()
}

fn hop(director: &Director<'_>) -> Option<NextHop> {
    first_server(director).next_hop
}

fn mac(director: &Director<'_>) -> Option<String> {
    hop(director).map(|hop| hop.mac)
}

#[test]
fn new_mac_of_a_real_server_is_followed() {
    let lab = Lab::new("mac");
    let mut director = lab.director(ONE);
    director.start();
    lab.on_async(Host::Client, || async {
        let mut old = KeepAlive::open().await;
        assert_eq!(old.ask().await, "web1");
        assert_eq!(mac(&director), Some(mac_of(seed::RS1).to_string()));

        // With a gratuitous ARP, as a host sends that takes an address over.
        let link = lab.index(Host::Rs1, "eth0");
        lab.sysctl(Host::Rs1, "net/ipv4/conf/eth0/arp_notify", "1");
        let set_mac = |last| {
            let mac = [2, 0, 0, 0, 1, last];
            lab.network(Host::Rs1, async |netlink| netlink.set_link_mac(link, mac).await);
        };
        set_mac(1);
        let followed = |last: u8| mac(&director) == Some(format!("02:00:00:00:01:0{last}"));
        eventually("the MAC is followed", SECONDS, || followed(1));
        assert_eq!(old.ask().await, "web1");

        // Without: the director's kernel is told to forget, and asks.
        lab.sysctl(Host::Rs1, "net/ipv4/conf/eth0/arp_notify", "0");
        set_mac(2);
        let link = lab.index(Host::Director, "eth0");
        lab.network(Host::Director, async |netlink| {
            netlink.delete_neighbour(link, IpAddr::V4(seed::RS1)).await
        });
        eventually("the MAC is followed", SECONDS, || followed(2));
        assert_eq!(old.ask().await, "web1");
    });
    assert_eq!(lab.await_answer(SECONDS), "web1");
}

#[test]
fn link_that_goes_down_is_named_and_traffic_resumes_when_it_is_up() {
    let lab = Lab::new("link");
    let mut director = lab.director(ONE);
    director.start();
    lab.on_async(Host::Client, || async {
        let mut old = KeepAlive::open().await;
        assert_eq!(old.ask().await, "web1");
        lab.set_up(Host::Director, "eth0", false);
        eventually("the reason is listed", SECONDS, || first_server(&director).next_hop.is_none());
        let problem = first_server(&director).problem.expect("a reason");
        assert!(problem.contains("192.168.19.2") || problem.contains("eth0"), "{problem}");
        assert!(director.ok("list").contains(&problem));
        eventually("the interface's state is listed", SECONDS, || {
            director.state().interfaces[0].problem.as_deref() == Some("is down")
        });
        old.ask_within(Duration::from_millis(300)).await.expect_err("the link is down");
        lab.set_up(Host::Director, "eth0", true);
        lab.await_answer(SECONDS);
        assert_eq!(director.state().interfaces[0].problem, None);
        // The connection broke with the request that was given up; a new one goes on.
        assert_eq!(KeepAlive::open().await.ask().await, "web1");
    });
}

#[test]
fn real_servers_link_that_goes_down_is_named_and_traffic_resumes() {
    let lab = Lab::new("rslink");
    let mut director = lab.director(ONE);
    director.start();
    assert_eq!(lab.fetch(1), ["web1"]);
    lab.set_up(Host::Rs1, "eth0", false);
    // As if the entry had expired; else it takes the kernel some seconds to find out.
    let link = lab.index(Host::Director, "eth0");
    lab.network(Host::Director, async |netlink| {
        netlink.delete_neighbour(link, IpAddr::V4(seed::RS1)).await
    });
    eventually("the reason is listed", SECONDS, || first_server(&director).next_hop.is_none());
    let problem = first_server(&director).problem.expect("a reason");
    assert!(problem.starts_with("192.168.19.2 does not answer on link eth0"), "{problem}");
    lab.try_fetch(seed::SERVICE, Duration::from_millis(300)).expect_err("nobody is there");
    lab.set_up(Host::Rs1, "eth0", true);
    // Its default route went with the link.
    let route = lab.host_route(Host::Rs1, "eth0", seed::CLIENT.into(), seed::ROUTER_INSIDE.into());
    lab.network(Host::Rs1, async |netlink| netlink.add_route(&route).await);
    assert_eq!(lab.await_answer(Duration::from_secs(15)), "web1");
}

#[test]
fn route_over_a_gateway_is_followed() {
    let lab = Lab::new("route");
    let mut director = lab.director(ONE);
    director.start();
    lab.on_async(Host::Client, || async {
        let mut old = KeepAlive::open().await;
        assert_eq!(old.ask().await, "web1");
        let (to, router) = (seed::RS1.into(), seed::ROUTER_INSIDE.into());
        let route = lab.host_route(Host::Director, "eth0", to, router);
        lab.network(Host::Director, async |netlink| netlink.add_route(&route).await);
        let via = |address| mac(&director) == Some(mac_of(address).to_string());
        eventually("the way leads over the router", SECONDS, || via(seed::ROUTER_INSIDE));
        assert_eq!(old.ask().await, "web1");
        assert_eq!(hop(&director).expect("a next hop").source, IpAddr::V4(seed::DIRECTOR));

        lab.network(Host::Director, async |netlink| netlink.delete_route(&route).await);
        eventually("the way is direct again", SECONDS, || via(seed::RS1));
        assert_eq!(old.ask().await, "web1");
    });
}

#[test]
fn real_server_behind_another_interface_is_redirected_to() {
    const DIRECTOR: Ipv4Addr = Ipv4Addr::new(10, 9, 9, 1);
    const SERVER: Ipv4Addr = Ipv4Addr::new(10, 9, 9, 2);
    let lab = Lab::new("redirect");
    let end = lab.scene().topology().namespace(Host::Rs1).handle();
    lab.network(Host::Director, async |netlink| {
        netlink.create_veth("eth1", "eth1", Some(end.as_fd())).await
    });
    for (host, address) in [(Host::Director, DIRECTOR), (Host::Rs1, SERVER)] {
        let link = lab.index(host, "eth1");
        let network: IpNet = format!("{address}/30").parse().expect("a network");
        lab.network(host, async |netlink| {
            netlink.add_address(link, network).await?;
            netlink.set_link_up(link, true).await
        });
    }
    lab.unwrap_on(Host::Rs1, "eth1");

    let mut director = lab.director(&ONE.replace("192.168.19.2", "10.9.9.2"));
    director.start();
    assert_eq!(lab.fetch(3), ["web1"; 3]);
    let interface = || hop(&director).map(|hop| hop.interface);
    assert_eq!(interface().as_deref(), Some("eth1"));
    assert_eq!(hop(&director).map(|hop| hop.source), Some(IpAddr::V4(DIRECTOR)));

    // Down: the default route takes over. Up: back again.
    lab.set_up(Host::Director, "eth1", false);
    eventually("the other way is taken", SECONDS, || interface().as_deref() == Some("eth0"));
    lab.set_up(Host::Director, "eth1", true);
    eventually("the way is back", SECONDS, || interface().as_deref() == Some("eth1"));
    assert_eq!(lab.await_answer(SECONDS), "web1");
}
