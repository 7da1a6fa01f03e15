//! Hands out ids. A node takes a block of numbers from the database and gives them one by one, so
//! that an ordinary change needs no round trip for its id. What is left of a block at exit is lost.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::domain::ids::{Id, OrganizationId};
use crate::error::{Error, Result};
use crate::store;
use crate::store::engine::Db;

pub struct Ids {
    db: Db,
    left: Mutex<HashMap<&'static str, Range<i64>>>,
    /// Ordinals of creation, by organization.
    ordinals: Mutex<HashMap<OrganizationId, Range<i64>>>,
}

impl Ids {
    pub fn new(db: Db) -> Self {
        Self { db, left: Mutex::default(), ordinals: Mutex::default() }
    }

    /// A new id, never given before and never given again.
    pub async fn next<T: Id>(&self) -> Result<T> {
        loop {
            if let Some(number) = self.blocks().entry(T::KIND).or_default().next() {
                return T::from_number(number)
                    .ok_or_else(|| Error::internal(format!("{number} is no {}", T::KIND)));
            }
            let first = self.db.write(async move |tx| store::ids::take::<T>(tx, T::BLOCK).await).await?;
            let mut blocks = self.blocks();
            let block = blocks.entry(T::KIND).or_default();
            // Whoever fetched a block meanwhile keeps it; ours would be wasted, so it is used when theirs is empty.
            if block.is_empty() {
                *block = first..first + T::BLOCK;
            }
        }
    }

    /// The place of a new account among those of its organization: later ones of this node are behind it.
    pub async fn ordinal(&self, organization: OrganizationId) -> Result<i64> {
        loop {
            if let Some(ordinal) = lock(&self.ordinals).entry(organization).or_default().next() {
                return Ok(ordinal);
            }
            let taken =
                self.db.write(async move |tx| store::lists::take_ordinals(tx, organization).await).await?;
            let mut ordinals = lock(&self.ordinals);
            let left = ordinals.entry(organization).or_default();
            if left.is_empty() {
                *left = taken;
            }
        }
    }

    fn blocks(&self) -> MutexGuard<'_, HashMap<&'static str, Range<i64>>> {
        lock(&self.left)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
