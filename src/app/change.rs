//! The one path by which an account changes (ARCHITECTURE.md, "The order of a change"): slow preparation, then one
//! transaction that loads, authorises, makes the pure transition (`plan`), saves, audits and writes the
//! effects, then the commit. Every door and every mode comes through here. What is no account changes in `record`.

pub mod plan;
pub mod record;

use std::collections::BTreeMap;

use tokio::sync::OwnedMutexGuard;

use crate::app::App;
use crate::app::accounts::AccountMode;
use crate::app::call::{Caller, Context, known};
use crate::app::change::plan::{About, Plan, Step, plan, prefetch};
use crate::app::confirmed;
use crate::app::forecast::{Counted, Forecast, OnAccount, look_at_servers};
use crate::app::journal::{self, Entry, Stamp};
use crate::app::mail::projector::{Fresh, NEWEST};
use crate::app::once::Claim;
use crate::app::password::Candidate;
use crate::app::{compromise, password, verifier, web_sessions};
use crate::clock::{DAY, Millis};
use crate::crash::{self, Point};
use crate::domain::account::{Account, Credential, NewPassword, differences};
use crate::domain::actor::Rank;
use crate::domain::effect::Effect;
use crate::domain::ids::{ChangeId, OrganizationId};
use crate::domain::password::PasswordKind;
use crate::domain::rights::Route;
use crate::error::{Error, Malformed, Result};
use crate::store;
use crate::store::engine::{Later, Tx};
use crate::store::live::Moment;
use crate::store::outbox::Origin;

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
#[derive(Debug, Clone, Default)]
pub struct Done {
    /// `None` when the asked state held already and nothing was stored.
    pub change: Option<ChangeId>,
    /// The organization whose audit log has the entries.
    pub organization: Option<OrganizationId>,
    /// The change's place in the order of what was committed.
    pub position: Option<Later<i64>>,
    /// The accounts as the look-up files are to show them, where there are any.
    pub look_ups: Vec<Fresh>,
    /// The accounts as they are now; after a dry run, as they would be.
    pub accounts: Vec<Account>,
    /// What would happen; `Some` exactly after a dry run.
    pub forecast: Option<Forecast>,
    /// What a call with an idempotency key is answered, each time it is asked, unless it carries a
    /// secret; the door wrote it.
    pub answer: Option<String>,
    /// The call had been made before; this time nothing was.
    pub repeated: bool,
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
    /// After so long without use a web session has ended.
    pub idle: Millis,
    /// There are look-up files to be written.
    pub look_ups: bool,
}

impl Rules {
    pub fn of(app: &App) -> Self {
        Self {
            delimiter: app.config.addresses.recipient_delimiter,
            zuid_demanded: app.config.compat.strict,
            mail_kept: app.config.mail.retention_days.saturating_mul(DAY),
            idle: web_sessions::idle(app),
            look_ups: app.projector.wants_states(),
        }
    }

    /// What is counted as working at a moment.
    pub fn moment(self, now: Millis) -> Moment {
        Moment { now, idle_since: now - self.idle }
    }
}

/// What was prepared outside the transaction.
#[derive(Debug, Clone, Default)]
pub struct Prepared {
    pub password: Option<NewPassword>,
    pub proof: Proof,
    /// How it was counted, where it was compared with what is or was in use.
    pub(super) candidate: Option<Candidate>,
}

/// Whether the caller proved to be the person, beyond the credential of the call. Tokens can be
/// stolen, and must not make what outlives them.
#[derive(Debug, Clone, Default)]
pub enum Proof {
    #[default]
    Missing,
    /// To try a whole change before the proof is looked at.
    Assumed,
    /// With this credential, which must still be the account's.
    Of(Credential),
}

impl Proof {
    /// # Errors
    /// `BadCredentials` without a proof, and when the password was changed since.
    pub fn holds(&self, account: &Account) -> Result<()> {
        match self {
            Self::Assumed => Ok(()),
            Self::Of(credential) if *credential == account.credential => Ok(()),
            Self::Of(_) | Self::Missing => Err(Error::BadCredentials),
        }
    }
}

impl Prepared {
    /// The hashed password of a mode that has one.
    ///
    /// # Errors
    /// `Internal` where none was prepared.
    pub fn new_password(&self) -> Result<NewPassword> {
        self.password.clone().ok_or_else(|| Error::internal("the password was not prepared"))
    }

    /// With a password that is not hashed yet.
    pub fn rehearsal(kind: PasswordKind) -> Self {
        Self { password: Some(NewPassword::rehearsed(kind)), ..Self::default() }
    }
}

/// Carries out one call; in a dry run, says what it would do.
///
/// # Errors
/// `BadToken`; what rights, rules and the mode refuse; `Unavailable`: after these nothing was changed.
/// `Unconfirmed`: it was made, or it was not.
pub async fn run(app: &App, context: &Context, ask: Ask) -> Result<Done> {
    let about = About::default();
    let outcome = attempt(app, context, &ask, &about).await;
    app.metrics.changed(ask.mode.info().name, &outcome);
    if let Err(error) = &outcome {
        if let Error::BadToken = error {
            app.acquainted.forget(&context.caller);
        }
        let target = about.whom().or_else(|| ask.mode.targets().first().cloned());
        let target = target.map(|name| name.to_string());
        let named = target.or_else(|| ask.zuid.or(ask.path).map(|number| number.to_string()));
        let place = match ask.route {
            Route::Organization(zoid) => Some(zoid),
            Route::Own => None,
        };
        let verb = ask.mode.info().name;
        crash::at(Point::Refusing);
        journal::refused(app, context, verb, place, &named.unwrap_or_default(), error).await;
        crash::at(Point::RefusalCounted);
    }
    outcome
}

/// What a call would do: for doors that show it first.
///
/// # Errors
/// What the call itself would be refused with.
pub async fn forecast(app: &App, context: &Context, ask: Ask) -> Result<Forecast> {
    let context = Context { dry_run: true, ..context.clone() };
    let done = run(app, &context, ask).await?;
    done.forecast.ok_or_else(|| Error::internal("a dry run without a forecast"))
}

async fn attempt(app: &App, context: &Context, ask: &Ask, about: &About) -> Result<Done> {
    let pass = match enter(app, context).await? {
        Entrance::Pass(pass) => pass,
        Entrance::MadeBefore(done) => return Ok(done),
    };
    crash::at(Point::Entered);
    let prepared = prepare(app, context, ask, about).await?;
    crash::at(Point::Prepared);
    let stamp = Stamp::new(app, context, ask.mode.info().name).await?;
    let rules = Rules::of(app);
    let (inner, ask, about) = (context.clone(), ask.clone(), about.clone());
    transact(app, context, pass, stamp, async move |tx| {
        crash::at(Point::Begun);
        prefetch(tx, &inner, &ask, stamp.at);
        let mut plan = plan(tx, &inner, &ask, &prepared, &about, rules, stamp.at).await?;
        crash::at(Point::Planned);
        if ask.mode.takes_back_ways_in() {
            let factors_too = plan.actor.rank() >= Rank::SuperAdmin;
            for step in &mut plan.steps {
                let (zoid, user) = (step.before.organization, step.before.user);
                step.notes.extend(compromise::take_back(tx, zoid, user, factors_too).await?);
            }
        }
        for step in plan.steps.iter().filter(|step| step.removes_factors()) {
            store::factors::remove_all(tx, step.before.organization, step.before.user).await?;
        }
        if let Some(candidate) = &prepared.candidate {
            candidate.take_back(tx).await?;
        }
        store_plan(tx, &inner, plan, stamp, rules).await
    })
    .await
}

/// Permission to run the transaction of a call: its credential was valid, and no earlier call has used its
/// idempotency key.
#[derive(Default)]
pub struct Pass {
    claim: Option<Claim>,
    /// Held until the call is over.
    _turn: Option<OwnedMutexGuard<()>>,
}

/// What there is to do for a call.
pub enum Entrance {
    Pass(Pass),
    /// Nothing: it was made before with the same idempotency key.
    MadeBefore(Done),
}

/// The way in: the credential, and whether the call was made before.
///
/// # Errors
/// `BadToken`; `KeyReused`, `AnswerNotKept`.
pub async fn enter(app: &App, context: &Context) -> Result<Entrance> {
    let Some(once) = context.once.as_ref().filter(|_| !context.dry_run) else {
        if !app.acquainted.with(&context.caller, app.clock.now()) {
            known(app, context).await?;
        }
        return Ok(Entrance::Pass(Pass::default()));
    };
    let actor = known(app, context).await?;
    let claim = once.claim(app, &actor);
    let turn = claim.turn(app).await;
    let made = claim.made(app, &mut *app.db.read().await?, app.clock.now()).await?;
    Ok(match made {
        Some(done) => Entrance::MadeBefore(done),
        None => Entrance::Pass(Pass { claim: Some(claim), _turn: Some(turn) }),
    })
}

/// The one transaction of a call and what follows it. A dry run runs the same body and undoes it; a
/// call with an idempotency key stores its answer beside its effect. The body writes the audit entry 0 of
/// the change that is stamped, or stores nothing and says so (`Done::change` is `None`).
pub async fn transact<F>(app: &App, context: &Context, pass: Pass, stamp: Stamp, body: F) -> Result<Done>
where
    F: AsyncFn(&mut Tx) -> Result<Done> + Send + 'static,
{
    if context.dry_run {
        let mut done = app.db.rehearse(body).await?;
        (done.change, done.position) = (None, None);
        if let Some(forecast) = &mut done.forecast {
            look_at_servers(app, done.organization, forecast).await?;
        }
        return Ok(done);
    }
    let done = match pass.claim.clone() {
        None => confirmed::write(app, context, stamp, body).await?,
        Some(claim) => {
            let (inner, now) = (app.clone(), app.clock.now());
            let once = async move |tx: &mut Tx| {
                if !claim.make(tx, now).await? {
                    let made = claim.made(&inner, tx, now).await?;
                    return made.ok_or_else(|| Error::internal("an idempotency key is held by nobody"));
                }
                let mut done = body(tx).await?;
                claim.keep(tx, &mut done)?;
                Ok(done)
            };
            confirmed::write(app, context, stamp, once).await?
        }
    };
    if let Some(position) = &done.position {
        follow_up(app, position, &done.look_ups).await;
    }
    crash::at(Point::Answering);
    Ok(done)
}

/// A call that needs no preparation: the way in, an id, and the one transaction. A refusal is counted with `place`, the
/// organization that the call was sent to, and `target`, whom or what it names.
///
/// # Errors
/// As [`enter`]; what the body refuses; `Unavailable`: after these nothing was changed. `Unconfirmed`: it was made, or
/// it was not.
pub async fn simple<F>(
    app: &App,
    context: &Context,
    verb: &'static str,
    place: Option<OrganizationId>,
    target: &str,
    body: F,
) -> Result<Done>
where
    F: AsyncFn(&mut Tx, Stamp) -> Result<Done> + Send + 'static,
{
    let attempt = async {
        let pass = match enter(app, context).await? {
            Entrance::Pass(pass) => pass,
            Entrance::MadeBefore(done) => return Ok(done),
        };
        let stamp = Stamp::new(app, context, verb).await?;
        transact(app, context, pass, stamp, async move |tx| body(tx, stamp).await).await
    };
    let outcome = attempt.await;
    if let Err(error) = &outcome {
        journal::refused(app, context, verb, place, target, error).await;
    }
    outcome
}

/// Hashes the password of a call that has one, after a rehearsal of the whole change on a
/// snapshot: a call that would be refused costs no hash, and a dry run costs none at all.
async fn prepare(app: &App, context: &Context, ask: &Ask, about: &About) -> Result<Prepared> {
    if ask.mode.demands_proof() {
        return Ok(Prepared { proof: prove(app, context, ask, about).await?, ..Prepared::default() });
    }
    let Some((password, kind)) = ask.mode.password() else { return Ok(Prepared::default()) };
    let rehearsed = Prepared::rehearsal(kind);
    let plan = {
        let mut snapshot = app.db.snapshot().await?;
        let now = app.clock.now();
        prefetch(&mut snapshot, context, ask, now);
        plan(&mut snapshot, context, ask, &rehearsed, about, Rules::of(app), now).await?
    };
    let policy = &plan.organization.policy.password;
    let mut candidate = None;
    for step in &plan.steps {
        policy.check(password, kind, &step.before.personal_words())?;
        // A dry run would tell whoever asks often enough what the password is, and nobody would notice.
        if policy.history > 0 && kind == PasswordKind::Permanent && !context.dry_run {
            // Here it would, too, if the caller hung up before the change.
            candidate = Some(Candidate::count(app, &step.before).await?);
            // The current one, and as many former ones as the policy says.
            let credential = &step.before.credential;
            let former = credential.history.iter().take(policy.remembered());
            password::refuse_remembered(app, password, credential.hash.iter().chain(former)).await?;
        }
    }
    if context.dry_run {
        return Ok(rehearsed);
    }
    let hash = app.hasher.hash(password, app.random.salt()).await?;
    Ok(Prepared { password: Some(NewPassword { hash, kind }), candidate, ..Prepared::default() })
}

/// Has somebody who acts on the own account prove to be there, by the current password or, in a
/// browser, by having been asked for it just now. Rehearsed first: who may not make the call has no
/// password tried.
async fn prove(app: &App, context: &Context, ask: &Ask, about: &About) -> Result<Proof> {
    let (rules, now) = (Rules::of(app), app.clock.now());
    let assumed = Prepared { proof: Proof::Assumed, ..Prepared::default() };
    let own = {
        let mut snapshot = app.db.snapshot().await?;
        let plan = plan(&mut snapshot, context, ask, &assumed, about, rules, now).await?;
        let own = plan.steps.into_iter().map(|step| step.before).find(|one| plan.actor.is(one.user));
        let Some(own) = own else { return Ok(Proof::Missing) };
        if let Caller::Session { hash, idle } = &context.caller {
            let held = store::web_sessions::holder(&mut snapshot, hash, now, now - idle).await?;
            let held = held.ok_or(Error::BadToken)?;
            if web_sessions::proof_is_old(app, &held) {
                return Err(Error::Forbidden(
                    "prove once more that it is you, by signing in again".to_owned(),
                ));
            }
            return Ok(Proof::Of(own.credential));
        }
        own
    };
    let missing = || Malformed::Missing { name: "currentPassword".to_owned() };
    let current = ask.mode.current_password().ok_or_else(missing)?;
    let verified = verifier::verify(app, own.primary.as_str(), Some(current), context.source).await?;
    Ok(Proof::Of(verified.proving(own.id)?.credential))
}

/// Stores a plan: accounts, audit entries and effects, in the running transaction.
pub async fn store_plan(
    tx: &mut Tx,
    context: &Context,
    plan: Plan,
    stamp: Stamp,
    rules: Rules,
) -> Result<Done> {
    let Stamp { change, at: now, .. } = stamp;
    let kept = plan.organization.policy.address_kept();
    let counted = match context.dry_run {
        true => {
            let before: Vec<_> = plan.steps.iter().map(|step| &step.before).collect();
            Counted::before(tx, &before, rules.moment(now)).await?
        }
        false => None,
    };
    let mut forecast = Forecast::default();
    let mut position = None;
    let mut look_ups = Vec::new();
    let mut accounts = Vec::with_capacity(plan.steps.len());
    let mut number = 0;
    for step in plan.steps {
        let Step { before, mut after, effects, notes } = step;
        let nothing = before == after && effects.is_empty();
        if context.dry_run {
            let notes = if nothing { BTreeMap::new() } else { notes.clone() };
            let until = now.saturating_add(kept);
            forecast.accounts.push(OnAccount::of(&before, &after, &effects, notes, until));
        }
        if nothing {
            accounts.push(after);
            continue;
        }
        if after.deleted {
            store::accounts::delete(tx, &before, now, kept, rules.mail_kept).await?;
        } else {
            store::accounts::save(tx, &before, &after, now, kept).await?;
            after.version += 1;
        }
        crash::at(Point::Saved);
        let entry = Entry {
            step: number,
            target: Some(&before),
            differences: differences(&before, &after),
            notes,
            ..Entry::new(stamp, before.organization, &plan.actor, context)
        };
        journal::write(tx, &entry)?;
        crash::at(Point::Audited);
        number += 1;
        position = Some(enqueue(tx, &after, change, &effects, now)?);
        crash::at(Point::Enqueued);
        if rules.look_ups && !context.dry_run {
            look_ups.push(Fresh::read(tx, change, &before, &after).await?);
        }
        accounts.push(after);
    }
    if let Some(counted) = counted {
        for (one, ends) in forecast.accounts.iter_mut().zip(counted.after(tx).await?) {
            one.ends = ends;
            forecast.ends += ends;
        }
        forecast.changes = position.is_some();
    }
    Ok(Done {
        change: position.as_ref().map(|_| change),
        organization: Some(plan.organization.id),
        position,
        look_ups,
        accounts,
        forecast: context.dry_run.then_some(forecast),
        ..Done::default()
    })
}

/// Writes the effects of a change to the outbox; the projection comes first. Its position is
/// known with the commit.
pub fn enqueue(
    tx: &mut Tx,
    account: &Account,
    change: ChangeId,
    effects: &[Effect],
    now: Millis,
) -> Result<Later<i64>> {
    let origin = Origin { change, organization: account.organization, account: Some(account.id), at: now };
    let position = store::outbox::project(tx, origin)?;
    for effect in effects {
        match effect {
            Effect::EndSessions { .. } | Effect::Reconcile => {
                store::outbox::for_mail_servers(tx, origin, effect)?;
            }
            Effect::Tell { .. } | Effect::Write { .. } => store::outbox::for_person(tx, origin, effect)?,
            Effect::Project => {}
        }
    }
    Ok(position)
}

/// What follows a commit: the look-ups are waited for, the worker is woken.
async fn follow_up(app: &App, position: &Later<i64>, look_ups: &[Fresh]) {
    app.projector.reach(&app.db, position.get().unwrap_or(NEWEST), look_ups).await;
    app.wake_worker.notify_waiters();
}
