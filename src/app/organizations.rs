//! Organizations and domains: made and switched at the command line.

use std::collections::BTreeMap;

use crate::app::App;
use crate::app::change::{Context, authenticate, follow_up};
use crate::app::journal::{self, Entry, Outcome};
use crate::domain::actor::{Actor, Rank};
use crate::domain::effect::Effect;
use crate::domain::email_address::DomainName;
use crate::domain::ids::{ChangeId, DomainId, OrganizationId};
use crate::domain::policy::Policy;
use crate::domain::secret;
use crate::domain::switch::{self, Hand};
use crate::error::{Error, Result};
use crate::store;
use crate::store::engine::Tx;
pub use crate::store::organizations::{Domain, Organization};
use crate::store::outbox::Origin;

/// Makes an organization.
///
/// # Errors
/// `Forbidden` for anybody but the operator.
pub async fn create(app: &App, context: &Context, name: &str) -> Result<Organization> {
    let organization = Organization {
        id: app.ids.next().await?,
        name: crate::app::accounts::display_name_update::name("name", name)?,
        disabled: None,
        policy: Policy::default(),
        created_at: app.clock.now(),
    };
    let made = organization.clone();
    record(app, context, organization.id, "createOrganization", Reach::Itself, async move |tx, _| {
        store::organizations::insert(tx, &made).await?;
        Ok(BTreeMap::from([("name", made.name.clone())]))
    })
    .await?;
    Ok(organization)
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
) -> Result<()> {
    record(app, context, zoid, "updateOrganization", Reach::Sessions, async move |tx, hand| {
        let mut organization = load(tx, zoid).await?;
        let before = organization.clone();
        edit(&mut organization, &hand)?;
        organization.policy.password.validate()?;
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
pub async fn switch(app: &App, context: &Context, zoid: OrganizationId, off: bool) -> Result<()> {
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
) -> Result<Domain> {
    let code = app.random.with(|rng| secret::new_one_time_password(rng, 20));
    let domain = Domain {
        id: app.ids.next::<DomainId>().await?,
        organization: zoid,
        name: name.clone(),
        verification_code: format!("zb{}", code.expose()),
        verified_at: None,
        verified_by: None,
        primary: false,
        disabled: None,
        created_at: app.clock.now(),
    };
    let made = domain.clone();
    record(app, context, zoid, "addDomain", Reach::Itself, async move |tx, _| {
        load(tx, zoid).await?;
        let first = store::organizations::domains(tx, zoid).await?.is_empty();
        store::organizations::insert_domain(tx, &Domain { primary: first, ..made.clone() }).await?;
        Ok(BTreeMap::from([("domain", made.name.to_string())]))
    })
    .await?;
    Ok(domain)
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
) -> Result<()> {
    let (name, now) = (name.clone(), app.clock.now());
    let verb = match change {
        DomainChange::Verify => "verifyDomain",
        DomainChange::MakePrimary => "setAsPrimaryDomain",
        DomainChange::Disable => "disableDomain",
        DomainChange::Enable => "enableDomain",
    };
    let reach = match change {
        DomainChange::Verify | DomainChange::Enable => Reach::MailServers,
        DomainChange::MakePrimary => Reach::Itself,
        DomainChange::Disable => Reach::Sessions,
    };
    record(app, context, zoid, verb, reach, async move |tx, hand| {
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

async fn load(tx: &mut Tx, zoid: OrganizationId) -> Result<Organization> {
    store::organizations::load(tx, zoid)
        .await?
        .ok_or_else(|| Error::NotFound(format!("Organization id {zoid} is invalid")))
}

/// Runs an operator's change with its audit entry, in one transaction.
pub(super) async fn record(
    app: &App,
    context: &Context,
    zoid: OrganizationId,
    verb: &'static str,
    reach: Reach,
    change: impl AsyncFn(&mut Tx, Hand) -> Result<BTreeMap<&'static str, String>> + Send + 'static,
) -> Result<()> {
    let (id, now, context): (ChangeId, _, _) = (app.ids.next().await?, app.clock.now(), context.clone());
    let position = app
        .db
        .write(async move |tx| {
            let actor = authenticate(tx, &context.caller, now).await?;
            let (Actor::Operator { .. } | Actor::Clock) = actor else {
                return Err(Error::Forbidden("this is done at the server's command line".to_owned()));
            };
            let hand = Hand {
                who: actor.who(),
                rank: Rank::Operator,
                own: false,
                at: now,
                reason: context.reason.clone(),
            };
            let notes = change(tx, hand).await?;
            let entry = Entry {
                organization: zoid,
                change: id,
                step: 0,
                at: now,
                actor: &actor,
                context: &context,
                verb,
                target: None,
                outcome: Outcome::Changed { differences: Vec::new(), notes },
            };
            journal::write(tx, &entry).await?;
            let origin = Origin { change: id, organization: zoid, account: None, at: now };
            match reach {
                Reach::Itself => Ok(None),
                Reach::MailServers => store::outbox::project(tx, origin).await.map(Some),
                Reach::Sessions => {
                    let position = store::outbox::project(tx, origin).await?;
                    store::outbox::for_mail_servers(tx, origin, &Effect::Reconcile).await?;
                    Ok(Some(position))
                }
            }
        })
        .await?;
    if let Some(position) = position {
        follow_up(app, position).await;
    }
    Ok(())
}

/// How far an operator's change goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reach {
    /// Nothing outside the database notices.
    Itself,
    /// The mail servers' look-ups show it.
    MailServers,
    /// Live sessions may have to end, too.
    Sessions,
}
