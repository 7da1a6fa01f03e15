//! What is written down of every change and refusal: the audit entry in its canonical form
//! (docs/audit.md). No entry holds a secret.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::app::App;
use crate::app::call::{Context, RELEASE_HEADER, authenticate};
use crate::clock::{MINUTE, Millis};
use crate::domain::account::{Account, Difference};
use crate::domain::actor::{Actor, Who};
use crate::domain::email_address::EmailAddress;
use crate::domain::ids::{ChangeId, OrganizationId, UserId};
use crate::error::{Error, Result};
use crate::store;
use crate::store::accounts::Handle;
use crate::store::audit::{AuditRow, Refusal};
use crate::store::engine::Tx;
use crate::store::mail_agents::EVERY_DOMAIN;

/// The version of the canonical form.
const VERSION: u32 = 1;

/// What the entries of one change have in common, as far as it is known before the change is made.
#[derive(Debug, Clone, Copy)]
pub struct Stamp {
    pub change: ChangeId,
    pub verb: &'static str,
    pub at: Millis,
}

impl Stamp {
    /// That of a change that begins now. A dry run uses up no id.
    ///
    /// # Errors
    /// When the database gives out no ids.
    pub async fn new(app: &App, context: &Context, verb: &'static str) -> Result<Self> {
        Ok(Self { change: context.id(app).await?, verb, at: app.clock.now() })
    }
}

/// One entry before it is written.
pub struct Entry<'a> {
    pub stamp: Stamp,
    pub organization: OrganizationId,
    /// Counts the entries of the change.
    pub step: i64,
    pub actor: &'a Actor,
    pub context: &'a Context,
    pub target: Option<&'a Account>,
    pub differences: Vec<Difference>,
    pub notes: BTreeMap<&'static str, String>,
}

impl<'a> Entry<'a> {
    /// The first entry of a change, which names no account and says nothing further.
    pub fn new(stamp: Stamp, organization: OrganizationId, actor: &'a Actor, context: &'a Context) -> Self {
        let (differences, notes) = (Vec::new(), BTreeMap::new());
        Self { stamp, organization, step: 0, actor, context, target: None, differences, notes }
    }
}

/// Writes an entry in the running transaction.
pub fn write(tx: &mut Tx, entry: &Entry<'_>) -> Result<()> {
    let Stamp { change, verb, at } = entry.stamp;
    let mut text = common(entry.actor, entry.context, verb, entry.organization, at);
    text.insert("outcome".into(), json!("changed"));
    text.insert("change".into(), json!(change.to_string()));
    text.insert("step".into(), json!(entry.step));
    if let Some(account) = entry.target {
        text.insert(
            "target".into(),
            json!({
                "zuid": account.user.to_string(),
                "accountId": account.id.to_string(),
                "address": account.primary.as_str(),
            }),
        );
    }
    text.insert("differences".into(), json!(entry.differences));
    if !entry.notes.is_empty() {
        text.insert("notes".into(), json!(entry.notes));
    }
    let row = AuditRow {
        organization: entry.organization,
        id: change,
        step: entry.step,
        at,
        actor: entry.actor.who().to_string(),
        verb: verb.to_owned(),
        person: entry.target.map(|account| account.user),
        entry: canonical(text)?,
    };
    store::audit::insert(tx, &row)
}

/// Writes an entry without an account into the log of every organization: the host's operator did
/// something that concerns them all. Of `domains` each log tells its own: whose the others are, is for the operator
/// alone to know.
pub async fn everywhere(
    tx: &mut Tx,
    context: &Context,
    verb: &'static str,
    notes: &BTreeMap<&'static str, String>,
    now: Millis,
) -> Result<()> {
    let actor = authenticate(tx, &context.caller, now).await?;
    for organization in store::organizations::all(tx).await? {
        let number = store::ids::take::<ChangeId>(tx, 1).await?;
        let change =
            ChangeId::new(number).ok_or_else(|| Error::internal(format!("{number} is no changeId")))?;
        let stamp = Stamp { change, verb, at: now };
        let entry = Entry {
            notes: as_told_to(tx, organization.id, notes).await?,
            ..Entry::new(stamp, organization.id, &actor, context)
        };
        write(tx, &entry)?;
    }
    Ok(())
}

async fn as_told_to(
    tx: &mut Tx,
    organization: OrganizationId,
    notes: &BTreeMap<&'static str, String>,
) -> Result<BTreeMap<&'static str, String>> {
    let mut notes = notes.clone();
    if let Some(domains) = notes.get_mut("domains") {
        let own = store::organizations::domains(tx, organization).await?;
        let told =
            |name: &&str| *name == EVERY_DOMAIN || own.iter().any(|domain| domain.name.as_str() == *name);
        *domains = domains.split(' ').filter(told).collect::<Vec<_>>().join(" ");
    }
    Ok(notes)
}

/// What every entry says. Ids are strings, so that no reader loses digits.
pub(super) fn common(
    actor: &Actor,
    context: &Context,
    verb: &str,
    organization: OrganizationId,
    at: Millis,
) -> Map<String, Value> {
    let who = match actor.who() {
        Who::User(user) => json!({"kind": "user", "zuid": user.to_string(), "rank": actor.rank()}),
        Who::Operator(name) => json!({"kind": "operator", "name": name}),
        Who::Clock => json!({"kind": "clock"}),
    };
    let mut text = Map::new();
    text.insert("v".into(), json!(VERSION));
    text.insert("organization".into(), json!(organization.to_string()));
    text.insert("at".into(), json!(at));
    text.insert("actor".into(), who);
    text.insert("door".into(), json!(context.door.as_str()));
    text.insert("verb".into(), json!(verb));
    text.insert("request".into(), json!(context.request_id));
    if let Actor::User(signed) = actor
        && let Some(client) = &signed.client
    {
        text.insert("client".into(), json!(client));
    }
    if let Some(source) = context.source {
        text.insert("source".into(), json!(source.to_string()));
    }
    if let Some(reason) = &context.reason {
        text.insert("reason".into(), json!(reason.as_str()));
    }
    text
}

/// RFC 8785 for what entries are made of (strings, integers, arrays, objects): keys sorted, no space.
pub(super) fn canonical(text: Map<String, Value>) -> Result<String> {
    serde_json::to_string(&Value::Object(text))
        .map_err(|error| Error::caused("writing an audit entry", error))
}

/// Counts a refusal, where the caller is known. `place` is the organization that the call was sent to:
/// an operator has none of its own. Failing to count is logged and changes no answer.
pub async fn refused(
    app: &App,
    context: &Context,
    verb: &str,
    place: Option<OrganizationId>,
    target: &str,
    error: &Error,
) {
    let Some(why) = worth_noting(error).filter(|_| !context.dry_run) else { return };
    if let Err(failure) = count_refusal(app, context, verb, place, target, why).await {
        tracing::warn!(error = %failure, request = context.request_id, "a refusal could not be counted");
    }
}

async fn count_refusal(
    app: &App,
    context: &Context,
    verb: &str,
    place: Option<OrganizationId>,
    target: &str,
    why: String,
) -> Result<()> {
    let now = app.clock.now();
    let (actor, organization, person) = {
        let mut tx = app.db.read().await?;
        let actor = match authenticate(&mut tx, &context.caller, now).await {
            Ok(actor) => actor,
            Err(Error::BadToken) => return Ok(()),
            Err(other) => return Err(other),
        };
        let organization = match (&actor, place) {
            (Actor::User(signed), _) => signed.organization,
            (Actor::Operator { .. }, Some(place)) => place,
            // What the clock may not do is tried again; that is no refusal of anybody.
            (Actor::Operator { .. }, None) | (Actor::Clock, _) => return Ok(()),
        };
        if store::organizations::load(&mut tx, organization).await?.is_none() {
            return Ok(());
        }
        let person = person_named(&mut tx, organization, target).await?;
        (actor, organization, person)
    };
    let mut text = common(&actor, context, verb, organization, now);
    text.insert("outcome".into(), json!("refused"));
    text.insert("named".into(), json!(target));
    text.insert("why".into(), json!(why));
    if let Some(person) = person {
        text.insert("person".into(), json!(person.to_string()));
    }
    let refusal = Refusal {
        organization,
        minute: now / MINUTE,
        actor: actor.who().to_string(),
        verb: verb.to_owned(),
        target: target.to_owned(),
        person,
        refusals: 1,
        entry: canonical(text)?,
    };
    app.db.write(async move |tx| store::audit::count_refusal(tx, &refusal).await).await
}

/// Whom a refused call named, by a zuid, an accountId or an address, where it is somebody here.
async fn person_named(tx: &mut Tx, organization: OrganizationId, named: &str) -> Result<Option<UserId>> {
    let handle = match named.parse::<i64>() {
        Ok(number) => Handle::of(number),
        Err(_) => match EmailAddress::parse(named) {
            Ok(address) => store::addresses::handle_of(tx, organization, &address).await?,
            Err(_) => None,
        },
    };
    let Some(handle) = handle else { return Ok(None) };
    Ok(store::accounts::load(tx, organization, handle).await?.map(|account| account.user))
}

/// Refusals of a rule are noted, and wrong passwords: who holds a token may have stolen it. Malformed requests and
/// failures of ours are not.
fn worth_noting(error: &Error) -> Option<String> {
    match error {
        Error::MissingScope
        | Error::NotFound(_)
        | Error::Forbidden(_)
        | Error::Refused(_)
        | Error::AddressTaken(_)
        | Error::BadAddress(_)
        | Error::BadPassword(_)
        | Error::BadCredentials
        | Error::TooMany { .. } => Some(error.to_string()),
        // In the words of the API, whatever door it was.
        Error::AddressKept { .. } => Some(format!("{error} with {RELEASE_HEADER}")),
        Error::NoCredentials
        | Error::BadToken
        | Error::Grant(_)
        | Error::NoRoute(_)
        | Error::WrongMethod(_)
        | Error::Malformed(_)
        | Error::KeyReused
        | Error::AnswerNotKept(_)
        | Error::Unavailable { .. }
        | Error::ReadOnly
        | Error::Unconfirmed { .. }
        | Error::Again
        | Error::Stale
        | Error::Unique(_)
        | Error::Internal(_) => None,
    }
}

/// Turns the refusals of finished minutes into entries; answers how many.
pub async fn fold_refusals(app: &App) -> Result<usize> {
    const AT_ONCE: i64 = 500;
    let minute = app.clock.now() / MINUTE;
    let mut folded = 0;
    loop {
        let change: ChangeId = app.ids.next().await?;
        let some = app.db.write(async move |tx| fold_some(tx, change, minute, AT_ONCE).await).await?;
        folded += some;
        if i64::try_from(some).unwrap_or(AT_ONCE) < AT_ONCE {
            return Ok(folded);
        }
    }
}

async fn fold_some(tx: &mut Tx, change: ChangeId, minute: i64, most: i64) -> Result<usize> {
    let finished = store::audit::take_finished_refusals(tx, minute, most).await?;
    for (step, refusal) in finished.iter().enumerate() {
        let mut text: Map<String, Value> = serde_json::from_str(&refusal.entry)
            .map_err(|error| Error::caused("reading a counted refusal", error))?;
        text.insert("count".into(), json!(refusal.refusals));
        text.insert("change".into(), json!(change.to_string()));
        text.insert("step".into(), json!(step));
        let row = AuditRow {
            organization: refusal.organization,
            id: change,
            step: i64::try_from(step).unwrap_or(i64::MAX),
            at: text.get("at").and_then(Value::as_i64).unwrap_or(refusal.minute * MINUTE),
            actor: refusal.actor.clone(),
            verb: refusal.verb.clone(),
            person: refusal.person,
            entry: canonical(text)?,
        };
        store::audit::insert(tx, &row)?;
    }
    Ok(finished.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_says_of_an_address_that_is_kept_how_it_is_released() {
        let kept = Error::AddressKept { address: "mia@zylker.example".to_owned(), days: 3 };
        assert_eq!(
            worth_noting(&kept).as_deref(),
            Some(
                "mia@zylker.example belonged to somebody else and is kept for them for 3 more days; \
                 a super administrator can release it with the header X-Mailward-Release-Address: reason"
            )
        );
    }
}
