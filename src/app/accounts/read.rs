//! Looking at accounts: one, a page, the own.

use crate::app::App;
use crate::app::change::{Caller, authenticate};
use crate::domain::actor::{Actor, Signed};
use crate::domain::email_address::EmailAddress;
use crate::domain::ids::{OrganizationId, no_such_account};
use crate::domain::rights::{self, View};
use crate::error::{Error, Result};
use crate::store;
use crate::store::accounts::Handle;
use crate::store::engine::Tx;
pub use crate::store::lists::Listed;
use crate::store::organizations::{Counts, Domain, Organization};

/// Most rows of one page; more is clamped.
pub const MOST_ROWS: i64 = 200;

/// How a path names an account that is only looked at.
#[derive(Debug, Clone)]
pub enum Named {
    Number(i64),
    Address(EmailAddress),
}

/// A page of the organization's users, by creation; `start` counts from 0. Empty past the end.
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
    looks_at(&mut tx, app, caller, View::Users(zoid)).await?;
    if limit <= 0 {
        return Ok(Vec::new());
    }
    store::lists::page(&mut tx, zoid, start, limit.min(MOST_ROWS)).await
}

/// One user of the organization.
///
/// # Errors
/// Rights; `NotFound` for an unknown or foreign id or address.
pub async fn one(app: &App, caller: &Caller, zoid: OrganizationId, named: &Named) -> Result<Listed> {
    let mut tx = app.db.read().await?;
    looks_at(&mut tx, app, caller, View::Users(zoid)).await?;
    let (handle, missing) = match named {
        Named::Number(number) => (Handle::of(*number), no_such_account(*number)),
        Named::Address(address) => {
            let missing = Error::NotFound(format!("no user of this organization has the address {address}"));
            let address = address.without_detail(app.config.addresses.recipient_delimiter);
            let owner = store::addresses::account_of(&mut tx, &address).await?;
            let here = owner.filter(|(organization, _)| *organization == zoid);
            (here.map(|(_, account)| Handle::Account(account)), missing)
        }
    };
    let Some(handle) = handle else { return Err(missing) };
    listed(&mut tx, zoid, handle).await?.ok_or(missing)
}

/// The caller's own account.
///
/// # Errors
/// `MissingScope`, or `NotFound` when `number` is given and is not the own accountId.
pub async fn own(app: &App, caller: &Caller, number: Option<i64>) -> Result<Listed> {
    let mut tx = app.db.read().await?;
    let signed = own_view(&mut tx, app, caller, View::Own).await?;
    if let Some(number) = number.filter(|number| *number != signed.account.get()) {
        return Err(no_such_account(number));
    }
    listed(&mut tx, signed.organization, Handle::User(signed.user)).await?.ok_or(Error::BadToken)
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
    let organization = load_organization(&mut tx, zoid).await?;
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
    let mut tx = app.db.read().await?;
    looks_at(&mut tx, app, caller, View::Domains(zoid)).await?;
    load_organization(&mut tx, zoid).await?;
    store::organizations::domains(&mut tx, zoid).await
}

/// Who the token belongs to, if its scope allows to ask.
///
/// # Errors
/// `MissingScope`.
pub async fn profile(app: &App, caller: &Caller) -> Result<Listed> {
    let mut tx = app.db.read().await?;
    let signed = own_view(&mut tx, app, caller, View::Profile).await?;
    listed(&mut tx, signed.organization, Handle::User(signed.user)).await?.ok_or(Error::BadToken)
}

async fn listed(tx: &mut Tx, zoid: OrganizationId, handle: Handle) -> Result<Option<Listed>> {
    let Some(account) = store::accounts::load(tx, zoid, handle).await? else { return Ok(None) };
    let last_sign_in = store::accounts::last_sign_in(tx, zoid, account.user).await?;
    Ok(Some(Listed { account, last_sign_in }))
}

async fn looks_at(tx: &mut Tx, app: &App, caller: &Caller, view: View) -> Result<Actor> {
    let actor = authenticate(tx, caller, app.clock.now()).await?;
    rights::may_view(&actor, view)?;
    if let (View::Users(zoid), Actor::Operator { .. } | Actor::Clock) = (view, &actor) {
        load_organization(tx, zoid).await?;
    }
    Ok(actor)
}

async fn load_organization(tx: &mut Tx, zoid: OrganizationId) -> Result<Organization> {
    store::organizations::load(tx, zoid)
        .await?
        .ok_or_else(|| Error::NotFound(format!("Organization id {zoid} is invalid")))
}

async fn own_view(tx: &mut Tx, app: &App, caller: &Caller, view: View) -> Result<Signed> {
    match looks_at(tx, app, caller, view).await? {
        Actor::User(signed) => Ok(signed),
        Actor::Operator { .. } | Actor::Clock => {
            Err(Error::NotFound("the command line has no account of its own".to_owned()))
        }
    }
}
