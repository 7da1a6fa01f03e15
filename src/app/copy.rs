//! Everything of one database into an empty one, of the same engine or the other, and the proof that
//! it arrived: the numbers of rows and a digest of each table.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::app::call::Context;
use crate::app::open::{self, SchemaState};
use crate::app::{journal, read_only};
use crate::clock::{Clock, Millis};
use crate::error::{Error, Result};
use crate::store::copying::{self, Digest, Record, Table};
use crate::store::engine::{Db, Tx};

/// What was copied.
#[derive(Debug)]
pub struct Copied {
    pub tables: Vec<CopiedTable>,
    /// From the first look to the last comparison.
    pub took: Millis,
    /// For how long the source had taken no change when the copy was whole; `None` when it was not held.
    pub window: Option<Millis>,
    /// The moment that the copy shows.
    pub as_of: Millis,
}

/// One table, as both databases hold it.
#[derive(Debug)]
pub struct CopiedTable {
    pub name: String,
    pub rows: u64,
    pub digest: String,
}

/// Copies, compares what arrived, and notes it in the target's audit logs. With `hold` the source takes no
/// changes from before the copy on, until somebody ends that; after a failure it does at once, if this
/// call began it.
///
/// # Errors
/// `Refused` for a target that is not empty, for tables that are not this program's, and when what
/// arrived is not what was there.
pub async fn copy(from: &Db, to: &Db, hold: bool, context: &Context, clock: &Clock) -> Result<Copied> {
    let began = clock.now();
    let tables = prepare(from, to, began).await?;
    if !hold {
        return carry(from, to, tables, context, began, clock).await;
    }
    let (since, by_us) = read_only::on(from, context, clock.now()).await?;
    match carry(from, to, tables, context, began, clock).await {
        Ok(copied) => Ok(Copied { window: Some(clock.now() - since), ..copied }),
        Err(error) => {
            if by_us && let Err(second) = read_only::off(from, context, clock.now()).await {
                tracing::error!(error = %second, "the source is read-only still; run `mailward read-only off`");
            }
            Err(error)
        }
    }
}

/// Everything that is wrong before the first row moves.
async fn prepare(from: &Db, to: &Db, now: Millis) -> Result<Vec<Arc<Table>>> {
    for db in [from, to] {
        open::refuse_ahead(db).await?;
    }
    match open::schema_state(from).await? {
        SchemaState::Current | SchemaState::Ahead => {}
        SchemaState::Empty => {
            return Err(Error::Refused("the source has no tables of Mailward's".to_owned()));
        }
        SchemaState::Behind(steps) => {
            return Err(Error::Refused(format!(
                "the source lacks {}; run `mailward migrate` on it first",
                open::names(&steps)
            )));
        }
    }
    match open::schema_state(to).await? {
        SchemaState::Current | SchemaState::Ahead => {}
        SchemaState::Empty => drop(open::migrate(to, now).await?),
        SchemaState::Behind(steps) => {
            return Err(Error::Refused(format!(
                "the target has another schema version: it lacks {}; take an empty database",
                open::names(&steps)
            )));
        }
    }
    if copying::is_unfinished(&mut *from.read().await?).await? {
        return Err(Error::Refused("the source is itself a copy that was not finished".to_owned()));
    }
    let tables = copying::tables(to).await?;
    let mut tx = to.snapshot().await?;
    if copying::is_unfinished(&mut tx).await? {
        return Err(Error::Refused(
            "the target holds part of a copy that was not finished; make the database anew".to_owned(),
        ));
    }
    for table in &tables {
        if !copying::is_empty(&mut tx, table).await? {
            return Err(Error::Refused(format!(
                "the target is not empty: it has rows in {}; nothing was copied",
                table.name
            )));
        }
    }
    Ok(tables.into_iter().map(Arc::new).collect())
}

async fn carry(
    from: &Db,
    to: &Db,
    tables: Vec<Arc<Table>>,
    context: &Context,
    began: Millis,
    clock: &Clock,
) -> Result<Copied> {
    let mut source = from.snapshot().await?;
    let as_of = clock.now();
    to.write(async move |tx| copying::begin(tx).await).await?;
    let mut sent = Vec::with_capacity(tables.len());
    for table in &tables {
        sent.push(carry_table(&mut source, to, table).await?);
        if let Some(column) = &table.numbered {
            let last = source.last_number(&table.name, column).await?;
            let (table, column) = (table.name.clone(), column.clone());
            to.write(async move |tx| tx.number_after(&table, &column, last).await).await?;
        }
    }
    drop(source);
    let mut target = to.snapshot().await?;
    let mut copied = Vec::with_capacity(tables.len());
    for (table, sent) in tables.iter().zip(sent) {
        let arrived = digest(&mut target, table).await?;
        if arrived != sent {
            return Err(Error::Refused(format!(
                "{} differs: {} rows with digest {sent} were sent, {} with {arrived} arrived; do not use the target",
                table.name, sent.rows, arrived.rows
            )));
        }
        copied.push(CopiedTable { name: table.name.clone(), rows: sent.rows, digest: sent.to_string() });
    }
    drop(target);
    let rows: u64 = copied.iter().map(|table| table.rows).sum();
    let (context, now) = (context.clone(), clock.now());
    to.write(async move |tx| {
        copying::finish(tx).await?;
        journal::everywhere(tx, &context, "copy", &BTreeMap::from([("rows", rows.to_string())]), now).await
    })
    .await?;
    copied.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(Copied { tables: copied, took: clock.now() - began, window: None, as_of })
}

/// Everything of a table; answers what was sent.
async fn carry_table(source: &mut Tx, to: &Db, table: &Arc<Table>) -> Result<Digest> {
    let mut digest = Digest::default();
    let mut page = copying::page(source, table, None).await?;
    while !page.is_empty() {
        add(&mut digest, table, &page);
        let records = Arc::new(page);
        let (inner, table_too) = (Arc::clone(&records), Arc::clone(table));
        to.write(async move |tx| copying::insert(tx, &table_too, &inner).await).await?;
        page = copying::page(source, table, records.last()).await?;
    }
    Ok(digest)
}

async fn digest(tx: &mut Tx, table: &Table) -> Result<Digest> {
    let mut digest = Digest::default();
    let mut page = copying::page(tx, table, None).await?;
    while let Some(last) = page.last() {
        add(&mut digest, table, &page);
        page = copying::page(tx, table, Some(last)).await?;
    }
    Ok(digest)
}

fn add(digest: &mut Digest, table: &Table, page: &[Record]) {
    page.iter().filter(|record| copying::carried(table, record)).for_each(|record| digest.add(record));
}
