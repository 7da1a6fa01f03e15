//! A database that takes no change for a while. Triggers in the database itself refuse every statement
//! that would touch a row, so that every node and every program obeys from the same moment on, and
//! nothing is asked while there is no hold.

use super::{EngineKind, Tx, params};
use crate::error::Result;

/// PostgreSQL: what the trigger's function raises, from the part of the space that nobody else uses.
pub(super) const HELD: &str = "MW001";

impl Tx {
    /// From the commit of this transaction on, no table takes a change (but the list of migrations). On
    /// PostgreSQL the changes that run are waited for; later ones wait for this commit, and are refused.
    pub async fn hold(&mut self) -> Result<()> {
        let engine = self.engine();
        if engine == EngineKind::Postgres {
            self.script(&format!(
                "CREATE OR REPLACE FUNCTION refuse_while_held() RETURNS trigger LANGUAGE plpgsql AS
                 $$ BEGIN RAISE EXCEPTION 'held' USING ERRCODE = '{HELD}'; END $$"
            ))
            .await?;
        }
        for table in self.tables().await? {
            match engine {
                EngineKind::Postgres => {
                    self.script(&format!(
                        "CREATE TRIGGER held BEFORE INSERT OR UPDATE OR DELETE OR TRUNCATE ON {table}
                         FOR EACH STATEMENT EXECUTE FUNCTION refuse_while_held()"
                    ))
                    .await?;
                }
                EngineKind::Sqlite => {
                    for event in ["INSERT", "UPDATE", "DELETE"] {
                        self.script(&format!(
                            "CREATE TRIGGER held_{table}_{event} BEFORE {event} ON {table}
                             BEGIN SELECT RAISE(ABORT, 'held'); END"
                        ))
                        .await?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Ends the hold, with the commit of this transaction; later statements of it may change rows already.
    pub async fn release(&mut self) -> Result<()> {
        match self.engine() {
            EngineKind::Postgres => {
                let tables: Vec<String> = self
                    .query_all(
                        "SELECT CAST(c.relname AS TEXT) AS name
                         FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid
                         WHERE t.tgname = 'held' AND c.relnamespace = current_schema()::regnamespace
                         ORDER BY c.relname",
                        params![],
                        |row| row.get("name"),
                    )
                    .await?;
                for table in tables {
                    self.script(&format!("DROP TRIGGER held ON {table}")).await?;
                }
                self.script("DROP FUNCTION IF EXISTS refuse_while_held()").await
            }
            EngineKind::Sqlite => {
                let triggers: Vec<String> = self
                    .query_all(
                        "SELECT name FROM sqlite_schema WHERE type = 'trigger' AND name GLOB 'held_*'",
                        params![],
                        |row| row.get("name"),
                    )
                    .await?;
                for trigger in triggers {
                    self.script(&format!("DROP TRIGGER {trigger}")).await?;
                }
                Ok(())
            }
        }
    }

    /// Whether there is a hold.
    pub async fn is_held(&mut self) -> Result<bool> {
        let sql = match self.engine() {
            EngineKind::Postgres => {
                "SELECT COUNT(*) AS triggers
                 FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid
                 WHERE t.tgname = 'held' AND c.relnamespace = current_schema()::regnamespace"
            }
            EngineKind::Sqlite => {
                "SELECT COUNT(*) AS triggers FROM sqlite_schema WHERE type = 'trigger' AND name GLOB 'held_*'"
            }
        };
        self.query_one(sql, params![], |row| row.get::<i64>("triggers")).await.map(|triggers| triggers > 0)
    }

    /// The tables that a hold covers. The index of trigrams, a table of SQLite's own kind, takes no
    /// trigger, and is only written together with others.
    async fn tables(&mut self) -> Result<Vec<String>> {
        let sql = match self.engine() {
            EngineKind::Postgres => {
                "SELECT CAST(table_name AS TEXT) AS name FROM information_schema.tables
                 WHERE table_schema = current_schema() AND table_type = 'BASE TABLE' AND table_name <> 'migration'
                 ORDER BY table_name"
            }
            EngineKind::Sqlite => {
                "SELECT name FROM sqlite_schema
                 WHERE type = 'table' AND name NOT GLOB 'sqlite_*' AND name NOT GLOB 'person_text*'
                   AND name <> 'migration'
                 ORDER BY name"
            }
        };
        self.query_all(sql, params![], |row| row.get("name")).await
    }
}
