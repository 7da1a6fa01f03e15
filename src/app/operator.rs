//! What the operator of the server may ask and do beyond an administrator: across organizations,
//! without a token, and once, by breaking the glass, without a super administrator.

use std::collections::BTreeMap;

use crate::app::App;
use crate::app::change::{Context, Done, Plan, Rules, Step, authenticate, follow_up, store_plan};
use crate::app::oauth::{self, CodeWish};
use crate::app::organizations::{Reach, record};
use crate::clock::Millis;
use crate::domain::account::{Account, Facts, SwitchName, Transition};
use crate::domain::actor::Role;
use crate::domain::email_address::{DomainName, EmailAddress};
use crate::domain::ids::{ChangeId, OrganizationId, UserId, no_such_account};
use crate::domain::rights::Form;
use crate::domain::scope::ScopeSet;
use crate::domain::secret::Secret;
use crate::domain::switch::Hand;
use crate::error::{Error, GrantRefusal, Result};
use crate::store;
use crate::store::accounts::Handle;
use crate::store::audit::AuditRow;
use crate::store::engine::{self, Db};
use crate::store::mailboxes::Retained;
use crate::store::organizations::Organization;

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
    let mut tx = app.db.snapshot().await?;
    if let Ok(number) = name.parse::<i64>() {
        let handle = Handle::of(number).ok_or_else(|| no_such_account(number))?;
        for organization in store::organizations::all(&mut tx).await? {
            if named.is_none_or(|zoid| zoid == organization.id)
                && let Some(account) = store::accounts::load(&mut tx, organization.id, handle).await?
            {
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
    let (zoid, account) = store::addresses::account_of(&mut tx, &address).await?.ok_or_else(missing)?;
    if named.is_some_and(|named| named != zoid) {
        return Err(Error::NotFound(format!("{address} belongs to another organization than the named one")));
    }
    store::accounts::load(&mut tx, zoid, Handle::Account(account)).await?.ok_or_else(missing)
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
    let change: ChangeId = app.ids.next().await?;
    let (now, rules, context) = (app.clock.now(), Rules::of(app), context.clone());
    let (zoid, user) = (account.organization, account.user);
    let done = app
        .db
        .write(async move |tx| {
            let actor = authenticate(tx, &context.caller, now).await?;
            if !matches!(actor, crate::domain::actor::Actor::Operator { .. }) {
                return Err(Error::Forbidden("this is done at the server's command line".to_owned()));
            }
            let missing = || Error::NotFound(format!("zuid {user} is invalid"));
            let before = store::accounts::load(tx, zoid, Handle::User(user)).await?.ok_or_else(missing)?;
            let organization = store::organizations::load(tx, zoid).await?.ok_or_else(missing)?;
            let enabled = before.role == Role::SuperAdmin && before.switches.user_disabled.is_none();
            if enabled || store::accounts::other_super_admins(tx, zoid, user).await? > 0 {
                return Err(Error::Refused(
                    "the organization has an enabled super administrator, who can do this in the ordinary way; \
                     see `mailward user list`"
                        .to_owned(),
                ));
            }
            let facts = Facts {
                policy: organization.policy.clone(),
                delimiter: rules.delimiter,
                ..Facts::default()
            };
            let hand = Hand {
                who: actor.who(),
                rank: actor.rank(),
                own: false,
                at: now,
                reason: context.reason.clone(),
            };
            let mut transition = Transition::new(before.clone(), &facts, hand, None);
            transition.change_role(Role::SuperAdmin)?;
            transition.lift(SwitchName::UserDisabled)?;
            let Transition { account: mut after, effects, notes, .. } = transition;
            after.expires_at = None; // or the term would end it again within a minute
            let step = Step { before, after, effects, notes };
            let plan = Plan { actor, form: Form::Admin, organization, steps: vec![step] };
            store_plan(tx, &context, "recoverSuperAdmin", plan, change, rules, now).await
        })
        .await?;
    if let Some(position) = done.position {
        follow_up(app, position).await;
    }
    Ok(done)
}

/// An access token for somebody to hand over.
///
/// # Errors
/// As `oauth::issue`.
pub async fn issue_token(
    app: &App,
    context: &Context,
    account: &Account,
    scope: ScopeSet,
    life: Millis,
) -> Result<Secret> {
    let notes = [("scope", scope.to_string()), ("seconds", (life / crate::clock::SECOND).to_string())];
    let token = oauth::issue(app, account.organization, account.user, scope, life).await?;
    note(app, context, account, "issueToken", notes).await?;
    Ok(token)
}

/// A grant code for a self client.
///
/// # Errors
/// As `oauth::make_code`.
pub async fn make_code(app: &App, context: &Context, account: &Account, wish: CodeWish) -> Result<Secret> {
    let notes = [("scope", wish.scope.to_string()), ("client", wish.client.clone())];
    let code = oauth::make_code(app, wish).await?;
    note(app, context, account, "makeCode", notes).await?;
    Ok(code)
}

/// Revokes a token, whosever it is: an access token, or a refresh token with what it made.
///
/// # Errors
/// `Grant(UnknownToken)`.
pub async fn revoke_token(app: &App, context: &Context, token: &Secret) -> Result<()> {
    let hash = token.fingerprint();
    let holder = {
        let mut tx = app.db.snapshot().await?;
        match store::tokens::access(&mut tx, &hash).await? {
            Some(row) => Some((row.organization, row.user)),
            None => store::tokens::refresh(&mut tx, &hash).await?.map(|row| (row.organization, row.user)),
        }
    };
    let (zoid, user) = holder.ok_or(GrantRefusal::UnknownToken)?;
    oauth::revoke(app, token).await?;
    record(app, context, zoid, "revokeToken", Reach::Itself, async move |_, _| {
        Ok(BTreeMap::from([("zuid", user.to_string())]))
    })
    .await
}

/// A secret is only shown after its entry is stored: who sees it can be found.
async fn note<const N: usize>(
    app: &App,
    context: &Context,
    account: &Account,
    verb: &'static str,
    notes: [(&'static str, String); N],
) -> Result<()> {
    let user = account.user;
    record(app, context, account.organization, verb, Reach::Itself, async move |_, _| {
        let mut notes = BTreeMap::from(notes.clone());
        notes.insert("zuid", user.to_string());
        Ok(notes)
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
pub async fn forget_mailbox(app: &App, context: &Context, mailbox: &str) -> Result<()> {
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
    record(app, context, kept.organization, "forgetMailbox", Reach::Itself, async move |tx, _| {
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
    /// Effects that wait, and since when the oldest does.
    pub backlog: (i64, Option<Millis>),
    /// When the newest audit entry was written.
    pub newest_entry: Option<Millis>,
    /// Enabled organizations without an enabled super administrator.
    pub orphans: Vec<OrganizationId>,
    pub organizations: usize,
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
    })
}
