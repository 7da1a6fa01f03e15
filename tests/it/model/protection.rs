//! No sequence of calls gives an address to somebody else within its term, unless a super administrator
//! releases it on purpose. Two organizations want the same few addresses, by every way there is; after
//! each step the addresses are read from the database and held against a ledger of this test's own.

use std::cell::RefCell;
use std::collections::BTreeMap;

use mailward::app::organizations::{self, DomainChange};
use mailward::clock::DAY;
use mailward::domain::actor::Role;
use mailward::domain::email_address::DomainName;
use mailward::domain::ids::OrganizationId;
use mailward::store::engine::params;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::{TestCaseError, TestError};
use serde_json::{Value, json};
use tokio::runtime::Handle;
use tokio::task::block_in_place;

use super::runner;
use crate::console::many::finish;
use crate::support::databases::TestDb;
use crate::support::visitor::Visitor;
use crate::support::world::{self, ORGANIZATION_SCOPES, PASSWORD, Someone, USER_SCOPES, World, operator};

const SEQUENCES: u32 = 200;
const SEQUENCES_IN_THE_LONG_RUN: u32 = 5_000;

/// The default of the policy, said once more.
const TERM: i64 = 180 * DAY;
const LOCALS: [&str; 2] = ["ann", "bob"];
const REASON: &str = "asked for by both";

/// Numbers stand for whatever there is, counted round.
#[derive(Debug, Clone)]
enum Step {
    Create {
        at: Place,
        by: By,
    },
    Import {
        at: Place,
    },
    Rename {
        who: usize,
        at: Place,
        by: By,
    },
    RenameOneself {
        who: usize,
        at: Place,
    },
    AddAlias {
        who: usize,
        at: Place,
        by: By,
    },
    RemoveAlias {
        who: usize,
        which: usize,
    },
    DisableAndTakeAliases {
        who: usize,
    },
    Delete {
        who: usize,
    },
    SwitchDomain {
        domain: usize,
        off: bool,
    },
    /// The domain leaves its organization and becomes the other's.
    MoveDomain {
        domain: usize,
    },
    Wait {
        days: i64,
    },
}

#[derive(Debug, Clone, Copy)]
struct Place {
    organization: usize,
    local: usize,
    /// Among the organization's own; one of the other's where it has none, or for the greatest number.
    domain: usize,
}

#[derive(Debug, Clone, Copy)]
enum By {
    Admin,
    /// With the header that only a super administrator's word makes good.
    AdminWhoReleases,
    Owner,
    OwnerWhoReleases,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let place = || (0..2_usize, 0..LOCALS.len(), 0..7_usize);
    let place =
        move || place().prop_map(|(organization, local, domain)| Place { organization, local, domain });
    let by = || {
        prop_oneof![
            4 => Just(By::Admin),
            2 => Just(By::AdminWhoReleases),
            4 => Just(By::Owner),
            2 => Just(By::OwnerWhoReleases),
        ]
    };
    let who = || 0..3_usize;
    let step = prop_oneof![
        6 => (place(), by()).prop_map(|(at, by)| Step::Create { at, by }),
        1 => place().prop_map(|at| Step::Import { at }),
        4 => (who(), place(), by()).prop_map(|(who, at, by)| Step::Rename { who, at, by }),
        1 => (who(), place()).prop_map(|(who, at)| Step::RenameOneself { who, at }),
        4 => (who(), place(), by()).prop_map(|(who, at, by)| Step::AddAlias { who, at, by }),
        6 => (who(), 0..4_usize).prop_map(|(who, which)| Step::RemoveAlias { who, which }),
        1 => who().prop_map(|who| Step::DisableAndTakeAliases { who }),
        5 => who().prop_map(|who| Step::Delete { who }),
        1 => (0..2_usize, any::<bool>()).prop_map(|(domain, off)| Step::SwitchDomain { domain, off }),
        4 => (0..2_usize).prop_map(|domain| Step::MoveDomain { domain }),
        3 => select(vec![1, 60, 119, 120, 179, 180]).prop_map(|days| Step::Wait { days }),
    ];
    proptest::collection::vec(step, 6..22)
}

/// One of the two; they stay through all sequences, each of which brings its own domains.
struct Side {
    zoid: OrganizationId,
    owner: Someone,
    admin: Someone,
    /// Tokens of the two, and when they were made.
    tokens: RefCell<BTreeMap<i64, (String, i64)>>,
}

impl Side {
    async fn new(world: &World, domain: &str) -> Self {
        let (zoid, _) = world::organization(&world.app, "Side", domain).await;
        let owner = world::someone(&world.app, zoid, &format!("owner@{domain}"), Role::SuperAdmin).await;
        let admin = world::someone(&world.app, zoid, &format!("chief@{domain}"), Role::Admin).await;
        Self { zoid, owner, admin, tokens: RefCell::default() }
    }

    /// One that works now.
    async fn token(&self, world: &World, of: &Someone) -> String {
        let now = world.app.clock.now();
        let known = self.tokens.borrow().get(&of.zuid).filter(|(_, at)| now - at < 300 * DAY).cloned();
        if let Some((token, _)) = known {
            return token;
        }
        let token = world::token(&world.app, &world.account(of).await, ORGANIZATION_SCOPES).await;
        self.tokens.borrow_mut().insert(of.zuid, (token.clone(), now));
        token
    }
}

/// Who had an address last, and since when nobody has it.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Last {
    account: i64,
    freed_at: Option<i64>,
}

/// What the sequences met, over all of them.
#[derive(Debug, Default)]
struct Met {
    steps: u32,
    given: u32,
    refused: u32,
    back_to_its_own: u32,
    after_the_term: u32,
    released: u32,
    across_organizations: u32,
}

struct Case<'a> {
    world: &'a World,
    sides: &'a [Side; 2],
    domains: [String; 2],
    /// Whose each of them is now.
    belongs: [usize; 2],
    /// Whoever has an address on them, with the side.
    people: Vec<(usize, Someone)>,
    ledger: BTreeMap<String, Last>,
    homes: BTreeMap<i64, OrganizationId>,
    met: &'a RefCell<Met>,
}

impl<'a> Case<'a> {
    async fn new(world: &'a World, sides: &'a [Side; 2], number: u32, met: &'a RefCell<Met>) -> Self {
        let domains = ["a", "b"].map(|name| format!("{name}-{number}.example"));
        for (side, domain) in sides.iter().zip(&domains) {
            let name = DomainName::parse(domain).expect("a domain");
            let added = organizations::add_verified_domain(&world.app, &operator(), side.zoid, &name).await;
            added.expect("a new domain");
        }
        let (ledger, homes) = (BTreeMap::new(), BTreeMap::new());
        Self { world, sides, domains, belongs: [0, 1], people: Vec::new(), ledger, homes, met }
    }

    fn address(&self, at: Place) -> String {
        let own: Vec<_> = (0..2).filter(|domain| self.belongs[*domain] == at.organization).collect();
        let domain = match own[..] {
            [] => at.domain % 2,
            _ if at.domain == 6 => (own[0] + 1) % 2,
            _ => own[at.domain % own.len()],
        };
        format!("{}@{}", LOCALS[at.local], self.domains[domain])
    }

    /// The same as seen from the person's own side.
    fn near(&self, who: usize, at: Place) -> Place {
        Place { organization: self.person(who).map_or(at.organization, |(side, _)| side), ..at }
    }

    /// Somebody of either side.
    fn person(&self, who: usize) -> Option<(usize, Someone)> {
        self.people.get(who.checked_rem(self.people.len())?).cloned()
    }

    /// A call by somebody with a token of this moment; whether it was accepted.
    async fn call(&self, side: usize, by: By, method: &str, path: &str, body: Value) -> bool {
        let side = &self.sides[side];
        let (caller, releases) = match by {
            By::Admin => (&side.admin, false),
            By::AdminWhoReleases => (&side.admin, true),
            By::Owner => (&side.owner, false),
            By::OwnerWhoReleases => (&side.owner, true),
        };
        let token = side.token(self.world, caller).await;
        let token = format!("Zoho-oauthtoken {token}");
        let mut headers = vec![("authorization", token.as_str())];
        headers.extend(releases.then_some(("x-mailward-release-address", REASON)));
        let answer = self.world.send(method, path, &headers, body.to_string()).await;
        let status = answer.status.as_u16();
        assert!([200, 201, 400, 403, 404].contains(&status), "{status} {}", answer.text);
        if answer.error_code() == "EMAILADDRESS_ALREADY_EXISTS" {
            self.met.borrow_mut().refused += 1;
        }
        status < 300
    }

    async fn mode(&self, who: usize, by: By, mode: &str, mut body: Value) -> bool {
        let Some((side, one)) = self.person(who) else { return false };
        (body["mode"], body["zuid"]) = (mode.into(), one.zuid.into());
        let path = format!("/api/organization/{}/accounts/{}", self.sides[side].zoid, one.zuid);
        self.call(side, by, "PUT", &path, body).await
    }

    /// Does it; whether addresses were released on purpose by whoever may.
    async fn take(&mut self, step: &Step) -> bool {
        match *step {
            Step::Create { at, by } => {
                let path = format!("/api/organization/{}/accounts", self.sides[at.organization].zoid);
                let body = json!({"primaryEmailAddress": self.address(at), "password": PASSWORD});
                self.call(at.organization, by, "POST", &path, body).await
                    && matches!(by, By::OwnerWhoReleases)
            }
            Step::Import { at } => {
                let owner = self.sides[at.organization].owner.email.clone();
                let mut visitor = Visitor::signed_in(self.world, &owner, PASSWORD).await;
                visitor.get("/users/import").await;
                let list = format!("address,first name\n{},Pat\n", self.address(at));
                let started = visitor.post("/users/import", &[("list", &list), ("go", "yes")]).await;
                if started.headers.contains_key("location") {
                    let (path, _) = finish(&mut visitor, started).await;
                    // Or there is no room for further lists before long.
                    visitor.post(&format!("{path}/passwords"), &[]).await;
                }
                false
            }
            Step::Rename { who, at, by } => {
                let body = json!({"emailAddress": self.address(self.near(who, at))});
                self.mode(who, by, "emailupdate", body).await && matches!(by, By::OwnerWhoReleases)
            }
            Step::RenameOneself { who, at } => {
                let Some((_, one)) = self.person(who) else { return false };
                let account = self.world.account(&one).await;
                if account.switches.user_disabled.is_some() {
                    return false;
                }
                let token = world::token(&self.world.app, &account, USER_SCOPES).await;
                let token = format!("Zoho-oauthtoken {token}");
                let headers = [("authorization", token.as_str()), ("x-mailward-release-address", REASON)];
                let body = json!({"mode": "emailupdate", "emailAddress": self.address(self.near(who, at))})
                    .to_string();
                self.world.send("PUT", &format!("/api/accounts/{}", one.account_id), &headers, body).await;
                false
            }
            Step::AddAlias { who, at, by } => {
                let body = json!({"emailAlias": [self.address(self.near(who, at))]});
                self.mode(who, by, "addEmailAlias", body).await && matches!(by, By::OwnerWhoReleases)
            }
            Step::RemoveAlias { who, which } => {
                let Some((_, one)) = self.person(who) else { return false };
                let aliases = self.world.account(&one).await.aliases;
                if let Some(alias) = which.checked_rem(aliases.len()).and_then(|place| aliases.get(place)) {
                    self.mode(who, By::Admin, "deleteEmailAlias", json!({"emailAlias": [alias.as_str()]}))
                        .await;
                }
                false
            }
            Step::DisableAndTakeAliases { who } => {
                self.mode(who, By::Owner, "disableUser", json!({"removeAlias": true})).await;
                false
            }
            Step::Delete { who } => {
                let Some((side, one)) = self.person(who) else { return false };
                let path = format!("/api/organization/{}/accounts/{}", self.sides[side].zoid, one.zuid);
                self.call(side, By::Admin, "DELETE", &path, json!({})).await;
                false
            }
            Step::SwitchDomain { domain, off } => {
                let change = if off { DomainChange::Disable } else { DomainChange::Enable };
                let name = DomainName::parse(&self.domains[domain]).expect("a domain");
                let zoid = self.sides[self.belongs[domain]].zoid;
                let switched =
                    organizations::change_domain(&self.world.app, &operator(), zoid, &name, change).await;
                switched.expect("switched");
                false
            }
            Step::MoveDomain { domain } => {
                self.move_domain(domain).await;
                false
            }
            Step::Wait { days } => {
                self.world.app.clock.advance(days * DAY);
                false
            }
        }
    }

    /// A domain on which somebody has an address is not removed; what an operator could do about that is done here
    /// by hand.
    async fn move_domain(&mut self, domain: usize) {
        let name = DomainName::parse(&self.domains[domain]).expect("a domain");
        let app = &self.world.app;
        let (from, to) = (self.belongs[domain], 1 - self.belongs[domain]);
        let remove =
            async || organizations::remove_domain(app, &operator(), self.sides[from].zoid, &name).await;
        if remove().await.is_err() {
            let text = name.as_str().to_owned();
            let unverified = app.db.write(async move |tx| {
                tx.execute("UPDATE domain SET verified_at = NULL WHERE name = $1", params![text.as_str()])
                    .await
            });
            unverified.await.expect("stored");
            remove().await.expect("an unverified domain is removed");
        }
        self.belongs[domain] = to;
        let zoid = self.sides[to].zoid;
        let added = organizations::add_verified_domain(app, &operator(), zoid, &name).await;
        added.expect("nobody's by now");
    }

    /// Reads who there is and who has what, and holds it against the ledger.
    async fn look(&mut self, released: bool) -> Result<(), TestCaseError> {
        let now = self.world.app.clock.now();
        let mut tx = self.world.app.db.read().await.expect("a connection");
        let mut rows: Vec<(String, [i64; 2], Option<i64>, bool)> = Vec::new();
        for local in LOCALS {
            for domain in &self.domains {
                let address = format!("{local}@{domain}");
                let found = tx
                    .query_opt(
                        "SELECT d.organization_id, d.account_id, d.freed_at, a.person_id FROM address d
                         LEFT JOIN account a ON a.organization_id = d.organization_id AND a.id = d.account_id
                         WHERE d.address = $1",
                        params![address.as_str()],
                        |row| {
                            let held = row.get::<Option<i64>>("freed_at")?.is_none();
                            let whose = [row.get("organization_id")?, row.get("account_id")?];
                            Ok((whose, row.get::<Option<i64>>("person_id")?, held))
                        },
                    )
                    .await
                    .expect("readable");
                rows.extend(found.map(|(whose, person, held)| (address, whose, person, held)));
            }
        }
        drop(tx);
        self.people.clear();
        for (address, [home, account], person, held) in rows {
            let home = OrganizationId::new(home).expect("an organization");
            self.homes.insert(account, home);
            if let Some(zuid) = person
                && !self.people.iter().any(|(_, known)| known.account_id == account)
            {
                let side = usize::from(self.sides[1].zoid == home);
                let (org_token, user_token) = (String::new(), String::new());
                let (email, zoid) = (address.clone(), home);
                self.people
                    .push((side, Someone { zuid, account_id: account, email, zoid, org_token, user_token }));
            }
            let last = self.ledger.get(&address).copied();
            if held {
                let mut met = self.met.borrow_mut();
                match last {
                    Some(Last { account: former, freed_at }) if former != account => {
                        let Some(freed_at) = freed_at else {
                            let why = format!("{address} went from {former}, who had it, to {account}");
                            return Err(TestCaseError::fail(why));
                        };
                        let over = now - freed_at >= TERM;
                        if !over && !released {
                            let days = (now - freed_at) / DAY;
                            let why = format!(
                                "{address} of {former} went to {account} after {days} days, and nobody released it"
                            );
                            return Err(TestCaseError::fail(why));
                        }
                        met.after_the_term += u32::from(over);
                        met.released += u32::from(!over);
                        met.across_organizations += u32::from(self.homes.get(&former) != Some(&home));
                    }
                    Some(Last { freed_at: Some(_), .. }) => met.back_to_its_own += 1,
                    Some(_) => {}
                    None => met.given += 1,
                }
                self.ledger.insert(address, Last { account, freed_at: None });
            } else if let Some(last) = self.ledger.get_mut(&address) {
                if last.account != account {
                    return Err(TestCaseError::fail(format!(
                        "{address} waits for {account}, not for {}",
                        last.account
                    )));
                }
                last.freed_at.get_or_insert(now);
            }
        }
        Ok(())
    }
}

async fn sequence(
    world: &World,
    sides: &[Side; 2],
    number: u32,
    steps: &[Step],
    met: &RefCell<Met>,
) -> Result<(), TestCaseError> {
    let mut case = Case::new(world, sides, number, met).await;
    // Somebody on either side, or the first steps meet nobody.
    for organization in 0..2 {
        let at = Place { organization, local: organization, domain: 0 };
        case.take(&Step::Create { at, by: By::Admin }).await;
        case.look(false).await?;
    }
    for step in steps {
        let released = case.take(step).await;
        case.look(released).await?;
        met.borrow_mut().steps += 1;
    }
    Ok(())
}

both_engines! {
    async fn no_sequence_gives_an_address_to_somebody_else_within_its_term(test: TestDb) {
        let engine = test.db.engine();
        let world = World::start(test).await;
        let (mut runner, seed) = runner((SEQUENCES, SEQUENCES_IN_THE_LONG_RUN));
        let met = RefCell::new(Met::default());
        let number = std::cell::Cell::new(0);
        let sides = [Side::new(&world, "left.example").await, Side::new(&world, "right.example").await];
        let outcome = block_in_place(|| {
            runner.run(&steps(), |steps| {
                number.set(number.get() + 1);
                Handle::current().block_on(sequence(&world, &sides, number.get(), &steps, &met))
            })
        });
        let met = met.into_inner();
        println!("{engine:?}: {met:?}");
        match outcome {
            Ok(()) => {}
            Err(TestError::Fail(why, steps)) => {
                panic!("with the seed {seed}, the shortest sequence found:\n{why}\n\nas steps: {steps:#?}")
            }
            Err(TestError::Abort(why)) => panic!("{why}"),
        }
        // The sequences must have met everything, or they say nothing.
        for (what, many) in [
            ("first owners", met.given),
            ("refusals", met.refused),
            ("addresses that went back", met.back_to_its_own),
            ("addresses whose term was over", met.after_the_term),
            ("releases", met.released),
            ("addresses that went to the other organization", met.across_organizations),
        ] {
            assert!(many >= 5, "only {many} {what}: {met:?}");
        }
    }
}
