//! After a restore: nothing that was given out before opens anything, and no number is given twice.

use crate::clock::{Millis, SECOND};
use crate::domain::actor::{Rank, Who};
use crate::domain::switch::{Block, Reason};
use crate::error::Result;
use crate::store::engine::{Tx, params};
use crate::store::{
    audit, audit_chain, ids, mail_agents, organizations, outbox, sealed, settings, to_json, tokens,
};

/// How many blocks of ids, and how many generations and epochs, are jumped over at least: more than any
/// installation uses between two backups.
pub const JUMP: i64 = 1_000_000;
/// So many more for each second since the copy's newest change: a copy that is restored once more must not give the
/// numbers again that were given after it was restored before.
const JUMP_A_SECOND: i64 = 16;

/// Why applications are switched off afterwards.
const RESTORED: &str = "restored from a copy; enable it if it is still wanted";

/// Voids every token, code, one-time password and app password, switches applications off, and moves ids, credential generations
/// and session epochs past everything that may have been given since the copy was made. App passwords, recovery codes and
/// recovery addresses that were revoked, used or taken away since cannot be told from the others. Those who need more than
/// another proof of their address have other ways in: only members recover a password by mail.
pub async fn void(tx: &mut Tx, now: Millis) -> Result<()> {
    let jump = JUMP + JUMP_A_SECOND * (age(tx, now).await? / SECOND);
    tokens::void_all(tx).await?;
    ids::jump(tx, jump).await?;
    tx.execute("UPDATE person SET version = version + 1, session_epoch = session_epoch + $1", params![jump])
        .await?;
    tx.execute("UPDATE person SET password_phc = NULL WHERE password_kind = 'one_time'", params![]).await?;
    tx.execute("DELETE FROM app_password", params![]).await?;
    tx.execute("DELETE FROM recovery_code", params![]).await?;
    tx.execute("DELETE FROM recovery_address", params![]).await?;
    // One that was deleted since is there again, with a secret that may be known.
    let block = Block {
        by: Who::Clock,
        rank: Rank::SuperAdmin,
        at: now,
        reason: Reason::parse(RESTORED).ok().flatten(),
    };
    tx.execute("UPDATE client SET disabled = $1 WHERE disabled IS NULL", params![&to_json(&block)?]).await?;
    tx.execute("UPDATE account SET generation = generation + $1", params![jump]).await?;
    audit_chain::forget_transactions(tx).await?;
    outbox::forget_transactions(tx).await?;
    settings::delete(tx, settings::SWEPT_TRANSACTION).await?;
    // Where nothing is sealed, the copy may come to a host with keys of its own.
    if !sealed::any(tx).await? {
        settings::delete(tx, settings::KEY_CHECK).await?;
    }
    mail_agents::forget_statuses(tx).await?;
    // The mail servers' look-up files were made from the database before: a new name makes them anew.
    settings::delete(tx, settings::INSTANCE).await
}

/// For how long nothing has been changed in the copy.
async fn age(tx: &mut Tx, now: Millis) -> Result<Millis> {
    let mut newest = None;
    for organization in organizations::all(tx).await? {
        let entry = audit::newest(tx, organization.id, None, 1).await?.pop();
        newest = newest.max(entry.map(|entry| entry.at));
    }
    Ok(newest.map_or(0, |newest| (now - newest).max(0)))
}
