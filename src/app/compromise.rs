//! What an administrator does about an account that somebody else got into: one change
//! (`accounts::secure_account`), and a report of who came in lately and what was done.

use std::time::Duration;

use crate::app::App;
use crate::app::accounts::AccountMode;
use crate::app::accounts::secure_account::SecureAccount;
use crate::app::call::{Context, known};
use crate::app::change::{self, Ask, Done, Rules};
use crate::app::factors;
use crate::app::forecast::{Ended, Forecast};
use crate::app::mail::servers;
use crate::app::password;
use crate::domain::account::Account;
use crate::domain::actor::Who;
use crate::domain::ids::{AccountId, OrganizationId, UserId};
use crate::domain::password::Password;
use crate::domain::rights::Route;
use crate::domain::secret::Secret;
use crate::error::{Error, Result};
pub use crate::mailserver::Session;
use crate::mailserver::SessionMask;
use crate::store;
pub use crate::store::audit::AuditRow;
use crate::store::sign_ins::{Place, SignIn};
pub use crate::store::web_sessions::WebSession;

/// How long a mail server may take to say which sessions are open; the cut must not wait for it.
const PATIENCE: Duration = Duration::from_secs(1);
/// Entries of each kind in the report.
const ENTRIES: i64 = 20;

/// What was found and done.
pub struct Report {
    /// The account as it is now.
    pub account: Account,
    /// For the person, who chooses an own one with it. Shown once.
    pub password: Secret,
    /// What ended, as counted just before.
    pub ended: Ended,
    /// Mail sessions that were open just before, by mail server; `None` where it did not say.
    pub mail_sessions: Vec<(String, Option<Vec<Session>>)>,
    /// Web sessions that were open just before.
    pub web_sessions: Vec<WebSession>,
    pub last_sign_in: Option<SignIn>,
    /// From where somebody signed in, by web page and mail program, the latest first.
    pub places: Vec<Place>,
    /// Second factors that stay: only another super administrator or the operator takes them away.
    pub factors_left: bool,
    /// OAuth clients that act as this person by their own secret. They go on; switch off what is not known.
    pub clients: Vec<String>,
    /// What was done to the account before, the newest first.
    pub about: Vec<AuditRow>,
    /// What the account's owner did before, or whoever was in the account; the newest first.
    pub by: Vec<AuditRow>,
}

/// What there was just before the cut.
#[derive(Default)]
struct Evidence {
    mail_sessions: Vec<(String, Option<Vec<Session>>)>,
    web_sessions: Vec<WebSession>,
    last_sign_in: Option<SignIn>,
    places: Vec<Place>,
    clients: Vec<String>,
    about: Vec<AuditRow>,
    by: Vec<AuditRow>,
}

/// Secures an account; `named` is its zuid or accountId. A dry run has no report.
///
/// # Errors
/// As `change::run`: a reset by an administrator, and no own form.
pub async fn secure(
    app: &App,
    context: &Context,
    organization: OrganizationId,
    named: i64,
) -> Result<(Done, Option<Report>)> {
    known(app, context).await?;
    let password = password::one_time(app, organization).await?;
    let ask = Ask {
        route: Route::Organization(organization),
        path: Some(named),
        zuid: None,
        mode: AccountMode::SecureAccount(SecureAccount::made(Password::prepare(password.expose())?)),
    };
    if context.dry_run {
        return Ok((change::run(app, context, ask).await?, None));
    }
    // Who may not do this sees nothing: the refusal comes from the change itself, which notes it.
    let forecast = change::forecast(app, context, ask.clone()).await.ok();
    let evidence = match &forecast {
        Some(forecast) => look(app, organization, forecast).await?,
        None => Evidence::default(),
    };
    let done = change::run(app, context, ask).await?;
    let account = done.accounts.first().cloned();
    let account = account.ok_or_else(|| Error::internal("an account was secured that is not there"))?;
    // The password is here alone, whatever happens now: what cannot be read is told as left.
    let factors_left = factors::has_any(app, &account).await.unwrap_or(true);
    let report = Report {
        account,
        password,
        ended: forecast.map(|forecast| forecast.ends).unwrap_or_default(),
        mail_sessions: evidence.mail_sessions,
        web_sessions: evidence.web_sessions,
        last_sign_in: evidence.last_sign_in,
        places: evidence.places,
        factors_left,
        clients: evidence.clients,
        about: evidence.about,
        by: evidence.by,
    };
    Ok((done, Some(report)))
}

async fn look(app: &App, organization: OrganizationId, forecast: &Forecast) -> Result<Evidence> {
    let one = forecast.accounts.first();
    let Some((user, account)) = one.and_then(|one| one.zuid.zip(one.account_id)) else {
        return Ok(Evidence::default());
    };
    let mail_sessions = sessions(app, organization, account).await?;
    let at = Rules::of(app).moment(app.clock.now());
    let mut tx = app.db.snapshot().await?;
    let web_sessions =
        store::web_sessions::of_person(&mut tx, organization, user, at.now, at.idle_since).await?;
    Ok(Evidence {
        mail_sessions,
        web_sessions,
        last_sign_in: store::sign_ins::last(&mut tx, organization, user).await?,
        places: store::sign_ins::places(&mut tx, organization, user).await?,
        clients: store::clients::of_owner(&mut tx, organization, user).await?,
        about: store::audit::newest(&mut tx, organization, Some(user), ENTRIES).await?,
        by: store::audit::newest_by(&mut tx, organization, &Who::User(user).to_string(), ENTRIES).await?,
    })
}

/// The open mail sessions of an account, on every server where it may have some.
async fn sessions(
    app: &App,
    organization: OrganizationId,
    account: AccountId,
) -> Result<Vec<(String, Option<Vec<Session>>)>> {
    let mask = SessionMask::All { mbox: Account::mailbox_of(account) };
    let mut found =
        servers::sessions(servers::with_sessions_of(app, Some(organization)).await?, PATIENCE).await;
    for open in found.iter_mut().filter_map(|(_, open)| open.as_mut()) {
        open.retain(|one| mask.matches(&one.name));
    }
    Ok(found)
}

/// Takes back what opens an account beside its password and tokens; answers it in words, for the
/// entry. Second factors go only where the actor could take them away in any case: an
/// administrator's token must not be a way around somebody's second factor.
pub(super) async fn take_back(
    tx: &mut store::engine::Tx,
    organization: OrganizationId,
    user: UserId,
    factors_too: bool,
) -> Result<Vec<(&'static str, String)>> {
    let mut taken = Vec::new();
    store::recovery::void_links(tx, organization, user).await?;
    if store::recovery::remove_address(tx, organization, user).await?.is_some() {
        taken.push(("recoveryAddress", "removed".to_owned()));
    }
    if factors_too && store::factors::remove_all(tx, organization, user).await? {
        taken.push(("secondFactors", "removed".to_owned()));
    }
    Ok(taken)
}
