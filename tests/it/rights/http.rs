//! Every route and principal once over HTTP, and every refusal of rank in every mode.

use mailward::app::oauth::{self, CodeWish};
use mailward::clock::SECOND;
use mailward::domain::actor::Role;
use mailward::domain::client::ClientKind;
use mailward::domain::ids::UserId;
use mailward::domain::scope::ScopeSet;
use mailward::domain::secret::Secret;
use mailward::store::engine::Db;
use serde_json::{Value, json};

use super::expected::{self, Call, Entry, Principal, Rank, Target};
use super::table;
use crate::support::world::{self, Answer, PASSWORD, Someone, World};

/// The world's people and those of another organization, and a token for each principal.
struct Stage {
    world: World,
    strangers: [Someone; 4],
    /// Of the world's organization.
    desk: Someone,
    dead: [String; 2],
    created: usize,
    /// Some change of the world's organization.
    change: String,
}

impl Stage {
    async fn build(db: Db) -> Self {
        let world = World::start(db).await;
        let (zoid, domain) = world::organization(&world.app, "Elsewhere", "elsewhere.example").await;
        let desk = world.someone("hedda", Role::HelpDesk).await;
        let mut strangers = Vec::new();
        for (local, role) in
            [("mo", Role::Member), ("hal", Role::HelpDesk), ("ada", Role::Admin), ("sue", Role::SuperAdmin)]
        {
            strangers.push(world::someone(&world.app, zoid, &format!("{local}@{domain}"), role).await);
        }
        let scopes = ScopeSet::parse(world::ORGANIZATION_SCOPES).expect("scopes");
        let admin = UserId::new(world.admin.zuid).expect("a zuid");
        let issue = async |life| {
            let token = oauth::issue(&world.app, world.zoid, admin, scopes.clone(), life).await;
            token.expect("a token").expose().to_owned()
        };
        let dead = [issue(SECOND).await, issue(100 * SECOND).await];
        oauth::revoke(&world.app, &Secret::new(dead[1].clone())).await.expect("revoked");
        world.app.clock.advance(2 * SECOND);
        let named =
            world.mode(&world.owner, &world.other, "displaynameupdate", json!({"displayName": "Otto"}));
        let change = named.await.change().expect("a change");
        Self { strangers: strangers.try_into().expect("four"), desk, dead, world, created: 0, change }
    }

    fn caller(&self, rank: Rank, foreign: bool) -> &Someone {
        match (foreign, rank) {
            (true, Rank::Member) => &self.strangers[0],
            (true, Rank::Desk) => &self.strangers[1],
            (true, Rank::Admin) => &self.strangers[2],
            (true, Rank::Super) => &self.strangers[3],
            (false, Rank::Member) => &self.world.member,
            (false, Rank::Desk) => &self.desk,
            (false, Rank::Admin) => &self.world.admin,
            (false, Rank::Super) => &self.world.owner,
        }
    }

    async fn header(&self, principal: Principal) -> Option<String> {
        let token = match principal {
            Principal::NoHeader => return None,
            Principal::BadToken => format!("1000.{}.{}", "0".repeat(32), "f".repeat(32)),
            Principal::ExpiredToken => self.dead[0].clone(),
            Principal::RevokedToken => self.dead[1].clone(),
            Principal::Person { rank, foreign, scope } => {
                let account = self.world.account(self.caller(rank, foreign)).await;
                world::token(&self.world.app, &account, table::SCOPES[scope].1).await
            }
        };
        Some(format!("Zoho-oauthtoken {token}"))
    }

    /// An app password to be revoked, where the call does that.
    async fn app_password(&self, call: &Call, of: &Someone) -> String {
        if !call.path.ends_with("{appPasswordId}") {
            return String::new();
        }
        let path = format!("/api/accounts/{}/appPasswords", of.account_id);
        let made = self
            .world
            .with_body(
                "POST",
                &of.user_token,
                &path,
                json!({"name": "Telephone", "currentPassword": PASSWORD}),
            )
            .await;
        made.json()["data"]["appPasswordId"].as_str().expect("an id").to_owned()
    }

    /// A client that somebody let in, where the call is about one.
    async fn connected(&self, call: &Call, of: &Someone) -> String {
        if !call.path.ends_with("{clientId}") {
            return String::new();
        }
        let (id, secret) = world::client(&self.world, ClientKind::SelfClient).await;
        let wish = CodeWish {
            client: id.clone(),
            organization: of.zoid,
            user: UserId::new(of.zuid).expect("a zuid"),
            scope: ScopeSet::parse("ZohoMail.accounts.READ").expect("a scope"),
            life: SECOND,
            offline: false,
            redirect_uri: None,
            challenge: None,
        };
        let code = oauth::make_code(&self.world.app, wish).await.expect("a code");
        let form = [
            ("grant_type", "authorization_code"),
            ("client_id", &id),
            ("client_secret", &secret),
            ("code", code.expose()),
        ];
        assert!(self.world.form("/oauth/v2/token", &form).await.ok().text.contains("access_token"));
        id
    }

    async fn send(&self, call: &Call, path: &str, header: Option<&str>, body: Value) -> Answer {
        let form = call.path.starts_with("/oauth/");
        let kind = if form { "application/x-www-form-urlencoded" } else { "application/json" };
        let mut headers = vec![("content-type", kind)];
        headers.extend(header.map(|header| ("authorization", header)));
        let body = match body {
            Value::Null => String::new(),
            Value::String(form) => form,
            json => json.to_string(),
        };
        self.world.send(call.method, path, &headers, body).await
    }

    /// Sends a call as it would succeed if the caller may; answers what came and what had to come.
    async fn ask(&mut self, call: &Call, principal: Principal, header: Option<&str>) -> (String, String) {
        let entry = expected::entry(call, principal);
        let world = &self.world;
        let own = match principal {
            Principal::Person { rank, foreign, .. } => self.caller(rank, foreign).clone(),
            _ => world.member.clone(),
        };
        // Who may only touch oneself does so; others act on a member.
        let mut target =
            if call.on_own_path() || entry == Entry::OwnForm { own } else { world.other.clone() };
        let ends = call.method == "DELETE" || call.forms == "secure";
        if ends && matches!(entry, Entry::AdminForm(_)) {
            self.created += 1;
            target = world.someone(&format!("gone{}", self.created), Role::Member).await;
        }
        let path = call
            .path
            .replace("{zoid}", &world.zoid.to_string())
            .replace("{accountId}", &target.account_id.to_string())
            .replace("{domainName}", &world.domain)
            .replace("{changeId}", &self.change)
            .replace("{clientId}", &self.connected(call, &target).await)
            .replace("{appPasswordId}", &self.app_password(call, &target).await)
            .replace("{id}", &target.zuid.to_string());
        let mode = if call.forms == "admin" { "updateOutgoingStatus" } else { "displaynameupdate" };
        let body = match (call.method, call.path) {
            ("GET", _) => Value::Null,
            (_, "/self/password") => {
                // Tried too often, an address is answered otherwise.
                self.created += 1;
                let address = format!("no{}@body.example", self.created);
                json!({"address": address, "password": "x", "newPassword": PASSWORD})
            }
            (_, "/oauth/v2/token") => "grant_type=refresh_token&client_id=1000.X&refresh_token=x".into(),
            (_, "/oauth/v2/token/revoke" | "/oauth/v2/introspect") => "token=1000.x".into(),
            ("POST", path) if path.ends_with("/appPasswords") => {
                json!({"name": "Telephone", "currentPassword": PASSWORD})
            }
            ("POST", path) if path.ends_with("/compromised") => Value::Null,
            ("DELETE", path) if path.ends_with("{appPasswordId}") || path.ends_with("{clientId}") => {
                Value::Null
            }
            ("POST", _) => {
                self.created += 1;
                let address = format!("new{}@{}", self.created, world.domain);
                json!({"primaryEmailAddress": address, "password": PASSWORD})
            }
            ("DELETE", _) => json!({"accountList": [target.zuid]}),
            ("PUT", _) => {
                json!({"mode": mode, "zuid": target.zuid, "displayName": "Rebecca", "outgoingBlocked": false})
            }
            (method, path) => panic!("{method} {path} wants a body"),
        };
        let answer = self.send(call, &path, header, body).await;
        (said(&answer), wanted(call, entry))
    }
}

/// Status and code of an answer, as the table writes them.
fn said(answer: &Answer) -> String {
    let status = answer.status.as_u16();
    let array = answer.json()[1]["errorCode"].as_str().map(str::to_owned);
    let code = array.unwrap_or_else(|| answer.error_code());
    format!("{status} {code}").trim_end().to_owned()
}

fn wanted(call: &Call, entry: Entry) -> String {
    let success = match (call.method, call.path) {
        ("POST", "/api/organization/{zoid}/accounts" | "/api/accounts/{accountId}/appPasswords") => "201",
        // No token is asked for here, but something else is.
        (_, "/self/password") => "401 INVALID_CREDENTIALS",
        (_, "/oauth/v2/token/revoke") => "400",
        (_, "/oauth/v2/introspect") => "401",
        _ => "200",
    };
    match entry {
        Entry::Answer("ok") | Entry::AdminForm(_) | Entry::OwnForm => success,
        Entry::Answer("401") => "401 INVALID_OAUTHSCOPE",
        Entry::Answer("403") => "403 OPERATION_NOT_PERMITTED",
        Entry::Answer("404") => "404 RESOURCE_NOT_FOUND",
        Entry::Answer(other) => other,
    }
    .to_owned()
}

both_engines! {
    async fn every_route_answers_every_principal_as_the_table_says(db: Db) {
        let mut stage = Stage::build(db).await;
        let (mut principals, mut wrong) = (Vec::new(), Vec::new());
        for principal in Principal::all() {
            principals.push((principal, stage.header(principal).await));
        }
        for call in expected::calls() {
            for (principal, header) in &principals {
                let (got, wanted) = stage.ask(&call, *principal, header.as_deref()).await;
                if got != wanted {
                    wrong.push(format!("{} {} {} by {principal:?}: {got}, not {wanted}", call.method, call.path, call.forms));
                }
            }
        }
        assert!(wrong.is_empty(), "{} wrong: {wrong:#?}", wrong.len());
    }

    async fn no_mode_lets_anybody_touch_whom_the_table_forbids(db: Db) {
        let world = World::start(db).await;
        let hedda = world.someone("hedda", Role::HelpDesk).await;
        let desk = world.someone("henk", Role::HelpDesk).await;
        let admin = world.someone("anna", Role::Admin).await;
        let owner = world.someone("olga", Role::SuperAdmin).await;
        let before = [&world.member, &world.other, &hedda, &desk, &world.admin, &admin, &world.owner, &owner];
        let mut accounts = Vec::new();
        for person in before {
            accounts.push(world.account(person).await);
        }
        for mode in expected::modes().into_iter().filter(|mode| mode.forms != "app") {
            for (rank, caller) in [(Rank::Member, &world.member), (Rank::Desk, &hedda), (Rank::Admin, &world.admin), (Rank::Super, &world.owner)] {
                for target in Target::ALL {
                    if mode.admin_form(rank, target) != "403" {
                        continue;
                    }
                    let on = match target {
                        Target::Oneself => caller,
                        Target::Another(Rank::Member) => &world.other,
                        Target::Another(Rank::Desk) => &desk,
                        Target::Another(Rank::Admin) => &admin,
                        Target::Another(Rank::Super) => &owner,
                    };
                    let mut body: Value = serde_json::from_str(mode.body).expect("JSON");
                    let method = match mode.forms {
                        "delete" => "DELETE",
                        "secure" => "POST",
                        _ => "PUT",
                    };
                    if method == "PUT" {
                        body["mode"] = mode.name.into();
                    }
                    body["zuid"] = on.zuid.into();
                    let more = if mode.forms == "secure" { "/compromised" } else { "" };
                    let path = format!("{}{more}", world.path(on));
                    let answer = world.with_body(method, &caller.org_token, &path, body).await;
                    assert_eq!(said(&answer), "403 OPERATION_NOT_PERMITTED", "{} by {rank:?} on {target:?}", mode.name);
                }
            }
        }
        for (person, account) in before.into_iter().zip(accounts) {
            assert_eq!(world.account(person).await, account, "a refusal changes nothing");
        }
    }
}
