//! The committed objects, and a program loaded from one.

use std::{error::Error, time::Duration};

use aya::{
    Ebpf, EbpfLoader, include_bytes_aligned,
    programs::{ProgramError, TestRun as _, TestRunAttrs, TestRunOptions, Xdp},
};
use lb_common::Action;

use super::BpfError;

/// The director.
pub(super) const DIRECTOR: Object = Object {
    name: "director",
    bytes: include_bytes_aligned!("../../../lb-ebpf/object/director.o"),
};
/// The real server's unwrapping.
pub(super) const REALSERVER: Object = Object {
    name: "realserver",
    bytes: include_bytes_aligned!("../../../lb-ebpf/object/realserver.o"),
};
/// Tells the time.
pub(super) const CLOCK: Object =
    Object { name: "clock", bytes: include_bytes_aligned!("../../../lb-ebpf/object/clock.o") };
/// Passes everything.
pub(super) const PASS: Object =
    Object { name: "pass", bytes: include_bytes_aligned!("../../../lb-ebpf/object/pass.o") };

/// An object with one program of the same name.
pub(super) struct Object {
    pub(super) name: &'static str,
    bytes: &'static [u8],
}

impl Object {
    /// Creates (or opens) the object's maps.
    pub(super) fn load(&self, loader: &mut EbpfLoader<'_>) -> Result<Ebpf, BpfError> {
        loader.load(self.bytes).map_err(|source| {
            let code = error_code(&source);
            // EPERM: as root without capabilities in a container. The verifier's refusals of a
            // program are EACCES and the like.
            if code == Some(libc::EPERM) {
                BpfError::NotPrivileged
            } else {
                BpfError::Object { name: self.name, hint: hint(code), source: Box::new(source) }
            }
        })
    }

    /// Loads the object's program.
    pub(super) fn program(&self, loader: &mut EbpfLoader<'_>) -> Result<Loaded, BpfError> {
        let mut loaded = Loaded { ebpf: self.load(loader)?, name: self.name };
        let name = loaded.name;
        loaded.xdp()?.load().map_err(|source| {
            let code = error_code(&source);
            if code == Some(libc::EPERM) {
                BpfError::NotPrivileged
            } else {
                BpfError::Program { name, hint: hint(code), source: Box::new(source) }
            }
        })?;
        Ok(loaded)
    }
}

/// What the kernel said.
fn error_code(error: &(dyn Error + 'static)) -> Option<i32> {
    std::iter::successors(Some(error), |error| (*error).source())
        .filter_map(|error| error.downcast_ref::<std::io::Error>())
        .find_map(std::io::Error::raw_os_error)
}

/// A refusal by a kernel that runs the program all the same.
fn program_failed(name: &'static str, source: ProgramError) -> BpfError {
    BpfError::Program { name, hint: "", source: Box::new(source) }
}

/// The kernel's own, not for userspace, but what it says of a program that it cannot run.
const ENOTSUPP: i32 = 524;

/// What to do about a refused object or program.
const fn hint(code: Option<i32>) -> &'static str {
    match code {
        Some(libc::ENOMEM) => {
            ": there is no memory for it; smaller `tables` in the configuration need less"
        }
        // Unknown commands, flags and helpers, and what its verifier does not understand.
        Some(
            libc::EINVAL
            | libc::EACCES
            | libc::E2BIG
            | libc::ENOSYS
            | libc::EOPNOTSUPP
            | libc::ENOSPC
            | ENOTSUPP,
        ) => "; tunlb needs Linux 6.1 or later",
        _ => "",
    }
}

/// A loaded XDP program with its maps.
pub struct Loaded {
    pub(super) ebpf: Ebpf,
    name: &'static str,
}

/// What a test run did to a frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TestRun {
    /// The program's answer. A redirect's interface is not told.
    pub action: Action,
    /// The frame afterwards.
    pub frame: Vec<u8>,
}

impl Loaded {
    /// The program.
    pub(super) fn xdp(&mut self) -> Result<&mut Xdp, BpfError> {
        let name = self.name;
        let missing = ProgramError::NotLoaded;
        let failed = |source| program_failed(name, source);
        match self.ebpf.program_mut(name).map(<&mut Xdp>::try_from) {
            Some(Ok(program)) => Ok(program),
            Some(Err(source)) => Err(failed(source)),
            None => Err(failed(missing)),
        }
    }

    /// How many instructions the verifier looked at, over all paths; it gives up at a million. None
    /// where the kernel does not tell (before 5.16).
    ///
    /// # Errors
    /// When the kernel does not describe the program.
    pub fn verified_instructions(&mut self) -> Result<Option<u32>, BpfError> {
        let name = self.name;
        let info = self.xdp()?.info().map_err(|source| program_failed(name, source))?;
        Ok(info.verified_instruction_count())
    }

    /// Runs the program once on a frame (BPF_PROG_TEST_RUN) that came in on this network
    /// namespace's loopback interface, index 1.
    ///
    /// # Errors
    /// What the kernel says, e.g. of a frame shorter than an Ethernet header.
    pub fn test_run(&mut self, frame: &[u8]) -> Result<TestRun, BpfError> {
        /// Room for what the program adds, and for an ICMP error about a short frame.
        const ROOM: usize = 256;
        let mut out = vec![0; frame.len() + ROOM];
        let (answer, length, _) = self.run(frame, &mut out, 1)?;
        out.truncate(length);
        let action = match answer {
            1 => Action::Drop,
            2 => Action::Pass,
            3 => Action::Transmit,
            4 => Action::Redirect(0),
            other => unreachable!("the program answered {other}, which is no answer of ours"),
        };
        Ok(TestRun { action, frame: out })
    }

    /// Runs the program once, for its answer alone.
    pub(super) fn answer(&mut self) -> Result<u32, BpfError> {
        // The kernel wants a frame that could be one.
        let frame = [0; 64];
        Ok(self.run(&frame, &mut [0; 64], 1)?.0)
    }

    /// Runs the program `repeat` times; the mean time of a run.
    fn run(
        &mut self,
        frame: &[u8],
        out: &mut [u8],
        repeat: u32,
    ) -> Result<(u32, usize, Duration), BpfError> {
        let name = self.name;
        let options = TestRunOptions {
            data_in: Some(frame),
            data_out: Some(out),
            ctx_in: None,
            ctx_out: None,
            repeat,
            attrs: TestRunAttrs::new(),
        };
        let result =
            self.xdp()?.test_run(options).map_err(|source| program_failed(name, source))?;
        Ok((result.return_value, result.data_size_out as usize, result.duration))
    }
}
