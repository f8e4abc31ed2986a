//! `vm`: runs a command on Debian's stock kernel, in QEMU, on this machine's own files.
//!
//! The kernel in use here may lack what the product meets elsewhere (ipip, ip_vs, pktgen) or be much newer than what its users
//! run; the machine made here has neither problem and needs nothing installed but QEMU. Its root is ours, read-only, with a
//! layer of memory above; only target/ is written through.

mod accel;
mod console;
mod initramfs;
pub(crate) mod job;
mod kernel;
mod qemu;
pub(crate) mod suite;

use std::{
    fs,
    path::PathBuf,
    process::{Command, ExitCode, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};

use crate::{
    repo::Repo,
    vm::{
        accel::Accel,
        job::Job,
        kernel::Kernel,
        qemu::{Ending, Finished, Hardware, Parts, Stage, Streams},
    },
};

/// Run a command as root on Debian's stock kernel, in a virtual machine.
///
/// The machine sees this machine's files at the same paths; what it writes is gone when it ends, but for target/, which is
/// shared. /tmp and /run are its own. It has no network but its own namespaces, and its kernel's modules are there for
/// `modprobe`. The command's output and exit status are passed on; it gets no input. KVM is used where a trial shows that it
/// works, else emulation. The kernel stays in target/vm; remove that folder to fetch a newer one.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// A shell on the serial console, without a time limit; leave with `exit` (or Ctrl-A X to switch the machine off).
    #[arg(long, conflicts_with = "command")]
    shell: bool,

    /// The tests that talk to the kernel: what `cargo xtask test` ends with.
    #[arg(long, conflicts_with_all = ["command", "shell"])]
    tests: bool,

    /// End the command after this many seconds, and show where it hung.
    #[arg(long, value_name = "SECONDS", default_value_t = 900, value_parser = clap::value_parser!(u64).range(1..))]
    timeout: u64,

    /// Processors.
    #[arg(long, default_value_t = 2)]
    cpus: u32,

    /// Memory in MiB.
    #[arg(long, default_value_t = 4096)]
    memory: u32,

    /// Do not try KVM, or do not fall back from it.
    #[arg(long, value_enum)]
    accel: Option<Accel>,

    /// The program and its arguments (not a line for a shell: that is `sh -c LINE`).
    #[arg(last = true, required_unless_present_any = ["shell", "tests"])]
    command: Vec<String>,
}

pub(crate) fn run(repo: &Repo, args: &Args) -> Result<ExitCode> {
    if args.tests {
        return suite::run(repo).map(|()| ExitCode::SUCCESS);
    }
    let machine = Machine::prepare(repo, args.accel, args.cpus, args.memory)?;
    let job = Job {
        command: args.command.clone(),
        environment: Vec::new(),
        limit: Duration::from_secs(args.timeout),
    };
    machine.run(&job).map(ExitCode::from)
}

/// A virtual machine that can be started any number of times, afresh each time.
pub(crate) struct Machine {
    repo: Repo,
    folder: PathBuf,
    kernel: Kernel,
    busybox: PathBuf,
    hardware: Hardware,
}

impl Machine {
    /// Fetches the kernel and tries KVM, unless that was done before.
    pub(crate) fn prepare(
        repo: &Repo,
        accel: Option<Accel>,
        cpus: u32,
        memory: u32,
    ) -> Result<Self> {
        kernel::program("qemu-system-x86_64", "qemu-system-x86")?;
        let busybox = kernel::program("busybox", "busybox-static")?;
        let folder = repo.root().join("target/vm");
        fs::create_dir_all(&folder).with_context(|| format!("make {}", folder.display()))?;
        let kernel = Kernel::find_or_fetch(&folder)?;
        let mut machine = Self {
            repo: repo.clone(),
            folder,
            kernel,
            busybox,
            hardware: Hardware { accel: Accel::Kvm, cpus, memory },
        };
        machine.hardware.accel = match accel {
            Some(accel) => accel,
            None => accel::choose(&machine.folder.join("accel"), || machine.kvm_works())?,
        };
        Ok(machine)
    }

    /// Runs a command, or a shell, and gives its exit status; an error if it did not get that far.
    pub(crate) fn run(&self, job: &Job) -> Result<u8> {
        let Hardware { accel, cpus, memory } = self.hardware;
        eprintln!("vm: {} by {}, {cpus} CPUs, {memory} MiB", self.kernel.package, accel.option());
        let start = Instant::now();
        let streams = if job.is_shell() { Streams::Terminal } else { Streams::Shown };
        let limit = (!job.is_shell()).then_some(job.limit);
        let finished = self.start(job, self.hardware, streams, None, limit)?;
        let total = start.elapsed().as_secs_f64();
        let Finished { ending, last_lines, booted_after } = finished;
        if let Some(booted) = booted_after {
            eprintln!("vm: booted in {:.1} s, ended after {total:.1} s", booted.as_secs_f64());
        }
        let (what, stage) = match ending {
            Ending::Exit(status) => return Ok(status),
            Ending::Hung(stage) => ("hung", stage),
            Ending::Died(stage) => ("ended by itself", stage),
        };
        eprintln!("vm: the last lines of its console ({}):", self.log().display());
        for line in &last_lines {
            eprintln!("  | {line}");
        }
        match stage {
            Stage::Booting => {
                bail!("the virtual machine {what} while it booted, after {total:.0} s")
            }
            Stage::Running => bail!(
                "the virtual machine {what} while the command ran, after {total:.0} s (limit {} s, --timeout)",
                job.limit.as_secs()
            ),
        }
    }

    /// Whether the stock kernel gets to its first command on /dev/kvm.
    fn kvm_works(&self) -> Result<bool> {
        eprintln!("vm: trying KVM, for at most {} s", accel::TRIAL_LIMIT.as_secs());
        let job = Job {
            command: vec!["true".to_owned()],
            environment: Vec::new(),
            limit: accel::TRIAL_LIMIT,
        };
        let limit = Some(accel::TRIAL_LIMIT);
        let finished = self.start(&job, self.hardware, Streams::Hidden, limit, limit)?;
        let works = finished.ending == Ending::Exit(0);
        eprintln!("vm: KVM {}", if works { "works" } else { "does not work here: emulation" });
        Ok(works)
    }

    fn start(
        &self,
        job: &Job,
        hardware: Hardware,
        streams: Streams,
        boot_limit: Option<Duration>,
        limit: Option<Duration>,
    ) -> Result<Finished> {
        // Not in target/: the path of a socket must be short.
        let folder = tempfile::Builder::new()
            .prefix("tunlb-vm.")
            .tempdir()
            .context("make a folder for the sockets")?;
        let initramfs = folder.path().join("initramfs");
        let archive = job.initramfs(&self.repo, &self.kernel, &self.busybox, terminal())?;
        fs::write(&initramfs, archive).context("write the initramfs")?;
        let parts = Parts {
            kernel: &self.kernel,
            initramfs: &initramfs,
            target: &self.repo.root().join("target"),
            folder: folder.path(),
            log: &self.log(),
        };
        qemu::run(&parts, hardware, streams, boot_limit, limit)
    }

    fn log(&self) -> PathBuf {
        self.folder.join("console.log")
    }
}

/// Rows and columns of the terminal.
fn terminal() -> (u16, u16) {
    let stty = Command::new("stty").arg("size").stdin(Stdio::inherit()).output();
    let size = stty.map(|output| output.stdout).unwrap_or_default();
    size_of_terminal(&String::from_utf8_lossy(&size)).unwrap_or((24, 80))
}

/// `24 80` -> (24, 80).
fn size_of_terminal(text: &str) -> Option<(u16, u16)> {
    let (rows, columns) = text.trim().split_once(' ')?;
    Some((rows.parse().ok().filter(|&n| n > 0)?, columns.parse().ok().filter(|&n| n > 0)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_without_a_size_is_not_believed() {
        assert_eq!(size_of_terminal("50 132\n"), Some((50, 132)));
        assert_eq!(size_of_terminal("0 0"), None);
        assert_eq!(size_of_terminal(""), None);
    }
}
