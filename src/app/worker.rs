//! Works in the background: carries effects out, and tidies what time has ended. Everything it
//! does can be done twice, so it needs no lock but the claim on the outbox row.

use std::time::Duration;

use crate::app::App;
use crate::app::accounts::create;
use crate::app::journal;
use crate::clock::{DAY, MINUTE, Millis, SECOND};
use crate::error::Result;
use crate::mailserver::MailServers;
use crate::store;

/// For how long a worker has an effect to itself.
const CLAIM: Millis = 30 * SECOND;

/// Runs until the task is dropped.
pub async fn run(app: App, servers: std::sync::Arc<MailServers>) {
    let mut next_tidy = app.clock.now();
    loop {
        if let Err(error) = drain(&app, &servers).await {
            tracing::warn!(%error, "the outbox could not be worked on; trying again");
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        if app.clock.now() >= next_tidy {
            if let Err(error) = tidy(&app).await {
                tracing::warn!(%error, "tidying up failed; trying again in a minute");
            }
            next_tidy = app.clock.now() + MINUTE;
        }
        let _ = tokio::time::timeout(Duration::from_secs(5), app.wake_worker.notified()).await;
    }
}

/// Carries out every effect that is due; answers how many were tried.
pub async fn drain(app: &App, servers: &MailServers) -> Result<usize> {
    let mut tried = 0;
    loop {
        let now = app.clock.now();
        let claimed = app.db.write(async move |tx| store::outbox::claim(tx, now, now + CLAIM).await).await?;
        let Some(effect) = claimed else { return Ok(tried) };
        tried += 1;
        let outcome = servers.carry_out(effect.change, effect.account, &effect.effect).await;
        let now = app.clock.now();
        app.db
            .write(async move |tx| match &outcome {
                Ok(what) => store::outbox::finish(tx, &effect, what, now).await,
                Err(why) => store::outbox::put_off(tx, &effect, why, now + back_off(effect.tries)).await,
            })
            .await?;
    }
}

/// Doubled at each try, from a second to five minutes.
fn back_off(tries: i64) -> Millis {
    let doublings = u32::try_from(tries.clamp(1, 10) - 1).unwrap_or(0);
    (SECOND << doublings).min(5 * MINUTE)
}

/// What time has ended: users' terms, tokens, counters, old effects.
pub async fn tidy(app: &App) -> Result<()> {
    create::expire(app).await?;
    journal::fold_refusals(app).await?;
    let now = app.clock.now();
    app.db
        .write(async move |tx| {
            store::tokens::sweep(tx, now - DAY).await?;
            store::throttle::sweep(tx, now).await?;
            store::outbox::sweep(tx, now - 30 * DAY).await?;
            Ok(())
        })
        .await
}
