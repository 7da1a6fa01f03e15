//! PostgreSQL: a pool of connections, and serializable writes that are run again when they meet
//! or when their connection breaks before COMMIT. `Postgres::write` is the heart.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use deadpool_postgres::{
    Manager, ManagerConfig, Object, Pool, PoolError, RecyclingMethod, Runtime, TimeoutType,
};
use tokio::sync::RwLock;
use tokio::time::{sleep, timeout};
use tokio_postgres::SimpleQueryMessage;
use tokio_postgres::error::SqlState;

use super::connect::{Hosts, KnownHosts};
use super::lent::Lent;
use super::sqlite::lock;
use super::{Arm, Manner, Options, Tx, Written, bad_url, params, unavailable};
use crate::error::{Error, Result};

const MOST_RUNS_ALONE: u32 = 40;
/// A change that has met others so often is run alone: of many changes of one row it would go on
/// losing to those that come fresh.
const MEETINGS_BEFORE_ALONE: u32 = 3;
const TOGETHER: &str = "BEGIN ISOLATION LEVEL SERIALIZABLE READ WRITE";
/// On this node no other change runs then, and on the others none that runs alone. The lock is one
/// that nothing else asks for; it is waited for before the transaction has seen anything.
const ALONE: &str = "BEGIN ISOLATION LEVEL SERIALIZABLE READ WRITE; \
                     LOCK TABLE migration IN SHARE UPDATE EXCLUSIVE MODE";
/// After the wait for another node's migration, the next statement must see its work.
const MIGRATE: &str = "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE; SET LOCAL statement_timeout = 0";
/// It rewrites whole tables, so it meets whoever else writes.
const AT_LENGTH: &str = "BEGIN ISOLATION LEVEL SERIALIZABLE READ WRITE; SET LOCAL statement_timeout = 0";
/// How long a question of a few microseconds may take.
const PROBE: Duration = Duration::from_secs(5);
/// A migration may rewrite a large table, and so may other changes.
const TIMEOUT_AT_LENGTH: Duration = Duration::from_secs(6 * 60 * 60);

/// How often a node in use looks whether another host leads.
const LOOK_AROUND: Duration = Duration::from_secs(1);

/// Connections to whichever host leads; those to a server that was replaced are given up.
pub(super) struct LeaderPool {
    pub pool: Pool,
    hosts: Hosts,
    known_hosts: Arc<KnownHosts>,
    trust: Mutex<Trust>,
}

struct Trust {
    /// Connections that were made before lead to a server that broke one, or that was replaced.
    since: Option<Instant>,
    looked: Option<Instant>,
}

impl LeaderPool {
    pub async fn connection(self: &Arc<Self>) -> Result<Object> {
        self.look_around();
        loop {
            let connection = self.pool.get().await.map_err(no_connection)?;
            let made = Object::metrics(&connection).created;
            if lock(&self.trust).since.is_none_or(|since| made > since) {
                return Ok(connection);
            }
            drop(Object::take(connection));
        }
    }

    /// A connection broke, or did not answer in time: those that are as old lead to the same server.
    pub fn give_up(&self, broken: Object) {
        let made = Object::metrics(&broken).created;
        drop(Object::take(broken));
        self.known_hosts.distrust_favourite();
        self.trust_only_after(made);
    }

    /// Also those that are in use now, once they come back.
    fn trust_only_after(&self, moment: Instant) {
        let since = &mut lock(&self.trust).since;
        *since = Some(since.map_or(moment, |since| since.max(moment)));
        self.pool.retain(|_, others| others.created > moment);
    }

    /// A primary that was replaced may go on without noticing, and answer from the past: nothing on the
    /// connections to it tells. So the other hosts are asked now and then.
    fn look_around(self: &Arc<Self>) {
        if !self.hosts.may_change() {
            return;
        }
        let mut trust = lock(&self.trust);
        if trust.looked.is_some_and(|looked| looked.elapsed() < LOOK_AROUND) {
            return;
        }
        trust.looked = Some(Instant::now());
        let leader = Arc::clone(self);
        tokio::spawn(async move {
            if leader.hosts.is_another_newer().await {
                tracing::warn!("another database server leads now");
                leader.trust_only_after(Instant::now());
            }
        });
    }
}

pub(super) struct Postgres {
    pub leader: Arc<LeaderPool>,
    statement_timeout: Duration,
    /// Shared by the changes that run, or held by one that keeps meeting others. Fair.
    turns: RwLock<()>,
}

impl Postgres {
    pub fn open(url: &str, options: &Options) -> Result<Self> {
        let hosts = Hosts::parse(url, options)?;
        let known_hosts = hosts.known_hosts();
        let create_timeout = hosts.patience();
        let recycling = ManagerConfig { recycling_method: RecyclingMethod::Fast };
        let manager = Manager::from_connect(tokio_postgres::Config::new(), hosts.clone(), recycling);
        let pool = Pool::builder(manager)
            .max_size(options.pool_size)
            // The oldest connection first would walk over every server process for nothing.
            .queue_mode(deadpool_postgres::QueueMode::Lifo)
            .wait_timeout(Some(options.wait_timeout))
            .create_timeout(Some(create_timeout))
            .recycle_timeout(Some(options.connect_timeout))
            .runtime(Runtime::Tokio1)
            .build()
            .map_err(|cause| bad_url(cause.to_string()))?;
        let trust = Mutex::new(Trust { since: None, looked: None });
        let leader = Arc::new(LeaderPool { pool, hosts, known_hosts, trust });
        Ok(Self { leader, statement_timeout: options.statement_timeout, turns: RwLock::new(()) })
    }

    pub async fn write<T, F>(&self, manner: Manner, change: F) -> Result<Written<T>>
    where
        F: AsyncFn(&mut Tx) -> Result<T>,
    {
        let mut lost_before = false;
        for run in 1..=MEETINGS_BEFORE_ALONE + MOST_RUNS_ALONE {
            // Taken before a connection is, and given back before a pause.
            let (mut shared, mut alone) = (None, None);
            let patience = self.statement_timeout;
            let (taken, begin, limit) = match manner {
                Manner::Change | Manner::Rehearsal if run <= MEETINGS_BEFORE_ALONE => {
                    let turn = timeout(patience, self.turns.read()).await;
                    (turn.map(|turn| shared = Some(turn)), TOGETHER, self.statement_timeout)
                }
                Manner::Change | Manner::Rehearsal => {
                    let turn = timeout(patience, self.turns.write()).await;
                    (turn.map(|turn| alone = Some(turn)), ALONE, self.statement_timeout)
                }
                Manner::ChangeAtLength => (Ok(()), AT_LENGTH, TIMEOUT_AT_LENGTH),
                Manner::Migration => (Ok(()), MIGRATE, TIMEOUT_AT_LENGTH),
            };
            taken.map_err(|_| unavailable("too many changes are waiting", 1))?;
            let mut tx = self.begin(begin, limit).await?;
            postgres(&mut tx).runs_again = true;
            let outcome = change(&mut tx).await;
            let outcome = tx.verdict(outcome);
            let lent = postgres(&mut tx);
            match outcome {
                Ok(value) => {
                    let ended = match manner {
                        Manner::Change | Manner::ChangeAtLength | Manner::Migration => lent.commit().await,
                        Manner::Rehearsal => lent.try_and_undo().await,
                    };
                    match ended {
                        Ok(()) => return Ok(Written::Committed(value)),
                        Err(Error::Again) => {}
                        Err(_) if lent.unconfirmed => return Ok(Written::Unconfirmed(value)),
                        Err(_) if lent.lost && !lost_before => lost_before = true,
                        Err(error) => return Err(error),
                    }
                }
                Err(Error::Again) => lent.roll_back().await,
                // The server forgets a transaction whose connection breaks before COMMIT.
                Err(_) if lent.lost && !lost_before => lost_before = true,
                Err(error) => {
                    lent.roll_back().await;
                    return Err(error);
                }
            }
            // The connection is not held while we pause.
            drop(tx);
            drop((shared, alone));
            sleep(pause(run)).await;
        }
        Err(unavailable("too many changes met each other", 1))
    }

    pub async fn reader(&self) -> Result<Tx> {
        let lent =
            Lent::new(self.leader.connection().await?, Arc::clone(&self.leader), self.statement_timeout);
        Ok(Tx { arm: Arm::Postgres(Box::new(lent)), failed: false, uncounted: false, kept: None })
    }

    pub async fn snapshot(&self) -> Result<Tx> {
        // At the default level two statements would not agree.
        self.begin("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY", self.statement_timeout).await
    }

    async fn begin(&self, begin: &'static str, limit: Duration) -> Result<Tx> {
        let mut tx = self.reader().await?;
        let lent = postgres(&mut tx);
        lent.limit = limit;
        lent.begin(begin);
        Ok(tx)
    }

    /// See [`super::keeps_sessions_apart`].
    pub async fn keeps_sessions_apart(&self) -> Result<bool> {
        if self.leader.pool.status().max_size < 2 {
            return Ok(true);
        }
        let (one, two) = (self.leader.connection().await?, self.leader.connection().await?);
        for _ in 0..3 {
            // A pooler that mixes clients hands on what the first one has just given back.
            if server_process(&one).await? == server_process(&two).await? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    pub fn close(&self) {
        self.leader.pool.close();
    }
}

/// Not prepared: behind such a pooler two clients' statements get in each other's way.
async fn server_process(client: &Object) -> Result<Option<String>> {
    let answers = timeout(PROBE, client.simple_query("SELECT pg_backend_pid()")).await;
    match answers {
        Ok(Ok(answers)) => Ok(answers.iter().find_map(|answer| match answer {
            SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
            _ => None,
        })),
        Ok(Err(cause)) => Err(Error::caused("asking for the server's process", cause)),
        Err(_) => Err(unavailable("the database did not answer in time", 2)),
    }
}

fn postgres(tx: &mut Tx) -> &mut Lent {
    match &mut tx.arm {
        Arm::Postgres(lent) => lent,
        Arm::Sqlite(_) => unreachable!("connections of this file are PostgreSQL's"),
    }
}

/// Doubled with each run, from about 1 ms to 60, with chance so that two do not meet again.
fn pause(run: u32) -> Duration {
    let longest = 1_000 << run.min(6);
    Duration::from_micros(rand::random_range(longest / 2..longest))
}

pub(super) async fn durability(tx: &mut Tx) -> Result<Vec<(String, String)>> {
    tx.query_all(
        "SELECT name, setting
         FROM pg_settings
         WHERE name IN ('fsync', 'full_page_writes', 'synchronous_commit', 'synchronous_standby_names', 'server_version')
         ORDER BY name",
        params![],
        |row| Ok((row.get("name")?, row.get("setting")?)),
    )
    .await
}

// Errors -----------------------------------------------------------------------------------

fn no_connection(cause: PoolError) -> Error {
    match cause {
        PoolError::Timeout(TimeoutType::Wait) => unavailable("every connection to the database is busy", 1),
        PoolError::Timeout(TimeoutType::Create | TimeoutType::Recycle) => {
            unavailable("the database does not answer", 2)
        }
        PoolError::Backend(cause) => cannot_connect(&cause),
        PoolError::Closed => unavailable("the database is closed", 5),
        PoolError::NoRuntimeSpecified | PoolError::PostCreateHook(_) => {
            Error::caused("taking a connection", cause)
        }
    }
}

fn cannot_connect(cause: &tokio_postgres::Error) -> Error {
    let detail = std::error::Error::source(cause).map(ToString::to_string).unwrap_or_default();
    tracing::warn!(%detail, "{cause}");
    match cause.code() {
        Some(code) if code.code().starts_with("28") => {
            unavailable("the database refuses our user or password", 30)
        }
        Some(&SqlState::INVALID_CATALOG_NAME) => unavailable("the server has no database of that name", 30),
        Some(&SqlState::TOO_MANY_CONNECTIONS) => unavailable("the database takes no more connections", 2),
        _ => unavailable("the database cannot be reached", 2),
    }
}
