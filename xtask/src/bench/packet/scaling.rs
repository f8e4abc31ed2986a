//! Two CPUs at once against one: whether known flows write a line that CPUs share.

use std::{sync::Barrier, thread};

use anyhow::{Result, anyhow};
use serde::Serialize;

use super::{
    frame::{Flows, Kind, Size, frame},
    measure::{Patience, Times, calibrate, pin_to, run},
    scene::{Layout, Scene},
};
use crate::repo::Repo;

/// Nanoseconds per packet, raw.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Scaling {
    /// Of one CPU while the other does nothing for us.
    pub(super) alone: f64,
    /// Of each of the two at once.
    pub(super) together: [f64; 2],
    /// Packets per second of both to those of one.
    pub(super) ratio: f64,
}

/// Measures with known flows, 64K of them. `None` on a machine with one CPU.
pub(super) fn measure(
    repo: &Repo,
    pins: &str,
    size: Size,
    patience: Patience,
    cpu: usize,
) -> Result<Option<Scaling>> {
    let cpus = cpus()?;
    if cpus < 2 {
        return Ok(None);
    }
    let layout = Layout { slots: size.count(20), vips: 1, servers: 10, interface: 1 };
    let mut scene = Scene::new(repo, &format!("{pins}-scaling"), layout)?;
    scene.open_flows("bench", Kind::Ack, size.count(16))?;
    let program = scene.program("bench")?;
    let new_frame = || frame(Kind::Ack, Flows::Random(size.count(16)), 1);
    let repeat = calibrate(program, &mut new_frame(), patience)?;

    let mut alone = Times::default();
    let mut together = [Times::default(), Times::default()];
    for _ in 0..patience.rounds {
        let mut frame = new_frame();
        run(program, &mut frame, repeat)?;
        alone.push(run(program, &mut frame, repeat)?.time);
        let barrier = Barrier::new(2);
        let times = thread::scope(|scope| {
            let threads = [cpu, (cpu + 1) % cpus].map(|cpu| {
                let (barrier, new_frame) = (&barrier, &new_frame);
                scope.spawn(move || -> Result<f64> {
                    pin_to(cpu)?;
                    let mut frame = new_frame();
                    barrier.wait();
                    run(program, &mut frame, repeat)?;
                    Ok(run(program, &mut frame, repeat)?.time)
                })
            });
            threads.map(|thread| thread.join().map_err(|_| anyhow!("a thread panicked"))?)
        });
        for (all, time) in together.iter_mut().zip(times) {
            all.push(time?);
        }
    }
    let alone = alone.min();
    let together = together.map(|times| times.min());
    let ratio = together.iter().map(|time| alone / time).sum();
    Ok(Some(Scaling { alone, together, ratio }))
}

/// How many CPUs there are; `available_parallelism` counts those of this thread, which is bound to one.
fn cpus() -> Result<usize> {
    let online = nix::unistd::sysconf(nix::unistd::SysconfVar::_NPROCESSORS_ONLN)?;
    Ok(online.and_then(|count| usize::try_from(count).ok()).unwrap_or(1))
}
