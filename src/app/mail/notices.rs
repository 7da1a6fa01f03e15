//! Tells people in their own mailbox, and at their recovery address, what was done to their account.
//! Plain text; the only links are those that a recovery address is for.

use std::time::Duration;

use lettre::message::header::ContentType;
use lettre::{AsyncSmtpTransport, AsyncTransport, Message, Tokio1Executor};
use serde::{Deserialize, Serialize};

use crate::app::App;
use crate::app::mail::sessions::back_off;
use crate::app::recovery::{self, Purpose};
use crate::clock::{DAY, MINUTE, Millis};
use crate::domain::account::Account;
use crate::domain::effect::{Effect, Letter, Notice, PERSON};
use crate::domain::email_address::EmailAddress;
use crate::domain::secret::Secret;
use crate::error::{Error, Result};
use crate::store;
use crate::store::accounts::Handle;
use crate::store::outbox::Waiting;

/// A notice that could not be sent for so long is given up.
const TERM: Millis = 3 * DAY;
/// For how long a worker has claimed notices to itself.
const CLAIM: Millis = 2 * MINUTE;
/// How long a mail server may take for one notice.
const PATIENCE: Duration = Duration::from_secs(10);
/// What the outcome of a letter that was sent begins with.
pub(super) const TOLD: &str = "told";
/// So many at a time are sent within the claim, each with its copy to the recovery address, even by a server
/// that takes its time, or another worker would send the last ones again.
const MOST: i64 = 5;

/// What an attempt to send a notice came to.
enum Attempt {
    /// Nothing is left to do.
    Ended(String),
    /// It is tried again; kept until then.
    Again(String),
}

/// How far the telling of a notice is: the outcome in the outbox while something of it is left to do, so that what
/// was sent is not sent again.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Telling {
    /// The own mailbox that was written to.
    mailbox: String,
    own: Told,
    copy: Told,
}

/// What became of a notice at one of its places.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Told {
    /// There is no such place, or it was not tried yet.
    #[default]
    Nothing,
    Done,
    /// Refused for good.
    Refused(String),
    NotYet(String),
}

impl Told {
    fn is_final(&self) -> bool {
        matches!(self, Self::Done | Self::Refused(_))
    }
}

impl Telling {
    fn of(effect: &Waiting) -> Option<Self> {
        Self::read(effect.outcome.as_deref()?)
    }

    fn read(outcome: &str) -> Option<Self> {
        serde_json::from_str(outcome).ok()
    }

    fn text(&self) -> Result<String> {
        serde_json::to_string(self).map_err(|error| Error::caused("writing what became of a notice", error))
    }

    fn in_words(&self) -> String {
        let own = format!("in the own mailbox {}", self.mailbox);
        let places = [(own.as_str(), &self.own), ("at the recovery address", &self.copy)];
        let told = places.iter().filter(|(_, told)| **told == Told::Done).map(|(place, _)| *place);
        let told: Vec<_> = told.collect();
        let mut words =
            if told.is_empty() { "not told".to_owned() } else { format!("{TOLD} {}", told.join(" and ")) };
        for (place, told) in places {
            words += &match told {
                Told::Refused(why) => format!(", refused {place}: {why}"),
                Told::NotYet(why) => format!(", not {place}: {why}"),
                Told::Nothing | Told::Done => String::new(),
            };
        }
        words
    }
}

/// The outcome of a notice as receipts show it, also while it is on its way.
pub(super) fn in_words(outcome: &str) -> String {
    Telling::read(outcome).map_or_else(|| outcome.to_owned(), |telling| telling.in_words())
}

/// Sends every notice that is due; answers how many were taken up.
pub async fn send_due(app: &App) -> Result<usize> {
    let now = app.clock.now();
    let claimed =
        app.db.write(async move |tx| store::outbox::claim(tx, PERSON, now, now + CLAIM, MOST).await).await?;
    let taken = claimed.len();
    let mut results = Vec::with_capacity(taken);
    for effect in claimed {
        // What was sent before is not forgotten over an error of ours.
        let attempt = send(app, &effect).await.unwrap_or_else(|error| {
            let known = effect.outcome.clone().filter(|outcome| Telling::read(outcome).is_some());
            Attempt::Again(known.unwrap_or_else(|| error.to_string()))
        });
        results.push((effect, attempt));
    }
    if taken > 0 {
        let now = app.clock.now();
        app.db
            .write(async move |tx| {
                for (effect, attempt) in &results {
                    match attempt {
                        Attempt::Ended(what) => store::outbox::finish(tx, effect, what, now)?,
                        Attempt::Again(why) if is_late(effect, now) => {
                            store::outbox::finish(tx, effect, &given_up(effect, why), now)?;
                        }
                        Attempt::Again(why) => {
                            let tries = u32::try_from(effect.tries).unwrap_or(u32::MAX);
                            let due = now + back_off(tries) * 10;
                            store::outbox::put_off(tx, effect, why, due)?;
                        }
                    }
                }
                Ok(())
            })
            .await?;
    }
    Ok(taken)
}

/// For how long it is tried.
fn term(effect: &Effect) -> Millis {
    match effect {
        // Nobody waits for these any longer.
        Effect::Write { letter: Letter::ProveAddress | Letter::RecoverPassword, .. } => recovery::LINK_LASTS,
        Effect::Write { letter: Letter::AddressReplaced, .. }
        | Effect::Tell { .. }
        | Effect::Project
        | Effect::EndSessions { .. }
        | Effect::Reconcile => TERM,
    }
}

fn is_late(effect: &Waiting, now: Millis) -> bool {
    now - effect.created_at > term(&effect.effect)
}

fn given_up(effect: &Waiting, why: &str) -> String {
    let term = term(&effect.effect);
    let span = match term / DAY {
        0 => format!("{} minutes", term / MINUTE),
        days => format!("{days} days"),
    };
    let why = in_words(why);
    // What the person did hear comes first.
    match why.starts_with(TOLD) {
        true => format!("{why}; given up after {span}"),
        false => format!("given up after {span}: {why}"),
    }
}

async fn send(app: &App, effect: &Waiting) -> Result<Attempt> {
    let ended = |why: &str| {
        let told = effect.outcome.as_deref().map(in_words).filter(|words| words.starts_with(TOLD));
        Ok(Attempt::Ended(told.map_or_else(|| format!("not told: {why}"), |told| format!("{told}; {why}"))))
    };
    if app.config.mail.notices_smtp.is_empty() {
        return ended("mail.notices_smtp is not set");
    }
    let account = match effect.account {
        Some(account) => {
            let mut tx = app.db.read().await?;
            store::accounts::load(&mut tx, effect.organization, Handle::Account(account)).await?
        }
        None => None,
    };
    let Some(account) = account else { return ended("the account is gone") };
    // Also what was never tried, since nobody was there to do it: a link must not begin its life late.
    if is_late(effect, app.clock.now()) {
        let why = effect.outcome.as_deref().unwrap_or("it was not sent in time");
        return Ok(Attempt::Ended(given_up(effect, why)));
    }
    match &effect.effect {
        Effect::Write { to, letter } => {
            write(app, &account, to, *letter, effect.created_at).await.map(Attempt::Ended)
        }
        Effect::Tell { notice } => {
            let telling = tell(app, &account, notice, Telling::of(effect).unwrap_or_default()).await;
            let waits = |told: &Told| matches!(told, Told::NotYet(_));
            match waits(&telling.own) || waits(&telling.copy) {
                true => Ok(Attempt::Again(telling.text()?)),
                false => Ok(Attempt::Ended(telling.in_words())),
            }
        }
        Effect::Project | Effect::EndSessions { .. } | Effect::Reconcile => {
            Ok(Attempt::Ended("nothing to tell".to_owned()))
        }
    }
}

/// Writes to the own mailbox and to the recovery address, where that was not done before. What becomes of the one
/// must not keep the other from its letter: mail to an own mailbox may be refused on purpose.
async fn tell(app: &App, account: &Account, notice: &Notice, mut telling: Telling) -> Telling {
    let (subject, text) = words(notice);
    let text = format!("{text}\n\nIf you did not expect this, speak to your administrator.\n");
    if !telling.own.is_final() {
        telling.mailbox = account.primary.to_string();
        telling.own = tell_at(app, account, account.primary.as_str(), subject, text.clone()).await;
    }
    if !telling.copy.is_final() {
        telling.copy = match recovery::copy_to(app, account.organization, account).await {
            Ok(Some(outside)) => {
                let copy = format!("This is about your account {}.\n\n{text}", account.primary);
                tell_at(app, account, &outside, subject, copy).await
            }
            Ok(None) => Told::Nothing,
            Err(error) => Told::NotYet(error.to_string()),
        };
    }
    telling
}

async fn tell_at(app: &App, account: &Account, to: &str, subject: &str, text: String) -> Told {
    let sent = match message(app, account, to, subject, text) {
        Ok(message) => hand_over(app, message).await,
        Err(error) => return Told::NotYet(error.to_string()),
    };
    match sent {
        Ok(()) => Told::Done,
        Err(Unsent { why, for_good: true }) => Told::Refused(why),
        Err(unsent) => Told::NotYet(Error::from(unsent).to_string()),
    }
}

/// Writes to an address outside. The secret of a link exists from here on, in this one letter.
async fn write(app: &App, account: &Account, to: &str, letter: Letter, asked_at: Millis) -> Result<String> {
    let purpose = match letter {
        Letter::ProveAddress => Some(Purpose::Address),
        Letter::RecoverPassword => Some(Purpose::Password),
        Letter::AddressReplaced => None,
    };
    let link = match purpose {
        Some(purpose) => match recovery::link_for(app, account, to, purpose, asked_at).await? {
            Some(link) => link,
            None => return Ok("not told: it is not wanted any more".to_owned()),
        },
        None => Secret::new(""),
    };
    let (subject, text) = letter_text(letter, &account.primary, link.expose());
    hand_over(app, message(app, account, to, subject, text)?).await?;
    Ok(format!("{TOLD} at the recovery address"))
}

/// Subject and text of a letter; `link` is where it asks the reader to go.
fn letter_text(letter: Letter, primary: &EmailAddress, link: &str) -> (&'static str, String) {
    match letter {
        Letter::ProveAddress => (
            "Confirm your recovery address",
            format!(
                "Somebody, you we hope, named this address as the recovery address of {primary}. With it a forgotten \
                 password can be replaced.\n\nTo confirm, open this page within 15 minutes:\n\n{link}\n\nIf you \
                 do not know {primary}, do nothing, and nothing happens.\n"
            ),
        ),
        Letter::RecoverPassword => (
            "Choose a new password",
            format!(
                "Somebody, you we hope, forgot the password of {primary}.\n\nTo choose a new one, open this page \
                 within 15 minutes:\n\n{link}\n\nIf it was not you, do nothing: the password stays as it is.\n"
            ),
        ),
        Letter::AddressReplaced => (
            "This is no recovery address any more",
            format!(
                "This address was the recovery address of {primary}. It is not any more: the account has another one \
                 or none.\n\nIf it was not you, sign in and look at your account, or speak to your administrator. A \
                 new recovery address does not serve for its first seven days.\n"
            ),
        ),
    }
}

/// Why a message was not handed over.
struct Unsent {
    why: String,
    /// The mail server says that it will never take it.
    for_good: bool,
}

impl From<Unsent> for Error {
    fn from(unsent: Unsent) -> Self {
        Self::Refused(format!("the notice could not be handed over: {}", unsent.why))
    }
}

async fn hand_over(app: &App, message: Message) -> Result<(), Unsent> {
    let for_now = |why: &str| Unsent { why: why.to_owned(), for_good: false };
    let address: std::net::SocketAddr = app
        .config
        .mail
        .notices_smtp
        .parse()
        .map_err(|_| for_now("mail.notices_smtp must be an address and a port, as 127.0.0.1:25"))?;
    let transport = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(address.ip().to_string())
        .port(address.port())
        .timeout(Some(PATIENCE))
        .build();
    // The transport's own limit is for each step of the conversation.
    let sent = tokio::time::timeout(PATIENCE, transport.send(message));
    match sent.await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(Unsent { why: error.to_string(), for_good: error.is_permanent() }),
        Err(_) => Err(for_now("the mail server takes too long")),
    }
}

fn message(app: &App, about: &Account, to: &str, subject: &str, text: String) -> Result<Message> {
    let from = match app.config.mail.notices_from.as_str() {
        "" => format!("postmaster@{}", about.primary.domain()),
        set => set.to_owned(),
    };
    let mailbox = |address: &str| {
        address.parse().map_err(|_| Error::internal(format!("{address} cannot be written to")))
    };
    Message::builder()
        .from(mailbox(&from)?)
        .to(mailbox(to)?)
        .subject(subject)
        .header(ContentType::TEXT_PLAIN)
        .body(text)
        .map_err(|error| Error::caused("writing a notice", error))
}

fn words(notice: &Notice) -> (&'static str, String) {
    match notice {
        Notice::PasswordReset => (
            "Your password was reset",
            "An administrator has given your account a new password. The old one does not work any more."
                .to_owned(),
        ),
        Notice::PasswordChanged => (
            "Your password was changed",
            "The password of your account was changed. The old one does not work any more.".to_owned(),
        ),
        Notice::Renamed { from, to } => (
            "Your address was changed",
            format!("Your address is now {to}. Mail to {from} still reaches you."),
        ),
        Notice::AppPasswordMade { name } => (
            "A new app password was made",
            format!("A new app password named \"{name}\" opens your mail. You can revoke it at any time."),
        ),
        Notice::FactorAdded { what } => (
            "A second factor was set up",
            format!("Signing in to your account now takes a second factor: {what}."),
        ),
        Notice::FactorRemoved { what } => {
            ("A second factor was removed", format!("No longer a second factor of your account: {what}."))
        }
        Notice::RecoveryCodesMade => (
            "New recovery codes were made",
            "Your account has new recovery codes. The ones before do not work any more.".to_owned(),
        ),
        Notice::RecoveryCodeUsed { left } => (
            "A recovery code was used",
            format!("A recovery code of your account was used in place of a second factor. {left} are left."),
        ),
        Notice::RecoveryAddressSet { address } => (
            "Your recovery address was changed",
            format!(
                "With {address} a forgotten password of your account can be replaced, from seven days after now on."
            ),
        ),
        Notice::RecoveryAddressRemoved { address } => (
            "Your recovery address was removed",
            format!("With {address} a forgotten password of your account cannot be replaced any more."),
        ),
        Notice::PasswordRecovered => (
            "Your password was replaced",
            "Somebody used the link at your recovery address and chose a new password. The old one does not work any \
             more. App passwords still do: look through them."
                .to_owned(),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_and_notices_name_the_terms_that_hold() {
        let address = EmailAddress::parse("mia@zylker.example").expect("an address");
        let minutes = format!("within {} minutes", recovery::LINK_LASTS / MINUTE);
        for letter in [Letter::ProveAddress, Letter::RecoverPassword] {
            assert!(letter_text(letter, &address, "https://desk.example").1.contains(&minutes), "{letter:?}");
        }
        assert_eq!(recovery::WAITS, 7 * DAY);
        assert!(letter_text(Letter::AddressReplaced, &address, "").1.contains("first seven days"));
        let set = Notice::RecoveryAddressSet { address: address.to_string() };
        assert!(words(&set).1.contains("seven days after now"));
    }
}
