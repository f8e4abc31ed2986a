//! A chart of horizontal bars, as every benchmark draws it.

use std::path::Path;

use anyhow::{Result, anyhow};
pub(super) use plotters::style::RGBColor;
use plotters::{
    drawing::IntoDrawingArea as _,
    element::{PathElement, Rectangle, Text},
    prelude::SVGBackend,
    style::{BLACK, Color as _, IntoFont as _, WHITE},
};

const WIDTH: u32 = 960;
/// Where bars start, and where the longest ends.
const LEFT: i32 = 320;
const RIGHT: i32 = 880;
const LINE: i32 = 26;
const HEAD: i32 = 60;

/// What tunlb does.
pub(super) const DIRECTOR: RGBColor = RGBColor(38, 110, 180);
/// What it is measured against.
pub(super) const RIVAL: RGBColor = RGBColor(200, 120, 40);
/// What gives the scale.
pub(super) const REFERENCE: RGBColor = RGBColor(150, 150, 150);
const TARGET: RGBColor = RGBColor(190, 30, 45);

/// How a value becomes a length.
#[derive(Clone, Copy, Debug)]
pub(super) enum Scale {
    Linear,
    /// 5 and 500 are both to be seen.
    SquareRoot,
}

/// One bar.
#[derive(Clone, Debug)]
pub(super) struct Bar {
    pub(super) label: String,
    pub(super) value: f64,
    /// Written behind it.
    pub(super) text: String,
    pub(super) color: RGBColor,
    /// A line across.
    pub(super) target: Option<f64>,
}

/// Draws bars under two lines of text.
pub(super) fn draw(
    path: &Path,
    title: &str,
    subtitle: &str,
    scale: Scale,
    bars: &[Bar],
) -> Result<()> {
    let longest = bars.iter().map(|bar| bar.value).fold(f64::MIN_POSITIVE, f64::max);
    let x = |value: f64| {
        let part = value.max(0.0) / longest;
        let part = match scale {
            Scale::Linear => part,
            Scale::SquareRoot => part.sqrt(),
        };
        LEFT + (part * f64::from(RIGHT - LEFT)) as i32
    };
    let height = HEAD + bars.len() as i32 * LINE + 20;
    let area = SVGBackend::new(path, (WIDTH, height as u32)).into_drawing_area();
    // The backend's error borrows the area.
    let failed = |error: &dyn std::fmt::Display| anyhow!("{error}");
    area.fill(&WHITE).map_err(|error| failed(&error))?;
    let font = |size: i32| ("sans-serif", size).into_font();
    area.draw(&Text::new(title, (12, 10), font(17))).map_err(|error| failed(&error))?;
    area.draw(&Text::new(subtitle, (12, 34), font(13))).map_err(|error| failed(&error))?;
    for (bar, top) in bars.iter().zip((HEAD..).step_by(LINE as usize)) {
        let Bar { label, value, text, color, target } = bar;
        let end = x(*value);
        let filled = Rectangle::new([(LEFT, top + 3), (end, top + LINE - 5)], color.filled());
        area.draw(&filled).map_err(|error| failed(&error))?;
        area.draw(&Text::new(label.as_str(), (12, top + 4), font(14)))
            .map_err(|error| failed(&error))?;
        area.draw(&Text::new(text.as_str(), (end + 6, top + 4), font(14).color(&BLACK)))
            .map_err(|error| failed(&error))?;
        if let Some(target) = target {
            let line = [(x(*target), top), (x(*target), top + LINE - 2)];
            area.draw(&PathElement::new(line, TARGET.stroke_width(2)))
                .map_err(|error| failed(&error))?;
        }
    }
    area.present().map_err(|error| failed(&error))
}
