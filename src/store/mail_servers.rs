//! The mail servers whose sessions Mailward ends.

use crate::clock::Millis;
use crate::error::Result;
use crate::store::engine::{Row, Tx, params};
use crate::store::outbox;

/// A Dovecot by its doveadm HTTP door. The key stands in a file, never in the database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MailServerRow {
    pub name: String,
    pub url: String,
    pub key_file: String,
    /// The certificate's SHA-256, where it is pinned.
    pub certificate_sha256: Option<String>,
    pub ca_file: Option<String>,
    pub created_at: Millis,
}

fn read(row: &Row<'_>) -> Result<MailServerRow> {
    Ok(MailServerRow {
        name: row.get("name")?,
        url: row.get("url")?,
        key_file: row.get("key_file")?,
        certificate_sha256: row.get("certificate_sha256")?,
        ca_file: row.get("ca_file")?,
        created_at: row.get("created_at")?,
    })
}

pub async fn all(tx: &mut Tx) -> Result<Vec<MailServerRow>> {
    tx.query_all(
        "SELECT name, url, key_file, certificate_sha256, ca_file, created_at FROM mail_server ORDER BY name",
        params![],
        read,
    )
    .await
}

/// Adds a mail server, or replaces the one of that name.
pub async fn put(tx: &mut Tx, server: &MailServerRow) -> Result<()> {
    tx.execute(
        "INSERT INTO mail_server (name, url, key_file, certificate_sha256, ca_file, created_at)
         VALUES ($1, $2, $3, $4, $5, $6)
         ON CONFLICT (name) DO UPDATE SET url = $2, key_file = $3, certificate_sha256 = $4, ca_file = $5",
        params![
            &server.name,
            &server.url,
            &server.key_file,
            server.certificate_sha256.as_deref(),
            server.ca_file.as_deref(),
            server.created_at
        ],
    )
    .await
    .map(drop)
}

/// Removes a mail server; what waits for it is ended with that remark.
///
/// # Errors
/// `Stale` when there is none of that name.
pub async fn remove(tx: &mut Tx, name: &str, now: Millis) -> Result<()> {
    tx.execute_one("DELETE FROM mail_server WHERE name = $1", params![name]).await?;
    outbox::abandon(tx, name, "the mail server was removed before it was told", now).await
}
