//! `setup`: installs what is missing of the table in [`crate::tools`], and says what it does.

use std::{process::Command, time::Duration};

use anyhow::{Result, bail};

use crate::{
    ebpf::{
        RouteName,
        toolchain::{Route, Toolchain},
    },
    machine, process,
    repo::Repo,
    tools::{self, LLVM_PREFIX, Source, TOOLS, Tool},
};

/// Install what the other tasks need and is missing here.
///
/// Two routes lead to a toolchain for BPF: Debian packages (needs root) and rustup's nightly (needs rustup and the internet).
/// One that is already complete is kept; else the Debian packages are used where there is apt-get. What is installed is never
/// replaced; crates are installed in the version that was tried. Quick when nothing is missing.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Install nothing: report what is there, and fail if anything is missing.
    #[arg(long)]
    check: bool,

    /// The route to the BPF toolchain.
    #[arg(long, value_enum)]
    toolchain: Option<RouteName>,
}

pub(crate) fn run(repo: &Repo, args: &Args) -> Result<()> {
    let route = args.toolchain.map_or_else(choose_route, Route::from);
    println!("BPF toolchain: {route}");
    let mut missing = Vec::new();
    for tool in TOOLS.iter().filter(|tool| tool.is_for(route)) {
        let there = tool.is_there();
        println!("  {:<8} {:<12} {}", if there { "there" } else { "MISSING" }, tool.name, tool.why);
        if !there {
            missing.push(tool);
        }
    }
    provide_miri(args.check);
    if args.check {
        if !missing.is_empty() {
            bail!("missing:\n{}\n`cargo xtask setup` installs it", commands(&missing));
        }
        return Ok(());
    }
    if missing.is_empty() {
        println!("nothing to install");
        return Ok(());
    }

    // One that fails does not keep the others from being installed.
    let mut failed = Vec::new();
    for tool in missing {
        println!("installing {} ({})", tool.name, tool.why);
        if let Err(error) = install(repo, tool, route) {
            eprintln!("error: {error:#}");
            failed.push(tool);
        }
    }
    if !failed.is_empty() {
        bail!("could not install all; by hand:\n{}", commands(&failed));
    }
    let toolchain = Toolchain::of(route)?;
    println!("ready: {}, {}", toolchain.identity.rustc, toolchain.identity.bpf_linker);
    Ok(())
}

/// The route that is complete; else the one that can be installed here.
fn choose_route() -> Route {
    Route::ALL.into_iter().find(|route| route.missing().is_empty()).unwrap_or_else(|| {
        if process::find_program("apt-get").is_some() { Route::Debian } else { Route::Nightly }
    })
}

fn install(repo: &Repo, tool: &Tool, route: Route) -> Result<()> {
    match tool.source {
        Source::Debian(packages) | Source::System(packages) => {
            let packages = tools::missing_packages(packages);
            if !machine::is_root() {
                bail!("not root: Debian packages {} cannot be installed", packages.join(" "));
            }
            // Without fresh lists apt asks for versions that the mirror no longer has.
            process::run(Command::new("apt-get").args(["update", "-qq"]))?;
            process::run(
                Command::new("apt-get")
                    .args(["install", "-y", "-qq", "--no-install-recommends"])
                    .args(packages)
                    .env("DEBIAN_FRONTEND", "noninteractive"),
            )
        }
        Source::Nightly(component) => process::run(
            Command::new("rustup")
                .args(["toolchain", "install", "nightly", "--profile", "minimal"])
                .args(["--component", component]),
        ),
        Source::Component(component) => {
            process::run(Command::new("rustup").args(["component", "add", component]))
        }
        // Without Debian's LLVM to build against, a built one is the way.
        Source::Crate { krate: krate @ "bpf-linker", version, .. }
            if route == Route::Nightly && process::find_program("cargo-binstall").is_some() =>
        {
            process::run(
                Command::new("cargo-binstall")
                    .args(["--no-confirm", &format!("{krate}@{version}")]),
            )
        }
        Source::Crate { krate, version, arguments } => {
            let mut cargo = process::cargo(repo.root());
            process::clear_build_variables(&mut cargo);
            cargo.args(["install", &format!("{krate}@{version}"), "--locked"]).args(arguments);
            cargo.env("CARGO_PROFILE_DEV_DEBUG", "0");
            if krate == "bpf-linker" && route == Route::Debian {
                cargo.env("LLVM_PREFIX", LLVM_PREFIX);
            }
            process::run(&mut cargo)
        }
    }
}

/// How long rustup may take to bring miri: some machines reach no server that has it.
const MIRI_PATIENCE: Duration = Duration::from_secs(300);

/// miri comes with rustup's nightly only. Without it one step of `ci` says that it did not run; that it cannot be had
/// is therefore no failure of `setup`.
fn provide_miri(check: bool) {
    let components = ["miri", "rust-src"];
    let there = || components.into_iter().all(tools::nightly_has);
    let report =
        |state| println!("  {state:<8} {:<12} ci: undefined behaviour in lb-common", "miri");
    if there() {
        return report("there");
    }
    report("MISSING");
    if check {
        return;
    }
    let mut rustup = Command::new("rustup");
    rustup.args(["toolchain", "install", "nightly", "--profile", "minimal", "--no-self-update"]);
    rustup.args(components.map(|component| format!("--component={component}")));
    if let Err(error) = process::run_for(&mut rustup, MIRI_PATIENCE) {
        eprintln!("note: no miri, so `cargo xtask miri` will say that it did not run: {error:#}");
    }
}

fn commands(tools: &[&Tool]) -> String {
    let lines: Vec<_> = tools.iter().map(|tool| format!("  {}", tool.command())).collect();
    lines.join("\n")
}
