//! `bench`: measures, prints a table, and writes JSON and a chart to target/bench.

mod bars;
mod connections;
mod end_to_end;
mod frame;
mod host;
mod measure;
mod output;
mod packet;
mod pktgen;
mod programs;
mod series;
mod table;
mod traffic;

use std::thread;

use anyhow::Result;
use clap::{Parser, Subcommand};

use crate::repo::Repo;

/// Measure what the data path costs: all parts, or one.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Args {
    #[command(subcommand)]
    part: Option<Part>,

    /// All parts, each as fast as it can: shows that everything works, the numbers mean nothing.
    #[arg(long)]
    quick: bool,
}

#[derive(Debug, Subcommand)]
enum Part {
    Packet(packet::Args),
    EndToEnd(end_to_end::Args),
    Connections(connections::Args),
}

pub(crate) fn run(repo: &Repo, args: &Args) -> Result<()> {
    match &args.part {
        Some(Part::Packet(args)) => packet::run(repo, args),
        Some(Part::EndToEnd(args)) => end_to_end::run(repo, args),
        Some(Part::Connections(args)) => connections::run(repo, args),
        None => {
            println!("=== packet ===");
            // In a thread of its own: it binds itself to a CPU, which a virtual machine would inherit.
            let packet = || packet::run(repo, &defaults(args.quick));
            thread::scope(|scope| scope.spawn(packet).join())
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
            println!("\n=== end-to-end ===");
            end_to_end::run(repo, &defaults(args.quick))?;
            println!("\n=== connections ===");
            connections::run(repo, &defaults(args.quick))
        }
    }
}

/// A part's options as nobody has set them, but for `--quick`.
fn defaults<A: clap::Args>(quick: bool) -> A {
    #[derive(Parser)]
    struct Alone<A: clap::Args> {
        #[command(flatten)]
        args: A,
    }
    let words = ["bench", "--quick"];
    Alone::parse_from(if quick { &words[..] } else { &words[..1] }).args
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_runs_without_options() {
        for quick in [false, true] {
            let _: packet::Args = defaults(quick);
            let _: end_to_end::Args = defaults(quick);
            let _: connections::Args = defaults(quick);
        }
    }
}
