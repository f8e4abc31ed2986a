//! The `tunlb` binary: reads the command line, runs it, prints what went wrong.

use std::{io::IsTerminal as _, process::ExitCode};

use lb_userspace::{cli, daemon};
use tracing_subscriber::{EnvFilter, filter::LevelFilter};

fn main() -> ExitCode {
    let cli = cli::Cli::read();
    // What the data path logs comes as debug messages.
    let level = if cli.wants_debug() { LevelFilter::DEBUG } else { LevelFilter::INFO };
    let filter = EnvFilter::builder()
        .with_default_directive(level.into())
        .with_env_var("TUNLB_LOG")
        .from_env_lossy();
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .init();
    match cli::run(cli) {
        Ok(code) => code,
        Err(error) if error.is_broken_pipe() => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("tunlb: {}", daemon::chain(&error));
            ExitCode::FAILURE
        }
    }
}
