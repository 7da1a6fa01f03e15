//! Applications that a person let in: what was allowed, and what takes it back.

use crate::clock::Millis;
use crate::domain::ids::{OrganizationId, UserId};
use crate::domain::scope::ScopeSet;
use crate::error::Result;
use crate::store::engine::{Tx, params};
use crate::store::{scope, stored};

/// What one person allowed one client.
#[derive(Debug, Clone, PartialEq)]
pub struct Connection {
    pub organization: OrganizationId,
    pub user: UserId,
    pub client: String,
    /// The person's session epoch when it was allowed; another one makes it void.
    pub epoch: i64,
    /// Everything that was given.
    pub scope: ScopeSet,
    /// With refresh tokens: also while the person is away.
    pub offline: bool,
    pub consent: Option<Consent>,
    pub created_at: Millis,
}

/// What the person said yes to in a browser, and when at last.
#[derive(Debug, Clone, PartialEq)]
pub struct Consent {
    pub scope: ScopeSet,
    pub at: Millis,
}

/// A connection in a list, with what a person knows the application by.
#[derive(Debug, Clone)]
pub struct Connected {
    pub client: String,
    pub name: String,
    pub scope: ScopeSet,
    pub offline: bool,
    pub consented_at: Option<Millis>,
    pub created_at: Millis,
    /// When the newest access token was made that is still remembered.
    pub last_token_at: Option<Millis>,
}

pub async fn load(
    tx: &mut Tx,
    organization: OrganizationId,
    user: UserId,
    client: &str,
) -> Result<Option<Connection>> {
    tx.query_opt(
        "SELECT organization_id, person_id, client_id, epoch, scope, offline, consented_scope, consented_at,
                created_at
         FROM connection WHERE organization_id = $1 AND person_id = $2 AND client_id = $3",
        params![organization, user, client],
        |row| {
            let consent = match (row.get::<Option<&str>>("consented_scope")?, row.get("consented_at")?) {
                (Some(text), Some(at)) => {
                    Some(Consent { scope: stored("scope", ScopeSet::parse(text))?, at })
                }
                (None, _) | (_, None) => None,
            };
            Ok(Connection {
                organization: row.get("organization_id")?,
                user: row.get("person_id")?,
                client: row.get("client_id")?,
                epoch: row.get("epoch")?,
                scope: scope(row)?,
                offline: row.get("offline")?,
                consent,
                created_at: row.get("created_at")?,
            })
        },
    )
    .await
}

/// Writes a connection, in place of the one that there may be.
pub async fn put(tx: &mut Tx, connection: &Connection) -> Result<()> {
    let consented = connection.consent.as_ref().map(|consent| consent.scope.to_string());
    tx.execute_one(
        "INSERT INTO connection (organization_id, person_id, client_id, epoch, scope, offline, consented_scope,
                                 consented_at, created_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
         ON CONFLICT (organization_id, person_id, client_id) DO UPDATE
         SET epoch = $4, scope = $5, offline = $6, consented_scope = $7, consented_at = $8, created_at = $9",
        params![
            connection.organization,
            connection.user,
            &connection.client,
            connection.epoch,
            &connection.scope.to_string(),
            connection.offline,
            consented.as_deref(),
            connection.consent.as_ref().map(|consent| consent.at),
            connection.created_at
        ],
    )
    .await
}

/// What a person is connected with at the moment, by name.
pub async fn of_person(tx: &mut Tx, organization: OrganizationId, user: UserId) -> Result<Vec<Connected>> {
    tx.query_all(
        "SELECT n.client_id, c.name, n.scope, n.offline, n.consented_at, n.created_at,
                (SELECT MAX(t.created_at) FROM access_token t
                 WHERE t.organization_id = n.organization_id AND t.person_id = n.person_id
                   AND t.client_id = n.client_id) AS last_token_at
         FROM connection n
         JOIN person p ON p.organization_id = n.organization_id AND p.id = n.person_id
         JOIN client c ON c.organization_id = n.organization_id AND c.id = n.client_id
         WHERE n.organization_id = $1 AND n.person_id = $2 AND n.epoch = p.session_epoch
         ORDER BY c.name, n.client_id",
        params![organization, user],
        |row| {
            Ok(Connected {
                client: row.get("client_id")?,
                name: row.get("name")?,
                scope: scope(row)?,
                offline: row.get("offline")?,
                consented_at: row.get("consented_at")?,
                created_at: row.get("created_at")?,
                last_token_at: row.get("last_token_at")?,
            })
        },
    )
    .await
}

/// Takes back everything that a person gave a client. Answers whether there was a connection.
pub async fn remove(tx: &mut Tx, organization: OrganizationId, user: UserId, client: &str) -> Result<bool> {
    for statement in [
        "DELETE FROM access_token WHERE organization_id = $1 AND person_id = $2 AND client_id = $3",
        "DELETE FROM refresh_token WHERE organization_id = $1 AND person_id = $2 AND client_id = $3",
        "DELETE FROM grant_code WHERE organization_id = $1 AND person_id = $2 AND client_id = $3",
    ] {
        tx.execute(statement, params![organization, user, client]).await?;
    }
    let removed = tx
        .execute(
            "DELETE FROM connection WHERE organization_id = $1 AND person_id = $2 AND client_id = $3",
            params![organization, user, client],
        )
        .await?;
    Ok(removed > 0)
}
