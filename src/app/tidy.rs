//! What time has ended: users' terms, passwords, tokens, counters, old effects.

use crate::app::App;
use crate::app::{expiry, journal};
use crate::clock::{DAY, Millis};
use crate::error::Result;
use crate::store;
use crate::store::settings;

/// How long done effects are remembered, for receipts and for look-up files that were away.
const REMEMBERED: Millis = 30 * DAY;

/// Ends what is over, and removes what nobody needs any more.
///
/// # Errors
/// The database's; what was not done then is done the next time.
pub async fn run(app: &App) -> Result<()> {
    expiry::terms(app).await?;
    expiry::app_passwords(app).await?;
    expiry::one_time_passwords(app).await?;
    sweep_refresh_tokens(app).await?;
    while journal::fold_refusals(app).await? > 0 {}
    let now = app.clock.now();
    app.db
        .write(async move |tx| {
            store::tokens::sweep(tx, now - DAY).await?;
            store::throttle::sweep(tx, now).await?;
            store::idempotency::sweep(tx, now).await?;
            store::web_sessions::sweep(tx, now).await?;
            store::recovery::sweep(tx, now).await?;
            let (swept, transaction) = store::outbox::sweep(tx, now - REMEMBERED).await?;
            // What was done late is forgotten late, after newer ones.
            settings::raise(tx, settings::SWEPT, swept).await?;
            settings::raise(tx, settings::SWEPT_TRANSACTION, transaction).await
        })
        .await
}

/// Refresh tokens that are looked at in one turn; all of them have their turn sooner or later.
const REFRESH_TOKENS_AT_ONCE: usize = 500;

/// Removes refresh tokens that nothing brings to life again: those of an ended epoch, and those of a
/// deleted person or client. A change only raises a number (docs/decisions/0005); here the rows go.
/// Answers how many.
pub async fn sweep_refresh_tokens(app: &App) -> Result<usize> {
    let (dead, next) = {
        let mut tx = app.db.read().await?;
        let after = settings::get(&mut tx, settings::LOOKED_AT).await?;
        let after = after.and_then(|text| hex::decode(text).ok()).unwrap_or_default();
        let most = i64::try_from(REFRESH_TOKENS_AT_ONCE).unwrap_or(i64::MAX);
        let seen = store::tokens::refresh_after(&mut tx, &after, most).await?;
        let next = seen.last().filter(|_| seen.len() == REFRESH_TOKENS_AT_ONCE).map(|(hash, _)| *hash);
        let dead: Vec<_> = seen.into_iter().filter(|(_, lives)| !lives).map(|(hash, _)| hash).collect();
        // All fit into one turn, and all live: there is nothing to note.
        if dead.is_empty() && next.is_none() && after.is_empty() {
            return Ok(0);
        }
        (dead, next)
    };
    app.db
        .write(async move |tx| {
            for hash in &dead {
                store::tokens::delete_refresh(tx, hash).await?;
            }
            settings::set(
                tx,
                settings::LOOKED_AT,
                &next.map(|hash| hex::encode(hash.as_bytes())).unwrap_or_default(),
            )
            .await?;
            Ok(dead.len())
        })
        .await
}
