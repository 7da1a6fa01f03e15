//! What Mailward costs beside the least that the same work could cost, measured in one run on one
//! machine: `scripts/bench`. `figures` holds one function for each key of the table.

mod bare;
mod by_hand;
mod figures;
mod fill;
mod load;
mod report;
mod server;
mod settings;

#[path = "../../tests/it/support/postgres.rs"]
#[allow(dead_code, reason = "tests use what is left over here")]
mod postgres;

use std::time::Instant;

use anyhow::{Context, Result};
use clap::Parser;
use serde_json::json;

use crate::figures::Bench;
use crate::report::Figure;
use crate::settings::Arguments;

fn main() -> Result<()> {
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    let words: Vec<String> = std::env::args().skip(1).collect();
    if let Some(served) = bare::serve(&words) {
        return served;
    }
    let arguments = Arguments::parse();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    tokio::task::LocalSet::new().block_on(&runtime, run(arguments))
}

async fn run(arguments: Arguments) -> Result<()> {
    let start = Instant::now();
    let folder = tempfile::Builder::new().prefix("mailward-bench-").tempdir().context("a folder")?;
    let mut bench = Bench::prepare(arguments, folder.path()).await?;
    let mut told = Vec::new();
    macro_rules! measure {
        ($($key:ident),*) => {$(
            if bench.arguments.wants(stringify!($key)) {
                eprintln!("{:4} s  {}", start.elapsed().as_secs(), stringify!($key));
                told.push(bench.$key().await.context(stringify!($key))?);
            }
        )*};
    }
    measure!(
        reset,
        switch_sqlite_32,
        switch_sqlite_1,
        switch_postgres_32,
        get,
        list_depth,
        size,
        memory_start,
        projection
    );
    if bench.arguments.wants("cut") {
        told.push(Figure::skipped(
            "cut",
            "call to disconnect of live IMAP sessions",
            "the tests of the mail servers measure it on a real Dovecot",
        ));
    }
    eprintln!("{:4} s  done", start.elapsed().as_secs());

    let Arguments { quick, json, only, date, document, .. } = &bench.arguments;
    if only.is_empty() {
        let command = if *quick { "scripts/bench --quick" } else { "scripts/bench" };
        report::write(document, command, date, &bench.settings, &told)?;
    }
    let mut object = json!({"settings": bench.settings});
    for figure in &told {
        object[figure.key] = figure.json();
    }
    if *json {
        println!("{object}");
    } else {
        println!("{}", serde_json::to_string_pretty(&object)?);
    }
    Ok(())
}
