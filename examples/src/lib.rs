//! A plain table in columns, which `fetch` and `outage` print.

use std::fmt::Write;

/// On which side of its column a text stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// As text.
    Left,
    /// As numbers.
    Right,
}

/// Renders the rows below their headings, each column as wide as its widest cell.
#[must_use]
pub fn render<const N: usize>(headings: [(&str, Side); N], rows: &[[String; N]]) -> String {
    let mut widths = headings.map(|(heading, _)| width(heading));
    for row in rows {
        for (widest, cell) in widths.iter_mut().zip(row) {
            *widest = width(cell).max(*widest);
        }
    }
    let sides = headings.map(|(_, side)| side);
    let mut table = String::new();
    line(
        &mut table,
        headings.map(|(heading, _)| heading),
        sides,
        widths,
    );
    let rules = widths.map(|width| "-".repeat(width));
    line(
        &mut table,
        rules.each_ref().map(String::as_str),
        sides,
        widths,
    );
    for row in rows {
        line(
            &mut table,
            row.each_ref().map(String::as_str),
            sides,
            widths,
        );
    }
    table
}

fn line<const N: usize>(
    table: &mut String,
    cells: [&str; N],
    sides: [Side; N],
    widths: [usize; N],
) {
    let mut text = String::new();
    for ((cell, side), widest) in cells.into_iter().zip(sides).zip(widths) {
        let gap = " ".repeat(widest - width(cell));
        // Writing to a string cannot fail.
        let _ = match side {
            Side::Left => write!(text, "{cell}{gap}  "),
            Side::Right => write!(text, "{gap}{cell}  "),
        };
    }
    table.push_str(text.trim_end());
    table.push('\n');
}

fn width(text: &str) -> usize {
    text.chars().count()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADINGS: [(&str, Side); 3] = [
        ("file", Side::Left),
        ("size", Side::Right),
        ("outcome", Side::Left),
    ];

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = [["a", "10", "fetched"], ["café.txt", "1000 KiB", "-"]]
            .map(|row| row.map(str::to_owned));
        assert_eq!(
            render(HEADINGS, &rows),
            "\
file          size  outcome
--------  --------  -------
a               10  fetched
café.txt  1000 KiB  -
"
        );
    }

    #[test]
    fn no_rows_leave_the_headings() {
        assert_eq!(
            render(HEADINGS, &[]),
            "file  size  outcome\n----  ----  -------\n"
        );
    }
}
