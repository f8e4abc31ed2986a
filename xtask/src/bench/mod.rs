//! `bench`: measures, prints a table, and writes JSON and a chart to target/bench.

mod bars;
mod frame;
mod host;
mod measure;
mod output;
mod packet;
mod table;

use anyhow::Result;
use clap::Subcommand;

use crate::repo::Repo;

/// Measure what the data path costs.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    part: Part,
}

#[derive(Debug, Subcommand)]
enum Part {
    Packet(packet::Args),
}

pub(crate) fn run(repo: &Repo, args: &Args) -> Result<()> {
    match &args.part {
        Part::Packet(args) => packet::run(repo, args),
    }
}
