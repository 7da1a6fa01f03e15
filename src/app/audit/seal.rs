//! Gives every audit entry its place in its organization's chain, a moment after it was written and
//! in one order for ever. One worker of all nodes does it; another takes over when it dies.

use std::collections::BTreeMap;

use crate::app::App;
use crate::clock::{Millis, SECOND};
use crate::crash::{self, Point};
use crate::domain::audit_chain::Tip;
use crate::domain::ids::OrganizationId;
use crate::error::{Error, Result};
use crate::store::{audit_chain, leases};

/// The name of the work among those that one node does at a time.
const WORK: &str = "audit sealing";
/// For how long the work stays with a node that says nothing more.
const TERM: Millis = 10 * SECOND;
/// Entries sealed in one transaction: short, since changes wait for nothing and meet it seldom.
const AT_ONCE: i64 = 200;

/// Seals everything that can be; answers how many entries. `holder` names this worker among all.
///
/// What a transaction wrote that still runs, and whatever came after it, waits for its end: no
/// entry is passed over. Nothing is done while another worker has the work.
///
/// # Errors
/// When the database does not take it.
pub async fn seal_due(app: &App, holder: &str) -> Result<usize> {
    let mut sealed = 0;
    loop {
        let some = seal_some(app, holder).await?;
        sealed += some;
        if i64::try_from(some).unwrap_or(AT_ONCE) < AT_ONCE {
            return Ok(sealed);
        }
    }
}

async fn seal_some(app: &App, holder: &str) -> Result<usize> {
    let now = app.clock.now();
    let waiting = {
        let mut tx = app.db.read().await?;
        if leases::is_anothers(&mut tx, WORK, holder, now).await? {
            return Ok(0);
        }
        // Asked before the entries are read: whatever is below has ended, so all of it is seen.
        let below = tx.settled().await?;
        audit_chain::unsealed(&mut tx, below, AT_ONCE).await?
    };
    if waiting.is_empty() {
        return Ok(0);
    }
    crash::at(Point::Sealing);
    let (count, holder) = (waiting.len(), holder.to_owned());
    let sealed = app
        .db
        .write(async move |tx| {
            if !leases::take(tx, WORK, &holder, now, now + TERM).await? {
                return Ok(0);
            }
            let mut tips: BTreeMap<OrganizationId, Tip> = BTreeMap::new();
            for one in &waiting {
                let tip = match tips.get(&one.organization) {
                    Some(tip) => *tip,
                    None => audit_chain::tip(tx, one.organization).await?,
                };
                let tip = tip.next(&one.entry);
                audit_chain::seal(tx, one.seq, tip).await?;
                tips.insert(one.organization, tip);
            }
            Ok(count)
        })
        .await;
    crash::at(Point::Sealed);
    match sealed {
        // Another worker sealed the same entries between our look and our write.
        Err(Error::Stale | Error::Unique(_)) => Ok(0),
        other => other,
    }
}

/// Lets another worker begin at once: for commands, which end.
///
/// # Errors
/// When the database does not take it.
pub async fn give_back(app: &App, holder: &str) -> Result<()> {
    let holder = holder.to_owned();
    app.db.write(async move |tx| leases::give_back(tx, WORK, &holder).await).await
}

/// Seals for a command that is about to read the chain. Where a service runs it does so itself,
/// within a second, and this finds nothing to do.
///
/// # Errors
/// When the database does not take it.
pub async fn seal_now(app: &App) -> Result<()> {
    let holder = name(app);
    if seal_due(app, &holder).await? > 0 {
        give_back(app, &holder).await?;
    }
    Ok(())
}

/// A name for this worker that no other has.
pub fn name(app: &App) -> String {
    hex::encode(app.random.salt())
}
