//! The command line: what it takes ([`Cli`]), what it does with it ([`run`]).

mod args;
mod director;
mod output;
mod remote;

use std::process::ExitCode;

pub use args::Cli;

use self::args::Command;
use crate::{bpf::XdpUnwrapper, client::ClientError, daemon::DaemonError, demo, realserver};

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// The daemon, or talking to it.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// Being the daemon.
    #[error(transparent)]
    Daemon(#[from] DaemonError),
    /// Removing what is pinned.
    #[error(transparent)]
    Bpf(#[from] crate::bpf::BpfError),
    /// Setting up the real server.
    #[error(transparent)]
    RealServer(#[from] realserver::RealServerError),
    /// The demo.
    #[error(transparent)]
    Demo(#[from] demo::Error),
    /// The demo's web server.
    #[error(transparent)]
    DemoHttp(#[from] demo::http::Error),
    /// Reading a file that was named.
    #[error("cannot read {}", path.display())]
    File {
        /// The file.
        path: std::path::PathBuf,
        /// What the kernel said.
        #[source]
        source: std::io::Error,
    },
    /// Starting threads, or writing the output.
    #[error("cannot run")]
    Io(#[from] std::io::Error),
}

impl CliError {
    /// Whether whoever read the output has closed it: no failure.
    pub fn is_broken_pipe(&self) -> bool {
        matches!(self, Self::Io(error) if error.kind() == std::io::ErrorKind::BrokenPipe)
    }
}

/// Does what the command line says.
pub fn run(cli: Cli) -> Result<ExitCode, CliError> {
    let Cli { command } = cli;
    let done = match command {
        Command::Director(args) => director::run(args),
        Command::Detach(args) => one_thread()?.block_on(director::detach(&args)),
        Command::Service(args) => one_thread()?.block_on(remote::service(args)),
        Command::Server(args) => one_thread()?.block_on(remote::server(args)),
        Command::List(request) => one_thread()?.block_on(remote::list(&request)),
        Command::Stats(args) => one_thread()?.block_on(remote::stats(&args)),
        Command::Plan(args) => one_thread()?.block_on(remote::plan(args)),
        Command::Apply(args) => one_thread()?.block_on(remote::apply(args)),
        Command::Realserver(args) => {
            let done = one_thread()?.block_on(realserver::run(args, &XdpUnwrapper));
            return done.map_err(CliError::from);
        }
        Command::Demo(args) => demo::run(&args).map_err(CliError::from),
        Command::DemoHttp(args) => {
            one_thread()?.block_on(demo::http::serve(args)).map_err(CliError::from)
        }
    };
    done.map(|()| ExitCode::SUCCESS)
}

fn one_thread() -> Result<tokio::runtime::Runtime, std::io::Error> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}
