//! Hands out ids. A node takes a block of numbers from the database and gives them one by one, so
//! that an ordinary change needs no round trip for its id. What is left of a block at exit is lost.

use std::collections::HashMap;
use std::sync::Mutex;

use crate::domain::ids::Id;
use crate::error::{Error, Result};
use crate::store;
use crate::store::engine::Db;

pub struct Ids {
    db: Db,
    left: Mutex<HashMap<&'static str, std::ops::Range<i64>>>,
}

impl Ids {
    pub fn new(db: Db) -> Self {
        Self { db, left: Mutex::new(HashMap::new()) }
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

    fn blocks(&self) -> std::sync::MutexGuard<'_, HashMap<&'static str, std::ops::Range<i64>>> {
        self.left.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}
