//! Logs go to standard error, as text or as JSON.

use tracing_subscriber::EnvFilter;

use crate::config::Log;

/// Logs as configured; for what runs long.
pub fn start(log: &Log) {
    let filter = EnvFilter::try_new(&log.level).unwrap_or_else(|_| EnvFilter::new("info"));
    let logs = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // A second start in one process (tests) keeps the first.
    let _ = if log.json {
        logs.json().flatten_event(true).try_init()
    } else {
        use std::io::IsTerminal as _;
        logs.with_ansi(std::io::stderr().is_terminal()).try_init()
    };
}

/// Only what somebody at a terminal must know.
pub fn quiet() {
    start(&Log { level: "error".to_owned(), json: false });
}
