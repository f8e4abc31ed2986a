//! All that was measured, as a table and as JSON.

use std::fmt;

use serde::Serialize;

use super::{
    host::Host,
    live::Live,
    machine::{Latency, latencies},
    measure::Patience,
    rows::{Row, Versus},
    scaling::Scaling,
    table::{number, table},
};

/// Everything that was measured.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Report {
    pub(super) quick: bool,
    pub(super) cpu: String,
    pub(super) kernel: String,
    pub(super) load: String,
    pub(super) rounds: u32,
    pub(super) latencies: Vec<Latency>,
    pub(super) rows: Vec<Row>,
    pub(super) versus: Vec<Versus>,
    pub(super) live: Vec<Live>,
    pub(super) scaling: Option<Scaling>,
}

impl Report {
    pub(super) fn new(
        quick: bool,
        patience: Patience,
        rows: Vec<Row>,
        versus: Vec<Versus>,
        live: Vec<Live>,
        scaling: Option<Scaling>,
    ) -> Self {
        let Host { cpu, kernel, load } = Host::this();
        Self {
            quick,
            cpu,
            kernel,
            load,
            rounds: patience.rounds,
            latencies: latencies(),
            rows,
            versus,
            live,
            scaling,
        }
    }
}

impl Report {
    /// What calling a program that only answers takes, in nanoseconds.
    fn call(&self) -> f64 {
        let raw =
            |id| self.rows.iter().find(|row| row.id == id).map_or(f64::NAN, |row| row.raw_min);
        raw("empty") - raw("loop")
    }
}

/// A number that means nothing below zero: what has less than the harness has no net.
fn positive(value: f64) -> String {
    if value > 0.0 { number(value) } else { String::new() }
}

/// A target, and whether it is met.
fn target(value: f64, target: Option<f64>, met: fn(&f64, &f64) -> bool) -> String {
    target.map_or_else(String::new, |target| {
        format!("{target} {}", if met(&value, &target) { "met" } else { "missed" })
    })
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { quick, cpu, kernel, load, rounds, latencies, rows, versus, live, scaling } =
            self;
        writeln!(f, "{cpu}, Linux {kernel}, load {load}, {rounds} rounds")?;
        if *quick {
            writeln!(f, "QUICK: small tables, few packets; these numbers mean nothing")?;
        }
        write!(f, "this machine now: a call and its return {:.1} ns", self.call())?;
        for Latency { kib, time } in latencies {
            write!(f, ", a load from {kib} KiB {time:.1} more than from the first cache")?;
        }
        writeln!(f)?;
        let mut packets = table(&[
            "ns per packet",
            "raw min",
            "median",
            "net min",
            "median",
            "to floor",
            "target",
        ]);
        for row in rows {
            packets.add_row([
                row.label.to_owned(),
                number(row.raw_min),
                number(row.raw_median),
                positive(row.net_min),
                positive(row.net_median),
                positive(row.to_floor),
                target(row.net_min, row.target, f64::le),
            ]);
        }
        writeln!(f, "\n{packets}")?;
        let mut against =
            table(&["net ns against the textbook", "textbook", "director", "ratio", "target"]);
        for Versus { label, textbook, director, ratio, target: wanted } in versus {
            against.add_row([
                (*label).to_owned(),
                number(*textbook),
                number(*director),
                number(*ratio),
                target(*ratio, *wanted, f64::ge),
            ]);
        }
        writeln!(f, "\n{against}")?;
        let mut through = table(&["live frames through veth, ns all inclusive", "min", "median"]);
        for Live { label, min, median } in live {
            through.add_row([(*label).to_owned(), number(*min), number(*median)]);
        }
        writeln!(f, "\n{through}")?;
        match scaling {
            Some(Scaling { alone, together: [first, second], ratio }) => writeln!(
                f,
                "\ntwo CPUs, known TCP flows, 64K: {alone:.1} ns alone, {first:.1} and {second:.1} together: \
                 {ratio:.2} times one CPU (target {})",
                target(*ratio, Some(1.9), f64::ge)
            ),
            None => writeln!(f, "\ntwo CPUs: not measured, there is one"),
        }
    }
}
