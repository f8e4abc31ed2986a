//! The clock that flows' times are read off, here and in the data path.

use std::{io, time::Duration};

use lb_common::flow::TICK_NANOSECONDS;
use nix::time::{ClockId, clock_gettime};

/// The time in ticks: the clock of `bpf_ktime_get_coarse_ns`.
///
/// # Errors
///
/// When the kernel has no such clock, which Linux has.
pub fn ticks() -> io::Result<u64> {
    let time = Duration::from(clock_gettime(ClockId::CLOCK_MONOTONIC_COARSE)?);
    // 64 bits of nanoseconds are 584 years.
    Ok(time.as_nanos() as u64 / TICK_NANOSECONDS)
}
