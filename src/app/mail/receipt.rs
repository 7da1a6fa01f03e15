//! What is known of a change: each effect, each server, what was done, when, and whether it was
//! verified. Nothing is called done that a server did not confirm.

use serde::Serialize;

use crate::app::App;
use crate::app::call::Caller;
use crate::app::call::authenticate;
use crate::app::confirmed::says_lost;
use crate::app::mail::notices::{self, TOLD};
use crate::app::mail::projector::NO_FILES;
use crate::app::mail::sessions::Progress;
use crate::clock::{Millis, SECOND};
use crate::domain::effect::{Effect, PERSON};
use crate::domain::help_desk::Verb;
use crate::domain::ids::{ChangeId, OrganizationId};
use crate::domain::rights::{self, Forms, Names, Route};
use crate::domain::scope::Operation;
use crate::error::{Error, Result};
use crate::store;
use crate::store::accounts::Handle;
use crate::store::audit::AuditRow;
use crate::store::engine::Tx;
use crate::store::mail_agents::AgentStatus;
use crate::store::outbox::{Unreadable, Waiting};

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
    let route = Route::Organization(zoid);
    rights::form(&actor, route, Forms::AdminOnly, Operation::Read, Some(Verb::Read), Names::NOBODY)?;
    let missing = || Error::NotFound(format!("there is no change {change} in this organization"));
    let receipt = of(app, &mut tx, zoid, change).await?.ok_or_else(missing)?;
    if rights::help_desk(&actor).is_some() {
        // Of the organization's own matters, and of people outside its domains, it learns nothing here.
        for entry in &receipt.entries {
            let person = entry.person.ok_or_else(missing)?;
            let account = store::accounts::load(&mut tx, zoid, Handle::User(person)).await?;
            rights::may_see(&actor, &account.ok_or_else(missing)?)?;
        }
    }
    Ok(receipt)
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
    let Some(first) = entries.first() else { return Ok(None) };
    if says_lost(first) {
        return Err(Error::NotFound(format!(
            "the change {change} was never stored: the connection to the database was lost before, and nothing was \
             changed; send it again"
        )));
    }
    let waiting = store::outbox::of_change(tx, zoid, change).await?;
    let part = |effect: &Result<Waiting, Unreadable>| match effect {
        Ok(effect) => part(app, effect),
        Err(unreadable) => Part {
            effect: "unknown",
            target: unreadable.target.clone(),
            state: if unreadable.waits { State::Pending } else { State::NotConfigured },
            what: unreadable.outcome.clone().unwrap_or_default(),
            at: unreadable.done_at,
            sessions: None,
        },
    };
    let mut effects: Vec<Part> = waiting.iter().map(part).collect();
    let projected = waiting.iter().filter_map(|effect| effect.as_ref().ok());
    let projected: Vec<&Waiting> = projected.filter(|effect| effect.effect == Effect::Project).collect();
    if !projected.is_empty() {
        for status in store::mail_agents::statuses_for(tx, zoid).await? {
            effects.push(on_host(app, &projected, status));
        }
    }
    Ok(Some(Receipt { change, organization: zoid, entries, effects }))
}

fn part(app: &App, effect: &Waiting) -> Part {
    let outcome = effect.outcome.clone().unwrap_or_default();
    let done = effect.due_at.is_none();
    let (state, what, sessions) = match &effect.effect {
        Effect::Project => {
            let (_, words) = app.projector.reached();
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
            let what = match (done, &progress.error) {
                (false, Some(error)) => format!("not yet: {error}"),
                (true, _) if progress.sweeps == 0 => outcome,
                (true | false, _) => {
                    format!("{} sessions ended in {} sweeps", progress.ended, progress.sweeps)
                }
            };
            (state, what, Some(progress.ended))
        }
        Effect::Tell { .. } | Effect::Write { .. } => {
            let state = match (done, outcome.starts_with(TOLD)) {
                (false, _) => State::Pending,
                (true, true) => State::Applied,
                (true, false) => State::NotConfigured,
            };
            (state, notices::in_words(&outcome), None)
        }
    };
    let target = match effect.target.as_str() {
        PERSON => "the person".to_owned(),
        // The look-ups have their own name here, too.
        server => server.to_owned(),
    };
    Part { effect: effect.effect.name(), target, state, what, at: effect.done_at, sessions }
}

/// Whether the files of a host with an agent show a change.
fn on_host(app: &App, projected: &[&Waiting], status: AgentStatus) -> Part {
    let number = |effect: &&Waiting| effect.number(app.db.engine());
    let shown = status.seen.as_ref().is_some_and(|seen| projected.iter().map(number).all(|n| seen.holds(n)));
    let heard = status.heard_at.map_or_else(
        || "nothing was ever heard of it".to_owned(),
        |at| format!("last heard of {} seconds ago", (app.clock.now() - at).max(0) / SECOND),
    );
    let (state, what) = match (shown, status.seen) {
        (true, _) => (State::Applied, "the look-up files of the mail host hold it".to_owned()),
        (false, Some(seen)) => {
            let wanted = projected.iter().map(number).max().unwrap_or_default();
            let position = seen.position();
            let what = format!("the mail host {} is at {position} and not at {wanted}; {heard}", status.name);
            (State::Pending, what)
        }
        (false, None) => {
            (State::Pending, format!("the mail host {} has no look-ups yet; {heard}", status.name))
        }
    };
    Part { effect: Effect::Project.name(), target: status.name, state, what, at: None, sessions: None }
}

fn projected(words: &str) -> State {
    if words == NO_FILES { State::NotConfigured } else { State::Applied }
}
