//! What a person who works on tunlb runs: `cargo xtask setup`, `build-ebpf`, `test`, `bench`, `ci`, `vm`.

mod bench;
mod ci;
mod conformance;
mod ebpf;
mod machine;
mod miri;
mod process;
mod repo;
mod setup;
mod test;
mod tools;
mod vm;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Tasks for people who work on tunlb.
///
/// Users of tunlb need none of this: the BPF objects are committed, so a plain `cargo build` with stable Rust gives a working
/// `tunlb`.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    Setup(setup::Args),
    BuildEbpf(ebpf::Args),
    Test(test::Args),
    Conformance(conformance::Args),
    Bench(bench::Args),
    Ci(ci::Args),
    Miri(miri::Args),
    Vm(vm::Args),
}

fn main() -> ExitCode {
    if let Some(code) = ebpf::rustc_wrapper::run_if_asked() {
        return code;
    }
    let result = repo::Repo::find().and_then(|repo| {
        let done = match Cli::parse().task {
            Task::Setup(args) => setup::run(&repo, &args),
            Task::BuildEbpf(args) => ebpf::run(&repo, &args),
            Task::Test(args) => test::run(&repo, &args),
            Task::Conformance(args) => conformance::run(&repo, &args),
            Task::Bench(args) => bench::run(&repo, &args),
            Task::Ci(args) => ci::run(&repo, &args),
            Task::Miri(args) => miri::run(&repo, &args),
            // Ends as the command inside does.
            Task::Vm(args) => return vm::run(&repo, &args),
        };
        done.map(|()| ExitCode::SUCCESS)
    });
    match result {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
