//! The same packets toward a director that is another machine, out of a real interface.
//!
//! Not for: counting what arrives; nothing of ours runs on the other side.

use std::{net::Ipv4Addr, time::Duration};

use anyhow::{Context as _, Result, bail};
use lb_common::MacAddress;
use lb_userspace::netlink::Netlink;

use super::lane::{VIPS, sent};
use crate::{
    bench::{
        frame::{Ends, Flows, Kind, PORT, VIP, live_frame},
        pktgen::{self, Datagrams},
        traffic::Traffic,
    },
    repo::Repo,
};

/// Options for hardware.
#[derive(Debug, Clone, clap::Args)]
#[group(id = "remote")]
pub(super) struct Args {
    /// Only send, out of this interface toward a director elsewhere: no virtual machine, no namespaces, nothing measured
    /// but what leaves. A real flood on a real wire.
    #[arg(long, value_name = "IF", requires = "dst_mac", conflicts_with_all = ["here", "quick", "inside", "rounds"])]
    pub(super) interface: Option<String>,

    /// The Ethernet address that leads to the director: its own, or the router's on the way.
    #[arg(long, value_name = "MAC", requires = "interface", value_parser = parse_mac)]
    dst_mac: Option<MacAddress>,

    /// The first of six consecutive VIPs.
    #[arg(long, value_name = "ADDRESS", requires = "interface", default_value_t = Ipv4Addr::from_bits(VIP))]
    vip: Ipv4Addr,

    /// The services' port.
    #[arg(long, value_name = "PORT", requires = "interface", default_value_t = PORT)]
    port: u16,

    /// Who makes the packets.
    #[arg(long, requires = "interface", value_enum, default_value_t = Source::Pktgen)]
    generator: Source,
}

/// What generators there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Source {
    /// The kernel's pktgen: UDP from 10.0.0.1, many source ports; any driver.
    Pktgen,
    /// XDP live frames: TCP SYNs from random sources in 10/8; the driver must transmit XDP frames.
    Live,
}

/// Sends for some time, and says how much left.
pub(super) fn run(
    repo: &Repo,
    args: &Args,
    interface: &str,
    time: Duration,
    flows: u32,
) -> Result<()> {
    let director = args.dst_mac.context("--dst-mac is missing")?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let link = runtime
        .block_on(async { Netlink::connect()?.require_link(interface).await })
        .with_context(|| format!("--interface {interface}"))?;
    if !link.ethernet || link.mac == [0; 6] {
        bail!("--interface {interface}: it is no Ethernet interface");
    }
    if !link.up {
        bail!("--interface {interface}: it is down; `ip link set {interface} up`");
    }
    let ends =
        Ends { sender: MacAddress(link.mac), director, vip: args.vip.to_bits(), port: args.port };
    let send: Box<dyn Fn(u32) -> Result<f64>> = match args.generator {
        Source::Pktgen => {
            pktgen::load()?;
            let datagrams = Datagrams { ends, vips: VIPS, ports: flows.div_ceil(VIPS), cpu: 0 };
            Box::new(move |count| pktgen::send(interface, datagrams, u64::from(count)))
        }
        Source::Live => {
            let traffic = Traffic::load(repo)?;
            let frame = live_frame(ends, Kind::Syn, Flows::New, VIPS);
            Box::new(move |count| traffic.generate(link.index, &frame, count))
        }
    };
    const FIRST: u32 = 10_000;
    let count = f64::from(FIRST) / send(FIRST)? * time.as_secs_f64();
    let count = (count as u32).max(FIRST);
    println!("sending {count} packets to {director}, about {:.1} s", time.as_secs_f64());
    let before = sent(interface)?;
    let seconds = send(count)?;
    let left = sent(interface)? - before;
    println!(
        "{interface} counts {left} of {count} packets sent in {seconds:.2} s: {:.1} kpps",
        left as f64 / seconds / 1000.0
    );
    println!(
        "what the director forwarded: `tunlb stats` there, before and after; what arrived: the receive counters of the real \
         servers' interfaces (`ip -s link`, `ethtool -S`)"
    );
    Ok(())
}

/// `02:00:00:00:00:01`; neither nobody's address nor everybody's.
fn parse_mac(text: &str) -> Result<MacAddress, String> {
    let parts: Vec<&str> = text.split(':').collect();
    let bytes: Option<Vec<u8>> = parts
        .iter()
        .map(|part| (part.len() <= 2).then(|| u8::from_str_radix(part, 16).ok())?)
        .collect();
    match bytes.and_then(|bytes| <[u8; 6]>::try_from(bytes).ok()) {
        Some(mac) if mac == [0; 6] || mac[0] & 1 == 1 => {
            Err("it is no single machine's address".to_owned())
        }
        Some(mac) => Ok(MacAddress(mac)),
        None => Err("write it as six bytes in hexadecimal, 02:00:00:00:00:01".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mac_addresses_are_read() {
        assert_eq!(parse_mac("02:0:00:Ab:00:01"), Ok(MacAddress([2, 0, 0, 0xab, 0, 1])));
        for bad in ["", "02:00:00:00:00", "02:00:00:00:00:01:02", "02-00-00-00-00-01", "x"] {
            assert!(parse_mac(bad).is_err_and(|error| error.contains("hexadecimal")), "{bad}");
        }
        for nobody in ["ff:ff:ff:ff:ff:ff", "00:00:00:00:00:00", "01:00:5e:00:00:01"] {
            assert!(parse_mac(nobody).is_err_and(|error| error.contains("single")), "{nobody}");
        }
    }
}
