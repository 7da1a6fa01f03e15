//! Where a test ends the process without warning: at each step of the order of a change. A release has
//! nothing of it. Start with `Point`.

/// A step, named for what has just been done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Point {
    /// The credential was looked at.
    Entered,
    /// Everything slow was done.
    Prepared,
    /// The transaction runs; nothing was read in it.
    Begun,
    /// It is decided what will be stored.
    Planned,
    /// The account's rows are written.
    Saved,
    /// So is the audit entry.
    Audited,
    /// So are the effects; all of a change is in its transaction.
    Enqueued,
    /// The database is asked next to commit, whatever is in the transaction.
    Committing,
    /// It confirmed; nobody was told.
    Committed,
    /// The look-up files are written next.
    Projecting,
    /// Dovecot's look-up file has the change, Postfix's has not.
    BetweenLookUps,
    /// Both have it.
    Projected,
    /// The caller is answered next.
    Answering,
    /// A refusal was rolled back, and is counted next.
    Refusing,
    /// It was counted.
    RefusalCounted,
    /// A worker has taken effects to itself.
    Claimed,
    /// The mail server was told of them, and it is noted next.
    Told,
    /// It was noted.
    Finished,
    /// Audit entries are sealed next.
    Sealing,
    /// They were sealed.
    Sealed,
}

impl Point {
    pub const ALL: [Self; 20] = [
        Self::Entered,
        Self::Prepared,
        Self::Begun,
        Self::Planned,
        Self::Saved,
        Self::Audited,
        Self::Enqueued,
        Self::Committing,
        Self::Committed,
        Self::Projecting,
        Self::BetweenLookUps,
        Self::Projected,
        Self::Answering,
        Self::Refusing,
        Self::RefusalCounted,
        Self::Claimed,
        Self::Told,
        Self::Finished,
        Self::Sealing,
        Self::Sealed,
    ];
}

/// Ends the process here, when a test asked for it: `MAILWARD_TEST_CRASH_AT=Saved:3` at the third
/// passage. What is passed before the first call is made does not count, or no service would start.
#[cfg(debug_assertions)]
pub fn at(point: Point) {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
    static WANTED: OnceLock<Option<(String, u32)>> = OnceLock::new();
    static ARMED: AtomicBool = AtomicBool::new(false);
    static PASSED: AtomicU32 = AtomicU32::new(0);
    let wanted = WANTED.get_or_init(|| {
        let text = std::env::var("MAILWARD_TEST_CRASH_AT").ok()?;
        let (name, times) = text.split_once(':').unwrap_or((&text, "1"));
        Some((name.to_owned(), times.parse().unwrap_or(1)))
    });
    let Some((name, times)) = wanted else { return };
    if point == Point::Entered {
        ARMED.store(true, Ordering::SeqCst);
    }
    if ARMED.load(Ordering::SeqCst)
        && *name == format!("{point:?}")
        && PASSED.fetch_add(1, Ordering::SeqCst) + 1 == *times
    {
        std::process::abort();
    }
}

#[cfg(not(debug_assertions))]
#[inline(always)]
pub fn at(_: Point) {}
