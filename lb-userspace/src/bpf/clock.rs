//! The clock that flows' times are read off: the kernel's jiffies, which no system call tells.

use aya::EbpfLoader;
use nix::time::{ClockId, clock_getres};

use super::{BpfError, Loaded, object};

/// A program that tells the time, run whenever it is asked.
pub struct Clock {
    program: Loaded,
}

impl Clock {
    /// Loads the program.
    ///
    /// # Errors
    /// When not privileged, or when the kernel refuses.
    pub fn open() -> Result<Self, BpfError> {
        let jiffy = jiffy()?;
        let mut loader = EbpfLoader::new();
        loader.override_global("JIFFY", &jiffy, true);
        Ok(Self { program: object::CLOCK.program(&mut loader)? })
    }

    /// The time in ticks, modulo 2^32; a flow word keeps 16 bits of it.
    ///
    /// # Errors
    /// When the kernel refuses to run the program.
    pub fn ticks(&mut self) -> Result<u64, BpfError> {
        Ok(u64::from(self.program.answer()?))
    }
}

/// Nanoseconds in a jiffy: the resolution of the coarse clocks.
///
/// # Errors
/// What clock_getres(2) says.
pub fn jiffy() -> Result<u64, BpfError> {
    let resolution =
        clock_getres(ClockId::CLOCK_MONOTONIC_COARSE).map_err(|errno| BpfError::Io {
            path: "the resolution of CLOCK_MONOTONIC_COARSE".into(),
            source: errno.into(),
        })?;
    Ok(resolution.tv_nsec().unsigned_abs())
}
