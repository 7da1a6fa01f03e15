//! Pages of rows on their way from one database to the other.

use super::{Kind, SETTINGS_THAT_STAY, Table};
use crate::error::Result;
use crate::store::engine::{Column, Tx, Value};

/// Rows read at a time.
pub const PAGE: usize = 1_000;
/// Rows written by one statement.
pub(super) const AT_ONCE: usize = 50;

/// One row, its columns in the order of their names. `Debug` shows nothing: it may hold secrets.
pub struct Record(pub(super) Vec<Cell>);

impl std::fmt::Debug for Record {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Record({} columns)", self.0.len())
    }
}

/// What one column holds.
#[derive(PartialEq)]
pub(super) enum Cell {
    Null,
    Bool(bool),
    Int(i64),
    Text(String),
    Bytes(Vec<u8>),
}

impl Column<'_> for Cell {
    fn read(value: Value<'_>) -> Option<Self> {
        Some(match value {
            Value::Null => Self::Null,
            Value::Bool(flag) => Self::Bool(flag),
            Value::Int(number) => Self::Int(number),
            Value::Text(text) => Self::Text(text.to_owned()),
            Value::Bytes(bytes) => Self::Bytes(bytes.to_vec()),
        })
    }
}

impl<'a> From<&'a Cell> for Value<'a> {
    fn from(cell: &'a Cell) -> Self {
        match cell {
            Cell::Null => Self::Null,
            Cell::Bool(flag) => Self::Bool(*flag),
            Cell::Int(number) => Self::Int(*number),
            Cell::Text(text) => Self::Text(text),
            Cell::Bytes(bytes) => Self::Bytes(bytes),
        }
    }
}

/// The rows behind this one in the order of the primary key, the first ones for none; at most [`PAGE`].
pub async fn page(tx: &mut Tx, table: &Table, after: Option<&Record>) -> Result<Vec<Record>> {
    let (sql, key) = match after {
        None => (table.first_page, Vec::new()),
        Some(Record(cells)) => {
            (table.next_page, table.key.iter().map(|place| Value::from(&cells[*place])).collect())
        }
    };
    tx.query_all(sql, &key, |row| {
        let cells = table.columns.iter().map(|column| {
            let cell = row.get::<Cell>(&column.name)?;
            Ok(match (column.kind, cell) {
                (Kind::Nothing, _) => Cell::Int(0),
                (Kind::Boolean, Cell::Int(number)) => Cell::Bool(number != 0),
                (Kind::Boolean | Kind::Plain, cell) => cell,
            })
        });
        cells.collect::<Result<_>>().map(Record)
    })
    .await
}

/// Whether the row moves: some settings are about the one database alone.
pub fn carried(table: &Table, record: &Record) -> bool {
    if table.name != "setting" {
        return true;
    }
    let stays = |cell: &Cell| SETTINGS_THAT_STAY.iter().any(|name| *cell == Cell::Text((*name).to_owned()));
    !table.key.iter().any(|place| stays(&record.0[*place]))
}

/// Writes those of the rows that are [`carried`]; all of them are new.
pub async fn insert(tx: &mut Tx, table: &Table, records: &[Record]) -> Result<()> {
    let records: Vec<&Record> = records.iter().filter(|record| carried(table, record)).collect();
    let mut many = records.chunks_exact(AT_ONCE);
    for records in many.by_ref() {
        let values: Vec<Value<'_>> =
            records.iter().flat_map(|Record(cells)| cells).map(Value::from).collect();
        tx.execute(table.insert_many, &values).await?;
    }
    for Record(cells) in many.remainder() {
        let values: Vec<Value<'_>> = cells.iter().map(Value::from).collect();
        tx.execute(table.insert_one, &values).await?;
    }
    Ok(())
}

/// Whether nothing that would move is in the table.
pub async fn is_empty(tx: &mut Tx, table: &Table) -> Result<bool> {
    // What a database knows about itself, as soon as somebody has looked at it, is replaced.
    Ok(table.name == "setting" || page(tx, table, None).await?.is_empty())
}
