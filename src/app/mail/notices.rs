//! Tells people in their own mailbox, and at their recovery address, what was done to their account.
//! Plain text; the only links are those that a recovery address is for.

use std::time::Duration;

use lettre::message::header::ContentType;
use lettre::{AsyncSmtpTransport, AsyncTransport, Message, Tokio1Executor};

use crate::app::App;
use crate::app::mail::sessions::back_off;
use crate::app::recovery::{self, Purpose};
use crate::clock::{DAY, MINUTE, Millis};
use crate::domain::account::Account;
use crate::domain::effect::{Effect, Letter, Notice, PERSON};
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

/// Sends every notice that is due; answers how many were taken up.
pub async fn send_due(app: &App) -> Result<usize> {
    let now = app.clock.now();
    let claimed =
        app.db.write(async move |tx| store::outbox::claim(tx, PERSON, now, now + CLAIM, MOST).await).await?;
    let taken = claimed.len();
    let mut results = Vec::with_capacity(taken);
    for effect in claimed {
        let outcome = send(app, &effect).await;
        results.push((effect, outcome));
    }
    if taken > 0 {
        let now = app.clock.now();
        app.db
            .write(async move |tx| {
                for (effect, outcome) in &results {
                    match outcome {
                        Ok(what) => store::outbox::finish(tx, effect, what, now)?,
                        Err(why) if is_late(effect, now) => {
                            store::outbox::finish(tx, effect, &given_up(effect, &why.to_string()), now)?;
                        }
                        Err(why) => {
                            let tries = u32::try_from(effect.tries).unwrap_or(u32::MAX);
                            let due = now + back_off(tries) * 10;
                            store::outbox::put_off(tx, effect, &why.to_string(), due)?;
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
    format!("given up after {span}: {why}")
}

async fn send(app: &App, effect: &Waiting) -> Result<String> {
    if app.config.mail.notices_smtp.is_empty() {
        return Ok("not told: mail.notices_smtp is not set".to_owned());
    }
    let account = match effect.account {
        Some(account) => {
            let mut tx = app.db.read().await?;
            store::accounts::load(&mut tx, effect.organization, Handle::Account(account)).await?
        }
        None => None,
    };
    let Some(account) = account else { return Ok("not told: the account is gone".to_owned()) };
    // Also what was never tried, since nobody was there to do it: a link must not begin its life late.
    if is_late(effect, app.clock.now()) {
        return Ok(given_up(effect, effect.outcome.as_deref().unwrap_or("it was not sent in time")));
    }
    match &effect.effect {
        Effect::Write { to, letter } => write(app, &account, to, *letter, effect.created_at).await,
        Effect::Tell { notice } => tell(app, &account, notice).await,
        Effect::Project | Effect::EndSessions { .. } | Effect::Reconcile => Ok("nothing to tell".to_owned()),
    }
}

async fn tell(app: &App, account: &Account, notice: &Notice) -> Result<String> {
    let (subject, text) = words(notice);
    let text = format!("{text}\n\nIf you did not expect this, speak to your administrator.\n");
    hand_over(app, message(app, account, account.primary.as_str(), subject, text.clone())?).await?;
    let told = format!("{TOLD} in the own mailbox {}", account.primary);
    // The own mailbox has it: a copy that does not arrive is no reason to tell everything again.
    let Some(outside) = recovery::copy_to(app, account.organization, account).await? else { return Ok(told) };
    let copy = format!("This is about your account {}.\n\n{text}", account.primary);
    let copied = match message(app, account, &outside, subject, copy) {
        Ok(message) => hand_over(app, message).await,
        Err(error) => Err(error),
    };
    Ok(match copied {
        Ok(()) => format!("{told} and at the recovery address"),
        Err(why) => format!("{told}, not at the recovery address: {why}"),
    })
}

/// Writes to an address outside. The secret of a link exists from here on, in this one letter.
async fn write(app: &App, account: &Account, to: &str, letter: Letter, asked_at: Millis) -> Result<String> {
    let primary = &account.primary;
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
    let link = link.expose();
    let (subject, text) = match letter {
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
    };
    hand_over(app, message(app, account, to, subject, text)?).await?;
    Ok(format!("{TOLD} at the recovery address"))
}

async fn hand_over(app: &App, message: Message) -> Result<()> {
    let address: std::net::SocketAddr = app
        .config
        .mail
        .notices_smtp
        .parse()
        .map_err(|_| Error::bad_value("mail.notices_smtp", "an address and a port, as 127.0.0.1:25"))?;
    let transport = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(address.ip().to_string())
        .port(address.port())
        .timeout(Some(PATIENCE))
        .build();
    // The transport's own limit is for each step of the conversation.
    let sent = tokio::time::timeout(PATIENCE, transport.send(message));
    let unsent = |why: String| Error::Refused(format!("the notice could not be handed over: {why}"));
    match sent.await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(unsent(error.to_string())),
        Err(_) => Err(unsent("the mail server takes too long".to_owned())),
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
