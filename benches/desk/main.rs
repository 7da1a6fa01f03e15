//! What Mailward costs beside the least that the same work could cost, measured in one run on one
//! machine: `scripts/bench`. `figures` holds one function for each key of the table.

mod bare;
mod by_hand;
mod figures;
mod fill;
mod lab;
mod ldap;
mod load;
mod mail;
mod pages;
mod report;
mod server;
mod settings;

#[path = "../../tests/it/support/postgres.rs"]
#[allow(dead_code, reason = "tests use what is left over here")]
mod postgres;

use std::time::Instant;

use anyhow::{Context, Result, anyhow, bail};
use clap::Parser;
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};

use crate::figures::{Bench, kept};
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
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    // Whatever was started is ended by being dropped.
    tokio::select! {
        done = measure(arguments) => done,
        _ = terminate.recv() => bail!("ended by a signal"),
        _ = interrupt.recv() => bail!("ended by a signal"),
    }
}

async fn measure(arguments: Arguments) -> Result<()> {
    let start = Instant::now();
    let folder = tempfile::Builder::new().prefix("mailward-bench-").tempdir().context("a folder")?;
    let mut bench = Bench::prepare(arguments, folder.path()).await?;
    let mut told = Vec::new();
    // One that fails is told as not met, and the others go on.
    macro_rules! measure {
        ($($key:ident),*) => {$(
            let key = stringify!($key);
            if bench.arguments.wants(key) {
                eprintln!("{:4} s  {key}", start.elapsed().as_secs());
                let patience = bench.arguments.patience();
                let measured = tokio::time::timeout(patience, kept(bench.$key())).await;
                let measured = measured.unwrap_or_else(|_| Err(anyhow!("not done after {patience:?}")));
                told.push(measured.unwrap_or_else(|why| {
                    eprintln!("        {key}: {why:#}");
                    Figure::failed(key, format!("{why:#}"))
                }));
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
        projection,
        console,
        cut,
        lookups
    );
    eprintln!("{:4} s  done", start.elapsed().as_secs());
    bench.settings["secondsInAll"] = json!(start.elapsed().as_secs());

    let Arguments { json, only, date, document, .. } = &bench.arguments;
    if only.is_empty() {
        report::write(document, &bench.arguments.command(), date, &bench.settings, &told)?;
    }
    // Everything in the object has one shape.
    let mut object = json!({});
    for figure in &told {
        object[figure.key] = figure.json();
    }
    object["settings"] = json!({
        "work": "what every figure must be read with",
        "figures": bench.settings,
        "target": "none",
        "met": true,
    });
    if *json {
        println!("{object}");
    } else {
        println!("{}", serde_json::to_string_pretty(&object)?);
    }
    Ok(())
}
