//! The way back to a forgotten password: an address outside this installation that was proved
//! beforehand, and a link that is mailed there. Start with [`ask`] and [`recover`].
//!
//! Nobody who asks learns whether an address is known: asking only puts a wish down, and the worker
//! looks at it later ([`take_up`]). A link's secret is made when its letter is sent, and is stored
//! nowhere but as a SHA-256.

use std::net::IpAddr;

use secrecy::SecretString;

use crate::app::App;
use crate::app::call::Context;
use crate::app::journal::Stamp;
use crate::app::own::{self, Act, tell};
use crate::app::throttle::{self, Subject};
use crate::app::web_sessions::mark;
use crate::app::{factors, organizations, password};
use crate::clock::{DAY, HOUR, MINUTE, Millis};
use crate::domain::account::Account;
use crate::domain::actor::Role;
use crate::domain::effect::{Effect, Letter, Notice};
use crate::domain::email_address::EmailAddress;
use crate::domain::ids::{ChangeId, OrganizationId};
use crate::domain::password::{Password, PasswordKind};
use crate::domain::secret::{Fingerprint, Secret, new_link};
use crate::domain::web_session::Stage;
use crate::error::{Error, Result};
use crate::store;
use crate::store::accounts::Handle;
use crate::store::engine::Tx;
use crate::store::outbox::Origin;
pub use crate::store::recovery::{Purpose, RecoveryAddress, RecoveryLink};
use crate::store::throttle::count_below;

/// How long a link is good.
pub const LINK_LASTS: Millis = 15 * MINUTE;
/// For how long a new recovery address does not serve: time for its owner to notice a stranger's.
pub const WAITS: Millis = 7 * DAY;
/// Letters with links that one person, or one address that was typed, causes in an hour.
pub(super) const MOST_LETTERS: i64 = 3;
/// Wishes that one source address may put down in an hour.
pub(super) const MOST_FROM_SOURCE: i64 = 30;
/// Wishes that one transaction takes up.
const AT_ONCE: i64 = 20;

// Asking -------------------------------------------------------------------------------------

/// Puts down that somebody forgot the password of an address. Known and unknown addresses go exactly
/// the same way.
///
/// # Errors
/// `TooMany` for a source that asks too often.
pub async fn ask(app: &App, address: &EmailAddress, source: Option<IpAddr>) -> Result<()> {
    let now = app.clock.now();
    let address = address.without_detail(app.config.addresses.recipient_delimiter);
    let mark = app.random.with(new_link).fingerprint();
    app.db
        .write(async move |tx| {
            if let Some(source) = source {
                throttle::count(tx, &Subject::recovery_from(source), MOST_FROM_SOURCE, HOUR, now).await?;
            }
            // Beyond its number a wish is dropped, and the answer stays the same.
            let typed = Subject::recovery_to(&address);
            if count_below(tx, typed.as_str(), now, HOUR, MOST_LETTERS).await?.is_some() {
                store::recovery::wish(tx, &mark, &address, now, now + LINK_LASTS).await?;
            }
            Ok(())
        })
        .await?;
    app.wake_worker.notify_waiters();
    Ok(())
}

/// Looks at the wishes that were put down, and has letters written to those who may recover.
///
/// # Errors
/// The database's.
pub async fn take_up(app: &App) -> Result<()> {
    loop {
        if !store::recovery::any_wish(&mut *app.db.read().await?).await? {
            return Ok(());
        }
        let mut changes: Vec<ChangeId> = Vec::new();
        for _ in 0..AT_ONCE {
            changes.push(app.ids.next().await?);
        }
        let now = app.clock.now();
        app.db
            .write(async move |tx| {
                let wishes = store::recovery::take_wishes(tx, AT_ONCE).await?;
                for (typed, change) in wishes.iter().zip(&changes) {
                    let Ok(address) = EmailAddress::parse(typed) else { continue };
                    let Some(account) = whose(tx, &address).await? else { continue };
                    let Some(proved) = may_recover(tx, &account, now).await? else { continue };
                    let subject = Subject::recovery_of(account.id);
                    if count_below(tx, subject.as_str(), now, HOUR, MOST_LETTERS).await?.is_none() {
                        continue;
                    }
                    let (organization, account) = (account.organization, Some(account.id));
                    let origin = Origin { change: *change, organization, account, at: now };
                    let effect = Effect::Write { to: proved.address, letter: Letter::RecoverPassword };
                    store::outbox::for_person(tx, origin, &effect)?;
                }
                Ok(())
            })
            .await?;
    }
}

async fn whose(tx: &mut Tx, address: &EmailAddress) -> Result<Option<Account>> {
    let Some((organization, account)) = store::addresses::account_of(tx, address).await? else {
        return Ok(None);
    };
    store::accounts::load(tx, organization, Handle::Account(account)).await
}

/// The address with which this person may recover the password now. None for administrators, while
/// somebody is blocked, and while a one-time password of an administrator waits: none of these is
/// to be got round.
async fn may_recover(tx: &mut Tx, account: &Account, now: Millis) -> Result<Option<RecoveryAddress>> {
    let home = store::organizations::load(tx, account.organization).await?;
    let open = account.switches.user_disabled.is_none()
        && home.is_some_and(|home| home.disabled.is_none())
        && account.credential.kind == PasswordKind::Permanent
        && account.credential.hash.is_some();
    if account.role != Role::Member || !open {
        return Ok(None);
    }
    let proved = store::recovery::address(tx, account.organization, account.user).await?;
    Ok(proved.filter(|proved| proved.serves_from <= now))
}

/// Whether a link of this purpose, mailed to that address, may serve the account now.
async fn may_serve(
    tx: &mut Tx,
    purpose: Purpose,
    account: &Account,
    address: &str,
    now: Millis,
) -> Result<bool> {
    Ok(match purpose {
        Purpose::Address => account.switches.user_disabled.is_none(),
        Purpose::Password => {
            may_recover(tx, account, now).await?.is_some_and(|proved| proved.address == address)
        }
    })
}

// Letters ------------------------------------------------------------------------------------

/// Makes the link for a letter that is about to be sent; an earlier one of the same purpose is void
/// then. `None` when the letter must not be sent any more: also where the password was replaced since it was
/// asked for, for whoever asked may be whom that locked out.
///
/// # Errors
/// The database's.
pub(super) async fn link_for(
    app: &App,
    account: &Account,
    to: &str,
    purpose: Purpose,
    asked_at: Millis,
) -> Result<Option<Secret>> {
    let (now, to) = (app.clock.now(), to.to_owned());
    let secret = app.random.with(new_link);
    let (hash, organization, handle) =
        (secret.fingerprint(), account.organization, Handle::User(account.user));
    let stored = app
        .db
        .write(async move |tx| {
            let Some(account) = store::accounts::load(tx, organization, handle).await? else {
                return Ok(false);
            };
            let good = may_serve(tx, purpose, &account, &to, now).await?;
            if !good || account.credential.at > asked_at {
                return Ok(false);
            }
            let link = RecoveryLink {
                organization,
                user: account.user,
                purpose,
                address: to.clone(),
                epoch: account.session_epoch,
                password_mark: mark(&account),
                created_at: now,
                expires_at: now + LINK_LASTS,
            };
            store::recovery::insert_link(tx, &hash, &link).await?;
            Ok(true)
        })
        .await?;
    let page = match purpose {
        Purpose::Address => "address",
        Purpose::Password => "password",
    };
    // From the configuration alone: what a request says of its host is hearsay.
    let url = || format!("{}/recover/{page}/{}", app.config.public_url(), secret.expose());
    Ok(stored.then(|| Secret::new(url())))
}

/// A link that is good now, and whose it is. Looking spends nothing: scanners of mail do look.
///
/// # Errors
/// The database's.
pub async fn look(app: &App, purpose: Purpose, secret: &Secret) -> Result<Option<(RecoveryLink, Account)>> {
    let now = app.clock.now();
    good_link(&mut *app.db.snapshot().await?, purpose, &secret.fingerprint(), now).await
}

/// The same in a transaction that is about to spend it.
pub(super) async fn good_link(
    tx: &mut Tx,
    purpose: Purpose,
    hash: &Fingerprint,
    now: Millis,
) -> Result<Option<(RecoveryLink, Account)>> {
    let Some(link) = store::recovery::link(tx, hash, purpose, now).await? else { return Ok(None) };
    let account = store::accounts::load(tx, link.organization, Handle::User(link.user)).await?;
    let Some(account) = account else { return Ok(None) };
    let same = account.session_epoch == link.epoch && mark(&account) == link.password_mark;
    let good = may_serve(tx, purpose, &account, &link.address, now).await?;
    Ok((same && good).then_some((link, account)))
}

// The password -------------------------------------------------------------------------------

/// What the page at a link needs to know: whose it is, the least length, and whether a second factor
/// will be wanted.
///
/// # Errors
/// The database's.
pub async fn choice(app: &App, secret: &Secret) -> Result<Option<(Account, usize, bool)>> {
    let Some((_, account)) = look(app, Purpose::Password, secret).await? else { return Ok(None) };
    let factor = factors::enrolled(app, &account).await?.any();
    let home = organizations::load(&mut *app.db.read().await?, account.organization).await?;
    Ok(Some((account, home.policy.password.min_length, factor)))
}

/// Chooses a new password with a link, once. It lifts no block, signs nobody in, and wants the second
/// factor of who has one.
///
/// # Errors
/// `BadCredentials` when the link is not good any more; `BadPassword`; `TooMany` for this person; as
/// `factors::prove`.
pub async fn recover(
    app: &App,
    context: &Context,
    secret: &Secret,
    new: &Password,
    code: Option<&SecretString>,
) -> Result<ChangeId> {
    let (_, account) = look(app, Purpose::Password, secret).await?.ok_or(Error::BadCredentials)?;
    password::recover(app, context, account, new, code, secret.fingerprint()).await
}

// The address --------------------------------------------------------------------------------

/// The recovery address of an account.
///
/// # Errors
/// The database's.
pub async fn address_of(app: &App, account: &Account) -> Result<Option<RecoveryAddress>> {
    store::recovery::address(&mut *app.db.read().await?, account.organization, account.user).await
}

/// Has a link mailed with which an address is proved. The one that serves goes on until then.
///
/// # Errors
/// `BadAddress` for one of this installation; `Refused` for the one there is; `TooMany`.
pub async fn propose(app: &App, context: &Context, address: &EmailAddress) -> Result<()> {
    let stamp = Stamp::new(app, context, "proposeRecoveryAddress").await?;
    let (context, address, now) = (context.clone(), address.clone(), stamp.at);
    app.db
        .write(async move |tx| {
            let (_, account) = own::owner(tx, &context, &[Stage::SignedIn], now).await?;
            if store::organizations::is_own_domain(tx, address.domain()).await? {
                return Err(Error::BadAddress(
                    "a recovery address is outside this mail service: you must be able to read it without this password"
                        .to_owned(),
                ));
            }
            let known = store::recovery::address(tx, account.organization, account.user).await?;
            if known.is_some_and(|known| known.address == address.as_str()) {
                return Err(Error::Refused("this is your recovery address already".to_owned()));
            }
            for subject in Subject::recovery_proof(account.id, &address) {
                throttle::count(tx, &subject, MOST_LETTERS, HOUR, now).await?;
            }
            let act = Act::own(&context, &account, stamp);
            let letter = Effect::Write { to: address.to_string(), letter: Letter::ProveAddress };
            act.note(tx, [("address", masked(address.as_str()))], &[letter]).await?;
            Ok(())
        })
        .await?;
    app.wake_worker.notify_waiters();
    Ok(())
}

/// Makes the address that a link was mailed to the recovery address. It serves after a term; the one
/// before serves no more, and is told.
///
/// # Errors
/// `BadCredentials` when the link is not good any more.
pub async fn prove_address(app: &App, context: &Context, secret: &Secret) -> Result<RecoveryAddress> {
    let stamp = Stamp::new(app, context, "setRecoveryAddress").await?;
    let (context, hash, now) = (context.clone(), secret.fingerprint(), stamp.at);
    let proved = app
        .db
        .write(async move |tx| {
            let (link, account) =
                good_link(tx, Purpose::Address, &hash, now).await?.ok_or(Error::BadCredentials)?;
            if !store::recovery::use_link(tx, &hash, now).await? {
                return Err(Error::BadCredentials);
            }
            let (organization, user) = (account.organization, account.user);
            let before = store::recovery::address(tx, organization, user).await?;
            let proved = RecoveryAddress { address: link.address, proved_at: now, serves_from: now + WAITS };
            store::recovery::put_address(tx, organization, user, &proved).await?;
            let shown = masked(&proved.address);
            let mut effects = vec![tell(Notice::RecoveryAddressSet { address: shown.clone() })];
            effects
                .extend(before.map(|old| Effect::Write { to: old.address, letter: Letter::AddressReplaced }));
            let act = Act::own(&context, &account, stamp);
            act.note(tx, [("address", shown)], &effects).await?;
            Ok(proved)
        })
        .await?;
    app.wake_worker.notify_waiters();
    Ok(proved)
}

/// Removes the recovery address, which is told.
///
/// # Errors
/// `NotFound`.
pub async fn remove_address(app: &App, context: &Context) -> Result<()> {
    let (stamp, context) = (Stamp::new(app, context, "removeRecoveryAddress").await?, context.clone());
    app.db
        .write(async move |tx| {
            let (_, account) = own::owner(tx, &context, &[Stage::SignedIn], stamp.at).await?;
            let (organization, user) = (account.organization, account.user);
            let removed = store::recovery::remove_address(tx, organization, user).await?;
            let old = removed.ok_or_else(|| Error::NotFound("there is no recovery address".to_owned()))?;
            store::recovery::void_links(tx, organization, user).await?;
            let effects = [
                tell(Notice::RecoveryAddressRemoved { address: masked(&old) }),
                Effect::Write { to: old.clone(), letter: Letter::AddressReplaced },
            ];
            let act = Act::own(&context, &account, stamp);
            act.note(tx, [("address", masked(&old))], &effects).await
        })
        .await?;
    app.wake_worker.notify_waiters();
    Ok(())
}

/// Enough of an address outside for its owner to know it again.
pub fn masked(address: &str) -> String {
    let (local, domain) = address.rsplit_once('@').unwrap_or((address, ""));
    let first: String = local.chars().take(1).collect();
    format!("{first}…@{domain}")
}

/// Where people are told besides the own mailbox.
pub(super) async fn copy_to(
    app: &App,
    organization: OrganizationId,
    account: &Account,
) -> Result<Option<String>> {
    let mut tx = app.db.read().await?;
    let known = store::recovery::address(&mut tx, organization, account.user).await?;
    Ok(known.map(|known| known.address))
}
