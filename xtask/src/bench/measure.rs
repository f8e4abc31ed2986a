//! Running a program on a frame, and the time it took.

use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use aya::programs::{TestRun as _, TestRunAttrs, TestRunOptions, Xdp};
use lb_common::bench::Plan;
use nix::{
    sched::{CpuSet, sched_setaffinity},
    unistd::Pid,
};
use serde::Serialize;

use super::frame;

/// Packets in one run of the measuring loop; lb-ebpf's `bench_loop::PACKETS`.
pub(super) const PACKETS: u32 = 8;
/// What the kernel calls the answers that are seen here.
pub(super) const XDP_PASS: u32 = 2;
pub(super) const XDP_TX: u32 = 3;
pub(super) const XDP_REDIRECT: u32 = 4;

/// How long to measure.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    pub(super) rounds: u32,
    /// What one round of one row shall take.
    pub(super) round: Duration,
}

impl Patience {
    pub(super) const QUICK: Self = Self { rounds: 2, round: Duration::from_micros(200) };

    pub(super) const fn rounds(rounds: u32) -> Self {
        Self { rounds, round: Duration::from_millis(20) }
    }
}

/// Nanoseconds per packet over the rounds.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Times(Vec<f64>);

impl Times {
    pub(super) fn push(&mut self, time: f64) {
        self.0.push(time);
    }

    pub(super) fn min(&self) -> f64 {
        self.0.iter().copied().fold(f64::INFINITY, f64::min)
    }

    pub(super) fn median(&self) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
    }
}

/// Binds the calling thread to a CPU.
pub(super) fn pin_to(cpu: usize) -> Result<()> {
    let mut set = CpuSet::new();
    set.set(cpu).with_context(|| format!("there is no CPU {cpu}"))?;
    sched_setaffinity(Pid::from_raw(0), &set).with_context(|| format!("cannot run on CPU {cpu}"))
}

/// How a run went.
#[derive(Clone, Copy, Debug)]
pub(super) struct Run {
    /// The last answer.
    pub(super) answer: u32,
    /// Nanoseconds per packet.
    pub(super) time: f64,
}

/// Runs a measuring program `repeat` times; the frame goes on where it ended.
pub(super) fn run(program: &Xdp, frame: &mut [u8], repeat: u32) -> Result<Run> {
    let mut out = [0; Plan::FRAME];
    let result = program
        .test_run(TestRunOptions {
            data_in: Some(frame),
            data_out: Some(&mut out),
            repeat,
            ..TestRunOptions::new()
        })
        .context("the kernel did not run the program")?;
    if result.data_size_out as usize != Plan::FRAME {
        bail!("the frame was not restored: it has {} bytes", result.data_size_out);
    }
    frame::resume(frame, &out);
    let time = result.duration.as_nanos() as f64 / f64::from(PACKETS);
    Ok(Run { answer: result.return_value, time })
}

/// Runs a measuring program on at least `packets` packets.
pub(super) fn run_packets(program: &Xdp, frame: &mut [u8], packets: u32) -> Result<Run> {
    run(program, frame, packets.div_ceil(PACKETS))
}

/// How often to repeat for a round, from a first run that also warms the caches.
pub(super) fn calibrate(program: &Xdp, frame: &mut [u8], patience: Patience) -> Result<u32> {
    const FIRST: u32 = 1000;
    let first = run(program, frame, FIRST)?;
    let repeats = patience.round.as_nanos() as f64 / (first.time * f64::from(PACKETS)).max(1.0);
    Ok((repeats as u32).max(FIRST / 10))
}

/// Runs a program on `repeat` live frames that come in on an interface; nanoseconds per frame.
pub(super) fn run_live(program: &Xdp, frame: &[u8], interface: u32, repeat: u32) -> Result<f64> {
    // struct xdp_md: data, data_end, data_meta, ingress_ifindex, rx_queue_index, egress_ifindex.
    let mut context = [0; 24];
    context[4..8].copy_from_slice(&(frame.len() as u32).to_ne_bytes());
    context[12..16].copy_from_slice(&interface.to_ne_bytes());
    let result = program
        .test_run(TestRunOptions {
            data_in: Some(frame),
            ctx_in: Some(&context),
            repeat,
            attrs: TestRunAttrs::new().xdp_live_frames(64),
            ..TestRunOptions::new()
        })
        .context("the kernel did not run the program on live frames")?;
    Ok(result.duration.as_nanos() as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn least_and_median_of_the_rounds() {
        let times = Times(vec![5.0, 1.0, 9.0]);
        assert_eq!((times.min(), times.median()), (1.0, 5.0));
    }
}
