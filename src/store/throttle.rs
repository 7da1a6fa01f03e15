//! Counters of tries in windows, kept in the database so that every node counts together.

use crate::clock::Millis;
use crate::error::Result;
use crate::store::engine::{Tx, params};

/// A window that seems to end after more than twice its length was begun by a clock that was ahead. Once, so
/// that nodes whose clocks differ by seconds count together.
const AHEAD: i64 = 2;

/// Counts one try of the subject; answers how many there are in the running window, and when it
/// ends. A window starts with its first try.
pub async fn count(tx: &mut Tx, subject: &str, now: Millis, window: Millis) -> Result<(i64, Millis)> {
    tx.query_one(
        "INSERT INTO throttle (subject, window_end, tries) VALUES ($1, $3, 1)
         ON CONFLICT (subject) DO UPDATE
         SET tries = CASE WHEN throttle.window_end <= $2 OR throttle.window_end > $4 THEN 1
                          ELSE throttle.tries + 1 END,
             window_end = CASE WHEN throttle.window_end <= $2 OR throttle.window_end > $4 THEN $3
                               ELSE throttle.window_end END
         RETURNING tries, window_end",
        params![subject, now, now + window, now + AHEAD * window],
        |row| Ok((row.get("tries")?, row.get("window_end")?)),
    )
    .await
}

/// Counts one try of the subject, unless there are `most` in the running window: then `None`, and
/// nothing is counted. Answers when the window ends.
pub async fn count_below(
    tx: &mut Tx,
    subject: &str,
    now: Millis,
    window: Millis,
    most: i64,
) -> Result<Option<Millis>> {
    tx.query_opt(
        "INSERT INTO throttle (subject, window_end, tries) VALUES ($1, $3, 1)
         ON CONFLICT (subject) DO UPDATE
         SET tries = CASE WHEN throttle.window_end <= $2 OR throttle.window_end > $5 THEN 1
                          ELSE throttle.tries + 1 END,
             window_end = CASE WHEN throttle.window_end <= $2 OR throttle.window_end > $5 THEN $3
                               ELSE throttle.window_end END
         WHERE throttle.window_end <= $2 OR throttle.window_end > $5 OR throttle.tries < $4
         RETURNING window_end",
        params![subject, now, now + window, most, now + AHEAD * window],
        |row| row.get("window_end"),
    )
    .await
}

/// Takes a counted try back, if its window (named by its end) still runs.
pub async fn take_back(tx: &mut Tx, subject: &str, window_end: Millis) -> Result<()> {
    tx.execute(
        "UPDATE throttle SET tries = tries - 1 WHERE subject = $1 AND window_end = $2 AND tries > 0",
        params![subject, window_end],
    )
    .await
    .map(drop)
}

/// Tries of the subject in the running window of that length, and when it ends.
pub async fn tries(tx: &mut Tx, subject: &str, now: Millis, window: Millis) -> Result<(i64, Millis)> {
    let found = tx
        .query_opt(
            "SELECT tries, window_end FROM throttle WHERE subject = $1 AND window_end > $2 AND window_end <= $3",
            params![subject, now, now + AHEAD * window],
            |row| Ok((row.get("tries")?, row.get("window_end")?)),
        )
        .await?;
    Ok(found.unwrap_or((0, now)))
}

/// Subjects with at least so many tries in a running window: subject, tries, and when it ends.
pub async fn with_at_least(tx: &mut Tx, tries: i64, now: Millis) -> Result<Vec<(String, i64, Millis)>> {
    tx.query_all(
        "SELECT subject, tries, window_end FROM throttle
         WHERE window_end > $1 AND tries >= $2 ORDER BY window_end, subject LIMIT 10000",
        params![now, tries],
        |row| Ok((row.get("subject")?, row.get("tries")?, row.get("window_end")?)),
    )
    .await
}

/// Forgets the subject's tries; answers 1 if there were any.
pub async fn clear(tx: &mut Tx, subject: &str) -> Result<u64> {
    tx.execute("DELETE FROM throttle WHERE subject = $1 AND tries > 0", params![subject]).await
}

/// Forgets finished windows.
pub async fn sweep(tx: &mut Tx, now: Millis) -> Result<u64> {
    tx.execute("DELETE FROM throttle WHERE window_end <= $1", params![now]).await
}
