//! What a person who works on tunlb runs: `cargo xtask setup`, `build-ebpf`, `test`, `ci`.

mod ebpf;
mod process;
mod repo;

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
    BuildEbpf(ebpf::Args),
}

fn main() -> ExitCode {
    if let Some(code) = ebpf::rustc_wrapper::run_if_asked() {
        return code;
    }
    let result = repo::Repo::find().and_then(|repo| match Cli::parse().task {
        Task::BuildEbpf(args) => ebpf::run(&repo, &args),
    });
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
