//! IPVS in Tunnel mode, set up by the real ipvsadm.

use std::{
    fmt::Write as _,
    io::Write as _,
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, bail};
use lb_userspace::netns::Namespace;

use super::{
    lane::{SERVERS, VIPS, server, vip},
    rows::Scheduler,
};
use crate::{bench::programs::load_module, process};

/// 2^20 hash chains for connections instead of 2^12, so that 64K of them do not share chains.
const CONNECTION_TABLE: &str = "conn_tab_bits=20";

/// Loads what is needed; an error where this kernel or machine does not have it.
pub(in crate::bench) fn load() -> Result<()> {
    load_module("ip_vs", &[CONNECTION_TABLE])?;
    load_module("ip_vs_rr", &[])?;
    load_module("ip_vs_sh", &[])?;
    program().map(drop)
}

/// Runs ipvsadm's commands in a namespace: a line each, without its name.
pub(in crate::bench) fn restore(director: &Namespace, rules: &str) -> Result<()> {
    let mut command = Command::new(program()?);
    command.arg("-R").stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = director.spawn(&mut command)?;
    // Dropped, the pipe is closed, which ends what ipvsadm reads.
    let mut input = child.stdin.take().context("ipvsadm has no input")?;
    input.write_all(rules.as_bytes()).context("ipvsadm does not read its rules")?;
    drop(input);
    let output = child.wait_with_output().context("cannot wait for ipvsadm")?;
    if !output.status.success() {
        bail!("ipvsadm failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}

fn program() -> Result<std::path::PathBuf> {
    let sbin = std::path::PathBuf::from("/usr/sbin/ipvsadm");
    process::find_program("ipvsadm").or_else(|| sbin.is_file().then_some(sbin)).context(
        "ipvsadm is not installed; `cargo xtask setup` installs it, or `apt-get install \
         --no-install-recommends ipvsadm`",
    )
}

/// The recipe's services as ipvsadm takes them: TCP and UDP on port 80 of each VIP.
pub(super) fn rules(scheduler: Scheduler) -> String {
    let arguments = match scheduler {
        Scheduler::RoundRobin => "-s rr",
        Scheduler::SourceHash => "-s sh -b sh-port",
    };
    let mut rules = String::new();
    for number in 0..VIPS {
        for protocol in ["-t", "-u"] {
            let service = format!("{protocol} {}:80", vip(number));
            // Writing to a String cannot fail.
            let _ = writeln!(rules, "-A {service} {arguments}");
            for index in 0..SERVERS {
                let _ = writeln!(rules, "-a {service} -r {}:80 -i", server(number, index));
            }
        }
    }
    rules
}
