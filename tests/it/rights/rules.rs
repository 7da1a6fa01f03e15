//! The cells of the table as the rules alone decide them (`mailward::domain`, and nothing else of the
//! product): `scripts/mutants` has these tests notice every altered rule.

use mailward::domain::account::{Account, Credential, Facts, NewPassword, Profile, Switches, Transition};
use mailward::domain::actor::{Actor, Role, Signed};
use mailward::domain::app_password::{AppPassword, Protocols};
use mailward::domain::email_address::{DomainName, EmailAddress};
use mailward::domain::help_desk::{HelpDesk, Verb};
use mailward::domain::ids::{AccountId, AppPasswordId, OrganizationId, UserId};
use mailward::domain::password::{PasswordHash, PasswordKind};
use mailward::domain::rights::{self, Form, Forms, Given, Names, Route, View};
use mailward::domain::scope::{Operation, ScopeSet};
use mailward::domain::switch::Hand;
use mailward::error::Error;

use super::expected::{self, Call, Entry, Mode, Principal, Rank, Target};
use super::table;

pub const HERE: i64 = 10_000_001;
pub const ELSEWHERE: i64 = 10_000_002;

pub fn role(rank: Rank) -> Role {
    match rank {
        Rank::Member => Role::Member,
        Rank::Desk => Role::HelpDesk,
        Rank::Admin => Role::Admin,
        Rank::Super => Role::SuperAdmin,
    }
}

pub fn organization(number: i64) -> OrganizationId {
    OrganizationId::new(number).expect("a zoid")
}

/// Somebody with an account; the number tells people apart.
pub fn person(number: i64, zoid: i64, rank: Rank) -> Account {
    let address = |local: &str| EmailAddress::parse(&format!("{local}@zylker.example")).expect("an address");
    Account {
        organization: organization(zoid),
        user: UserId::new(1_000_000_000_001 + number).expect("a zuid"),
        id: AccountId::new(2_560_636_000_000_008_002 + number).expect("an accountId"),
        version: 1,
        role: role(rank),
        help_desk: (rank == Rank::Desk).then(|| HelpDesk::new(Verb::ALL, None).expect("verbs")),
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

pub fn actor(account: &Account, scope: usize) -> Actor {
    Actor::User(Signed {
        organization: account.organization,
        user: account.user,
        account: account.id,
        role: account.role,
        help_desk: account.help_desk.clone(),
        scopes: ScopeSet::parse(table::SCOPES[scope].1).expect("a scope"),
        client: None,
    })
}

/// The caller and the target of a cell.
pub fn people(rank: Rank, foreign: bool, target: Target) -> (Account, Account) {
    let caller = person(1, if foreign { ELSEWHERE } else { HERE }, rank);
    let target = match target {
        Target::Oneself => caller.clone(),
        Target::Another(rank) => person(2, HERE, rank),
    };
    (caller, target)
}

pub fn answer<T>(outcome: Result<T, Error>) -> String {
    match outcome {
        Ok(_) => "ok".to_owned(),
        Err(Error::MissingScope) => "401".to_owned(),
        Err(Error::Forbidden(_)) => "403".to_owned(),
        Err(Error::NotFound(_)) => "404".to_owned(),
        Err(Error::Refused(_)) => "400".to_owned(),
        Err(other) => panic!("not a matter of rights: {other}"),
    }
}

/// Somebody of the help desk who was given this, asking with the organization scope.
pub fn desk(verbs: impl IntoIterator<Item = Verb>, domains: Option<&[&str]>) -> Actor {
    let domains =
        domains.map(|names| names.iter().map(|name| DomainName::parse(name).expect("a domain")).collect());
    let mut account = person(1, HERE, Rank::Desk);
    account.help_desk = Some(HelpDesk::new(verbs, domains).expect("limits"));
    actor(&account, table::SCOPES.iter().position(|(name, _)| *name == "org.ALL").expect("a column"))
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
            let form = rights::form(&caller, route, Forms::AdminOnly, Operation::Create, None, nobody);
            let got = answer(form.and_then(|form| {
                assert_eq!(form, Form::Admin);
                rights::may_grant(&caller, None, Given { role: new_role.parse()?, help_desk: None })
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

/// A way in which a request names the target, with the caller's ids at hand.
struct Naming {
    route: Route,
    names: Names,
}

fn namings(call: &Call, caller: &Account, target: &Account) -> Vec<Naming> {
    let own = caller.user == target.user;
    let (zuid, account) = (Some(target.user.get()), Some(target.id.get()));
    let here = Route::Organization(organization(HERE));
    let naming = |route, path, own_zuid| Naming { route, names: Names { path, own_path: own, own_zuid } };
    if call.on_own_path() {
        vec![naming(Route::Own, account, true), naming(Route::Own, account, own)]
    } else if call.path.contains("{id}") {
        vec![naming(here, zuid, true), naming(here, account, true), naming(here, zuid, own)]
    } else {
        vec![naming(here, None, own)]
    }
}

/// What the rules say of a mode on one account: the form, whom the caller may touch, and what nobody
/// does to oneself.
fn ruled(caller: &Actor, target: &Account, mode: &Mode, naming: &Naming) -> Result<(), Error> {
    let forms = if mode.forms == "both" { Forms::AdminOrOwn } else { Forms::AdminOnly };
    let operation = if mode.forms == "delete" { Operation::Delete } else { Operation::Update };
    let verb = Verb::ALL.into_iter().find(|verb| verb.as_str() == mode.verb);
    let form = rights::form(caller, naming.route, forms, operation, verb, naming.names)?;
    rights::may_write(caller, form, target, &[])?;
    let facts = Facts { other_super_admins: 1, ..Facts::default() };
    let own = caller.is(target.user);
    let hand = Hand { who: caller.who(), rank: caller.rank(), own, at: 0, reason: None };
    let mut change = Transition::new(target.clone(), &facts, hand, None);
    match mode.name {
        "changeRole" => {
            let (role, limits) = wanted_role(mode);
            let old = Given { role: target.role, help_desk: target.help_desk.as_ref() };
            rights::may_grant(caller, Some(old), Given { role, help_desk: limits.as_ref() })?;
            change.change_role(role, limits.as_ref())
        }
        "deleteUser" => change.delete(),
        "secureAccount" => change.secure(a_password()),
        "updateTFAStatus" => rights::may_manage_factors(caller, target),
        _ => Ok(()),
    }
}

/// What the body of a `changeRole` asks for.
fn wanted_role(mode: &Mode) -> (Role, Option<HelpDesk>) {
    if mode.body.contains("isCustomAdmin") {
        return (Role::HelpDesk, Some(HelpDesk::new([Verb::Reset], None).expect("verbs")));
    }
    let asks = |role: &Role| mode.body.contains(&format!("\"role\":\"{}\"", role.as_str()));
    (Role::ALL.into_iter().find(asks).expect("a role"), None)
}

fn a_password() -> NewPassword {
    let phc = "$argon2id$v=19$m=19456,t=2,p=1$MDEyMzQ1Njc4OWFiY2RlZg\
               $gy5SuVm5Z7Vw7keB9se9p87QGcomaseB/S2U1OhTsM0";
    NewPassword { hash: PasswordHash::parse(phc).expect("a hash"), kind: PasswordKind::OneTime }
}

#[test]
fn the_rules_alone_decide_every_write_as_the_table_says() {
    let (calls, modes) = (expected::calls(), expected::modes());
    let mut wrong = Vec::new();
    let mut cells = 0;
    for call in calls.iter().filter(|call| matches!(call.method, "PUT" | "DELETE") || call.forms == "secure")
    {
        for mode in modes.iter().filter(|mode| mode.forms == call.forms && mode.forms != "app") {
            for principal in Principal::all() {
                let Principal::Person { rank, foreign, scope } = principal else { continue };
                let asks = actor(&people(rank, foreign, Target::Oneself).0, scope);
                for target in Target::ALL {
                    let (caller, account) = people(rank, foreign, target);
                    let wanted = match expected::entry(call, principal) {
                        Entry::Answer(answer) => answer,
                        Entry::AdminForm(rank) => mode.admin_form(rank, target),
                        Entry::OwnForm if target == Target::Oneself => "ok",
                        Entry::OwnForm if call.on_own_path() => "404",
                        Entry::OwnForm => "401",
                    };
                    for naming in namings(call, &caller, &account) {
                        let got = answer(ruled(&asks, &account, mode, &naming));
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
    assert!(cells > 10_000, "only {cells} cells were asked");
}

#[test]
fn the_own_form_wants_the_own_organization_and_nobody_else_in_the_request() {
    let caller = person(1, HERE, Rank::Member);
    let own_update = table::SCOPES.iter().position(|(name, _)| *name == "own.UPDATE").expect("a column");
    let caller = actor(&caller, own_update);
    let ask = |route, path, own_path, own_zuid| {
        let names = Names { path, own_path, own_zuid };
        let form = rights::form(&caller, route, Forms::AdminOrOwn, Operation::Update, None, names);
        answer(form.map(|form| assert_eq!(form, Form::Own)))
    };
    let (here, there) =
        (Route::Organization(organization(HERE)), Route::Organization(organization(ELSEWHERE)));
    assert_eq!(ask(here, None, true, true), "ok");
    assert_eq!(ask(there, None, true, true), "401", "nobody's own account is in another organization");
    assert_eq!(ask(here, None, false, true), "401");
    assert_eq!(ask(here, None, true, false), "401");
    assert_eq!(ask(Route::Own, Some(1), true, true), "ok");
    assert_eq!(ask(Route::Own, Some(1), true, false), "400");
    assert_eq!(ask(Route::Own, Some(1), false, true), "404");
    assert_eq!(ask(Route::Own, None, true, true), "404", "this address always names an account");
}

#[test]
fn the_help_desk_sees_and_touches_whom_its_domains_and_verbs_reach() {
    let target = person(2, HERE, Rank::Member);
    let on = |text: &str| EmailAddress::parse(text).expect("an address");
    for (domains, reached) in [(&["zylker.example"][..], true), (&["else.example"][..], false)] {
        let caller = desk([Verb::Rename], Some(domains));
        assert_eq!(rights::may_see(&caller, &target).is_ok(), reached);
        assert_eq!(rights::may_write(&caller, Form::Admin, &target, &[]).is_ok(), reached);
        let away = rights::may_write(&caller, Form::Admin, &target, &[on("p2@third.example")]);
        assert_eq!(answer(away), "403", "an address of another domain is not the help desk's to give");
    }
    assert!(rights::may_see(&actor(&person(1, HERE, Rank::Admin), 0), &target).is_ok());
    let here = Route::Organization(organization(HERE));
    let names = Names { path: None, own_path: false, own_zuid: false };
    for given in Verb::ALL {
        for wanted in Verb::ALL {
            let caller = desk([given], None);
            let form = rights::form(&caller, here, Forms::AdminOnly, Operation::Update, Some(wanted), names);
            let has = wanted == given || wanted == Verb::Read;
            assert_eq!(answer(form), if has { "ok" } else { "403" }, "{wanted:?} with {given:?}");
        }
    }
}

#[test]
fn limits_bind_the_help_desk_and_nobody_who_was_of_it_once() {
    let mut account = person(1, HERE, Rank::Desk);
    let limits = account.help_desk.clone();
    assert_eq!(rights::help_desk(&actor(&account, 0)), limits.as_ref());
    account.role = Role::Admin;
    assert_eq!(rights::help_desk(&actor(&account, 0)), None);
    assert!(rights::may_see(&actor(&account, 0), &person(2, HERE, Rank::Super)).is_ok());
}

#[test]
fn what_belongs_to_the_organization_as_a_whole_is_for_its_super_administrators() {
    let here = organization(HERE);
    for (rank, manages, administers) in [
        (Rank::Member, "403", "403"),
        (Rank::Desk, "403", "403"),
        (Rank::Admin, "403", "ok"),
        (Rank::Super, "ok", "ok"),
    ] {
        let caller = actor(&person(1, HERE, rank), 0);
        assert_eq!(answer(rights::may_manage(&caller, here)), manages, "{rank:?}");
        assert_eq!(answer(rights::may_administer(&caller, here)), administers, "{rank:?}");
        let foreign = actor(&person(1, ELSEWHERE, rank), 0);
        assert_eq!(answer(rights::may_manage(&foreign, here)), "404", "{rank:?}");
        assert_eq!(answer(rights::may_administer(&foreign, here)), "404", "{rank:?}");
    }
}

#[test]
fn the_operator_and_the_clock_may_everything_but_what_nobody_may() {
    let here = organization(HERE);
    let names = Names { path: None, own_path: false, own_zuid: false };
    for caller in [Actor::Operator { os_user: "root".to_owned() }, Actor::Clock] {
        let form = rights::form(
            &caller,
            Route::Organization(here),
            Forms::AdminOnly,
            Operation::Delete,
            None,
            names,
        );
        assert!(matches!(form, Ok(Form::Admin)));
        for view in [View::Users(here), View::Organization(here), View::Domains(here)] {
            assert!(rights::may_view(&caller, view).is_ok(), "{view:?}");
        }
        assert!(rights::may_manage(&caller, here).is_ok());
        for rank in Rank::ALL {
            let target = person(2, HERE, rank);
            assert!(rights::may_see(&caller, &target).is_ok());
            assert!(rights::may_write(&caller, Form::Admin, &target, &[]).is_ok(), "{rank:?}");
            for given in Role::ALL {
                let old = Given { role: role(rank), help_desk: target.help_desk.as_ref() };
                let new = Given { role: given, help_desk: None };
                assert!(rights::may_grant(&caller, Some(old), new).is_ok(), "{rank:?} to {given}");
            }
        }
    }
}

#[test]
fn an_administrator_takes_and_gives_no_role_above_member() {
    let caller = actor(&person(1, HERE, Rank::Admin), 0);
    let limits = |verb| HelpDesk::new([verb], None).expect("limits");
    let (reset, rename) = (limits(Verb::Reset), limits(Verb::Rename));
    let plain = |role| Given { role, help_desk: None };
    let desk_of = |limits| Given { role: Role::HelpDesk, help_desk: Some(limits) };
    let grant = |old, new| answer(rights::may_grant(&caller, old, new));
    assert_eq!(grant(None, plain(Role::Member)), "ok");
    assert_eq!(grant(Some(plain(Role::Member)), plain(Role::Member)), "ok");
    assert_eq!(grant(Some(plain(Role::Admin)), plain(Role::Admin)), "ok", "nothing would change");
    assert_eq!(grant(Some(plain(Role::Admin)), plain(Role::Member)), "403");
    assert_eq!(grant(Some(plain(Role::Member)), plain(Role::Admin)), "403");
    assert_eq!(grant(Some(desk_of(&reset)), desk_of(&reset)), "ok");
    assert_eq!(grant(Some(desk_of(&reset)), desk_of(&rename)), "403");
    assert_eq!(grant(None, desk_of(&reset)), "403");
    // What is left of limits on a member says nothing.
    let left = Given { role: Role::Member, help_desk: Some(&reset) };
    assert_eq!(grant(Some(left), plain(Role::Member)), "ok");
}

#[test]
fn an_own_form_on_somebody_else_goes_by_rank() {
    let member = person(1, HERE, Rank::Member);
    let caller = actor(&member, 0);
    assert!(rights::may_write(&caller, Form::Own, &member, &[]).is_ok());
    assert_eq!(answer(rights::may_write(&caller, Form::Own, &person(2, HERE, Rank::Member), &[])), "403");
    let desk = person(1, HERE, Rank::Desk);
    assert!(rights::may_write(&actor(&desk, 0), Form::Own, &desk, &[]).is_ok());
    assert_eq!(answer(rights::may_write(&actor(&desk, 0), Form::Admin, &desk, &[])), "403");
}
