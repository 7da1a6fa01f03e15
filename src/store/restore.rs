//! After a restore: nothing that was given out before opens anything, and no number is given twice.

use crate::error::Result;
use crate::store::engine::{Tx, params};
use crate::store::{ids, settings, tokens};

/// How many blocks of ids, and how many generations and epochs, are jumped over: more than any
/// installation uses between two backups.
pub const JUMP: i64 = 1_000_000;

/// Voids every token, code and one-time password, and moves ids, credential generations and
/// session epochs past everything that may have been given since the copy was made.
pub async fn void(tx: &mut Tx) -> Result<()> {
    tokens::void_all(tx).await?;
    ids::jump(tx, JUMP).await?;
    tx.execute("UPDATE person SET version = version + 1, session_epoch = session_epoch + $1", params![JUMP])
        .await?;
    tx.execute("UPDATE person SET password_phc = NULL WHERE password_kind = 'one_time'", params![]).await?;
    tx.execute("UPDATE account SET generation = generation + $1", params![JUMP]).await?;
    // The mail servers' look-up files were made from the database before: a new name makes them anew.
    tx.execute("DELETE FROM setting WHERE name = $1", params![settings::INSTANCE]).await?;
    Ok(())
}
