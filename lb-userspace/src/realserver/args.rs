//! The command line of `tunlb realserver`.

use std::{net::Ipv4Addr, path::PathBuf};

use super::DEFAULT_STATE_DIR;

/// Set up this host as a real server, check it, or undo that.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    /// What to do.
    pub command: Command,
}

/// What to do with this host.
#[derive(Clone, Debug, clap::Subcommand)]
pub enum Command {
    /// Set up this host to serve the VIPs
    ///
    /// Writes down what there was before it changes anything; a failure undoes what was done. May be repeated, also with more
    /// VIPs.
    Up(UpArgs),
    /// Say line by line what is right and what is wrong
    ///
    /// Exits with 0 if all is right, with 1 if something is wrong.
    Check(CheckArgs),
    /// Undo `up`: everything is as it was before the first `up`
    ///
    /// Fails if there is nothing to undo.
    Down(DownArgs),
}

/// How to set up.
#[derive(Clone, Debug, clap::Args)]
pub struct UpArgs {
    /// A virtual address to serve (IPv4); may be given several times
    #[arg(long = "vip", value_name = "ADDRESS", required = true, value_delimiter = ',')]
    pub vips: Vec<Ipv4Addr>,
    /// The interface that faces the director [default: that of the default route]
    #[arg(long, value_name = "NAME")]
    pub interface: Option<String>,
    /// Unwrap by an XDP program instead of the kernel's tunl0
    ///
    /// This is the way taken anyway where the kernel has no ipip module.
    #[arg(long)]
    pub xdp: bool,
    /// Attach the XDP program in generic mode, for drivers without XDP (slower); nothing to tunl0
    #[arg(long)]
    pub generic: bool,
    /// Only say what would be done
    #[arg(long)]
    pub dry_run: bool,
    /// The folder for what `down` needs to know
    #[arg(long, value_name = "FOLDER", default_value = DEFAULT_STATE_DIR)]
    pub state_dir: PathBuf,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// What to check.
#[derive(Clone, Debug, clap::Args)]
pub struct CheckArgs {
    /// A virtual address that should be served [default: those that `up` set up]
    #[arg(long = "vip", value_name = "ADDRESS", value_delimiter = ',')]
    pub vips: Vec<Ipv4Addr>,
    /// The interface that faces the director [default: that of `up`, or of the default route]
    #[arg(long, value_name = "NAME")]
    pub interface: Option<String>,
    /// Expect an XDP program instead of the kernel's tunl0
    #[arg(long)]
    pub xdp: bool,
    /// The folder that `up` used
    #[arg(long, value_name = "FOLDER", default_value = DEFAULT_STATE_DIR)]
    pub state_dir: PathBuf,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// What to undo.
#[derive(Clone, Debug, clap::Args)]
pub struct DownArgs {
    /// The folder that `up` used
    #[arg(long, value_name = "FOLDER", default_value = DEFAULT_STATE_DIR)]
    pub state_dir: PathBuf,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    #[test]
    fn several_vips_may_be_given_and_one_must_be() {
        let line = ["tunlb", "up", "--vip", "192.168.19.100,192.168.19.101", "--vip", "10.0.0.1"];
        let Command::Up(up) = Line::try_parse_from(line).expect("the line").args.command else {
            panic!("not up");
        };
        assert_eq!(up.vips.len(), 3);
        assert!(Line::try_parse_from(["tunlb", "up"]).is_err());
        assert!(Line::try_parse_from(["tunlb", "up", "--vip", "2001:db8::1"]).is_err());
        assert!(Line::try_parse_from(["tunlb", "check"]).is_ok());
    }
}
