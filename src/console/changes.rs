//! What became of a change, mail server by mail server: followed live until nothing is left to do.

use std::collections::BTreeMap;

use askama::Template;
use axum::extract::{Path, State};
use axum::response::Response;

use crate::app::App;
use crate::app::mail::receipt::{self, Part as Effect, Receipt, State as PartState};
use crate::console::entries::Line;
use crate::console::page::{Frame, Tab, ok};
use crate::console::texts::{ENGLISH, Texts, fill};
use crate::console::times::Time;
use crate::console::visit::Visitor;
use crate::domain::effect::PROJECTION;
use crate::domain::ids::ChangeId;
use crate::error::{Error, Result};

/// One effect on one target, in words.
pub struct Part {
    pub kind: &'static str,
    pub state: &'static str,
    pub what: String,
    pub note: String,
    pub time: Option<Time>,
}

/// How far a change has come.
pub struct Progress {
    pub change: ChangeId,
    pub complete: bool,
    pub parts: Vec<Part>,
    pub t: &'static Texts,
}

impl Progress {
    fn of(app: &App, receipt: &Receipt) -> Self {
        let now = app.clock.now();
        Self {
            change: receipt.change,
            complete: receipt.complete(),
            parts: receipt.effects.iter().map(|effect| part(effect, now)).collect(),
            t: &ENGLISH,
        }
    }

    /// Of a change of the visitor's organization.
    ///
    /// # Errors
    /// Rights; `NotFound`.
    pub async fn load(app: &App, visitor: &Visitor, change: ChangeId) -> Result<Self> {
        let caller = visitor.caller(app);
        let receipt = receipt::show(app, &caller, visitor.organization(), change).await?;
        Ok(Self::of(app, &receipt))
    }

    /// Of the change that a page's address names, if it names one that can be seen.
    ///
    /// # Errors
    /// The database's.
    pub async fn asked_for(app: &App, visitor: &Visitor, named: &str) -> Result<Option<Self>> {
        let Ok(change) = named.parse() else { return Ok(None) };
        match Self::load(app, visitor, change).await {
            Ok(progress) => Ok(Some(progress)),
            Err(Error::NotFound(_) | Error::Forbidden(_)) => Ok(None),
            Err(other) => Err(other),
        }
    }
}

fn part(effect: &Effect, now: i64) -> Part {
    let t = &ENGLISH;
    let (state, kind) = match effect.state {
        PartState::Pending => (t.part_pending, "wait"),
        PartState::Applied => (t.part_applied, "good"),
        PartState::Verified => (t.part_verified, "good"),
        PartState::NotConfigured => (t.part_not_configured, "wait"),
    };
    let what = match effect.effect {
        "project" if effect.target == PROJECTION => t.part_project.to_owned(),
        "project" => fill(t.part_project_on, &[&effect.target]),
        "tell" => t.part_person.to_owned(),
        _ if effect.target.is_empty() => t.part_sessions_nowhere.to_owned(),
        _ => fill(t.part_sessions, &[&effect.target]),
    };
    Part { kind, state, what, note: effect.what.clone(), time: effect.at.map(|at| Time::new(at, now)) }
}

#[derive(Template)]
#[template(path = "progress.html")]
struct Fragment {
    progress: Progress,
}

#[derive(Template)]
#[template(path = "change.html")]
struct Page {
    frame: Frame,
    /// What was done, to whom.
    lines: Vec<Line>,
    progress: Progress,
}

/// `GET /changes/{change}`: a part of a page for a script, a whole one for everybody else.
pub async fn show(State(app): State<App>, visitor: Visitor, Path(change): Path<String>) -> Result<Response> {
    let change = change.parse().map_err(|()| Error::NotFound(ENGLISH.no_such_change.to_owned()))?;
    let receipt = receipt::show(&app, &visitor.caller(&app), visitor.organization(), change).await?;
    let (progress, now) = (Progress::of(&app, &receipt), app.clock.now());
    if visitor.guest.partial {
        return Ok(ok(&Fragment { progress }));
    }
    // Who did it is not said here, so that nobody has to be looked up.
    let lines = receipt.entries.iter().map(|row| Line::of(row, &BTreeMap::new(), now)).collect();
    Ok(ok(&Page { frame: Frame::inside(ENGLISH.change_title, &visitor, Tab::Users), lines, progress }))
}
