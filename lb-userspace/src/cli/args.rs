//! Commands and flags, each with a short and a long text.

use std::{net::Ipv4Addr, path::PathBuf};

use clap::{Args, CommandFactory as _, Parser, Subcommand, error::ErrorKind};

use crate::{
    config::{
        DEFAULT_PATH, DEFAULT_SOCKET, NameError, Scheduler, SchedulerFlag, SchedulerName,
        ServiceAddress, Weight, unicast,
    },
    demo, realserver,
};

/// A layer-4 tunnel load balancer: the job of LVS in Tunnel mode, in XDP
///
/// The director takes clients' packets for a virtual service, picks a real server, wraps each
/// packet in an IPIP header and sends it there; the real server answers the client directly.
///
/// Exit codes: 0 done, 1 failed, 2 not understood.
#[derive(Clone, Debug, Parser)]
#[command(name = "tunlb", version)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

impl Cli {
    /// Reads the command line; ends the process when that cannot be understood.
    pub fn read() -> Self {
        let cli = Self::parse();
        if let Err(error) = cli.check() {
            Self::command().error(ErrorKind::ArgumentConflict, error).exit();
        }
        cli
    }

    /// Whether what is given goes together.
    fn check(&self) -> Result<(), NameError> {
        let Command::Service(
            ServiceCommand::Add { scheduler, options, .. }
            | ServiceCommand::Edit { scheduler, options, .. },
        ) = &self.command
        else {
            return Ok(());
        };
        Scheduler::new(*scheduler, &options.scheduler_flags, options.table_size).map(|_| ())
    }

    /// Whether debug messages are asked for.
    pub fn wants_debug(&self) -> bool {
        matches!(&self.command, Command::Director(DirectorArgs { debug: true, .. }))
    }
}

/// What to do.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Run the director's daemon in the foreground
    ///
    /// Loads the data path or takes over the one that runs, makes it what the configuration file
    /// says, and follows the network and this command line's changes. Says "ready" on standard
    /// error once packets are balanced. When it ends, however it ends, the data path goes on;
    /// `tunlb detach` ends that.
    Director(DirectorArgs),
    /// Remove the data path: nothing is balanced any more
    ///
    /// Tells the director that runs to detach from its interfaces, to remove all maps and pins,
    /// and to end. Where none runs, removes what one has left.
    Detach(DetachArgs),
    /// Add, edit, delete a virtual service
    ///
    /// The change is in the configuration file, and on the disk, before it is acknowledged.
    #[command(subcommand)]
    Service(ServiceCommand),
    /// Add, edit, delete a real server of a virtual service
    ///
    /// The change is in the configuration file, and on the disk, before it is acknowledged.
    #[command(subcommand)]
    Server(ServerCommand),
    /// Show interfaces, services and real servers, and the flow table
    ///
    /// With the mode in which the program is attached, who answers for each VIP (owned: the
    /// director's program; local: the director's kernel), and each real server's next hop or why
    /// it has none.
    List(RequestArgs),
    /// Show what was counted: every verdict's reason, and traffic per service and server
    Stats(StatsArgs),
    /// Show what `apply` would change, and change nothing
    Plan(FileArgs),
    /// Make the director do what the configuration file says
    ///
    /// Without FILE, the configuration file as it stands now; with FILE, that file's text takes
    /// the place of the configuration file's. Whole or not at all.
    Apply(FileArgs),
    /// Set this host up as a real server, check it, undo that
    Realserver(realserver::Args),
    /// Show it all at work, in a network of its own
    ///
    /// Builds a client, a router, a director and two real servers in network namespaces, makes
    /// real requests, and shows each packet's way from the wire. Leaves nothing behind.
    Demo(demo::Args),
    /// The web server of the demo's real servers
    #[command(hide = true)]
    DemoHttp(demo::http::Args),
}

/// Which director to ask, and how to print what it says.
#[derive(Clone, Debug, Args)]
pub struct RequestArgs {
    /// The socket of the director to ask
    #[arg(long, value_name = "PATH", default_value = DEFAULT_SOCKET)]
    pub socket: PathBuf,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// How to run the director.
#[derive(Clone, Debug, Args)]
pub struct DirectorArgs {
    /// The configuration file
    ///
    /// The one truth about what the director does; changes from the command line are written to
    /// it, comments and order stay.
    #[arg(long, value_name = "FILE", default_value = DEFAULT_PATH)]
    pub config: PathBuf,
    /// An interface to attach to, instead of the file's `interfaces`; may be given several times
    #[arg(long = "interface", value_name = "NAME")]
    pub interfaces: Vec<String>,
    /// The directory for pins, instead of the file's `pin`
    ///
    /// On a BPF file system. Two directors on one host need two.
    #[arg(long, value_name = "DIR")]
    pub pin: Option<PathBuf>,
    /// The socket to listen on, instead of the file's `socket`
    #[arg(long, value_name = "PATH")]
    pub socket: Option<PathBuf>,
    /// Attach in generic mode: for drivers without XDP, and slow
    #[arg(long)]
    pub generic: bool,
    /// Log every packet's verdict
    ///
    /// For finding out what goes wrong; slow.
    #[arg(long)]
    pub debug: bool,
}

/// What to detach.
#[derive(Clone, Debug, Args)]
pub struct DetachArgs {
    /// The directory of the pins [default: the running director's, else /sys/fs/bpf/tunlb]
    #[arg(long, value_name = "DIR")]
    pub pin: Option<PathBuf>,
    /// Whom to ask.
    #[command(flatten)]
    pub request: RequestArgs,
}

/// What to do with a virtual service.
#[derive(Clone, Debug, Subcommand)]
pub enum ServiceCommand {
    /// Add a virtual service without servers
    Add {
        /// The service: tcp:VIP:PORT or udp:VIP:PORT
        service: ServiceAddress,
        /// How it chooses real servers: rr, wrr, sh, dh, mh or fo
        ///
        /// As IPVS's schedulers of these names do. rr: one after the other. wrr: by turns, as many as the
        /// weight. sh: by the client's address. dh: by the VIP. mh: by the client's address; when a
        /// server comes or goes, few clients change theirs. fo: the heaviest server.
        #[arg(long, default_value = "rr")]
        scheduler: SchedulerName,
        #[command(flatten)]
        options: SchedulerOptions,
        #[command(flatten)]
        request: RequestArgs,
    },
    /// Change a virtual service's scheduler
    ///
    /// Flags and table size that are not given are gone, as with `ipvsadm -E`.
    Edit {
        /// The service: tcp:VIP:PORT or udp:VIP:PORT
        service: ServiceAddress,
        /// How it chooses real servers from now on: rr, wrr, sh, dh, mh or fo
        #[arg(long)]
        scheduler: SchedulerName,
        #[command(flatten)]
        options: SchedulerOptions,
        #[command(flatten)]
        request: RequestArgs,
    },
    /// Delete a virtual service with its servers and flows
    Delete {
        /// The service: tcp:VIP:PORT or udp:VIP:PORT
        service: ServiceAddress,
        #[command(flatten)]
        request: RequestArgs,
    },
}

/// What schedulers can be told.
#[derive(Clone, Debug, Args)]
pub struct SchedulerOptions {
    /// The scheduler's flags: sh-fallback, sh-port, mh-fallback, mh-port
    ///
    /// -port: the client's port counts, not only its address. -fallback: flows of a server of weight 0
    /// go to others, instead of being refused.
    #[arg(
        short = 'b',
        long = "scheduler-flags",
        visible_alias = "sched-flags",
        value_name = "FLAG,...",
        value_delimiter = ','
    )]
    pub scheduler_flags: Vec<SchedulerFlag>,
    /// Slots of mh's table, a prime [default: 4093, as ip_vs has]
    ///
    /// 65537 shares more evenly among many servers.
    #[arg(long, value_name = "SLOTS", allow_negative_numbers = true)]
    pub table_size: Option<i64>,
}

/// What to do with a real server.
#[derive(Clone, Debug, Subcommand)]
pub enum ServerCommand {
    /// Add a real server; it is picked before the others, as with IPVS
    Add {
        /// The service: tcp:VIP:PORT or udp:VIP:PORT
        service: ServiceAddress,
        /// The real server's address; its port is the service's
        #[arg(value_parser = unicast)]
        server: Ipv4Addr,
        /// Its weight, 0 to 2147483647; with 0 it takes no new flows
        #[arg(long, default_value = "1", allow_negative_numbers = true)]
        weight: Weight,
        #[command(flatten)]
        request: RequestArgs,
    },
    /// Change a real server's weight
    ///
    /// Weight 0 quiesces it: it keeps its flows and takes no new ones.
    Edit {
        /// The service: tcp:VIP:PORT or udp:VIP:PORT
        service: ServiceAddress,
        /// The real server's address
        #[arg(value_parser = unicast)]
        server: Ipv4Addr,
        /// Its weight from now on, 0 to 2147483647; with 0 it takes no new flows
        #[arg(long, allow_negative_numbers = true)]
        weight: Weight,
        #[command(flatten)]
        request: RequestArgs,
    },
    /// Delete a real server with its flows
    Delete {
        /// The service: tcp:VIP:PORT or udp:VIP:PORT
        service: ServiceAddress,
        /// The real server's address
        #[arg(value_parser = unicast)]
        server: Ipv4Addr,
        #[command(flatten)]
        request: RequestArgs,
    },
}

/// Which statistics.
#[derive(Clone, Debug, Args)]
pub struct StatsArgs {
    /// Show reasons that were never counted, too
    #[arg(long)]
    pub all: bool,
    /// Whom to ask.
    #[command(flatten)]
    pub request: RequestArgs,
}

/// Which configuration.
#[derive(Clone, Debug, Args)]
pub struct FileArgs {
    /// A configuration file [default: the director's own, as it stands on disk]
    pub file: Option<PathBuf>,
    /// Whom to ask.
    #[command(flatten)]
    pub request: RequestArgs,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_flag_and_command_is_explained() {
        fn explained(command: &clap::Command) {
            assert!(command.get_about().is_some(), "{}", command.get_name());
            for argument in command.get_arguments() {
                assert!(argument.get_help().is_some(), "{} {argument}", command.get_name());
            }
            command.get_subcommands().for_each(explained);
        }
        explained(&Cli::command());
    }

    #[test]
    fn those_that_use_the_socket_have_a_flag_for_it_and_no_others() {
        fn takes_socket(line: &str) -> bool {
            let flag = ["--socket", "/run/x.sock"];
            match Cli::try_parse_from(line.split(' ').chain(flag)) {
                Ok(_) => true,
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::UnknownArgument, "{line}");
                    false
                }
            }
        }
        for line in [
            "tunlb director",
            "tunlb detach",
            "tunlb list",
            "tunlb stats",
            "tunlb plan",
            "tunlb apply",
            "tunlb service delete tcp:10.0.0.9:80",
            "tunlb server delete tcp:10.0.0.9:80 10.1.0.1",
        ] {
            assert!(takes_socket(line), "{line}");
        }
        for line in ["tunlb demo", "tunlb realserver check", "tunlb realserver up 10.0.0.9"] {
            assert!(!takes_socket(line), "{line}");
        }
    }

    #[test]
    fn services_are_named_as_everywhere() {
        let parse = |line: &str| Cli::try_parse_from(line.split(' '));
        parse("tunlb service add tcp:192.168.19.100:80 --scheduler wrr").expect("valid");
        parse("tunlb service add tcp:192.168.19.100:80 --scheduler sh -b sh-port,sh-fallback")
            .expect("as with ipvsadm");
        parse("tunlb server add tcp:192.168.19.100:80 192.168.19.2 --weight 3").expect("valid");
        parse("tunlb server edit tcp:192.168.19.100:80 192.168.19.2 --weight 0").expect("valid");
        for line in [
            "tunlb service add 192.168.19.100:80",
            "tunlb service add tcp:192.168.19.100:80 --scheduler lc",
            "tunlb service add tcp:192.168.19.100:80 --scheduler sh -b port",
            "tunlb server add tcp:192.168.19.100:80 192.168.19.2 --weight 2147483648",
            "tunlb server add tcp:192.168.19.100:80 224.0.0.1",
            "tunlb server edit tcp:192.168.19.100:80 192.168.19.2",
        ] {
            assert_eq!(parse(line).expect_err(line).exit_code(), 2);
        }
    }
}
