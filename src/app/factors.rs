//! Second factors: an authenticator app (TOTP, RFC 6238) and recovery codes. Guesses are counted
//! before they are looked at, as with passwords; passkeys are in `passkeys`.

use totp_rs::{Builder, Totp};
use zeroize::Zeroizing;

use crate::app::App;
use crate::app::call::Context;
use crate::app::journal::Stamp;
use crate::app::keys::{Purpose, of_person};
use crate::app::own::{self, Act, tell};
use crate::app::throttle::{self, Subject};
use crate::app::web_sessions::mark;
use crate::clock::{DAY, Millis, SECOND};
use crate::config::Throttle;
use crate::domain::account::Account;
use crate::domain::effect::Notice;
use crate::domain::ids::{OrganizationId, UserId};
use crate::domain::secret::{Fingerprint, Secret, fingerprint, new_recovery_code, plain_code};
use crate::domain::web_session::Stage;
use crate::error::{Error, Result};
use crate::store;
use crate::store::engine::Tx;
use crate::store::factors::PasskeyRow;
use crate::store::throttle::take_back;
use crate::store::web_sessions::LiveSession;

/// How many recovery codes a person gets at once.
const CODES: usize = 10;
/// RFC 4226, section 4, asks for 128 bits at least and recommends 160.
const SEED: usize = 20;

/// Which factors a person has.
#[derive(Debug, Clone)]
pub struct Enrolled {
    /// An authenticator app is in use.
    pub app: bool,
    pub passkeys: Vec<PasskeyRow>,
    pub codes_left: i64,
    /// The organization wants a second factor of this person.
    pub demanded: bool,
}

impl Enrolled {
    pub fn any(&self) -> bool {
        self.app || !self.passkeys.is_empty()
    }
}

/// # Errors
/// `BadToken` when the organization is gone.
pub async fn enrolled(app: &App, account: &Account) -> Result<Enrolled> {
    let (organization, user) = (account.organization, account.user);
    let mut tx = app.db.read().await?;
    let home = store::organizations::load(&mut tx, organization).await?.ok_or(Error::BadToken)?;
    let totp = store::factors::totp(&mut tx, organization, user).await?;
    Ok(Enrolled {
        app: totp.is_some_and(|totp| totp.confirmed_at.is_some()),
        passkeys: store::factors::passkeys(&mut tx, organization, user).await?,
        codes_left: store::factors::codes_left(&mut tx, organization, user).await?,
        demanded: home.policy.second_factor.demands(account.role),
    })
}

/// What an authenticator app needs to know.
#[derive(Debug)]
pub struct Proposal {
    /// The seed in base 32, to be typed.
    pub seed: Secret,
    /// The same as `otpauth://…`, to be scanned.
    pub uri: Secret,
}

/// The session and the person that may set up a factor now. Who was let in by the password alone, to set up
/// the first factor, may not once there is one: it could be somebody else's. Nor once there is another password.
///
/// # Errors
/// `BadToken`.
pub(super) async fn setting_up(
    tx: &mut Tx,
    context: &Context,
    now: Millis,
) -> Result<(LiveSession, Account)> {
    let (held, account) = own::owner(tx, context, &[Stage::SignedIn, Stage::SetUpFactor], now).await?;
    if held.session.stage == Stage::SetUpFactor
        && (held.session.password_mark != mark(&account)
            || store::factors::any(tx, account.organization, account.user).await?)
    {
        return Err(Error::BadToken);
    }
    Ok((held, account))
}

/// Proposes a new seed to this session; it opens nothing before a code of it was typed.
///
/// # Errors
/// `Refused` while an app is in use.
pub async fn propose(app: &App, context: &Context) -> Result<()> {
    let seed = Zeroizing::new(app.random.with(|rng| {
        use rand::Rng as _;
        let mut seed = [0; SEED];
        rng.fill_bytes(&mut seed);
        seed
    }));
    let (now, context, inner_app) = (app.clock.now(), context.clone(), app.clone());
    app.db
        .write(async move |tx| {
            let (held, account) = setting_up(tx, &context, now).await?;
            let (organization, user, session) = (account.organization, account.user, held.session.id);
            let sealed = inner_app.keys.seal(Purpose::Totp, &of_person(organization, user), seed.as_slice());
            if !store::factors::propose_totp(tx, organization, user, session, &sealed, now).await? {
                return Err(Error::Refused(
                    "an authenticator app is in use already; remove it first".to_owned(),
                ));
            }
            Ok(())
        })
        .await
}

/// The seed that was proposed to this session, while there is one. Nobody else who is signed in as the same
/// person sees it: whoever has a copy can make codes for ever.
///
/// # Errors
/// `Internal` when it was sealed with a key that is gone.
pub async fn proposal(app: &App, held: &LiveSession, account: &Account) -> Result<Option<Proposal>> {
    let (organization, user) = (account.organization, account.user);
    let found = store::factors::totp(&mut *app.db.read().await?, organization, user).await?;
    let Some(proposed) = found.filter(|totp| totp.is_proposed_to(held.session.id)) else { return Ok(None) };
    let totp = generator(app, organization, user, &proposed.sealed)?;
    let seed = Secret::new(totp.secret().to_base32());
    let encode = |text: &str| -> String { url::form_urlencoded::byte_serialize(text.as_bytes()).collect() };
    let uri = Secret::new(format!(
        "otpauth://totp/Mailward:{}?secret={}&issuer=Mailward",
        encode(account.primary.as_str()),
        seed.expose()
    ));
    Ok(Some(Proposal { seed, uri }))
}

/// Takes the proposed seed into use with a code of it. Answers recovery codes, where there are none.
///
/// # Errors
/// `Refused` for a wrong code.
pub async fn confirm(app: &App, context: &Context, typed: &str) -> Result<Option<Vec<Secret>>> {
    let stamp = Stamp::new(app, context, "setUpFactor").await?;
    let (context, inner_app, typed, now) = (context.clone(), app.clone(), plain_code(typed), stamp.at);
    let codes = new_set(app);
    let given = app
        .db
        .write(async move |tx| {
            let (held, account) = setting_up(tx, &context, now).await?;
            let (organization, user) = (account.organization, account.user);
            let proposed = store::factors::totp(tx, organization, user).await?;
            let proposed = proposed.filter(|totp| totp.is_proposed_to(held.session.id)).ok_or_else(|| {
                Error::Refused(
                    "the authenticator app is in use already, or was begun elsewhere; begin again".to_owned(),
                )
            })?;
            let totp = generator(&inner_app, organization, user, &proposed.sealed)?;
            let step = step(&totp, &typed, now).ok_or_else(wrong_code)?;
            store::factors::confirm_totp(tx, organization, user, step, now).await?;
            let act = Act::own(&context, &account, stamp);
            added(tx, &act, "authenticator app".to_owned(), &codes).await
        })
        .await?;
    app.wake_worker.notify_waiters();
    Ok(given)
}

/// What follows a new factor: the entry, the notice, and recovery codes if there are none. Whoever was let in to choose
/// a new password before there was a factor begins again, and is asked for it.
pub(super) async fn added(
    tx: &mut Tx,
    act: &Act<'_>,
    what: String,
    codes: &[Secret],
) -> Result<Option<Vec<Secret>>> {
    let (organization, user) = (act.account.organization, act.account.user);
    store::web_sessions::delete_at(tx, organization, user, Stage::ChoosePassword).await?;
    act.note(tx, [("factor", what.clone())], &[tell(Notice::FactorAdded { what })]).await?;
    if store::factors::codes_left(tx, organization, user).await? > 0 {
        return Ok(None);
    }
    store::factors::put_codes(tx, organization, user, &hashes(codes)).await?;
    Ok(Some(codes.to_vec()))
}

/// Whether the owner of an account has a second factor.
///
/// # Errors
/// The database's.
pub(super) async fn has_any(app: &App, account: &Account) -> Result<bool> {
    store::factors::any(&mut *app.db.read().await?, account.organization, account.user).await
}

/// What follows a factor that was taken away: the last one takes the recovery codes along.
///
/// # Errors
/// `Refused` when the organization wants one.
pub(super) async fn removed(tx: &mut Tx, act: &Act<'_>, what: String) -> Result<()> {
    let (organization, user) = (act.account.organization, act.account.user);
    if !store::factors::any(tx, organization, user).await? {
        let home = store::organizations::load(tx, organization).await?.ok_or(Error::BadToken)?;
        if home.policy.second_factor.demands(act.account.role) {
            return Err(Error::Refused(
                "your organization wants a second factor of you; set up another one first".to_owned(),
            ));
        }
        store::factors::remove_codes(tx, organization, user).await?;
    }
    act.note(tx, [("factor", what.clone())], &[tell(Notice::FactorRemoved { what })]).await
}

/// Removes the authenticator app.
///
/// # Errors
/// `NotFound`; `Refused` when it is the last factor and the organization wants one.
pub async fn remove_app(app: &App, context: &Context) -> Result<()> {
    let (stamp, context) = (Stamp::new(app, context, "removeFactor").await?, context.clone());
    app.db
        .write(async move |tx| {
            let (_, account) = own::owner(tx, &context, &[Stage::SignedIn], stamp.at).await?;
            if !store::factors::remove_totp(tx, account.organization, account.user).await? {
                return Err(Error::NotFound("there is no authenticator app any more".to_owned()));
            }
            let act = Act::own(&context, &account, stamp);
            removed(tx, &act, "authenticator app".to_owned()).await
        })
        .await?;
    app.wake_worker.notify_waiters();
    Ok(())
}

/// Makes new recovery codes in place of all earlier ones.
///
/// # Errors
/// `Refused` without a factor that they could stand in for.
pub async fn new_codes(app: &App, context: &Context) -> Result<Vec<Secret>> {
    let (stamp, context) = (Stamp::new(app, context, "makeRecoveryCodes").await?, context.clone());
    let codes = new_set(app);
    let stored = hashes(&codes);
    app.db
        .write(async move |tx| {
            let (_, account) = own::owner(tx, &context, &[Stage::SignedIn], stamp.at).await?;
            let (organization, user) = (account.organization, account.user);
            if !store::factors::any(tx, organization, user).await? {
                return Err(Error::Refused("set up a second factor first".to_owned()));
            }
            store::factors::put_codes(tx, organization, user, &stored).await?;
            let act = Act::own(&context, &account, stamp);
            act.note(tx, [], &[tell(Notice::RecoveryCodesMade)]).await
        })
        .await?;
    app.wake_worker.notify_waiters();
    Ok(codes)
}

/// What is in use, in words; `None` for nothing.
pub(super) async fn in_words(
    tx: &mut Tx,
    organization: OrganizationId,
    user: UserId,
) -> Result<Option<String>> {
    Ok(match store::factors::in_use(tx, organization, user).await? {
        (0, 0) => None,
        (_, 0) => Some("authenticator app".to_owned()),
        (0, 1) => Some("passkey".to_owned()),
        (0, many) => Some(format!("{many} passkeys")),
        (_, 1) => Some("authenticator app and passkey".to_owned()),
        (_, many) => Some(format!("authenticator app and {many} passkeys")),
    })
}

// Proving ------------------------------------------------------------------------------------

/// How many wrong codes of somebody who has the password already are looked at in a day: as many as fill five
/// windows.
pub(super) fn most_wrong_a_day(throttle: &Throttle) -> i64 {
    throttle.wrong_per_account.saturating_mul(5)
}

/// Takes a code of the authenticator app or a recovery code, each once.
///
/// # Errors
/// `Refused` for a wrong or used one; `TooMany` after as many wrong ones as passwords may be wrong, or after
/// five times as many in a day.
pub async fn prove(app: &App, context: &Context, account: &Account, typed: &str) -> Result<()> {
    let stamp = Stamp::new(app, context, "useRecoveryCode").await?;
    let (context, account, inner_app, typed) =
        (context.clone(), account.clone(), app.clone(), plain_code(typed));
    let now = stamp.at;
    let window = app.config.throttle.window();
    let (most, most_a_day) = (app.config.throttle.wrong_per_account, most_wrong_a_day(&app.config.throttle));
    let right = app
        .db
        .write(async move |tx| {
            let [subject, of_a_day] = Subject::second_factors(account.id);
            let counted = throttle::count(tx, &subject, most, window, now).await?;
            let counted_that_day = throttle::count(tx, &of_a_day, most_a_day, DAY, now).await?;
            let right = spend(tx, &inner_app, &Act::own(&context, &account, stamp), &typed).await?;
            if right {
                take_back(tx, subject.as_str(), counted).await?;
                take_back(tx, of_a_day.as_str(), counted_that_day).await?;
            }
            Ok(right)
        })
        .await?;
    if !right {
        return Err(wrong_code());
    }
    app.wake_worker.notify_waiters();
    Ok(())
}

async fn spend(tx: &mut Tx, app: &App, act: &Act<'_>, typed: &Secret) -> Result<bool> {
    let (organization, user, now) = (act.account.organization, act.account.user, act.stamp.at);
    if let Some(totp) = store::factors::totp(tx, organization, user).await?
        && totp.confirmed_at.is_some()
    {
        let totp = generator(app, organization, user, &totp.sealed)?;
        if let Some(step) = step(&totp, typed, now) {
            return store::factors::use_step(tx, organization, user, step).await;
        }
    }
    if !store::factors::use_code(tx, organization, user, &typed.fingerprint(), now).await? {
        return Ok(false);
    }
    let left = store::factors::codes_left(tx, organization, user).await?;
    act.note(tx, [("left", left.to_string())], &[tell(Notice::RecoveryCodeUsed { left })]).await?;
    Ok(true)
}

fn wrong_code() -> Error {
    Error::Refused("the code is wrong, or was used already; wait for the next one".to_owned())
}

/// The step of a code, if it is of the one before, the running one or the next one.
fn step(totp: &Totp, typed: &Secret, now: Millis) -> Option<i64> {
    let code = typed.expose();
    if code.len() != 6 || !code.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let seconds = u64::try_from(now / SECOND).ok()?;
    totp.check(code, seconds).and_then(|step| i64::try_from(step).ok())
}

fn generator(app: &App, organization: OrganizationId, user: UserId, sealed: &[u8]) -> Result<Totp> {
    let seed = app.keys.open(Purpose::Totp, &of_person(organization, user), sealed)?;
    let totp = Builder::new().with_secret(seed.to_vec()).with_skew(1).build();
    totp.map_err(|_| Error::internal("a seed of one-time codes is too short"))
}

pub(super) fn new_set(app: &App) -> Vec<Secret> {
    app.random.with(|rng| (0..CODES).map(|_| new_recovery_code(rng)).collect())
}

fn hashes(codes: &[Secret]) -> Vec<Fingerprint> {
    codes.iter().map(|code| fingerprint(plain_code(code.expose()).expose())).collect()
}
