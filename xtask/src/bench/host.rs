//! Which machine this is: numbers without it cannot be compared.

use std::fs;

use serde::{Deserialize, Serialize};

/// The machine that measures.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) struct Host {
    /// The processor's name.
    pub(super) cpu: String,
    /// What `uname -r` says.
    pub(super) kernel: String,
    /// `/proc/loadavg`.
    pub(super) load: String,
}

impl Host {
    /// The one that this runs on.
    pub(super) fn this() -> Self {
        let read = |path| fs::read_to_string(path).unwrap_or_default().trim().to_owned();
        let cpu = read("/proc/cpuinfo")
            .lines()
            .find_map(|line| line.strip_prefix("model name")?.split_once(": "))
            .map_or_else(|| std::env::consts::ARCH.to_owned(), |(_, name)| name.to_owned());
        Self { cpu, kernel: read("/proc/sys/kernel/osrelease"), load: read("/proc/loadavg") }
    }
}
