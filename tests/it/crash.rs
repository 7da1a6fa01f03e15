//! Killed without warning at any moment under load, and started again: every change that was
//! acknowledged is there with its audit entry and its effects, and of one that was not, all or
//! nothing. `MAILWARD_TEST_SEED` chooses other moments, `MAILWARD_TEST_LONG` many more of them.

mod points;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use mailward::app::App;
use mailward::app::random::Random;
use mailward::clock::Clock;
use mailward::domain::actor::Role;
use mailward::domain::effect::Effect;
use mailward::domain::ids::{ChangeId, UserId};
use mailward::store::accounts::{Handle, load};
use mailward::store::audit;
use mailward::store::engine::{Db, migrate};
use mailward::store::migrations::STEPS;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::support::databases::{TestDb, options, runtime};
use crate::support::postgres::Server;
use crate::support::service::{Caller, Heard, Service};
use crate::support::world::{self, Someone, config};

const CLIENTS: usize = 4;
/// The most changes that are acknowledged before the end comes.
const MOST_CHANGES: usize = 40;

const ROUNDS: usize = 50;
const ROUNDS_ON_POSTGRES: usize = 10;
/// In the long run, so many times as many.
const LONGER: usize = 20;

fn rounds(short: usize) -> usize {
    if std::env::var_os("MAILWARD_TEST_LONG").is_some() { short * LONGER } else { short }
}

fn moments() -> StdRng {
    let seed =
        std::env::var("MAILWARD_TEST_SEED").map_or(2026, |text| text.parse().expect("a seed is a number"));
    StdRng::seed_from_u64(seed)
}

/// An administrator's token, and the people whom the clients change.
struct Place {
    zoid: i64,
    token: String,
    people: Vec<Client>,
}

/// One client with an account to itself.
#[derive(Debug, Clone)]
struct Client {
    on: Someone,
    domain: String,
    number: usize,
    known: State,
    /// How many changes of the account there were.
    changes: usize,
    /// Those that were acknowledged in this round.
    acknowledged: Vec<String>,
    /// A call whose answer never came, and what it would have made.
    open: Option<State>,
    /// Makes every value a fresh one.
    last: usize,
}

/// What the calls of this test change.
#[derive(Debug, Clone, PartialEq, Eq)]
struct State {
    display_name: String,
    primary: String,
    aliases: BTreeSet<String>,
    disabled: bool,
    mail_disabled: bool,
}

impl Client {
    /// The next call, and how the account is after it.
    fn next(&mut self) -> (Value, State) {
        self.last += 1;
        let mut after = self.known.clone();
        let fresh = |what: &str| format!("{what}-{}-{}", self.number, self.last);
        let address = |what: &str| format!("{}@{}", fresh(what), self.domain);
        let mut body = match self.last % 6 {
            0 => {
                after.disabled = !after.disabled;
                json!({"mode": if after.disabled { "disableUser" } else { "enableUser" }})
            }
            1 => {
                after.display_name = fresh("Name");
                after.aliases.insert(std::mem::replace(&mut after.primary, address("name")));
                json!({
                    "mode": "displaynameemailupdate",
                    "displayName": after.display_name,
                    "emailAddress": after.primary,
                })
            }
            2 => {
                after.mail_disabled = !after.mail_disabled;
                json!({"mode": if after.mail_disabled { "disableMailAccount" } else { "enableMailAccount" }})
            }
            3 => {
                let both = [address("one"), address("two")];
                after.aliases.extend(both.clone());
                json!({"mode": "addEmailAlias", "emailAlias": both})
            }
            4 if !after.aliases.is_empty() => {
                let gone: Vec<_> = std::mem::take(&mut after.aliases).into_iter().collect();
                json!({"mode": "deleteEmailAlias", "emailAlias": gone})
            }
            _ => {
                after.display_name = fresh("Name");
                json!({"mode": "displaynameupdate", "displayName": after.display_name})
            }
        };
        // enableUser lifts the block of the mail account too.
        if !after.disabled && self.known.disabled {
            after.mail_disabled = false;
        }
        body["zuid"] = json!(self.on.zuid);
        (body, after)
    }

    /// Calls until the service is gone.
    async fn work(mut self, caller: Caller, acknowledged: &AtomicUsize, stop: &AtomicBool) -> Self {
        while !stop.load(Ordering::Relaxed) {
            let (body, after) = self.next();
            let changes = after != self.known;
            match caller.put(&body).await {
                Heard::Answer(200, change, _) => {
                    assert_eq!(change.is_some(), changes, "{body} of {:?}", self.known);
                    self.changes += usize::from(changes);
                    self.acknowledged.extend(change);
                    self.known = after;
                    acknowledged.fetch_add(1, Ordering::Relaxed);
                }
                // Nothing was changed, and the answer says so.
                Heard::Answer(503, None, text) if !text.contains("did not confirm") => {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                Heard::Answer(503, None, _) | Heard::Nothing => {
                    self.open = changes.then_some(after);
                    break;
                }
                Heard::Answer(status, _, text) => panic!("{status} {text} for {body} of {:?}", self.known),
            }
        }
        self
    }

    /// Compares with what is stored, and goes on from there.
    async fn look(&mut self, db: &Db) {
        let mut tx = db.snapshot().await.expect("a snapshot");
        let handle = Handle::of(self.on.zuid).expect("a zuid");
        let account =
            load(&mut tx, self.on.zoid, handle).await.expect("readable").expect("the account is there");
        let found = State {
            display_name: account.profile.display_name.clone(),
            primary: account.primary.to_string(),
            aliases: account.aliases.iter().map(ToString::to_string).collect(),
            disabled: account.switches.user_disabled.is_some(),
            mail_disabled: account.switches.mail_disabled.is_some(),
        };
        if self.open.take().is_some_and(|after| after == found) {
            self.changes += 1;
        } else {
            assert_eq!(found, self.known, "an acknowledged change is lost, or one was half made");
        }
        self.known = found;
        assert_eq!(account.version, 1 + i64::try_from(self.changes).expect("a few"));
        let person = UserId::new(self.on.zuid);
        let entries = audit::newest(&mut tx, self.on.zoid, person, 1_000_000).await.expect("readable");
        assert_eq!(
            entries.len(),
            1 + self.changes,
            "one audit entry for each change, and one for the creation"
        );
        let newest = entries.iter().take(self.acknowledged.len() + 1).map(|entry| entry.id.to_string());
        for change in newest.chain(std::mem::take(&mut self.acknowledged)) {
            let id: ChangeId = change.parse().expect("a change");
            let written = audit::of_change(&mut tx, self.on.zoid, id).await.expect("readable");
            assert_eq!(written.len(), 1, "the audit entry of {change}");
            let effects = world::effects_of(&mut tx, self.on.zoid, id).await;
            assert!(effects.iter().any(|row| row.effect == Effect::Project), "{change} left {effects:?}");
        }
    }
}

impl Place {
    /// An organization on the machine's own clock.
    async fn make(db: &Db) -> Self {
        let app = App::new(db.clone(), config(), Clock::System, Random::System).await.expect("a house");
        let (zoid, domain) = world::organization(&app, "Zylker", "zylker.example").await;
        let owner = world::someone(&app, zoid, &format!("owner@{domain}"), Role::SuperAdmin).await;
        let mut people = Vec::new();
        for number in 0..CLIENTS {
            let on = world::someone(&app, zoid, &format!("member-{number}@{domain}"), Role::Member).await;
            let known = State {
                display_name: String::new(),
                primary: on.email.clone(),
                aliases: BTreeSet::new(),
                disabled: false,
                mail_disabled: false,
            };
            people.push(Client {
                on,
                domain: domain.clone(),
                number,
                known,
                changes: 0,
                acknowledged: Vec::new(),
                open: None,
                last: 0,
            });
        }
        Self { zoid: zoid.get(), token: owner.org_token, people }
    }

    /// All clients call, and at a random moment `end` brings the end; answers how many calls were
    /// acknowledged.
    async fn work(&mut self, moments: &mut StdRng, service: &Service, end: impl FnOnce()) -> usize {
        let (acknowledged, stop) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
        let mut tasks = JoinSet::new();
        for client in self.people.drain(..) {
            let caller = service.caller(self.zoid, &self.token);
            let (acknowledged, stop) = (Arc::clone(&acknowledged), Arc::clone(&stop));
            tasks.spawn(async move { client.work(caller, &acknowledged, &stop).await });
        }
        let many = moments.random_range(0..MOST_CHANGES);
        let later = Duration::from_micros(moments.random_range(0..4_000));
        while acknowledged.load(Ordering::Relaxed) < many && !tasks.is_empty() {
            tokio::time::sleep(Duration::from_micros(200)).await;
            if let Some(early) = tasks.try_join_next() {
                self.people.push(early.expect("a client of this test"));
            }
        }
        tokio::time::sleep(later).await;
        end();
        stop.store(true, Ordering::Relaxed);
        self.people.extend(tasks.join_all().await);
        acknowledged.load(Ordering::Relaxed)
    }

    async fn look(&mut self, db: &Db) {
        for client in &mut self.people {
            client.look(db).await;
        }
    }
}

/// The service is killed and started again, over and over.
async fn kill_the_service(test: &TestDb, rounds: usize, keep_open: bool) {
    let mut place = Place::make(&test.db).await;
    if !keep_open {
        // Whoever opens the file first after the end has to put it in order: that shall be the service.
        test.db.close().await;
    }
    let (mut moments, mut total) = (moments(), 0);
    let mut service = Service::start(&test.url);
    for _ in 0..rounds {
        total += place.work(&mut moments, &service, || service.kill()).await;
        service = Service::start(&test.url);
        let db = Db::open(&test.url, &options()).expect("the database opens");
        place.look(&db).await;
        db.close().await;
    }
    println!("{total} changes were acknowledged in {rounds} rounds");
    assert!(total >= rounds * 5, "only {total} changes were acknowledged");
}

#[test]
fn on_sqlite_a_killed_service_has_lost_nothing() {
    crate::support::databases::on_sqlite(STEPS, async |test| {
        kill_the_service(&test, rounds(ROUNDS), false).await
    });
}

#[test]
fn on_postgres_a_killed_service_has_lost_nothing() {
    crate::support::databases::on_postgres(STEPS, async |test| {
        kill_the_service(&test, rounds(ROUNDS_ON_POSTGRES), true).await;
    });
}

/// The service lives on and finds the database again.
#[test]
fn a_killed_postgres_has_lost_nothing() {
    let mut server = Server::start(5434, |_| Vec::new());
    runtime().block_on(async {
        let db = Db::open(&server.url, &options()).expect("the URL is good");
        migrate(&db, STEPS, 0).await.expect("the migrations run");
        let mut place = Place::make(&db).await;
        db.close().await;
        let service = Service::start(&server.url);
        let (mut moments, mut total) = (moments(), 0);
        let rounds = rounds(ROUNDS_ON_POSTGRES);
        for _ in 0..rounds {
            total += place.work(&mut moments, &service, || server.crash()).await;
            let db = Db::open(&server.url, &options()).expect("the database opens");
            place.look(&db).await;
            db.close().await;
        }
        println!("{total} changes were acknowledged in {rounds} rounds");
        assert!(total >= rounds * 5, "only {total} changes were acknowledged");
    });
}
