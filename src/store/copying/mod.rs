//! Every row of a database, table by table, in a form that is the same on both engines: for moving from
//! one to the other. The tables are read from the schema, so that none is forgotten. Start with
//! [`tables`]; `rows` reads and writes them, `digest` says whether two hold the same.

mod digest;
mod rows;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::{Mutex, PoisonError};

pub use digest::Digest;
pub use rows::{PAGE, Record, carried, insert, is_empty, page};

use crate::error::{Error, Result};
use crate::store::engine::{Db, Tx, params, schema};
use crate::store::settings;

/// Tables that do not move, each with its reason.
const STAY: &[(&str, &str)] = &[
    ("lease", "what a node of the one database is doing"),
    ("mail_agent_standing", "what the files of mail hosts hold of the one database"),
    ("migration", "each database's own record; compared before"),
];

/// Facts about the one database that do not hold for the other.
const SETTINGS_THAT_STAY: &[&str] =
    &[settings::INSTANCE, settings::READ_ONLY, settings::SWEPT_TRANSACTION, settings::UNFINISHED_COPY];

/// Columns that mean nothing in another database: the number of the transaction that wrote the row.
/// Below every number, it says that the transaction is over.
const NOTHING_ELSEWHERE: &[(&str, &str)] = &[("audit_link", "txid"), ("outbox", "txid")];

/// The index of trigrams, which the schema does not tell: each engine has a table of its own kind.
const PERSON_TEXT: &str = "person_text";

/// A table and the statements that read and write it.
#[derive(Debug)]
pub struct Table {
    pub name: String,
    /// In the order of their names.
    columns: Vec<Column>,
    /// The places of the primary key's columns among the columns.
    key: Vec<usize>,
    /// The column that numbers its rows.
    pub numbered: Option<String>,
    first_page: &'static str,
    next_page: &'static str,
    insert_one: &'static str,
    insert_many: &'static str,
}

#[derive(Debug)]
struct Column {
    name: String,
    kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// As it is.
    Plain,
    /// SQLite has no booleans.
    Boolean,
    /// Zero in the other database.
    Nothing,
}

/// The tables that move, those that others refer to first.
///
/// # Errors
/// `Internal` when the schema cannot be understood.
pub async fn tables(db: &Db) -> Result<Vec<Table>> {
    parse(&schema(db).await?)
}

/// Empties what a database that was only looked at may hold, and marks it until [`finish`].
pub async fn begin(tx: &mut Tx) -> Result<()> {
    tx.execute("DELETE FROM lease", params![]).await?;
    tx.execute("DELETE FROM setting", params![]).await?;
    settings::set(tx, settings::UNFINISHED_COPY, "yes").await
}

/// Takes the mark off.
pub async fn finish(tx: &mut Tx) -> Result<()> {
    settings::delete(tx, settings::UNFINISHED_COPY).await
}

/// Whether a copy into this database was begun and not finished.
pub async fn is_unfinished(tx: &mut Tx) -> Result<bool> {
    Ok(settings::get(tx, settings::UNFINISHED_COPY).await?.is_some())
}

fn parse(schema: &[String]) -> Result<Vec<Table>> {
    let unclear = |line: &str| Error::internal(format_args!("the schema says {line}"));
    let mut columns: BTreeMap<&str, Vec<Column>> = BTreeMap::new();
    let mut keys: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    let mut parents: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    let mut numbered: BTreeMap<&str, &str> = BTreeMap::new();
    for line in schema {
        if let Some(rest) = line.strip_prefix("column ") {
            let (name, kind) = rest.split_once(' ').ok_or_else(|| unclear(line))?;
            let (table, column) = name.split_once('.').ok_or_else(|| unclear(line))?;
            if kind.contains(" numbered") {
                numbered.insert(table, column);
            }
            let kind = if NOTHING_ELSEWHERE.contains(&(table, column)) {
                Kind::Nothing
            } else if kind.starts_with("boolean") {
                Kind::Boolean
            } else {
                Kind::Plain
            };
            columns.entry(table).or_default().push(Column { name: column.to_owned(), kind });
        } else if let Some(rest) = line.strip_prefix("primary key ") {
            let table = rest.split(' ').next().ok_or_else(|| unclear(line))?;
            keys.insert(table, listed(rest).ok_or_else(|| unclear(line))?);
        } else if let Some(rest) = line.strip_prefix("foreign key ") {
            let table = rest.split(' ').next().ok_or_else(|| unclear(line))?;
            let parent = rest.split_once("REFERENCES ").and_then(|(_, parent)| parent.split('(').next());
            parents.entry(table).or_default().insert(parent.ok_or_else(|| unclear(line))?.trim());
        }
    }
    let trigrams = ["organization_id", "rowid", "text"];
    let trigrams = trigrams.map(|name| Column { name: name.to_owned(), kind: Kind::Plain });
    columns.insert(PERSON_TEXT, trigrams.into());
    keys.insert(PERSON_TEXT, vec!["rowid"]);
    columns.retain(|name, _| !STAY.iter().any(|(stays, _)| stays == name));

    let mut ordered: Vec<Table> = Vec::new();
    while !columns.is_empty() {
        let waits = |name: &str| {
            let mut of = parents.get(name).into_iter().flatten();
            of.any(|parent| *parent != name && columns.contains_key(parent))
        };
        let ready = columns.keys().copied().find(|name| !waits(name));
        let name = ready.ok_or_else(|| Error::internal("tables refer to each other in a circle"))?;
        let mut own = columns.remove(name).unwrap_or_default();
        own.sort_by(|one, other| one.name.cmp(&other.name));
        let key = keys.get(name).ok_or_else(|| unclear(name))?;
        let key = key.iter().map(|part| own.iter().position(|column| column.name == *part));
        let key = key.collect::<Option<Vec<usize>>>().ok_or_else(|| unclear(name))?;
        let numbered = numbered.get(name).map(|column| (*column).to_owned());
        ordered.push(Table::new(name.to_owned(), own, key, numbered));
    }
    Ok(ordered)
}

/// The names between the first parentheses.
fn listed(line: &str) -> Option<Vec<&str>> {
    let (_, rest) = line.split_once('(')?;
    Some(rest.split_once(')')?.0.split(", ").collect())
}

impl Table {
    fn new(name: String, columns: Vec<Column>, key: Vec<usize>, numbered: Option<String>) -> Self {
        let names: Vec<&str> = columns.iter().map(|column| column.name.as_str()).collect();
        let keys: Vec<&str> = key.iter().map(|place| names[*place]).collect();
        let (all, keys) = (names.join(", "), keys.join(", "));
        let marks = |from: usize, count: usize| {
            let marks: Vec<String> = (from..from + count).map(|number| format!("${number}")).collect();
            format!("({})", marks.join(", "))
        };
        let rows: Vec<String> =
            (0..rows::AT_ONCE).map(|row| marks(row * names.len() + 1, names.len())).collect();
        let select = format!("SELECT {all} FROM {name}");
        let order = format!("ORDER BY {keys} LIMIT {PAGE}");
        let insert = format!("INSERT INTO {name} ({all}) VALUES ");
        Self {
            first_page: kept(format!("{select} {order}")),
            next_page: kept(format!("{select} WHERE ({keys}) > {} {order}", marks(1, key.len()))),
            insert_one: kept(format!("{insert}{}", marks(1, names.len()))),
            insert_many: kept(format!("{insert}{}", rows.join(", "))),
            name,
            columns,
            key,
            numbered,
        }
    }
}

/// Statements live as long as the program, also these; each text is kept once.
fn kept(sql: String) -> &'static str {
    static KEPT: Mutex<Option<HashSet<&'static str>>> = Mutex::new(None);
    let mut kept = KEPT.lock().unwrap_or_else(PoisonError::into_inner);
    let kept = kept.get_or_insert_default();
    if let Some(known) = kept.get(sql.as_str()).copied() {
        return known;
    }
    let sql: &'static str = Box::leak(sql.into_boxed_str());
    kept.insert(sql);
    sql
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_come_after_those_they_refer_to() {
        let schema = [
            "column a.id bigint not null",
            "column a.b_id bigint not null",
            "column b.id bigint not null numbered",
            "column b.on boolean",
            "column lease.name text not null",
            "foreign key a (b_id) REFERENCES b(id)",
            "primary key a a_pkey (b_id, id)",
            "primary key b b_pkey (id)",
            "primary key lease lease_pkey (name)",
        ]
        .map(str::to_owned);
        let tables = parse(&schema).expect("tables");
        let names: Vec<&str> = tables.iter().map(|table| table.name.as_str()).collect();
        assert_eq!(names, ["b", "a", PERSON_TEXT]);
        assert_eq!(tables[0].numbered.as_deref(), Some("id"));
        assert_eq!(tables[0].columns[1].kind, Kind::Boolean);
        let next =
            format!("SELECT b_id, id FROM a WHERE (b_id, id) > ($1, $2) ORDER BY b_id, id LIMIT {PAGE}");
        assert_eq!(tables[1].next_page, next);
        assert_eq!(tables[1].insert_one, "INSERT INTO a (b_id, id) VALUES ($1, $2)");
    }
}
