//! What Mailward does, for every door. `change` is the one path by which an account changes;
//! `accounts` lists the modes. Nothing here knows HTTP, SQL or a mail server's protocol.

pub mod accounts;
pub mod acquainted;
pub mod audit;
pub mod backup;
pub mod call;
pub mod change;
pub mod clients;
pub mod compromise;
pub mod confirmed;
pub mod copy;
pub mod demo;
pub mod entries;
pub mod expiry;
pub mod factors;
pub mod forecast;
pub mod hasher;
pub mod ids;
pub mod journal;
pub mod keys;
pub mod mail;
pub mod metrics;
pub mod oauth;
pub mod once;
pub mod open;
pub mod operator;
pub mod organizations;
pub mod own;
pub mod passkeys;
pub mod password;
pub mod people;
pub mod random;
pub mod read_only;
pub mod recovery;
pub mod throttle;
pub mod tidy;
pub mod verifier;
pub mod web_sessions;
pub mod worker;

use std::sync::Arc;

use tokio::sync::{Notify, Semaphore};
use tokio_util::task::TaskTracker;

use crate::app::acquainted::Acquainted;
use crate::app::hasher::{Hasher, HasherOptions};
use crate::app::ids::Ids;
use crate::app::keys::Keys;
use crate::app::mail::agents::ConnectedHosts;
use crate::app::mail::projector::Projector;
use crate::app::metrics::Metrics;
use crate::app::once::Turns;
use crate::app::random::Random;
use crate::clock::Clock;
use crate::config::Config;
use crate::error::Result;
use crate::store::engine::Db;

/// A running Mailward: everything a door needs. Cheap to clone.
#[derive(Clone)]
pub struct App(Arc<Parts>);

pub struct Parts {
    pub db: Db,
    pub clock: Clock,
    pub random: Random,
    pub config: Config,
    pub hasher: Hasher,
    pub ids: Ids,
    pub keys: Keys,
    pub projector: Projector,
    /// The agents of mail hosts that this node holds the links to.
    pub agents: ConnectedHosts,
    pub metrics: Metrics,
    /// Calls with an idempotency key that are being made.
    pub turns: Turns,
    /// Credentials that were valid within the last minute.
    pub acquainted: Acquainted,
    /// Told when a commit left effects in the outbox.
    pub wake_worker: Notify,
    /// One for each request that may be under way.
    pub places: Semaphore,
    /// Accepted work that no request waits for. Closed when the service is asked to stop, which then lets it end.
    pub background: TaskTracker,
}

impl std::ops::Deref for App {
    type Target = Parts;
    fn deref(&self) -> &Parts {
        &self.0
    }
}

impl App {
    /// # Errors
    /// `BadValue` for hashing costs that the mail servers could not verify, and for a key file that is
    /// not this database's or not private.
    pub async fn new(db: Db, config: Config, clock: Clock, random: Random) -> Result<Self> {
        let passwords = &config.passwords;
        let cores = HasherOptions::default().threads;
        let hasher = Hasher::new(HasherOptions {
            threads: if passwords.threads == 0 { cores } else { passwords.threads },
            queue: passwords.queue,
            cost: passwords.cost(),
        })?;
        let keys = Keys::load_or_create(&db, &config, Random::System, clock.now()).await?;
        let projector = Projector::open(&db, &config, &random).await?;
        Ok(Self(Arc::new(Parts {
            projector,
            keys,
            places: Semaphore::new(config.server.most_at_once),
            ids: Ids::new(db.clone()),
            agents: ConnectedHosts::new(config.database.pool_size),
            db,
            clock,
            random,
            config,
            hasher,
            metrics: Metrics::default(),
            turns: Turns::default(),
            acquainted: Acquainted::default(),
            wake_worker: Notify::new(),
            background: TaskTracker::new(),
        })))
    }
}
