//! `conformance`: what IPVS and tunlb do with the same packets, side by side, on a kernel that has ip_vs.

use std::{fs, time::Duration};

use anyhow::{Context as _, Result, bail};

use crate::{
    process,
    repo::Repo,
    vm::{Machine, job::Job, suite},
};

/// What is kept of the last run that was looked at.
const KEPT: &str = "docs/ipvs-conformance.md";

/// Some minute under emulation on an idle machine.
const LIMIT: Duration = Duration::from_secs(15 * 60);

/// Play the same cases to the kernel's IPVS and to tunlb, and compare what leaves.
///
/// Boots Debian's stock kernel in a virtual machine, prints the table, and fails on a difference that does not stand in
/// docs/ipvs-differences.md, on one that stands there and is gone, and when the table is not the one in
/// docs/ipvs-conformance.md. `cargo xtask test` does the same among its other tests.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Keep the table in docs/ipvs-conformance.md.
    #[arg(long, conflicts_with = "case")]
    accept: bool,

    /// Only the cases with this in their name.
    case: Option<String>,
}

pub(crate) fn run(repo: &Repo, args: &Args) -> Result<()> {
    process::run(process::cargo(repo.root()).args([
        "build",
        "--locked",
        "--package=lb-userspace",
    ]))?;
    let programs = suite::build(repo, &["--package=tests", "--test=conformance"])?;
    let machine = Machine::prepare(repo, None, 2, 4096)?;
    let written = repo.root().join("target/ipvs-conformance.md");
    if args.accept && written.exists() {
        fs::remove_file(&written).context("remove the table of an earlier run")?;
    }
    let mut environment = suite::variables();
    let mut set = |name: &str, value: &str| environment.push((name.to_owned(), value.to_owned()));
    if args.accept {
        set("TUNLB_CONFORMANCE_TABLE", &written.to_string_lossy());
    }
    if let Some(case) = &args.case {
        set("TUNLB_CONFORMANCE", case);
    }
    let command = vec!["sh".to_owned(), "-c".to_owned(), suite::script(&programs, &[])];
    let status = machine.run(&Job { command, environment, limit: LIMIT })?;
    if args.accept && written.exists() {
        fs::copy(&written, repo.root().join(KEPT)).with_context(|| format!("write {KEPT}"))?;
        println!("{KEPT} written");
    }
    if status != 0 {
        bail!("IPVS and tunlb differ otherwise than the documents say");
    }
    Ok(())
}
