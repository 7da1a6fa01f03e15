//! The one verifier of passwords, with the throttle inside: API, self-service, console and
//! command line all come here. Known and unknown addresses get the same answer in the same time.

use std::net::IpAddr;

use crate::app::App;
use crate::clock::{Millis, SECOND};
use crate::domain::account::Account;
use crate::domain::email_address::EmailAddress;
use crate::domain::password::{Password, PasswordKind};
use crate::domain::secret::fingerprint;
use crate::error::{Error, Result};
use crate::store;
use crate::store::accounts::Handle;
use crate::store::throttle::{count_below, take_back};

/// A person whose password was right.
#[derive(Debug)]
pub struct Verified {
    pub account: Account,
    /// The password only opens the choice of a new one.
    pub one_time: bool,
}

/// Checks address and password.
///
/// A try is counted before it is looked at and taken back when it was right, so that parallel
/// tries cannot outrun the count: of one account, no more passwords are compared in a window than
/// its limit allows wrong ones.
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
    let parsed = EmailAddress::parse(address)
        .ok()
        .map(|address| address.without_detail(app.config.addresses.recipient_delimiter));
    let found = match &parsed {
        Some(address) => find(app, address).await?,
        None => None,
    };
    let subject = subject(found.as_ref(), parsed.as_ref(), address);
    let counted = match Counted::before(app, subject, source, now).await? {
        Standing::Counted(counted) => Some(counted),
        Standing::TooManyOnAccount => None,
        // This depends on no account, so it may be quick: nobody fills the queue of the hasher.
        Standing::TooManyFromSource => return Err(Error::BadCredentials),
    };
    // A throttled try takes as long as the others.
    let hash = found.as_ref().and_then(|account| account.credential.hash.as_ref());
    let compared = match hash {
        Some(hash) => app.hasher.verify(password, hash).await,
        None => app.hasher.burn().await.map(|()| false),
    };
    let Some(counted) = counted else {
        compared?;
        return Err(Error::BadCredentials);
    };
    if !matches!(compared, Ok(false)) {
        counted.take_back(app).await?;
    }
    let right = compared?;
    match found.filter(|account| right && opens(account, now)) {
        Some(account) => {
            let one_time = account.credential.kind == PasswordKind::OneTime;
            Ok(Verified { account, one_time })
        }
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

/// A try that counts as wrong until it is taken back: on what, and when that window ends.
struct Counted(Vec<(String, Millis)>);

/// Whether a try may open anything. One that may not is not counted: who keeps trying does not
/// keep the owner out for ever.
enum Standing {
    Counted(Counted),
    TooManyOnAccount,
    TooManyFromSource,
}

impl Counted {
    async fn before(app: &App, subject: String, source: Option<IpAddr>, now: Millis) -> Result<Standing> {
        let settings = &app.config.throttle;
        let window = settings.window_seconds * SECOND;
        let (per_account, per_source) = (settings.wrong_per_account, settings.wrong_per_source);
        app.db
            .write(async move |tx| {
                let on_account = count_below(tx, &subject, now, window, per_account).await?;
                let Some(on_account) = on_account else { return Ok(Standing::TooManyOnAccount) };
                let mut counted = vec![(subject.clone(), on_account)];
                if let Some(source) = source.map(of_source) {
                    let Some(on_source) = count_below(tx, &source, now, window, per_source).await? else {
                        take_back(tx, &subject, on_account).await?;
                        return Ok(Standing::TooManyFromSource);
                    };
                    counted.push((source, on_source));
                }
                Ok(Standing::Counted(Self(counted)))
            })
            .await
    }

    async fn take_back(self, app: &App) -> Result<()> {
        app.db
            .write(async move |tx| {
                for (subject, window_end) in &self.0 {
                    take_back(tx, subject, *window_end).await?;
                }
                Ok(())
            })
            .await
    }
}

/// Forgets the wrong tries on an account (an administrator's help against a stranger's guessing).
pub async fn clear(app: &App, account: &Account) -> Result<bool> {
    let subject = account_subject(account);
    app.db.write(async move |tx| Ok(store::throttle::clear(tx, &subject).await? > 0)).await
}
