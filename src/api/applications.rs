//! Connected applications of the own account: `/api/accounts/{accountId}/applications`.

use axum::extract::State;
use axum::response::Response;
use serde_json::{Value, json};

use crate::api::door::{self, Call, Path};
use crate::api::envelope::{bare_success, success};
use crate::app::App;
use crate::app::oauth::{self, connections::Connected};
use crate::error::Result;

fn view(connected: &Connected) -> Value {
    json!({
        "clientId": connected.client,
        "name": connected.name,
        "scope": connected.scope.to_string(),
        "offline": connected.offline,
        "connectedTime": connected.created_at,
        "consentTime": connected.consented_at.unwrap_or(-1),
        "lastTokenTime": connected.last_token_at.unwrap_or(-1),
    })
}

/// The applications that have access to the own account.
#[utoipa::path(get, path = "/api/accounts/{accountId}/applications", tag = "own account",
    params(("accountId" = String, Path, description = "The own accountId")),
    responses((status = 200, description = "An array of applications")))]
pub async fn list(State(app): State<App>, call: Call, Path(id): Path<String>) -> Result<Response> {
    let number = call.number(&app, &id).await?;
    let connected = oauth::connected(&app, &call.context.caller, Some(number)).await?;
    Ok(success(connected.iter().map(view).collect::<Vec<_>>()))
}

/// Takes an application's access back: its tokens and codes are dead at once.
#[utoipa::path(delete, path = "/api/accounts/{accountId}/applications/{clientId}", tag = "own account",
    params(("accountId" = String, Path, description = "The own accountId"),
           ("clientId" = String, Path, description = "Which one")),
    responses((status = 200, description = "Disconnected")))]
pub async fn disconnect(
    State(app): State<App>,
    mut call: Call,
    Path((id, client)): Path<(String, String)>,
) -> Result<Response> {
    let number = call.number(&app, &id).await?;
    call.without_body();
    let disconnected = oauth::disconnect(&app, &call.context, Some(number), &client).await?;
    Ok(door::done(&disconnected, |_| bare_success()))
}
