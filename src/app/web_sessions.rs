//! Signing in with a browser: from address and password to a session, and what a session's owner
//! does with it. A session is a credential like a token (`Caller::Session`).

use std::net::IpAddr;

use crate::app::App;
use crate::app::call::{Caller, Context};
use crate::app::journal::Stamp;
use crate::app::own::{self, Act};
use crate::app::{password, verifier};
use crate::clock::{HOUR, MINUTE, Millis};
use crate::domain::account::Account;
use crate::domain::ids::{ChangeId, OrganizationId, UserId, WebSessionId};
use crate::domain::password::Password;
use crate::domain::place::place;
use crate::domain::secret::{Fingerprint, Secret, fingerprint, new_token};
use crate::domain::web_session::Stage;
use crate::error::{Error, Result};
use crate::store;
use crate::store::accounts::Handle;
pub use crate::store::sign_ins::Place;
pub use crate::store::web_sessions::{LiveSession, WebSession};

/// For how long an unfinished sign-in may be finished.
const UNFINISHED: Millis = 15 * MINUTE;
/// How stale `seen_at` may be before a use is noted.
const NOTED_AFTER: Millis = MINUTE;
/// For how long a proof of identity suffices for dangerous verbs.
pub const PROOF_LASTS: Millis = 10 * MINUTE;
/// Most of a browser's own name that is kept.
const LONGEST_AGENT: usize = 200;

/// Where a request came from, for the person to recognise.
#[derive(Debug, Clone, Default)]
pub struct Browser {
    pub source: Option<IpAddr>,
    /// The `User-Agent` header.
    pub agent: String,
}

/// A session just made: the cookie's value, told once.
#[derive(Debug)]
pub struct Started {
    pub cookie: Secret,
    pub stage: Stage,
}

/// Checks address and password, and begins a session.
///
/// # Errors
/// As `verifier::verify`.
pub async fn sign_in(
    app: &App,
    address: &str,
    password: Option<&Password>,
    browser: &Browser,
) -> Result<Started> {
    let verified = verifier::verify(app, address, password, browser.source).await?;
    let mark = mark(&verified.account);
    begin(app, &verified.account, browser, mark, SignInStep::Password).await
}

/// The step of a sign-in that a session begins after.
#[derive(Debug, Clone, Copy)]
pub enum SignInStep {
    Password,
    /// A second factor, in a session of that stage.
    Factor(Stage),
    /// A new password was chosen just now; a second factor, where there is one, came before it.
    NewPassword,
    /// A passkey that knows its owner: both factors in one.
    Passkey,
}

/// Names the password that an account has, without saying anything of it.
pub(super) fn mark(account: &Account) -> Option<Fingerprint> {
    account.credential.hash.as_ref().map(|hash| fingerprint(hash.as_phc()))
}

/// Begins a session of somebody who has proved to be the account's owner, provided the password is
/// still the one of the mark.
///
/// # Errors
/// `BadCredentials` when the account stands differently now.
pub async fn begin(
    app: &App,
    known: &Account,
    browser: &Browser,
    password_mark: Option<Fingerprint>,
    step: SignInStep,
) -> Result<Started> {
    let (now, id): (_, WebSessionId) = (app.clock.now(), app.ids.next().await?);
    let cookie = app.random.with(new_token);
    let hash = cookie.fingerprint();
    let (organization, handle) = (known.organization, Handle::User(known.user));
    let lasts = app.config.console.session_hours * HOUR;
    let source = browser.source.map(|source| source.to_string()).unwrap_or_default();
    let from = browser.source.map(place).unwrap_or_default();
    let agent: String = browser.agent.chars().filter(|c| !c.is_control()).take(LONGEST_AGENT).collect();
    let stage = app
        .db
        .write(async move |tx| {
            let account = store::accounts::load(tx, organization, handle).await?;
            let account = account.ok_or(Error::BadCredentials)?;
            let home = store::organizations::load(tx, organization).await?.ok_or(Error::BadCredentials)?;
            let open = account.switches.user_disabled.is_none() && home.disabled.is_none();
            if !open || mark(&account) != password_mark {
                return Err(Error::BadCredentials);
            }
            let has_factor = store::factors::any(tx, organization, account.user).await?;
            let demanded = home.policy.second_factor.demands(account.role);
            let stage = match step {
                SignInStep::Password => Stage::after_password(account.credential.kind, has_factor, demanded),
                SignInStep::Factor(stage) => stage.after_factor(),
                SignInStep::NewPassword if demanded && !has_factor => Stage::SetUpFactor,
                SignInStep::NewPassword | SignInStep::Passkey => Stage::SignedIn,
            };
            let session = WebSession {
                id,
                organization,
                user: account.user,
                epoch: account.session_epoch,
                stage,
                password_mark,
                ceremony: None,
                created_at: now,
                proved_at: now,
                seen_at: now,
                expires_at: now + if stage == Stage::SignedIn { lasts } else { UNFINISHED },
                source: source.clone(),
                agent: agent.clone(),
            };
            store::web_sessions::insert(tx, &hash, &session).await?;
            if stage == Stage::SetUpFactor {
                // They are void without a factor, and must not come back to life by the one that is set up now.
                store::web_sessions::delete_at(tx, organization, account.user, Stage::SignedIn).await?;
            }
            if stage == Stage::SignedIn {
                store::sign_ins::note(tx, organization, account.user, now, "console", &from).await?;
            }
            Ok(stage)
        })
        .await?;
    Ok(Started { cookie, stage })
}

/// Goes on after the second factor was proved, with a new cookie: the old session ends.
///
/// # Errors
/// `BadCredentials` when the account stands differently now.
pub async fn factor_proved(app: &App, held: &LiveSession, browser: &Browser) -> Result<Started> {
    let account = account(app, held.session.organization, held.session.user).await?;
    let step = SignInStep::Factor(held.session.stage);
    let started = begin(app, &account, browser, held.session.password_mark, step).await?;
    sign_out(app, held).await?;
    Ok(started)
}

/// The living session behind a cookie, whatever its stage; its use is noted.
///
/// # Errors
/// The database's.
pub async fn held(app: &App, hash: Fingerprint) -> Result<Option<LiveSession>> {
    let now = app.clock.now();
    let held = {
        let mut tx = app.db.read().await?;
        store::web_sessions::holder(&mut tx, &hash, now, now - idle(app)).await?
    };
    if let Some(held) = &held
        && now - held.session.seen_at > NOTED_AFTER
    {
        match app.db.write(async move |tx| store::web_sessions::seen(tx, &hash, now).await).await {
            // Pages can still be read where nothing can be written.
            Ok(_) | Err(Error::Unavailable { .. } | Error::ReadOnly) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(held)
}

/// The credential that a session's owner acts with.
pub fn caller(app: &App, held: &LiveSession) -> Caller {
    Caller::Session { hash: held.hash, idle: idle(app) }
}

pub(super) fn idle(app: &App) -> Millis {
    app.config.console.idle_minutes * MINUTE
}

/// Ends a session.
///
/// # Errors
/// The database's.
pub async fn sign_out(app: &App, held: &LiveSession) -> Result<()> {
    let hash = held.hash;
    app.db.write(async move |tx| store::web_sessions::delete(tx, &hash).await).await.map(drop)
}

/// The person's living sessions, the newest first.
///
/// # Errors
/// The database's.
pub async fn list(app: &App, held: &LiveSession) -> Result<Vec<WebSession>> {
    let now = app.clock.now();
    let mut tx = app.db.read().await?;
    let (organization, user) = (held.session.organization, held.session.user);
    store::web_sessions::of_person(&mut tx, organization, user, now, now - idle(app)).await
}

/// From where the person signed in, or somebody else did, by web page and mail program; the latest first.
///
/// # Errors
/// The database's.
pub async fn places(app: &App, held: &LiveSession) -> Result<Vec<Place>> {
    let (organization, user) = (held.session.organization, held.session.user);
    store::sign_ins::places(&mut *app.db.read().await?, organization, user).await
}

/// Ends one of the person's own sessions, or all but the one that asks.
///
/// # Errors
/// `NotFound`.
pub async fn end(app: &App, context: &Context, which: Which) -> Result<()> {
    let (stamp, context) = (Stamp::new(app, context, "endSessions").await?, context.clone());
    app.db
        .write(async move |tx| {
            let (held, account) = own::owner(tx, &context, &[Stage::SignedIn], stamp.at).await?;
            let (organization, user) = (account.organization, account.user);
            let ended = match which {
                Which::One(id) => {
                    u64::from(store::web_sessions::delete_named(tx, organization, user, id).await?)
                }
                Which::Others => {
                    store::web_sessions::delete_others(tx, organization, user, held.session.id).await?
                }
            };
            if ended == 0 {
                return Err(Error::NotFound("this session has ended already".to_owned()));
            }
            let act = Act::own(&context, &account, stamp);
            act.note(tx, [("sessions", ended.to_string())], &[]).await
        })
        .await
}

/// Which sessions end.
#[derive(Debug, Clone, Copy)]
pub enum Which {
    One(WebSessionId),
    Others,
}

/// Begins a new session for somebody whose own change, which left the account like this, has voided the one
/// that asked for it.
///
/// # Errors
/// `BadCredentials` when somebody else has changed the password since.
pub async fn after_own_change(
    app: &App,
    held: &LiveSession,
    changed: &Account,
    browser: &Browser,
) -> Result<Started> {
    let started = begin(app, changed, browser, mark(changed), SignInStep::NewPassword).await?;
    sign_out(app, held).await?;
    Ok(started)
}

/// Whether the person has to prove again to be who they are before something dangerous.
pub fn proof_is_old(app: &App, held: &LiveSession) -> bool {
    app.clock.now() - held.session.proved_at > PROOF_LASTS
}

/// Takes the person's password as a fresh proof.
///
/// # Errors
/// As `verifier::verify`; `BadCredentials` for a one-time password, which opens the choice of a new one alone.
pub async fn prove_again(
    app: &App,
    held: &LiveSession,
    password: &Password,
    source: Option<IpAddr>,
) -> Result<()> {
    let account = account(app, held.session.organization, held.session.user).await?;
    verifier::verify(app, account.primary.as_str(), Some(password), source).await?.proving(account.id)?;
    let (hash, now) = (held.hash, app.clock.now());
    app.db.write(async move |tx| store::web_sessions::proved(tx, &hash, now).await).await
}

/// Chooses a new password in a session that a one-time password began, which is also the context's; it is replaced. Where it cannot be,
/// the password is chosen all the same, and there is no new session.
///
/// # Errors
/// `BadCredentials` when the one-time password is no longer the account's, or the session has ended; as
/// `password::choose`.
pub async fn choose_password(
    app: &App,
    context: &Context,
    held: &LiveSession,
    browser: &Browser,
    new: &Password,
) -> Result<(ChangeId, Option<Started>)> {
    let known = account(app, held.session.organization, held.session.user).await?;
    if held.session.stage != Stage::ChoosePassword || mark(&known) != held.session.password_mark {
        return Err(Error::BadCredentials);
    }
    let (change, changed) = password::choose(app, context, known, new).await?;
    let started = begin(app, &changed, browser, mark(&changed), SignInStep::NewPassword).await;
    Ok((change, started.ok()))
}

/// The account of a session's owner.
///
/// # Errors
/// `BadCredentials` when it is gone.
pub async fn account(app: &App, organization: OrganizationId, user: UserId) -> Result<Account> {
    let mut tx = app.db.read().await?;
    store::accounts::load(&mut tx, organization, Handle::User(user)).await?.ok_or(Error::BadCredentials)
}

/// What the choice of a new password needs to show: whose it is, and the least length.
///
/// # Errors
/// `BadCredentials` when the account is gone.
pub async fn choice(app: &App, held: &LiveSession) -> Result<(Account, usize)> {
    let mut tx = app.db.read().await?;
    let organization = store::organizations::load(&mut tx, held.session.organization).await?;
    drop(tx);
    let least = organization.ok_or(Error::BadCredentials)?.policy.password.min_length;
    Ok((account(app, held.session.organization, held.session.user).await?, least))
}
