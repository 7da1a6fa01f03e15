//! Receipts: what became of a change on each mail server.

use axum::extract::State;
use axum::response::Response;
use serde_json::json;

use crate::api::door::{Call, Path};
use crate::api::envelope::success;
use crate::app::App;
use crate::app::mail::receipt;
use crate::domain::ids::ChangeId;
use crate::error::{Error, Result};

/// The receipt of a change: each effect, each server, what was done, when, and whether it was verified.
#[utoipa::path(get, path = "/api/organization/{zoid}/changes/{changeId}", tag = "organization",
    params(("zoid" = i64, Path, description = "The organization"),
           ("changeId" = String, Path, description = "The id in the header X-Mailward-Change")),
    responses((status = 200, description = "The receipt")))]
pub async fn show(
    State(app): State<App>,
    call: Call,
    Path((zoid, change)): Path<(String, String)>,
) -> Result<Response> {
    let zoid = call.zoid(&app, &zoid).await?;
    let number = call.number(&app, &change).await?;
    let Some(change) = ChangeId::new(number) else {
        let missing = Error::NotFound(format!("there is no change {number} in this organization"));
        return Err(call.instead(&app, missing).await);
    };
    let receipt = receipt::show(&app, &call.context.caller, zoid, change).await?;
    let first = receipt.entries.first();
    Ok(success(json!({
        "changeId": receipt.change.to_string(),
        "zoid": receipt.organization.get(),
        "complete": receipt.complete(),
        "time": first.map(|entry| entry.at),
        "verb": first.map(|entry| entry.verb.as_str()),
        "by": first.map(|entry| entry.actor.as_str()),
        "zuids": receipt.entries.iter().filter_map(|entry| entry.person).map(|user| user.get()).collect::<Vec<_>>(),
        "effects": receipt.effects,
    })))
}
