//! The counters behind columns that number their rows (`{NEW_ID}`), for who moves rows to another
//! database: a number that was given once must not be given again there.

use super::{EngineKind, Tx, params};
use crate::error::Result;

impl Tx {
    /// The last number that the column gave; 0 for none.
    pub async fn last_number(&mut self, table: &str, column: &str) -> Result<i64> {
        let found = match self.engine() {
            EngineKind::Postgres => {
                let sql =
                    "SELECT pg_sequence_last_value(CAST(pg_get_serial_sequence($1, $2) AS regclass)) AS last";
                self.query_opt(sql, params![table, column], |row| row.get::<Option<i64>>("last"))
                    .await?
                    .flatten()
            }
            EngineKind::Sqlite => {
                let sql = "SELECT seq AS last FROM sqlite_sequence WHERE name = $1";
                self.query_opt(sql, params![table], |row| row.get("last")).await?
            }
        };
        Ok(found.unwrap_or(0))
    }

    /// The next number that the column gives is higher than this.
    pub async fn number_after(&mut self, table: &str, column: &str, last: i64) -> Result<()> {
        if last == 0 {
            return Ok(());
        }
        match self.engine() {
            EngineKind::Postgres => {
                let sql = "SELECT setval(CAST(pg_get_serial_sequence($1, $2) AS regclass), $3) AS last";
                self.query_one(sql, params![table, column, last], |row| row.get::<i64>("last"))
                    .await
                    .map(drop)
            }
            EngineKind::Sqlite => {
                self.execute("DELETE FROM sqlite_sequence WHERE name = $1", params![table]).await?;
                let sql = "INSERT INTO sqlite_sequence (name, seq) VALUES ($1, $2)";
                self.execute_one(sql, params![table, last]).await
            }
        }
    }
}
