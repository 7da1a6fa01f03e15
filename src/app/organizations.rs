//! Organizations and domains, changed by the operator and, as far as `Whose` says, by super administrators. Each change
//! goes through `change::record`.

use std::collections::BTreeMap;

use crate::app::App;
use crate::app::call::{Caller, Context, authenticate};
use crate::app::change::Done;
use crate::app::change::record::{ChangeSpec, Reach, Whose, record};
use crate::app::forecast::Concerned;
use crate::domain::actor::Who;
use crate::domain::email_address::DomainName;
use crate::domain::ids::{DomainId, OrganizationId, no_such_organization};
use crate::domain::plain_text;
use crate::domain::policy::Policy;
use crate::domain::rights;
use crate::domain::secret;
use crate::domain::switch::{self, Hand};
use crate::error::{Error, Result};
use crate::store;
use crate::store::engine::Tx;
pub use crate::store::organizations::{Domain, Organization};

/// Makes an organization. In a dry run this, as every function here that changes something, only says what it would do.
///
/// # Errors
/// `Forbidden` for anybody but the operator.
pub async fn create(app: &App, context: &Context, name: &str) -> Result<(Organization, Done)> {
    let organization = Organization {
        id: context.id(app).await?,
        name: plain_text::some_name("name", name)?,
        disabled: None,
        policy: Policy::default(),
        created_at: app.clock.now(),
    };
    let made = organization.clone();
    let spec = ChangeSpec::plain("createOrganization", organization.id);
    let done = record(app, context, spec, async move |tx, _| {
        store::organizations::insert(tx, &made).await?;
        Ok(BTreeMap::from([("name", made.name.clone())]))
    })
    .await?;
    Ok((organization, done))
}

/// Changes an organization's name, policy or switch.
///
/// # Errors
/// `NotFound`; what `edit` refuses.
pub async fn update(
    app: &App,
    context: &Context,
    zoid: OrganizationId,
    edit: impl Fn(&mut Organization, &Hand) -> Result<()> + Send + Sync + 'static,
) -> Result<Done> {
    let spec = ChangeSpec {
        reach: Reach::Sessions,
        concerned: Concerned::Organization(zoid),
        ..ChangeSpec::plain("updateOrganization", zoid)
    };
    record(app, context, spec, async move |tx, hand| {
        let mut organization = load(tx, zoid).await?;
        let before = organization.clone();
        edit(&mut organization, &hand)?;
        store::organizations::save(tx, &organization).await?;
        let mut notes = BTreeMap::new();
        if before.name != organization.name {
            notes.insert("name", organization.name.clone());
        }
        if before.policy != organization.policy {
            let text = serde_json::to_string(&organization.policy)
                .map_err(|error| Error::caused("writing a policy", error))?;
            notes.insert("policy", text);
        }
        if before.disabled != organization.disabled {
            notes.insert("disabled", organization.disabled.is_some().to_string());
        }
        Ok(notes)
    })
    .await
}

/// Turns an organization off or on; every account in it follows and comes back as it was.
///
/// # Errors
/// `NotFound`.
pub async fn switch(app: &App, context: &Context, zoid: OrganizationId, off: bool) -> Result<Done> {
    update(app, context, zoid, move |organization, hand| {
        if off {
            switch::set(&mut organization.disabled, hand);
        } else {
            switch::lift(&mut organization.disabled, hand, "the block of the organization")?;
        }
        Ok(())
    })
    .await
}

/// Adds a domain; the first one is the primary one. Nothing can have an address on it before it is verified.
///
/// # Errors
/// `Refused` when some organization here has it.
pub async fn add_domain(
    app: &App,
    context: &Context,
    zoid: OrganizationId,
    name: &DomainName,
) -> Result<Done> {
    insert_domain(app, context, zoid, name, false).await
}

/// Adds a domain that the operator vouches for: addresses on it can be given out at once.
///
/// # Errors
/// As [`add_domain`].
pub async fn add_verified_domain(
    app: &App,
    context: &Context,
    zoid: OrganizationId,
    name: &DomainName,
) -> Result<Done> {
    insert_domain(app, context, zoid, name, true).await
}

async fn insert_domain(
    app: &App,
    context: &Context,
    zoid: OrganizationId,
    name: &DomainName,
    verified: bool,
) -> Result<Done> {
    let code = app.random.with(|rng| secret::new_one_time_password(rng, 20));
    let domain = Domain {
        id: context.id::<DomainId>(app).await?,
        organization: zoid,
        name: name.clone(),
        verification_code: format!("zb{}", code.expose()),
        verified_at: None,
        verified_by: None,
        primary: false,
        disabled: None,
        created_at: app.clock.now(),
    };
    // Only the operator vouches for a domain.
    let spec = match verified {
        true => ChangeSpec { reach: Reach::MailServers, ..ChangeSpec::plain("addDomain", zoid) },
        false => ChangeSpec::managed("addDomain", zoid),
    };
    record(app, context, spec, async move |tx, hand| {
        load(tx, zoid).await?;
        let mut new = domain.clone();
        new.primary = store::organizations::domains(tx, zoid).await?.is_empty();
        let mut notes = BTreeMap::from([("domain", new.name.to_string())]);
        if verified {
            (new.verified_at, new.verified_by) = (Some(hand.at), Some(hand.who.to_string()));
            notes.insert("verified", "true".to_owned());
        }
        match store::organizations::insert_domain(tx, &new).await {
            // Whose it is, is for the operator alone to know.
            Err(Error::Refused(why)) if matches!(hand.who, Who::Operator(_)) => {
                Err(Error::Refused(held_by(tx, &new.name, why).await?))
            }
            other => other.map(|()| notes),
        }
    })
    .await
}

/// The refusal of a domain that is here already, with what an operator can do about it.
async fn held_by(tx: &mut Tx, name: &DomainName, why: String) -> Result<String> {
    for organization in store::organizations::all(tx).await? {
        if let Some(held) = store::organizations::domain(tx, organization.id, name).await? {
            let what = match held.verified_at {
                Some(_) => "",
                None => ", which never proved it: `mailward domain remove` takes it away there",
            };
            return Ok(format!("{why}: it is of organization {}{what}", organization.id));
        }
    }
    Ok(why)
}

/// Whether the caller may change what belongs to the organization as a whole.
///
/// # Errors
/// `BadToken`.
pub async fn may_manage(app: &App, caller: &Caller, zoid: OrganizationId) -> Result<bool> {
    let actor = authenticate(&mut *app.db.read().await?, caller, app.clock.now()).await?;
    Ok(rights::may_manage(&actor, zoid).is_ok())
}

/// What happens to a domain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DomainChange {
    /// The operator vouches that the domain is the organization's.
    Verify,
    MakePrimary,
    Disable,
    Enable,
}

/// # Errors
/// `NotFound`; `Refused` for making an unverified domain the primary one.
pub async fn change_domain(
    app: &App,
    context: &Context,
    zoid: OrganizationId,
    name: &DomainName,
    change: DomainChange,
) -> Result<Done> {
    let (name, now) = (name.clone(), app.clock.now());
    let (verb, reach) = match change {
        DomainChange::Verify => ("verifyDomain", Reach::MailServers),
        DomainChange::MakePrimary => ("setAsPrimaryDomain", Reach::Itself),
        DomainChange::Disable => ("disableDomain", Reach::Sessions),
        DomainChange::Enable => ("enableDomain", Reach::MailServers),
    };
    let whose = match change {
        // Who may vouch for a domain could take another organization's.
        DomainChange::Verify => Whose::Operators,
        DomainChange::MakePrimary | DomainChange::Disable | DomainChange::Enable => Whose::SuperAdmins,
    };
    let concerned = Concerned::Domain(zoid, name.clone());
    let spec = ChangeSpec { reach, whose, concerned, ..ChangeSpec::plain(verb, zoid) };
    record(app, context, spec, async move |tx, hand| {
        let missing = || Error::NotFound(format!("this organization has no domain {name}"));
        let mut domain = store::organizations::domain(tx, zoid, &name).await?.ok_or_else(missing)?;
        match change {
            DomainChange::Verify => {
                domain.verified_at = domain.verified_at.or(Some(now));
                domain.verified_by = domain.verified_by.or_else(|| Some(hand.who.to_string()));
            }
            DomainChange::MakePrimary => {
                if domain.verified_at.is_none() {
                    return Err(Error::Refused(format!("{name} is not verified yet; verify it first")));
                }
                for mut other in store::organizations::domains(tx, zoid).await? {
                    if other.primary && other.name != name {
                        other.primary = false;
                        store::organizations::save_domain(tx, &other).await?;
                    }
                }
                domain.primary = true;
            }
            DomainChange::Disable => drop(switch::set(&mut domain.disabled, &hand)),
            DomainChange::Enable => {
                switch::lift(&mut domain.disabled, &hand, "the block of the domain")?;
            }
        }
        store::organizations::save_domain(tx, &domain).await?;
        Ok(BTreeMap::from([("domain", name.to_string())]))
    })
    .await
}

/// Takes a domain away on which nobody has an address. Addresses that are kept for their former owners stay so,
/// whoever has the domain next.
///
/// # Errors
/// `NotFound`; `Refused` where somebody has an address on it, and for a verified one that is the primary one.
pub async fn remove_domain(
    app: &App,
    context: &Context,
    zoid: OrganizationId,
    name: &DomainName,
) -> Result<Done> {
    let name = name.clone();
    // Mail servers know verified domains alone.
    let verified = {
        let mut tx = app.db.read().await?;
        let found = store::organizations::domain(&mut tx, zoid, &name).await?;
        found.is_some_and(|domain| domain.verified_at.is_some())
    };
    let reach = if verified { Reach::MailServers } else { Reach::Itself };
    let spec = ChangeSpec { reach, ..ChangeSpec::managed("removeDomain", zoid) };
    record(app, context, spec, async move |tx, _| {
        let missing = || Error::NotFound(format!("this organization has no domain {name}"));
        let domain = store::organizations::domain(tx, zoid, &name).await?.ok_or_else(missing)?;
        if domain.verified_at.is_some() != verified {
            return Err(Error::Stale);
        }
        if verified && domain.primary {
            return Err(Error::Refused(format!("{name} is the primary domain; make another one primary first")));
        }
        if verified && store::organizations::has_addresses_on(tx, zoid, &name).await? {
            return Err(Error::Refused(format!(
                "somebody has an address on {name}; take these addresses away first, or switch the domain off instead"
            )));
        }
        store::organizations::delete_domain(tx, zoid, &name).await?;
        Ok(BTreeMap::from([("domain", name.to_string())]))
    })
    .await
}

/// The organization as it is now.
///
/// # Errors
/// `NotFound`.
pub async fn load(tx: &mut Tx, zoid: OrganizationId) -> Result<Organization> {
    store::organizations::load(tx, zoid).await?.ok_or_else(|| no_such_organization(zoid.get()))
}
