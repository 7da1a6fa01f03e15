//! Spans and tables for people.

use crate::clock::{DAY, HOUR, MINUTE, Millis, SECOND};
use crate::error::{Error, Result};

/// A span as `90s`, `15m`, `8h` or `30d`.
///
/// # Errors
/// `BadValue` for anything else.
pub fn span(option: &str, text: &str) -> Result<Millis> {
    let bad = || Error::bad_value(option, format!("{text} is no time; write 90s, 15m, 8h or 30d"));
    let units = [("s", SECOND), ("m", MINUTE), ("h", HOUR), ("d", DAY)];
    let (unit, millis) = units.into_iter().find(|(unit, _)| text.ends_with(unit)).ok_or_else(bad)?;
    let number: i64 = text[..text.len() - unit.len()].parse().map_err(|_| bad())?;
    number.checked_mul(millis).filter(|span| *span > 0).ok_or_else(bad)
}

/// Columns under their heads; the last one is as long as it is.
pub fn table<const N: usize>(heads: [&str; N], rows: &[[String; N]]) -> String {
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells.chain([heads[column].chars().count()]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..N).map(width).collect();
    let line = |cells: &mut dyn Iterator<Item = &str>| {
        let padded: Vec<String> = cells.zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        format!("{}\n", padded.join("  ").trim_end())
    };
    let mut text = line(&mut heads.into_iter());
    for row in rows {
        text.push_str(&line(&mut row.iter().map(String::as_str)));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_have_a_unit() {
        assert_eq!(span("--expires", "30d").expect("a span"), 30 * DAY);
        assert_eq!(span("--expires", "90s").expect("a span"), 90 * SECOND);
        for bad in ["30", "d", "-1d", "0h", "99999999999999999d", "ü"] {
            span("--expires", bad).expect_err(bad);
        }
    }

    #[test]
    fn columns_stand_under_their_heads() {
        let rows = [["a".to_owned(), "b".to_owned()], ["long one".to_owned(), String::new()]];
        assert_eq!(table(["one", "two"], &rows), "one       two\na         b\nlong one\n");
    }
}
