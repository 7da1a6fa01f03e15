//! Limits on guessing, in one place for every path and all nodes: what tries are counted on, how
//! many there may be, when a caller may come back, and how an administrator lets somebody in again.
//! The counters are in the database (`store::throttle`).

use std::collections::BTreeMap;
use std::net::IpAddr;

use crate::app::App;
use crate::app::call::{Context, authenticate};
use crate::app::change::{Done, simple};
use crate::app::forecast::Forecast;
use crate::app::journal::{self, Entry};
use crate::app::{factors, recovery};
use crate::clock::{Millis, SECOND};
use crate::config::{Config, Throttle};
use crate::domain::account::Account;
use crate::domain::email_address::EmailAddress;
use crate::domain::help_desk::Verb;
use crate::domain::ids::{AccountId, OrganizationId, no_such_account};
use crate::domain::place::place;
use crate::domain::rights::{self, Forms, Names, Route};
use crate::domain::scope::Operation;
use crate::domain::secret::fingerprint;
use crate::error::{Error, Result};
use crate::store;
use crate::store::accounts::Handle;
use crate::store::engine::Tx;
use crate::store::throttle::{count_below, take_back};

/// What tries are counted on, as the table names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subject(String);

impl Subject {
    /// An account, by whichever of its addresses one tries.
    pub fn account(account: AccountId) -> Self {
        Self(format!("account {account}"))
    }

    /// An address as it was tried, whether anybody has it or not.
    pub fn address(address: &str) -> Self {
        Self(format!("address {}", short_mark(address)))
    }

    /// A source address; of IPv6 its [`place`].
    pub fn source(source: IpAddr) -> Self {
        Self(format!("source {}", place(source)))
    }

    /// Everything that is counted against one source address.
    fn all_from(source: IpAddr) -> [Self; 5] {
        [Self::source, Self::token_endpoint, Self::mail_agent, Self::passkeys_from, Self::recovery_from]
            .map(|of| of(source))
    }

    /// Failures at the token endpoint from one source address.
    pub fn token_endpoint(source: IpAddr) -> Self {
        Self(format!("token endpoint {}", Self::source(source).0))
    }

    /// Wrong keys of mail agents from one source address.
    pub fn mail_agent(source: IpAddr) -> Self {
        Self(format!("mail agent {}", Self::source(source).0))
    }

    /// What a client asks for by its own credentials.
    pub fn credentials(client: &str) -> Self {
        Self(format!("credentials of {client}"))
    }

    /// One wrong password, told by a mark that says nothing of it: tried again, it is no new guess.
    pub fn same_again(mark: &str) -> Self {
        Self(format!("same {mark}"))
    }

    /// Wrong codes of a second factor, in a window and in a day: tries in every window would find a code of six
    /// digits one day.
    pub fn second_factors(account: AccountId) -> [Self; 2] {
        [Self(format!("factor {account}")), Self(format!("day of factors {account}"))]
    }

    /// Sign-ins by passkey that a source address begins, and that come to nothing.
    pub fn passkeys_from(source: IpAddr) -> Self {
        Self(format!("passkeys from {}", Self::source(source).0))
    }

    /// Forgotten passwords that a source address tells of.
    pub fn recovery_from(source: IpAddr) -> Self {
        Self(format!("recovery from {}", Self::source(source).0))
    }

    /// Forgotten passwords told of one address, whether anybody has it or not.
    pub fn recovery_to(address: &EmailAddress) -> Self {
        Self(format!("recovery to {}", short_mark(address.as_str())))
    }

    /// Passwords that are tried as new ones of one person, by letters or before a second factor: what is said of them
    /// tells whether one is or was in use.
    pub fn candidate(account: AccountId) -> Self {
        Self(format!("recovered {account}"))
    }

    /// Letters with a link for one account.
    pub fn recovery_of(account: AccountId) -> Self {
        Self(format!("recovery of {account}"))
    }

    /// Letters that prove a recovery address: for one account, and to one address.
    pub fn recovery_proof(account: AccountId, address: &EmailAddress) -> [Self; 2] {
        [
            Self(format!("recovery proof of {account}")),
            Self(format!("recovery proof to {}", short_mark(address.as_str()))),
        ]
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What it is, for the metrics.
    fn kind(&self) -> &'static str {
        match self.0.split_once(' ') {
            Some(("source", _)) => "source",
            Some(("address", _)) => "address",
            _ => "account",
        }
    }
}

/// How many tries there are of each kind of subject, by the beginning of its name. Repeats of one wrong
/// password (`same_again`) are not among them: they close nothing.
fn limits(config: &Config) -> [(&'static str, i64); 12] {
    let Throttle { wrong_per_account, wrong_per_source, token_failures_per_source, .. } = config.throttle;
    [
        ("account ", wrong_per_account),
        ("address ", wrong_per_account),
        ("factor ", wrong_per_account),
        ("day of factors ", factors::most_wrong_a_day(&config.throttle)),
        ("source ", wrong_per_source),
        ("mail agent ", wrong_per_source),
        ("passkeys from ", wrong_per_source),
        ("token endpoint ", token_failures_per_source),
        ("credentials of ", config.oauth.mints_per_refresh_token),
        ("recovered ", wrong_per_account),
        ("recovery from ", recovery::MOST_FROM_SOURCE),
        ("recovery ", recovery::MOST_LETTERS),
    ]
}

/// What tells an address from others in the table, without naming it.
fn short_mark(address: &str) -> String {
    hex::encode(&fingerprint(address).as_bytes()[..16])
}

/// The refusal until then.
pub fn too_many(until: Millis, now: Millis) -> Error {
    Error::TooMany { retry_after_seconds: seconds_until(until, now) }
}

/// Counts one try in the caller's transaction; answers when its window ends.
///
/// # Errors
/// `TooMany` where there is no room: nothing is counted.
pub async fn count(tx: &mut Tx, subject: &Subject, most: i64, window: Millis, now: Millis) -> Result<Millis> {
    room(tx, subject, most, window, now).await?.map_err(|until| too_many(until, now))
}

/// As [`count`], for callers that make their own refusal. `Ok` is the end of the window in which the try was counted,
/// `Err` until when a subject without room is closed.
pub(super) async fn room(
    tx: &mut Tx,
    subject: &Subject,
    most: i64,
    window: Millis,
    now: Millis,
) -> Result<std::result::Result<Millis, Millis>> {
    Ok(match count_below(tx, subject.as_str(), now, window, most).await? {
        Some(until) => Ok(until),
        None => Err(store::throttle::tries(tx, subject.as_str(), now, window).await?.1),
    })
}

/// Whole seconds, at least one.
pub fn seconds_until(until: Millis, now: Millis) -> u64 {
    u64::try_from((until - now + SECOND - 1) / SECOND).unwrap_or(1).max(1)
}

/// Whose password somebody tries, from where.
#[derive(Debug, Clone)]
pub struct Guess {
    address: Subject,
    account: Option<Subject>,
    source: Option<Subject>,
}

impl Guess {
    /// `typed` is counted as it is read: case and detail make no other address.
    pub fn new(
        typed: &str,
        parsed: Option<&EmailAddress>,
        account: Option<AccountId>,
        source: Option<IpAddr>,
    ) -> Self {
        let address = parsed.map_or_else(|| typed.to_lowercase(), ToString::to_string);
        Self {
            address: Subject::address(&address),
            account: account.map(Subject::account),
            source: source.map(Subject::source),
        }
    }

    /// What closes with an answer that says so. Of the account it is not said: whoever tries two
    /// addresses would learn that they are one person's.
    fn told(&self, limits: &Throttle) -> Vec<(Subject, i64)> {
        let address = (self.address.clone(), limits.wrong_per_account);
        let source = self.source.clone().map(|source| (source, limits.wrong_per_source));
        std::iter::once(address).chain(source).collect()
    }
}

/// A try that counts as wrong until it is taken back: on what, and when that window ends.
#[derive(Debug)]
pub struct Counted(Vec<(Subject, Millis)>);

/// Whether a try may open anything.
#[derive(Debug)]
pub enum Admission {
    Counted(Counted),
    /// Too many on the account, by its other addresses: nothing opens, and nothing is said.
    Silent,
}

/// Counts a try before it is looked at, so that parallel tries cannot outrun the count: of one
/// account no more passwords are compared in a window than its limit allows wrong ones. A try
/// that may not open anything is not counted on the account: who keeps trying does not keep the owner out
/// for ever.
///
/// # Errors
/// `TooMany` for the address or the source.
pub async fn admit(app: &App, guess: &Guess, now: Millis) -> Result<Admission> {
    let limits = app.config.throttle.clone();
    let window = limits.window();
    let guess = guess.clone();
    let admitted = app
        .db
        .write(async move |tx| {
            let mut counted = Vec::new();
            for (subject, most) in guess.told(&limits) {
                match room(tx, &subject, most, window, now).await? {
                    Ok(until) => counted.push((subject, until)),
                    Err(until) => {
                        take_all_back(tx, &counted).await?;
                        return Ok(Err((subject.kind(), too_many(until, now))));
                    }
                }
            }
            if let Some(account) = &guess.account {
                match count_below(tx, account.as_str(), now, window, limits.wrong_per_account).await? {
                    Some(until) => counted.push((account.clone(), until)),
                    // The other counts stay, as they do for an address that nobody has: who tries two addresses
                    // of one person sees both close.
                    None => return Ok(Ok(Admission::Silent)),
                }
            }
            Ok(Ok(Admission::Counted(Counted(counted))))
        })
        .await?;
    if let Ok(Admission::Silent) = &admitted {
        app.metrics.throttled("account");
    }
    admitted.map_err(|(kind, refusal)| {
        app.metrics.throttled(kind);
        refusal
    })
}

async fn take_all_back(tx: &mut Tx, counted: &[(Subject, Millis)]) -> Result<()> {
    for (subject, until) in counted {
        take_back(tx, subject.as_str(), *until).await?;
    }
    Ok(())
}

impl Counted {
    /// The try was right, or could not be looked at.
    ///
    /// # Errors
    /// When the database does not take it.
    pub async fn take_back(self, app: &App) -> Result<()> {
        app.db.write(async move |tx| take_all_back(tx, &self.0).await).await
    }
}

/// How a try that somebody else looks at stands, without counting it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GuessState {
    Open,
    /// Closed until then, and one may say so.
    Closed(Millis),
    /// Closed, and nothing is said.
    Silent,
}

/// Looks whether a try may be made. Two look-ups by key.
///
/// # Errors
/// When the database does not answer.
pub async fn guess_state(tx: &mut Tx, limits: &Throttle, guess: &Guess, now: Millis) -> Result<GuessState> {
    let window = limits.window();
    for (subject, most) in guess.told(limits) {
        let (tries, until) = store::throttle::tries(tx, subject.as_str(), now, window).await?;
        if tries >= most {
            return Ok(GuessState::Closed(until));
        }
    }
    if let Some(account) = &guess.account
        && store::throttle::tries(tx, account.as_str(), now, window).await?.0 >= limits.wrong_per_account
    {
        return Ok(GuessState::Silent);
    }
    Ok(GuessState::Open)
}

/// Counts a wrong try that somebody else looked at. With a mark of the password, the same wrong
/// one counts once in a window: a telephone that still has the old password guesses nothing, and
/// must not lock its owner out.
///
/// # Errors
/// When the database does not take it.
pub async fn wrong(app: &App, guess: &Guess, same_again: Option<Subject>, now: Millis) -> Result<()> {
    let limits = app.config.throttle.clone();
    let window = limits.window();
    let guess = guess.clone();
    app.db
        .write(async move |tx| {
            if let Some(mark) = &same_again
                && count_below(tx, mark.as_str(), now, window, 1).await?.is_none()
            {
                return Ok(());
            }
            let account = guess.account.clone().map(|account| (account, limits.wrong_per_account));
            for (subject, most) in guess.told(&limits).into_iter().chain(account) {
                count_below(tx, subject.as_str(), now, window, most).await?;
            }
            Ok(())
        })
        .await
}

/// Whether the subject has room, without counting.
///
/// # Errors
/// `TooMany`.
pub async fn must_be_open(app: &App, subject: &Subject, most: i64, now: Millis) -> Result<()> {
    let window = app.config.throttle.window();
    let mut tx = app.db.read().await?;
    let (tries, until) = store::throttle::tries(&mut tx, subject.as_str(), now, window).await?;
    if tries >= most { Err(too_many(until, now)) } else { Ok(()) }
}

/// Counts one failure.
///
/// # Errors
/// When the database does not take it.
pub async fn failed(app: &App, subject: Subject, now: Millis) -> Result<()> {
    let window = app.config.throttle.window();
    app.db
        .write(async move |tx| store::throttle::count(tx, subject.as_str(), now, window).await)
        .await
        .map(drop)
}

/// Forgets the wrong tries on an account: an administrator's help against a stranger's guessing. Those at its second
/// factors are forgotten for who could remove these. Audited, where there was anything to forget.
///
/// # Errors
/// Rights; `NotFound`.
pub async fn clear(app: &App, context: &Context, zoid: OrganizationId, number: i64) -> Result<Done> {
    let inner = context.clone();
    simple(app, context, CLEAR, Some(zoid), &number.to_string(), async move |tx, stamp| {
        let actor = authenticate(tx, &inner.caller, stamp.at).await?;
        let names = Names { path: Some(number), ..Names::NOBODY };
        let route = Route::Organization(zoid);
        let form =
            rights::form(&actor, route, Forms::AdminOnly, Operation::Update, Some(Verb::Reset), names)?;
        let handle = Handle::of(number).ok_or_else(|| no_such_account(number))?;
        let account =
            store::accounts::load(tx, zoid, handle).await?.ok_or_else(|| no_such_account(number))?;
        rights::may_see(&actor, &account)?;
        rights::may_write(&actor, form, &account, &[])?;
        let mut cleared = 0;
        // Whoever may reset a password could go on guessing the second factor, if these were forgotten too.
        let factors = match rights::may_manage_factors(&actor, &account) {
            Ok(()) => Subject::second_factors(account.id).to_vec(),
            Err(_) => Vec::new(),
        };
        for subject in subjects(&account).into_iter().chain(factors) {
            cleared += store::throttle::clear(tx, subject.as_str()).await?;
        }
        let mut done = Done { accounts: vec![account.clone()], ..Done::default() };
        if cleared > 0 {
            let entry = Entry { target: Some(&account), ..Entry::new(stamp, zoid, &actor, &inner) };
            journal::write(tx, &entry)?;
            (done.change, done.organization) = (Some(stamp.change), Some(zoid));
        }
        if inner.dry_run {
            let notes = BTreeMap::from([("throttle", "wrong tries are forgotten".to_owned())]);
            let notes = if cleared > 0 { notes } else { BTreeMap::new() };
            done.forecast = Some(Forecast { changes: cleared > 0, notes, ..Forecast::default() });
        }
        Ok(done)
    })
    .await
}

const CLEAR: &str = "clearThrottle";

fn subjects(account: &Account) -> Vec<Subject> {
    let addresses = account.addresses().map(|address| Subject::address(address.as_str()));
    let recovery = account.addresses().map(Subject::recovery_to);
    let [proof, _] = Subject::recovery_proof(account.id, &account.primary);
    addresses
        .chain(recovery)
        .chain([Subject::account(account.id), Subject::recovery_of(account.id)])
        .chain([Subject::candidate(account.id), proof])
        .collect()
}

/// What is closed at the moment, and until when; for the operator.
///
/// # Errors
/// When the database cannot be read.
pub async fn closed(app: &App) -> Result<Vec<(String, i64, Millis)>> {
    let limits = limits(&app.config);
    let least = limits.iter().map(|(_, most)| *most).min().unwrap_or(1);
    let mut tx = app.db.read().await?;
    let all = store::throttle::with_at_least(&mut tx, least, app.clock.now()).await?;
    let is_closed = |(subject, tries, _): &(String, i64, Millis)| {
        limits.iter().find(|(start, _)| subject.starts_with(start)).is_some_and(|(_, most)| tries >= most)
    };
    Ok(all.into_iter().filter(is_closed).collect())
}

/// Forgets what came from a source address, at every path; answers whether there was anything.
///
/// # Errors
/// When the database does not take it.
pub async fn clear_source(app: &App, context: &Context, source: IpAddr) -> Result<bool> {
    let (context, dry_run, now) = (context.clone(), context.dry_run, app.clock.now());
    let forget = async move |tx: &mut Tx| {
        let mut cleared = 0;
        for subject in Subject::all_from(source) {
            cleared += store::throttle::clear(tx, subject.as_str()).await?;
        }
        if cleared > 0 {
            let notes = BTreeMap::from([("source", Subject::source(source).as_str().to_owned())]);
            journal::everywhere(tx, &context, CLEAR, &notes, now).await?;
        }
        Ok(cleared > 0)
    };
    if dry_run { app.db.rehearse(forget).await } else { app.db.write(forget).await }
}
