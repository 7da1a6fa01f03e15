//! What is known of when people signed in last, and where, as lists and pages show it.

use std::collections::HashMap;

use crate::clock::Millis;
use crate::domain::ids::{AccountId, OrganizationId, UserId};
use crate::error::Result;
use crate::store::engine::{Row, Tx, Value, params};
use crate::store::id;

#[derive(Debug, Clone, Default)]
pub struct SignIns {
    /// When somebody signed in last, and through which door.
    pub last: Option<(Millis, String)>,
    /// Whether an authenticator app or a passkey is in use.
    pub second_factor: bool,
}

/// The columns of a person's sign-ins, from `person p`.
macro_rules! select_sign_ins {
    ($rest:literal) => {
        concat!(
            "SELECT p.id AS person_id, s.last_at, s.last_door,
                    (EXISTS (SELECT 1 FROM totp t WHERE t.organization_id = p.organization_id AND t.person_id = p.id
                                                    AND t.confirmed_at IS NOT NULL)
                     OR EXISTS (SELECT 1 FROM passkey k WHERE k.organization_id = p.organization_id
                                                          AND k.person_id = p.id)) AS second_factor
             FROM person p LEFT JOIN sign_in s ON s.organization_id = p.organization_id AND s.person_id = p.id
             ",
            $rest
        )
    };
}
pub(super) use select_sign_ins;

const ONE: &str = select_sign_ins!("WHERE p.organization_id = $1 AND p.id = $2");

/// Queues the statements of [`one`], so that PostgreSQL answers them in its next round trip.
pub fn prefetch(tx: &mut Tx, organization: OrganizationId, user: UserId) {
    tx.prefetch(ONE, params![organization.get(), user.get()]);
}

/// Nothing is known of who is not there.
pub async fn one(tx: &mut Tx, organization: OrganizationId, user: UserId) -> Result<SignIns> {
    Ok(tx.query_opt(ONE, params![organization.get(), user.get()], read).await?.unwrap_or_default())
}

/// Those of several people, by zuid; `sql` is a [`select_sign_ins!`].
pub(super) async fn several(
    tx: &mut Tx,
    sql: &'static str,
    params: &[Value<'_>],
) -> Result<HashMap<i64, SignIns>> {
    let found = tx.query_all(sql, params, |row| Ok((row.get("person_id")?, read(row)?))).await?;
    Ok(found.into_iter().collect())
}

fn read(row: &Row<'_>) -> Result<SignIns> {
    let at = row.get::<Option<Millis>>("last_at")?;
    let door = row.get::<Option<String>>("last_door")?;
    Ok(SignIns { last: at.zip(door), second_factor: row.get("second_factor")? })
}

/// Whose the account is, and when that person signed in last.
pub async fn last_of_account(
    tx: &mut Tx,
    organization: OrganizationId,
    account: AccountId,
) -> Result<Option<(UserId, Option<Millis>)>> {
    tx.query_opt(
        "SELECT a.person_id, s.last_at FROM account a
         LEFT JOIN sign_in s ON s.organization_id = a.organization_id AND s.person_id = a.person_id
         WHERE a.organization_id = $1 AND a.id = $2",
        params![organization.get(), account.get()],
        |row| Ok((id(row.get("person_id")?)?, row.get("last_at")?)),
    )
    .await
}

/// Notes that somebody signed in, for `lastLogin`; not part of the account's version.
pub async fn note(
    tx: &mut Tx,
    organization: OrganizationId,
    user: UserId,
    at: Millis,
    door: &str,
) -> Result<()> {
    tx.execute(
        "INSERT INTO sign_in (organization_id, person_id, last_at, last_door) VALUES ($1, $2, $3, $4)
         ON CONFLICT (organization_id, person_id) DO UPDATE SET last_at = $3, last_door = $4",
        params![organization.get(), user.get(), at, door],
    )
    .await?;
    tx.execute(
        "UPDATE person SET signed_in_at = $3 WHERE organization_id = $1 AND id = $2 AND signed_in_at IS NULL",
        params![organization.get(), user.get(), at],
    )
    .await
    .map(drop)
}
