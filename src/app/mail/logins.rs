//! Logins at the mail servers, as Dovecot tells of them (its authentication policy protocol): it asks
//! before each password check, and tells the outcome. Wrong passwords there count with all others.
//!
//! A login must not wait for us: whatever takes too long here is answered with yes.

use std::net::IpAddr;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use tokio::sync::Semaphore;

use crate::app::App;
use crate::app::keys::Purpose;
use crate::app::throttle::{self, Guess, GuessState, Subject};
use crate::clock::{DAY, MINUTE, Millis, SECOND};
use crate::domain::email_address::EmailAddress;
use crate::domain::ids::AccountId;
use crate::domain::place::place;
use crate::error::Result;
use crate::store;

/// What an answer may take; a few milliseconds are usual.
const PATIENCE: Duration = Duration::from_millis(30);
/// After an answer that took too long nobody waits for the database for so long.
const PAUSE: Millis = SECOND;
/// Outcomes that are being counted at once; what comes beyond is not counted.
const MOST_COUNTED: usize = 64;
/// Good logins that are being noted at once; what comes beyond is noted at the next one, if there is one.
const MOST_NOTED: usize = 64;
/// A telephone logs in all day long: that it did, from one place, is noted so often.
const NOTED_EVERY: Millis = DAY;

/// One login, as Dovecot describes it.
#[derive(Debug, Clone, Default)]
pub struct Attempt {
    /// As it was typed.
    pub login: String,
    /// The client; none for what came from this machine itself, such as a web mail program, since
    /// one stranger behind it must not close it for all.
    pub source: Option<IpAddr>,
    /// Twelve bits of a keyed hash of the password: the same for the same password.
    pub password_mark: String,
    /// Dovecot's name of the service: `imap`, `pop3`, `smtp`, another, or nothing.
    pub protocol: String,
}

/// How a login went on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    Right,
    /// The right password of an account that does not open: no guess was wrong.
    RightButClosed,
    /// We had refused it before the password was looked at.
    RefusedByUs,
    Wrong,
}

/// What Dovecot is to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    GoOn,
    /// Refuse without looking at the password; told to the person, where there is something to tell.
    Refuse(Option<String>),
}

/// Answers Dovecot; one for each listener.
#[derive(Debug)]
pub struct Logins {
    /// Until then the database is not waited for.
    pause: AtomicI64,
    counting: Semaphore,
    /// Apart from the others: who knows one password must not crowd out the count of wrong ones.
    noting: Semaphore,
}

impl Default for Logins {
    fn default() -> Self {
        Self {
            pause: AtomicI64::new(0),
            counting: Semaphore::new(MOST_COUNTED),
            noting: Semaphore::new(MOST_NOTED),
        }
    }
}

impl Logins {
    /// Whether the login may go on to its password check.
    pub async fn may_go_on(&self, app: &App, attempt: &Attempt) -> Answer {
        let now = app.clock.now();
        if now < self.pause.load(Ordering::Relaxed) {
            return Answer::GoOn;
        }
        match tokio::time::timeout(PATIENCE, guess_state(app, attempt, now)).await {
            Ok(Ok(GuessState::Open)) => Answer::GoOn,
            Ok(Ok(GuessState::Closed(until))) => {
                let minutes = ((until - now + MINUTE - 1) / MINUTE).max(1);
                let when =
                    if minutes == 1 { "in a minute".to_owned() } else { format!("in {minutes} minutes") };
                Answer::Refuse(Some(format!("Too many wrong passwords. Try again {when}.")))
            }
            Ok(Ok(GuessState::Silent)) => Answer::Refuse(None),
            Ok(Err(error)) => {
                tracing::warn!(%error, "a mail login could not be looked at; it goes on");
                self.pause.store(now + PAUSE, Ordering::Relaxed);
                Answer::GoOn
            }
            Err(_) => {
                tracing::warn!("looking at a mail login took too long; it goes on");
                self.pause.store(now + PAUSE, Ordering::Relaxed);
                Answer::GoOn
            }
        }
    }

    /// Counts a login that went wrong, and notes for `lastLogin` one that went well.
    pub async fn ended(&self, app: &App, attempt: &Attempt, outcome: Outcome) {
        match outcome {
            Outcome::RightButClosed | Outcome::RefusedByUs => {}
            Outcome::Right => {
                let Ok(_turn) = self.noting.try_acquire() else {
                    tracing::warn!("too many good logins at once; one at a mail server is not noted");
                    return;
                };
                match note(app, attempt).await {
                    Err(error) if !error.is_read_only() => {
                        tracing::warn!(%error, "a login at a mail server could not be noted");
                    }
                    Ok(()) | Err(_) => {}
                }
            }
            Outcome::Wrong => {
                let Ok(_turn) = self.counting.try_acquire() else { return };
                if let Err(error) = count(app, attempt).await {
                    tracing::warn!(%error, "a wrong password at a mail server could not be counted");
                }
            }
        }
    }
}

async fn guess_state(app: &App, attempt: &Attempt, now: Millis) -> Result<GuessState> {
    let mut tx = app.db.read().await?;
    let (guess, _) = guess(app, &mut tx, attempt).await?;
    throttle::guess_state(&mut tx, &app.config.throttle, &guess, now).await
}

async fn note(app: &App, attempt: &Attempt) -> Result<()> {
    let now = app.clock.now();
    let delimiter = app.config.addresses.recipient_delimiter;
    let Some(address) = EmailAddress::of_login(&attempt.login, delimiter) else { return Ok(()) };
    let door = match attempt.protocol.as_str() {
        "imap" => "imap",
        "pop3" | "pop" => "pop",
        "smtp" | "submission" => "smtp",
        _ => "mail",
    }
    .to_owned();
    let source = attempt.source.map(place).unwrap_or_default();
    let (zoid, user) = {
        let mut tx = app.db.read().await?;
        let Some((zoid, account)) = store::addresses::account_of(&mut tx, &address).await? else {
            return Ok(());
        };
        let found = store::sign_ins::last_from(&mut tx, zoid, account, &door, &source, now).await?;
        let Some((user, last)) = found else { return Ok(()) };
        if last.is_some_and(|last| now < last.saturating_add(NOTED_EVERY)) {
            return Ok(());
        }
        (zoid, user)
    };
    app.db.write(async move |tx| store::sign_ins::note(tx, zoid, user, now, &door, &source).await).await
}

async fn count(app: &App, attempt: &Attempt) -> Result<()> {
    let (guess, account) = guess(app, &mut *app.db.read().await?, attempt).await?;
    let mark = (!attempt.password_mark.is_empty()).then(|| {
        let whose = account.map_or_else(|| attempt.login.to_lowercase(), |account| account.to_string());
        let parts = [whose.as_bytes(), attempt.password_mark.as_bytes()];
        Subject::same_again(&hex::encode(&app.keys.mac(Purpose::Throttle, &parts)[..16]))
    });
    throttle::wrong(app, &guess, mark, app.clock.now()).await
}

async fn guess(
    app: &App,
    tx: &mut store::engine::Tx,
    attempt: &Attempt,
) -> Result<(Guess, Option<AccountId>)> {
    let parsed = EmailAddress::of_login(&attempt.login, app.config.addresses.recipient_delimiter);
    let account = match &parsed {
        Some(address) => store::addresses::account_of(tx, address).await?.map(|(_, account)| account),
        None => None,
    };
    Ok((Guess::new(&attempt.login, parsed.as_ref(), account, attempt.source), account))
}
