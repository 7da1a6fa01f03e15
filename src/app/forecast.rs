//! What a change would do, found out by doing it and undoing it: the differences, the addresses, and
//! what stops working, as counts. `change::forecast` makes one; doors show it before something
//! dangerous is done.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::Serialize;

use crate::app::App;
use crate::app::mail::servers;
use crate::app::mail::sessions::mask;
use crate::clock::Millis;
use crate::domain::account::{Account, Difference, differences};
use crate::domain::effect::{Effect, Notice, Sessions};
use crate::domain::email_address::{DomainName, EmailAddress};
use crate::domain::ids::{AccountId, AppPasswordId, OrganizationId, UserId};
use crate::error::Result;
use crate::mailserver::{MailServer, Session, SessionMask};
use crate::store;
use crate::store::engine::Tx;
use crate::store::live::{Live, Moment};

/// How long a mail server may take to say which sessions are open; then its number is not known.
const PATIENCE: Duration = Duration::from_millis(1500);

/// Everything that a call would do.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Forecast {
    /// Whether anything would be stored. A call for what is so already changes nothing.
    pub changes: bool,
    /// What becomes of each account, in the order of the call; those that stay as they are too.
    pub accounts: Vec<OnAccount>,
    /// Remarks about what is no account, by name, as the audit entry would have them.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub notes: BTreeMap<&'static str, String>,
    /// What stops working, all in all.
    pub ends: Ended,
    /// Mail sessions that end because a whole organization or domain is switched off.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub whole: Option<Whole>,
    /// How many of the sessions that are open now would end, by mail server. Empty where no session
    /// would have to end, or where there is no mail server.
    pub servers: Vec<OnServer>,
}

/// What becomes of one account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct OnAccount {
    /// `None` for an account that is to be made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub zuid: Option<UserId>,
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "as_text")]
    pub account_id: Option<AccountId>,
    /// The primary address before.
    pub address: String,
    pub differences: Vec<Difference>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub notes: BTreeMap<&'static str, String>,
    pub addresses: Addresses,
    /// Whether mail to the account's addresses is accepted afterwards.
    pub mail_arrives: bool,
    pub ends: Ended,
    pub mail_sessions: Vec<Ending>,
    /// What the person is told.
    pub told: Vec<Notice>,
}

/// What becomes of an account's addresses.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Addresses {
    /// New to the account.
    pub taken: Vec<String>,
    /// Of no use any more, but kept for the account for a term.
    pub freed: Vec<Freed>,
    /// The account's before and after.
    pub kept: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Freed {
    pub address: String,
    /// Until then only the same account can have it again; milliseconds since 1970.
    pub kept_until: Millis,
}

/// How much of what works now does not any more.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Ended {
    pub access_tokens: i64,
    pub refresh_tokens: i64,
    pub grant_codes: i64,
    pub web_sessions: i64,
    /// Revoked, or of no use while the account is switched off.
    pub app_passwords: i64,
    /// OAuth clients that go with their owner.
    pub clients: i64,
}

impl From<Live> for Ended {
    fn from(live: Live) -> Self {
        Self {
            access_tokens: live.access_tokens,
            refresh_tokens: live.refresh_tokens,
            grant_codes: live.grant_codes,
            web_sessions: live.web_sessions,
            app_passwords: live.app_passwords,
            clients: 0,
        }
    }
}

impl std::ops::AddAssign for Ended {
    fn add_assign(&mut self, more: Self) {
        self.access_tokens += more.access_tokens;
        self.refresh_tokens += more.refresh_tokens;
        self.grant_codes += more.grant_codes;
        self.web_sessions += more.web_sessions;
        self.app_passwords += more.app_passwords;
        self.clients += more.clients;
    }
}

/// What ended, of what there was and what is left. What works only afterwards has not ended.
impl std::ops::Sub for Ended {
    type Output = Self;
    fn sub(self, left: Self) -> Self {
        Self {
            access_tokens: (self.access_tokens - left.access_tokens).max(0),
            refresh_tokens: (self.refresh_tokens - left.refresh_tokens).max(0),
            grant_codes: (self.grant_codes - left.grant_codes).max(0),
            web_sessions: (self.web_sessions - left.web_sessions).max(0),
            app_passwords: (self.app_passwords - left.app_passwords).max(0),
            clients: (self.clients - left.clients).max(0),
        }
    }
}

/// Mail sessions that end on every server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ending {
    pub mailbox: String,
    pub sessions: Sessions,
}

/// `{"which": "all"}`, `{"which": "generation", "generation": 3}`, `{"which": "appPassword", …}`.
impl Serialize for Ending {
    fn serialize<S: serde::Serializer>(&self, to: S) -> std::result::Result<S::Ok, S::Error> {
        use serde::ser::SerializeMap as _;
        let mut map = to.serialize_map(None)?;
        match &self.sessions {
            Sessions::All => map.serialize_entry("which", "all")?,
            Sessions::Generation(number) => {
                map.serialize_entry("which", "generation")?;
                map.serialize_entry("generation", number)?;
            }
            Sessions::AppPassword(id) => {
                map.serialize_entry("which", "appPassword")?;
                map.serialize_entry("appPasswordId", &id.to_string())?;
            }
        }
        map.end()
    }
}

/// What is switched as a whole: its sessions end where nothing lets them in any more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Whole {
    Organization(OrganizationId),
    Domain(String),
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct OnServer {
    pub name: String,
    /// Sessions that are open now and would end; `None` when the server did not say.
    pub sessions: Option<u64>,
}

fn as_text<S: serde::Serializer>(id: &Option<AccountId>, to: S) -> std::result::Result<S::Ok, S::Error> {
    match id {
        Some(id) => to.collect_str(id),
        None => to.serialize_none(),
    }
}

impl Forecast {
    /// Whether open mail sessions are meant.
    fn ends_sessions(&self) -> bool {
        self.whole.is_some() || self.accounts.iter().any(|one| !one.mail_sessions.is_empty())
    }
}

impl OnAccount {
    /// What a transition does to an account; `kept_until` is when the term of an address freed now is over.
    pub fn of(
        before: &Account,
        after: &Account,
        effects: &[Effect],
        notes: BTreeMap<&'static str, String>,
        kept_until: Millis,
    ) -> Self {
        let had: BTreeSet<_> = before.addresses().collect();
        let has: BTreeSet<_> = if after.deleted { BTreeSet::new() } else { after.addresses().collect() };
        let texts = |addresses: &mut dyn Iterator<Item = &&EmailAddress>| -> Vec<String> {
            addresses.map(|address| address.to_string()).collect()
        };
        let mut one = Self {
            zuid: Some(before.user),
            account_id: Some(before.id),
            address: before.primary.to_string(),
            differences: differences(before, after).into_iter().map(without_id).collect(),
            notes,
            addresses: Addresses {
                taken: texts(&mut has.difference(&had)),
                freed: texts(&mut had.difference(&has))
                    .into_iter()
                    .map(|address| Freed { address, kept_until })
                    .collect(),
                kept: texts(&mut had.intersection(&has)),
            },
            mail_arrives: !after.deleted && after.switches.incoming_blocked.is_none(),
            ends: Ended::default(),
            mail_sessions: Vec::new(),
            told: Vec::new(),
        };
        for effect in effects {
            match effect {
                Effect::EndSessions { mailbox, sessions } => {
                    one.mail_sessions.push(Ending { mailbox: mailbox.clone(), sessions: sessions.clone() });
                }
                Effect::Tell { notice } => one.told.push(notice.clone()),
                // Letters to addresses outside belong to no change of an account.
                Effect::Project | Effect::Reconcile | Effect::Write { .. } => {}
            }
        }
        one
    }

    /// An account that is to be made.
    pub fn new(account: &Account, blank: &Account, notes: BTreeMap<&'static str, String>) -> Self {
        Self {
            zuid: None,
            account_id: None,
            addresses: Addresses {
                taken: account.addresses().map(ToString::to_string).collect(),
                ..Addresses::default()
            },
            ..Self::of(blank, account, &[], notes, 0)
        }
    }
}

/// An app password that is not made has no id yet.
fn without_id(difference: Difference) -> Difference {
    let to = difference.to.replace(&AppPasswordId::GREATEST.to_string(), "(new)");
    Difference { to, ..difference }
}

/// What works, of whomever a change concerns; counted before and after it, in its transaction.
pub struct Counted {
    organization: OrganizationId,
    at: Moment,
    people: Vec<(UserId, AccountId, Vec<String>)>,
    before: Vec<Ended>,
}

impl Counted {
    pub async fn before(tx: &mut Tx, accounts: &[&Account], at: Moment) -> Result<Option<Self>> {
        let Some(first) = accounts.first() else { return Ok(None) };
        let organization = first.organization;
        let mut people = Vec::with_capacity(accounts.len());
        for account in accounts {
            let clients = store::clients::of_owner(tx, organization, account.user).await?;
            people.push((account.user, account.id, clients));
        }
        let mut counted = Self { organization, at, people, before: Vec::new() };
        counted.before = counted.count(tx).await?;
        Ok(Some(counted))
    }

    /// For each person of [`Counted::before`], in that order.
    pub async fn after(self, tx: &mut Tx) -> Result<Vec<Ended>> {
        let after = self.count(tx).await?;
        Ok(self.before.iter().zip(after).map(|(before, after)| *before - after).collect())
    }

    /// What each has; and what others were given through a client that goes with its owner.
    async fn count(&self, tx: &mut Tx) -> Result<Vec<Ended>> {
        let mut all = Vec::with_capacity(self.people.len());
        for (user, account, clients) in &self.people {
            let mut one: Ended =
                store::live::of_person(tx, self.organization, *user, *account, self.at).await?.into();
            for client in clients {
                let given = store::live::of_client(tx, self.organization, client, self.at.now).await?;
                for (holder, live) in given {
                    if !self.people.iter().any(|(listed, ..)| *listed == holder) {
                        one += live.into();
                    }
                }
            }
            if !clients.is_empty() {
                let left = store::clients::of_owner(tx, self.organization, *user).await?;
                one.clients = i64::try_from(left.len()).unwrap_or(i64::MAX);
            }
            all.push(one);
        }
        Ok(all)
    }
}

/// Whose tokens, sessions and passwords may end with a change that is not one of an account: what a forecast counts
/// before and after it.
#[derive(Debug, Clone)]
pub enum Concerned {
    Nobody,
    Organization(OrganizationId),
    Domain(OrganizationId, DomainName),
    Client(OrganizationId, String),
    /// A person's tokens.
    Person(OrganizationId, UserId, AccountId),
}

impl Concerned {
    pub async fn count(&self, tx: &mut Tx, at: Moment) -> Result<Ended> {
        Ok(match self {
            Self::Nobody => Ended::default(),
            Self::Organization(zoid) => store::live::of_organization(tx, *zoid, at).await?.into(),
            Self::Domain(zoid, name) => store::live::of_domain(tx, *zoid, name, at.now).await?.into(),
            Self::Client(zoid, client) => {
                let mut all = Ended::default();
                for (_, live) in store::live::of_client(tx, *zoid, client, at.now).await? {
                    all += live.into();
                }
                all.clients = i64::from(store::clients::load(tx, client).await?.is_some());
                all
            }
            Self::Person(zoid, user, account) => {
                store::live::of_person(tx, *zoid, *user, *account, at).await?.into()
            }
        })
    }
}

impl Concerned {
    /// What is switched off as a whole by now.
    pub async fn switched_off(&self, tx: &mut Tx) -> Result<Option<Whole>> {
        Ok(match self {
            Self::Nobody | Self::Client(..) | Self::Person(..) => None,
            Self::Organization(zoid) => {
                let organization = store::organizations::load(tx, *zoid).await?;
                let off = organization.is_some_and(|organization| organization.disabled.is_some());
                off.then_some(Whole::Organization(*zoid))
            }
            Self::Domain(zoid, name) => {
                let domain = store::organizations::domain(tx, *zoid, name).await?;
                let off = domain.is_some_and(|domain| domain.disabled.is_some());
                off.then(|| Whole::Domain(name.to_string()))
            }
        })
    }
}

/// Asks every mail server that may have sessions of the organization which of its open ones would end. Outside of any
/// transaction.
///
/// # Errors
/// `Unavailable` when the database cannot be read; a server that does not answer is `None`.
pub async fn look_at_servers(
    app: &App,
    organization: Option<OrganizationId>,
    forecast: &mut Forecast,
) -> Result<()> {
    if !forecast.ends_sessions() {
        return Ok(());
    }
    let all = servers::with_sessions_of(app, organization).await?;
    look_at(app, forecast, all).await
}

/// The same for given servers.
///
/// # Errors
/// As [`look_at_servers`].
pub async fn look_at(
    app: &App,
    forecast: &mut Forecast,
    servers: Vec<(String, Option<MailServer>)>,
) -> Result<()> {
    for (name, open) in servers::sessions(servers, PATIENCE).await {
        let sessions = match open {
            Some(open) => Some(meant(app, forecast, &open).await?),
            None => None,
        };
        forecast.servers.push(OnServer { name, sessions });
    }
    Ok(())
}

/// How many of these sessions would end.
async fn meant(app: &App, forecast: &Forecast, open: &[Session]) -> Result<u64> {
    let masks: Vec<SessionMask> = forecast
        .accounts
        .iter()
        .flat_map(|one| &one.mail_sessions)
        .map(|ending| mask(&ending.mailbox, &ending.sessions))
        .collect();
    let mut ended = open.iter().filter(|one| masks.iter().any(|mask| mask.matches(&one.name))).count();
    if let Some(whole) = &forecast.whole {
        let mut tx = app.db.read().await?;
        for (mailbox, _) in open.iter().filter_map(Session::ours) {
            let owner = store::mailboxes::owner(&mut tx, mailbox).await?;
            ended += usize::from(owner.is_some_and(|(zoid, domain)| match whole {
                Whole::Organization(of) => *of == zoid,
                Whole::Domain(name) => *name == domain,
            }));
        }
    }
    Ok(u64::try_from(ended).unwrap_or(u64::MAX))
}
