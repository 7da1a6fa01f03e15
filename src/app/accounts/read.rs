//! Looking at accounts: one, a page, the own.

use super::TargetName;
use crate::app::App;
use crate::app::call::{Caller, authenticate, prefetch_caller};
use crate::app::organizations;
use crate::clock::Millis;
use crate::domain::actor::{Actor, Signed};
use crate::domain::help_desk::HelpDesk;
use crate::domain::ids::{OrganizationId, no_such_account};
use crate::domain::rights::{self, View};
use crate::error::{Error, Result};
use crate::store;
use crate::store::accounts::Handle;
use crate::store::engine::Tx;
pub use crate::store::lists::Listed;
use crate::store::organizations::{Counts, Domain, Organization};
pub use crate::store::sign_ins::SignIns;

/// Most rows of one page of any list; more is clamped.
pub const MOST_ROWS: i64 = 200;

/// A page of the organization's users, by creation; `start` counts from 0. Empty past the end. A help
/// desk with chosen domains is shown the users of these, domain by domain.
///
/// # Errors
/// Rights.
pub async fn page(
    app: &App,
    caller: &Caller,
    zoid: OrganizationId,
    start: i64,
    limit: i64,
) -> Result<Vec<Listed>> {
    let mut tx = app.db.snapshot().await?;
    let actor = looks_at(&mut tx, caller, app.clock.now(), View::Users(zoid)).await?;
    if limit <= 0 {
        return Ok(Vec::new());
    }
    let limit = limit.min(MOST_ROWS);
    match rights::help_desk(&actor).and_then(HelpDesk::domains) {
        None => store::lists::page(&mut tx, zoid, start, limit).await,
        Some(domains) => store::lists::page_of_domains(&mut tx, zoid, domains, start, limit).await,
    }
}

/// One user of the organization.
///
/// # Errors
/// Rights; `NotFound` for an unknown or foreign id or address.
pub async fn one(app: &App, caller: &Caller, zoid: OrganizationId, named: &TargetName) -> Result<Listed> {
    find(app, caller, zoid, named).await?.ok_or_else(|| match named {
        TargetName::Number(number) => no_such_account(*number),
        TargetName::Address(address) => {
            Error::NotFound(format!("no user of this organization has the address {address}"))
        }
    })
}

/// The same; `None` where the organization has no such user.
///
/// # Errors
/// Rights; `NotFound` for an organization that is not the caller's.
pub async fn find(
    app: &App,
    caller: &Caller,
    zoid: OrganizationId,
    named: &TargetName,
) -> Result<Option<Listed>> {
    let mut tx = app.db.look().await?;
    let now = app.clock.now();
    prefetch_caller(&mut tx, caller, now);
    if let TargetName::Number(number) = named
        && let Some(handle) = Handle::of(*number)
    {
        store::lists::prefetch_one(&mut tx, zoid, handle);
    }
    let actor = looks_at(&mut tx, caller, now, View::Users(zoid)).await?;
    let handle = match named {
        TargetName::Number(number) => Handle::of(*number),
        TargetName::Address(address) => {
            let address = address.without_detail(app.config.addresses.recipient_delimiter);
            store::addresses::handle_of(&mut tx, zoid, &address).await?
        }
    };
    let Some(handle) = handle else { return Ok(None) };
    let listed = store::lists::one(&mut tx, zoid, handle).await?;
    if let Some(listed) = &listed {
        rights::may_see(&actor, &listed.account)?;
    }
    Ok(listed)
}

/// The caller's own account.
///
/// # Errors
/// `MissingScope`, or `NotFound` when `number` is given and is not the own accountId.
pub async fn own(app: &App, caller: &Caller, number: Option<i64>) -> Result<Listed> {
    let mut tx = app.db.look().await?;
    let signed = own_view(&mut tx, caller, app.clock.now(), View::Own).await?;
    if let Some(number) = number.filter(|number| *number != signed.account.get()) {
        return Err(no_such_account(number));
    }
    store::lists::one(&mut tx, signed.organization, Handle::User(signed.user)).await?.ok_or(Error::BadToken)
}

/// The organization with its domains and counts; `None` asks for the caller's own.
///
/// # Errors
/// `MissingScope`, `NotFound` for a foreign organization, `Forbidden` for a member.
pub async fn organization(
    app: &App,
    caller: &Caller,
    zoid: Option<OrganizationId>,
) -> Result<OrganizationView> {
    let mut tx = app.db.snapshot().await?;
    let actor = authenticate(&mut tx, caller, app.clock.now()).await?;
    let zoid = match (&actor, zoid) {
        (_, Some(zoid)) => zoid,
        (Actor::User(signed), None) => signed.organization,
        (Actor::Operator { .. } | Actor::Clock, None) => {
            return Err(Error::NotFound("name the organization".to_owned()));
        }
    };
    rights::may_view(&actor, View::Organization(zoid))?;
    let organization = organizations::load(&mut tx, zoid).await?;
    Ok(OrganizationView {
        domains: store::organizations::domains(&mut tx, zoid).await?,
        counts: store::organizations::counts(&mut tx, zoid).await?,
        super_admin: store::organizations::super_admins(&mut tx, zoid).await?.into_iter().next(),
        organization,
    })
}

/// An organization as the API shows it.
#[derive(Debug, Clone)]
pub struct OrganizationView {
    pub organization: Organization,
    pub domains: Vec<Domain>,
    pub counts: Counts,
    /// The oldest super administrator's address and name.
    pub super_admin: Option<(String, String)>,
}

/// The organization's domains.
///
/// # Errors
/// Rights.
pub async fn domains(app: &App, caller: &Caller, zoid: OrganizationId) -> Result<Vec<Domain>> {
    let mut tx = app.db.look().await?;
    looks_at(&mut tx, caller, app.clock.now(), View::Domains(zoid)).await?;
    organizations::load(&mut tx, zoid).await?;
    store::organizations::domains(&mut tx, zoid).await
}

/// Who the token belongs to, if its scope allows to ask.
///
/// # Errors
/// `MissingScope`.
pub async fn profile(app: &App, caller: &Caller) -> Result<Listed> {
    let mut tx = app.db.look().await?;
    let signed = own_view(&mut tx, caller, app.clock.now(), View::Profile).await?;
    store::lists::one(&mut tx, signed.organization, Handle::User(signed.user)).await?.ok_or(Error::BadToken)
}

async fn looks_at(tx: &mut Tx, caller: &Caller, now: Millis, view: View) -> Result<Actor> {
    let actor = authenticate(tx, caller, now).await?;
    rights::may_view(&actor, view)?;
    if let (View::Users(zoid), Actor::Operator { .. } | Actor::Clock) = (view, &actor) {
        organizations::load(tx, zoid).await?;
    }
    Ok(actor)
}

async fn own_view(tx: &mut Tx, caller: &Caller, now: Millis, view: View) -> Result<Signed> {
    looks_at(tx, caller, now, view).await?.person().cloned()
}
