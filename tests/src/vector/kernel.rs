//! The committed objects in this kernel, by BPF_PROG_TEST_RUN. Needs root.

use std::{
    net::Ipv4Addr,
    path::PathBuf,
    process,
    sync::atomic::{AtomicU32, Ordering},
};

use anyhow::Result;
use lb_userspace::{
    bpf::{Director, Loaded, Options, UnwrapProgram},
    store::Store as _,
};
use nix::{
    sched::{CpuSet, sched_getcpu, sched_setaffinity},
    unistd::Pid,
};

use super::{
    engine::{Counts, Engine, Outcome},
    fixture::{CAPACITY, FEW, Fixture, SERVICES},
};

/// One of the committed objects, loaded afresh with maps of its own.
pub struct KernelEngine {
    program: Program,
    /// Last, so that it goes when nobody uses what is pinned any more.
    _pins: Pins,
}

enum Program {
    Director { director: Box<Director>, loaded: Box<Loaded>, limit: u32, first_service: u32 },
    RealServer { unwrap: Box<UnwrapProgram>, ends: Vec<Ipv4Addr>, vips: Vec<Ipv4Addr> },
}

/// A pin folder that goes when the engine does.
struct Pins(PathBuf);

impl Pins {
    fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        Self(format!("/sys/fs/bpf/tunlb-vectors-{}-{number}", process::id()).into())
    }
}

impl Drop for Pins {
    fn drop(&mut self) {
        if let Err(error) = Director::remove(&self.0) {
            eprintln!("pins are left behind: {error}");
        }
    }
}

impl Engine for KernelEngine {
    const NAME: &'static str = "kernel";
    const HAS_CLOCK: bool = false;
    const TELLS_REDIRECTS: bool = false;

    fn new(fixture: &Fixture) -> Result<Self> {
        stay_on_one_cpu()?;
        let pins = Pins::new();
        let program = if fixture.is_real_server() {
            let (ends, vips) = (fixture.tunnel_ends.clone(), fixture.served.clone());
            let [ends_set, vips_set] = [&ends, &vips].map(|list| list.iter().copied().collect());
            let unwrap = Box::new(UnwrapProgram::load(&pins.0, &ends_set, &vips_set)?);
            Program::RealServer { unwrap, ends, vips }
        } else {
            let options = Options {
                pin: pins.0.clone(),
                capacity: CAPACITY,
                icmp_limit: fixture.limit,
                debug: false,
            };
            let director = Box::new(Director::open(&options)?);
            let loaded = Box::new(director.load(0)?);
            Program::Director { director, loaded, limit: fixture.limit, first_service: 0 }
        };
        Ok(Self { program, _pins: pins })
    }

    /// The verifier takes its time over a program, so it stays. Round-robin positions are the data
    /// path's alone, so each case has service entries that none has used.
    fn renew(&mut self, fixture: &Fixture) -> Result<bool> {
        match &mut self.program {
            Program::Director { director, limit, first_service, .. } => {
                *first_service += SERVICES;
                let room = *first_service + SERVICES <= CAPACITY.services;
                director.store().purge(&(0..CAPACITY.real_servers).collect());
                let limited = fixture.limit < FEW || fixture.limit != *limit;
                Ok(room && !limited && !fixture.is_real_server())
            }
            Program::RealServer { ends, vips, .. } => {
                Ok(*ends == fixture.tunnel_ends && *vips == fixture.served)
            }
        }
    }

    fn apply(&mut self, fixture: &Fixture) -> Result<()> {
        match &mut self.program {
            Program::Director { director, first_service, .. } => {
                fixture.write(director.store(), *first_service)
            }
            Program::RealServer { .. } => Ok(()),
        }
    }

    fn set_now(&mut self, _now: u64) {
        unreachable!("cases that set the clock run in memory only");
    }

    fn run(&mut self, frame: &[u8]) -> Result<Outcome> {
        let run = match &mut self.program {
            Program::Director { loaded, .. } => loaded.test_run(frame)?,
            Program::RealServer { unwrap, .. } => unwrap.program.test_run(frame)?,
        };
        Ok(Outcome { action: run.action, frame: run.frame })
    }

    fn counts(&mut self) -> Result<Counts> {
        match &mut self.program {
            Program::Director { director, .. } => Counts::of(director.store()),
            Program::RealServer { unwrap, .. } => {
                Ok(Counts { reasons: unwrap.reasons()?, servers: Vec::new() })
            }
        }
    }
}

/// The limit on ICMP errors is per CPU.
fn stay_on_one_cpu() -> Result<()> {
    let this_thread = Pid::from_raw(0);
    let mut one = CpuSet::new();
    one.set(sched_getcpu()?)?;
    sched_setaffinity(this_thread, &one)?;
    Ok(())
}
