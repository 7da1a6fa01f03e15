//! After a restore: nothing that was given out before opens anything, and no number is given twice.

use crate::error::Result;
use crate::store::engine::{Tx, params};
use crate::store::{audit_chain, ids, mail_agents, outbox, sealed, settings, tokens};

/// How many blocks of ids, and how many generations and epochs, are jumped over: more than any
/// installation uses between two backups.
pub const JUMP: i64 = 1_000_000;

/// Voids every token, code, one-time password and app password, and moves ids, credential generations
/// and session epochs past everything that may have been given since the copy was made. App
/// passwords and recovery codes that were revoked or used since cannot be told from the others.
pub async fn void(tx: &mut Tx) -> Result<()> {
    tokens::void_all(tx).await?;
    ids::jump(tx, JUMP).await?;
    tx.execute("UPDATE person SET version = version + 1, session_epoch = session_epoch + $1", params![JUMP])
        .await?;
    tx.execute("UPDATE person SET password_phc = NULL WHERE password_kind = 'one_time'", params![]).await?;
    tx.execute("DELETE FROM app_password", params![]).await?;
    tx.execute("DELETE FROM recovery_code", params![]).await?;
    tx.execute("UPDATE account SET generation = generation + $1", params![JUMP]).await?;
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
