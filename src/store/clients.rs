//! OAuth clients. Secrets are kept as SHA-256 only.

use crate::clock::Millis;
use crate::domain::client::ClientKind;
use crate::domain::ids::{OrganizationId, UserId};
use crate::domain::secret::Fingerprint;
use crate::domain::switch::Switch;
use crate::error::Result;
use crate::store::engine::{Row, Tx, params};
use crate::store::{from_json, opt_from_json, opt_to_json, stored, to_json};

#[derive(Debug, Clone)]
pub struct Client {
    pub id: String,
    pub organization: OrganizationId,
    pub owner: UserId,
    pub name: String,
    pub kind: ClientKind,
    pub secret_hash: Option<Fingerprint>,
    pub redirect_uris: Vec<String>,
    pub disabled: Switch,
    pub created_at: Millis,
}

pub async fn insert(tx: &mut Tx, client: &Client) -> Result<()> {
    tx.execute_one(
        "INSERT INTO client (id, organization_id, owner_id, name, kind, secret_hash, redirect_uris, disabled, created_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
        params![
            &client.id,
            client.organization,
            client.owner,
            &client.name,
            client.kind.as_str(),
            client.secret_hash.as_ref(),
            &to_json(&client.redirect_uris)?,
            opt_to_json(client.disabled.as_ref())?.as_deref(),
            client.created_at
        ],
    )
    .await
}

/// The columns that [`read`] reads.
macro_rules! select_client {
    ($rest:literal) => {
        concat!(
            "SELECT id, organization_id, owner_id, name, kind, secret_hash, redirect_uris, disabled, created_at
             FROM client ",
            $rest
        )
    };
}

fn read(row: &Row<'_>) -> Result<Client> {
    Ok(Client {
        id: row.get("id")?,
        organization: row.get("organization_id")?,
        owner: row.get("owner_id")?,
        name: row.get("name")?,
        kind: stored("kind of client", row.get::<&str>("kind")?.parse())?,
        secret_hash: row.get("secret_hash")?,
        redirect_uris: from_json(row.get("redirect_uris")?)?,
        disabled: opt_from_json(row.get("disabled")?)?,
        created_at: row.get("created_at")?,
    })
}

pub async fn load(tx: &mut Tx, client: &str) -> Result<Option<Client>> {
    tx.query_opt(select_client!("WHERE id = $1"), params![client], read).await
}

pub async fn of_organization(tx: &mut Tx, organization: OrganizationId) -> Result<Vec<Client>> {
    tx.query_all(
        select_client!("WHERE organization_id = $1 ORDER BY created_at, id"),
        params![organization],
        read,
    )
    .await
}

/// The ids of the clients that go with a person.
pub async fn of_owner(tx: &mut Tx, organization: OrganizationId, owner: UserId) -> Result<Vec<String>> {
    tx.query_all(
        "SELECT id FROM client WHERE organization_id = $1 AND owner_id = $2 ORDER BY id",
        params![organization, owner],
        |row| row.get("id"),
    )
    .await
}

/// Saves name, redirect addresses, secret and switch.
pub async fn save(tx: &mut Tx, client: &Client) -> Result<()> {
    tx.execute_one(
        "UPDATE client SET name = $3, secret_hash = $4, redirect_uris = $5, disabled = $6
         WHERE organization_id = $1 AND id = $2",
        params![
            client.organization,
            &client.id,
            &client.name,
            client.secret_hash.as_ref(),
            &to_json(&client.redirect_uris)?,
            opt_to_json(client.disabled.as_ref())?.as_deref()
        ],
    )
    .await
}

/// Deletes the client with everything that was given to it.
pub async fn delete(tx: &mut Tx, organization: OrganizationId, client: &str) -> Result<()> {
    for statement in [
        "DELETE FROM access_token WHERE organization_id = $1 AND client_id = $2",
        "DELETE FROM refresh_token WHERE organization_id = $1 AND client_id = $2",
        "DELETE FROM grant_code WHERE organization_id = $1 AND client_id = $2",
        "DELETE FROM connection WHERE organization_id = $1 AND client_id = $2",
    ] {
        tx.execute(statement, params![organization, client]).await?;
    }
    tx.execute_one("DELETE FROM client WHERE organization_id = $1 AND id = $2", params![organization, client])
        .await
}
