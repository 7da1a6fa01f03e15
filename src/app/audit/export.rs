//! Writes an organization's log out, one line of JSON for each entry, so that it can be verified
//! without Mailward's database.

use std::io::Write;

use serde_json::{Value, json};

use super::head::heads;
use super::seal;
use crate::app::App;
use crate::domain::ids::OrganizationId;
use crate::error::{Error, Result};
use crate::store::audit_chain;

/// Entries read at once.
const AT_ONCE: i64 = 1_000;

/// Writes every sealed entry, the signed head behind them; answers how many entries. A place whose
/// entry is gone is written too, without it.
///
/// # Errors
/// When the database cannot be read, or `to` not be written.
pub async fn export(app: &App, organization: OrganizationId, to: &mut (dyn Write + Send)) -> Result<i64> {
    seal::seal_now(app).await?;
    // The head first: what is sealed meanwhile is not part of it.
    let head = heads(app, Some(organization)).await?.remove(0);
    line(to, &first_line(organization, head.number))?;
    let mut last = 0;
    while last < head.number {
        let page = {
            let mut tx = app.db.read().await?;
            audit_chain::page(&mut tx, organization, last, AT_ONCE.min(head.number - last)).await?
        };
        if page.is_empty() {
            break;
        }
        for link in page {
            last = link.number;
            let hash = link.hash.map(hex::encode).unwrap_or_default();
            // Not parsed and written anew: the export has the bytes that are stored.
            let entry = link.entry.as_deref().unwrap_or("null");
            line(to, &format!(r#"{{"entry":{entry},"hash":"{hash}","number":{last}}}"#))?;
        }
    }
    let head = serde_json::to_value(&head).map_err(|cause| Error::caused("writing a head", cause))?;
    line(to, &Value::Object([("head".to_owned(), head)].into_iter().collect()).to_string())?;
    to.flush().map_err(written)?;
    Ok(last)
}

/// What an export of so many entries begins with.
pub(super) fn first_line(organization: OrganizationId, entries: i64) -> String {
    json!({"export": {"entries": entries, "organization": organization.to_string(), "v": 1}}).to_string()
}

fn line(to: &mut (dyn Write + Send), text: &str) -> Result<()> {
    to.write_all(text.as_bytes()).and_then(|()| to.write_all(b"\n")).map_err(written)
}

fn written(cause: std::io::Error) -> Error {
    Error::caused("writing the export", cause)
}
