//! Three nodes, clients that write to all of them, and everything that may happen to nodes, networks and
//! the database meanwhile. What was answered must be what could have happened: see `ledger` and `linear`.
//! `MAILWARD_TEST_SEED` repeats a choice, `MAILWARD_TEST_LONG` takes ten minutes.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use mailward::app::random::Random;
use mailward::app::{App, oauth};
use mailward::clock::{Clock, DAY};
use mailward::domain::actor::Role;
use mailward::domain::ids::{OrganizationId, UserId};
use mailward::domain::scope::ScopeSet;
use mailward::store::accounts::{Handle, load};
use mailward::store::engine::{Db, migrate};
use mailward::store::migrations::STEPS;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use reqwest::Method;
use serde_json::json;
use tokio::task::JoinSet;

use super::ledger::{Client, Heard, Ledger, Written, lock, name, password};
use super::linear::Act;
use crate::support::databases::{options, runtime};
use crate::support::namespaces::{Namespaces, Way};
use crate::support::patroni::Cluster;
use crate::support::postgres::{self, Server, empty_on};
use crate::support::service::Service;
use crate::support::world::{self, ORGANIZATION_SCOPES, Someone, config};

const NODES: usize = 3;
const CLIENTS: usize = 12;
const ACCOUNTS: usize = 10;
/// Addresses that an account changes among.
const OWN_ADDRESSES: u32 = 6;
/// Addresses that several accounts want, which one account tries for at most: it may have 30.
const MOST_PRIZES: usize = 20;
/// How long a client waits for an answer.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long the load goes on.
const SHORT: Duration = Duration::from_secs(14);
const LONG: Duration = Duration::from_secs(620);
/// What a node needs to know beside its database.
const VARIABLES: &[(&str, &str)] = &[
    ("MAILWARD_PASSWORDS_MEMORY_KIB", "8"),
    ("MAILWARD_PASSWORDS_PASSES", "1"),
    ("MAILWARD_DATABASE_CONNECT_SECONDS", "1"),
    // Wrong passwords are what many of these clients send.
    ("MAILWARD_THROTTLE_WRONG_PER_ACCOUNT", "100000000"),
    ("MAILWARD_THROTTLE_WRONG_PER_SOURCE", "100000000"),
];

#[test]
fn three_nodes_that_are_killed_and_cut_off_tell_one_history() {
    let machines = Namespaces::make(NODES);
    let at = machines.own_address(Way::ToDatabase);
    let network = machines.network(Way::ToDatabase);
    let server = Server::start(5447, |folder| {
        let rules = format!("local all all trust\nhost all all {network} trust\n");
        std::fs::write(folder.join("rules"), rules).expect("a file");
        vec![format!("listen_addresses={at}"), format!("hba_file={}/rules", folder.display())]
    });
    let database = empty_on(&server, "desk");
    let url = format!("postgres://postgres@{at}:5447/desk");
    History { machines, url, own_url: database.url.clone() }.run(Base::Alone);
}

#[test]
fn three_nodes_on_a_database_that_changes_hands_tell_one_history() {
    let machines = Namespaces::make(NODES);
    let cluster = Cluster::start(&machines.own_address(Way::ToDatabase).to_string());
    let url = cluster.url();
    History { machines, own_url: url.clone(), url }.run(Base::Cluster(&cluster));
}

/// What the database is.
enum Base<'a> {
    Alone,
    Cluster(&'a Cluster),
}

struct History {
    machines: Namespaces,
    /// How nodes reach the database.
    url: String,
    /// How the test does, whatever is cut.
    own_url: String,
}

/// What clients have in common.
struct Shared {
    ledger: Ledger,
    app: App,
    zoid: OrganizationId,
    domain: String,
    token: String,
    doors: Vec<SocketAddr>,
    subjects: Vec<Subject>,
    /// Of an organization of their own.
    duellists: [Someone; 2],
    over: AtomicBool,
    contests: Mutex<BTreeMap<String, Vec<(String, Heard)>>>,
    contest: AtomicUsize,
    prize: AtomicUsize,
}

/// An account that clients change.
struct Subject {
    person: Someone,
    number: usize,
    /// The password that opens it, or did.
    password: AtomicU32,
    prizes: AtomicUsize,
}

impl History {
    fn run(self, base: Base<'_>) {
        let seed = std::env::var("MAILWARD_TEST_SEED").map_or(2026, |text| text.parse().expect("a number"));
        let long = std::env::var_os("MAILWARD_TEST_LONG").is_some();
        let mut chance = StdRng::seed_from_u64(seed);
        let runtime = runtime();
        let doors = (0..NODES).map(|node| SocketAddr::from(self.machines.client_door(node))).collect();
        let shared = Arc::new(runtime.block_on(Shared::arrange(&self.own_url, doors)));
        let mut nodes: Vec<_> = (0..NODES).map(|node| self.start(node)).collect();

        let mut tasks = JoinSet::new();
        for client in 0..CLIENTS {
            let (shared, chance) = (Arc::clone(&shared), StdRng::seed_from_u64(chance.random()));
            tasks.spawn_on(async move { shared.call(client, chance).await }, runtime.handle());
        }
        let duels = (Arc::clone(&shared), StdRng::seed_from_u64(chance.random()));
        tasks.spawn_on(async move { duels.0.duel(duels.1).await }, runtime.handle());

        let faults = self.disturb(&mut chance, &base, &mut nodes, if long { LONG } else { SHORT });
        shared.over.store(true, Ordering::Relaxed);
        runtime.block_on(tasks.join_all());
        runtime.block_on(shared.look_everywhere());
        nodes.iter().for_each(Service::kill);
        let wrong = runtime.block_on(shared.verdict(&self.own_url));

        let kinds: Vec<_> = faults.iter().map(|(kind, times)| format!("{kind} {times}")).collect();
        println!(
            "{} operations, {} faults ({}), {} violations; seed {seed}",
            shared.ledger.operations(),
            faults.values().sum::<usize>(),
            kinds.join(", "),
            wrong.len(),
        );
        assert!(wrong.is_empty(), "seed {seed}: {}", wrong.join("\n"));
        assert!(shared.ledger.operations() > 200, "the nodes hardly answered");
    }

    fn start(&self, node: usize) -> Service {
        let address = SocketAddr::from(self.machines.client_door(node));
        Service::start_on(&self.machines.wrapper(node), address, &self.url, VARIABLES)
    }

    /// One thing after the other happens; how often each did.
    fn disturb(
        &self,
        chance: &mut StdRng,
        base: &Base<'_>,
        nodes: &mut [Service],
        time: Duration,
    ) -> BTreeMap<&'static str, usize> {
        let (start, mut faults) = (Instant::now(), BTreeMap::new());
        let mut turn = 0;
        let pause = |milliseconds| std::thread::sleep(Duration::from_millis(milliseconds));
        pause(500);
        while start.elapsed() < time {
            let node = chance.random_range(0..NODES);
            let kinds = if matches!(base, Base::Alone) { 3 } else { 4 };
            let kind = match turn % kinds {
                0 => {
                    nodes[node].kill();
                    pause(chance.random_range(100..800));
                    nodes[node] = self.start(node);
                    "node killed"
                }
                1 => {
                    self.machines.cut(Way::ToDatabase, node, true);
                    pause(chance.random_range(300..2_500));
                    self.machines.cut(Way::ToDatabase, node, false);
                    "way to the database cut"
                }
                2 => {
                    self.machines.cut(Way::ToClients, node, true);
                    pause(chance.random_range(300..1_500));
                    self.machines.cut(Way::ToClients, node, false);
                    "way to the clients cut"
                }
                _ => {
                    if let Base::Cluster(cluster) = base {
                        cluster.switch_over();
                        cluster.wait_until_ready();
                    }
                    "database switched over"
                }
            };
            *faults.entry(kind).or_insert(0) += 1;
            turn += 1;
            pause(chance.random_range(100..600));
        }
        faults
    }
}

impl Shared {
    async fn arrange(url: &str, doors: Vec<SocketAddr>) -> Self {
        let db = Db::open(url, &options()).expect("the URL is good");
        migrate(&db, STEPS, 0).await.expect("the migrations run");
        let app = App::new(db, config(), Clock::System, Random::System).await.expect("a house");
        let (zoid, domain) = world::organization(&app, "Zylker", "zylker.example").await;
        let owner = world::someone(&app, zoid, &format!("owner@{domain}"), Role::SuperAdmin).await;
        let ledger = Ledger::new();
        let mut subjects = Vec::new();
        for number in 0..ACCOUNTS {
            let address = own_address(number, 0, &domain);
            let person = world::someone(&app, zoid, &address, Role::Member).await;
            let (password, prizes) = (AtomicU32::new(0), AtomicUsize::new(0));
            ledger.first(&person);
            subjects.push(Subject { person, number, password, prizes });
        }
        let (other, _) = world::organization(&app, "Duellists", "duel.example").await;
        let one = world::someone(&app, other, "one@duel.example", Role::SuperAdmin).await;
        let two = world::someone(&app, other, "two@duel.example", Role::SuperAdmin).await;
        // As the server does by itself within a minute: without it its plans read everybody's rows.
        postgres::connect(url).await.batch_execute("ANALYZE").await.expect("statistics");
        Self {
            ledger,
            app,
            zoid,
            domain,
            token: owner.org_token,
            doors,
            subjects,
            duellists: [one, two],
            over: AtomicBool::new(false),
            contests: Mutex::default(),
            contest: AtomicUsize::new(0),
            prize: AtomicUsize::new(0),
        }
    }

    fn goes_on(&self) -> bool {
        !self.over.load(Ordering::Relaxed)
    }

    /// One client, which calls whatever node it comes upon.
    async fn call(&self, number: usize, mut chance: StdRng) {
        let client = Client::new(&self.ledger, self.zoid, &self.token, PATIENCE);
        while self.goes_on() {
            let subject = &self.subjects[chance.random_range(0..ACCOUNTS)];
            let door = self.doors[chance.random_range(0..NODES)];
            let on = subject.person.zuid;
            let (mode, more, act) = match chance.random_range(0..100) {
                0..40 => {
                    client.look(door, on).await;
                    continue;
                }
                40..52 => {
                    let fresh = self.ledger.fresh();
                    ("displaynameupdate", json!({"displayName": name(fresh)}), Act::Name(fresh))
                }
                52..58 => {
                    let address =
                        own_address(subject.number, chance.random_range(0..OWN_ADDRESSES), &self.domain);
                    let act = Act::Address(self.ledger.address(&address));
                    ("emailupdate", json!({"emailAddress": address}), act)
                }
                58..63 if subject.prizes.fetch_add(1, Ordering::Relaxed) < MOST_PRIZES => {
                    let prize = self.prize.fetch_add(1, Ordering::Relaxed) / 3;
                    let address = format!("prize-{prize}@{}", self.domain);
                    let act = Act::Address(self.ledger.address(&address));
                    ("emailupdate", json!({"emailAddress": address}), act)
                }
                58..68 => ("disableUser", json!({}), Act::Disable),
                68..76 => ("enableUser", json!({}), Act::Enable),
                76..80 => ("disableMailAccount", json!({}), Act::DisableMail),
                80..84 => ("enableMailAccount", json!({}), Act::EnableMail),
                84..88 => {
                    let (fresh, one_time) = (self.ledger.fresh(), chance.random_bool(0.7));
                    subject.password.store(fresh, Ordering::Relaxed);
                    let more = json!({"password": password(fresh), "oneTimePassword": one_time});
                    ("resetPassword", more, Act::Reset { password: fresh, one_time })
                }
                88..95 => {
                    client.choose(door, &subject.person, subject.password.load(Ordering::Relaxed)).await;
                    continue;
                }
                95..98 => {
                    self.contend(&client, door, number).await;
                    continue;
                }
                _ => {
                    let fresh = self.ledger.fresh();
                    let more = json!({"displayName": name(fresh)});
                    let mut doors = self.doors.clone();
                    doors.rotate_left(chance.random_range(0..NODES));
                    client.ask_once(&doors, on, "displaynameupdate", more, Act::Name(fresh)).await;
                    continue;
                }
            };
            let heard = client.ask(door, on, mode, more, act).await;
            if matches!(heard, Heard::Silence | Heard::Refused { status: 503 }) {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }

    /// Makes a user with an address that others want for theirs.
    async fn contend(&self, client: &Client<'_>, door: SocketAddr, number: usize) {
        let address = format!("new-{}@{}", self.contest.fetch_add(1, Ordering::Relaxed) / 3, self.domain);
        let reason = format!("op {}", self.ledger.fresh());
        let own = format!("{reason} of {number}");
        let body = json!({"primaryEmailAddress": address, "password": password(7), "displayName": own});
        let path = format!("/api/organization/{}/accounts", self.zoid);
        let (heard, _) = client.send(Method::POST, door, &path, &body, Some(&reason), None).await;
        self.ledger.count();
        lock(&self.contests).entry(address.clone()).or_default().push((reason, heard.clone()));
        if let Heard::Done { .. } = heard {
            let path = format!("{path}/{address}");
            for door in &self.doors {
                let (heard, found) = client.get(*door, &path).await;
                let there = found["data"]["displayName"] == own;
                if matches!(heard, Heard::Done { .. }) && !there || heard == (Heard::Refused { status: 404 })
                {
                    self.ledger.wrong(format!("{address} was made, and {door} says {heard:?} {found}"));
                }
            }
        }
    }

    /// Two super administrators disable each other at the same moment, over and over: one is left.
    async fn duel(&self, mut chance: StdRng) {
        let organization = self.duellists[0].zoid;
        while self.goes_on() {
            let [first, second] = &self.duellists;
            let (one, two) = match (self.armed(first).await, self.armed(second).await) {
                (Some(one), Some(two)) => (one, two),
                (one, two) => {
                    // One of them is still off, or the database is away.
                    for (client, other) in [(one, second), (two, first)] {
                        let Some(client) = client else { continue };
                        let door = self.doors[chance.random_range(0..NODES)];
                        client.put(door, other.zuid, "enableUser", json!({}), "after", None).await;
                    }
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            };
            let (here, there) =
                (self.doors[chance.random_range(0..NODES)], self.doors[chance.random_range(0..NODES)]);
            let heard = tokio::join!(
                one.put(here, second.zuid, "disableUser", json!({}), "duel", None),
                two.put(there, first.zuid, "disableUser", json!({}), "duel", None),
            );
            self.ledger.count();
            if let (Heard::Done { .. }, Heard::Done { .. }) = heard {
                self.ledger.wrong("two super administrators disabled each other".to_owned());
            }
            let standing = [self.is_enabled(first).await, self.is_enabled(second).await];
            if standing == [Some(false), Some(false)] {
                self.ledger.wrong(format!("no super administrator of {organization} is left: {heard:?}"));
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// With a token, if the person can have one now.
    async fn armed(&self, duellist: &Someone) -> Option<Client<'_>> {
        let (scopes, user) =
            (ScopeSet::parse(ORGANIZATION_SCOPES).expect("scopes"), UserId::new(duellist.zuid)?);
        match oauth::issue(&self.app, duellist.zoid, user, scopes, DAY).await {
            Ok(token) => Some(Client::new(&self.ledger, duellist.zoid, token.expose(), PATIENCE)),
            Err(_) => None,
        }
    }

    async fn is_enabled(&self, person: &Someone) -> Option<bool> {
        let mut tx = self.app.db.snapshot().await.ok()?;
        let account = load(&mut tx, person.zoid, Handle::of(person.zuid)?).await.ok()??;
        Some(account.switches.user_disabled.is_none())
    }

    /// In the end every node shows every account, as it is.
    async fn look_everywhere(&self) {
        let client = Client::new(&self.ledger, self.zoid, &self.token, PATIENCE);
        let start = Instant::now();
        for door in &self.doors {
            for subject in &self.subjects {
                while client.look(*door, subject.person.zuid).await.is_none() {
                    assert!(start.elapsed() < Duration::from_secs(40), "{door} does not come back");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }

    /// Once no node runs any more: everything that is wrong.
    async fn verdict(&self, url: &str) -> Vec<String> {
        self.app.db.close().await;
        // What a dead node had begun ends now, one way or the other.
        let server = postgres::connect(url).await;
        let others = "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity
                      WHERE datname = current_database() AND pid <> pg_backend_pid() AND usename = current_user";
        server.batch_execute(others).await.expect("the others end");
        let db = Db::open(url, &options()).expect("the URL is good");
        let people: Vec<_> = self.subjects.iter().map(|subject| subject.person.clone()).collect();
        let mut wrong = self.ledger.verdict(&db, self.zoid, &people).await;
        let written = Written::read(&db, self.zoid).await;
        for (address, tries) in &*lock(&self.contests) {
            let made: Vec<_> = tries.iter().filter(|(reason, _)| !written.made(reason).is_empty()).collect();
            let told: Vec<_> =
                tries.iter().filter(|(_, heard)| matches!(heard, Heard::Done { .. })).collect();
            let refused = made.iter().any(|(_, heard)| matches!(heard, Heard::Refused { .. }));
            if made.len() > 1 || refused || told.iter().any(|one| !made.contains(one)) {
                wrong.push(format!("{address} was made {made:?} of {tries:?}"));
            }
        }
        let mut seen = BTreeSet::new();
        for person in &people {
            let mut tx = db.snapshot().await.expect("a snapshot");
            let handle = Handle::of(person.zuid).expect("a zuid");
            let account = load(&mut tx, person.zoid, handle).await.expect("readable").expect("it is there");
            for address in account.aliases.iter().chain([&account.primary]) {
                if !seen.insert(address.to_string()) {
                    wrong.push(format!("two accounts have {address}"));
                }
            }
        }
        wrong
    }
}

fn own_address(account: usize, number: u32, domain: &str) -> String {
    format!("person{account}-{number}@{domain}")
}
