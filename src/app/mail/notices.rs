//! Tells people in their own mailbox what was done to their account. Plain text, no links.

use std::time::Duration;

use lettre::message::header::ContentType;
use lettre::{AsyncSmtpTransport, AsyncTransport, Message, Tokio1Executor};

use crate::app::App;
use crate::app::mail::sessions::back_off;
use crate::clock::{DAY, Millis, SECOND};
use crate::domain::account::Account;
use crate::domain::effect::{Effect, Notice, PERSON};
use crate::error::{Error, Result};
use crate::store;
use crate::store::accounts::Handle;
use crate::store::outbox::Waiting;

/// A notice that could not be sent for so long is given up.
const TERM: Millis = 3 * DAY;
/// For how long a worker has claimed notices to itself.
const CLAIM: Millis = 60 * SECOND;
/// How long a mail server may take for one notice.
const PATIENCE: Duration = Duration::from_secs(10);
/// So many at a time are sent within the claim even by a server that takes its time, or another
/// worker would send the last ones again.
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
                        Ok(what) => store::outbox::finish(tx, effect, what, now).await?,
                        Err(why) if now - effect.created_at > TERM => {
                            let text = format!("given up after three days: {why}");
                            store::outbox::finish(tx, effect, &text, now).await?;
                        }
                        Err(why) => {
                            let tries = u32::try_from(effect.tries).unwrap_or(u32::MAX);
                            let due = now + back_off(tries) * 10;
                            store::outbox::put_off(tx, effect, &why.to_string(), due).await?;
                        }
                    }
                }
                Ok(())
            })
            .await?;
    }
    Ok(taken)
}

async fn send(app: &App, effect: &Waiting) -> Result<String> {
    let Effect::Tell { notice } = &effect.effect else {
        return Ok("nothing to tell".to_owned());
    };
    let settings = &app.config.mail;
    if settings.notices_smtp.is_empty() {
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
    let message = message(&account, notice, &settings.notices_from)?;
    let address: std::net::SocketAddr = settings
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
        Ok(Ok(_)) => {}
        Ok(Err(error)) => return Err(unsent(error.to_string())),
        Err(_) => return Err(unsent("the mail server takes too long".to_owned())),
    }
    Ok(format!("told in the own mailbox {}", account.primary))
}

fn message(account: &Account, notice: &Notice, from: &str) -> Result<Message> {
    let from = match from {
        "" => format!("postmaster@{}", account.primary.domain()),
        set => set.to_owned(),
    };
    let mailbox = |address: &str| {
        address.parse().map_err(|_| Error::internal(format!("{address} cannot be written to")))
    };
    let (subject, text) = words(notice);
    Message::builder()
        .from(mailbox(&from)?)
        .to(mailbox(account.primary.as_str())?)
        .subject(subject)
        .header(ContentType::TEXT_PLAIN)
        .body(format!("{text}\n\nIf you did not expect this, speak to your administrator.\n"))
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
    }
}
