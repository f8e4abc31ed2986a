//! What was measured on each kernel, as tables, as JSON and as a chart.

use std::{fmt, path::Path};

use anyhow::Result;
use serde::{Deserialize, Serialize};

use super::{load::Load, site::Way};
use crate::bench::{
    bars::{self, Bar, DIRECTOR, REFERENCE, RIVAL, Scale},
    host::Host,
    series::Series,
    table::{number, table},
};

/// Everything that was measured.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Report {
    pub(super) quick: bool,
    pub(super) kernels: Vec<Kernel>,
}

/// What was measured on one kernel.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) struct Kernel {
    pub(super) host: Host,
    pub(super) rounds: u32,
    pub(super) seconds: f64,
    pub(super) clients: u32,
    /// What takes packets out of the tunnel.
    pub(super) unwrapper: String,
    /// What is not measured here, and why.
    pub(super) missing: Vec<String>,
    pub(super) rows: Vec<Row>,
}

/// One way under one load, a value per round.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) struct Row {
    pub(super) load: Load,
    pub(super) way: Way,
    /// Requests per second.
    pub(super) rate: Series,
    /// Microseconds.
    pub(super) median: Series,
    pub(super) percentile_99: Series,
}

impl Kernel {
    fn direct(&self, load: Load) -> Option<&Row> {
        self.rows.iter().find(|row| row.load == load && row.way == Way::Direct)
    }
}

fn label(row: &Row) -> String {
    let load = match row.load {
        Load::KeepAlive => "keep-alive requests",
        Load::NewConnections => "new connections",
    };
    let way = match row.way {
        Way::Direct => "no balancer",
        Way::Tunlb => "tunlb",
        Way::Ipvs => "IPVS",
    };
    format!("{load}, {way}")
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.quick {
            writeln!(f, "QUICK: few requests; these numbers mean nothing")?;
        }
        for kernel in &self.kernels {
            writeln!(f, "{kernel}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Kernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, rounds, seconds, clients, unwrapper, missing, rows } = self;
        let Host { cpu, kernel, load } = host;
        writeln!(
            f,
            "{cpu}, Linux {kernel}, load {load}, {rounds} rounds of {seconds} s, {clients} clients at once, real servers \
             unwrap by {unwrapper}"
        )?;
        for line in missing {
            writeln!(f, "not measured: {line}")?;
        }
        let mut answers =
            table(&["HTTP, per second", "min", "median", "max", "to direct", "p50 us", "p99 us"]);
        for row in rows {
            let ratio = self.direct(row.load).map(|direct| row.rate.per(&direct.rate).median());
            answers.add_row([
                label(row),
                format!("{:.0}", row.rate.min()),
                format!("{:.0}", row.rate.median()),
                format!("{:.0}", row.rate.max()),
                ratio.map_or_else(String::new, |ratio| format!("{ratio:.2}")),
                number(row.median.median()),
                number(row.percentile_99.median()),
            ]);
        }
        writeln!(f, "{answers}")
    }
}

/// Draws requests per second, a bar per way. Each kernel's bars are to its fastest: an emulated one would not be seen
/// beside a real one.
pub(super) fn draw(path: &Path, report: &Report) -> Result<()> {
    let mut bars = Vec::new();
    for kernel in &report.kernels {
        let fastest = kernel.rows.iter().map(|row| row.rate.median()).fold(1.0, f64::max);
        for row in &kernel.rows {
            let rate = row.rate.median();
            bars.push(Bar {
                label: format!("{}: {}", kernel.host.kernel, label(row)),
                value: rate / fastest,
                text: format!("{rate:.0}"),
                color: match row.way {
                    Way::Direct => REFERENCE,
                    Way::Tunlb => DIRECTOR,
                    Way::Ipvs => RIVAL,
                },
                target: None,
            });
        }
    }
    let title = "HTTP requests per second, median of the rounds";
    let kernels: Vec<&str> = report.kernels.iter().map(|kernel| kernel.host.cpu.as_str()).collect();
    bars::draw(path, title, &kernels.join("; "), Scale::Linear, &bars)
}
