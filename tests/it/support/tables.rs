//! Everything a database holds, as text, past the product's own statements: to see that nothing
//! was changed, and that nothing was kept that should not be.

use std::collections::BTreeMap;

use mailward::store::engine::EngineKind;
use rusqlite::types::ValueRef;
use rusqlite::{Connection, OpenFlags};
use tokio_postgres::{Client, NoTls, SimpleQueryMessage};

use super::databases::TestDb;

/// Tables that a refused request may touch: what counts tries and refusals, and the numbers that
/// were taken from the table of ids before the refusal.
pub const COUNTERS: &[&str] = &["id_block", "refusal", "throttle"];

/// The rows of each table, sorted; a byte string is in hex.
pub type Contents = BTreeMap<String, Vec<String>>;

/// A second look into a test's database.
pub enum Tables {
    Sqlite(Connection),
    Postgres(Client),
}

impl Tables {
    pub async fn of(test: &TestDb) -> Self {
        match test.db.engine() {
            EngineKind::Sqlite => {
                let path = test.url.strip_prefix("sqlite:").expect("a path");
                let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY);
                Self::Sqlite(connection.expect("the file can be read"))
            }
            EngineKind::Postgres => {
                let (client, connection) =
                    tokio_postgres::connect(&test.url, NoTls).await.expect("a connection");
                tokio::spawn(connection);
                Self::Postgres(client)
            }
        }
    }

    /// Every table but those.
    pub async fn without(&self, left_out: &[&str]) -> Contents {
        let mut contents = Contents::new();
        for table in self.names().await {
            if !left_out.contains(&table.as_str()) {
                let mut rows = self.rows(&table).await;
                rows.sort();
                contents.insert(table, rows);
            }
        }
        assert!(contents.len() > 10, "the tables were not found: {:?}", contents.keys());
        contents
    }

    async fn names(&self) -> Vec<String> {
        match self {
            Self::Sqlite(connection) => strings(
                connection,
                "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'",
            ),
            Self::Postgres(client) => {
                first_columns(client, "SELECT tablename FROM pg_tables WHERE schemaname = 'public'").await
            }
        }
    }

    async fn rows(&self, table: &str) -> Vec<String> {
        match self {
            Self::Sqlite(connection) => strings(connection, &format!("SELECT * FROM {table}")),
            Self::Postgres(client) => {
                first_columns(client, &format!("SELECT whole::text FROM {table} whole")).await
            }
        }
    }
}

async fn first_columns(client: &Client, sql: &str) -> Vec<String> {
    let messages = client.simple_query(sql).await.expect("the tables can be read");
    messages
        .iter()
        .filter_map(|message| match message {
            SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
            _ => None,
        })
        .collect()
}

fn strings(connection: &Connection, sql: &str) -> Vec<String> {
    let mut statement = connection.prepare(sql).expect("the tables can be read");
    let columns = statement.column_count();
    let mut rows = statement.raw_query();
    let mut all = Vec::new();
    while let Some(row) = rows.next().expect("a row") {
        let cell = |place| match row.get_ref(place).expect("a column") {
            ValueRef::Null => "NULL".to_owned(),
            ValueRef::Integer(number) => number.to_string(),
            ValueRef::Real(number) => number.to_string(),
            ValueRef::Text(text) => String::from_utf8_lossy(text).into_owned(),
            ValueRef::Blob(bytes) => hex::encode(bytes),
        };
        all.push((0..columns).map(cell).collect::<Vec<_>>().join("|"));
    }
    all
}

/// What differs, in few words.
pub fn difference(before: &Contents, after: &Contents) -> Option<String> {
    let changed: Vec<String> = before
        .iter()
        .filter(|(table, rows)| after.get(*table) != Some(*rows))
        .map(|(table, rows)| {
            let new: Vec<_> =
                after.get(table).into_iter().flatten().filter(|row| !rows.contains(row)).collect();
            format!("{table}: now {new:?}")
        })
        .collect();
    (!changed.is_empty()).then(|| changed.join("\n"))
}
