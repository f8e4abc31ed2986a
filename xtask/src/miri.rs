//! `miri`: lb-common's tests under the interpreter that finds undefined behaviour; only a nightly Rust has it.

use anyhow::Result;

use crate::{process, repo::Repo, tools};

/// Cases per property: an interpreted test is some hundred times slower.
const PROPTEST_CASES: &str = "8";

/// Run lb-common's tests under miri, where rustup's nightly has it.
///
/// Prints "not run" and succeeds where it is not installed. `rustup toolchain install nightly --component miri,rust-src`
/// installs it.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Only tests with this in their name.
    filter: Option<String>,
}

/// Runs miri, or says why not.
pub(crate) fn run(repo: &Repo, args: &Args) -> Result<()> {
    match unavailable() {
        Some(reason) => {
            println!("not run: {reason}");
            Ok(())
        }
        None => interpret(repo, args.filter.as_deref()),
    }
}

/// Why miri cannot run here.
pub(crate) fn unavailable() -> Option<String> {
    for component in ["miri", "rust-src"] {
        if !tools::nightly_has(component) {
            return Some(format!("no {component} component in rustup's toolchain nightly"));
        }
    }
    None
}

pub(crate) fn interpret(repo: &Repo, filter: Option<&str>) -> Result<()> {
    // The proxy, not the cargo that runs us: only it knows `+nightly`.
    let mut cargo = std::process::Command::new("cargo");
    process::clear_build_variables(&mut cargo);
    cargo
        .current_dir(repo.root())
        .args(["+nightly", "miri", "test", "--locked", "-p", "lb-common", "--all-features"])
        .args(filter)
        .env_remove("RUSTUP_TOOLCHAIN")
        .env_remove("CARGO")
        .env("PROPTEST_CASES", PROPTEST_CASES)
        // proptest asks for the current folder, which miri's isolation denies.
        .env("MIRIFLAGS", "-Zmiri-disable-isolation");
    process::run(&mut cargo)
}
