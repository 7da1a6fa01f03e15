//! Every cell about a change, asked of everything that decides about it, from the body to the transition.

use std::collections::BTreeMap;

use mailward::app::accounts::AccountMode;
use mailward::app::accounts::secure_account::SecureAccount;
use mailward::app::call::Context;
use mailward::app::change::{Ask, Prepared, plan};
use mailward::domain::account::{Account, Facts};
use mailward::domain::actor::Actor;
use mailward::domain::claim::{AddressFacts, DomainState};
use mailward::domain::email_address::EmailAddress;
use mailward::domain::help_desk::Verb;
use mailward::domain::password::{Password, PasswordKind};
use mailward::domain::rights::{self, Route, View};
use mailward::error::Error;
use mailward::wire::Body;

use super::expected::{self, Call, Entry, Mode, Principal, Rank, Target};
use super::rules::{HERE, actor, answer, desk, organization, people, person};
use super::table;
use crate::support::world;

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
    if mode.name == "secureAccount" {
        let password = Password::prepare("t*c9ma").expect("a password");
        return AccountMode::SecureAccount(SecureAccount::made(password));
    }
    body["mode"] = mode.name.into();
    AccountMode::from_body(&Body::parse(body.to_string().as_bytes()).expect("a body")).expect("a mode")
}

/// What the product decides about one account, from the choice of the form to the transition.
fn decide(caller: &Actor, target: &Account, ask: &Ask) -> Result<(), Error> {
    let info = ask.mode.info();
    let names = plan::names(caller, ask);
    let form = rights::form(caller, ask.route, info.forms, info.operation, ask.mode.verb(), names)?;
    let verified = AddressFacts { domain: DomainState::Verified, holder: None };
    let facts = Facts {
        delimiter: '+',
        other_super_admins: 1,
        addresses: ask.mode.claims().into_iter().map(|address| (address, verified.clone())).collect(),
        ..Facts::default()
    };
    let prepared = Prepared::rehearsal(PasswordKind::OneTime);
    let context: Context = world::operator(); // its caller is not looked at any more
    plan::step(caller, form, &context, &ask.mode, &prepared, &facts, target.clone(), world::START).map(drop)
}

/// The ways in which a `PUT` or `DELETE` on this path names the target.
fn asks(call: &Call, mode: &AccountMode, target: &Account) -> Vec<Ask> {
    let (zuid, account_id) = (target.user.get(), target.id.get());
    let ask = |route, path, zuid| Ask { route, path, zuid, mode: mode.clone() };
    let here = Route::Organization(organization(HERE));
    if call.on_own_path() {
        vec![ask(Route::Own, Some(account_id), None), ask(Route::Own, Some(account_id), Some(zuid))]
    } else if call.path.contains("{id}") {
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
    for call in calls.iter().filter(|call| matches!(call.method, "PUT" | "DELETE") || call.forms == "secure")
    {
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

#[test]
fn each_verb_of_the_help_desk_opens_its_modes_and_no_other() {
    let target = person(2, HERE, Rank::Member);
    let mut opened = 0;
    for mode in expected::modes().iter().filter(|mode| mode.forms != "app") {
        let with_every_verb = mode.admin_form(Rank::Desk, Target::Another(Rank::Member));
        assert_eq!(
            with_every_verb == "ok",
            mode.verb != "-",
            "the table agrees with itself on {}",
            mode.name
        );
        for verb in Verb::ALL {
            let here = Route::Organization(organization(HERE));
            let ask = Ask { route: here, path: None, zuid: Some(target.user.get()), mode: parsed(mode) };
            let got = answer(decide(&desk([verb], None), &target, &ask));
            let wanted = if verb.as_str() == mode.verb { "ok" } else { "403" };
            assert_eq!(got, wanted, "{} {} with {}", mode.name, mode.body, verb.as_str());
            opened += usize::from(got == "ok");
        }
    }
    assert!(opened >= 10, "only {opened} modes are for the help desk");
}

#[test]
fn the_help_desk_reaches_no_further_than_its_domains() {
    let target = person(2, HERE, Rank::Member);
    for mode in expected::modes().iter().filter(|mode| mode.verb != "-") {
        for (domains, wanted) in [
            (&["zylker.example"][..], "ok"),
            (&["else.example", "zylker.example"][..], "ok"),
            (&["else.example"][..], "403"),
            (&["sub.zylker.example"][..], "403"),
            (&["example.example"][..], "403"),
        ] {
            let here = Route::Organization(organization(HERE));
            let ask = Ask { route: here, path: None, zuid: Some(target.user.get()), mode: parsed(mode) };
            let got = answer(decide(&desk(Verb::ALL, Some(domains)), &target, &ask));
            assert_eq!(got, wanted, "{} on {domains:?}", mode.name);
            let seen = answer(rights::may_see(&desk([Verb::Read], Some(domains)), &target));
            assert_eq!(seen, wanted, "seen on {domains:?}");
        }
    }
}

#[test]
fn the_help_desk_moves_nobody_to_a_domain_that_is_not_its_own() {
    let mut target = person(2, HERE, Rank::Member);
    target.aliases.push(EmailAddress::parse("p2@else.example").expect("an address"));
    for (address, wanted) in
        [("new@zylker.example", "ok"), ("new@else.example", "403"), ("p2@else.example", "403")]
    {
        let body = serde_json::json!({"mode": "emailupdate", "emailAddress": address}).to_string();
        let mode = AccountMode::from_body(&Body::parse(body.as_bytes()).expect("a body")).expect("a mode");
        let here = Route::Organization(organization(HERE));
        let ask = Ask { route: here, path: None, zuid: Some(target.user.get()), mode };
        let got = answer(decide(&desk(Verb::ALL, Some(&["zylker.example"])), &target, &ask));
        assert_eq!(got, wanted, "{address}");
    }
}

#[test]
fn a_help_desk_without_limits_may_nothing() {
    let mut account = person(1, HERE, Rank::Desk);
    account.help_desk = None;
    let caller = actor(&account, 0);
    assert_eq!(answer(rights::may_view(&caller, View::Users(organization(HERE)))), "403");
    let target = person(2, HERE, Rank::Member);
    for mode in expected::modes().iter().filter(|mode| mode.forms != "app") {
        let here = Route::Organization(organization(HERE));
        let ask = Ask { route: here, path: None, zuid: Some(target.user.get()), mode: parsed(mode) };
        assert_eq!(answer(decide(&caller, &target, &ask)), "403", "{}", mode.name);
    }
}
