//! Where one is signed in, and which applications one has let in; each can be ended.

use askama::Template;
use axum::extract::State;
use axum::response::Response;

use crate::app::{App, oauth, web_sessions};
use crate::console::asked::Asked;
use crate::console::page::{Frame, Tab, ok};
use crate::console::places;
use crate::console::said::Said;
use crate::console::texts::ENGLISH;
use crate::console::times::Time;
use crate::console::visit::{Posted, Visitor};
use crate::error::{Error, Result};

struct Session {
    id: String,
    here: bool,
    agent: String,
    source: String,
    since: Time,
    seen: Time,
}

struct Application {
    client: String,
    name: String,
    scope: String,
    since: Time,
}

#[derive(Template)]
#[template(path = "me_sessions.html")]
struct Page {
    frame: Frame,
    sessions: Vec<Session>,
    places: Vec<places::Line>,
    applications: Vec<Application>,
}

/// `GET /me/sessions`
pub async fn show(State(app): State<App>, visitor: Visitor, asked: Asked) -> Result<Response> {
    let now = app.clock.now();
    let sessions = web_sessions::list(&app, &visitor.held).await?;
    let places = web_sessions::places(&app, &visitor.held).await?;
    let applications = oauth::connected(&app, &visitor.caller(&app), None).await?;
    let or_unknown = |text: String| if text.is_empty() { ENGLISH.unknown_browser.to_owned() } else { text };
    Ok(ok(&Page {
        frame: Frame::inside(ENGLISH.sessions_and_applications, &visitor, Tab::Me)
            .with_notice(asked.notice()),
        sessions: sessions
            .into_iter()
            .map(|session| Session {
                id: session.id.to_string(),
                here: session.id == visitor.held.session.id,
                agent: or_unknown(session.agent),
                source: or_unknown(session.source),
                since: Time::new(session.created_at, now),
                seen: Time::new(session.seen_at, now),
            })
            .collect(),
        places: places::lines(&places, now),
        applications: applications
            .into_iter()
            .map(|one| Application {
                client: one.client,
                name: one.name,
                scope: one.scope.to_string(),
                since: Time::new(one.created_at, now),
            })
            .collect(),
    }))
}

/// `POST /me/sessions/end`
pub async fn end(State(app): State<App>, Posted { visitor, form }: Posted) -> Result<Response> {
    let missing = || Error::NotFound("there is no such session".to_owned());
    let id = form.text("id").parse().map_err(|()| missing())?;
    let context = visitor.context(&app, None);
    ended(&visitor, web_sessions::end(&app, &context, web_sessions::Which::One(id)).await)
}

/// `POST /me/sessions/end-others`
pub async fn end_others(State(app): State<App>, Posted { visitor, .. }: Posted) -> Result<Response> {
    let context = visitor.context(&app, None);
    ended(&visitor, web_sessions::end(&app, &context, web_sessions::Which::Others).await)
}

fn ended(visitor: &Visitor, done: Result<()>) -> Result<Response> {
    match done {
        // That it has ended already is what was wanted.
        Ok(()) | Err(Error::NotFound(_)) => Ok(visitor.guest.go(&Said::Session.at("/me/sessions"))),
        Err(other) => Err(other),
    }
}

/// `POST /me/applications/disconnect`
pub async fn disconnect(State(app): State<App>, Posted { visitor, form }: Posted) -> Result<Response> {
    let context = visitor.context(&app, None);
    match oauth::disconnect(&app, &context, None, form.text("client")).await {
        // That it is gone already is what was wanted.
        Ok(_) | Err(Error::NotFound(_)) => Ok(visitor.guest.go(&Said::Disconnected.at("/me/sessions"))),
        Err(other) => Err(other),
    }
}
