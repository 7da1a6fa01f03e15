//! Now, a clock that tests can set, and how a moment is written. Times are milliseconds since 1970 (`Millis`).

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use time::{Date, Month, OffsetDateTime};

/// Milliseconds since 1970-01-01T00:00Z, as the API sends them.
pub type Millis = i64;

pub const SECOND: Millis = 1_000;
pub const MINUTE: Millis = 60 * SECOND;
pub const HOUR: Millis = 60 * MINUTE;
pub const DAY: Millis = 24 * HOUR;

/// The time of day, a parameter wherever it matters.
#[derive(Debug, Clone, Default)]
pub enum Clock {
    /// The machine's clock.
    #[default]
    System,
    /// Stands still until a test moves it.
    Manual(Arc<AtomicI64>),
}

impl Clock {
    /// A clock for tests, standing at `now`.
    pub fn at(now: Millis) -> Self {
        Self::Manual(Arc::new(AtomicI64::new(now)))
    }

    pub fn now(&self) -> Millis {
        match self {
            #[expect(clippy::disallowed_methods, reason = "the one place that reads the wall clock")]
            Self::System => SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .map_or(0, |since| i64::try_from(since.as_millis()).unwrap_or(i64::MAX)),
            Self::Manual(now) => now.load(Ordering::SeqCst),
        }
    }

    /// Moves a manual clock forward; the machine's clock is not ours to move.
    pub fn advance(&self, by: Millis) {
        if let Self::Manual(now) = self {
            now.fetch_add(by, Ordering::SeqCst);
        }
    }
}

/// A moment in UTC as RFC 3339 writes it, to the second: `2026-01-31T12:00:00Z`.
pub fn rfc3339(at: Millis) -> String {
    let (hour, minute, second) = utc(at).to_hms();
    format!("{}T{hour:02}:{minute:02}:{second:02}Z", date(at))
}

/// The day of a moment in UTC: `2026-01-31`.
pub fn date(at: Millis) -> String {
    let (year, month, day) = utc(at).to_calendar_date();
    format!("{year:04}-{:02}-{day:02}", u8::from(month))
}

/// The first moment of a day that is written as [`date`] does, from 1970 on; `None` for no such day.
pub fn start_of(date: &str) -> Option<Millis> {
    let mut parts = date.trim().split('-');
    let (year, month, day) = (parts.next()?, parts.next()?, parts.next()?);
    let month = Month::try_from(month.parse::<u8>().ok()?).ok()?;
    let date = Date::from_calendar_date(year.parse().ok()?, month, day.parse().ok()?).ok()?;
    let start = date.midnight().assume_utc().unix_timestamp() * SECOND;
    (parts.next().is_none() && start >= 0).then_some(start)
}

/// What lies beyond four-digit years is told as their end: it means "never".
fn utc(at: Millis) -> OffsetDateTime {
    const FIRST: i64 = -62_167_219_200; // 0000-01-01T00:00:00Z
    const LAST: i64 = 253_402_300_799; // 9999-12-31T23:59:59Z
    let seconds = at.div_euclid(SECOND).clamp(FIRST, LAST);
    OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(OffsetDateTime::UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_those_of_the_calendar() {
        assert_eq!(rfc3339(0), "1970-01-01T00:00:00Z");
        assert_eq!(rfc3339(951_827_696_000), "2000-02-29T12:34:56Z");
        assert_eq!(rfc3339(1_735_689_599_999), "2024-12-31T23:59:59Z");
        assert_eq!(rfc3339(-1), "1969-12-31T23:59:59Z");
        assert_eq!(
            (rfc3339(i64::MAX), rfc3339(i64::MIN)),
            ("9999-12-31T23:59:59Z".into(), "0000-01-01T00:00:00Z".into())
        );
    }

    #[test]
    fn a_date_is_read_as_it_is_written() {
        for day in [0, 11_016, 19_782, 20_605] {
            assert_eq!(start_of(&date(day * DAY)), Some(day * DAY));
        }
        for wrong in
            ["", "2026", "2026-13-01", "2026-06-01-1", "2026-06-31", "2026-02-29", "1969-12-31", "yesterday"]
        {
            assert_eq!(start_of(wrong), None, "{wrong}");
        }
    }
}
