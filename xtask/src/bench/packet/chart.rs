//! The chart: a bar per row, with its target.

use std::path::Path;

use anyhow::{Result, anyhow};
use plotters::{
    drawing::IntoDrawingArea as _,
    element::{PathElement, Rectangle, Text},
    prelude::SVGBackend,
    style::{BLACK, Color as _, IntoFont as _, RGBColor, WHITE},
};

use super::{report::Report, rows::Row};

const WIDTH: u32 = 960;
/// Where bars start, and where the longest ends.
const LEFT: i32 = 320;
const RIGHT: i32 = 880;
const LINE: i32 = 26;
const HEAD: i32 = 60;

const DIRECTOR: RGBColor = RGBColor(38, 110, 180);
const TEXTBOOK: RGBColor = RGBColor(200, 120, 40);
const REFERENCE: RGBColor = RGBColor(150, 150, 150);
const TARGET: RGBColor = RGBColor(190, 30, 45);

/// Draws nanoseconds per packet, net of the harness.
pub(super) fn draw(path: &Path, report: &Report) -> Result<()> {
    let rows: Vec<&Row> =
        report.rows.iter().filter(|row| !["loop", "undo", "empty"].contains(&row.id)).collect();
    let longest = rows.iter().map(|row| row.net_min).fold(1.0, f64::max);
    // A square-root scale: 5 ns and 500 ns are both to be seen.
    let x = |time: f64| LEFT + ((time.max(0.0) / longest).sqrt() * f64::from(RIGHT - LEFT)) as i32;
    let height = HEAD + rows.len() as i32 * LINE + 20;
    let area = SVGBackend::new(path, (WIDTH, height as u32)).into_drawing_area();
    // The backend's error borrows the area.
    let failed = |error: &dyn std::fmt::Display| anyhow!("{error}");
    area.fill(&WHITE).map_err(|error| failed(&error))?;
    let font = |size: i32| ("sans-serif", size).into_font();
    let title =
        "ns per packet, net of the harness, least of the rounds (square-root scale; red: target)";
    area.draw(&Text::new(title, (12, 10), font(17))).map_err(|error| failed(&error))?;
    let machine = format!("{}, Linux {}", report.cpu, report.kernel);
    area.draw(&Text::new(machine, (12, 34), font(13))).map_err(|error| failed(&error))?;
    for (row, top) in rows.iter().zip((HEAD..).step_by(LINE as usize)) {
        let color = match row.id {
            "floor" => REFERENCE,
            id if id.starts_with("textbook") => TEXTBOOK,
            _ => DIRECTOR,
        };
        let bar =
            Rectangle::new([(LEFT, top + 3), (x(row.net_min), top + LINE - 5)], color.filled());
        area.draw(&bar).map_err(|error| failed(&error))?;
        area.draw(&Text::new(row.label, (12, top + 4), font(14)))
            .map_err(|error| failed(&error))?;
        let value = format!("{:.1}", row.net_min);
        area.draw(&Text::new(value, (x(row.net_min) + 6, top + 4), font(14).color(&BLACK)))
            .map_err(|error| failed(&error))?;
        if let Some(target) = row.target {
            let line = [(x(target), top), (x(target), top + LINE - 2)];
            area.draw(&PathElement::new(line, TARGET.stroke_width(2)))
                .map_err(|error| failed(&error))?;
        }
    }
    area.present().map_err(|error| failed(&error))
}
