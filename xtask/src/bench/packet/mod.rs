//! `bench packet`: nanoseconds per packet of the committed objects, by BPF_PROG_TEST_RUN.

mod chart;
mod live;
mod machine;
mod report;
mod rows;
mod scaling;
mod scene;

use std::process;

use anyhow::{Result, bail};

use self::report::Report;
// For the modules below as well.
use super::{
    bars,
    frame::{self, Size},
    host,
    measure::{self, Patience, pin_to},
    output, table,
};
use crate::repo::Repo;

/// Measure nanoseconds per packet: the director, the least that any such program must do, and the textbook's design.
///
/// Every row is a program that the kernel runs on packets in memory, eight per run, with the flow of each picked anew. The loop
/// that makes the packets and undoes the encapsulation is measured as well, and subtracted. Rounds go through all rows in turn,
/// so that a noisy moment hits all of them alike; the least of the rounds is what to look at, since noise only adds.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// A fast run with small tables and few rounds: shows that everything works, its numbers mean nothing.
    #[arg(long)]
    quick: bool,

    /// Measure only these rows (as JSON calls them), and what every row is compared with. No live frames, no second CPU.
    #[arg(long, value_delimiter = ',', value_name = "ID,...")]
    only: Vec<String>,

    /// How often to measure every row.
    #[arg(long, default_value_t = 15, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,

    /// The CPU to run on; the other of the two-CPU measurement is the next one.
    #[arg(long, default_value_t = 0, value_name = "N")]
    cpu: usize,
}

pub(crate) fn run(repo: &Repo, args: &Args) -> Result<()> {
    if !crate::machine::is_root() {
        bail!(
            "not root: loading XDP programs needs it (sudo -E env PATH=\"$PATH\" cargo xtask bench packet)"
        );
    }
    let size = if args.quick { Size::SMALL } else { Size::FULL };
    let patience = if args.quick { Patience::QUICK } else { Patience::rounds(args.rounds) };
    let pins = format!("tunlb-bench-{}", process::id());
    pin_to(args.cpu)?;

    let (rows, versus) = rows::measure(repo, &pins, size, patience, &args.only)?;
    let (live, scaling) = if args.only.is_empty() {
        let live = live::measure(repo, &pins, size, patience)?;
        (live, scaling::measure(repo, &pins, size, patience, args.cpu)?)
    } else {
        (Vec::new(), None)
    };
    let report = Report::new(args.quick, patience, rows, versus, live, scaling);
    println!("{report}");

    output::write(repo, "packet", &report, |path| chart::draw(path, &report))
}
