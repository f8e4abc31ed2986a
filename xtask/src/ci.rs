//! `ci`: everything that CI runs, one step after the other, with a table of results at the end.

use std::{
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};

use crate::{
    ebpf::{
        check::{self, Checked},
        rustc_wrapper,
        toolchain::{Route, Toolchain},
    },
    miri, process,
    repo::Repo,
    tools,
};

/// Run everything that CI runs; a failing step does not keep the others from running.
///
/// The last lines are a table: step, result, seconds. What cannot be run on this machine is listed as "not run" or "partly",
/// with the reason.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Only these steps.
    #[arg(long, value_delimiter = ',', value_name = "STEP")]
    only: Vec<String>,

    /// Print the names of the steps.
    #[arg(long)]
    list: bool,
}

/// One line of the table.
struct Step {
    name: &'static str,
    run: fn(&Repo) -> Result<Outcome>,
}

/// How a step ended, if it did not fail.
enum Outcome {
    Passed,
    /// What could be done passed; why not all could be done.
    Partly(String),
    /// Why nothing could be done.
    NotRun(String),
}

/// The quick ones first, so that a slip shows at once.
const STEPS: [Step; 11] = [
    Step { name: "fmt", run: fmt },
    Step { name: "fmt-ebpf", run: fmt_ebpf },
    Step { name: "typos", run: typos },
    Step { name: "deny", run: deny },
    Step { name: "advisories", run: advisories },
    Step { name: "clippy", run: clippy },
    Step { name: "clippy-ebpf", run: clippy_ebpf },
    Step { name: "doc", run: doc },
    Step { name: "build-ebpf", run: drift },
    Step { name: "miri", run: miri_step },
    Step { name: "test", run: test },
];

pub(crate) fn run(repo: &Repo, args: &Args) -> Result<()> {
    if args.list {
        for step in &STEPS {
            println!("{}", step.name);
        }
        return Ok(());
    }
    for name in &args.only {
        if !STEPS.iter().any(|step| step.name == name) {
            bail!("no step is called {name}; `cargo xtask ci --list` names them");
        }
    }
    let mut results = Vec::new();
    for step in &STEPS {
        if !args.only.is_empty() && !args.only.iter().any(|name| name == step.name) {
            continue;
        }
        println!("\n=== {} ===", step.name);
        let start = Instant::now();
        let outcome = (step.run)(repo);
        if let Err(error) = &outcome {
            eprintln!("error: {error:#}");
        }
        results.push((step.name, outcome, start.elapsed()));
    }
    let failed: Vec<_> =
        results.iter().filter(|(_, outcome, _)| outcome.is_err()).map(|(name, ..)| *name).collect();
    println!("\n{}", table(&results));
    if !failed.is_empty() {
        bail!("failed: {}", failed.join(", "));
    }
    Ok(())
}

/// The summary, a line per step.
fn table(results: &[(&str, Result<Outcome>, Duration)]) -> String {
    let mut text = format!("{:<12} {:<8} {:>7}", "step", "result", "seconds");
    for (name, outcome, elapsed) in results {
        let (result, reason) = match outcome {
            Ok(Outcome::Passed) => ("passed", ""),
            Ok(Outcome::Partly(reason)) => ("partly", reason.lines().next().unwrap_or_default()),
            Ok(Outcome::NotRun(reason)) => ("not run", reason.as_str()),
            Err(_) => ("FAILED", ""),
        };
        let line = format!("{name:<12} {result:<8} {:>7.1}  {reason}", elapsed.as_secs_f64());
        text.push('\n');
        text.push_str(line.trim_end());
    }
    text
}

fn passed(command: &mut Command) -> Result<Outcome> {
    process::run(command).map(|()| Outcome::Passed)
}

fn fmt(repo: &Repo) -> Result<Outcome> {
    passed(process::cargo(repo.root()).args(["fmt", "--all", "--check"]))
}

fn fmt_ebpf(repo: &Repo) -> Result<Outcome> {
    passed(process::cargo(&repo.ebpf()).args(["fmt", "--all", "--check"]))
}

fn typos(repo: &Repo) -> Result<Outcome> {
    passed(Command::new(tools::program("typos")?).current_dir(repo.root()))
}

/// Both workspaces, by the one deny.toml.
fn deny(repo: &Repo) -> Result<Outcome> {
    let program = tools::program("cargo-deny")?;
    for manifest in ["Cargo.toml", "lb-ebpf/Cargo.toml"] {
        process::run(
            Command::new(&program)
                .current_dir(repo.root())
                .args(["--manifest-path", manifest, "--config", "deny.toml", "--locked"])
                .args(["check", "--hide-inclusion-graph", "bans", "licenses", "sources"]),
        )?;
    }
    Ok(Outcome::Passed)
}

/// Known vulnerabilities; the database is a git repository on GitHub, which not every CI machine can reach.
fn advisories(repo: &Repo) -> Result<Outcome> {
    let program = tools::program("cargo-deny")?;
    let fetch =
        process::output(Command::new(&program).current_dir(repo.root()).args(["fetch", "db"]));
    if let Err(error) = fetch {
        eprintln!("{error:#}");
        let reason = "the advisory database at github.com/RustSec cannot be fetched".to_owned();
        println!("not run: {reason}");
        return Ok(Outcome::NotRun(reason));
    }
    for manifest in ["Cargo.toml", "lb-ebpf/Cargo.toml"] {
        process::run(
            Command::new(&program)
                .current_dir(repo.root())
                .args(["--manifest-path", manifest, "--config", "deny.toml", "--locked"])
                .args(["check", "advisories"]),
        )?;
    }
    Ok(Outcome::Passed)
}

fn clippy(repo: &Repo) -> Result<Outcome> {
    passed(process::cargo(repo.root()).args([
        "clippy",
        "--workspace",
        "--all-targets",
        "--locked",
        "--",
        "-D",
        "warnings",
    ]))
}

/// clippy of the compiler that builds the objects, for the BPF target itself.
fn clippy_ebpf(repo: &Repo) -> Result<Outcome> {
    let toolchain = Toolchain::find(None)?;
    let clippy = toolchain.rustc.with_file_name("cargo-clippy");
    if !clippy.is_file() {
        let remedy = match toolchain.route {
            Route::Debian => "apt-get install --no-install-recommends rust-web-clippy",
            Route::Nightly => "rustup component add clippy --toolchain nightly",
        };
        bail!(
            "{} is not installed; `cargo xtask setup` installs it, or `{remedy}`",
            clippy.display()
        );
    }
    let cargo = process::cargo(&repo.ebpf());
    let mut command = Command::new(&clippy);
    process::clear_build_variables(&mut command);
    command
        .current_dir(repo.ebpf())
        // cargo-clippy starts this cargo, and its own neighbour clippy-driver in place of rustc.
        .env("CARGO", cargo.get_program())
        .env("CARGO_TARGET_DIR", repo.root().join("target/bpf-clippy"))
        .env("PATH", process::path_with_cargo_bin())
        .env("RUSTC", &toolchain.rustc)
        .env("RUSTC_BOOTSTRAP", "1")
        .args(["clippy", "--release", "--locked", "--bins"])
        .args(["--target", rustc_wrapper::TARGET, "-Zbuild-std=core", "--", "-D", "warnings"]);
    passed(&mut command)
}

fn doc(repo: &Repo) -> Result<Outcome> {
    passed(
        process::cargo(repo.root())
            .args(["doc", "--workspace", "--no-deps", "--locked"])
            .env("RUSTDOCFLAGS", "-D warnings"),
    )
}

fn drift(repo: &Repo) -> Result<Outcome> {
    Ok(match check::check(repo, None)? {
        Checked::Identical => Outcome::Passed,
        Checked::HashesOnly(reason) => {
            println!("{reason}");
            Outcome::Partly(reason)
        }
    })
}

fn miri_step(repo: &Repo) -> Result<Outcome> {
    if let Some(reason) = miri::unavailable() {
        println!("not run: {reason}");
        return Ok(Outcome::NotRun(reason));
    }
    miri::interpret(repo, None).context("miri").map(|()| Outcome::Passed)
}

/// By the command that the README names, so that CI runs what a reader types.
fn test(repo: &Repo) -> Result<Outcome> {
    passed(process::cargo(repo.root()).args(["xtask", "test"]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_shows_each_way_a_step_can_end() {
        let results = [
            ("fmt", Ok(Outcome::Passed), Duration::from_millis(1_240)),
            ("miri", Ok(Outcome::NotRun("no miri".to_owned())), Duration::ZERO),
            ("drift", Ok(Outcome::Partly("one\ntwo".to_owned())), Duration::from_secs(2)),
            ("test", Err(anyhow::anyhow!("broken")), Duration::from_secs(61)),
        ];
        assert_eq!(
            table(&results),
            "step         result   seconds\n\
             fmt          passed       1.2\n\
             miri         not run      0.0  no miri\n\
             drift        partly       2.0  one\n\
             test         FAILED      61.0"
        );
    }

    #[test]
    fn steps_have_different_names() {
        let mut names: Vec<_> = STEPS.iter().map(|step| step.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), STEPS.len());
    }
}
