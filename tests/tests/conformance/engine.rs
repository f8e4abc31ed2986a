//! What is compared: the kernel's ip_vs and tunlb, each told by its own command what an operator wants.

use std::{
    fs::{self, File},
    io::Write as _,
    path::PathBuf,
    process::{Child, Command as Process, Stdio},
};

use anyhow::{Context as _, Result, bail};
use hyper::Method;
use lb_userspace::{
    api::{Changes, Text},
    client::{Client, ClientError},
};
use serde_json::{Value, json};
use tempfile::TempDir;
use tests::lab::{SOON, eventually, program};

use super::{
    network::{self, Network},
    play,
    script::{Command, Protocol, Recorded, Service},
};

/// A director.
pub(crate) trait Engine {
    fn network(&self) -> &Network;

    /// Sets up what some commands add, all at once.
    fn prepare(&self, commands: &[Command]) -> Result<()>;

    /// Carries commands out, in order, up to the first that is refused; what was said then.
    fn carry_out(&self, commands: &[Command]) -> Result<Result<(), String>>;
}

/// The kernel's ip_vs, under the real `ipvsadm`.
pub(crate) struct Ipvs {
    network: Network,
}

impl Ipvs {
    /// Sets it up, with the VIPs of these cases.
    pub(crate) fn start(prefix: &str, cases: &[Recorded]) -> Result<Self> {
        let network = Network::build(&format!("{prefix}-ipvs"))?;
        let mut vips: Vec<_> = cases.iter().map(|case| case.vip).collect();
        vips.retain(|vip| *vip != network::LOCAL_VIP);
        vips.push(network::MARKS_VIP);
        network.director.run_async(|| network::own_vips(&vips))??;
        let ipvs = Self { network };
        ipvs.prepare(&play::marks_service())?;
        Ok(ipvs)
    }

    /// What is missing here, with the remedy.
    pub(crate) fn missing() -> Option<&'static str> {
        let loads = Process::new("modprobe").args(["--quiet", "ip_vs"]).status();
        let there = loads.is_ok_and(|status| status.success())
            || fs::exists("/proc/net/ip_vs").unwrap_or_default();
        let runs = Process::new("ipvsadm").arg("--version").output();
        if !there {
            Some("this kernel has no ip_vs module; `cargo xtask test` runs it in a virtual machine")
        } else if !runs.is_ok_and(|output| output.status.success()) {
            Some("ipvsadm is not installed; `cargo xtask setup` installs it")
        } else {
            None
        }
    }
}

impl Engine for Ipvs {
    fn network(&self) -> &Network {
        &self.network
    }

    fn prepare(&self, commands: &[Command]) -> Result<()> {
        match self.carry_out(commands)? {
            Ok(()) => Ok(()),
            Err(said) => bail!("ipvsadm refuses: {said}"),
        }
    }

    fn carry_out(&self, commands: &[Command]) -> Result<Result<(), String>> {
        if commands.is_empty() {
            return Ok(Ok(()));
        }
        let lines: Vec<_> = commands.iter().map(in_ipvsadms_words).collect();
        let mut ipvsadm = Process::new("ipvsadm");
        ipvsadm.arg("-R").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = self.network.director.spawn(&mut ipvsadm)?;
        child.stdin.take().context("a pipe")?.write_all((lines.join("\n") + "\n").as_bytes())?;
        let output = child.wait_with_output()?;
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        // Its status is that of the last line alone.
        Ok(if output.status.success() && said.is_empty() { Ok(()) } else { Err(said) })
    }
}

fn in_ipvsadms_words(command: &Command) -> String {
    let named = |service: &Service| {
        let Service { protocol, vip, port } = service;
        let option = match protocol {
            Protocol::Tcp => "-t",
            Protocol::Udp => "-u",
        };
        format!("{option} {vip}:{port}")
    };
    match command {
        Command::AddService { service, scheduler } => {
            format!("-A {} -s {scheduler}", named(service))
        }
        Command::EditService { service, scheduler } => {
            format!("-E {} -s {scheduler}", named(service))
        }
        Command::DeleteService { service } => format!("-D {}", named(service)),
        Command::AddServer { service, server, weight } => {
            format!("-a {} -r {server} -i -w {weight}", named(service))
        }
        Command::EditServer { service, server, weight } => {
            format!("-e {} -r {server} -i -w {weight}", named(service))
        }
        Command::DeleteServer { service, server } => {
            format!("-d {} -r {server}", named(service))
        }
    }
}

/// The real daemon, on the clients' interface, told over its socket what `tunlb service` and `tunlb server` tell it.
pub(crate) struct Tunlb {
    daemon: Child,
    client: Client,
    /// Its configuration without services.
    settings: String,
    pin: PathBuf,
    network: Network,
    _folder: TempDir,
}

impl Tunlb {
    /// Starts it, with nothing to do.
    pub(crate) fn start(prefix: &str) -> Result<Self> {
        let network = Network::build(&format!("{prefix}-tunlb"))?;
        let folder = tempfile::tempdir()?;
        let [config, socket, log] =
            ["tunlb.toml", "tunlb.sock", "log"].map(|name| folder.path().join(name));
        let pin = PathBuf::from(format!("/sys/fs/bpf/{prefix}"));
        let settings = format!(
            "interfaces = [\"eth0\"]\nsocket = \"{}\"\npin = \"{}\"\n\n[tables]\nflows = 16384\n\n\
             [limits]\nicmp_per_second = 1000000\n",
            socket.display(),
            pin.display()
        );
        fs::write(&config, &settings)?;
        let said = File::create(&log)?;
        let mut daemon = Process::new(program());
        daemon.args(["director", "--config"]).arg(&config).stdin(Stdio::null());
        daemon.stdout(said.try_clone()?).stderr(said);
        let daemon = network.director.spawn(&mut daemon)?;
        let mut tunlb =
            Self { daemon, client: Client::new(&socket), settings, pin, network, _folder: folder };
        let said = || fs::read_to_string(&log).unwrap_or_default();
        let mut ended = false;
        eventually("the director is ready", SOON, || {
            ended = tunlb.daemon.try_wait().is_ok_and(|status| status.is_some());
            ended || said().contains("ready: ")
        });
        if ended {
            bail!("the director has ended: {}", said());
        }
        Ok(tunlb)
    }

    async fn request(&self, command: &Command) -> Result<Changes, ClientError> {
        let (method, path, body) = as_request(command);
        self.client.request(method, &path, body.as_ref()).await
    }
}

impl Engine for Tunlb {
    fn network(&self) -> &Network {
        &self.network
    }

    /// Takes the place of everything before it: the shorter the configuration, the quicker each command.
    fn prepare(&self, commands: &[Command]) -> Result<()> {
        let commands = [&play::marks_service(), commands].concat();
        let text = format!("{}{}", self.settings, as_configuration(&commands));
        let body = Text { name: "cases".to_owned(), text };
        let applied = self.client.request(Method::POST, "/v1/apply", Some(&body));
        let Changes { .. } = runtime()?.block_on(applied).context("prepare cases")?;
        Ok(())
    }

    fn carry_out(&self, commands: &[Command]) -> Result<Result<(), String>> {
        runtime()?.block_on(async {
            for command in commands {
                match self.request(command).await {
                    Ok(_) => {}
                    Err(ClientError::Refused(said)) => return Ok(Err(said)),
                    Err(error) => return Err(error).with_context(|| format!("{command:?}")),
                }
            }
            Ok(Ok(()))
        })
    }
}

fn in_tunlbs_words(service: &Service) -> String {
    let Service { protocol, vip, port } = service;
    let protocol = match protocol {
        Protocol::Tcp => "tcp",
        Protocol::Udp => "udp",
    };
    format!("{protocol}:{vip}:{port}")
}

/// A command as a request of [`lb_userspace::api`]. Not built from its types: they have no names for what tunlb does not know.
fn as_request(command: &Command) -> (Method, String, Option<Value>) {
    let of = |service: &Service| format!("/v1/services/{}", in_tunlbs_words(service));
    match command {
        Command::AddService { service, scheduler } => {
            let body = json!({ "address": in_tunlbs_words(service), "scheduler": scheduler });
            (Method::POST, "/v1/services".to_owned(), Some(body))
        }
        Command::EditService { service, scheduler } => {
            (Method::PATCH, of(service), Some(json!({ "scheduler": scheduler })))
        }
        Command::DeleteService { service } => (Method::DELETE, of(service), None),
        Command::AddServer { service, server, weight } => {
            let body = json!({ "address": server, "weight": weight });
            (Method::POST, format!("{}/servers", of(service)), Some(body))
        }
        Command::EditServer { service, server, weight } => {
            let path = format!("{}/servers/{server}", of(service));
            (Method::PATCH, path, Some(json!({ "weight": weight })))
        }
        Command::DeleteServer { service, server } => {
            (Method::DELETE, format!("{}/servers/{server}", of(service)), None)
        }
    }
}

fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}

/// What some commands add, as a configuration file has it.
fn as_configuration(commands: &[Command]) -> String {
    // A file lists servers in the order of picks; one that is added comes before those that are there.
    let mut services: Vec<(&Service, String, Vec<String>)> = Vec::new();
    for command in commands {
        match command {
            Command::AddService { service, scheduler } => {
                let head = format!(
                    "\n[[service]]\naddress = \"{}\"\nscheduler = \"{scheduler}\"\n",
                    in_tunlbs_words(service)
                );
                services.push((service, head, Vec::new()));
            }
            Command::AddServer { service, server, weight } => {
                let (_, _, servers) = services
                    .iter_mut()
                    .find(|(added, _, _)| *added == service)
                    .expect("servers are added to services that are there");
                let line =
                    format!("[[service.server]]\naddress = \"{server}\"\nweight = {weight}\n");
                servers.insert(0, line);
            }
            other => panic!("{other:?} prepares nothing"),
        }
    }
    services.into_iter().map(|(_, head, servers)| head + &servers.concat()).collect()
}

impl Drop for Tunlb {
    fn drop(&mut self) {
        // All fail only for what is gone already.
        let _ = self.daemon.kill();
        let _ = self.daemon.wait();
        let _ = fs::remove_dir_all(&self.pin);
    }
}
