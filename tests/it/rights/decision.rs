//! Every cell of the table, asked of the functions that decide.

use std::collections::BTreeMap;

use mailward::app::accounts::AccountMode;
use mailward::app::change::{self, Ask, Context, Prepared};
use mailward::domain::account::{Account, Credential, Facts, Profile, Switches};
use mailward::domain::actor::{Actor, Role, Signed};
use mailward::domain::app_password::{AppPassword, Protocols};
use mailward::domain::claim::{AddressFacts, DomainState};
use mailward::domain::email_address::EmailAddress;
use mailward::domain::ids::{AccountId, AppPasswordId, OrganizationId, UserId};
use mailward::domain::password::PasswordKind;
use mailward::domain::rights::{self, Form, Forms, Names, Route, View};
use mailward::domain::scope::{Operation, ScopeSet};
use mailward::error::Error;
use mailward::wire::Body;

use super::expected::{self, Call, Entry, Mode, Principal, Rank, Target};
use super::table;
use crate::support::world;

const HERE: i64 = 10_000_001;
const ELSEWHERE: i64 = 10_000_002;

fn role(rank: Rank) -> Role {
    match rank {
        Rank::Member => Role::Member,
        Rank::Admin => Role::Admin,
        Rank::Super => Role::SuperAdmin,
    }
}

fn organization(number: i64) -> OrganizationId {
    OrganizationId::new(number).expect("a zoid")
}

/// Somebody with an account; the number tells people apart.
fn person(number: i64, zoid: i64, rank: Rank) -> Account {
    let address = |local: &str| EmailAddress::parse(&format!("{local}@zylker.example")).expect("an address");
    Account {
        organization: organization(zoid),
        user: UserId::new(1_000_000_000_001 + number).expect("a zuid"),
        id: AccountId::new(2_560_636_000_000_008_002 + number).expect("an accountId"),
        version: 1,
        role: role(rank),
        profile: Profile::default(),
        mailbox: format!("m{number}"),
        primary: address(&format!("p{number}")),
        aliases: vec![address("alias")],
        app_passwords: vec![AppPassword {
            id: AppPasswordId::new(100_000_000_001).expect("an id"),
            name: "Telephone".to_owned(),
            digest: String::new(),
            protocols: Protocols::ALL,
            created_at: 0,
            expires_at: None,
        }],
        credential: Credential {
            hash: None,
            kind: PasswordKind::Permanent,
            until: None,
            at: 0,
            history: vec![],
        },
        generation: 1,
        session_epoch: 1,
        switches: Switches::default(),
        self_renames: vec![],
        expires_at: None,
        created_at: 0,
        deleted: false,
    }
}

fn actor(account: &Account, scope: usize) -> Actor {
    Actor::User(Signed {
        organization: account.organization,
        user: account.user,
        account: account.id,
        role: account.role,
        scopes: ScopeSet::parse(table::SCOPES[scope].1).expect("a scope"),
        client: None,
    })
}

/// The caller and the target of a cell.
fn people(rank: Rank, foreign: bool, target: Target) -> (Account, Account) {
    let caller = person(1, if foreign { ELSEWHERE } else { HERE }, rank);
    let target = match target {
        Target::Oneself => caller.clone(),
        Target::Another(rank) => person(2, HERE, rank),
    };
    (caller, target)
}

fn answer<T>(outcome: Result<T, Error>) -> String {
    match outcome {
        Ok(_) => "ok".to_owned(),
        Err(Error::MissingScope) => "401".to_owned(),
        Err(Error::Forbidden(_)) => "403".to_owned(),
        Err(Error::NotFound(_)) => "404".to_owned(),
        Err(Error::Refused(_)) => "400".to_owned(),
        Err(other) => panic!("not a matter of rights: {other}"),
    }
}

fn parsed(mode: &Mode) -> AccountMode {
    let mut body: serde_json::Value = serde_json::from_str(mode.body).expect("JSON");
    if mode.forms == "delete" {
        body["accountList"] = serde_json::json!([]);
        return AccountMode::DeleteUser(
            mailward::app::accounts::Mode::parse(&Body::parse(body.to_string().as_bytes()).expect("a body"))
                .expect("a deletion"),
        );
    }
    if mode.name == "revokeAppPassword" {
        return AccountMode::RevokeAppPassword(
            mailward::app::accounts::Mode::parse(&Body::parse(body.to_string().as_bytes()).expect("a body"))
                .expect("a revocation"),
        );
    }
    body["mode"] = mode.name.into();
    AccountMode::from_body(&Body::parse(body.to_string().as_bytes()).expect("a body")).expect("a mode")
}

/// What the product decides about one account, from the choice of the form to the transition.
fn decide(caller: &Actor, target: &Account, ask: &Ask) -> Result<(), Error> {
    let info = ask.mode.info();
    let names = change::names(caller, ask);
    rights::form(caller, ask.route, info.forms, info.operation, names)?;
    let verified = AddressFacts { domain: DomainState::Verified, holder: None };
    let facts = Facts {
        delimiter: '+',
        other_super_admins: 1,
        addresses: ask.mode.claims().into_iter().map(|address| (address, verified.clone())).collect(),
        ..Facts::default()
    };
    let prepared = Prepared::rehearsal(PasswordKind::OneTime);
    let context: Context = world::operator(); // its caller is not looked at any more
    change::step(caller, &context, &ask.mode, &prepared, &facts, target.clone(), world::START).map(drop)
}

/// The ways in which a `PUT` or `DELETE` on this path names the target.
fn asks(call: &Call, mode: &AccountMode, target: &Account) -> Vec<Ask> {
    let (zuid, account_id) = (target.user.get(), target.id.get());
    let ask = |route, path, zuid| Ask { route, path, zuid, mode: mode.clone() };
    let here = Route::Organization(organization(HERE));
    if call.on_own_path() {
        vec![ask(Route::Own, Some(account_id), None), ask(Route::Own, Some(account_id), Some(zuid))]
    } else if call.path.ends_with("{id}") {
        vec![
            ask(here, Some(zuid), None),
            ask(here, Some(account_id), None),
            ask(here, Some(zuid), Some(zuid)),
            ask(here, Some(account_id), Some(zuid)),
        ]
    } else {
        vec![ask(here, None, Some(zuid))]
    }
}

#[test]
fn every_write_is_decided_as_the_table_says() {
    let (calls, modes) = (expected::calls(), expected::modes());
    let mut wrong = Vec::new();
    let mut cells = 0;
    for call in calls.iter().filter(|call| matches!(call.method, "PUT" | "DELETE")) {
        let elsewhere = |mode: &&Mode| mode.forms == call.forms && mode.name != "createAppPassword";
        for mode in modes.iter().filter(elsewhere) {
            let parsed = parsed(mode);
            for principal in Principal::all() {
                let Principal::Person { rank, foreign, scope } = principal else { continue };
                for target in Target::ALL {
                    let (caller, account) = people(rank, foreign, target);
                    let wanted = match expected::entry(call, principal) {
                        Entry::Answer(answer) => answer,
                        Entry::AdminForm(rank) => mode.admin_form(rank, target),
                        Entry::OwnForm if target == Target::Oneself => "ok",
                        Entry::OwnForm if call.on_own_path() => "404",
                        Entry::OwnForm => "401",
                    };
                    for ask in asks(call, &parsed, &account) {
                        let got = answer(decide(&actor(&caller, scope), &account, &ask));
                        cells += 1;
                        if got != wanted {
                            wrong.push(format!(
                                "{} {} {} {principal:?} on {target:?}: {got}, not {wanted}",
                                call.method, call.path, mode.name
                            ));
                        }
                    }
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{} wrong of {cells}: {:#?}", wrong.len(), &wrong[..wrong.len().min(20)]);
    assert!(cells > 20_000, "only {cells} cells were asked");
}

#[test]
fn every_look_is_decided_as_the_table_says() {
    let here = organization(HERE);
    for call in expected::calls().iter().filter(|call| call.method == "GET" && !call.needs_no_token()) {
        for principal in Principal::all() {
            let Principal::Person { rank, foreign, scope } = principal else { continue };
            let caller = person(1, if foreign { ELSEWHERE } else { HERE }, rank);
            let view = match call.path {
                "/api/organization/{zoid}/accounts" | "/api/organization/{zoid}/accounts/{id}" => {
                    View::Users(here)
                }
                "/api/organization/{zoid}/changes/{changeId}" => View::Users(here),
                "/api/organization" => View::Organization(caller.organization),
                "/api/organization/{zoid}" => View::Organization(here),
                path if path.contains("/domains") => View::Domains(here),
                "/oauth/user/info" => View::Profile,
                path if path.starts_with("/api/accounts") => View::Own,
                path => panic!("{path} shows what no view is known for"),
            };
            let wanted = match expected::entry(call, principal) {
                Entry::Answer(answer) => answer,
                Entry::AdminForm(_) | Entry::OwnForm => "ok",
            };
            let got = answer(rights::may_view(&actor(&caller, scope), view));
            assert_eq!(got, wanted, "{} by {principal:?}", call.path);
        }
    }
}

#[test]
fn every_creation_is_decided_as_the_table_says() {
    let calls = expected::calls();
    let call =
        calls.iter().find(|call| call.method == "POST" && call.path.ends_with("/accounts")).expect("a row");
    for (new_role, of, wanted_of_rank) in expected::creations() {
        for principal in Principal::all() {
            let Principal::Person { rank, foreign, scope } = principal else { continue };
            if rank != of {
                continue;
            }
            let caller = actor(&person(1, if foreign { ELSEWHERE } else { HERE }, rank), scope);
            let nobody = Names { path: None, own_path: false, own_zuid: false };
            let route = Route::Organization(organization(HERE));
            let form = rights::form(&caller, route, Forms::AdminOnly, Operation::Create, nobody);
            let got = answer(form.and_then(|form| {
                assert_eq!(form, Form::Admin);
                rights::may_grant(&caller, None, new_role.parse()?)
            }));
            let wanted = match expected::entry(call, principal) {
                Entry::Answer(answer) => answer,
                Entry::AdminForm(_) => wanted_of_rank,
                Entry::OwnForm => panic!("nobody creates oneself"),
            };
            assert_eq!(got, wanted, "a new {new_role} by {principal:?}");
        }
    }
}

#[test]
fn the_own_form_is_for_requests_that_name_the_caller_alone() {
    let modes = expected::modes();
    let (caller, other) = (person(1, HERE, Rank::Member), person(2, HERE, Rank::Member));
    let own = BTreeMap::from([("own", &caller), ("other", &other)]);
    let scope = table::SCOPES.iter().position(|(name, _)| *name == "own.UPDATE").expect("a column");
    for mode in modes.iter().filter(|mode| mode.forms == "both") {
        let parsed = parsed(mode);
        for naming in expected::namings() {
            let zuid = own.get(naming.zuid).map(|named| named.user.get());
            for (route, wanted) in [
                (Route::Organization(organization(HERE)), naming.on_organization_path),
                (Route::Own, naming.on_own_path),
            ] {
                let of_path = own.get(naming.path);
                for path in [of_path.map(|named| named.id.get()), of_path.map(|named| named.user.get())] {
                    let own_page_takes_no_zuid =
                        route == Route::Own && path == of_path.map(|named| named.user.get());
                    if wanted == "n/a" {
                        continue;
                    }
                    let wanted = if own_page_takes_no_zuid { "404" } else { wanted };
                    let ask = Ask { route, path, zuid, mode: parsed.clone() };
                    let got = answer(decide(&actor(&caller, scope), &caller, &ask));
                    assert_eq!(got, wanted, "{} on {route:?}: {} {}", mode.name, naming.path, naming.zuid);
                }
            }
        }
    }
}
