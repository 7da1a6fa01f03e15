//! The database changes hands in every way there is, under two nodes that go on: nothing that was
//! acknowledged is lost, what was not confirmed is told truthfully, and each node comes back by itself.
//! The cluster is Patroni's, as docs/guide/failover.md says to set it up.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use mailward::app::App;
use mailward::app::random::Random;
use mailward::clock::Clock;
use mailward::domain::actor::Role;
use mailward::domain::ids::OrganizationId;
use mailward::store::engine::{Db, migrate};
use mailward::store::migrations::STEPS;
use serde_json::json;
use tokio::task::JoinSet;

use super::ledger::{Client, Heard, Ledger, lock, name};
use super::linear::Act;
use crate::support::databases::{options, runtime};
use crate::support::patroni::Cluster;
use crate::support::proxy::{AtCommit, Proxy};
use crate::support::service::Service;
use crate::support::world::{self, Someone, config};

/// Longer than a node lets anybody wait.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long a node may take from a fault to its next change, whatever the fault is. Patroni's own part
/// of it is ten seconds where a host dies.
const MOST: Duration = Duration::from_secs(40);
const VARIABLES: &[(&str, &str)] = &[("MAILWARD_DATABASE_CONNECT_SECONDS", "1")];

/// Two nodes, and who uses them.
struct Desk {
    ledger: Ledger,
    zoid: OrganizationId,
    token: String,
    doors: Vec<SocketAddr>,
    /// For each node, an account that is changed through it.
    people: Vec<Someone>,
    over: AtomicBool,
    /// For each node, when its changes were done, in microseconds of the ledger.
    done: Vec<Mutex<Vec<u64>>>,
}

impl Desk {
    /// One change after the other, through one node.
    async fn change(&self, node: usize) {
        let client = Client::new(&self.ledger, self.zoid, &self.token, PATIENCE);
        while !self.over.load(Ordering::Relaxed) {
            let fresh = self.ledger.fresh();
            let (more, act) = (json!({"displayName": name(fresh)}), Act::Name(fresh));
            let on = self.people[node].zuid;
            match client.ask(self.doors[node], on, "displaynameupdate", more, act).await {
                Heard::Done { .. } => lock(&self.done[node]).push(self.ledger.now()),
                Heard::Refused { status: 503 } | Heard::Unconfirmed { .. } => {}
                heard => self.ledger.wrong(format!("node {node} answered {heard:?}")),
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Looks at everybody, through one node.
    async fn look(&self, node: usize) {
        let client = Client::new(&self.ledger, self.zoid, &self.token, PATIENCE);
        while !self.over.load(Ordering::Relaxed) {
            for person in &self.people {
                client.look(self.doors[node], person.zuid).await;
                tokio::time::sleep(Duration::from_millis(15)).await;
            }
        }
    }

    /// Waits until each node has made a change that was answered after that moment; how long after it.
    fn recovered(&self, moment: u64) -> [f64; 2] {
        let start = Instant::now();
        let next = |node: usize| lock(&self.done[node]).iter().find(|at| **at > moment).copied();
        while (0..self.doors.len()).any(|node| next(node).is_none()) {
            assert!(start.elapsed() < MOST, "a node does not come back");
            std::thread::sleep(Duration::from_millis(20));
        }
        [0, 1].map(|node| next(node).map_or(0.0, |at| Duration::from_micros(at - moment).as_secs_f64()))
    }

    /// For each node, the longest time without a change since that moment.
    fn longest_gap(&self, since: u64) -> Vec<f64> {
        let gap = |done: &Mutex<Vec<u64>>| {
            let done = lock(done);
            let from = done.partition_point(|at| *at < since).saturating_sub(1);
            let gaps = done[from..].windows(2).map(|pair| pair[1] - pair[0]);
            Duration::from_micros(gaps.max().unwrap_or(0)).as_secs_f64()
        };
        self.done.iter().map(gap).collect()
    }
}

#[test]
fn nodes_outlive_every_change_of_the_primary_and_lose_nothing() {
    let mut cluster = Cluster::start("127.0.0.1");
    let runtime = runtime();
    // The second node reaches each host through a door that can lose the answer to a COMMIT.
    let doors: Vec<_> = (0..cluster.hosts())
        .map(|host| Proxy::to(&Cluster::url_of(&format!("127.0.0.1:{}", cluster.port(host)))))
        .collect();
    let behind: Vec<_> = doors.iter().map(|door| format!("127.0.0.1:{}", door.port)).collect();
    let urls = [cluster.url(), Cluster::url_of(&behind.join(","))];

    let (desk, nodes) = runtime.block_on(async {
        let db = Db::open(&urls[0], &options()).expect("the URL is good");
        migrate(&db, STEPS, 0).await.expect("the migrations run");
        let app = App::new(db, config(), Clock::System, Random::System).await.expect("a house");
        let (zoid, domain) = world::organization(&app, "Zylker", "zylker.example").await;
        let owner = world::someone(&app, zoid, &format!("owner@{domain}"), Role::SuperAdmin).await;
        let nodes = urls.iter().map(|url| Service::start_with(url, VARIABLES)).collect::<Vec<_>>();
        let (ledger, mut people) = (Ledger::new(), Vec::new());
        for node in 0..nodes.len() {
            let person = world::someone(&app, zoid, &format!("person{node}@{domain}"), Role::Member).await;
            ledger.first(&person);
            people.push(person);
        }
        app.db.close().await;
        let desk = Desk {
            ledger,
            zoid,
            token: owner.org_token,
            doors: nodes.iter().map(Service::address).collect(),
            people,
            over: AtomicBool::new(false),
            done: nodes.iter().map(|_| Mutex::default()).collect(),
        };
        (Arc::new(desk), nodes)
    });
    let mut tasks = JoinSet::new();
    for node in 0..nodes.len() {
        let (one, other) = (Arc::clone(&desk), Arc::clone(&desk));
        tasks.spawn_on(async move { one.change(node).await }, runtime.handle());
        tasks.spawn_on(async move { other.look(node).await }, runtime.handle());
    }
    std::thread::sleep(Duration::from_secs(1));

    // Once another host leads.
    let tell = |cluster: &Cluster, what: &str, old: usize, fault: u64| {
        cluster.successor(old);
        let led = desk.ledger.now();
        // What an old primary had confirmed before is answered by then.
        let recovered = desk.recovered(led + 300_000).map(|seconds| seconds + 0.3);
        let (gaps, took) = (desk.longest_gap(fault), Duration::from_micros(led - fault).as_secs_f64());
        println!(
            "{what}: another host led after {took:.1} s, the nodes changed accounts {:.1} and {:.1} s later; \
             longest pause {:.1} and {:.1} s",
            recovered[0], recovered[1], gaps[0], gaps[1]
        );
    };

    // In order.
    let (leader, fault) = (cluster.leader(), desk.ledger.now());
    cluster.switch_over();
    tell(&cluster, "switch-over", leader, fault);
    cluster.wait_until_ready();

    // The host dies in the moment in which a commit was made and its answer was not heard.
    let leader = cluster.leader();
    doors[leader].at_next_commit_of(AtCommit::UnansweredThenAway, "displaynameupdate");
    let start = Instant::now();
    while doors[leader].met() == 0 {
        assert!(start.elapsed() < Duration::from_secs(20), "no change came by");
        std::thread::sleep(Duration::from_millis(1));
    }
    let fault = desk.ledger.now();
    cluster.kill_host(leader);
    let change = nodes[1].said("the database did not confirm a change; looking it up", "change");
    tell(&cluster, "host killed", leader, fault);
    println!("change {change} was not confirmed, and was looked up");
    doors[leader].set_away(false);
    cluster.start_host(leader);
    cluster.wait_until_ready();

    // The primary says nothing any more, and every connection to it stays.
    let (leader, fault) = (cluster.leader(), desk.ledger.now());
    cluster.freeze(leader);
    tell(&cluster, "primary frozen", leader, fault);
    // Thawed, it may leave Patroni 3.0.2 without a synchronous standby for good (docs/guide/failover.md).
    cluster.kill_host(leader);
    cluster.start_host(leader);
    cluster.wait_until_ready();

    // Nobody tells the primary that it was replaced: it takes connections, and confirms nothing.
    let (leader, fault) = (cluster.leader(), desk.ledger.now());
    cluster.kill_patroni(leader);
    tell(&cluster, "primary replaced without being told", leader, fault);
    std::thread::sleep(Duration::from_secs(1));

    desk.over.store(true, Ordering::Relaxed);
    runtime.block_on(tasks.join_all());
    nodes.iter().for_each(Service::kill);
    // The replaced primary still takes connections.
    let leader = Cluster::url_of(&format!("127.0.0.1:{}", cluster.port(cluster.leader())));
    let wrong = runtime.block_on(async {
        let db = Db::open(&leader, &options()).expect("the URL is good");
        desk.ledger.verdict(&db, desk.zoid, &desk.people).await
    });
    println!("{} operations, 4 changes of the primary, {} violations", desk.ledger.operations(), wrong.len());
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
