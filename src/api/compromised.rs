//! For an account that somebody else got into: `POST …/accounts/{id}/compromised`.

use axum::body::Body as Stream;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use crate::api::door::{self, Call, Path};
use crate::api::envelope::success;
use crate::app::App;
use crate::app::compromise::{self, AuditRow, Report, Session};
use crate::app::once::Answer;
use crate::error::{Error, Result};

/// Takes an account back: a new one-time password, every token and session ends, app passwords and
/// the recovery address go, sending is blocked. Answers the password, once, and who came in lately.
#[utoipa::path(post, path = "/api/organization/{zoid}/accounts/{id}/compromised", tag = "users",
    params(("zoid" = i64, Path, description = "The organization"),
           ("id" = String, Path, description = "The user's zuid or accountId")),
    responses((status = 200, description = "The one-time password, shown once, and a report of recent sign-ins and changes")))]
pub async fn secure(
    State(app): State<App>,
    mut call: Call,
    Path((zoid, id)): Path<(String, String)>,
    stream: Stream,
) -> Result<Response> {
    let zoid = call.zoid(&app, &zoid).await?;
    let number = call.number(&app, &id).await?;
    let nothing = |bytes: &[u8]| if bytes.is_empty() { Ok(()) } else { door::known(&app, bytes, |_| Ok(())) };
    call.read_bytes(&app, stream, nothing).await?;
    call.answers(Answer::Secret("reset the password, or make the call again with a new key"));
    let (done, report) = compromise::secure(&app, &call.context, zoid, number).await?;
    Ok(door::done(&done, |_| match &report {
        Some(report) => success(view(report)),
        None => Error::internal("an account was secured without a report").into_response(),
    }))
}

fn view(report: &Report) -> Value {
    let account = &report.account;
    let servers = report.mail_sessions.iter().map(|(name, open)| {
        let open = open.as_ref().map(|all| all.iter().map(session).collect::<Vec<_>>());
        json!({"name": name, "sessions": open})
    });
    let web = report.web_sessions.iter().map(|one| {
        json!({
            "startTime": one.created_at,
            "lastUseTime": one.seen_at,
            "source": one.source,
            "browser": one.agent,
        })
    });
    let places = report.places.iter().map(|one| {
        json!({
            "client": one.door,
            "source": one.source,
            "firstTime": one.first_at,
            "lastTime": one.last_at,
        })
    });
    json!({
        "zuid": account.user.get(),
        "accountId": account.id.to_string(),
        "primaryEmailAddress": account.primary.as_str(),
        "password": report.password.expose(),
        "oneTimePassword": true,
        "passwordUntil": account.credential.until,
        "outgoingBlocked": account.switches.outgoing_blocked.is_some(),
        "ended": report.ended,
        "secondFactorsLeft": report.factors_left,
        "clients": report.clients,
        "lastLogin": report.last_sign_in.as_ref().map_or(0, |last| last.at),
        "lastClient": report.last_sign_in.as_ref().map_or("", |last| &last.door),
        "signIns": places.collect::<Vec<_>>(),
        "webSessions": web.collect::<Vec<_>>(),
        "mailServers": servers.collect::<Vec<_>>(),
        "changesOfAccount": entries(&report.about),
        "changesByUser": entries(&report.by),
    })
}

fn session(one: &Session) -> Value {
    json!({"service": one.service, "source": one.ip, "credential": one.credential().map(String::from).unwrap_or_default()})
}

/// Entries as docs/audit.md describes them.
fn entries(rows: &[AuditRow]) -> Vec<Value> {
    rows.iter().filter_map(|row| serde_json::from_str(&row.entry).ok()).collect()
}
