//! The mail servers: whether each answers, and what waits for it. They are made known at the command line.

use askama::Template;
use axum::extract::State;
use axum::response::Response;

use crate::app::App;
use crate::app::mail::projector::Projector;
use crate::app::mail::servers::{self, Health};
use crate::clock::Millis;
use crate::console::page::{Frame, Tab, ok};
use crate::console::texts::{ENGLISH, count};
use crate::console::times::Time;
use crate::console::visit::Visitor;
use crate::error::Result;

/// A mail server as the page shows it.
pub struct Row {
    pub name: String,
    pub kind: &'static str,
    pub state: &'static str,
    pub problem: String,
    pub waiting: String,
    pub oldest: Option<Time>,
    pub added: Option<Time>,
}

impl Row {
    fn of(health: Health, lookups: bool, now: Millis) -> Self {
        let t = &ENGLISH;
        let (kind, state, problem) = match health.answer {
            Some(Ok(())) => ("good", t.server_answers, String::new()),
            Some(Err(why)) => ("bad", t.server_fails, why),
            None if lookups => ("good", t.server_ours, String::new()),
            None => ("wait", t.server_not_set_up, t.lookups_not_set_up.to_owned()),
        };
        Self {
            kind,
            state,
            problem,
            waiting: count(health.backlog.waiting, t.one_waits, t.so_many_wait),
            oldest: health.backlog.oldest.map(|at| Time::new(at, now)),
            added: health.added.map(|at| Time::new(at, now)),
            name: health.name.unwrap_or_else(|| t.part_project.to_owned()),
        }
    }
}

#[derive(Template)]
#[template(path = "mail_servers.html")]
struct ServersPage {
    frame: Frame,
    rows: Vec<Row>,
    /// What is said where no mail server is known.
    none: Option<&'static str>,
}

/// `GET /mail-servers`
pub async fn show(State(app): State<App>, visitor: Visitor) -> Result<Response> {
    let health = servers::health(&app, &visitor.caller(&app), visitor.organization()).await?;
    let now = app.clock.now();
    let lookups = match app.projector {
        Projector::Files(_) | Projector::Views => true,
        Projector::None => false,
    };
    let page = ServersPage {
        frame: Frame::inside(ENGLISH.mail_servers, &visitor, Tab::MailServers),
        none: health.iter().all(|one| one.name.is_none()).then_some(if lookups {
            ENGLISH.no_mail_servers
        } else {
            ENGLISH.no_mail_servers_at_all
        }),
        rows: health.into_iter().map(|one| Row::of(one, lookups, now)).collect(),
    };
    Ok(ok(&page))
}
