//! The account calls: `/api/organization/{zoid}/accounts…` for administrators, `/api/accounts…`
//! for people themselves.

use std::sync::Arc;

use axum::body::Body as Stream;
use axum::extract::{RawQuery, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use crate::api::door::{self, Call, Path, no_such_path};
use crate::api::envelope::{bare_success, success};
use crate::api::views::{Reader, User, Viewing};
use crate::app::App;
use crate::app::accounts::create::NewUser;
use crate::app::accounts::delete_user::DeleteUser;
use crate::app::accounts::read::{Listed, SignIns};
use crate::app::accounts::{AccountMode, Mode, TargetName, create as creation, read};
use crate::app::audit::history;
use crate::app::change::{self, Ask};
use crate::app::once::Answer;
use crate::app::throttle;
use crate::domain::account::Account;
use crate::domain::email_address::EmailAddress;
use crate::domain::rights::Route;
use crate::error::{Error, Malformed, Result};
use crate::wire::{self, Body, Params, PathId};

/// Rows of a page when the request does not say.
const DEFAULT_ROWS: i64 = 10;

/// A page of the organization's users, by creation. An empty array past the end.
#[utoipa::path(get, path = "/api/organization/{zoid}/accounts", tag = "users",
    params(("zoid" = i64, Path, description = "The organization"),
           ("start" = Option<i64>, Query, description = "Position of the first row, from 0", minimum = 0),
           ("limit" = Option<i64>, Query, description = "Rows, 10 by default, at most 200", minimum = 0),
           ("emailId" = Option<String>, Query, description = "Only the user with this address, if there is one")),
    responses((status = 200, description = "An array of user objects")))]
pub async fn list(
    State(app): State<App>,
    call: Call,
    Path(zoid): Path<String>,
    RawQuery(query): RawQuery,
) -> Result<Response> {
    let zoid = call.zoid(&app, &zoid).await?;
    let asked = |params: &Params| Ok((window(params)?, email_id(params)?));
    let ((start, limit), named) = call.query(&app, query.as_deref(), asked).await?;
    let page = match named {
        None => read::page(&app, &call.context.caller, zoid, start, limit).await?,
        Some(named) => {
            let found = read::find(&app, &call.context.caller, zoid, &named).await?;
            // A list of one, of which there are pages as of any.
            found.into_iter().filter(|_| start == 0 && limit > 0).collect()
        }
    };
    let viewing = Viewing::of(&app, Reader::Administrator);
    Ok(success(page.iter().map(|listed| User { listed, viewing: &viewing }).collect::<Vec<_>>()))
}

fn window(params: &Params) -> Result<(i64, i64)> {
    let start = params.long("start")?.unwrap_or(0);
    let limit = params.long("limit")?.unwrap_or(DEFAULT_ROWS);
    if start < 0 || limit < 0 {
        return Err(Error::bad_value("start, limit", "send 0 or more"));
    }
    Ok((start, limit))
}

/// The user of whom alone a list is wanted, as older guides have it.
fn email_id(params: &Params) -> Result<Option<TargetName>> {
    let address = params.text("emailId")?.map(EmailAddress::parse).transpose()?;
    Ok(address.map(TargetName::Address))
}

/// One user, by zuid, accountId or address.
#[utoipa::path(get, path = "/api/organization/{zoid}/accounts/{id}", tag = "users",
    params(("zoid" = i64, Path, description = "The organization"),
           ("id" = String, Path, description = "The user's zuid, accountId or an address")),
    responses((status = 200, description = "A user object")))]
pub async fn show(
    State(app): State<App>,
    call: Call,
    Path((zoid, id)): Path<(String, String)>,
) -> Result<Response> {
    let zoid = call.zoid(&app, &zoid).await?;
    let named = match wire::id_segment(&id) {
        PathId::Number(number) => TargetName::Number(number),
        PathId::Address(text) => match EmailAddress::parse(&text) {
            Ok(address) => TargetName::Address(address),
            Err(_) => {
                let missing = Error::NotFound("no user of this organization has that address".to_owned());
                return Err(call.instead(&app, missing).await);
            }
        },
        PathId::Nonsense => return Err(call.instead(&app, no_such_path()).await),
    };
    let listed = read::one(&app, &call.context.caller, zoid, &named).await?;
    Ok(shown(&app, &listed, Reader::Administrator))
}

fn shown(app: &App, listed: &Listed, reader: Reader) -> Response {
    success(User { listed, viewing: &Viewing::of(app, reader) })
}

/// The caller's own accounts: one.
#[utoipa::path(get, path = "/api/accounts", tag = "own account",
    responses((status = 200, description = "An array with the own user object")))]
pub async fn own_all(State(app): State<App>, call: Call) -> Result<Response> {
    let listed = read::own(&app, &call.context.caller, None).await?;
    Ok(success([User { listed: &listed, viewing: &Viewing::of(&app, Reader::Owner) }]))
}

/// The caller's own account.
#[utoipa::path(get, path = "/api/accounts/{accountId}", tag = "own account",
    params(("accountId" = String, Path, description = "The own accountId")),
    responses((status = 200, description = "The own user object")))]
pub async fn own(State(app): State<App>, call: Call, Path(id): Path<String>) -> Result<Response> {
    let number = call.number(&app, &id).await?;
    let listed = read::own(&app, &call.context.caller, Some(number)).await?;
    Ok(shown(&app, &listed, Reader::Owner))
}

/// What was done to the own account, by whom and why: audit entries, the newest first.
#[utoipa::path(get, path = "/api/accounts/{accountId}/history", tag = "own account",
    params(("accountId" = String, Path, description = "The own accountId"),
           ("start" = Option<i64>, Query, description = "Position of the first entry, from 0", minimum = 0),
           ("limit" = Option<i64>, Query, description = "Entries, 10 by default, at most 200", minimum = 0)),
    responses((status = 200, description = "An array of audit entries, as docs/audit.md describes them")))]
pub async fn history(
    State(app): State<App>,
    call: Call,
    Path(id): Path<String>,
    RawQuery(query): RawQuery,
) -> Result<Response> {
    let number = call.number(&app, &id).await?;
    let (start, limit) = call.query(&app, query.as_deref(), window).await?;
    let entries = history::own(&app, &call.context.caller, number, start, limit).await?;
    Ok(success(entries))
}

/// Creates a user.
#[utoipa::path(post, path = "/api/organization/{zoid}/accounts", tag = "users",
    params(("zoid" = i64, Path, description = "The organization")),
    request_body(content = crate::api::openapi::NewUserBody),
    responses((status = 201, description = "The new user object; the envelope says 200")))]
pub async fn create(
    State(app): State<App>,
    mut call: Call,
    Path(zoid): Path<String>,
    stream: Stream,
) -> Result<Response> {
    let zoid = call.zoid(&app, &zoid).await?;
    let new = call.read(&app, stream, NewUser::from_body).await?;
    let again = app.clone();
    call.answers(Answer::Kept(Arc::new(move |made| {
        let data = made.accounts.first().map(|account| created(&again, account));
        door::kept(StatusCode::CREATED, data, made)
    })));
    let made = creation::run(&app, &call.context, zoid, new).await?;
    Ok(door::done(&made, |made| match made.accounts.first() {
        Some(account) => (StatusCode::CREATED, success(created(&app, account))).into_response(),
        None => Error::internal("the user was not stored").into_response(),
    }))
}

/// A user object of somebody who has just been made.
fn created(app: &App, account: &Account) -> Value {
    let listed = Listed { account: account.clone(), sign_ins: SignIns::default() };
    json!(User { listed: &listed, viewing: &Viewing::of(app, Reader::Administrator) })
}

/// Changes an account, as `mode` says.
#[utoipa::path(put, path = "/api/organization/{zoid}/accounts/{id}", tag = "users",
    params(("zoid" = i64, Path, description = "The organization"),
           ("id" = String, Path, description = "The user's zuid or accountId")),
    request_body(content = crate::api::openapi::ModeBody),
    responses((status = 200, description = "Done, or already so")))]
pub async fn change(
    State(app): State<App>,
    call: Call,
    Path((zoid, id)): Path<(String, String)>,
    stream: Stream,
) -> Result<Response> {
    let zoid = call.zoid(&app, &zoid).await?;
    let number = call.number(&app, &id).await?;
    put(&app, call, Route::Organization(zoid), Some(number), stream).await
}

/// Changes accounts that the body names: `changeRole` with a list, or any mode with `zuid`.
#[utoipa::path(put, path = "/api/organization/{zoid}/accounts", tag = "users",
    params(("zoid" = i64, Path, description = "The organization")),
    request_body(content = crate::api::openapi::ModeBody),
    responses((status = 200, description = "Done, or already so")))]
pub async fn change_listed(
    State(app): State<App>,
    call: Call,
    Path(zoid): Path<String>,
    stream: Stream,
) -> Result<Response> {
    let zoid = call.zoid(&app, &zoid).await?;
    put(&app, call, Route::Organization(zoid), None, stream).await
}

/// Changes the own account, as `mode` says.
#[utoipa::path(put, path = "/api/accounts/{accountId}", tag = "own account",
    params(("accountId" = String, Path, description = "The own accountId")),
    request_body(content = crate::api::openapi::ModeBody),
    responses((status = 200, description = "Done, or already so")))]
pub async fn change_own(
    State(app): State<App>,
    call: Call,
    Path(id): Path<String>,
    stream: Stream,
) -> Result<Response> {
    let number = call.number(&app, &id).await?;
    put(&app, call, Route::Own, Some(number), stream).await
}

async fn put(app: &App, mut call: Call, route: Route, path: Option<i64>, stream: Stream) -> Result<Response> {
    let ask = call.read_bytes(app, stream, |bytes| {
        let body = Body::parse(bytes)?;
        let zuid = body.long("zuid")?;
        match door::known_in(app, &body, AccountMode::from_body) {
            // The original looks for it before anything else.
            Err(_) if app.config.compat.strict && zuid.is_none() && names_one(route, &body) => {
                Err(Error::Refused("zuid is null".to_owned()))
            }
            mode => Ok(Ask { route, path, zuid, mode: mode? }),
        }
    });
    let ask = ask.await?;
    run(app, &call, ask).await
}

fn names_one(route: Route, body: &Body) -> bool {
    matches!(route, Route::Organization(_)) && matches!(body.long_list("userList"), Ok(None))
}

async fn run(app: &App, call: &Call, ask: Ask) -> Result<Response> {
    let done = change::run(app, &call.context, ask).await?;
    Ok(door::done(&done, |_| bare_success()))
}

/// Deletes users that the body lists.
#[utoipa::path(delete, path = "/api/organization/{zoid}/accounts", tag = "users",
    params(("zoid" = i64, Path, description = "The organization")),
    request_body(content = crate::api::openapi::DeleteBody),
    responses((status = 200, description = "Deleted; their mail stays, their addresses are kept for a term")))]
pub async fn delete_listed(
    State(app): State<App>,
    mut call: Call,
    Path(zoid): Path<String>,
    RawQuery(query): RawQuery,
    stream: Stream,
) -> Result<Response> {
    let zoid = call.zoid(&app, &zoid).await?;
    let ask = call.read_bytes(&app, stream, |bytes| {
        let deletion = Deletion::read(&app, query.as_deref(), bytes)?;
        if deletion.names_nobody() {
            return Err(Error::bad_value(
                "accountList",
                "list the zuids to delete, or emailList their addresses",
            ));
        }
        Ok(deletion.ask(Route::Organization(zoid), None))
    });
    let ask = ask.await?;
    run(&app, &call, ask).await
}

/// Deletes the user that the path names.
#[utoipa::path(delete, path = "/api/organization/{zoid}/accounts/{id}", tag = "users",
    params(("zoid" = i64, Path, description = "The organization"),
           ("id" = String, Path, description = "The user's zuid, accountId or an address")),
    request_body(content = Option<crate::api::openapi::DeleteBody>),
    responses((status = 200, description = "Deleted; the mail stays, the addresses are kept for a term")))]
pub async fn delete(
    State(app): State<App>,
    mut call: Call,
    Path((zoid, id)): Path<(String, String)>,
    RawQuery(query): RawQuery,
    stream: Stream,
) -> Result<Response> {
    let zoid = call.zoid(&app, &zoid).await?;
    let ask = call.read_bytes(&app, stream, |bytes| {
        let in_path = match wire::id_segment(&id) {
            PathId::Number(number) => TargetName::Number(number),
            PathId::Address(text) => TargetName::Address(EmailAddress::parse(&text)?),
            PathId::Nonsense => return Err(no_such_path()),
        };
        let mut deletion = Deletion::read(&app, query.as_deref(), bytes)?;
        if deletion.users.is_empty() {
            deletion.users.push(in_path);
            return Ok(deletion.ask(Route::Organization(zoid), None));
        }
        // The documentation's own sample names somebody in the path beside its list.
        match in_path {
            TargetName::Number(number) => Ok(deletion.ask(Route::Organization(zoid), Some(number))),
            listed if deletion.users.contains(&listed) => Ok(deletion.ask(Route::Organization(zoid), None)),
            TargetName::Address(address) => Err(Error::Refused(format!(
                "{address} is not on the list in the body; name the same users in both"
            ))),
        }
    });
    let ask = ask.await?;
    run(&app, &call, ask).await
}

/// Forgets the wrong passwords that were tried on an account, so that its owner can sign in again.
#[utoipa::path(delete, path = "/api/organization/{zoid}/accounts/{id}/throttle", tag = "users",
    params(("zoid" = i64, Path, description = "The organization"),
           ("id" = String, Path, description = "The user's zuid or accountId")),
    responses((status = 200, description = "No wrong password is counted on the account any more; no wrong code of a second factor either, where the caller may remove it")))]
pub async fn clear_throttle(
    State(app): State<App>,
    mut call: Call,
    Path((zoid, id)): Path<(String, String)>,
) -> Result<Response> {
    let zoid = call.zoid(&app, &zoid).await?;
    let number = call.number(&app, &id).await?;
    call.without_body();
    let done = throttle::clear(&app, &call.context, zoid, number).await?;
    Ok(door::done(&done, |_| bare_success()))
}

/// What a `DELETE` says beside its path: lists in the body, or `zuid` in body or query.
struct Deletion {
    users: Vec<TargetName>,
    zuid: Option<i64>,
}

impl Deletion {
    fn read(app: &App, query: Option<&str>, bytes: &[u8]) -> Result<Self> {
        let in_query = door::known_query(app, query, |params| params.long("zuid"))?;
        if bytes.is_empty() {
            return Ok(Self { users: Vec::new(), zuid: in_query });
        }
        let (in_body, users) =
            door::known(app, bytes, |body| Ok((body.long("zuid")?, DeleteUser::parse(body)?.users)))?;
        match (in_query, in_body) {
            (Some(one), Some(other)) if one != other => {
                Err(Malformed::Repeated { name: "zuid".to_owned() }.into())
            }
            (one, other) => Ok(Self { users, zuid: one.or(other) }),
        }
    }

    fn names_nobody(&self) -> bool {
        self.users.is_empty() && self.zuid.is_none()
    }

    fn ask(self, route: Route, path: Option<i64>) -> Ask {
        let mode = AccountMode::DeleteUser(DeleteUser { users: self.users });
        Ask { route, path, zuid: self.zuid, mode }
    }
}
