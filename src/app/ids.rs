//! Hands out ids. A node takes a block of numbers from the database and gives them one by one, so
//! that an ordinary change needs no round trip for its id. What is left of a block at exit is lost.

use std::collections::HashMap;
use std::hash::Hash;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Mutex as Turn;

use crate::domain::ids::{Id, OrganizationId};
use crate::error::{Error, Result};
use crate::store;
use crate::store::engine::Db;

pub struct Ids {
    db: Db,
    left: Blocks<&'static str>,
    /// Ordinals of creation, by organization.
    ordinals: Blocks<OrganizationId>,
}

impl Ids {
    pub fn new(db: Db) -> Self {
        Self { db, left: Blocks::default(), ordinals: Blocks::default() }
    }

    /// A new id, never given before and never given again.
    pub async fn next<T: Id>(&self) -> Result<T> {
        let take = async |_| {
            let first = self.db.write(async move |tx| store::ids::take::<T>(tx, T::BLOCK).await).await?;
            Ok(first..first + T::BLOCK)
        };
        let number = self.left.next(T::KIND, take).await?;
        T::from_number(number).ok_or_else(|| Error::internal(format!("{number} is no {}", T::KIND)))
    }

    /// The place of a new account among those of its organization: later ones of this node are behind it.
    pub async fn ordinal(&self, organization: OrganizationId) -> Result<i64> {
        let take = async |before: i64| {
            // Few for a node that makes one account, many for one that makes them all the time.
            let count = (2 * before).clamp(store::lists::FEWEST_TAKEN, store::lists::MOST_TAKEN);
            self.db.write(async move |tx| store::lists::take_ordinals(tx, organization, count).await).await
        };
        self.ordinals.next(organization, take).await
    }
}

/// Blocks of numbers, each by what it is for.
struct Blocks<K>(Mutex<HashMap<K, Block>>);

#[derive(Default)]
struct Block {
    left: Range<i64>,
    /// How many there were at first.
    size: i64,
    taking: Arc<Taking>,
}

#[derive(Default)]
struct Taking {
    /// Held by the one who takes a block for all who wait; with what went wrong last.
    turn: Turn<Option<Error>>,
    failures: AtomicU64,
}

impl<K> Default for Blocks<K> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Copy + Eq + Hash> Blocks<K> {
    /// The next number; where the block is used up, of a new one. `take` gets the size of the one before.
    ///
    /// # Errors
    /// Those of `take`: a failure is that of all who waited for it.
    async fn next<F>(&self, key: K, take: impl FnOnce(i64) -> F) -> Result<i64>
    where
        F: Future<Output = Result<Range<i64>>>,
    {
        let number = |block: &mut Block| block.left.next();
        if let Some(number) = self.with(key, number) {
            return Ok(number);
        }
        let taking = self.with(key, |block| Arc::clone(&block.taking));
        let failures = taking.failures.load(Ordering::Relaxed);
        let mut failed = taking.turn.lock().await;
        if let Some(number) = self.with(key, number) {
            return Ok(number);
        }
        if let Some(error) = failed.as_ref().filter(|_| taking.failures.load(Ordering::Relaxed) != failures) {
            return Err(error.clone());
        }
        match take(self.with(key, |block| block.size)).await {
            Ok(mut left) => {
                let (size, first) = (left.end - left.start, left.next());
                self.with(key, |block| (block.left, block.size) = (left, size));
                first.ok_or_else(|| Error::internal("a block without numbers"))
            }
            Err(error) => {
                *failed = Some(error.clone());
                taking.failures.fetch_add(1, Ordering::Relaxed);
                Err(error)
            }
        }
    }

    fn with<T>(&self, key: K, work: impl FnOnce(&mut Block) -> T) -> T {
        work(self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(key).or_default())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::time::Duration;

    use super::*;

    /// What a hundred get who come at the same time, where `take` answers this.
    async fn a_hundred(answer: fn(i64) -> Result<Range<i64>>) -> (Vec<Result<i64>>, i64) {
        let (blocks, taken) = (Arc::new(Blocks::default()), Arc::new(Mutex::new(0)));
        let tasks: Vec<_> = (0..100)
            .map(|_| {
                let (blocks, taken) = (Arc::clone(&blocks), Arc::clone(&taken));
                tokio::spawn(async move {
                    let take = async |_| {
                        let count = {
                            let mut taken = taken.lock().expect("a count");
                            *taken += 1;
                            *taken
                        };
                        tokio::time::sleep(Duration::from_millis(1)).await;
                        answer(count)
                    };
                    blocks.next("zuid", take).await
                })
            })
            .collect();
        let mut numbers = Vec::new();
        for task in tasks {
            numbers.push(task.await.expect("no panic"));
        }
        let taken = *taken.lock().expect("a count");
        (numbers, taken)
    }

    #[tokio::test]
    async fn one_takes_a_block_for_all_who_wait() {
        let (numbers, taken) = a_hundred(|count| Ok(count * 1000..count * 1000 + 40)).await;
        let distinct: BTreeSet<i64> = numbers.into_iter().map(|number| number.expect("a number")).collect();
        assert_eq!((distinct.len(), taken), (100, 3));
    }

    #[tokio::test]
    async fn a_failure_is_that_of_all_who_waited_for_it() {
        let (numbers, taken) = a_hundred(|_| Err(Error::Stale)).await;
        assert!(numbers.iter().all(|number| matches!(number, Err(Error::Stale))), "{numbers:?}");
        assert_eq!(taken, 1);
    }
}
