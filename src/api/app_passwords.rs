//! App passwords: `/api/accounts/{accountId}/appPasswords`. Administrators use the command line.

use axum::body::Body as Stream;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use crate::api::door::{self, Call, Path};
use crate::api::envelope::{bare_success, success};
use crate::app::App;
use crate::app::accounts::create_app_password::CreateAppPassword;
use crate::app::accounts::revoke_app_password::RevokeAppPassword;
use crate::app::accounts::{AccountMode, Mode, read};
use crate::app::change::{self, Ask};
use crate::app::mail::app_passwords;
use crate::app::once::Answer;
use crate::domain::app_password::AppPassword;
use crate::domain::ids::AppPasswordId;
use crate::domain::rights::Route;
use crate::error::{Error, Result};

fn view(app: &AppPassword) -> Value {
    json!({
        "appPasswordId": app.id.to_string(),
        "name": app.name,
        "protocols": app.protocols.words(),
        "createdTime": app.created_at,
        "expiryTime": app.expires_at.unwrap_or(-1),
    })
}

/// The own app passwords; never the passwords themselves.
#[utoipa::path(get, path = "/api/accounts/{accountId}/appPasswords", tag = "own account",
    params(("accountId" = String, Path, description = "The own accountId")),
    responses((status = 200, description = "An array of app passwords")))]
pub async fn list(State(app): State<App>, call: Call, Path(id): Path<String>) -> Result<Response> {
    let number = call.number(&app, &id).await?;
    let listed = read::own(&app, &call.context.caller, Some(number)).await?;
    Ok(success(listed.account.app_passwords.iter().map(view).collect::<Vec<_>>()))
}

/// Makes an app password; the answer shows it once.
#[utoipa::path(post, path = "/api/accounts/{accountId}/appPasswords", tag = "own account",
    params(("accountId" = String, Path, description = "The own accountId")),
    request_body(content = crate::api::openapi::NewAppPasswordBody),
    responses((status = 201, description = "The app password; the envelope says 200")))]
pub async fn create(
    State(app): State<App>,
    mut call: Call,
    Path(id): Path<String>,
    stream: Stream,
) -> Result<Response> {
    let number = call.number(&app, &id).await?;
    let wish = call.read(&app, stream, CreateAppPassword::parse).await?;
    call.answers(Answer::Secret("revoke the app password that it made, and make another one with a new key"));
    let made = app_passwords::make(&app, &call.context, Route::Own, number, wish).await?;
    Ok(door::done(&made.done, |_| match made.stored() {
        Ok(stored) => {
            let mut shown = view(stored);
            shown["password"] = json!(made.password.expose());
            (StatusCode::CREATED, success(shown)).into_response()
        }
        Err(error) => error.into_response(),
    }))
}

/// Revokes an app password; exactly the sessions opened with it end.
#[utoipa::path(delete, path = "/api/accounts/{accountId}/appPasswords/{appPasswordId}", tag = "own account",
    params(("accountId" = String, Path, description = "The own accountId"),
           ("appPasswordId" = String, Path, description = "Which one")),
    responses((status = 200, description = "Revoked")))]
pub async fn revoke(
    State(app): State<App>,
    mut call: Call,
    Path((id, app_password)): Path<(String, String)>,
) -> Result<Response> {
    let number = call.number(&app, &id).await?;
    let wanted = call.number(&app, &app_password).await?;
    let Some(wanted) = AppPasswordId::new(wanted) else {
        let missing = Error::NotFound(format!("there is no app password {wanted} on this account"));
        return Err(call.instead(&app, missing).await);
    };
    call.without_body();
    let mode = AccountMode::RevokeAppPassword(RevokeAppPassword { id: wanted });
    let ask = Ask { route: Route::Own, path: Some(number), zuid: None, mode };
    let done = change::run(&app, &call.context, ask).await?;
    Ok(door::done(&done, |_| bare_success()))
}
