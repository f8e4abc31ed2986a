//! A host in memory, for tests: the seed's first real server before anything is done.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    net::Ipv4Addr,
};

use nix::errno::Errno;

use super::{
    LOOPBACK, RealServerError, TUNNEL, Unwrapping,
    action::{Action, RouteMss},
    host::Host,
    observe::{Observed, ObservedRoute, RouteKey, conf},
};
use crate::netlink::NetlinkError;

pub(super) const VIP: Ipv4Addr = Ipv4Addr::new(192, 168, 19, 100);
pub(super) const VIP2: Ipv4Addr = Ipv4Addr::new(192, 168, 19, 101);
const LAN: &str = "eth0";

/// The seed's rs1, with a kernel that has loaded ipip.
pub(super) fn rs1() -> Observed {
    let mut sysctls = BTreeMap::new();
    for interface in ["all", "default", LAN, TUNNEL] {
        for name in ["arp_ignore", "arp_announce", "rp_filter"] {
            sysctls.insert(conf(interface, name), "0".to_owned());
        }
    }
    let route = |destination: &str, gateway: Option<&str>| ObservedRoute {
        key: RouteKey {
            destination: destination.parse().expect("a network"),
            metric: 0,
            gateway: gateway.map(|text| text.parse().expect("an address")),
            interface: LAN.to_owned(),
        },
        mtu: None,
        advmss: None,
    };
    Observed {
        interface: LAN.to_owned(),
        interface_up: true,
        mtu: 1500,
        tunnel_up: Some(false),
        loopback_up: true,
        addresses: BTreeSet::from([
            (LAN.to_owned(), "192.168.19.2/24".parse().expect("a network")),
            (LOOPBACK.to_owned(), "127.0.0.1/8".parse().expect("a network")),
        ]),
        sysctls,
        routes: vec![route("0.0.0.0/0", Some("192.168.19.1")), route("192.168.19.0/24", None)],
        multipath: Vec::new(),
        program: None,
        local: BTreeSet::new(),
        others: Vec::new(),
    }
}

/// The same without `tunl0`.
pub(super) fn without_tunnel() -> Observed {
    let mut observed = rs1();
    observed.tunnel_up = None;
    observed.sysctls.retain(|key, _| !key.contains(TUNNEL));
    observed
}

pub(super) struct FakeHost {
    inner: RefCell<Observed>,
    has_ipip: bool,
    /// The how manieth performance fails, counted down.
    fails_at: RefCell<Option<usize>>,
}

impl FakeHost {
    pub(super) fn new(observed: Observed) -> Self {
        Self { inner: RefCell::new(observed), has_ipip: true, fails_at: RefCell::new(None) }
    }

    pub(super) fn without_ipip() -> Self {
        Self { has_ipip: false, ..Self::new(without_tunnel()) }
    }

    pub(super) fn failing_at(self, index: usize) -> Self {
        self.fails_at.replace(Some(index));
        self
    }

    pub(super) fn failed(&self) -> bool {
        self.fails_at.borrow().is_none()
    }

    pub(super) fn snapshot(&self) -> Observed {
        self.inner.borrow().clone()
    }

    pub(super) fn change(&self, change: impl FnOnce(&mut Observed)) {
        change(&mut self.inner.borrow_mut());
    }

    fn refused(operation: &'static str, errno: Errno) -> RealServerError {
        NetlinkError::Refused { operation, object: "it".to_owned(), errno }.into()
    }

    fn fail_in_time(&self) -> Result<(), RealServerError> {
        let mut fails_at = self.fails_at.borrow_mut();
        match *fails_at {
            Some(0) => {
                *fails_at = None;
                Err(Self::refused("do", Errno::EIO))
            }
            Some(left) => {
                *fails_at = Some(left - 1);
                Ok(())
            }
            None => Ok(()),
        }
    }
}

impl Host for FakeHost {
    async fn observe(
        &self,
        interface: &str,
        vips: &BTreeSet<Ipv4Addr>,
    ) -> Result<Observed, RealServerError> {
        let mut observed = self.snapshot();
        assert_eq!(observed.interface, interface);
        observed.local =
            vips.iter().copied().filter(|&vip| observed.holders(vip).next().is_some()).collect();
        Ok(observed)
    }

    async fn perform(&self, action: &Action) -> Result<(), RealServerError> {
        self.fail_in_time()?;
        let mut host = self.inner.borrow_mut();
        match action {
            Action::CreateTunnel if !self.has_ipip => {
                return Err(Self::refused("create", Errno::EOPNOTSUPP));
            }
            Action::CreateTunnel => {
                host.tunnel_up = Some(false);
                for name in ["arp_ignore", "arp_announce", "rp_filter"] {
                    let value = host.number("default", name).to_string();
                    host.sysctls.insert(conf(TUNNEL, name), value);
                }
            }
            Action::DeleteTunnel => {
                host.tunnel_up = None;
                host.sysctls.retain(|key, _| !key.contains(TUNNEL));
            }
            Action::SetUp { interface, up } if interface == TUNNEL => host.tunnel_up = Some(*up),
            Action::SetUp { up, .. } => host.loopback_up = *up,
            Action::AddAddress { interface, address } => {
                assert!(interface != TUNNEL || host.tunnel_up == Some(true), "{TUNNEL} is down");
                assert!(
                    host.effective(LAN, "arp_ignore") > 0,
                    "the VIP came before ARP was silent"
                );
                host.addresses.insert((interface.clone(), *address));
            }
            Action::DeleteAddress { interface, address } => {
                host.addresses.remove(&(interface.clone(), *address));
            }
            Action::SetSysctl { key, value } => {
                let slot = host.sysctls.get_mut(key).expect("a sysctl that exists");
                slot.clone_from(value);
            }
            Action::SetAdvMss(RouteMss { route, advmss }) => {
                match host.routes.iter_mut().find(|known| known.key == *route) {
                    Some(known) => known.advmss = *advmss,
                    None => return Err(RealServerError::RouteGone(route.to_string())),
                }
            }
            Action::Attach { vips, generic, .. } => {
                host.program = Some(Unwrapping { vips: vips.clone(), generic: *generic });
            }
            Action::Detach { .. } => host.program = None,
        }
        Ok(())
    }
}
