//! After an account was taken back: the one-time password, what ended, who was there, and what was
//! done lately. Shown once, to the form itself.

use std::collections::BTreeMap;

use askama::Template;
use axum::http::StatusCode;
use axum::response::Response;

use crate::app::App;
use crate::app::change::Done;
use crate::app::compromise::{self, AuditRow, Report, Session};
use crate::clock::Millis;
use crate::console::entries::Line;
use crate::console::form::Form;
use crate::console::page::{Frame, Tab, answer};
use crate::console::places;
use crate::console::texts::{ENGLISH, count, fill};
use crate::console::times::Time;
use crate::console::users::handed::Handed;
use crate::console::users::show::Seen;
use crate::console::visit::Visitor;
use crate::domain::ids::UserId;
use crate::domain::session_credential::SessionCredential;
use crate::domain::switch::Reason;
use crate::error::{Error, Result};

/// Takes the account back, as the API does.
///
/// # Errors
/// As `compromise::secure`.
pub async fn secure(app: &App, visitor: &Visitor, user: UserId, form: &Form) -> Result<(Done, Report)> {
    let context = visitor.context(app, Reason::parse(form.text("reason"))?);
    let (done, report) = compromise::secure(app, &context, visitor.organization(), user.get()).await?;
    let report = report.ok_or_else(|| Error::internal("an account was secured without a report"))?;
    Ok((done, report))
}

/// Somebody who was there: a browser or a mail program.
struct Present {
    what: String,
    from: String,
    since: Option<Time>,
    seen: Option<Time>,
}

#[derive(Template)]
#[template(path = "secured.html")]
struct Page {
    frame: Frame,
    handed: Handed,
    /// What is left to do.
    left: Vec<String>,
    ended: Vec<String>,
    present: Vec<Present>,
    last_sign_in: Option<Time>,
    places: Vec<places::Line>,
    logs: Vec<Log>,
}

/// The only answer that shows the report and the password.
///
/// # Errors
/// The database's.
pub async fn page(app: &App, visitor: &Visitor, done: &Done, report: &Report) -> Result<Response> {
    let (account, now) = (&report.account, app.clock.now());
    let change = done.change.map(|change| change.to_string()).unwrap_or_default();
    // The password is here alone, whatever happens now.
    let names = Seen::of(app, visitor, account.user).await.map(|seen| seen.over.names).unwrap_or_default();
    let page = Page {
        frame: Frame::inside(ENGLISH.account_is_secured, visitor, Tab::Users),
        handed: Handed::of(app, visitor, account, &change, &report.password).await?,
        left: left(report),
        ended: ended(report),
        present: present(report, now),
        last_sign_in: report.last_sign_in.as_ref().map(|last| Time::new(last.at, now)),
        places: places::lines(&report.places, now),
        logs: vec![
            log(ENGLISH.secured_by, ENGLISH.secured_by_hint, &report.by, &names, now),
            log(ENGLISH.secured_about, ENGLISH.secured_about_hint, &report.about, &names, now),
        ],
    };
    Ok(answer(StatusCode::OK, &page))
}

fn left(report: &Report) -> Vec<String> {
    let t = &ENGLISH;
    let mut left = vec![t.secured_tell.to_owned(), t.secured_sending.to_owned()];
    if report.factors_left {
        left.push(t.secured_factors_left.to_owned());
    }
    if !report.clients.is_empty() {
        left.push(fill(t.secured_clients, &[&report.clients.join(", ")]));
    }
    left.push(t.secured_look.to_owned());
    left
}

fn ended(report: &Report) -> Vec<String> {
    let (t, ended) = (&ENGLISH, report.ended);
    let mut lines: Vec<String> = [
        (ended.web_sessions, t.ended_browser, t.ended_browsers),
        (ended.app_passwords, t.ended_app_password, t.ended_app_passwords),
        (ended.access_tokens + ended.refresh_tokens + ended.grant_codes, t.ended_token, t.ended_tokens),
    ]
    .into_iter()
    .filter(|(number, ..)| *number != 0)
    .map(|(number, one, many)| count(number, one, many))
    .collect();
    for (server, open) in &report.mail_sessions {
        lines.push(match open {
            Some(open) => {
                let number = i64::try_from(open.len()).unwrap_or(i64::MAX);
                fill(t.will_on_server, &[&count(number, t.ended_session, t.ended_sessions), server])
            }
            None => fill(t.ended_unknown_on_server, &[server]),
        });
    }
    lines
}

fn present(report: &Report, now: Millis) -> Vec<Present> {
    let browsers = report.web_sessions.iter().map(|one| Present {
        what: if one.agent.is_empty() { ENGLISH.browser.to_owned() } else { one.agent.clone() },
        from: one.source.clone(),
        since: Some(Time::new(one.created_at, now)),
        seen: Some(Time::new(one.seen_at, now)),
    });
    let open = |(server, open): &(String, Option<Vec<Session>>)| {
        let server = server.clone();
        open.clone().into_iter().flatten().map(move |one| program(&server, &one)).collect::<Vec<_>>()
    };
    browsers.chain(report.mail_sessions.iter().flat_map(open)).collect()
}

/// A mail program, by its protocol and by which password let it in.
fn program(server: &str, session: &Session) -> Present {
    let t = &ENGLISH;
    let by_app = matches!(session.credential(), Some(SessionCredential::AppPassword(_)));
    let with = if by_app { t.with_app_password } else { t.with_main_password };
    Present {
        what: fill(t.mail_program_on, &[&session.service.to_uppercase(), &server, &with]),
        from: session.ip.map(|ip| ip.to_string()).unwrap_or_default(),
        since: None,
        seen: None,
    }
}

/// What was done lately, the newest first.
struct Log {
    title: &'static str,
    hint: &'static str,
    lines: Vec<Line>,
}

fn log(
    title: &'static str,
    hint: &'static str,
    rows: &[AuditRow],
    names: &BTreeMap<UserId, String>,
    now: Millis,
) -> Log {
    Log { title, hint, lines: rows.iter().map(|row| Line::of(row, names, now)).collect() }
}
