//! `test`: every test of the workspace, after a look at whether this machine can run them.

use anyhow::{Result, bail};

use crate::{machine, process, repo::Repo};

/// Run every test: units, properties, doctests, packets through the kernel, network namespaces (needs root).
///
/// First names what the machine lacks and what to do about it, and mounts the BPF file system if it is not mounted. The tests
/// use the committed BPF objects, so stable Rust is enough. They build and remove their own network namespaces and send nothing
/// to the machine's own interfaces.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Run even if the machine lacks something: tests that need it will fail.
    #[arg(long)]
    anyway: bool,

    /// Passed on to `cargo test --workspace`, for example `-- --test-threads 1` or a test's name.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<String>,
}

pub(crate) fn run(repo: &Repo, args: &Args) -> Result<()> {
    let problems = machine::problems();
    for problem in &problems {
        eprintln!("missing: {problem}");
    }
    if !problems.is_empty() && !args.anyway {
        bail!(
            "this machine cannot run the tests; `cargo xtask test --anyway` runs them all the same"
        );
    }
    // Before any test runs: a test may start the binary of another package.
    process::run(process::cargo(repo.root()).args(["build", "--workspace", "--locked"]))?;
    process::run(
        process::cargo(repo.root())
            .args(["test", "--workspace", "--locked", "--no-fail-fast"])
            .args(&args.arguments),
    )
}
