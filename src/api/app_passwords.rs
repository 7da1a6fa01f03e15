//! App passwords: `/api/accounts/{accountId}/appPasswords`. Administrators use the command line.

use axum::body::Body as Stream;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use crate::api::door::{self, Path, Signed, no_such_path, with_change};
use crate::api::envelope::success;
use crate::app::App;
use crate::app::accounts::create_app_password::CreateAppPassword;
use crate::app::accounts::revoke_app_password::RevokeAppPassword;
use crate::app::accounts::{AccountMode, Mode, read};
use crate::app::change::{self, Ask};
use crate::domain::app_password::AppPassword;
use crate::domain::ids::AppPasswordId;
use crate::domain::rights::Route;
use crate::domain::secret::new_app_password;
use crate::error::{Error, Result};
use crate::wire::{self, PathId};

fn view(app: &AppPassword) -> Value {
    json!({
        "appPasswordId": app.id.to_string(),
        "name": app.name,
        "protocols": app.protocols.words(),
        "createdTime": app.created_at,
        "expiryTime": app.expires_at.unwrap_or(-1),
    })
}

async fn own_number(app: &App, signed: &Signed, segment: &str) -> Result<i64> {
    match wire::id_segment(segment) {
        PathId::Number(number) => Ok(number),
        PathId::Address(_) | PathId::Nonsense => Err(signed.instead(app, no_such_path()).await),
    }
}

/// The own app passwords; never the passwords themselves.
#[utoipa::path(get, path = "/api/accounts/{accountId}/appPasswords", tag = "own account",
    params(("accountId" = String, Path, description = "The own accountId")),
    responses((status = 200, description = "An array of app passwords")))]
pub async fn list(State(app): State<App>, signed: Signed, Path(id): Path<String>) -> Result<Response> {
    let number = own_number(&app, &signed, &id).await?;
    let listed = read::own(&app, &signed.0.caller, Some(number)).await?;
    Ok(success(Some(listed.account.app_passwords.iter().map(view).collect())))
}

/// Makes an app password; the answer shows it once.
#[utoipa::path(post, path = "/api/accounts/{accountId}/appPasswords", tag = "own account",
    params(("accountId" = String, Path, description = "The own accountId")),
    request_body(content = crate::api::openapi::NewAppPasswordBody),
    responses((status = 201, description = "The app password; the envelope says 200")))]
pub async fn create(
    State(app): State<App>,
    signed: Signed,
    Path(id): Path<String>,
    stream: Stream,
) -> Result<Response> {
    let number = own_number(&app, &signed, &id).await?;
    let parsed = async {
        let body = door::json(stream).await?;
        let wish = CreateAppPassword::parse(&body)?;
        if app.config.compat.strict {
            body.refuse_unknown()?;
        }
        Ok(wish)
    };
    let wish = match parsed.await {
        Ok(wish) => wish,
        Err(error) => return Err(signed.instead(&app, error).await),
    };
    let password = app.random.with(new_app_password);
    let made: AppPasswordId = app.ids.next().await?;
    let mode = AccountMode::CreateAppPassword(wish.made(made, &password));
    let ask = Ask { route: Route::Own, path: Some(number), zuid: None, mode };
    let done = change::run(&app, &signed.0, ask).await?;
    let account = done.accounts.into_iter().next();
    let listed = account.and_then(|account| account.app_passwords.into_iter().find(|app| app.id == made));
    let mut shown = view(&listed.ok_or_else(|| Error::internal("the app password was not stored"))?);
    shown["password"] = json!(password.expose());
    Ok(with_change((StatusCode::CREATED, success(Some(shown))).into_response(), done.change))
}

/// Revokes an app password; exactly the sessions opened with it end.
#[utoipa::path(delete, path = "/api/accounts/{accountId}/appPasswords/{appPasswordId}", tag = "own account",
    params(("accountId" = String, Path, description = "The own accountId"),
           ("appPasswordId" = String, Path, description = "Which one")),
    responses((status = 200, description = "Revoked")))]
pub async fn revoke(
    State(app): State<App>,
    signed: Signed,
    Path((id, app_password)): Path<(String, String)>,
) -> Result<Response> {
    let number = own_number(&app, &signed, &id).await?;
    let wanted = own_number(&app, &signed, &app_password).await?;
    let Some(wanted) = AppPasswordId::new(wanted) else {
        let missing = Error::NotFound(format!("there is no app password {wanted} on this account"));
        return Err(signed.instead(&app, missing).await);
    };
    let mode = AccountMode::RevokeAppPassword(RevokeAppPassword { id: wanted });
    let ask = Ask { route: Route::Own, path: Some(number), zuid: None, mode };
    let done = change::run(&app, &signed.0, ask).await?;
    Ok(with_change(success(None), done.change))
}
