//! What the operator of the server may ask and do beyond an administrator: across organizations,
//! without a token, and once, by breaking the glass, without a super administrator.

use std::collections::BTreeMap;

use crate::app::App;
use crate::app::call::{Context, authenticate};
use crate::app::change::plan::Plan;
use crate::app::change::record::{ChangeSpec, Whose, record};
use crate::app::change::{Done, Rules, simple, store_plan};
use crate::app::clients;
use crate::app::forecast::Concerned;
use crate::app::oauth::{self, CodeWish};
use crate::clock::Millis;
use crate::domain::account::{Account, SwitchName, Transition};
use crate::domain::actor::{Actor, Role};
use crate::domain::email_address::{DomainName, EmailAddress};
use crate::domain::ids::{OrganizationId, UserId, no_such_account, no_such_user};
use crate::domain::scope::ScopeSet;
use crate::domain::secret::{Secret, new_token};
use crate::domain::switch::Hand;
use crate::error::{Error, GrantRefusal, Result};
use crate::store;
use crate::store::accounts::Handle;
use crate::store::audit::AuditRow;
use crate::store::engine::{self, Db, Tx};
use crate::store::mailboxes::Retained;
use crate::store::organizations::Organization;
use crate::store::outbox::Backlog;

/// Every organization of the installation.
pub async fn organizations(app: &App) -> Result<Vec<Organization>> {
    store::organizations::all(&mut *app.db.read().await?).await
}

/// The named organization, or the only one there is.
///
/// # Errors
/// `NotFound`; `BadValue` when it must be named.
pub async fn organization(app: &App, named: Option<OrganizationId>) -> Result<Organization> {
    let mut all = organizations(app).await?;
    match named {
        Some(zoid) => all.into_iter().find(|organization| organization.id == zoid).ok_or_else(|| {
            Error::NotFound(format!("there is no organization {zoid}; see `mailward org list`"))
        }),
        None if all.len() > 1 => Err(Error::bad_value(
            "--org",
            "there are several organizations; name one, as `mailward org list` shows",
        )),
        None => all.pop().ok_or_else(|| {
            Error::NotFound(
                "there is no organization yet; run `mailward init` or `mailward org add`".to_owned(),
            )
        }),
    }
}

/// A user by address, zuid or accountId; ids and addresses are unique over all organizations.
///
/// # Errors
/// `NotFound`, also when the user is in another organization than the named one; `BadAddress`.
pub async fn user(app: &App, name: &str, named: Option<OrganizationId>) -> Result<Account> {
    named_user(&mut *app.db.snapshot().await?, name, named).await
}

/// The same within a transaction, for doors that have looked at the caller's rights.
pub(super) async fn named_user(tx: &mut Tx, name: &str, named: Option<OrganizationId>) -> Result<Account> {
    if let Ok(number) = name.parse::<i64>() {
        let handle = Handle::of(number).ok_or_else(|| no_such_account(number))?;
        let zoids = match named {
            Some(zoid) => vec![zoid],
            None => store::organizations::all(tx).await?.into_iter().map(|one| one.id).collect(),
        };
        for zoid in zoids {
            if let Some(account) = store::accounts::load(tx, zoid, handle).await? {
                return Ok(account);
            }
        }
        return Err(no_such_account(number));
    }
    if !name.contains('@') {
        return Err(Error::bad_value(
            "user",
            format!("{name} is neither an address nor a zuid nor an accountId"),
        ));
    }
    let address = EmailAddress::parse(name)?;
    let missing = || Error::NotFound(format!("no user has the address {address}"));
    let (zoid, account) = store::addresses::account_of(tx, &address).await?.ok_or_else(missing)?;
    if named.is_some_and(|named| named != zoid) {
        return Err(Error::NotFound(format!("{address} belongs to another organization than the named one")));
    }
    store::accounts::load(tx, zoid, Handle::Account(account)).await?.ok_or_else(missing)
}

/// Whose a domain is.
///
/// # Errors
/// `NotFound`.
pub async fn organization_of_domain(
    app: &App,
    name: &DomainName,
    named: Option<OrganizationId>,
) -> Result<OrganizationId> {
    let mut tx = app.db.snapshot().await?;
    for organization in store::organizations::all(&mut tx).await? {
        if named.is_none_or(|zoid| zoid == organization.id)
            && store::organizations::domain(&mut tx, organization.id, name).await?.is_some()
        {
            return Ok(organization.id);
        }
    }
    Err(Error::NotFound(format!("there is no domain {name} here; see `mailward domain list`")))
}

/// The newest audit entries, the newest first.
pub async fn audit(
    app: &App,
    zoid: OrganizationId,
    person: Option<UserId>,
    most: i64,
) -> Result<Vec<AuditRow>> {
    store::audit::newest(&mut *app.db.read().await?, zoid, person, most).await
}

/// Breaks the glass: makes the user an enabled super administrator, when the organization has no
/// enabled one. Audited as `recoverSuperAdmin`.
///
/// # Errors
/// `Refused` while there is an enabled super administrator, `Forbidden` for anybody but the operator.
pub async fn recover_super_admin(app: &App, context: &Context, account: &Account) -> Result<Done> {
    let (rules, inner) = (Rules::of(app), context.clone());
    let (zoid, user) = (account.organization, account.user);
    simple(app, context, "recoverSuperAdmin", Some(zoid), &user.to_string(), async move |tx, stamp| {
        let actor = authenticate(tx, &inner.caller, stamp.at).await?;
        if !matches!(actor, Actor::Operator { .. }) {
            return Err(Error::Forbidden("this is done at the server's command line".to_owned()));
        }
        let missing = || no_such_user(user.get());
        let before = store::accounts::load(tx, zoid, Handle::User(user)).await?.ok_or_else(missing)?;
        let organization = store::organizations::load(tx, zoid).await?.ok_or_else(missing)?;
        if before.is_enabled_super_admin() || store::accounts::other_super_admins(tx, zoid, user).await? > 0 {
            return Err(Error::Refused(
                "the organization has an enabled super administrator, who can do this in the ordinary way; \
                 see `mailward user list`"
                    .to_owned(),
            ));
        }
        let hand = Hand::of(&actor, stamp.at, inner.reason.as_ref());
        let make = |transition: &mut Transition<'_>| {
            transition.change_role(Role::SuperAdmin, None)?;
            transition.lift(SwitchName::UserDisabled)?;
            transition.account.expires_at = None; // or the term would end it again within a minute
            Ok(())
        };
        let plan = Plan::of_one(actor, organization, before, hand, rules.delimiter, make)?;
        store_plan(tx, &inner, plan, stamp, rules).await
    })
    .await
}

/// An access token for somebody to hand over. In a dry run it opens nothing and is not to be shown.
///
/// # Errors
/// `NotFound` for an unknown or disabled user, `BadValue` for a life beyond a year.
pub async fn issue_token(
    app: &App,
    context: &Context,
    account: &Account,
    scope: ScopeSet,
    life: Millis,
) -> Result<(Secret, Done)> {
    let (user, zoid) = (account.user, account.organization);
    let token = app.random.with(new_token);
    let (hash, now) = (token.fingerprint(), app.clock.now());
    let done = record(app, context, ChangeSpec::plain("issueToken", zoid), async move |tx, _| {
        oauth::issue_in(tx, (zoid, user), &hash, &scope, life, now).await?;
        Ok(BTreeMap::from([
            ("scope", scope.to_string()),
            ("seconds", (life / crate::clock::SECOND).to_string()),
            ("zuid", user.to_string()),
        ]))
    })
    .await?;
    Ok((token, done))
}

/// A grant code for a self client. In a dry run it opens nothing and is not to be shown.
///
/// # Errors
/// As `oauth::make_code`.
pub async fn make_code(app: &App, context: &Context, wish: CodeWish) -> Result<(Secret, Done)> {
    clients::record_code(app, context, Whose::Operators, wish, async |_, _, _| Ok(())).await
}

/// Revokes a token, whosever it is: an access token, or a refresh token with what it made.
///
/// # Errors
/// `Grant(UnknownToken)`.
pub async fn revoke_token(app: &App, context: &Context, token: &Secret) -> Result<Done> {
    let hash = token.fingerprint();
    let holder = {
        let mut tx = app.db.snapshot().await?;
        let holder = match store::tokens::access(&mut tx, &hash).await? {
            Some(row) => Some((row.organization, row.user)),
            None => store::tokens::refresh(&mut tx, &hash).await?.map(|row| (row.organization, row.user)),
        };
        let (zoid, user) = holder.ok_or(GrantRefusal::UnknownToken)?;
        store::tokens::resource_owner(&mut tx, zoid, user).await?.ok_or(GrantRefusal::UnknownToken)?
    };
    let (zoid, user) = (holder.organization, holder.user);
    let spec = ChangeSpec {
        concerned: Concerned::Person(zoid, user, holder.account),
        ..ChangeSpec::plain("revokeToken", zoid)
    };
    record(app, context, spec, async move |tx, _| {
        oauth::revoke_in(tx, &hash).await?;
        Ok(BTreeMap::from([("zuid", user.to_string())]))
    })
    .await
}

/// The mailboxes of deleted users, the oldest first.
pub async fn retained_mailboxes(app: &App) -> Result<Vec<Retained>> {
    store::mailboxes::retained(&mut *app.db.read().await?).await
}

/// Forgets the mailbox of a deleted user, whose files are gone.
///
/// # Errors
/// `NotFound`; `Refused` while its files are on this machine.
pub async fn forget_mailbox(app: &App, context: &Context, mailbox: &str) -> Result<Done> {
    let all = retained_mailboxes(app).await?;
    let kept = all.into_iter().find(|kept| kept.mailbox == mailbox).ok_or_else(|| {
        Error::NotFound(format!(
            "there is no mailbox {mailbox} of a deleted user; see `mailward mailbox list`"
        ))
    })?;
    let path = app.config.mail.mail_root.join(&kept.mailbox);
    if path.exists() {
        return Err(Error::Refused(format!("its mail is still in {}; remove that first", path.display())));
    }
    record(app, context, ChangeSpec::plain("forgetMailbox", kept.organization), async move |tx, _| {
        store::mailboxes::forget_retained(tx, &kept.mailbox).await?;
        Ok(BTreeMap::from([("mailbox", kept.mailbox.clone()), ("address", kept.address.clone())]))
    })
    .await
}

/// What the database tells of itself, for `doctor`.
#[derive(Debug, Clone)]
pub struct Pulse {
    /// Durability settings as the engine says them.
    pub durability: Vec<(String, String)>,
    /// Effects that wait, for whatever target.
    pub backlog: Backlog,
    /// When the newest audit entry was written.
    pub newest_entry: Option<Millis>,
    /// Enabled organizations without an enabled super administrator.
    pub orphans: Vec<OrganizationId>,
    pub organizations: usize,
    /// Since when the oldest audit entry waits that is not sealed.
    pub unsealed_since: Option<Millis>,
}

/// # Errors
/// `Unavailable`.
pub async fn pulse(db: &Db) -> Result<Pulse> {
    let durability = engine::durability(db).await?;
    let mut tx = db.snapshot().await?;
    let organizations = store::organizations::all(&mut tx).await?;
    let mut newest_entry = None;
    for organization in &organizations {
        let newest = store::audit::newest(&mut tx, organization.id, None, 1).await?;
        newest_entry = newest_entry.max(newest.first().map(|entry| entry.at));
    }
    Ok(Pulse {
        durability,
        backlog: store::outbox::backlog(&mut tx).await?,
        newest_entry,
        orphans: store::organizations::orphans(&mut tx).await?,
        organizations: organizations.len(),
        unsealed_since: store::audit_chain::waiting_since(&mut tx).await?,
    })
}
