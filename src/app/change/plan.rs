//! What a call on accounts will do, before anything is stored: whom it means, whether the caller may, and
//! the accounts as they were and as they will be.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::app::accounts::{AccountMode, Method, TargetName};
use crate::app::call::{Context, authenticate, prefetch_caller};
use crate::app::change::{Ask, Prepared, Rules};
use crate::app::factors;
use crate::app::organizations;
use crate::clock::Millis;
use crate::domain::account::{Account, Facts, Transition};
use crate::domain::actor::{Actor, Role};
use crate::domain::effect::{Effect, Notice};
use crate::domain::help_desk::HelpDesk;
use crate::domain::ids::{OrganizationId, no_such_account, no_such_user};
use crate::domain::rights::{self, Form, Given, Names, Route};
use crate::domain::switch::Hand;
use crate::error::{Error, Result};
use crate::store;
use crate::store::accounts::Handle;
use crate::store::engine::Tx;
use crate::store::organizations::Organization;

/// One account's part of a change, ready to be stored.
pub struct Step {
    pub before: Account,
    pub after: Account,
    pub effects: Vec<Effect>,
    pub notes: BTreeMap<&'static str, String>,
}

impl Step {
    fn of(before: Account, transition: Transition<'_>) -> Self {
        let Transition { account: after, effects, notes, .. } = transition;
        Self { before, after, effects, notes }
    }

    /// Whether the second factors go, which stand beside the account.
    pub fn removes_factors(&self) -> bool {
        let told = |effect: &Effect| matches!(effect, Effect::Tell { notice: Notice::FactorRemoved { .. } });
        self.effects.iter().any(told)
    }
}

/// Everything a change will do, before anything is stored.
pub struct Plan {
    pub actor: Actor,
    pub organization: Organization,
    pub steps: Vec<Step>,
}

impl Plan {
    /// A change of one account that no mode is for; `make` makes the transition.
    ///
    /// # Errors
    /// What `make` refuses.
    pub fn of_one(
        actor: Actor,
        organization: Organization,
        before: Account,
        hand: Hand,
        delimiter: char,
        make: impl FnOnce(&mut Transition<'_>) -> Result<()>,
    ) -> Result<Self> {
        let facts = Facts { policy: organization.policy.clone(), delimiter, ..Facts::default() };
        let mut transition = Transition::new(before.clone(), &facts, hand, None);
        make(&mut transition)?;
        let steps = vec![Step::of(before, transition)];
        Ok(Self { actor, organization, steps })
    }
}

/// Whom of a list a refusal is about, once that is known.
#[derive(Clone, Default)]
pub struct About(Arc<Mutex<Option<TargetName>>>);

impl About {
    fn set(&self, whom: Option<&TargetName>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = whom.cloned();
    }

    pub fn whom(&self) -> Option<TargetName> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Queues the statements that [`plan`] will most likely run, so that PostgreSQL answers them in one round trip.
/// No answer is looked at before `plan` has found that the caller may.
pub(super) fn prefetch(tx: &mut Tx, context: &Context, ask: &Ask, now: Millis) {
    prefetch_caller(tx, &context.caller, now);
    let Route::Organization(zoid) = ask.route else { return };
    store::organizations::prefetch(tx, zoid);
    if let (true, Some(handle)) = (ask.mode.targets().is_empty(), ask.zuid.or(ask.path).and_then(Handle::of))
    {
        store::accounts::prefetch(tx, zoid, handle);
    }
    store::addresses::prefetch_facts(tx, zoid, &ask.mode.claims());
}

/// Loads, authorises and makes the transitions, without storing anything. Where one of a list is why it is refused,
/// `about` says who.
pub async fn plan(
    tx: &mut Tx,
    context: &Context,
    ask: &Ask,
    prepared: &Prepared,
    about: &About,
    rules: Rules,
    now: Millis,
) -> Result<Plan> {
    about.set(None);
    let actor = authenticate(tx, &context.caller, now).await?;
    let info = ask.mode.info();
    let named = names(&actor, ask);
    let form = rights::form(&actor, ask.route, info.forms, info.operation, ask.mode.verb(), named)?;
    let organization = organization_of(tx, &actor, ask.route).await?;
    let befores = targets(tx, &actor, form, organization.id, ask, about, rules).await?;
    let claims = store::addresses::facts(tx, organization.id, &ask.mode.claims()).await?;
    know_domains(tx, organization.id, ask.mode.new_role().and_then(|given| given.help_desk)).await?;
    let mut facts = Facts {
        policy: organization.policy.clone(),
        delimiter: rules.delimiter,
        addresses: claims,
        ..Facts::default()
    };
    let mut steps = Vec::with_capacity(befores.len());
    let mut gone_super_admins = 0;
    for before in befores {
        if before.role == Role::SuperAdmin {
            let others = store::accounts::other_super_admins(tx, organization.id, before.user).await?;
            facts.other_super_admins = others - gone_super_admins;
        }
        if form == Form::Own && !ask.mode.claims().is_empty() {
            let domain = store::organizations::domain(tx, organization.id, before.primary.domain()).await?;
            facts.is_domain_off = domain.is_some_and(|domain| domain.disabled.is_some());
        }
        if ask.mode.is_about_factors() {
            facts.second_factors = factors::in_words(tx, organization.id, before.user).await?;
        }
        about.set(ask.mode.targets().iter().find(|name| name.means(&before)));
        let step = step(&actor, form, context, &ask.mode, prepared, &facts, before, now)?;
        let gone = step.before.is_enabled_super_admin() && !step.after.is_enabled_super_admin();
        gone_super_admins += i64::from(gone);
        steps.push(step);
    }
    about.set(None);
    Ok(Plan { actor, organization, steps })
}

/// Decides about one account, and makes its transition. Pure.
///
/// # Errors
/// Rank, and what the mode refuses.
#[expect(clippy::too_many_arguments, reason = "everything that the decision depends on")]
pub fn step(
    actor: &Actor,
    form: Form,
    context: &Context,
    mode: &AccountMode,
    prepared: &Prepared,
    facts: &Facts,
    before: Account,
    now: Millis,
) -> Result<Step> {
    may(actor, form, mode, &before)?;
    let hand = Hand {
        who: actor.who(),
        rank: actor.rank_over(before.role),
        own: actor.is(before.user),
        at: now,
        reason: context.reason.clone(),
    };
    let mut transition = Transition::new(before.clone(), facts, hand, context.release.as_ref());
    mode.apply(&mut transition, prepared)?;
    Ok(Step::of(before, transition))
}

/// Whether the caller's rank reaches for this mode on that account.
///
/// # Errors
/// Those of `rights`.
pub fn may(actor: &Actor, form: Form, mode: &AccountMode, account: &Account) -> Result<()> {
    rights::may_write(actor, form, account, &mode.claims())?;
    if let Some(given) = mode.new_role() {
        let old = Given { role: account.role, help_desk: account.help_desk.as_ref() };
        rights::may_grant(actor, Some(old), given)?;
    }
    if mode.is_about_factors() {
        rights::may_manage_factors(actor, account)?;
    }
    Ok(())
}

/// Refuses a help desk on domains that the organization does not have: most are typing errors.
///
/// # Errors
/// `BadValue`.
pub async fn know_domains(tx: &mut Tx, zoid: OrganizationId, desk: Option<&HelpDesk>) -> Result<()> {
    for name in desk.and_then(HelpDesk::domains).into_iter().flatten() {
        if store::organizations::domain(tx, zoid, name).await?.is_none() {
            return Err(Error::bad_value("domains", format!("this organization has no domain {name}")));
        }
    }
    Ok(())
}

/// Whom the path and the body name, as seen from the caller.
pub fn names(actor: &Actor, ask: &Ask) -> Names {
    let Actor::User(caller) = actor else {
        return Names { path: ask.path, ..Names::NOBODY };
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
    organizations::load(tx, zoid).await
}

/// The accounts a call is about, as they are now.
async fn targets(
    tx: &mut Tx,
    actor: &Actor,
    form: Form,
    organization: OrganizationId,
    ask: &Ask,
    about: &About,
    rules: Rules,
) -> Result<Vec<Account>> {
    let listed = ask.mode.targets();
    if !listed.is_empty() {
        let mut accounts: Vec<Account> = Vec::with_capacity(listed.len());
        for name in listed {
            about.set(Some(name));
            let account = resolve(tx, organization, name).await?;
            if !accounts.iter().any(|known| known.id == account.id) {
                accounts.push(account);
            }
        }
        about.set(None);
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
            Some(Handle::Account(_)) | None => return Err(no_such_user(zuid)),
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
        // The original has no calls but its own to demand it of.
        (None, Some(path)) if !rules.zuid_demanded || ask.mode.info().method == Method::Elsewhere => {
            Ok(vec![load_number(tx, organization, path).await?])
        }
        (None, Some(_) | None) => Err(Error::Refused("zuid is null".to_owned())),
    }
}

async fn resolve(tx: &mut Tx, organization: OrganizationId, name: &TargetName) -> Result<Account> {
    match name {
        TargetName::Number(number) => load_number(tx, organization, *number).await,
        TargetName::Address(address) => {
            let missing =
                || Error::NotFound(format!("no user of this organization has the address {address}"));
            let handle = store::addresses::handle_of(tx, organization, address).await?.ok_or_else(missing)?;
            store::accounts::load(tx, organization, handle).await?.ok_or_else(missing)
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
