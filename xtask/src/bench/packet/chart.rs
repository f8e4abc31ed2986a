//! The chart: a bar per row, with its target.

use std::path::Path;

use anyhow::Result;

use super::{
    bars::{self, Bar, DIRECTOR, REFERENCE, RIVAL, Scale},
    report::Report,
};

/// Draws nanoseconds per packet, net of the harness.
pub(super) fn draw(path: &Path, report: &Report) -> Result<()> {
    let rows = report.rows.iter().filter(|row| !["loop", "undo", "empty"].contains(&row.id));
    let bars: Vec<Bar> = rows
        .map(|row| Bar {
            label: row.label.to_owned(),
            value: row.net_min,
            text: format!("{:.1}", row.net_min),
            color: match row.id {
                "floor" => REFERENCE,
                id if id.starts_with("textbook") => RIVAL,
                _ => DIRECTOR,
            },
            target: row.target,
        })
        .collect();
    let title =
        "ns per packet, net of the harness, least of the rounds (square-root scale; red: target)";
    let machine = format!("{}, Linux {}", report.cpu, report.kernel);
    bars::draw(path, title, &machine, Scale::SquareRoot, &bars)
}
