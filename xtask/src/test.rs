//! `test`: every test of the workspace, after a look at whether this machine can run them.

use anyhow::{Context as _, Result, bail};

use crate::{machine, process, repo::Repo, vm};

/// Run every test: units, properties, doctests, packets through the kernel, network namespaces (needs root).
///
/// First names what the machine lacks and what to do about it, and mounts the BPF file system if it is not mounted. The tests
/// use the committed BPF objects, so stable Rust is enough. They build and remove their own network namespaces and send nothing
/// to the machine's own interfaces. Then those that talk to the kernel are run once more on Debian's stock kernel, in a virtual
/// machine (see `cargo xtask vm`), where none is left out for what the kernel lacks.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Run even if the machine lacks something: tests that need it will fail.
    #[arg(long)]
    anyway: bool,

    /// Do not run tests on the stock kernel, in a virtual machine.
    #[arg(long)]
    no_vm: bool,

    /// Only the tests of these packages, and none in the virtual machine.
    #[arg(short, long, value_name = "PACKAGE")]
    package: Vec<String>,

    /// Only tests with this in their name, and none in the virtual machine.
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
    let here = process::run(&mut cargo);
    if !args.in_vm() {
        println!("not run on the stock kernel: {}", args.why_not_in_vm());
        return here;
    }
    println!("\n=== on the stock kernel, in a virtual machine ===");
    let there = vm::suite::run(repo).context("on the stock kernel");
    // Both are told of, should both have failed.
    match (here, there) {
        (Err(here), Err(there)) => bail!("{here:#}; {there:#}"),
        (here, there) => here.and(there),
    }
}

impl Args {
    /// A selection of tests is for quick turns.
    fn in_vm(&self) -> bool {
        !self.no_vm && self.package.is_empty() && self.filter.is_none()
    }

    fn why_not_in_vm(&self) -> &'static str {
        if self.no_vm { "--no-vm" } else { "a part of the tests was asked for" }
    }
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

    fn args(package: &[&str], filter: Option<&str>, no_vm: bool) -> Args {
        Args {
            anyway: false,
            no_vm,
            package: package.iter().map(|&name| name.to_owned()).collect(),
            filter: filter.map(str::to_owned),
            arguments: Vec::new(),
        }
    }

    #[test]
    fn only_the_whole_is_run_on_the_stock_kernel_too() {
        assert!(args(&[], None, false).in_vm());
        assert!(!args(&[], None, true).in_vm());
        assert!(!args(&["tests"], None, false).in_vm());
        assert!(!args(&[], Some("arp"), false).in_vm());
        assert_eq!(args(&[], None, true).why_not_in_vm(), "--no-vm");
    }

    #[test]
    fn all_packages_are_tested_unless_some_are_named() {
        assert_eq!(selection(&[]), ["--workspace"]);
        let named = ["a".to_owned(), "b".to_owned()];
        assert_eq!(selection(&named), ["--package=a", "--package=b"]);
    }
}
