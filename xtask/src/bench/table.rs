//! Tables and numbers as every benchmark prints them.

use comfy_table::{CellAlignment, Table, presets};

/// A table without frames whose first column is text and the others numbers.
pub(super) fn table(head: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(head);
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

pub(super) fn number(value: f64) -> String {
    format!("{value:.1}")
}
