//! The one path by which an account changes (DESIGN.md §4): slow preparation, then one
//! transaction that loads, authorises, makes the pure transition, saves, audits and writes the
//! effects, then the commit. Every door and every mode comes through here.

use std::collections::BTreeMap;
use std::net::IpAddr;

use crate::app::App;
use crate::app::accounts::{AccountMode, TargetName};
use crate::app::journal::{self, Entry, Outcome};
use crate::clock::{DAY, Millis};
use crate::domain::account::{Account, Facts, NewPassword, Transition};
use crate::domain::actor::{Actor, Role};
use crate::domain::effect::Effect;
use crate::domain::ids::{ChangeId, OrganizationId, no_such_account};
use crate::domain::password::{PasswordHash, PasswordKind};
use crate::domain::rights::{self, Form, Names, Route};
use crate::domain::switch::{Hand, Reason};
use crate::error::{Error, Result};
use crate::store;
use crate::store::accounts::Handle;
use crate::store::engine::Tx;
use crate::store::organizations::Organization;
use crate::store::outbox::Origin;
use crate::store::tokens::Fingerprint;

/// The door a call came through, for the audit log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Door {
    Api,
    CommandLine,
    SelfService,
    Clock,
}

impl Door {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Api => "api",
            Self::CommandLine => "command line",
            Self::SelfService => "self-service",
            Self::Clock => "clock",
        }
    }
}

/// A credential as it was presented; checked again in the transaction that acts on it.
#[derive(Clone)]
pub enum Caller {
    Token(Fingerprint),
    /// Somebody at the host's command line; the host has let them in.
    Operator {
        os_user: String,
    },
    /// Mailward itself, when a term ends.
    Clock,
}

/// What every door says about a call.
#[derive(Clone)]
pub struct Context {
    pub caller: Caller,
    pub door: Door,
    pub request_id: String,
    pub source: Option<IpAddr>,
    /// Why, in the caller's words.
    pub reason: Option<Reason>,
    /// Why a protected address is to be given out.
    pub release: Option<Reason>,
}

/// One call on accounts: where it was sent, whom it names, what it asks.
#[derive(Clone)]
pub struct Ask {
    pub route: Route,
    /// The id in the path.
    pub path: Option<i64>,
    /// The `zuid` in the body.
    pub zuid: Option<i64>,
    pub mode: AccountMode,
}

/// What an accepted call did.
#[derive(Debug, Clone)]
pub struct Done {
    /// `None` when the asked state held already and nothing was stored.
    pub change: Option<ChangeId>,
    /// The change's place in the order of what was committed.
    pub position: Option<i64>,
    /// The accounts as they are now.
    pub accounts: Vec<Account>,
}

/// What the configuration says that bears on a change.
#[derive(Debug, Clone, Copy)]
pub struct Rules {
    /// Separates a mailbox from a detail (`user+tag`).
    pub delimiter: char,
    /// An administrator's body must name the user (`compat.strict`).
    pub zuid_demanded: bool,
    /// For how long the mail of a deleted user is to be kept.
    pub mail_kept: Millis,
}

impl Rules {
    pub fn of(app: &App) -> Self {
        Self {
            delimiter: app.config.addresses.recipient_delimiter,
            zuid_demanded: app.config.compat.strict,
            mail_kept: app.config.mail.retention_days.saturating_mul(DAY),
        }
    }
}

/// What was prepared outside the transaction.
#[derive(Debug, Clone, Default)]
pub struct Prepared {
    pub password: Option<NewPassword>,
}

impl Prepared {
    /// Stands for a hash that is not made yet, to try a whole change before the work is done.
    pub fn rehearsal(kind: PasswordKind) -> Self {
        let hash = PasswordHash::parse(
            "$argon2id$v=19$m=8,t=1,p=1$cmVoZWFyc2Fs$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
        )
        .expect("a constant in the form of a hash");
        Self { password: Some(NewPassword { hash, kind }) }
    }
}

/// One account's part of a change, ready to be stored.
pub struct Step {
    pub before: Account,
    pub after: Account,
    pub effects: Vec<Effect>,
    pub notes: BTreeMap<&'static str, String>,
}

/// Everything a change will do, before anything is stored.
pub struct Plan {
    pub actor: Actor,
    pub form: Form,
    pub organization: Organization,
    pub steps: Vec<Step>,
}

/// Carries out one call.
///
/// # Errors
/// Every refusal of DESIGN.md §5; after an error nothing was changed.
pub async fn run(app: &App, context: &Context, ask: Ask) -> Result<Done> {
    let outcome = attempt(app, context, &ask).await;
    if let Err(error) = &outcome {
        let target = ask.mode.targets().first().map(ToString::to_string);
        let named = target.or_else(|| ask.zuid.or(ask.path).map(|number| number.to_string()));
        journal::refused(app, context, ask.mode.info().name, &named.unwrap_or_default(), error).await;
    }
    outcome
}

async fn attempt(app: &App, context: &Context, ask: &Ask) -> Result<Done> {
    let prepared = prepare(app, context, ask).await?;
    let change: ChangeId = app.ids.next().await?;
    let now = app.clock.now();
    let rules = Rules::of(app);
    let (context, ask) = (context.clone(), ask.clone());
    let done = app
        .db
        .write(async move |tx| {
            let plan = plan(tx, &context, &ask, &prepared, rules, now).await?;
            store_plan(tx, &context, ask.mode.info().name, plan, change, rules, now).await
        })
        .await?;
    if let Some(position) = done.position {
        follow_up(app, position).await;
    }
    Ok(done)
}

/// Hashes the password of a call that has one, after a rehearsal of the whole change on a
/// snapshot: a call that would be refused costs no hash.
async fn prepare(app: &App, context: &Context, ask: &Ask) -> Result<Prepared> {
    let Some((password, kind)) = ask.mode.password() else { return Ok(Prepared::default()) };
    let rehearsed = Prepared::rehearsal(kind);
    let plan = {
        let mut snapshot = app.db.snapshot().await?;
        plan(&mut snapshot, context, ask, &rehearsed, Rules::of(app), app.clock.now()).await?
    };
    let policy = &plan.organization.policy.password;
    for step in &plan.steps {
        policy.check(password, kind, &step.before.personal_words())?;
        if policy.history > 0 && kind == PasswordKind::Permanent {
            // The current one, and as many former ones as the policy says.
            let former = usize::try_from(policy.history).unwrap_or(usize::MAX);
            let credential = &step.before.credential;
            for hash in credential.hash.iter().chain(credential.history.iter().take(former)) {
                if app.hasher.verify(password, hash).await? {
                    return Err(Error::BadPassword(
                        "Password present in the password history; choose another one".to_owned(),
                    ));
                }
            }
        }
    }
    let hash = app.hasher.hash(password, app.random.salt()).await?;
    Ok(Prepared { password: Some(NewPassword { hash, kind }) })
}

/// Who the caller is at this moment.
///
/// # Errors
/// `BadToken`.
pub async fn authenticate(tx: &mut Tx, caller: &Caller, now: Millis) -> Result<Actor> {
    match caller {
        Caller::Token(hash) => {
            let (signed, _) = store::tokens::holder(tx, hash, now).await?.ok_or(Error::BadToken)?;
            Ok(Actor::User(signed))
        }
        Caller::Operator { os_user } => Ok(Actor::Operator { os_user: os_user.clone() }),
        Caller::Clock => Ok(Actor::Clock),
    }
}

/// Loads, authorises and makes the transitions, without storing anything.
pub async fn plan(
    tx: &mut Tx,
    context: &Context,
    ask: &Ask,
    prepared: &Prepared,
    rules: Rules,
    now: Millis,
) -> Result<Plan> {
    let actor = authenticate(tx, &context.caller, now).await?;
    let info = ask.mode.info();
    let form = rights::form(&actor, ask.route, info.forms, info.operation, names(&actor, ask))?;
    let organization = organization_of(tx, &actor, ask.route).await?;
    let befores = targets(tx, &actor, form, organization.id, ask, rules).await?;
    let claims = store::addresses::facts(tx, organization.id, &ask.mode.claims()).await?;
    let mut facts = Facts {
        policy: organization.policy.clone(),
        delimiter: rules.delimiter,
        addresses: claims,
        other_super_admins: 0,
    };
    let mut steps = Vec::with_capacity(befores.len());
    let mut gone_super_admins = 0;
    for before in befores {
        if before.role == Role::SuperAdmin {
            let others = store::accounts::other_super_admins(tx, organization.id, before.user).await?;
            facts.other_super_admins = others - gone_super_admins;
        }
        let step = step(&actor, context, &ask.mode, prepared, &facts, before, now)?;
        let (before, after) = (&step.before, &step.after);
        let was = before.role == Role::SuperAdmin && before.switches.user_disabled.is_none();
        let is = after.role == Role::SuperAdmin && after.switches.user_disabled.is_none() && !after.deleted;
        gone_super_admins += i64::from(was && !is);
        steps.push(step);
    }
    Ok(Plan { actor, form, organization, steps })
}

/// Decides about one account, and makes its transition. Pure.
///
/// # Errors
/// Rank, and what the mode refuses.
pub fn step(
    actor: &Actor,
    context: &Context,
    mode: &AccountMode,
    prepared: &Prepared,
    facts: &Facts,
    before: Account,
    now: Millis,
) -> Result<Step> {
    rights::may_write(actor, before.user, before.role)?;
    if let Some(role) = mode.new_role() {
        rights::may_grant(actor, Some(before.role), role)?;
    }
    let hand = Hand {
        who: actor.who(),
        rank: actor.rank_over(before.role),
        own: actor.is(before.user),
        at: now,
        reason: context.reason.clone(),
    };
    let mut transition = Transition::new(before.clone(), facts, hand, context.release.as_ref());
    mode.apply(&mut transition, prepared)?;
    let Transition { account: after, effects, notes, .. } = transition;
    Ok(Step { before, after, effects, notes })
}

/// Whom the path and the body name, as seen from the caller.
pub fn names(actor: &Actor, ask: &Ask) -> Names {
    let Actor::User(caller) = actor else {
        return Names { path: ask.path, own_path: false, own_zuid: false };
    };
    let own = |number: i64| number == caller.user.get() || number == caller.account.get();
    Names {
        path: ask.path,
        own_path: match ask.route {
            Route::Own => ask.path == Some(caller.account.get()),
            Route::Organization(_) => ask.path.or(ask.zuid).is_some_and(own),
        },
        own_zuid: ask.zuid.is_none_or(|zuid| zuid == caller.user.get()),
    }
}

async fn organization_of(tx: &mut Tx, actor: &Actor, route: Route) -> Result<Organization> {
    let zoid = match (route, actor) {
        (Route::Organization(zoid), _) => zoid,
        (Route::Own, Actor::User(caller)) => caller.organization,
        (Route::Own, Actor::Operator { .. } | Actor::Clock) => {
            return Err(Error::NotFound("name the organization".to_owned()));
        }
    };
    store::organizations::load(tx, zoid)
        .await?
        .ok_or_else(|| Error::NotFound(format!("Organization id {zoid} is invalid")))
}

/// The accounts a call is about, as they are now.
async fn targets(
    tx: &mut Tx,
    actor: &Actor,
    form: Form,
    organization: OrganizationId,
    ask: &Ask,
    rules: Rules,
) -> Result<Vec<Account>> {
    let listed = ask.mode.targets();
    if !listed.is_empty() {
        let mut accounts: Vec<Account> = Vec::with_capacity(listed.len());
        for name in listed {
            let account = resolve(tx, organization, name).await?;
            if !accounts.iter().any(|known| known.id == account.id) {
                accounts.push(account);
            }
        }
        // Who is named beside the list must be on it: nobody else is meant.
        for number in [ask.path, ask.zuid].into_iter().flatten() {
            let beside = load_number(tx, organization, number).await?;
            if !accounts.iter().any(|listed| listed.id == beside.id) {
                return Err(Error::Refused(format!(
                    "{number} is not on the list in the body; name the same users in both"
                )));
            }
        }
        return Ok(accounts);
    }
    if let (Form::Own, Actor::User(caller)) = (form, actor) {
        let own = store::accounts::load(tx, organization, Handle::User(caller.user)).await?;
        return Ok(vec![own.ok_or(Error::BadToken)?]);
    }
    let by_zuid = match ask.zuid {
        Some(zuid) => match Handle::of(zuid) {
            Some(Handle::User(user)) => Some(load(tx, organization, Handle::User(user), zuid).await?),
            Some(Handle::Account(_)) | None => return Err(no_such_zuid(zuid)),
        },
        None => None,
    };
    match (by_zuid, ask.path) {
        (Some(account), None) => Ok(vec![account]),
        (Some(account), Some(path)) if path == account.user.get() || path == account.id.get() => {
            Ok(vec![account])
        }
        (Some(_), Some(path)) => {
            load_number(tx, organization, path).await?;
            Err(Error::Refused(
                "path and body name different users; send the same user's zuid in both".to_owned(),
            ))
        }
        (None, Some(path)) if !rules.zuid_demanded => Ok(vec![load_number(tx, organization, path).await?]),
        (None, Some(_) | None) => Err(Error::Refused("zuid is null".to_owned())),
    }
}

async fn resolve(tx: &mut Tx, organization: OrganizationId, name: &TargetName) -> Result<Account> {
    match name {
        TargetName::Number(number) => load_number(tx, organization, *number).await,
        TargetName::Address(address) => {
            let missing =
                || Error::NotFound(format!("no user of this organization has the address {address}"));
            let (owner, account) = store::addresses::account_of(tx, address).await?.ok_or_else(missing)?;
            if owner != organization {
                return Err(missing());
            }
            store::accounts::load(tx, organization, Handle::Account(account)).await?.ok_or_else(missing)
        }
    }
}

async fn load_number(tx: &mut Tx, organization: OrganizationId, number: i64) -> Result<Account> {
    let handle = Handle::of(number).ok_or_else(|| no_such_account(number))?;
    load(tx, organization, handle, number).await
}

async fn load(tx: &mut Tx, organization: OrganizationId, handle: Handle, number: i64) -> Result<Account> {
    store::accounts::load(tx, organization, handle).await?.ok_or_else(|| no_such_account(number))
}

fn no_such_zuid(number: i64) -> Error {
    match no_such_account(number) {
        Error::NotFound(text) => Error::NotFound(text.replacen("Account id", "zuid", 1)),
        other => other,
    }
}

/// Stores a plan: accounts, audit entries and effects, in the running transaction.
pub async fn store_plan(
    tx: &mut Tx,
    context: &Context,
    verb: &str,
    plan: Plan,
    change: ChangeId,
    rules: Rules,
    now: Millis,
) -> Result<Done> {
    let kept = plan.organization.policy.address_kept();
    let mut position = None;
    let mut accounts = Vec::with_capacity(plan.steps.len());
    for (number, step) in plan.steps.into_iter().enumerate() {
        let Step { before, mut after, effects, notes } = step;
        if before == after && effects.is_empty() {
            accounts.push(after);
            continue;
        }
        if after.deleted {
            store::accounts::delete(tx, &before, now, kept, rules.mail_kept).await?;
        } else {
            store::accounts::save(tx, &before, &after, now, kept).await?;
            after.version += 1;
        }
        let entry = Entry {
            organization: before.organization,
            change,
            step: i64::try_from(number).unwrap_or(i64::MAX),
            at: now,
            actor: &plan.actor,
            context,
            verb,
            target: Some(&before),
            outcome: Outcome::Changed {
                differences: crate::domain::account::differences(&before, &after),
                notes,
            },
        };
        journal::write(tx, &entry).await?;
        position = Some(enqueue(tx, &after, change, &effects, now).await?);
        accounts.push(after);
    }
    Ok(Done { change: position.map(|_| change), position, accounts })
}

/// Writes the effects of a change to the outbox; the projection comes first. Answers its position.
pub async fn enqueue(
    tx: &mut Tx,
    account: &Account,
    change: ChangeId,
    effects: &[Effect],
    now: Millis,
) -> Result<i64> {
    let origin = Origin { change, organization: account.organization, account: Some(account.id), at: now };
    let position = store::outbox::project(tx, origin).await?;
    for effect in effects {
        match effect {
            Effect::EndSessions { .. } | Effect::Reconcile => {
                store::outbox::for_mail_servers(tx, origin, effect).await?;
            }
            Effect::Tell { .. } => store::outbox::for_person(tx, origin, effect).await?,
            Effect::Project => {}
        }
    }
    Ok(position)
}

/// What follows a commit: the look-ups are waited for, the worker is woken.
pub async fn follow_up(app: &App, position: i64) {
    app.projector.reach(&app.db, position).await;
    app.wake_worker.notify_waiters();
}
