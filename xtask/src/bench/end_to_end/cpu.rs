//! How busy the machine is, by `/proc/stat` (proc(5)).

use std::{
    fs, thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};

/// Seconds since boot, summed over the CPUs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Spent {
    /// Not idle.
    pub(super) busy: f64,
    /// In soft interrupts, where network drivers' receive functions, XDP programs and IPVS run.
    pub(super) softirq: f64,
}

impl Spent {
    pub(super) fn until_now() -> Result<Self> {
        let text = fs::read_to_string("/proc/stat").context("cannot read /proc/stat")?;
        let ticks = nix::unistd::sysconf(nix::unistd::SysconfVar::CLK_TCK)?.unwrap_or(100);
        Self::parse(&text, ticks as f64).context("cannot understand /proc/stat")
    }

    /// From the first line: `cpu user nice system idle iowait irq softirq steal …`.
    fn parse(text: &str, ticks_per_second: f64) -> Option<Self> {
        let fields = text.lines().next()?.strip_prefix("cpu ")?;
        let ticks: Vec<f64> =
            fields.split_whitespace().map(str::parse).collect::<Result<_, _>>().ok()?;
        let [user, nice, system, _idle, _iowait, irq, softirq, ..] = ticks[..] else {
            return None;
        };
        let busy = user + nice + system + irq + softirq;
        Some(Self { busy: busy / ticks_per_second, softirq: softirq / ticks_per_second })
    }

    /// What was spent since an earlier moment.
    pub(super) fn since(self, earlier: Self) -> Self {
        Self { busy: self.busy - earlier.busy, softirq: self.softirq - earlier.softirq }
    }
}

/// Waits until the kernel has nothing left to do, such as forgetting the connections of a namespace that is gone. A
/// machine that has other work is waited for only so long.
pub(super) fn settle() -> Result<()> {
    const STEP: Duration = Duration::from_millis(500);
    const LIMIT: Duration = Duration::from_secs(10);
    let end = Instant::now() + LIMIT;
    loop {
        let before = Spent::until_now()?;
        thread::sleep(STEP);
        let spent = Spent::until_now()?.since(before);
        if spent.busy < 0.15 * STEP.as_secs_f64() || Instant::now() > end {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_counts() {
        let text = "cpu  100 20 300 5000 60 7 80 9 0 0\ncpu0 1 1 1 1 1 1 1 1 0 0\n";
        assert_eq!(Spent::parse(text, 100.0), Some(Spent { busy: 5.07, softirq: 0.8 }));
        assert_eq!(Spent::parse("intr 1 2 3", 100.0), None);
    }
}
