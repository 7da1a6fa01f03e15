//! What Mailward does, for every door. `change` is the one path by which an account changes;
//! `accounts` lists the modes. Nothing here knows HTTP, SQL or a mail server's protocol.

pub mod accounts;
pub mod backup;
pub mod change;
pub mod clients;
pub mod demo;
pub mod hasher;
pub mod ids;
pub mod journal;
pub mod mail;
pub mod oauth;
pub mod open;
pub mod operator;
pub mod organizations;
pub mod password;
pub mod random;
pub mod verifier;
pub mod worker;

use std::sync::Arc;

use tokio::sync::Notify;

use crate::app::hasher::{Hasher, HasherOptions};
use crate::app::ids::Ids;
use crate::app::mail::projector::Projector;
use crate::app::random::Random;
use crate::clock::Clock;
use crate::config::Config;
use crate::domain::password::Cost;
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
    pub projector: Projector,
    /// Told when a commit left effects in the outbox.
    pub wake_worker: Notify,
}

impl std::ops::Deref for App {
    type Target = Parts;
    fn deref(&self) -> &Parts {
        &self.0
    }
}

impl App {
    /// # Errors
    /// `BadValue` for hashing costs that the mail servers could not verify.
    pub async fn new(db: Db, config: Config, clock: Clock, random: Random) -> Result<Self> {
        let passwords = &config.passwords;
        let cores = HasherOptions::default().threads;
        let hasher = Hasher::new(HasherOptions {
            threads: if passwords.threads == 0 { cores } else { passwords.threads },
            queue: passwords.queue,
            cost: Cost { memory_kib: passwords.memory_kib, passes: passwords.passes, lanes: passwords.lanes },
        })?;
        let projector = Projector::open(&db, &config, &random).await?;
        Ok(Self(Arc::new(Parts {
            projector,
            ids: Ids::new(db.clone()),
            db,
            clock,
            random,
            config,
            hasher,
            wake_worker: Notify::new(),
        })))
    }
}
