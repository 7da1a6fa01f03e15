//! Stores a change so that the truth is told of it: when the connection breaks while the database
//! commits, the change is looked up by its id, and never simply made again.

use std::time::Duration;

use serde_json::json;
use tokio::time::timeout;

use crate::app::App;
use crate::app::call::Context;
use crate::app::change::Done;
use crate::app::journal::{Stamp, canonical, common};
use crate::domain::actor::Actor;
use crate::domain::ids::OrganizationId;
use crate::error::{Error, Result};
use crate::store;
use crate::store::audit::AuditRow;
use crate::store::engine::{Tx, Written};

/// How long a caller waits for a database that went away in the middle of a commit: longer than it
/// takes another one to take over.
const PATIENCE: Duration = Duration::from_secs(20);

/// Between two looks at a database that is away for long.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Runs a change that writes the audit entry 0 of its id, unless it stores nothing.
///
/// # Errors
/// Those of the change; `Unavailable` where it was lost, and then nothing was changed;
/// `Unconfirmed` where the database did not come back in time to be asked.
pub async fn write<F>(app: &App, context: &Context, stamp: Stamp, change: F) -> Result<Done>
where
    F: AsyncFn(&mut Tx) -> Result<Done> + Send + 'static,
{
    let done = match app.db.write_once(change).await? {
        Written::Committed(done) => return Ok(done),
        Written::Unconfirmed(done) => done,
    };
    let Some(zoid) = done.change.and(done.organization) else {
        // Nothing was to be stored, and what was read is so, committed or not.
        return Ok(done);
    };
    let number = stamp.change.get();
    tracing::warn!(change = number, "the database did not confirm a change; looking it up");
    // In a task of its own: it is found out even if the caller leaves, or was told that nobody knows.
    let asked = tokio::spawn(find_out(app.clone(), context.clone(), stamp, zoid));
    let answer = match timeout(PATIENCE, asked).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(_)) | Err(_) => Err(Error::Unconfirmed { change: None }),
    };
    match answer {
        Ok(true) => Ok(done),
        Ok(false) => Err(Error::Unavailable {
            why: "the connection to the database was lost before the change was stored; nothing was changed",
            retry_after_seconds: 1,
        }),
        Err(error) => {
            tracing::error!(%error, change = number, "what became of a change could not be found out");
            Err(Error::Unconfirmed { change: Some(number) })
        }
    }
}

/// Asks until the database answers, however long it was away.
async fn find_out(app: App, context: Context, stamp: Stamp, zoid: OrganizationId) -> Result<bool> {
    let mut pause = Duration::from_millis(200);
    loop {
        let context = context.clone();
        match app.db.write(async move |tx| stored_or_marked_lost(tx, &context, stamp, zoid).await).await {
            Err(Error::Unavailable { .. } | Error::ReadOnly | Error::Unconfirmed { .. }) => {}
            answer => return answer,
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// Whether the change is stored. If not, an entry takes its place that says so: should the server
/// still get to the change, it finds its place taken.
async fn stored_or_marked_lost(
    tx: &mut Tx,
    context: &Context,
    stamp: Stamp,
    zoid: OrganizationId,
) -> Result<bool> {
    let mut text = common(&Actor::Clock, context, stamp.verb, zoid, stamp.at);
    text.insert("outcome".into(), json!(LOST));
    text.insert("change".into(), json!(stamp.change.to_string()));
    text.insert("step".into(), json!(0));
    let row = AuditRow {
        organization: zoid,
        id: stamp.change,
        step: 0,
        at: stamp.at,
        actor: Actor::Clock.who().to_string(),
        verb: stamp.verb.to_owned(),
        person: None,
        entry: canonical(text)?,
    };
    if store::audit::insert_unless_there(tx, &row).await? {
        tracing::warn!(change = stamp.change.get(), "a change was lost before it was stored");
        return Ok(false);
    }
    // Found there: the change, or our own entry, if it was that one's commit that was not confirmed.
    let entries = store::audit::of_change(tx, zoid, stamp.change).await?;
    Ok(entries.first().is_some_and(|first| first.entry != row.entry))
}

/// The outcome of a change that was never stored.
const LOST: &str = "lost";

/// Whether an entry says that its change was never stored.
pub fn says_lost(entry: &AuditRow) -> bool {
    let text: serde_json::Value = serde_json::from_str(&entry.entry).unwrap_or_default();
    text["outcome"] == LOST
}
