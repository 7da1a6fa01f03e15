//! What a dry run said, held against what the call itself then did: read from the store, the outbox
//! and the mail server's record, never from a plan.

use std::collections::{BTreeMap, BTreeSet};

use mailward::app::forecast::{Forecast, look_at};
use mailward::domain::account::{Account, differences};
use mailward::domain::app_password::AppPassword;
use mailward::domain::client::ClientKind;
use mailward::domain::effect::{Effect, Sessions};
use mailward::domain::ids::{ChangeId, GrantId, Id as _, UserId, WebSessionId};
use mailward::domain::password::PasswordKind;
use mailward::domain::scope::ScopeSet;
use mailward::domain::secret::{Fingerprint, fingerprint};
use mailward::domain::web_session::Stage;
use mailward::mailserver::{MailServer, Session};
use mailward::store::engine::{Tx, params};
use mailward::store::tokens::{AccessToken, GrantCode, RefreshToken};
use mailward::store::web_sessions::WebSession;
use mailward::store::{clients, organizations, tokens, web_sessions};
use serde_json::{Value, json};

use super::case::Case;
use super::rules::{Answer, DAY};
use crate::support::world::{self, USER_SCOPES};

/// Tokens that hang on a client, besides those from the command line.
pub struct Given {
    holder: usize,
    /// The person whose client it is.
    owner: usize,
    client: String,
    hash: Fingerprint,
    kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Access,
    Refresh,
    Code,
    Web,
    AppPassword,
    Client,
}

/// What works, and whom its end is counted on: the holder, and the owner of the client.
type Works = BTreeMap<(Kind, String), (i64, Option<i64>)>;

/// What there is at a moment.
pub struct Sight {
    accounts: BTreeMap<i64, Account>,
    /// Of each address: the account, and until when it is kept where it is freed.
    addresses: BTreeMap<String, (i64, Option<i64>)>,
    works: Works,
    stored: Vec<(String, i64)>,
    sessions: Vec<String>,
}

/// What was said beforehand.
pub struct Foretold {
    said: Result<Value, (Answer, String)>,
    before: Sight,
}

impl Case<'_> {
    /// Clients of three people, and what was given to everybody through them.
    pub async fn give_out(&mut self) {
        for owner in [0, 2, 3] {
            if self.model.people.get(owner).is_none_or(|person| person.deleted) {
                continue;
            }
            let known = self.clients.get(&owner).cloned();
            let client = match known {
                Some(client) => client,
                None => {
                    let new = mailward::app::clients::NewClient {
                        organization: self.zoid,
                        owner: UserId::new(self.ids[owner].0).expect("a zuid"),
                        name: "A client".to_owned(),
                        kind: ClientKind::SelfClient,
                        redirect_uris: Vec::new(),
                    };
                    let app = &self.world.app;
                    let made = mailward::app::clients::create(app, &world::operator(), new).await;
                    self.audited += 1;
                    made.expect("a client").0.id
                }
            };
            self.clients.insert(owner, client.clone());
            for holder in 0..self.ids.len() {
                self.give(owner, holder, &client).await;
            }
        }
    }

    async fn give(&mut self, owner: usize, holder: usize, client: &str) {
        let held = &self.model.people[holder];
        let mut works = self.given.iter().filter(|one| (one.owner, one.holder) == (owner, holder));
        if held.deleted || works.any(|one| self.ended_of.get(&one.hash) == Some(&held.ended)) {
            return;
        }
        let (zoid, now) = (self.zoid, self.model.now);
        let user = UserId::new(self.ids[holder].0).expect("a zuid");
        let hashes = [Kind::Access, Kind::Refresh, Kind::Code, Kind::Web]
            .map(|kind| (kind, fingerprint(&format!("{owner} {holder} {kind:?} {zoid} {}", held.ended))));
        let (ended, client) = (held.ended, client.to_owned());
        let name = client.clone();
        let stored = hashes.map(|(_, hash)| hash);
        let given = self.world.app.db.write(async move |tx| {
            let Some(owner) = tokens::resource_owner(tx, zoid, user).await? else { return Ok(false) };
            let (scope, grant) = (ScopeSet::parse(USER_SCOPES)?, GrantId::from_number(GrantId::FIRST));
            let grant = grant.expect("the first of its range");
            let access = AccessToken {
                organization: zoid,
                user,
                client: Some(name.clone()),
                epoch: owner.epoch,
                scope: scope.clone(),
                grant: None,
                created_at: now,
                expires_at: now + 365 * DAY,
            };
            tokens::insert_access(tx, &stored[0], &access).await?;
            let refresh = RefreshToken {
                organization: zoid,
                user,
                client: name.clone(),
                epoch: owner.epoch,
                scope: scope.clone(),
                grant,
                created_at: now,
                minted: Vec::new(),
            };
            tokens::insert_refresh(tx, &stored[1], &refresh).await?;
            let code = GrantCode {
                organization: zoid,
                user,
                client: name.clone(),
                epoch: owner.epoch,
                scope,
                redirect_uri: None,
                challenge: None,
                offline: true,
                grant,
                created_at: now,
                expires_at: now + 20 * DAY,
                used_at: None,
            };
            tokens::insert_code(tx, &stored[2], &code).await?;
            let session = WebSession {
                id: WebSessionId::from_number(WebSessionId::FIRST).expect("the first of its range"),
                organization: zoid,
                user,
                epoch: owner.epoch,
                stage: Stage::SignedIn,
                password_mark: None,
                ceremony: None,
                created_at: now,
                proved_at: now,
                seen_at: now + 365 * DAY,
                expires_at: now + 365 * DAY,
                source: String::new(),
                agent: String::new(),
            };
            web_sessions::insert(tx, &stored[3], &session).await?;
            Ok(true)
        });
        if given.await.expect("given") {
            for (kind, hash) in hashes {
                self.ended_of.insert(hash, ended);
                self.given.push(Given { holder, owner, client: client.clone(), hash, kind });
            }
        }
    }

    /// Sessions of everybody who can hold one, opened with everything that opens one.
    async fn open_sessions(&self) {
        self.world.settle().await;
        let mut sessions = Vec::new();
        for account in self.listed().await {
            if account.switches.user_disabled.is_some()
                || account.switches.mail_disabled.is_some()
                || !self.model.enabled
            {
                continue;
            }
            let apps = account
                .app_passwords
                .iter()
                .filter(|app| app.expires_at.is_none_or(|at| at > self.model.now));
            let names = std::iter::once(format!("{}@g{}", account.mailbox, account.generation))
                .chain(apps.map(|app| format!("{}@a{}", account.mailbox, app.id)));
            for name in names {
                for (service, off) in
                    [("imap", &account.switches.imap_off), ("pop3", &account.switches.pop_off)]
                {
                    if off.is_none() {
                        let service = service.to_owned();
                        sessions.push(Session { name: name.clone(), service, pid: None, ip: None });
                    }
                }
            }
        }
        self.world.recorder.with(|recording| recording.sessions = sessions);
    }

    async fn sight(&self) -> Sight {
        let now = self.model.now;
        let accounts: BTreeMap<i64, Account> =
            self.listed().await.into_iter().map(|account| (account.id.get(), account)).collect();
        let mut tx = self.world.app.db.snapshot().await.expect("a snapshot");
        let enabled = organizations::load(&mut tx, self.zoid).await.expect("readable").expect("there");
        let addresses = tx
            .query_all(
                "SELECT address, account_id, kept_until FROM address WHERE organization_id = $1",
                params![self.zoid.get()],
                |row| Ok((row.get("address")?, (row.get("account_id")?, row.get("kept_until")?))),
            )
            .await
            .expect("addresses");
        let mut works = Works::new();
        for (person, all) in self.tokens.iter().enumerate() {
            for (_, text) in all {
                let hash = fingerprint(text);
                if tokens::holder(&mut tx, &hash, now).await.expect("readable").is_some() {
                    works.insert((Kind::Access, hex::encode(hash.as_bytes())), (self.ids[person].0, None));
                }
            }
        }
        for given in &self.given {
            if self.given_works(&mut tx, given).await {
                // A browser's session hangs on nobody's client.
                let owner = (given.kind != Kind::Web).then_some(self.ids[given.owner].0);
                let whose = (self.ids[given.holder].0, owner);
                works.insert((given.kind, hex::encode(given.hash.as_bytes())), whose);
            }
        }
        for (owner, client) in &self.clients {
            if clients::load(&mut tx, client).await.expect("readable").is_some() {
                works.insert((Kind::Client, client.clone()), (self.ids[*owner].0, None));
            }
        }
        for account in accounts.values() {
            let open = enabled.disabled.is_none() && !is_gated(account);
            for app in account.app_passwords.iter().filter(|app| open && opens(account, app, now)) {
                works.insert((Kind::AppPassword, app.id.to_string()), (account.user.get(), None));
            }
        }
        let stored = tx
            .query_all(
                "SELECT 'audit' AS what, COUNT(*) AS many FROM audit WHERE organization_id = $1
                 UNION ALL SELECT 'outbox', COUNT(*) FROM outbox WHERE organization_id = $1
                 UNION ALL SELECT 'refusal', CAST(COALESCE(SUM(refusals), 0) AS BIGINT) FROM refusal WHERE organization_id = $1
                 UNION ALL SELECT 'retained', COUNT(*) FROM retained_mailbox WHERE organization_id = $1
                 UNION ALL SELECT 'sign in', COUNT(*) FROM sign_in WHERE organization_id = $1
                 UNION ALL SELECT 'sign-in place', COUNT(*) FROM sign_in_place WHERE organization_id = $1
                 UNION ALL SELECT 'ordinal', MAX(next_ordinal) FROM organization_counter WHERE organization_id = $1
                 UNION ALL SELECT kind, next_id FROM id_block
                 ORDER BY what",
                params![self.zoid.get()],
                |row| Ok((row.get("what")?, row.get("many")?)),
            )
            .await
            .expect("counts");
        let sessions = self
            .world
            .recorder
            .with(|recording| recording.sessions.iter().map(|one| one.name.clone()).collect());
        Sight { accounts, addresses: addresses.into_iter().collect(), works, stored, sessions }
    }

    async fn given_works(&self, tx: &mut Tx, given: &Given) -> bool {
        let now = self.model.now;
        let (user, epoch, fresh) = match given.kind {
            Kind::Access => return tokens::holder(tx, &given.hash, now).await.expect("readable").is_some(),
            Kind::Refresh => match tokens::refresh(tx, &given.hash).await.expect("readable") {
                Some(row) => (row.user, row.epoch, true),
                None => return false,
            },
            Kind::Code => match tokens::code(tx, &given.hash).await.expect("readable") {
                Some(row) => (row.user, row.epoch, row.used_at.is_none() && row.expires_at > now),
                None => return false,
            },
            Kind::Web => {
                let held = web_sessions::holder(tx, &given.hash, now, now).await.expect("readable");
                return held.is_some();
            }
            Kind::AppPassword | Kind::Client => unreachable!("these are not given"),
        };
        let owner = tokens::resource_owner(tx, self.zoid, user).await.expect("readable");
        let client = clients::load(tx, &given.client).await.expect("readable");
        fresh
            && owner.is_some_and(|owner| owner.enabled && owner.epoch == epoch)
            && client.is_some_and(|client| client.disabled.is_none())
    }

    /// Before a call: what there is, with sessions that can end.
    pub async fn look(&self) -> Sight {
        self.open_sessions().await;
        self.sight().await
    }

    /// After the dry run: what it said, and that it left nothing.
    pub async fn heard(
        &self,
        before: Sight,
        said: Result<Value, (Answer, String)>,
    ) -> Result<Foretold, String> {
        let now = self.sight().await;
        let mut left = Vec::new();
        if now.accounts != before.accounts {
            left.push(format!("accounts {:?}", now.accounts));
        }
        if now.addresses != before.addresses {
            left.push(format!("addresses {:?}", now.addresses));
        }
        if now.works != before.works {
            left.push(format!("what works {:?}", now.works));
        }
        if now.stored != before.stored {
            left.push(format!("records {:?}, not {:?}", now.stored, before.stored));
        }
        if now.sessions != before.sessions {
            left.push(format!("sessions {:?}", now.sessions));
        }
        match left.is_empty() {
            true => Ok(Foretold { said, before }),
            false => Err(format!("the dry run left its traces: {}", left.join("; "))),
        }
    }

    /// After the call itself: whether it was foretold.
    pub async fn came_true(
        &self,
        foretold: Foretold,
        answer: (Answer, &str),
        change: Option<ChangeId>,
    ) -> Result<(), String> {
        let forecast = match (foretold.said, answer.0) {
            (Ok(forecast), Answer::Done | Answer::Created) => forecast,
            (Err((kind, text)), real) if kind == real && text == answer.1 => return Ok(()),
            (said, real) => {
                return Err(format!("the dry run said {said:?}, the call {real:?}: {}", answer.1));
            }
        };
        let before = foretold.before;
        self.world.settle().await;
        let after = self.sight().await;
        let seen = self.happened(&before, &after, &forecast, change).await;
        let open: Vec<&String> = before.sessions.iter().collect();
        let expected = ended_sessions(&forecast, &open);
        let ended = before.sessions.len() - after.sessions.len();
        if expected != ended {
            return Err(format!("{ended} sessions ended, foretold were {expected}: {forecast:#}"));
        }
        if forecast != seen {
            return Err(format!("foretold was\n{forecast:#}\nand what happened is\n{seen:#}"));
        }
        Ok(())
    }

    /// What happened, written down as a forecast is. Only the accounts' order, their names for what
    /// stayed as it is, and the audit entry's remarks are taken from what was said.
    async fn happened(
        &self,
        before: &Sight,
        after: &Sight,
        forecast: &Value,
        change: Option<ChangeId>,
    ) -> Value {
        let now = self.model.now;
        let mut effects: BTreeMap<i64, Vec<Effect>> = BTreeMap::new();
        if let Some(change) = change {
            let mut tx = self.world.app.db.read().await.expect("a connection");
            for row in world::effects_of(&mut tx, self.zoid, change).await {
                let account = row.account.map_or(0, |account| account.get());
                let all = effects.entry(account).or_default();
                if row.effect != Effect::Project && !all.contains(&row.effect) {
                    all.push(row.effect);
                }
            }
        }
        let changed = |id: &i64| before.accounts.get(id) != after.accounts.get(id);
        let mut listed: Vec<i64> = Vec::new();
        for one in forecast["accounts"].as_array().into_iter().flatten() {
            let named = one["accountId"].as_str().and_then(|text| text.parse().ok());
            let made = after.accounts.keys().find(|id| !before.accounts.contains_key(id)).copied();
            listed.extend(named.or(made));
        }
        // Whoever was changed and not named is seen here.
        let unnamed = before.accounts.keys().chain(after.accounts.keys()).filter(|id| changed(id));
        for id in unnamed.chain(effects.keys()) {
            if !listed.contains(id) {
                listed.push(*id);
            }
        }
        let people: Vec<i64> = listed
            .iter()
            .filter_map(|id| before.accounts.get(id).or(after.accounts.get(id)))
            .map(|account| account.user.get())
            .collect();
        let ended: Vec<_> = before.works.iter().filter(|(key, _)| !after.works.contains_key(*key)).collect();
        let count = |whose: &dyn Fn(i64, Option<i64>) -> bool| -> Value {
            let of = |kind: Kind| {
                ended
                    .iter()
                    .filter(|((one, _), (holder, owner))| *one == kind && whose(*holder, *owner))
                    .count()
            };
            json!({
                "accessTokens": of(Kind::Access),
                "refreshTokens": of(Kind::Refresh),
                "grantCodes": of(Kind::Code),
                "webSessions": of(Kind::Web),
                "appPasswords": of(Kind::AppPassword),
                "clients": of(Kind::Client),
            })
        };
        let mut accounts = Vec::new();
        for (place, id) in listed.iter().enumerate() {
            let (old, new) = (before.accounts.get(id), after.accounts.get(id));
            let told = effects.remove(id).unwrap_or_default();
            let said = &forecast["accounts"][place];
            let mut one = json!({
                "address": old.or(new).map_or("", |account| account.primary.as_str()),
                "addresses": addresses(before, after, *id, now),
                "mailArrives": new.is_some_and(|account| account.switches.incoming_blocked.is_none()),
                "mailSessions": told.iter().filter_map(ending).collect::<Vec<_>>(),
                "told": told.iter().filter_map(notice).collect::<Vec<_>>(),
                "differences": match (old, new) {
                    (Some(old), Some(new)) => named_new(json!(differences(old, new)), old, new),
                    (Some(old), None) => {
                        let gone = Account { deleted: true, session_epoch: old.session_epoch + 1, ..old.clone() };
                        json!(differences(old, &gone))
                    }
                    (None, _) => said["differences"].clone(),
                },
                "ends": count(&|holder, owner| {
                    let user = old.map_or(0, |account| account.user.get());
                    holder == user || (owner == Some(user) && !people.contains(&holder))
                }),
            });
            if !said["notes"].is_null() {
                one["notes"] = said["notes"].clone();
            }
            if let Some(old) = old {
                one["zuid"] = json!(old.user.get());
                one["accountId"] = json!(old.id.to_string());
            }
            accounts.push(one);
        }
        // The mail server that the product knows does not answer; its recorder is looked at apart.
        let ends_sessions =
            accounts.iter().any(|one| one["mailSessions"].as_array().is_some_and(|all| !all.is_empty()));
        let servers = if ends_sessions { json!([{"name": "mx1", "sessions": null}]) } else { json!([]) };
        json!({
            "changes": change.is_some(),
            "accounts": accounts,
            "ends": count(&|_, _| true),
            "servers": servers,
        })
    }
}

/// How the forecast's addresses look after what happened.
fn addresses(before: &Sight, after: &Sight, id: i64, now: i64) -> Value {
    let of = |sight: &Sight| -> BTreeSet<String> {
        let own = sight.addresses.iter().filter(|(_, (account, until))| *account == id && until.is_none());
        own.map(|(address, _)| address.clone()).collect()
    };
    let (had, has) = (of(before), of(after));
    let freed: Vec<_> = had
        .difference(&has)
        .map(|address| match after.addresses.get(address) {
            Some((_, Some(until))) if *until > now => json!({"address": address, "keptUntil": until}),
            other => json!({"address": address, "is": format!("{other:?}")}),
        })
        .collect();
    json!({
        "taken": has.difference(&had).collect::<Vec<_>>(),
        "freed": freed,
        "kept": had.intersection(&has).collect::<Vec<_>>(),
    })
}

/// Nobody can know the id of what is not made.
fn named_new(mut differences: Value, old: &Account, new: &Account) -> Value {
    let there = |app: &&AppPassword| old.app_passwords.iter().all(|known| known.id != app.id);
    for app in new.app_passwords.iter().filter(there) {
        for one in
            differences.as_array_mut().into_iter().flatten().filter(|one| one["what"] == "appPasswords")
        {
            let text = one["to"].as_str().unwrap_or_default().replace(&app.id.to_string(), "(new)");
            one["to"] = json!(text);
        }
    }
    differences
}

fn ending(effect: &Effect) -> Option<Value> {
    let Effect::EndSessions { sessions, .. } = effect else { return None };
    Some(match sessions {
        Sessions::All => json!({"which": "all"}),
        Sessions::Generation(number) => json!({"which": "generation", "generation": number}),
        Sessions::AppPassword(id) => json!({"which": "appPassword", "appPasswordId": id.to_string()}),
    })
}

fn notice(effect: &Effect) -> Option<Value> {
    let Effect::Tell { notice } = effect else { return None };
    Some(json!(notice))
}

/// How many of the sessions the forecast means.
fn ended_sessions(forecast: &Value, open: &[&String]) -> usize {
    let mut ended = BTreeSet::new();
    for one in forecast["accounts"].as_array().into_iter().flatten() {
        let mailbox = format!("m{}", one["accountId"].as_str().unwrap_or_default());
        for ending in one["mailSessions"].as_array().into_iter().flatten() {
            let name = match ending["which"].as_str() {
                Some("all") => format!("{mailbox}@"),
                Some("generation") => format!("{mailbox}@g{}", ending["generation"]),
                Some("appPassword") => {
                    format!("{mailbox}@a{}", ending["appPasswordId"].as_str().unwrap_or_default())
                }
                other => panic!("{other:?} is no way for sessions to end"),
            };
            let meant = |user: &str| if name.ends_with('@') { user.starts_with(&name) } else { user == name };
            ended.extend(open.iter().enumerate().filter(|(_, user)| meant(user)).map(|(place, _)| place));
        }
    }
    ended.len()
}

/// No mail server lets anybody in.
fn is_gated(account: &Account) -> bool {
    account.switches.user_disabled.is_some()
        || account.switches.mail_disabled.is_some()
        || account.credential.kind == PasswordKind::OneTime
}

fn opens(account: &Account, app: &AppPassword, now: i64) -> bool {
    let switches = &account.switches;
    app.expires_at.is_none_or(|at| at > now)
        && ((app.protocols.imap && switches.imap_off.is_none())
            || (app.protocols.pop && switches.pop_off.is_none())
            || app.protocols.smtp)
}

/// What the product itself counts on a server that answers.
pub async fn counted(case: &Case<'_>, forecast: &Forecast) -> Result<(), String> {
    let mut forecast = Forecast { servers: Vec::new(), ..forecast.clone() };
    let open: Vec<String> =
        case.world.recorder.with(|recording| recording.sessions.iter().map(|one| one.name.clone()).collect());
    let server = MailServer::Recorder(case.world.recorder.clone());
    let servers = vec![("mx1".to_owned(), Some(server))];
    look_at(&case.world.app, &mut forecast, servers).await.map_err(|error| error.to_string())?;
    let expected = ended_sessions(&json!(forecast), &open.iter().collect::<Vec<_>>());
    match forecast.servers.first().and_then(|server| server.sessions) {
        Some(counted) if usize::try_from(counted).ok() == Some(expected) => Ok(()),
        other => Err(format!("{other:?} sessions were counted, {expected} are meant")),
    }
}
