//! What a person sees of the audit log: the entries about the own account.

use serde_json::Value;

use crate::app::App;
use crate::app::accounts::read::MOST_ROWS;
use crate::app::call::{Caller, authenticate};
use crate::domain::ids::{OrganizationId, UserId, no_such_account};
use crate::domain::rights::{self, View};
use crate::error::{Error, Result};
use crate::store;
use crate::store::engine::Tx;

/// The entries about the caller's own account, the newest first; `start` counts from 0.
///
/// # Errors
/// `MissingScope`, or `NotFound` when `number` is not the own accountId.
pub async fn own(app: &App, caller: &Caller, number: i64, start: i64, limit: i64) -> Result<Vec<Value>> {
    let mut tx = app.db.read().await?;
    let actor = authenticate(&mut tx, caller, app.clock.now()).await?;
    rights::may_view(&actor, View::Own)?;
    let signed = actor.person()?;
    if number != signed.account.get() {
        return Err(no_such_account(number));
    }
    of_person(&mut tx, signed.organization, signed.user, start, limit).await
}

/// The entries about a person as that person may see them: all that was done, by whom and why;
/// where others did it from, and with which program, is left out.
///
/// # Errors
/// When the database cannot be read.
pub async fn of_person(
    tx: &mut Tx,
    organization: OrganizationId,
    user: UserId,
    start: i64,
    limit: i64,
) -> Result<Vec<Value>> {
    let rows = store::audit::page_of_person(tx, organization, user, start, limit.clamp(0, MOST_ROWS)).await?;
    let own = user.to_string();
    rows.iter()
        .map(|row| {
            let mut entry: Value = serde_json::from_str(&row.entry)
                .map_err(|cause| Error::caused("reading an audit entry", cause))?;
            let by_oneself = entry.pointer("/actor/zuid").and_then(Value::as_str) == Some(&own);
            if let Some(entry) = entry.as_object_mut().filter(|_| !by_oneself) {
                for hidden in ["source", "client", "request"] {
                    entry.remove(hidden);
                }
            }
            Ok(entry)
        })
        .collect()
}
