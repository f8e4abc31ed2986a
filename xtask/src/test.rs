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

    /// Only the tests of these packages.
    #[arg(short, long, value_name = "PACKAGE")]
    package: Vec<String>,

    /// Only tests with this in their name.
    filter: Option<String>,

    /// For the test programs, for example `-- --test-threads 1 --nocapture`.
    #[arg(last = true)]
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
    let mut cargo = process::cargo(repo.root());
    cargo.args(["test", "--locked", "--no-fail-fast"]);
    cargo.args(selection(&args.package)).args(&args.filter);
    if !args.arguments.is_empty() {
        cargo.arg("--").args(&args.arguments);
    }
    process::run(&mut cargo)
}

/// cargo takes `--workspace` beside `--package`, and then ignores the latter.
fn selection(packages: &[String]) -> Vec<String> {
    if packages.is_empty() {
        return vec!["--workspace".to_owned()];
    }
    packages.iter().map(|package| format!("--package={package}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_packages_are_tested_unless_some_are_named() {
        assert_eq!(selection(&[]), ["--workspace"]);
        let named = ["a".to_owned(), "b".to_owned()];
        assert_eq!(selection(&named), ["--package=a", "--package=b"]);
    }
}
