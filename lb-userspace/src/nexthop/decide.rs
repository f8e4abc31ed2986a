//! From route, link and neighbour to a next hop, or the reason why there is none; a pure function.

use std::net::IpAddr;

use crate::netlink::{Link, LinkKind, Neighbour, NeighbourState, Path, Rejection, RouteTo};

use super::{NextHop, NextHopError};

/// What the kernel knows about the way to an address, as far as it could be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    /// What it would do with a packet.
    pub route: RouteTo,
    /// The link of that route.
    pub link: Option<Link>,
    /// For a VLAN device, the link below.
    pub parent: Option<Link>,
    /// The neighbour entry of the router, or of the address itself.
    pub neighbour: Option<Neighbour>,
}

/// Decides the next hop for `address`.
pub fn decide(address: IpAddr, known: &Known) -> Result<NextHop, NextHopError> {
    let path = path(address, &known.route)?;
    let link = known.link.as_ref().ok_or(NextHopError::LinkGone(address)).and_then(usable)?;
    let (interface, vlan) = match link.kind {
        LinkKind::Vlan { id, .. } => {
            let parent =
                known.parent.as_ref().ok_or(NextHopError::LinkGone(address)).and_then(usable)?;
            if matches!(parent.kind, LinkKind::Vlan { .. }) {
                return Err(NextHopError::StackedVlan(link.name.clone()));
            }
            if parent.kind == LinkKind::Bridge {
                return Err(NextHopError::Bridge(parent.name.clone()));
            }
            (parent.index, Some(id))
        }
        LinkKind::Bridge => return Err(NextHopError::Bridge(link.name.clone())),
        // The tag of an 802.1ad device is one that the data path does not write.
        LinkKind::Other(ref kind) if kind == "802.1ad" => {
            return Err(NextHopError::StackedVlan(link.name.clone()));
        }
        _ => (link.index, None),
    };
    let source = path.source.ok_or_else(|| NextHopError::NoSource(link.name.clone()))?;
    let destination_mac = known
        .neighbour
        .filter(|neighbour| neighbour.state.usable())
        .and_then(|neighbour| neighbour.mac)
        .ok_or_else(|| NextHopError::Unresolved {
            neighbour: path.gateway.unwrap_or(address),
            link: link.name.clone(),
        })?;
    Ok(NextHop {
        interface,
        vlan,
        source_mac: link.mac,
        destination_mac,
        source,
        mtu: path.mtu.unwrap_or(link.mtu).min(link.mtu),
    })
}

/// The neighbour entry that should be used to keep it alive: its link's index and its address.
///
/// None where there is nothing to resolve, while an answer is awaited, or where somebody has set the entry by hand.
pub fn neighbour_to_probe(address: IpAddr, known: &Known) -> Option<(u32, IpAddr)> {
    let path = path(address, &known.route).ok()?;
    let link = known.link.as_ref()?;
    usable(link).ok()?;
    match known.neighbour {
        Some(entry) if entry.state.fixed() => None,
        Some(entry) if entry.state == NeighbourState::Incomplete => None,
        _ => Some((link.index, path.gateway.unwrap_or(address))),
    }
}

/// The way, if there is one.
pub(super) fn path(address: IpAddr, route: &RouteTo) -> Result<Path, NextHopError> {
    match route {
        RouteTo::Unicast(path) => Ok(*path),
        RouteTo::Local => Err(NextHopError::Local(address)),
        RouteTo::Other => Err(NextHopError::NotUnicast(address)),
        RouteTo::Rejected(Rejection::NoRoute) => Err(NextHopError::NoRoute(address)),
        RouteTo::Rejected(Rejection::Unreachable) => Err(NextHopError::Unreachable(address)),
        RouteTo::Rejected(Rejection::Prohibited) => Err(NextHopError::Prohibited(address)),
        RouteTo::Rejected(Rejection::Blackhole) => Err(NextHopError::Blackhole(address)),
    }
}

fn usable(link: &Link) -> Result<&Link, NextHopError> {
    if !link.ethernet {
        Err(NextHopError::NotEthernet(link.name.clone()))
    } else if !link.up {
        Err(NextHopError::LinkDown(link.name.clone()))
    } else {
        Ok(link)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::nexthop) const SERVER: IpAddr =
        IpAddr::V4(std::net::Ipv4Addr::new(192, 168, 19, 2));
    const ROUTER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 168, 19, 1));
    const DIRECTOR: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 168, 19, 254));

    pub(in crate::nexthop) fn eth0() -> Link {
        Link {
            index: 2,
            name: "eth0".to_owned(),
            mac: [2, 0, 0, 0, 0, 1],
            ethernet: true,
            mtu: 1500,
            admin_up: true,
            up: true,
            kind: LinkKind::Physical,
            parent: None,
        }
    }

    pub(in crate::nexthop) fn on_link() -> Known {
        Known {
            route: RouteTo::Unicast(Path {
                link: 2,
                gateway: None,
                source: Some(DIRECTOR),
                mtu: None,
            }),
            link: Some(eth0()),
            parent: None,
            neighbour: Some(Neighbour {
                link: 2,
                address: SERVER,
                mac: Some([2, 0, 0, 0, 0, 2]),
                state: NeighbourState::Reachable,
            }),
        }
    }

    fn through(route: impl FnOnce(&mut Path)) -> Known {
        let mut known = on_link();
        if let RouteTo::Unicast(path) = &mut known.route {
            route(path);
        }
        known
    }

    #[test]
    fn a_server_on_the_link_is_reached_directly() {
        let hop = decide(SERVER, &on_link()).expect("a next hop");
        let expected = NextHop {
            interface: 2,
            vlan: None,
            source_mac: [2, 0, 0, 0, 0, 1],
            destination_mac: [2, 0, 0, 0, 0, 2],
            source: DIRECTOR,
            mtu: 1500,
        };
        assert_eq!(hop, expected);
    }

    #[test]
    fn a_bridge_is_no_way_out() {
        let bridge = Link { kind: LinkKind::Bridge, name: "br0".to_owned(), ..eth0() };
        let known = Known { link: Some(bridge.clone()), ..on_link() };
        assert_eq!(decide(SERVER, &known), Err(NextHopError::Bridge("br0".to_owned())));
        let kind = LinkKind::Vlan { parent: 2, id: 100 };
        let tagged = Link { index: 3, name: "br0.100".to_owned(), kind, ..eth0() };
        let known = Known { link: Some(tagged), parent: Some(bridge), ..on_link() };
        assert_eq!(decide(SERVER, &known), Err(NextHopError::Bridge("br0".to_owned())));
    }

    #[test]
    fn a_server_behind_a_router_gets_the_routers_mac() {
        let mut known = through(|path| path.gateway = Some(ROUTER));
        known.neighbour = Some(Neighbour {
            link: 2,
            address: ROUTER,
            mac: Some([2, 0, 0, 0, 0, 9]),
            state: NeighbourState::Stale,
        });
        let hop = decide(SERVER, &known).expect("a next hop");
        assert_eq!(hop.destination_mac, [2, 0, 0, 0, 0, 9]);
        known.neighbour = None;
        let error = decide(SERVER, &known).expect_err("unresolved");
        assert_eq!(
            error.to_string(),
            "192.168.19.1 does not answer on link eth0: its MAC address is unknown"
        );
    }

    #[test]
    fn the_smaller_of_route_mtu_and_link_mtu_counts() {
        let hop = decide(SERVER, &through(|path| path.mtu = Some(1400))).expect("a next hop");
        assert_eq!(hop.mtu, 1400);
        let hop = decide(SERVER, &through(|path| path.mtu = Some(9000))).expect("a next hop");
        assert_eq!(hop.mtu, 1500);
    }

    #[test]
    fn a_vlan_device_gives_its_parent_and_a_tag() {
        let mut known = on_link();
        let parent = eth0();
        known.link = Some(Link {
            index: 7,
            name: "eth0.100".to_owned(),
            mac: [2, 0, 0, 0, 0, 7],
            kind: LinkKind::Vlan { parent: 2, id: 100 },
            ..eth0()
        });
        known.parent = Some(parent.clone());
        let hop = decide(SERVER, &known).expect("a next hop");
        assert_eq!((hop.interface, hop.vlan), (2, Some(100)));
        assert_eq!(hop.source_mac, [2, 0, 0, 0, 0, 7]);

        known.parent = Some(Link { up: false, ..parent.clone() });
        let error = decide(SERVER, &known).expect_err("down");
        assert_eq!(error, NextHopError::LinkDown("eth0".to_owned()));

        known.parent = Some(Link { kind: LinkKind::Vlan { parent: 1, id: 5 }, ..parent });
        let error = decide(SERVER, &known).expect_err("stacked");
        assert_eq!(error, NextHopError::StackedVlan("eth0.100".to_owned()));
    }

    #[test]
    fn every_refusal_has_its_name() {
        let error = |route| {
            let known = Known { route, ..on_link() };
            decide(SERVER, &known).expect_err("refused")
        };
        assert_eq!(error(RouteTo::Local), NextHopError::Local(SERVER));
        assert_eq!(error(RouteTo::Other), NextHopError::NotUnicast(SERVER));
        for (rejection, expected) in [
            (Rejection::NoRoute, NextHopError::NoRoute(SERVER)),
            (Rejection::Unreachable, NextHopError::Unreachable(SERVER)),
            (Rejection::Prohibited, NextHopError::Prohibited(SERVER)),
            (Rejection::Blackhole, NextHopError::Blackhole(SERVER)),
        ] {
            assert_eq!(error(RouteTo::Rejected(rejection)), expected);
        }
        let refused = |change: fn(&mut Known)| {
            let mut known = on_link();
            change(&mut known);
            decide(SERVER, &known).expect_err("refused")
        };
        let gone = refused(|known| known.link = None);
        assert_eq!(gone, NextHopError::LinkGone(SERVER));
        let down = refused(|known| known.link = Some(Link { up: false, ..eth0() }));
        assert_eq!(down, NextHopError::LinkDown("eth0".to_owned()));
        let tunnel = refused(|known| {
            known.link = Some(Link { ethernet: false, ..eth0() });
        });
        assert_eq!(tunnel, NextHopError::NotEthernet("eth0".to_owned()));
        let nameless = decide(SERVER, &through(|path| path.source = None));
        assert_eq!(nameless, Err(NextHopError::NoSource("eth0".to_owned())));
    }

    #[test]
    fn only_entries_that_can_be_trusted_are_used() {
        for (state, usable) in [
            (NeighbourState::Reachable, true),
            (NeighbourState::Stale, true),
            (NeighbourState::Delay, true),
            (NeighbourState::Probe, true),
            (NeighbourState::Permanent, true),
            (NeighbourState::Incomplete, false),
            (NeighbourState::Failed, false),
            (NeighbourState::None, false),
        ] {
            let mut known = on_link();
            if let Some(neighbour) = &mut known.neighbour {
                neighbour.state = state;
            }
            assert_eq!(decide(SERVER, &known).is_ok(), usable, "{state:?}");
        }
    }

    #[test]
    fn entries_set_by_hand_and_open_questions_are_not_probed() {
        let probe = |state| {
            let mut known = on_link();
            if let Some(neighbour) = &mut known.neighbour {
                neighbour.state = state;
            }
            neighbour_to_probe(SERVER, &known)
        };
        assert_eq!(probe(NeighbourState::Stale), Some((2, SERVER)));
        assert_eq!(probe(NeighbourState::Failed), Some((2, SERVER)));
        assert_eq!(probe(NeighbourState::Incomplete), None);
        assert_eq!(probe(NeighbourState::Permanent), None);
        let mut known = on_link();
        known.neighbour = None;
        assert_eq!(neighbour_to_probe(SERVER, &known), Some((2, SERVER)));
        known.link = Some(Link { up: false, ..eth0() });
        assert_eq!(neighbour_to_probe(SERVER, &known), None);
    }
}
