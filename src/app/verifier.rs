//! The one verifier of passwords, with the throttle inside: self-service and console come here, and mail
//! logins feed the same throttle. Known and unknown addresses get the same answer in the same time.

use std::net::IpAddr;

use crate::app::App;
use crate::app::throttle::{self, Admission, Guess};
use crate::clock::Millis;
use crate::domain::account::Account;
use crate::domain::email_address::EmailAddress;
use crate::domain::ids::AccountId;
use crate::domain::password::{Password, PasswordKind};
use crate::error::{Error, Result};
use crate::store;
use crate::store::accounts::Handle;

/// A person whose password was right.
#[derive(Debug)]
pub struct Verified {
    pub account: Account,
}

impl Verified {
    /// The account, where the password proves that this one's owner is there.
    ///
    /// # Errors
    /// `BadCredentials` for a one-time password, which opens the choice of a new one alone, and for another account.
    pub fn proving(self, account: AccountId) -> Result<Account> {
        let proves = match self.account.credential.kind {
            PasswordKind::Permanent => self.account.id == account,
            PasswordKind::OneTime => false,
        };
        if proves { Ok(self.account) } else { Err(Error::BadCredentials) }
    }
}

/// Checks an address and a password. `None` means that what was sent cannot be a password at all: it is counted, and
/// takes as long, as any wrong one.
///
/// A try is counted before it is looked at and taken back when it let somebody in (`throttle::admit`): the right
/// password of who is disabled counts as any other, or the throttle would tell that it is the right one.
///
/// # Errors
/// `BadCredentials` for every reason: unknown address, wrong, expired, no password set, disabled,
/// too many wrong tries by the account's other addresses. `TooMany` for the address as it was typed,
/// whether anybody has it or not, and for the source. `Unavailable` when the hashing queue is full.
pub async fn verify(
    app: &App,
    address: &str,
    password: Option<&Password>,
    source: Option<IpAddr>,
) -> Result<Verified> {
    let now = app.clock.now();
    let parsed = EmailAddress::of_login(address, app.config.addresses.recipient_delimiter);
    let found = match &parsed {
        Some(address) => find(app, address).await?,
        None => None,
    };
    let guess = Guess::new(address, parsed.as_ref(), found.as_ref().map(|account| account.id), source);
    let admission = throttle::admit(app, &guess, now).await?;
    // One that opens nothing in silence takes as long as the others.
    let hash = found.as_ref().and_then(|account| account.credential.hash.as_ref());
    let compared = match password.zip(hash) {
        Some((password, hash)) => {
            let right = app.hasher.verify(password, hash).await;
            app.hasher.burn_rest(hash).await.and(right)
        }
        None => app.hasher.burn().await.map(|()| false),
    };
    let Admission::Counted(counted) = admission else {
        compared?;
        return Err(Error::BadCredentials);
    };
    let let_in = found.filter(|account| matches!(compared, Ok(true)) && opens(account, now));
    if let_in.is_some() || compared.is_err() {
        counted.take_back(app).await?;
    }
    compared?;
    match let_in {
        Some(account) => Ok(Verified { account }),
        None => Err(Error::BadCredentials),
    }
}

/// The account that has the address, unless its organization is disabled.
async fn find(app: &App, address: &EmailAddress) -> Result<Option<Account>> {
    let mut tx = app.db.read().await?;
    let Some((organization, account)) = store::addresses::account_of(&mut tx, address).await? else {
        return Ok(None);
    };
    let account = store::accounts::load(&mut tx, organization, Handle::Account(account)).await?;
    let organization = store::organizations::load(&mut tx, organization).await?;
    let enabled = organization.is_some_and(|organization| organization.disabled.is_none());
    Ok(account.filter(|_| enabled))
}

/// Whether the account lets anybody in at all.
fn opens(account: &Account, now: Millis) -> bool {
    account.switches.user_disabled.is_none() && !account.credential.is_over(now)
}
