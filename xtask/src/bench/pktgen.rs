//! The kernel's packet generator (Documentation/networking/pktgen.rst): datagrams from the stack's side of a driver.

use std::{fs, net::Ipv4Addr, path::Path};

use anyhow::{Context as _, Result, bail};
use lb_common::bench::Plan;

use super::{frame::Ends, programs::load_module};

/// Where its files are, for this thread's network namespace.
const FOLDER: &str = "/proc/thread-self/net/pktgen";

/// Where all its packets come from.
const SOURCE: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
/// The first source port.
const FIRST_PORT: u32 = 1024;

/// What to send.
#[derive(Clone, Copy, Debug)]
pub(super) struct Datagrams {
    pub(super) ends: Ends,
    /// Consecutive VIPs, picked at random.
    pub(super) vips: u32,
    /// Source ports, picked at random.
    pub(super) ports: u32,
    /// The CPU whose thread sends.
    pub(super) cpu: usize,
}

/// Loads the module; an error where this kernel does not have it.
pub(super) fn load() -> Result<()> {
    load_module("pktgen", &[])
}

/// Sends from an interface of this thread's network namespace; returns when all are sent. The seconds that it took by
/// pktgen's own clock: it looks only ten times a second whether its threads have ended.
pub(super) fn send(interface: &str, datagrams: Datagrams, count: u64) -> Result<f64> {
    let Datagrams { ends, vips, ports, cpu } = datagrams;
    let thread = format!("kpktgend_{cpu}");
    write(&thread, "rem_device_all")?;
    write(&thread, &format!("add_device {interface}"))?;
    let vip = |number| Ipv4Addr::from_bits(ends.vip + number);
    // Where a range ends that has more than one: it is not itself picked.
    let past = |count| if count == 1 { 0 } else { count };
    let settings = [
        format!("count {count}"),
        // As long as a live frame.
        format!("pkt_size {}", Plan::FRAME),
        // veth does not let packets be sent twice.
        "clone_skb 0".to_owned(),
        "delay 0".to_owned(),
        format!("dst_mac {}", ends.director),
        format!("src_mac {}", ends.sender),
        format!("src_min {SOURCE}"),
        format!("src_max {SOURCE}"),
        format!("dst_min {}", vip(0)),
        format!("dst_max {}", vip(past(vips))),
        "flag IPDST_RND".to_owned(),
        format!("udp_src_min {FIRST_PORT}"),
        format!("udp_src_max {}", FIRST_PORT + past(ports)),
        "flag UDPSRC_RND".to_owned(),
        format!("udp_dst_min {}", ends.port),
        format!("udp_dst_max {}", ends.port),
    ];
    for setting in settings {
        write(interface, &setting)?;
    }
    // Returns when it has ended.
    write("pgctrl", "start")?;
    let path = Path::new(FOLDER).join(interface);
    let said = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
    write(&thread, "rem_device_all")?;
    let result = said.lines().find_map(|line| line.trim().strip_prefix("Result: "));
    match result.and_then(microseconds) {
        Some(time) => Ok(time / 1e6),
        None => bail!("pktgen on {interface}: {}", result.unwrap_or("no result")),
    }
}

/// From a result in the form of `OK: 5000(c4000+d1000) usec, 100 (136byte,0frags)`.
fn microseconds(result: &str) -> Option<f64> {
    result.strip_prefix("OK: ")?.split_once('(')?.0.parse().ok()
}

fn write(file: &str, text: &str) -> Result<()> {
    let path = Path::new(FOLDER).join(file);
    fs::write(&path, format!("{text}\n"))
        .with_context(|| format!("pktgen refuses `{text}` in {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_tell_the_time_unless_it_went_wrong() {
        // In the form that Documentation/networking/pktgen.rst shows.
        let good = "OK: 13101142(c12220741+d880401) usec, 10000000 (60byte,0frags)";
        assert_eq!(microseconds(good), Some(13_101_142.0));
        assert_eq!(microseconds("Idle"), None);
    }
}
