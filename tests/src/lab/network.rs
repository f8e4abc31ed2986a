//! What tests change and look up in the network of a host.

use std::net::IpAddr;

use lb_userspace::{
    bpf::Mode,
    demo::seed::Host,
    netlink::{Netlink, NetlinkError, Route},
};
use rtnetlink::packet_route::link::{LinkAttribute, LinkXdp, XdpAttached};

use super::{Lab, SOON, eventually};

/// An XDP program as the kernel lists it on an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct XdpProgram {
    /// How it is attached.
    pub mode: Mode,
    /// The number that the kernel gave it.
    pub id: u32,
}

impl Lab {
    /// Asks or changes the network of a host.
    ///
    /// # Panics
    ///
    /// If the kernel refuses.
    pub fn network<T: Send>(
        &self,
        host: Host,
        work: impl AsyncFnOnce(&Netlink) -> Result<T, NetlinkError> + Send,
    ) -> T {
        self.on_async(host, || async { work(&Netlink::connect()?).await })
            .expect("the kernel agrees")
    }

    /// The index of an interface.
    ///
    /// # Panics
    ///
    /// If there is none.
    #[must_use]
    pub fn index(&self, host: Host, interface: &str) -> u32 {
        self.network(host, async |netlink| Ok(netlink.require_link(interface).await?.index))
    }

    /// Sets a link up or down.
    ///
    /// # Panics
    ///
    /// If the kernel refuses.
    pub fn set_up(&self, host: Host, interface: &str, up: bool) {
        let index = self.index(host, interface);
        self.network(host, async |netlink| netlink.set_link_up(index, up).await);
    }

    /// A route to one address over a gateway.
    ///
    /// # Panics
    ///
    /// If there is no such interface.
    #[must_use]
    pub fn host_route(&self, host: Host, interface: &str, to: IpAddr, gateway: IpAddr) -> Route {
        Route::new(to.into(), self.index(host, interface)).via(gateway)
    }

    /// The XDP program on an interface, if any.
    ///
    /// # Panics
    ///
    /// If there is no such interface.
    #[must_use]
    pub fn xdp(&self, host: Host, interface: &str) -> Option<XdpProgram> {
        let link = self.on_async(host, || async {
            let (connection, handle, _) = rtnetlink::new_connection().expect("a socket");
            let connection = tokio::spawn(connection);
            let mut links = handle.link().get().match_name(interface.to_owned()).execute();
            let link = futures_util::TryStreamExt::try_next(&mut links).await;
            connection.abort();
            link
        });
        let link = link.expect("an answer").expect("a link");
        let xdp = link.attributes.into_iter().find_map(|attribute| match attribute {
            LinkAttribute::Xdp(xdp) => Some(xdp),
            _ => None,
        });
        let xdp = xdp.unwrap_or_default();
        let attached = xdp.iter().find_map(|part| match part {
            LinkXdp::Attached(attached) => Some(attached),
            _ => None,
        })?;
        let mode = match attached {
            XdpAttached::Driver => Mode::Native,
            XdpAttached::SocketBuffer => Mode::Generic,
            _ => return None,
        };
        let id = xdp.iter().find_map(|part| match part {
            LinkXdp::ProgId(id) => Some(*id),
            _ => None,
        })?;
        Some(XdpProgram { mode, id })
    }

    /// Waits until no XDP program is on an interface: the kernel takes one off some moments after
    /// the last pin of its link is gone.
    ///
    /// # Panics
    ///
    /// If one stays.
    #[track_caller]
    pub fn await_detached(&self, host: Host, interface: &str) {
        eventually("no XDP program", SOON, || self.xdp(host, interface).is_none());
    }

    /// Writes a sysctl of a host.
    ///
    /// # Panics
    ///
    /// If the kernel refuses.
    pub fn sysctl(&self, host: Host, path: &str, value: &str) {
        use lb_userspace::sysctl::{ProcSys, Sysctls as _};
        self.on(host, || ProcSys.write(path, value)).expect("writes the sysctl");
    }
}
