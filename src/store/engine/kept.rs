//! Answers that a connection to SQLite keeps for as long as nobody changes the database: every request asks whose
//! its token is.

use std::any::Any;
use std::collections::HashMap;

use rusqlite::Connection;

use crate::domain::secret::Fingerprint;

/// Answers at most; beyond that all are forgotten.
const MOST: usize = 256;

#[derive(Default)]
pub(super) struct Kept {
    /// The state of the database that they were read from.
    version: i64,
    answers: HashMap<Question, Box<dyn Any + Send>>,
}

/// Where a statement stands in this program, and its parameter.
type Question = (usize, Fingerprint);

impl Kept {
    /// Forgets what others have changed since. The number counts the commits of other connections alone, so a
    /// connection that writes must not keep anything.
    /// Source: <https://www.sqlite.org/pragma.html#pragma_data_version>.
    pub fn refresh(&mut self, connection: &Connection) -> rusqlite::Result<()> {
        let version =
            connection.prepare_cached("PRAGMA data_version")?.query_row([], |row| row.get::<_, i64>(0))?;
        if version != self.version {
            self.answers.clear();
            self.version = version;
        }
        Ok(())
    }

    pub fn get<T: Clone + 'static>(&self, sql: &'static str, key: &Fingerprint) -> Option<T> {
        self.answers.get(&(sql.as_ptr().addr(), *key))?.downcast_ref().cloned()
    }

    pub fn put(&mut self, sql: &'static str, key: &Fingerprint, answer: impl Send + 'static) {
        if self.answers.len() >= MOST {
            self.answers.clear();
        }
        self.answers.insert((sql.as_ptr().addr(), *key), Box::new(answer));
    }
}
