//! PostgreSQL: a pool of connections, and serializable writes that are run again when they meet
//! or when their connection breaks before COMMIT. `Postgres::write` is the heart.

use std::time::Duration;

use deadpool_postgres::{
    Manager, ManagerConfig, Object, Pool, PoolError, RecyclingMethod, Runtime, TimeoutType,
};
use tokio::sync::RwLock;
use tokio::time::{sleep, timeout};
use tokio_postgres::error::SqlState;

use super::connect::Hosts;
use super::lent::Lent;
use super::{Arm, Manner, Options, Tx, bad_url, params, unavailable};
use crate::error::{Error, Result};

const MOST_RUNS_OF_A_CHANGE: u32 = 10;
/// A change that has met others so often is run alone on this node, and starts counting anew:
/// of many changes of one row it would go on losing to those that come fresh.
const MEETINGS_BEFORE_ALONE: u32 = 3;
/// A migration may rewrite a large table.
const MIGRATION_TIMEOUT: Duration = Duration::from_secs(6 * 60 * 60);

pub(super) struct Postgres {
    pool: Pool,
    statement_timeout: Duration,
    /// Shared by the changes that run, or held by one that keeps meeting others. Fair.
    turns: RwLock<()>,
}

impl Postgres {
    pub fn open(url: &str, options: &Options) -> Result<Self> {
        let hosts = Hosts::parse(url, options)?;
        let create_timeout = hosts.patience();
        let recycling = ManagerConfig { recycling_method: RecyclingMethod::Fast };
        let manager = Manager::from_connect(tokio_postgres::Config::new(), hosts, recycling);
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
        Ok(Self { pool, statement_timeout: options.statement_timeout, turns: RwLock::new(()) })
    }

    pub async fn write<T, F>(&self, manner: Manner, change: F) -> Result<T>
    where
        F: AsyncFn(&mut Tx) -> Result<T>,
    {
        let (begin, limit) = match manner {
            Manner::Change => ("BEGIN ISOLATION LEVEL SERIALIZABLE READ WRITE", self.statement_timeout),
            // After the wait for another node's migration, the next statement must see its work.
            Manner::Migration => ("BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE", MIGRATION_TIMEOUT),
        };
        let mut lost_before = false;
        for run in 1..=MEETINGS_BEFORE_ALONE + MOST_RUNS_OF_A_CHANGE {
            // Taken before a connection is, and given back before a pause.
            let (mut shared, mut alone) = (None, None);
            if manner == Manner::Change {
                let taken = if run <= MEETINGS_BEFORE_ALONE {
                    timeout(self.statement_timeout, self.turns.read()).await.map(|turn| shared = Some(turn))
                } else {
                    timeout(self.statement_timeout, self.turns.write()).await.map(|turn| alone = Some(turn))
                };
                taken.map_err(|_| unavailable("too many changes are waiting", 1))?;
            }
            let mut tx = self.begin(begin, limit).await?;
            postgres(&mut tx).runs_again = true;
            let outcome = change(&mut tx).await;
            let outcome = tx.verdict(outcome);
            let lent = postgres(&mut tx);
            match outcome {
                Ok(value) => match lent.commit().await {
                    Ok(()) => return Ok(value),
                    Err(Error::Again) => {}
                    Err(error) => return Err(error),
                },
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
            sleep(pause(run.min(MEETINGS_BEFORE_ALONE))).await;
        }
        Err(unavailable("too many changes met each other", 1))
    }

    pub async fn reader(&self) -> Result<Tx> {
        let lent = Lent::new(connection(&self.pool).await?, self.pool.clone(), self.statement_timeout);
        Ok(Tx { arm: Arm::Postgres(lent), failed: false })
    }

    pub async fn snapshot(&self) -> Result<Tx> {
        // At the default level two statements would not agree.
        self.begin("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY", self.statement_timeout).await
    }

    async fn begin(&self, begin: &'static str, limit: Duration) -> Result<Tx> {
        let mut lost_before = false;
        loop {
            let mut tx = self.reader().await?;
            let lent = postgres(&mut tx);
            lent.limit = limit;
            // Before it is sent: a caller who leaves now must not leave a transaction behind.
            lent.open = true;
            match lent.script(begin).await {
                Ok(()) => return Ok(tx),
                Err(_) if lent.lost && !lost_before => lost_before = true,
                Err(error) => return Err(error),
            }
        }
    }

    pub fn close(&self) {
        self.pool.close();
    }
}

fn postgres(tx: &mut Tx) -> &mut Lent {
    match &mut tx.arm {
        Arm::Postgres(lent) => lent,
        Arm::Sqlite(_) => unreachable!("connections of this file are PostgreSQL's"),
    }
}

/// Doubled with each run, from about 1 ms, with chance so that two do not meet again.
fn pause(run: u32) -> Duration {
    let longest = 1_000 << run.min(8);
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

pub(super) async fn connection(pool: &Pool) -> Result<Object> {
    pool.get().await.map_err(|cause| match cause {
        PoolError::Timeout(TimeoutType::Wait) => unavailable("every connection to the database is busy", 1),
        PoolError::Timeout(TimeoutType::Create | TimeoutType::Recycle) => {
            unavailable("the database does not answer", 2)
        }
        PoolError::Backend(cause) => cannot_connect(&cause),
        PoolError::Closed => unavailable("the database is closed", 5),
        PoolError::NoRuntimeSpecified | PoolError::PostCreateHook(_) => {
            Error::caused("taking a connection", cause)
        }
    })
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
