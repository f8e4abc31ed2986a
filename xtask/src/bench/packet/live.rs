//! Live frames: packets that go through the kernel's XDP machinery and out of a veth.

use anyhow::{Context as _, Result};
use aya::programs::{Xdp, XdpMode};
use lb_userspace::{netlink::Netlink, netns::Namespace};
use serde::Serialize;

use super::{
    frame::{Flows, Kind, Size, frame},
    measure::{Patience, Times, run_live},
    scene::{Layout, Scene},
};
use crate::repo::Repo;

/// A row: nanoseconds per frame, all inclusive.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Live {
    pub(super) label: &'static str,
    pub(super) min: f64,
    pub(super) median: f64,
}

/// The end that frames come in on, and the one that they leave by.
const NEAR: &str = "near";
const FAR: &str = "far";

/// Measures in a network namespace of its own.
pub(super) fn measure(
    repo: &Repo,
    pins: &str,
    size: Size,
    patience: Patience,
) -> Result<Vec<Live>> {
    let namespace = Namespace::create(pins)?;
    let index = namespace.run_async(|| async {
        let netlink = Netlink::connect()?;
        netlink.create_veth(NEAR, FAR, None).await?;
        let near = netlink.require_link(NEAR).await?.index;
        let far = netlink.require_link(FAR).await?.index;
        netlink.set_link_up(near, true).await?;
        netlink.set_link_up(far, true).await?;
        anyhow::Ok(near)
    })??;
    namespace.run(|| measure_here(repo, pins, size, patience, index))?
}

fn measure_here(
    repo: &Repo,
    pins: &str,
    size: Size,
    patience: Patience,
    interface: u32,
) -> Result<Vec<Live>> {
    let layout = Layout { slots: size.count(20), vips: 1, servers: 10, interface };
    let mut scene = Scene::new(repo, &format!("{pins}-live"), layout)?;
    // A test run without frames to send comes in on the loopback interface: the flows' packets are
    // redirected, which opens them all the same.
    scene.open_flows("bench", Kind::Ack, size.count(16))?;
    let rows = [
        ("empty XDP_TX", "live_empty", 1),
        ("bare encapsulation", "live_floor", 1),
        ("director, 1 flow", "bench_live", 1),
        ("director, 64K flows", "bench_live", size.count(16)),
    ];
    for (_, program, _) in rows {
        scene.load(program)?;
    }
    // veth wants a program at both ends: here for the queue's registration, there to take frames.
    scene.load("sink")?;
    let sink: &mut Xdp = scene.program_mut("sink")?;
    for end in [NEAR, FAR] {
        sink.attach(end, XdpMode::Driver).with_context(|| format!("cannot attach to {end}"))?;
    }
    let mut times = rows.map(|_| Times::default());
    // Some 50 ns each.
    let repeat = (patience.round.as_nanos() / 50) as u32;
    for _ in 0..patience.rounds {
        for ((_, program, flows), times) in rows.iter().zip(&mut times) {
            let frame = frame(Kind::Ack, Flows::Random(*flows), 1);
            times.push(run_live(scene.program(program)?, &frame, interface, repeat)?);
        }
    }
    let live = |((label, ..), times): (&(&'static str, _, _), &Times)| Live {
        label,
        min: times.min(),
        median: times.median(),
    };
    Ok(rows.iter().zip(&times).map(live).collect())
}
