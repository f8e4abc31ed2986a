//! The demo's network with each way to a web server: through tunlb, through IPVS, and to one directly.

use std::{
    net::{IpAddr, SocketAddr, SocketAddrV4, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use ipnet::IpNet;
use lb_userspace::{
    demo::{
        interrupt::Interrupt,
        scene::{Options, Scene},
        seed::{self, Host},
    },
    netlink::Netlink,
    sysctl::{ProcSys, Sysctls as _},
};
use serde::{Deserialize, Serialize};

use super::load::{self, Load, Outcome};
use crate::bench::end_to_end::ipvs;

/// How a client gets to a web server.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Way {
    /// To one real server's own address.
    Direct,
    Tunlb,
    Ipvs,
}

/// The networks: one with tunlb, and one with IPVS where this kernel has it.
pub(super) struct Site {
    /// Before the network that it is in.
    direct: Server,
    tunlb: Scene,
    ipvs: Option<Scene>,
}

/// A web server of the benchmark's own.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        // Both fail only if it has ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Site {
    pub(super) fn build(
        prefix: &str,
        program: &Path,
        with_ipvs: bool,
        interrupt: &Interrupt,
    ) -> Result<Self> {
        let scene = |name: &str| {
            let options = Options::seed(&format!("{prefix}-{name}"), program.to_owned());
            let scene = Scene::build(options, interrupt.clone())?;
            scene.topology().run(Host::Client, many_ports)??;
            anyhow::Ok(scene)
        };
        let mut tunlb = scene("tunlb")?;
        tunlb.start_director()?;
        let direct = serve(&tunlb, program)?;
        let ipvs = if with_ipvs {
            let ipvs = scene("ipvs")?;
            balance_by_ipvs(&ipvs)?;
            Some(ipvs)
        } else {
            None
        };
        Ok(Self { direct, tunlb, ipvs })
    }

    /// The ways that there are.
    pub(super) fn ways(&self) -> Vec<Way> {
        let ipvs = self.ipvs.as_ref().map(|_| Way::Ipvs);
        [Way::Direct, Way::Tunlb].into_iter().chain(ipvs).collect()
    }

    /// What takes packets out of the tunnel on the real servers.
    pub(super) fn unwrapper(&self) -> Result<&'static str> {
        let tunl0 = self
            .tunlb
            .topology()
            .run_async(Host::Rs1, || async { Netlink::connect()?.link_by_name("tunl0").await })??;
        Ok(if tunl0.is_some() { "the kernel's tunl0" } else { "XDP" })
    }

    /// Has clients ask for some time.
    pub(super) fn ask(
        &mut self,
        way: Way,
        load: Load,
        clients: u32,
        time: Duration,
    ) -> Result<Outcome> {
        if let Some(status) = self.direct.0.try_wait()? {
            bail!("the web server of the real server has ended ({status})");
        }
        let (scene, server) = match way {
            Way::Direct => (&self.tunlb, DIRECT),
            Way::Tunlb => (&self.tunlb, seed::SERVICE),
            Way::Ipvs => (self.ipvs.as_ref().context("there is no IPVS here")?, seed::SERVICE),
        };
        scene
            .topology()
            .run_async(Host::Client, || load::ask(server, load, clients, time))?
            .with_context(|| format!("{way:?}, {load:?}"))
    }
}

/// The real server that is asked directly.
const DIRECT: SocketAddrV4 = SocketAddrV4::new(seed::RS1, 80);

/// Starts a web server on the first real server's own address; the others listen on the VIP only.
fn serve(scene: &Scene, program: &Path) -> Result<Server> {
    let mut command = Command::new(program);
    command.args(["demo-http", "--listen", &DIRECT.to_string(), "--body", "web1"]);
    command.stdin(Stdio::null());
    let namespace = scene.topology().namespace(Host::Rs1);
    let server = Server(namespace.spawn(&mut command)?);
    let end = Instant::now() + Duration::from_secs(8);
    let listens =
        || TcpStream::connect_timeout(&SocketAddr::V4(DIRECT), Duration::from_secs(1)).is_ok();
    while !namespace.run(listens)? {
        if Instant::now() > end {
            bail!("the web server on {DIRECT} does not listen");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(server)
}

/// Makes the director's host an IPVS director: the VIP is its own, and the kernel answers for it.
fn balance_by_ipvs(scene: &Scene) -> Result<()> {
    let topology = scene.topology();
    topology.run_async(Host::Director, || async {
        let netlink = Netlink::connect()?;
        let loopback = netlink.require_link("lo").await?.index;
        netlink.add_address(loopback, IpNet::from(IpAddr::V4(seed::VIP))).await
    })??;
    let mut rules = format!("-A -t {} -s rr\n", seed::SERVICE);
    for server in Host::REAL_SERVERS.into_iter().filter_map(Host::address) {
        rules += &format!("-a -t {} -r {server}:80 -i\n", seed::SERVICE);
    }
    ipvs::restore(topology.namespace(Host::Director), &rules)
}

/// The client closes each connection first and keeps its port for a minute: it needs many, and to use them again.
fn many_ports() -> Result<(), lb_userspace::sysctl::SysctlError> {
    ProcSys.write("net/ipv4/ip_local_port_range", "1024 65535")?;
    ProcSys.write("net/ipv4/tcp_tw_reuse", "1")
}
