//! What is known of a change: each effect, each server, what was done, when, and whether it was
//! verified. Nothing is called done that a server did not confirm.

use serde::Serialize;

use crate::app::App;
use crate::app::change::Caller;
use crate::app::change::authenticate;
use crate::app::mail::sessions::Progress;
use crate::clock::Millis;
use crate::domain::effect::{Effect, PERSON, PROJECTION};
use crate::domain::ids::{ChangeId, OrganizationId};
use crate::domain::rights::{self, Forms, Names, Route};
use crate::domain::scope::Operation;
use crate::error::{Error, Result};
use crate::store;
use crate::store::audit::AuditRow;
use crate::store::engine::Tx;
use crate::store::outbox::Waiting;

/// Everything known of one change.
#[derive(Debug, Clone)]
pub struct Receipt {
    pub change: ChangeId,
    pub organization: OrganizationId,
    /// Its audit entries, one for each account it touched.
    pub entries: Vec<AuditRow>,
    pub effects: Vec<Part>,
}

/// One effect on one target.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Part {
    /// `project`, `end_sessions`, `tell`, …
    pub effect: &'static str,
    /// The look-ups, a mail server's name, the person; empty where there was nobody to tell.
    #[serde(rename = "server")]
    pub target: String,
    pub state: State,
    /// What happened, in words.
    pub what: String,
    pub at: Option<Millis>,
    /// Sessions that were ended, where it was about sessions.
    #[serde(rename = "sessionsEnded")]
    pub sessions: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Waits for a server, or for a later sweep.
    Pending,
    /// Confirmed by the target.
    Applied,
    /// Confirmed, and looked at afterwards.
    Verified,
    /// There is nobody to do it.
    #[serde(rename = "not configured")]
    NotConfigured,
}

impl State {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Applied => "applied",
            Self::Verified => "verified",
            Self::NotConfigured => "not configured",
        }
    }
}

impl Receipt {
    /// Nothing is left to be done.
    pub fn complete(&self) -> bool {
        self.effects.iter().all(|part| part.state != State::Pending)
    }
}

/// The receipt of a change.
///
/// # Errors
/// Rights; `NotFound`.
pub async fn show(app: &App, caller: &Caller, zoid: OrganizationId, change: ChangeId) -> Result<Receipt> {
    let mut tx = app.db.snapshot().await?;
    let actor = authenticate(&mut tx, caller, app.clock.now()).await?;
    let nobody = Names { path: None, own_path: false, own_zuid: false };
    rights::form(&actor, Route::Organization(zoid), Forms::AdminOnly, Operation::Read, nobody)?;
    of(app, &mut tx, zoid, change)
        .await?
        .ok_or_else(|| Error::NotFound(format!("there is no change {change} in this organization")))
}

/// The receipt of a change in whatever organization, for the operator.
///
/// # Errors
/// `NotFound`.
pub async fn find(app: &App, change: ChangeId) -> Result<Receipt> {
    let mut tx = app.db.snapshot().await?;
    for organization in store::organizations::all(&mut tx).await? {
        if let Some(receipt) = of(app, &mut tx, organization.id, change).await? {
            return Ok(receipt);
        }
    }
    Err(Error::NotFound(format!(
        "there is no change {change}; ids of changes stand in `mailward audit list`"
    )))
}

async fn of(app: &App, tx: &mut Tx, zoid: OrganizationId, change: ChangeId) -> Result<Option<Receipt>> {
    let entries = store::audit::of_change(tx, zoid, change).await?;
    if entries.is_empty() {
        return Ok(None);
    }
    let waiting = store::outbox::of_change(tx, zoid, change).await?;
    let effects = waiting.iter().map(|effect| part(app, effect)).collect();
    Ok(Some(Receipt { change, organization: zoid, entries, effects }))
}

fn part(app: &App, effect: &Waiting) -> Part {
    let outcome = effect.outcome.clone().unwrap_or_default();
    let done = effect.due_at.is_none();
    let (state, what, sessions) = match &effect.effect {
        Effect::Project => {
            let (_, words) = app.projector.standing();
            match (done, app.projector.shows(effect.position)) {
                (true, _) => (projected(&outcome), outcome, None),
                (false, true) => (projected(words), words.to_owned(), None),
                (false, false) => (State::Pending, "the look-up files are behind".to_owned(), None),
            }
        }
        Effect::EndSessions { .. } | Effect::Reconcile if effect.target.is_empty() => {
            (State::NotConfigured, outcome, None)
        }
        Effect::EndSessions { .. } | Effect::Reconcile => {
            let progress = Progress::of(effect);
            let state = match (done, progress.verified) {
                (false, _) => State::Pending,
                // It was removed before it confirmed anything.
                (true, _) if progress.sweeps == 0 => State::NotConfigured,
                (true, true) => State::Verified,
                (true, false) => State::Applied,
            };
            let what = match (&progress.error, done && progress.sweeps == 0) {
                (Some(error), _) => format!("not yet: {error}"),
                (None, true) => outcome,
                (None, false) => format!("{} sessions ended in {} sweeps", progress.ended, progress.sweeps),
            };
            (state, what, Some(progress.ended))
        }
        Effect::Tell { .. } => {
            let state = match (done, outcome.starts_with("told")) {
                (false, _) => State::Pending,
                (true, true) => State::Applied,
                (true, false) => State::NotConfigured,
            };
            (state, outcome, None)
        }
    };
    let target = match effect.target.as_str() {
        PROJECTION => "look-ups".to_owned(),
        PERSON => "the person".to_owned(),
        server => server.to_owned(),
    };
    Part { effect: effect.effect.name(), target, state, what, at: effect.done_at, sessions }
}

fn projected(words: &str) -> State {
    if words.starts_with("no look-up files") { State::NotConfigured } else { State::Applied }
}
