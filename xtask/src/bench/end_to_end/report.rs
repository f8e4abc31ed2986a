//! All that was measured, as a table, as JSON and as a chart.

use std::{fmt, path::Path};

use anyhow::Result;
use serde::{Deserialize, Serialize};

use super::rows::{Engine, Generator, Load, Measured, Row, Scheduler};
use crate::bench::{
    bars::{self, Bar, DIRECTOR, REFERENCE, RIVAL, Scale},
    host::Host,
    table::{number, table},
};

/// How many times IPVS's packets per second with live frames tunlb shall forward.
const TARGET: f64 = 6.0;

/// What has to arrive of what was sent: a rate of packets that are mostly lost says nothing.
const ENOUGH: f64 = 0.95;

/// Everything that was measured.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) struct Report {
    pub(super) quick: bool,
    pub(super) host: Host,
    pub(super) rounds: u32,
    pub(super) seconds: f64,
    pub(super) flows: u32,
    /// What is not measured here, and why.
    pub(super) missing: Vec<String>,
    pub(super) generator_alone: Measured,
    pub(super) rows: Vec<Row>,
}

/// A row in words.
pub(super) fn name(generator: Generator, scheduler: Scheduler, load: Load) -> String {
    let generator = match generator {
        Generator::LiveFrames => "live frames",
        Generator::Pktgen => "pktgen",
    };
    format!("{generator}, {}", label(scheduler, load))
}

fn label(scheduler: Scheduler, load: Load) -> String {
    let load = match load {
        Load::OneFlow => "1 flow",
        Load::ManyFlows => "many flows",
        Load::SynFlood => "SYN flood",
    };
    let scheduler = match scheduler {
        Scheduler::RoundRobin => "rr",
        Scheduler::SourceHash => "sh-port",
    };
    format!("{scheduler}: {load}")
}

/// Thousands per second.
fn kilo(rate: f64) -> String {
    number(rate / 1000.0)
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { quick, host, rounds, seconds, flows, missing, generator_alone, rows } = self;
        let Host { cpu, kernel, load } = host;
        writeln!(f, "{cpu}, Linux {kernel}, load {load}, {rounds} rounds of {seconds} s")?;
        writeln!(
            f,
            "6 VIPs with 100 real servers each; many flows are {flows}, a flood's sources are random"
        )?;
        if *quick {
            writeln!(f, "QUICK: few packets; these numbers mean nothing")?;
        }
        for line in missing {
            writeln!(f, "not measured: {line}")?;
        }
        for row in rows {
            for lossy in row.engines.iter().filter(|engine| engine.delivered.median() < ENOUGH) {
                let name = name(row.generator, row.scheduler, row.load);
                writeln!(
                    f,
                    "CAUTION: {name}: {:?} lost packets, so its rate is not comparable",
                    lossy.engine
                )?;
            }
        }
        for generator in [Generator::LiveFrames, Generator::Pktgen] {
            let rows: Vec<&Row> = rows.iter().filter(|row| row.generator == generator).collect();
            if !rows.is_empty() {
                writeln!(f, "\n{}", self.rates(generator, &rows))?;
            }
        }
        writeln!(f, "\n{}", self.shares())?;
        let Measured { rate, softirq, .. } = generator_alone;
        writeln!(
            f,
            "the generator alone, live frames dropped where they come in: {} kpps, of it {} us per packet in soft interrupts",
            kilo(rate.median()),
            decimals(softirq.median())
        )
    }
}

impl Report {
    fn rates(&self, generator: Generator, rows: &[&Row]) -> comfy_table::Table {
        let what = match generator {
            Generator::LiveFrames => "live frames, kpps arriving",
            Generator::Pktgen => "pktgen (UDP), kpps arriving",
        };
        let mut rates = table(&[
            what,
            "tunlb",
            "best",
            "IPVS",
            "best",
            "plain sink",
            "ratio",
            "least",
            "most",
            "of best",
            "plain sink",
            "target",
        ]);
        for row in rows {
            let (mut cells, tunlb) =
                (vec![label(row.scheduler, row.load)], row.engine(Engine::Tunlb));
            for measured in [tunlb, row.engine(Engine::Ipvs)] {
                cells.push(shown(measured, |measured| kilo(measured.rate.median())));
                cells.push(shown(measured, |measured| kilo(measured.rate.max())));
            }
            let plain = row.engine(Engine::IpvsPlainSink);
            cells.push(shown(plain, |measured| kilo(measured.rate.median())));
            let ratio = row.ratio(Engine::Ipvs);
            let ratio = ratio.as_ref();
            cells.push(shown(ratio, |ratio| decimals(ratio.median())));
            cells.push(shown(ratio, |ratio| decimals(ratio.min())));
            cells.push(shown(ratio, |ratio| decimals(ratio.max())));
            let best = tunlb.zip(row.engine(Engine::Ipvs));
            cells.push(shown(best.as_ref(), |(tunlb, ipvs)| {
                decimals(tunlb.rate.max() / ipvs.rate.max())
            }));
            let plain = row.ratio(Engine::IpvsPlainSink);
            cells.push(shown(plain.as_ref(), |ratio| decimals(ratio.median())));
            let target = |ratio: &crate::bench::series::Series| {
                let met = ratio.median() >= TARGET;
                format!("{TARGET} {}", if met { "met" } else { "missed" })
            };
            let counts = generator == Generator::LiveFrames;
            cells.push(if counts { shown(ratio, target) } else { String::new() });
            rates.add_row(cells);
        }
        rates
    }

    /// What the director's side took, and what arrived.
    fn shares(&self) -> comfy_table::Table {
        let mut shares = table(&[
            "us of CPU per packet: all, director and sink",
            "tunlb all",
            "director",
            "IPVS all",
            "director",
            "plain sink",
            "tunlb % arrived",
            "IPVS",
            "tunlb spread %",
            "IPVS",
        ]);
        for row in &self.rows {
            let (tunlb, ipvs) = (row.engine(Engine::Tunlb), row.engine(Engine::Ipvs));
            let mut cells = vec![name(row.generator, row.scheduler, row.load)];
            for measured in [tunlb, ipvs] {
                cells.push(shown(measured, |measured| decimals(measured.busy.median())));
                cells.push(shown(measured, |measured| decimals(measured.softirq.median())));
            }
            let plain = row.engine(Engine::IpvsPlainSink);
            cells.push(shown(plain, |measured| decimals(measured.softirq.median())));
            for measured in [tunlb, ipvs] {
                cells.push(shown(measured, |m| decimals(m.delivered.median() * 100.0)));
            }
            for measured in [tunlb, ipvs] {
                cells.push(shown(measured, |measured| number(measured.rate.spread())));
            }
            shares.add_row(cells);
        }
        shares
    }
}

fn shown<T>(value: Option<&T>, text: impl FnOnce(&T) -> String) -> String {
    value.map_or_else(|| "-".to_owned(), text)
}

fn decimals(value: f64) -> String {
    format!("{value:.2}")
}

/// Draws packets per second, a bar per row and engine.
pub(super) fn draw(path: &Path, report: &Report) -> Result<()> {
    let bar = |label: String, color, measured: &Measured, ratio: Option<f64>| Bar {
        label,
        value: measured.rate.median(),
        text: ratio.map_or_else(
            || kilo(measured.rate.median()),
            |ratio| format!("{}  ({ratio:.1} x IPVS)", kilo(measured.rate.median())),
        ),
        color,
        target: None,
    };
    let mut bars =
        vec![bar("the generator alone".to_owned(), REFERENCE, &report.generator_alone, None)];
    for row in &report.rows {
        let generator = if row.generator == Generator::Pktgen { "pktgen, " } else { "" };
        for measured in &row.engines {
            let (name, color) = match measured.engine {
                Engine::Tunlb => ("tunlb", DIRECTOR),
                Engine::Ipvs => ("IPVS", RIVAL),
                Engine::IpvsPlainSink => ("IPVS, plain sink", RIVAL),
                Engine::None => continue,
            };
            let ratio = row.ratio(Engine::Ipvs).filter(|_| measured.engine == Engine::Tunlb);
            let label = format!("{generator}{}: {name}", label(row.scheduler, row.load));
            bars.push(bar(label, color, measured, ratio.map(|ratio| ratio.median())));
        }
    }
    let title = "kpps that arrive at the real servers' side, median of the rounds";
    let machine = format!("{}, Linux {}", report.host.cpu, report.host.kernel);
    bars::draw(path, title, &machine, Scale::Linear, &bars)
}
