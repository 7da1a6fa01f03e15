//! The audit log as administrators read it: filtered, a page at a time, the newest first.

use std::collections::BTreeMap;

use crate::app::App;
use crate::app::call::{Caller, authenticate};
use crate::app::operator;
use crate::app::people::names_of;
use crate::clock::Millis;
use crate::domain::ids::{OrganizationId, UserId};
use crate::domain::rights;
use crate::error::{Error, Result};
use crate::store;
pub use crate::store::audit::{AuditRow, Cursor};
use crate::store::engine::Tx;

/// Entries on one page.
pub const PAGE: usize = 50;
/// Entries of one download.
pub const MOST: usize = 10_000;
/// How many entries one page looks through for a verb.
const MOST_LOOKED_AT: usize = 5_000;
/// Entries that are read at once.
const AT_ONCE: usize = 500;

/// Which entries are wanted.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    pub verb: Option<String>,
    /// To whom it was done: an address, a zuid or an accountId.
    pub person: Option<String>,
    /// From then on; milliseconds since 1970.
    pub since: Option<Millis>,
    /// Before then.
    pub until: Option<Millis>,
    /// After this entry, on a later page.
    pub after: Option<Cursor>,
}

/// Entries, and where there are more.
#[derive(Debug, Clone)]
pub struct Page {
    pub entries: Vec<AuditRow>,
    pub next: Option<Cursor>,
    /// What the people in it are called.
    pub names: BTreeMap<UserId, String>,
}

/// Whether the caller may read the log.
///
/// # Errors
/// Rights: administrators, not the help desk.
pub async fn may_read(app: &App, caller: &Caller, zoid: OrganizationId) -> Result<()> {
    let mut tx = app.db.read().await?;
    rights::may_administer(&authenticate(&mut tx, caller, app.clock.now()).await?, zoid)
}

/// The organization's entries, up to `most` of them.
///
/// # Errors
/// Rights, as `may_read`; `NotFound` for a person whom nobody is and nothing was done to.
pub async fn page(
    app: &App,
    caller: &Caller,
    zoid: OrganizationId,
    filter: &Filter,
    most: usize,
) -> Result<Page> {
    let mut tx = app.db.snapshot().await?;
    let actor = authenticate(&mut tx, caller, app.clock.now()).await?;
    rights::may_administer(&actor, zoid)?;
    let person = match &filter.person {
        Some(name) => Some(person(&mut tx, zoid, name).await?),
        None => None,
    };
    let newest = Cursor { at: filter.until.map_or(i64::MAX, |until| until - 1), ..Cursor::NEWEST };
    let mut after = filter.after.unwrap_or(newest);
    let (mut entries, mut looked_at) = (Vec::new(), 0);
    let limit = MOST_LOOKED_AT.max(most);
    let next = loop {
        // One more than the page needs tells whether there are more.
        let run = if filter.verb.is_none() { (most + 1 - entries.len()).min(AT_ONCE) } else { AT_ONCE };
        let since = filter.since.unwrap_or(0);
        let most_now = i64::try_from(run).unwrap_or(i64::MAX);
        let rows = store::audit::page(&mut tx, zoid, person, since, after, most_now).await?;
        let last_run = rows.len() < run;
        looked_at += rows.len();
        let mut full = None;
        for row in rows {
            let wanted = filter.verb.as_ref().is_none_or(|verb| *verb == row.verb);
            if wanted && entries.len() == most {
                full = Some(after);
                break;
            }
            after = Cursor { at: row.at, id: row.id.get(), step: row.step };
            if wanted {
                entries.push(row);
            }
        }
        if full.is_some() {
            break full;
        }
        if last_run {
            break None;
        }
        if looked_at >= limit {
            break Some(after);
        }
    };
    let actors = entries.iter().filter_map(|row| row.who()?.user());
    let people = actors.take(if most > PAGE { 0 } else { most }).collect();
    Ok(Page { names: names_of(&mut tx, zoid, people).await?, entries, next })
}

/// Whose entries a name asks for. Who was deleted is still found by zuid, as long as the log goes back.
async fn person(tx: &mut Tx, zoid: OrganizationId, name: &str) -> Result<UserId> {
    let error = match operator::named_user(tx, name, Some(zoid)).await {
        Ok(account) => return Ok(account.user),
        Err(error) => error,
    };
    if let Ok(user) = name.parse::<UserId>()
        && !store::audit::newest(tx, zoid, Some(user), 1).await?.is_empty()
    {
        return Ok(user);
    }
    match error {
        // What can be no address is nobody's.
        Error::BadAddress(why) => Err(Error::NotFound(why)),
        Error::Malformed(why) => Err(Error::NotFound(why.to_string())),
        other => Err(other),
    }
}
