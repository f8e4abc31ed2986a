//! `bench connections`: real HTTP through the demo's network, with tunlb, with IPVS and without a balancer.

mod load;
mod report;
mod site;

use std::{fs, path::Path, process, time::Duration};

use anyhow::{Context as _, Result};
use lb_userspace::demo::interrupt::Interrupt;

use self::{
    load::Load,
    report::{Kernel, Report, Row},
    site::Site,
};
use super::{
    end_to_end::{ipvs, root},
    host::Host,
    output,
    programs::{Inside, Programs},
    series::Series,
};
use crate::repo::Repo;

/// Measure HTTP requests and connections per second through the demo's network, and how long they take.
///
/// On this kernel with tunlb and without a balancer (asking one real server at its own address), and in a virtual machine
/// with a stock kernel the same and IPVS. Clients, router, director and real servers share the machine's processors, so
/// what a balancer takes shows as what is left for the rest.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// A fast run with few requests: shows that everything works, its numbers mean nothing.
    #[arg(long)]
    quick: bool,

    /// How often to measure every row.
    #[arg(long, default_value_t = 9, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,

    /// How long to measure each way in each round.
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: u64,

    /// How many clients ask at once.
    #[arg(long, default_value_t = 16, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1024))]
    clients: u32,

    /// Only on the kernel that runs here; with IPVS if it has that.
    #[arg(long)]
    here: bool,

    #[command(flatten)]
    inside: Inside,
}

pub(crate) fn run(repo: &Repo, args: &Args) -> Result<()> {
    let name = "connections";
    if let (Some(path), Some(tunlb)) = (&args.inside.inside, &args.inside.tunlb) {
        let kernel = measure(args, tunlb, true)?;
        return fs::write(path, serde_json::to_string(&kernel)?)
            .with_context(|| format!("cannot write {}", path.display()));
    }
    root(name)?;
    let programs = Programs::find(repo, args.quick, args.inside.tunlb.as_deref())?;
    let mut kernels = vec![measure(args, &programs.tunlb, false)?];
    if !args.here {
        let mut arguments = vec![
            format!("--rounds={}", args.rounds),
            format!("--seconds={}", args.seconds),
            format!("--clients={}", args.clients),
        ];
        if args.quick {
            arguments.push("--quick".to_owned());
        }
        let limit = Duration::from_secs(300 + 10 * u64::from(args.rounds) * args.seconds);
        kernels.push(programs.measure_in_vm(repo, name, &arguments, limit)?);
    }
    let report = Report { quick: args.quick, kernels };
    println!("{report}");
    output::write(repo, name, &report, |path| report::draw(path, &report))
}

/// Measures on this kernel. `all` is to fail where something cannot be measured.
fn measure(args: &Args, tunlb: &Path, all: bool) -> Result<Kernel> {
    let (rounds, time) = if args.quick {
        (2, Duration::from_millis(400))
    } else {
        (args.rounds, Duration::from_secs(args.seconds))
    };
    let mut missing = Vec::new();
    let with_ipvs = match ipvs::load() {
        Ok(()) => true,
        Err(error) if all => return Err(error),
        Err(error) => {
            missing.push(format!("IPVS: {error:#}"));
            false
        }
    };
    let interrupt = Interrupt::install().context("cannot catch signals")?;
    let prefix = format!("tunlb-bench-{}", process::id());
    let mut site = Site::build(&prefix, tunlb, with_ipvs, &interrupt)?;
    let mut rows: Vec<Row> = Vec::new();
    for load in Load::ALL {
        let first = rows.len();
        for way in site.ways() {
            eprintln!("bench: {load:?}, {way:?}");
            // Warms up: the first connection resolves neighbours.
            site.ask(way, load, args.clients, time / 4)?;
            let [rate, median, percentile_99] = [const { Series::new() }; 3];
            rows.push(Row { load, way, rate, median, percentile_99 });
        }
        for round in 0..rounds {
            let mut order: Vec<&mut Row> = rows[first..].iter_mut().collect();
            if round % 2 == 1 {
                order.reverse();
            }
            for row in order {
                interrupt.check()?;
                let outcome = site.ask(row.way, load, args.clients, time)?;
                row.rate.push(outcome.rate);
                row.median.push(outcome.median);
                row.percentile_99.push(outcome.percentile_99);
            }
        }
    }
    Ok(Kernel {
        host: Host::this(),
        rounds,
        seconds: time.as_secs_f64(),
        clients: args.clients,
        unwrapper: site.unwrapper()?.to_owned(),
        missing,
        rows,
    })
}
