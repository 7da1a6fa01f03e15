//! The one verifier of passwords, with the throttle inside: API, self-service, console and
//! command line all come here. Known and unknown addresses get the same answer in the same time.

use std::net::IpAddr;

use crate::app::App;
use crate::clock::SECOND;
use crate::domain::account::Account;
use crate::domain::email_address::EmailAddress;
use crate::domain::password::{Password, PasswordKind};
use crate::domain::secret::fingerprint;
use crate::error::{Error, Result};
use crate::store;
use crate::store::accounts::Handle;

/// A person whose password was right.
#[derive(Debug)]
pub struct Verified {
    pub account: Account,
    /// The password only opens the choice of a new one.
    pub one_time: bool,
}

/// Checks address and password.
///
/// # Errors
/// `BadCredentials` for every reason: unknown address, wrong, expired, no password set, disabled,
/// too many wrong tries. `Unavailable` when the hashing queue is full.
pub async fn verify(
    app: &App,
    address: &str,
    password: &Password,
    source: Option<IpAddr>,
) -> Result<Verified> {
    let now = app.clock.now();
    let settings = &app.config.throttle;
    let parsed = EmailAddress::parse(address)
        .ok()
        .map(|address| address.without_detail(app.config.addresses.recipient_delimiter));
    let (found, throttled, subject) = {
        let mut tx = app.db.read().await?;
        let owner = match &parsed {
            Some(address) => store::addresses::account_of(&mut tx, address).await?,
            None => None,
        };
        let found = match owner {
            Some((organization, account)) => {
                let account = store::accounts::load(&mut tx, organization, Handle::Account(account)).await?;
                let enabled = store::organizations::load(&mut tx, organization)
                    .await?
                    .is_some_and(|organization| organization.disabled.is_none());
                account.filter(|_| enabled)
            }
            None => None,
        };
        let subject = subject(found.as_ref(), address);
        let (wrong, _) = store::throttle::tries(&mut tx, &subject, now).await?;
        let mut throttled = wrong >= settings.wrong_per_account;
        if let Some(source) = source {
            let (wrong, _) = store::throttle::tries(&mut tx, &of_source(source), now).await?;
            throttled |= wrong >= settings.wrong_per_source;
        }
        (found, throttled, subject)
    };
    let hash = found.as_ref().and_then(|account| account.credential.hash.as_ref());
    let right = match hash {
        Some(hash) => app.hasher.verify(password, hash).await?,
        None => {
            app.hasher.burn().await?;
            false
        }
    };
    match found.filter(|account| right && !throttled && opens(account, now)) {
        Some(account) => {
            let one_time = account.credential.kind == PasswordKind::OneTime;
            Ok(Verified { account, one_time })
        }
        None => {
            // A throttled try is not counted: who keeps trying does not keep the owner out for ever.
            if !throttled && !right {
                count_wrong(app, subject, source).await?;
            }
            Err(Error::BadCredentials)
        }
    }
}

/// Whether the account lets anybody in at all.
fn opens(account: &Account, now: i64) -> bool {
    account.switches.user_disabled.is_none() && account.credential.until.is_none_or(|until| now < until)
}

/// What wrong tries are counted on: the account, or the address where there is none, so that
/// both are throttled alike.
fn subject(account: Option<&Account>, address: &str) -> String {
    match account {
        Some(account) => account_subject(account),
        None => format!("address {}", hex::encode(&fingerprint(&address.to_lowercase())[..16])),
    }
}

fn account_subject(account: &Account) -> String {
    format!("account {}", account.id)
}

/// A source address; IPv6 by its /64, which one person holds.
pub fn of_source(source: IpAddr) -> String {
    match source.to_canonical() {
        IpAddr::V4(v4) => format!("source {v4}"),
        IpAddr::V6(v6) => {
            let [a, b, c, d, ..] = v6.segments();
            format!("source {a:x}:{b:x}:{c:x}:{d:x}::/64")
        }
    }
}

async fn count_wrong(app: &App, subject: String, source: Option<IpAddr>) -> Result<()> {
    let (now, window) = (app.clock.now(), app.config.throttle.window_seconds * SECOND);
    app.db
        .write(async move |tx| {
            store::throttle::count(tx, &subject, now, window).await?;
            if let Some(source) = source {
                store::throttle::count(tx, &of_source(source), now, window).await?;
            }
            Ok(())
        })
        .await
}

/// Forgets the wrong tries on an account (an administrator's help against a stranger's guessing).
pub async fn clear(app: &App, account: &Account) -> Result<bool> {
    let subject = account_subject(account);
    app.db.write(async move |tx| Ok(store::throttle::clear(tx, &subject).await? > 0)).await
}
