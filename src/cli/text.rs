//! Times and tables for people.

use crate::clock::{DAY, HOUR, MINUTE, Millis, SECOND};
use crate::error::{Error, Result};

/// A time as `2026-01-31T12:00:00Z`.
pub fn time(at: Millis) -> String {
    let (days, rest) = (at.div_euclid(DAY), at.rem_euclid(DAY));
    let (year, month, day) = date(days);
    let (hour, minute, second) = (rest / HOUR, rest % HOUR / MINUTE, rest % MINUTE / SECOND);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// Days since 1970-01-01 as a date of the Gregorian calendar (Howard Hinnant, `civil_from_days`).
fn date(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let of_era = days.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

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
    fn times_are_those_of_the_calendar() {
        assert_eq!(time(0), "1970-01-01T00:00:00Z");
        assert_eq!(time(951_827_696_000), "2000-02-29T12:34:56Z");
        assert_eq!(time(1_735_689_599_999), "2024-12-31T23:59:59Z");
        assert_eq!(time(-1), "1969-12-31T23:59:59Z");
    }

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
