//! What ends, rests or stays when something happens to a person: each cell of `table` is opened, struck
//! and used. Here over HTTP; `mail::product::what_ends` does it with real mail servers.

pub mod table;

use std::fmt::Write as _;
use std::time::Duration;

use axum::http::StatusCode;
use mailward::app::oauth::{self, CodeWish};
use mailward::app::organizations;
use mailward::clock::HOUR;
use mailward::domain::actor::Role;
use mailward::domain::client::ClientKind;
use mailward::domain::ids::UserId;
use mailward::domain::scope::ScopeSet;
use mailward::error::Error;
use mailward::store::engine::Db;
use serde_json::{Value, json};
use tokio::sync::mpsc::Receiver;

use crate::api_documents::committed;
use crate::console::recovery::{ask, letters, link, prove, with_mail};
use crate::support::visitor::Visitor;
use crate::support::world::{self, PASSWORD, Someone, World, operator};
use table::{Artefact, Event, Fate, MAIL_TEST, NOTES, TABLE, wrong};

const NEW: &str = "another-horse-8";
const CHOSEN: &str = "my-own-choice-9";
const ONE_TIME: &str = "t*c9ma-once";

// Events -----------------------------------------------------------------------------------------

/// Has it happen to somebody, by the owner of the organization or the operator.
pub async fn happen(world: &World, event: Event, who: &Someone) {
    let renamed = json!({"mode": "emailupdate", "zuid": who.zuid, "emailAddress": address_after(event, who)});
    let reset = json!({"mode": "resetPassword", "zuid": who.zuid, "password": NEW, "oneTimePassword": false});
    match event {
        Event::Reset => call(world, "PUT", who, reset).await,
        Event::UserDisabled => {
            call(world, "PUT", who, json!({"mode": "disableUser", "zuid": who.zuid})).await
        }
        Event::MailDisabled => {
            call(world, "PUT", who, json!({"mode": "disableMailAccount", "zuid": who.zuid})).await;
        }
        Event::Renamed => call(world, "PUT", who, renamed).await,
        Event::RoleChanged => role(world, who, "admin").await,
        Event::Deleted => call(world, "DELETE", who, json!({})).await,
        Event::OrganizationOff => switch(world, true).await,
    }
}

/// Takes it back, where that can be.
pub async fn undo(world: &World, event: Event, who: &Someone) {
    match event {
        Event::Reset | Event::Renamed | Event::Deleted => {}
        Event::UserDisabled => call(world, "PUT", who, json!({"mode": "enableUser", "zuid": who.zuid})).await,
        Event::MailDisabled => {
            call(world, "PUT", who, json!({"mode": "enableMailAccount", "zuid": who.zuid})).await;
        }
        Event::RoleChanged => role(world, who, "member").await,
        Event::OrganizationOff => switch(world, false).await,
    }
}

/// The address under which they log in afterwards.
pub fn address_after(event: Event, who: &Someone) -> String {
    if event == Event::Renamed { format!("new.{}", who.email) } else { who.email.clone() }
}

async fn role(world: &World, who: &Someone, role: &str) {
    let body = json!({"mode": "changeRole", "userList": [who.zuid], "role": role});
    call(world, "PUT", who, body).await;
}

/// As clients do: a call that met others is sent again.
async fn call(world: &World, method: &str, who: &Someone, body: Value) {
    loop {
        let answer = world.with_body(method, &world.owner.org_token, &world.path(who), body.clone()).await;
        if answer.status != StatusCode::SERVICE_UNAVAILABLE {
            answer.ok();
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn switch(world: &World, off: bool) {
    loop {
        match organizations::switch(&world.app, &operator(), world.zoid, off).await {
            Err(Error::Unavailable { .. }) => tokio::time::sleep(Duration::from_millis(50)).await,
            done => return done.map(drop).expect("switched"),
        }
    }
}

// What is opened -----------------------------------------------------------------------------------

enum Opened<'a> {
    AccessToken(String),
    /// What the token endpoint is asked with.
    Grant(Vec<(&'static str, String)>),
    WebSession(Visitor<'a>),
    RecoveryLink(String),
    OneTimePassword,
}

/// Opens it; `None` for what only a mail server can tell.
async fn open<'a>(
    world: &'a World,
    mails: &mut Receiver<String>,
    artefact: Artefact,
    who: &Someone,
) -> Option<Opened<'a>> {
    Some(match artefact {
        Artefact::AccessToken => Opened::AccessToken(tokens(world, who).await.0),
        Artefact::RefreshToken => Opened::Grant(tokens(world, who).await.1),
        Artefact::GrantCode => Opened::Grant(code(world, who).await),
        Artefact::WebSession => Opened::WebSession(Visitor::signed_in(world, &who.email, PASSWORD).await),
        Artefact::RecoveryLink => {
            let outside = format!("{}@elsewhere.example", who.zuid);
            prove(world, mails, who, &outside).await;
            ask(world, &who.email).await;
            Opened::RecoveryLink(link(&letters(world, mails).await, &outside).expect("a letter"))
        }
        Artefact::OneTimePassword => {
            world.mode(&world.owner, who, "resetPassword", json!({"password": ONE_TIME})).await.ok();
            Opened::OneTimePassword
        }
        Artefact::AppPassword | Artefact::Imap | Artefact::Pop3 | Artefact::Smtp => return None,
    })
}

/// A grant of the person for a client of the owner's.
async fn code(world: &World, who: &Someone) -> Vec<(&'static str, String)> {
    let (client, secret) = world::client(world, ClientKind::SelfClient).await;
    let wish = CodeWish {
        client: client.clone(),
        organization: who.zoid,
        user: UserId::new(who.zuid).expect("a zuid"),
        scope: ScopeSet::parse("ZohoMail.accounts.READ").expect("scopes"),
        life: 6 * HOUR,
        offline: true,
        redirect_uri: None,
        challenge: None,
    };
    let code = oauth::make_code(&world.app, wish).await.expect("a code").expose().to_owned();
    let grant = "authorization_code".to_owned();
    vec![("client_id", client), ("client_secret", secret), ("grant_type", grant), ("code", code)]
}

/// An access token, and what asks for more of them.
async fn tokens(world: &World, who: &Someone) -> (String, Vec<(&'static str, String)>) {
    let mut fields = code(world, who).await;
    let given = exchange(world, &fields).await;
    let text = |name: &str| given[name].as_str().expect("a token").to_owned();
    fields.truncate(2);
    fields.extend([("grant_type", "refresh_token".to_owned()), ("refresh_token", text("refresh_token"))]);
    (text("access_token"), fields)
}

async fn exchange(world: &World, fields: &[(&str, String)]) -> Value {
    let fields: Vec<_> = fields.iter().map(|(name, value)| (*name, value.as_str())).collect();
    world.form("/oauth/v2/token", &fields).await.json()
}

impl Opened<'_> {
    /// Whether it is still good.
    async fn works(&mut self, world: &World, address: &str) -> bool {
        match self {
            Self::AccessToken(token) => match world.get(token, "/api/accounts").await {
                answer if answer.status == StatusCode::OK => true,
                answer => {
                    answer.refused(401, "INVALID_OAUTHTOKEN");
                    false
                }
            },
            Self::Grant(fields) => {
                let answer = exchange(world, fields).await;
                let refusal = answer["error"].as_str().unwrap_or_default();
                let works = answer["access_token"].is_string();
                assert!(works || ["invalid_code", "invalid_client"].contains(&refusal), "{answer}");
                works
            }
            Self::WebSession(visitor) => {
                let status = visitor.get("/me").await.status;
                assert!([StatusCode::OK, StatusCode::SEE_OTHER].contains(&status), "{status}");
                status == StatusCode::OK
            }
            Self::RecoveryLink(path) => {
                // With the token of another page: what refuses is the link.
                let mut visitor = Visitor::new(world);
                visitor.get("/recover").await;
                let fields = [("new_password", CHOSEN), ("new_password_again", CHOSEN), ("code", "")];
                let answer = visitor.post(path, &fields).await;
                let seen = [StatusCode::SEE_OTHER, StatusCode::NOT_FOUND];
                assert!(seen.contains(&answer.status), "{} {}", answer.status, answer.text);
                answer.status == StatusCode::SEE_OTHER
            }
            Self::OneTimePassword => {
                let answer = world.self_password(address, ONE_TIME, CHOSEN).await;
                if answer.status != StatusCode::OK {
                    answer.refused(401, "INVALID_CREDENTIALS");
                }
                answer.status == StatusCode::OK
            }
        }
    }
}

/// A row of the table: for each artefact somebody who has it, whom the event befalls.
async fn row(event: Event, db: Db) {
    let (world, mut mails) = with_mail(db).await;
    let mut seen = Vec::new();
    for artefact in Artefact::ALL {
        let who = world.someone(&format!("pat{}", artefact as u8), Role::Member).await;
        let Some(mut opened) = open(&world, &mut mails, artefact, &who).await else { continue };
        happen(&world, event, &who).await;
        let after = address_after(event, &who);
        let stays = opened.works(&world, &after).await;
        undo(&world, event, &who).await;
        let fate = match stays {
            true => Fate::Stays,
            false if opened.works(&world, &after).await => Fate::Rests,
            false => Fate::Ends,
        };
        seen.push((artefact, fate));
    }
    let over_http = Artefact::ALL.iter().filter(|artefact| !artefact.is_mail()).count();
    assert_eq!(seen.len(), over_http, "every cell was looked at");
    let wrong = wrong(event, &seen);
    assert!(wrong.is_empty(), "{wrong:#?}");
}

both_engines! {
    async fn after_a_reset(db: Db) {
        row(Event::Reset, db).await;
    }

    async fn after_the_user_was_disabled(db: Db) {
        row(Event::UserDisabled, db).await;
    }

    async fn after_the_mail_account_was_disabled(db: Db) {
        row(Event::MailDisabled, db).await;
    }

    async fn after_a_rename(db: Db) {
        row(Event::Renamed, db).await;
    }

    async fn after_a_change_of_role(db: Db) {
        row(Event::RoleChanged, db).await;
    }

    async fn after_the_user_was_deleted(db: Db) {
        row(Event::Deleted, db).await;
    }

    async fn after_the_organization_was_switched_off(db: Db) {
        row(Event::OrganizationOff, db).await;
    }
}

// The document -------------------------------------------------------------------------------------

#[test]
fn the_table_is_documented_and_every_cell_names_its_test() {
    let mut text = String::from(
        "# What ends when\n\n\
         Made from the table in `tests/it/what_ends`; do not edit. Each cell is tested: somebody opens what stands above \
         it, what stands before it happens, and it is used again.\n\n\
         - **ends**: worth nothing from the answer on; mail sessions within seconds.\n\
         - **rests**: refused while it lasts, good again when it is undone.\n\
         - **stays**: goes on.\n\n",
    );
    let mut line = |cells: Vec<String>| writeln!(text, "| {} |", cells.join(" | ")).expect("a string");
    let mut head = vec![String::new()];
    head.extend(Artefact::ALL.map(|artefact| artefact.in_words().to_owned()));
    line(head);
    line(vec!["---".to_owned(); Artefact::ALL.len() + 1]);
    for (event, fates) in TABLE {
        let mut cells = vec![format!("**{}**", event.in_words())];
        for (artefact, fate) in Artefact::ALL.iter().zip(fates) {
            let noted = NOTES.iter().position(|(of, on, _)| *of == event && on.contains(artefact));
            let mark = noted.map(|place| format!(" ({})", place + 1)).unwrap_or_default();
            cells.push(format!("{}{mark}", fate.in_a_word()));
        }
        line(cells);
    }
    text.push('\n');
    for (place, (_, _, note)) in NOTES.iter().enumerate() {
        writeln!(text, "{}. {note}.", place + 1).expect("a string takes everything");
    }
    text.push_str(
        "\n## The tests\n\nEach runs on SQLite and on PostgreSQL.\n\n| Event | Over HTTP |\n| --- | --- |\n",
    );
    for (event, _) in TABLE {
        writeln!(text, "| {} | `{}` |", event.in_words(), event.test()).expect("a string takes everything");
    }
    writeln!(text, "\nApp passwords and mail sessions, all events, with real mail servers:\n`{MAIL_TEST}`.")
        .expect("a string takes everything");
    committed("security/what-ends.md", &text);
    let named = TABLE.iter().map(|(event, _)| event.test()).chain([MAIL_TEST]);
    let missing: Vec<_> = named.filter(|name| !crate::requirements::exists(name)).collect();
    assert!(missing.is_empty(), "{missing:?}");
}
