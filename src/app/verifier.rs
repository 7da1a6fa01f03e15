//! The one verifier of passwords, with the throttle inside: API, self-service, console and
//! command line all come here. Known and unknown addresses get the same answer in the same time.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};

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
    let source = source.map(of_source);
    let parsed = EmailAddress::parse(address)
        .ok()
        .map(|address| address.without_detail(app.config.addresses.recipient_delimiter));
    let found = match &parsed {
        Some(address) => holder(app, address).await?,
        None => None,
    };
    let subject = subject(found.as_ref(), parsed.as_ref(), address);
    let throttled = {
        // Taken before the counters are read: a try that ends meanwhile is seen there or here.
        let own = Running::start(app, &subject);
        let from_source = source.as_deref().map(|source| Running::start(app, source));
        let mut tx = app.db.read().await?;
        if let (Some(source), Some(from_source)) = (&source, &from_source) {
            let (wrong, _) = store::throttle::tries(&mut tx, source, now).await?;
            if wrong + from_source.before >= settings.wrong_per_source {
                // This depends on no account, so it may be quick: nobody fills the queue of the hasher.
                return Err(Error::BadCredentials);
            }
        }
        let (wrong, _) = store::throttle::tries(&mut tx, &subject, now).await?;
        drop(tx);
        let throttled = wrong + own.before >= settings.wrong_per_account;
        let right = is_right(app, found.as_ref(), password).await?;
        if !right && !throttled {
            // A throttled try is not counted: who keeps trying does not keep the owner out for ever.
            count_wrong(app, subject.clone(), source.clone()).await?;
        }
        if !right {
            return Err(Error::BadCredentials);
        }
        throttled
    };
    // Other nodes may have counted wrong tries while this one was hashed.
    let (wrong, _) = store::throttle::tries(&mut *app.db.read().await?, &subject, now).await?;
    match found.filter(|account| !throttled && wrong < settings.wrong_per_account && opens(account, now)) {
        Some(account) => {
            let one_time = account.credential.kind == PasswordKind::OneTime;
            Ok(Verified { account, one_time })
        }
        None => Err(Error::BadCredentials),
    }
}

/// The account behind an address, if its organization is enabled.
async fn holder(app: &App, address: &EmailAddress) -> Result<Option<Account>> {
    let mut tx = app.db.read().await?;
    let Some((organization, account)) = store::addresses::account_of(&mut tx, address).await? else {
        return Ok(None);
    };
    let account = store::accounts::load(&mut tx, organization, Handle::Account(account)).await?;
    let enabled = store::organizations::load(&mut tx, organization)
        .await?
        .is_some_and(|organization| organization.disabled.is_none());
    Ok(account.filter(|_| enabled))
}

/// Takes as long where there is nothing to compare with.
async fn is_right(app: &App, found: Option<&Account>, password: &Password) -> Result<bool> {
    match found.and_then(|account| account.credential.hash.as_ref()) {
        Some(hash) => app.hasher.verify(password, hash).await,
        None => app.hasher.burn().await.map(|()| false),
    }
}

/// The tries that are being hashed on this node, by subject. Until it is known to be right each
/// counts as a wrong one; otherwise all that come at once would pass before the first is counted.
#[derive(Default)]
pub struct Running(Mutex<HashMap<String, i64>>);

struct Try<'a> {
    app: &'a App,
    subject: &'a str,
    /// How many others were running when this one began.
    before: i64,
}

impl Running {
    fn start<'a>(app: &'a App, subject: &'a str) -> Try<'a> {
        let mut running = app.tries.lock();
        let count = running.entry(subject.to_owned()).or_default();
        *count += 1;
        Try { app, subject, before: *count - 1 }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, i64>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Try<'_> {
    fn drop(&mut self) {
        let mut running = self.app.tries.lock();
        if let Some(count) = running.get_mut(self.subject) {
            *count -= 1;
            if *count == 0 {
                running.remove(self.subject);
            }
        }
    }
}

/// Whether the account lets anybody in at all.
fn opens(account: &Account, now: i64) -> bool {
    account.switches.user_disabled.is_none() && account.credential.until.is_none_or(|until| now < until)
}

/// What wrong tries are counted on: the account, or the address where there is none, so that
/// both are throttled alike.
fn subject(account: Option<&Account>, parsed: Option<&EmailAddress>, address: &str) -> String {
    match account {
        Some(account) => account_subject(account),
        None => {
            let address = parsed.map_or_else(|| address.to_lowercase(), ToString::to_string);
            format!("address {}", hex::encode(&fingerprint(&address)[..16]))
        }
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

async fn count_wrong(app: &App, subject: String, source: Option<String>) -> Result<()> {
    let (now, window) = (app.clock.now(), app.config.throttle.window_seconds * SECOND);
    app.db
        .write(async move |tx| {
            store::throttle::count(tx, &subject, now, window).await?;
            if let Some(source) = &source {
                store::throttle::count(tx, source, now, window).await?;
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
