//! Whether the process lives, and whether it can serve.

use axum::extract::State;
use axum::response::Response;
use serde_json::json;

use crate::api::envelope::success;
use crate::app::App;
use crate::error::Result;

/// The process answers.
#[utoipa::path(get, path = "/health/live", tag = "health",
    responses((status = 200, description = "The process answers")))]
pub async fn live() -> Response {
    success(json!({"live": true}))
}

/// The database answers too.
#[utoipa::path(get, path = "/health/ready", tag = "health",
    responses((status = 200, description = "Requests can be served"), (status = 503, description = "The database does not answer")))]
pub async fn ready(State(app): State<App>) -> Result<Response> {
    app.db.ping().await?;
    Ok(success(json!({"ready": true})))
}
