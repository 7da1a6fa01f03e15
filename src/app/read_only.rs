//! A time in which nothing is changed: every node refuses changes with 503, while the API reads, and mail
//! logins and deliveries go on. The database itself holds it (`store/engine/hold.rs`).

use std::collections::BTreeMap;

use crate::app::call::Context;
use crate::app::journal;
use crate::clock::Millis;
use crate::error::Result;
use crate::store::engine::Db;
use crate::store::settings;

/// Switches changes off, for every node from the same moment on. Answers since when they are off; the
/// second value says whether this call did it.
///
/// # Errors
/// `Unavailable` when a running change does not end.
pub async fn on(db: &Db, context: &Context, now: Millis) -> Result<(Millis, bool)> {
    let context = context.clone();
    db.write(async move |tx| {
        if tx.is_held().await? {
            return Ok((noted(settings::get(tx, settings::READ_ONLY).await?, now), false));
        }
        journal::everywhere(tx, &context, "readOnlyOn", &BTreeMap::new(), now).await?;
        settings::set(tx, settings::READ_ONLY, &now.to_string()).await?;
        tx.hold().await?;
        Ok((now, true))
    })
    .await
}

/// Switches changes on again. Answers for how many milliseconds they were off, `None` when they were not.
///
/// # Errors
/// The database's.
pub async fn off(db: &Db, context: &Context, now: Millis) -> Result<Option<Millis>> {
    let context = context.clone();
    db.write(async move |tx| {
        if !tx.is_held().await? {
            return Ok(None);
        }
        tx.release().await?;
        let lasted = now - noted(settings::get(tx, settings::READ_ONLY).await?, now);
        settings::delete(tx, settings::READ_ONLY).await?;
        let notes = BTreeMap::from([("seconds", (lasted / 1000).to_string())]);
        journal::everywhere(tx, &context, "readOnlyOff", &notes, now).await?;
        Ok(Some(lasted))
    })
    .await
}

/// Ends it without a word: a copy of a database that was read-only is none.
///
/// # Errors
/// The database's.
pub async fn forget(db: &Db) -> Result<()> {
    db.write(async move |tx| {
        if !tx.is_held().await? {
            return Ok(());
        }
        tx.release().await?;
        settings::delete(tx, settings::READ_ONLY).await
    })
    .await
}

/// Since when nothing is changed; `None` when changes are made.
///
/// # Errors
/// The database's.
pub async fn since(db: &Db) -> Result<Option<Millis>> {
    let mut tx = db.snapshot().await?;
    if !tx.is_held().await? {
        return Ok(None);
    }
    Ok(Some(noted(settings::get(&mut tx, settings::READ_ONLY).await?, 0)))
}

fn noted(since: Option<String>, otherwise: Millis) -> Millis {
    since.and_then(|since| since.parse().ok()).unwrap_or(otherwise)
}
