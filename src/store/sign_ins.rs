//! What is known of when people signed in, by which door and from where.

use crate::clock::{DAY, Millis};
use crate::domain::ids::{AccountId, OrganizationId, UserId};
use crate::error::Result;
use crate::store::engine::{Row, Tx, params};

/// That somebody signed in.
#[derive(Debug, Clone)]
pub struct SignIn {
    pub at: Millis,
    /// Where: `console`, `web`, `imap` and so on.
    pub door: String,
}

#[derive(Debug, Clone, Default)]
pub struct SignIns {
    pub last: Option<SignIn>,
    /// Whether an authenticator app or a passkey is in use.
    pub second_factor: bool,
}

/// Reads from a row of `select_listed!`.
pub(super) fn read(row: &Row<'_>) -> Result<SignIns> {
    Ok(SignIns { last: read_last(row)?, second_factor: row.get("second_factor")? })
}

fn read_last(row: &Row<'_>) -> Result<Option<SignIn>> {
    let at = row.get::<Option<Millis>>("last_at")?;
    let last = at.zip(row.get::<Option<String>>("last_door")?);
    Ok(last.map(|(at, door)| SignIn { at, door }))
}

/// When somebody signed in last.
pub async fn last(tx: &mut Tx, organization: OrganizationId, user: UserId) -> Result<Option<SignIn>> {
    let found = tx
        .query_opt(
            "SELECT last_at, last_door FROM sign_in WHERE organization_id = $1 AND person_id = $2",
            params![organization, user],
            read_last,
        )
        .await?;
    Ok(found.flatten())
}

/// A door by which somebody came in, and from where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// As of a [`SignIn`].
    pub door: String,
    /// As `domain::place` names it; empty where it is not known, such as behind a web mail program.
    pub source: String,
    pub first_at: Millis,
    /// Of mail programs within a day.
    pub last_at: Millis,
}

/// Places that are kept of one person.
const MOST_PLACES: i64 = 100;
/// New ones within a day: who comes from everywhere writes no more, and does not crowd out the places of the days before.
const MOST_NEW_PLACES: i64 = 20;

/// From where somebody signed in, the latest first.
pub async fn places(tx: &mut Tx, organization: OrganizationId, user: UserId) -> Result<Vec<Place>> {
    tx.query_all(
        "SELECT door, source, first_at, last_at FROM sign_in_place
         WHERE organization_id = $1 AND person_id = $2 ORDER BY last_at DESC, first_at DESC, door, source",
        params![organization, user],
        |row| {
            Ok(Place {
                door: row.get("door")?,
                source: row.get("source")?,
                first_at: row.get("first_at")?,
                last_at: row.get("last_at")?,
            })
        },
    )
    .await
}

/// Whose the account is, and when it was noted last that somebody came in by this door and from there; where no more
/// places are noted on this day, that somebody came in at all.
pub async fn last_from(
    tx: &mut Tx,
    organization: OrganizationId,
    account: AccountId,
    door: &str,
    source: &str,
    now: Millis,
) -> Result<Option<(UserId, Option<Millis>)>> {
    tx.query_opt(
        "SELECT a.person_id, s.last_at, l.last_at AS last_anywhere,
                (SELECT COUNT(*) FROM sign_in_place n WHERE n.organization_id = a.organization_id
                                                        AND n.person_id = a.person_id AND n.first_at > $5) AS fresh
         FROM account a
         LEFT JOIN sign_in l ON l.organization_id = a.organization_id AND l.person_id = a.person_id
         LEFT JOIN sign_in_place s ON s.organization_id = a.organization_id AND s.person_id = a.person_id
                                  AND s.door = $3 AND s.source = $4
         WHERE a.organization_id = $1 AND a.id = $2",
        params![organization, account, door, source, now - DAY],
        |row| {
            let no_more = row.get::<i64>("fresh")? >= MOST_NEW_PLACES;
            let anywhere = row.get::<Option<Millis>>("last_anywhere")?.filter(|_| no_more);
            Ok((row.get("person_id")?, row.get::<Option<Millis>>("last_at")?.or(anywhere)))
        },
    )
    .await
}

/// Notes that somebody signed in, for `lastLogin` and the [`places`]; not part of the account's version.
pub async fn note(
    tx: &mut Tx,
    organization: OrganizationId,
    user: UserId,
    at: Millis,
    door: &str,
    source: &str,
) -> Result<()> {
    tx.execute(
        "INSERT INTO sign_in (organization_id, person_id, last_at, last_door) VALUES ($1, $2, $3, $4)
         ON CONFLICT (organization_id, person_id) DO UPDATE SET last_at = $3, last_door = $4",
        params![organization, user, at, door],
    )
    .await?;
    tx.execute(
        "UPDATE person SET signed_in_at = $3 WHERE organization_id = $1 AND id = $2 AND signed_in_at IS NULL",
        params![organization, user, at],
    )
    .await?;
    let known = tx
        .execute(
            "UPDATE sign_in_place SET last_at = CASE WHEN last_at < $5 THEN $5 ELSE last_at END
             WHERE organization_id = $1 AND person_id = $2 AND door = $3 AND source = $4",
            params![organization, user, door, source, at],
        )
        .await?;
    if known > 0 {
        return Ok(());
    }
    // Whoever was deleted meanwhile has none.
    tx.execute(
        "INSERT INTO sign_in_place (organization_id, person_id, door, source, first_at, last_at)
         SELECT p.organization_id, p.id, CAST($3 AS TEXT), CAST($4 AS TEXT), CAST($5 AS BIGINT), CAST($5 AS BIGINT)
         FROM person p WHERE p.organization_id = $1 AND p.id = $2
           AND (SELECT COUNT(*) FROM sign_in_place n
                WHERE n.organization_id = $1 AND n.person_id = $2 AND n.first_at > $6) < $7
         ON CONFLICT (organization_id, person_id, door, source) DO NOTHING",
        params![organization, user, door, source, at, at - DAY, MOST_NEW_PLACES],
    )
    .await?;
    tx.execute(
        "DELETE FROM sign_in_place WHERE organization_id = $1 AND person_id = $2 AND last_at < (
             SELECT last_at FROM sign_in_place WHERE organization_id = $1 AND person_id = $2
             ORDER BY last_at DESC LIMIT 1 OFFSET $3)",
        params![organization, user, MOST_PLACES - 1],
    )
    .await
    .map(drop)
}
