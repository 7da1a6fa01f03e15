//! Hands out ids. A node takes a block of numbers from the database and gives them one by one, so
//! that an ordinary change needs no round trip for its id. What is left of a block at exit is lost.

use std::collections::HashMap;
use std::hash::Hash;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::domain::ids::{Id, OrganizationId};
use crate::error::{Error, Result};
use crate::store;
use crate::store::engine::Db;

pub struct Ids {
    db: Db,
    blocks: Mutex<HashMap<&'static str, Range<i64>>>,
    /// Ordinals of creation, by organization.
    ordinals: Mutex<HashMap<OrganizationId, Range<i64>>>,
    /// Held by who fetches for all that wait; what went wrong last.
    fetching: tokio::sync::Mutex<Option<Error>>,
    /// How often it went wrong.
    failures: AtomicU64,
}

impl Ids {
    pub fn new(db: Db) -> Self {
        let (blocks, ordinals) = (Mutex::default(), Mutex::default());
        Self { db, blocks, ordinals, fetching: tokio::sync::Mutex::default(), failures: AtomicU64::new(0) }
    }

    /// A new id, never given before and never given again.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn next<T: Id>(&self) -> Result<T> {
        let take = async {
            let first = self.db.write(async move |tx| store::ids::take::<T>(tx, T::BLOCK).await).await?;
            Ok(first..first + T::BLOCK)
        };
        let number = self.next_of(&self.blocks, T::KIND, take).await?;
        T::from_number(number).ok_or_else(|| Error::internal(format!("{number} is no {}", T::KIND)))
    }

    /// The place of a new account among those of its organization: later ones of this node are behind it.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn ordinal(&self, organization: OrganizationId) -> Result<i64> {
        let take = self.db.write(async move |tx| store::lists::take_ordinals(tx, organization).await);
        self.next_of(&self.ordinals, organization, take).await
    }

    /// The next number of a block, or of a new one where it is used up: one caller fetches it, and whoever waits
    /// meanwhile shares it, or the failure.
    async fn next_of<K: Copy + Eq + Hash>(
        &self,
        blocks: &Mutex<HashMap<K, Range<i64>>>,
        key: K,
        take: impl Future<Output = Result<Range<i64>>>,
    ) -> Result<i64> {
        if let Some(number) = next(blocks, key) {
            return Ok(number);
        }
        let failures = self.failures.load(Ordering::Acquire);
        let mut last_failure = self.fetching.lock().await;
        if self.failures.load(Ordering::Acquire) != failures
            && let Some(error) = &*last_failure
        {
            return Err(error.clone());
        }
        if let Some(number) = next(blocks, key) {
            return Ok(number);
        }
        match take.await {
            Ok(mut block) => {
                let number = block.next().ok_or_else(|| Error::internal("a block without numbers"))?;
                lock(blocks).insert(key, block);
                Ok(number)
            }
            Err(error) => {
                *last_failure = Some(error.clone());
                self.failures.fetch_add(1, Ordering::AcqRel);
                Err(error)
            }
        }
    }
}

fn next<K: Eq + Hash>(blocks: &Mutex<HashMap<K, Range<i64>>>, key: K) -> Option<i64> {
    lock(blocks).entry(key).or_default().next()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[tokio::test]
    async fn whoever_waits_for_a_block_shares_it_or_the_failure() {
        let folder = tempfile::tempdir().expect("a folder");
        let url = format!("sqlite:{}", folder.path().join("db").display());
        let db = Db::open(&url, &crate::store::engine::Options::default()).expect("opens");
        let (ids, fetched, blocks) =
            (Arc::new(Ids::new(db)), Arc::new(AtomicU64::new(0)), Arc::new(Mutex::default()));
        let some = async |most: usize| {
            let mut all = tokio::task::JoinSet::new();
            for _ in 0..most {
                let (ids, fetched, blocks) = (Arc::clone(&ids), Arc::clone(&fetched), Arc::clone(&blocks));
                all.spawn(async move {
                    let take = async {
                        let first = fetched.fetch_add(1, Ordering::Relaxed).cast_signed() * 10;
                        tokio::task::yield_now().await;
                        if first == 10 { Err(Error::internal("once")) } else { Ok(first..first + 10) }
                    };
                    ids.next_of(&blocks, "kind", take).await
                });
            }
            let (good, bad): (Vec<_>, Vec<_>) = all.join_all().await.into_iter().partition(Result::is_ok);
            let mut good: Vec<i64> = good.into_iter().flatten().collect();
            good.sort_unstable();
            (good, bad.len())
        };
        assert_eq!(some(10).await, ((0..10).collect(), 0));
        assert_eq!(fetched.load(Ordering::Relaxed), 1, "ten were given for one fetch");
        assert_eq!(some(7).await, (Vec::new(), 7), "all that waited are told");
        assert_eq!(some(10).await, ((20..30).collect(), 0));
        assert_eq!(fetched.load(Ordering::Relaxed), 3);
    }
}
