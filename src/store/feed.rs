//! The change feed of the look-ups: what changed since a reader last had them, including transactions that began
//! earlier and committed late. Start at [`Mark`], which says what a reader holds: by transaction numbers (xid8) on
//! PostgreSQL, by outbox positions on SQLite.

use std::fmt;

use crate::error::{Error, Result};
use crate::store::engine::Tx;
use crate::store::outbox::{self, Touched};
use crate::store::settings;

/// Rows read at a time.
const PAGE: i64 = 2000;
/// A reader that lacks more changes than this rebuilds instead.
const MOST: usize = 200_000;

/// Which changes a reader has: every number below `low`, and from there to below `high` all but the open ones, whose
/// transactions were still running when it read. The same as PostgreSQL's `pg_snapshot`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mark {
    low: i64,
    high: i64,
    open: Vec<i64>,
}

impl Mark {
    /// Everything up to that number.
    pub fn upto(position: i64) -> Self {
        Self { low: position + 1, high: position + 1, open: Vec::new() }
    }

    /// What is left of it below that number.
    fn below(mut self, end: i64) -> Self {
        (self.low, self.high) = (self.low.min(end), self.high.min(end));
        self.open.retain(|open| *open < end);
        self
    }

    /// The number up to which no change is missing.
    pub fn position(&self) -> i64 {
        self.low - 1
    }

    /// Whether a change of that number is among them.
    pub fn holds(&self, number: i64) -> bool {
        number < self.low || (number < self.high && !self.open.contains(&number))
    }

    /// As `Display` writes it, and PostgreSQL's `pg_snapshot`: `10:20:10,14`.
    pub fn read(text: &str) -> Option<Self> {
        let mut parts = text.splitn(3, ':');
        let mut number = || parts.next()?.parse().ok();
        let (low, high) = (number()?, number()?);
        let open = parts.next()?.split(',').filter(|one| !one.is_empty());
        Some(Self { low, high, open: open.map(|one| one.parse().ok()).collect::<Option<_>>()? })
    }
}

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let open: Vec<String> = self.open.iter().map(ToString::to_string).collect();
        write!(f, "{}:{}:{}", self.low, self.high, open.join(","))
    }
}

/// What a snapshot sees.
#[derive(Debug, Clone)]
pub struct Now {
    pub mark: Mark,
    /// Whether the numbers are those of transactions, and not positions.
    transactions: bool,
}

impl Now {
    /// The number of an effect that was written at that position, in that transaction.
    pub fn number(&self, position: i64, transaction: i64) -> i64 {
        if self.transactions { transaction } else { position }
    }
}

/// What this transaction sees. It has to be a snapshot.
pub async fn now(tx: &mut Tx) -> Result<Now> {
    match tx.sees().await? {
        Some(text) => {
            let unclear = || Error::internal(format_args!("a snapshot says {text}"));
            let mark = Mark::read(&text).ok_or_else(unclear)?;
            // After a crash the database gives numbers again whose transactions had left nothing on the disk. A
            // committed change is on the disk, and so is that every number below its own was given.
            let newest = outbox::newest_transaction(tx).await?.max(settings::swept_transaction(tx).await?);
            Ok(Now { mark: mark.below(newest + 1), transactions: true })
        }
        None => Ok(Now { mark: Mark::upto(outbox::newest(tx).await?), transactions: false }),
    }
}

/// What changed between `held` and `now`, in order. `None` when the reader has to rebuild: some of it was swept from
/// the outbox, it is too much, or `held` is ahead of a database that was restored.
pub async fn since(tx: &mut Tx, held: &Mark, now: &Now) -> Result<Option<Vec<Touched>>> {
    let swept = match now.transactions {
        true => settings::swept_transaction(tx).await?,
        false => settings::swept(tx).await?,
    };
    if held.position() < swept || held.low > now.mark.low {
        return Ok(None);
    }
    let mut changed = Vec::new();
    // What was open then and is over now; and all that came later. What lies between the reader has, however much
    // it is: a transaction may stay open for days.
    let over = held.open.iter().filter(|number| now.mark.holds(**number)).map(|number| (*number, *number));
    for (from, to) in over.chain([(held.high, now.mark.high - 1)]).filter(|(from, to)| from <= to) {
        let mut behind = (from - 1, i64::MAX);
        loop {
            let page = match now.transactions {
                true => outbox::changed_by_transactions(tx, behind, to, PAGE).await?,
                false => outbox::changed_since(tx, behind.0, PAGE).await?,
            };
            let Some(last) = page.last() else { break };
            behind = if now.transactions { (last.transaction, last.position) } else { (last.position, 0) };
            changed.extend(page.into_iter().filter(|row| {
                let number = now.number(row.position, row.transaction);
                !held.holds(number) && now.mark.holds(number)
            }));
            if changed.len() > MOST {
                return Ok(None);
            }
        }
    }
    Ok(Some(changed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_holds_what_was_over_and_not_what_was_open() {
        let mark = Mark::read("10:20:12,15").expect("a mark");
        let held: Vec<i64> = (8..22).filter(|number| mark.holds(*number)).collect();
        assert_eq!(held, [8, 9, 10, 11, 13, 14, 16, 17, 18, 19]);
        assert_eq!((mark.position(), mark.to_string().as_str()), (9, "10:20:12,15"));
        assert_eq!(Mark::read("7:7:"), Some(Mark::upto(6)));
        assert_eq!(mark.clone().below(14).to_string(), "10:14:12");
        assert_eq!(mark.clone().below(5), Mark::upto(4));
        assert_eq!(mark.clone().below(30), mark);
        for nonsense in ["", "7", "7:8", "x:8:", "7:8:x"] {
            assert_eq!(Mark::read(nonsense), None, "{nonsense}");
        }
    }
}
