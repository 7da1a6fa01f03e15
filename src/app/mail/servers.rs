//! The mail servers whose sessions Mailward ends: which there are, and whether they answer.

use std::path::PathBuf;

use crate::app::App;
use crate::error::{Error, Result};
use crate::mailserver::MailServer;
use crate::mailserver::doveadm::{Doveadm, DoveadmConfig};
use crate::store;
use crate::store::mail_servers::MailServerRow;

/// Every mail server that can be used, and why one cannot.
pub async fn all(app: &App) -> Result<Vec<(MailServerRow, Result<MailServer>)>> {
    let rows = store::mail_servers::all(&mut *app.db.read().await?).await?;
    Ok(rows
        .into_iter()
        .map(|row| {
            let server = connect(&row);
            (row, server)
        })
        .collect())
}

/// The client for a mail server; nothing is asked yet.
///
/// # Errors
/// `BadValue`: an address without TLS beyond this machine, a key file that others can read.
pub fn connect(row: &MailServerRow) -> Result<MailServer> {
    let config = DoveadmConfig {
        name: row.name.clone(),
        url: row.url.clone(),
        key_file: PathBuf::from(&row.key_file),
        certificate_sha256: row.certificate_sha256.clone(),
        ca_file: row.ca_file.as_ref().map(PathBuf::from),
    };
    Doveadm::new(&config).map(MailServer::Doveadm).map_err(|why| Error::bad_value("mail server", why))
}

/// Adds a mail server, or replaces the one of that name, after asking it whether it takes the key.
///
/// # Errors
/// As `connect`; `Refused` when it does not answer or does not take the key, unless `unasked`.
pub async fn add(app: &App, row: MailServerRow, unasked: bool) -> Result<()> {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '.' || c == '_';
    if row.name.is_empty() || row.name.len() > 64 || !row.name.chars().all(plain) {
        return Err(Error::bad_value("name", "a mail server's name has letters, digits, '-', '.' and '_'"));
    }
    if [crate::domain::effect::PROJECTION, crate::domain::effect::PERSON].contains(&row.name.as_str()) {
        return Err(Error::bad_value("name", "this name means something else; choose another one"));
    }
    let server = connect(&row)?;
    if !unasked {
        server.check().await.map_err(|why| Error::Refused(format!("{}: {why}", row.name)))?;
    }
    app.db.write(async move |tx| store::mail_servers::put(tx, &row).await).await
}

/// Removes a mail server; what waits for it is ended with that remark.
///
/// # Errors
/// `NotFound`.
pub async fn remove(app: &App, name: &str) -> Result<()> {
    let (name, now) = (name.to_owned(), app.clock.now());
    app.db
        .write(async move |tx| match store::mail_servers::remove(tx, &name, now).await {
            Err(Error::Stale) => Err(Error::NotFound(format!("there is no mail server {name}"))),
            other => other,
        })
        .await
}
