//! The host that is set up: looked at and changed through a trait, so that setting up is tested without root.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::Ipv4Addr,
};

use ipnet::IpNet;

use super::{
    RealServerError, TUNNEL, Unwrapper,
    action::{Action, RouteMss},
    observe::{Observed, is_plain, key_of, observe},
};
use crate::{
    netlink::{Netlink, NetlinkError},
    sysctl::{SysctlError, Sysctls},
};

/// Something that can be made a real server.
pub(super) trait Host {
    /// Looks at it.
    async fn observe(
        &self,
        interface: &str,
        vips: &BTreeSet<Ipv4Addr>,
    ) -> Result<Observed, RealServerError>;

    /// Does one thing. What is done already is no error.
    async fn perform(&self, action: &Action) -> Result<(), RealServerError>;
}

/// This host.
pub(super) struct System<'a> {
    pub(super) netlink: Netlink,
    pub(super) sysctls: &'a dyn Sysctls,
    pub(super) unwrapper: &'a dyn Unwrapper,
}

impl Host for System<'_> {
    async fn observe(
        &self,
        interface: &str,
        vips: &BTreeSet<Ipv4Addr>,
    ) -> Result<Observed, RealServerError> {
        observe(&self.netlink, self.sysctls, self.unwrapper, interface, vips).await
    }

    async fn perform(&self, action: &Action) -> Result<(), RealServerError> {
        match action {
            Action::CreateTunnel => self.create_tunnel().await,
            Action::DeleteTunnel => self.delete_tunnel().await,
            Action::SetUp { interface, up } => self.set_up(interface, *up).await,
            Action::AddAddress { interface, address } => {
                let link = self.netlink.require_link(interface).await?.index;
                let added = self.netlink.add_address(link, IpNet::V4(*address)).await;
                done_already(added, NetlinkError::already_exists)
            }
            Action::DeleteAddress { interface, address } => {
                let Some(link) = self.netlink.link_by_name(interface).await? else {
                    return Ok(());
                };
                let deleted = self.netlink.delete_address(link.index, IpNet::V4(*address)).await;
                done_already(deleted, NetlinkError::not_found)
            }
            Action::SetSysctl { key, value } => Ok(self.sysctls.write(key, value)?),
            Action::SetAdvMss(mss) => self.set_advmss(mss).await,
            Action::Attach { interface, vips, generic } => {
                self.unwrapper.attach(interface, vips, *generic).map_err(|source| {
                    RealServerError::Unwrapper { interface: interface.clone(), source }
                })
            }
            Action::Detach { interface } => self.unwrapper.detach(interface).map_err(|source| {
                RealServerError::Unwrapper { interface: interface.clone(), source }
            }),
        }
    }
}

impl System<'_> {
    /// Asking for a device of this name loads the module, which makes its own; that one is then in the way of ours.
    ///
    /// If ours is made instead, it takes no packets: one without end points is only matched as the module's own
    /// (`ip_tunnel_lookup` of the kernel's ip_tunnel.c).
    async fn create_tunnel(&self) -> Result<(), RealServerError> {
        match self.netlink.create_ipip(TUNNEL).await {
            Err(error) if error.already_exists() => Ok(()),
            Err(error) => Err(error.into()),
            Ok(()) => {
                self.delete_tunnel().await?;
                Err(RealServerError::NoTunnelHere)
            }
        }
    }

    /// The kernel takes the request for the device that its module made, and keeps the device.
    async fn delete_tunnel(&self) -> Result<(), RealServerError> {
        let Some(link) = self.netlink.link_by_name(TUNNEL).await? else {
            return Ok(());
        };
        done_already(self.netlink.delete_link(link.index).await, NetlinkError::not_found)
    }

    async fn set_up(&self, interface: &str, up: bool) -> Result<(), RealServerError> {
        match self.netlink.link_by_name(interface).await? {
            Some(link) => Ok(self.netlink.set_link_up(link.index, up).await?),
            None if !up => Ok(()),
            None => Err(RealServerError::NoInterface(interface.to_owned())),
        }
    }

    async fn set_advmss(&self, mss: &RouteMss) -> Result<(), RealServerError> {
        let links = self.netlink.links().await?;
        let names: BTreeMap<u32, &str> =
            links.iter().map(|link| (link.index, link.name.as_str())).collect();
        let routes = self.netlink.routes_v4().await?;
        let found = routes
            .into_iter()
            .filter(is_plain)
            .find(|route| key_of(route, &names).as_ref() == Some(&mss.route));
        match found {
            Some(route) if route.advmss == mss.advmss => Ok(()),
            Some(mut route) => {
                route.advmss = mss.advmss;
                Ok(self.netlink.replace_route(&route).await?)
            }
            None => Err(RealServerError::RouteGone(mss.route.to_string())),
        }
    }
}

/// Turns the errors that mean "it is so already" into success.
fn done_already(
    result: Result<(), NetlinkError>,
    already: fn(&NetlinkError) -> bool,
) -> Result<(), RealServerError> {
    match result {
        Err(error) if already(&error) => Ok(()),
        other => Ok(other?),
    }
}

/// Whether undoing failed only because the thing itself is gone, so that nothing is left to undo.
pub(super) fn gone(error: &RealServerError) -> bool {
    matches!(
        error,
        RealServerError::RouteGone(_) | RealServerError::Sysctl(SysctlError::Missing { .. })
    )
}
