//! The programs that a benchmark runs, and running the harness itself in the virtual machine.

use std::{
    env, fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use serde::de::DeserializeOwned;

use super::output;
use crate::{
    process,
    repo::Repo,
    vm::{Machine, job::Job},
};

/// The programs of one build.
#[derive(Clone, Debug)]
pub(super) struct Programs {
    /// The product.
    pub(super) tunlb: PathBuf,
    /// This program.
    xtask: PathBuf,
}

impl Programs {
    /// Those of a release build; of this program's own build for a quick run, whose numbers mean nothing. Of `tunlb`, the
    /// one that is asked for, if any.
    pub(super) fn find(repo: &Repo, quick: bool, tunlb: Option<&Path>) -> Result<Self> {
        let folder = if quick {
            let own = env::current_exe().context("cannot tell this program's path")?;
            own.parent().context("a program is in a folder")?.to_owned()
        } else {
            let mut cargo = process::cargo(repo.root());
            process::clear_build_variables(&mut cargo);
            cargo.args([
                "build",
                "--release",
                "--locked",
                "--package=lb-userspace",
                "--package=xtask",
            ]);
            process::run(&mut cargo)?;
            repo.root().join("target/release")
        };
        let tunlb = match tunlb {
            // The command in the virtual machine starts elsewhere.
            Some(path) => std::path::absolute(path).context("cannot tell where --tunlb is")?,
            None => folder.join("tunlb"),
        };
        let programs = Self { tunlb, xtask: folder.join("xtask") };
        if !programs.tunlb.is_file() {
            bail!("there is no {}; `cargo build --workspace` makes one", programs.tunlb.display());
        }
        Ok(programs)
    }

    /// Runs a part of the benchmark on the stock kernel in the virtual machine, and gives its report.
    pub(super) fn measure_in_vm<R: DeserializeOwned>(
        &self,
        repo: &Repo,
        part: &str,
        arguments: &[String],
        limit: Duration,
    ) -> Result<R> {
        let machine = Machine::prepare(repo, None, 2, 4096)?;
        let report = output::folder(repo)?.join(format!("{part}-vm.json"));
        let word = |path: &Path| path.to_string_lossy().into_owned();
        let mut command =
            vec![word(&self.xtask), "bench".to_owned(), part.to_owned(), "--inside".to_owned()];
        command.extend([word(&report), "--tunlb".to_owned(), word(&self.tunlb)]);
        command.extend_from_slice(arguments);
        let job = Job { command, environment: Vec::new(), limit };
        match machine.run(&job)? {
            0 => {}
            status => bail!("the benchmark in the virtual machine failed (exit status {status})"),
        }
        let text =
            fs::read(&report).with_context(|| format!("cannot read {}", report.display()))?;
        // The report is written again, as a whole.
        fs::remove_file(&report).with_context(|| format!("cannot remove {}", report.display()))?;
        serde_json::from_slice(&text).context("cannot understand the virtual machine's report")
    }
}

/// Which programs are run, and what a run inside of the virtual machine is told by the one outside.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Inside {
    /// Write the report to this file, print none; everything that the stock kernel has must work.
    #[arg(long, hide = true, value_name = "FILE", requires = "tunlb")]
    pub(super) inside: Option<PathBuf>,

    /// The `tunlb` to measure, instead of a release build of this checkout: to compare two versions. The virtual machine
    /// sees all of this machine's files but /tmp and /run.
    #[arg(long, value_name = "FILE")]
    pub(super) tunlb: Option<PathBuf>,
}

/// Loads a kernel module. The stock kernel has all that are asked for; elsewhere it may be missing.
pub(super) fn load_module(name: &str, parameters: &[&str]) -> Result<()> {
    let modprobe = process::find_program("modprobe").unwrap_or_else(|| "/sbin/modprobe".into());
    process::output(std::process::Command::new(modprobe).arg("-q").arg(name).args(parameters))
        .map(drop)
        .with_context(|| format!("this kernel has no {name}"))
}
