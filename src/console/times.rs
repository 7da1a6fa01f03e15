//! Times for people: relative, with the exact one behind it.

use std::fmt;

use crate::clock::{DAY, HOUR, MINUTE, Millis, date, rfc3339};
use crate::console::texts::{ENGLISH, count, fill};

/// A moment, as it is shown at another one. Renders as a `<time>` element.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Time {
    pub at: Millis,
    pub now: Millis,
}

impl Time {
    pub fn new(at: Millis, now: Millis) -> Self {
        Self { at, now }
    }

    /// As "5 minutes ago", "in 3 days", or the date of what is far away. What has passed has passed
    /// whole; what is ahead is told to the nearest unit, so that three days do not begin as two.
    pub fn relative(self) -> String {
        let t = &ENGLISH;
        let (span, past) = ((self.now - self.at).abs(), self.at <= self.now);
        let units = |unit: Millis| if past { span / unit } else { (span + unit / 2) / unit };
        let (number, one, many) = match (units(MINUTE), units(HOUR), units(DAY)) {
            _ if span < MINUTE && past => return t.just_now.to_owned(),
            _ if span < MINUTE => return t.in_a_moment.to_owned(),
            (minutes @ ..60, ..) => (minutes, t.one_minute, t.minutes),
            (_, hours @ ..24, _) => (hours, t.one_hour, t.hours),
            (.., days @ ..60) => (days, t.one_day, t.days),
            _ => return date(self.at),
        };
        fill(if past { t.ago } else { t.ahead }, &[&count(number, one, many)])
    }

    /// As "2026-06-01 10:42 UTC".
    pub fn exact(self) -> String {
        let rest = self.at.rem_euclid(DAY);
        format!("{} {:02}:{:02} UTC", date(self.at), rest / HOUR, rest % HOUR / MINUTE)
    }
}

/// Digits and words of ours alone.
impl askama::filters::HtmlSafe for Time {}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (machine, exact) = (rfc3339(self.at), self.exact());
        write!(f, r#"<time datetime="{machine}" title="{exact}">{}</time>"#, self.relative())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SECOND;

    const NOW: Millis = 1_780_310_520_000;

    #[test]
    fn what_is_near_is_told_from_now() {
        let told = |at| Time::new(at, NOW).relative();
        assert_eq!(told(NOW), "just now");
        assert_eq!(told(NOW - 5 * MINUTE), "5 minutes ago");
        assert_eq!(told(NOW - HOUR), "1 hour ago");
        assert_eq!(told(NOW + 3 * DAY), "in 3 days");
        assert_eq!(told(NOW - 400 * DAY), "2025-04-27");
        // What was set for three days ends in three, also a moment later.
        assert_eq!(told(NOW + 3 * DAY - SECOND), "in 3 days");
        assert_eq!(told(NOW + 2 * DAY + 11 * HOUR), "in 2 days");
        assert_eq!(told(NOW + 2 * HOUR - SECOND), "in 2 hours");
        assert_eq!(told(NOW + HOUR - SECOND), "in 1 hour");
        assert_eq!(told(NOW + 30 * SECOND), "in a moment");
        assert_eq!(told(NOW - 3 * DAY + SECOND), "2 days ago");
        assert_eq!(Time::new(NOW, NOW).exact(), "2026-06-01 10:42 UTC");
    }
}
