//! What the machine itself is like at the moment: without that, nanoseconds of two machines cannot be
//! compared.

use std::{hint::black_box, time::Instant};

use lb_common::bench::Plan;
use serde::Serialize;

/// Loads that each wait for the one before, all over a block of memory, compared with loads from the
/// first cache.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Latency {
    /// The block's size in KiB.
    pub(super) kib: usize,
    /// How many nanoseconds more one takes.
    pub(super) time: f64,
}

/// A cache line.
#[derive(Clone, Copy)]
#[repr(align(64))]
struct Line(u32);

/// Measures a block for the second cache, and one of the default flow table's size.
pub(super) fn latencies() -> Vec<Latency> {
    let first = latency(16 << 10);
    [512, 8192].map(|kib| Latency { kib, time: latency(kib << 10) - first }).to_vec()
}

fn latency(bytes: usize) -> f64 {
    const LOADS: u32 = 50_000;
    let count = bytes / size_of::<Line>();
    let mut lines = vec![Line(0); count];
    // One cycle through all lines, by Sattolo's shuffle.
    for (index, line) in (0..).zip(&mut lines) {
        line.0 = index;
    }
    let mut state = 1u64;
    for last in (1..count).rev() {
        state = state.wrapping_mul(Plan::RANDOM).wrapping_add(1);
        let other = (state >> 33) as usize % last;
        lines.swap(last, other);
    }
    let mut least = f64::INFINITY;
    let mut at = 0;
    for _ in 0..9 {
        let start = Instant::now();
        for _ in 0..LOADS {
            at = lines[at as usize].0;
        }
        black_box(at);
        least = least.min(start.elapsed().as_nanos() as f64 / f64::from(LOADS));
    }
    least
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_load_takes_time() {
        assert!(latency(4096) > 0.0);
    }
}
