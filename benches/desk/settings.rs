//! What the bench is told, how long it measures, and on what machine: everything that a figure
//! must be read with.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Parser;
use mailward::domain::password::Cost;
use serde_json::{Value, json};

/// Measures a release binary of Mailward beside the least that the same work could cost.
#[derive(Debug, Clone, Parser)]
pub struct Arguments {
    /// The release binary to measure.
    #[arg(long)]
    pub server: PathBuf,
    /// Short rounds: the whole in under five minutes.
    #[arg(long)]
    pub quick: bool,
    /// Print one JSON object on standard output, and nothing else there.
    #[arg(long)]
    pub json: bool,
    /// Seconds of one round (1 with --quick, else 10).
    #[arg(long)]
    pub seconds: Option<f64>,
    /// The long run: 10,000,000 accounts, and the sessions of 1,000 are ended. Takes an hour and 60 GB.
    #[arg(long)]
    pub long: bool,
    /// Accounts of the large database (1,000,000, or 10,000,000 with --long).
    #[arg(long)]
    pub accounts: Option<i64>,
    /// Accounts whose sessions are ended (100, or 1,000 with --long).
    #[arg(long)]
    pub cut_accounts: Option<usize>,
    /// Rounds; the median of at least three is told.
    #[arg(long)]
    pub rounds: Option<usize>,
    /// Only these figures, as `reset,get`; the document is then left alone.
    #[arg(long, value_delimiter = ',')]
    pub only: Vec<String>,
    /// The day, for the document.
    #[arg(long, default_value = "a day that was not told")]
    pub date: String,
    /// Where the table goes.
    #[arg(long, default_value = "docs/performance.md")]
    pub document: PathBuf,
    /// Cargo says this to every bench.
    #[arg(long, hide = true)]
    bench: bool,
}

/// Connections of a load that is meant to fill the machine.
pub const MANY: usize = 32;
/// Accounts of the small database.
pub const FEW_ACCOUNTS: i64 = 1000;
/// Rows of a list page.
pub const PAGE: usize = 200;
/// Live sessions of each account whose sessions are ended.
pub const SESSIONS: usize = 3;
/// Entries of OpenLDAP at most: more would only make it slower.
pub const MOST_ENTRIES: i64 = 1_000_000;
/// Turns in a round, where things that are compared run one after the other.
const TURNS: usize = 3;
/// Passwords that are reset at the same time.
pub const RESETTERS: usize = 8;

impl Arguments {
    pub fn rounds(&self) -> usize {
        self.rounds.unwrap_or(if self.quick { 3 } else { 5 })
    }

    /// How long one round of one figure runs.
    pub fn round(&self) -> Duration {
        Duration::from_secs_f64(self.seconds.unwrap_or(if self.quick { 1.0 } else { 10.0 }))
    }

    /// The pieces that a round is cut into where two things run in turn: the shorter the turns, the less it matters
    /// that a neighbour of the machine is busy for a second.
    pub fn turns(&self) -> usize {
        self.rounds() * TURNS
    }

    /// How long one of them runs.
    pub fn turn(&self) -> Duration {
        self.round() / TURNS as u32
    }

    pub fn accounts(&self) -> i64 {
        self.accounts.unwrap_or(if self.long { 10_000_000 } else { 1_000_000 })
    }

    pub fn cut_accounts(&self) -> usize {
        self.cut_accounts.unwrap_or(if self.long { 1000 } else { 100 })
    }

    /// How long one figure may take before it is given up.
    pub fn patience(&self) -> Duration {
        // So many more accounts than a million take their time, however short the rounds are.
        let short = self.quick && self.accounts() <= 1_000_000;
        Duration::from_secs(if short { 150 } else { 3600 })
    }

    /// The command that made the figures, as somebody would type it.
    pub fn command(&self) -> String {
        let mut words = vec!["scripts/bench".to_owned()];
        let flags = [(self.quick, "--quick"), (self.long, "--long")];
        words.extend(flags.iter().filter(|(given, _)| *given).map(|(_, flag)| (*flag).to_owned()));
        let mut option =
            |name: &str, value: Option<String>| words.extend(value.map(|value| format!("{name} {value}")));
        option("--seconds", self.seconds.map(|seconds| seconds.to_string()));
        option("--rounds", self.rounds.map(|rounds| rounds.to_string()));
        option("--accounts", self.accounts.map(|accounts| accounts.to_string()));
        option("--cut-accounts", self.cut_accounts.map(|accounts| accounts.to_string()));
        words.join(" ")
    }

    pub fn wants(&self, key: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|only| only == key)
    }

    /// What every figure must be read with.
    pub fn told(&self, folder: &Path) -> Value {
        let cost = Cost::default();
        json!({
            "cores": std::thread::available_parallelism().map_or(1, usize::from),
            "processor": line_of("/proc/cpuinfo", "model name"),
            "memoryTotal": line_of("/proc/meminfo", "MemTotal"),
            "kernel": read("/proc/sys/kernel/osrelease"),
            "fileSystem": file_system(folder),
            "sqlite": rusqlite::version(),
            "sqlitePragmas": "journal_mode = WAL, synchronous = FULL",
            "argon2id": format!("m={} KiB, t={}, p={}", cost.memory_kib, cost.passes, cost.lanes),
            "connections": format!("{MANY} and 1"),
            "rounds": self.rounds(),
            "secondsPerRound": self.round().as_secs_f64(),
            "turnsPerRound": TURNS,
            "accounts": format!("{FEW_ACCOUNTS} and {}", self.accounts()),
            "loadAverageAtStart": read("/proc/loadavg"),
            "log": "level info, to a file",
        })
    }
}

fn read(file: &str) -> String {
    std::fs::read_to_string(file).unwrap_or_default().trim().to_owned()
}

fn line_of(file: &str, name: &str) -> String {
    let text = read(file);
    let line = text.lines().find(|line| line.starts_with(name)).unwrap_or_default();
    line.split_once(':').map_or("", |(_, value)| value.trim()).to_owned()
}

/// The kind of file system that holds a folder: a durable write to a tmpfs costs nothing.
fn file_system(folder: &Path) -> String {
    let folder = folder.canonicalize().unwrap_or_else(|_| folder.to_owned());
    let mounts = read("/proc/mounts");
    let longest = mounts
        .lines()
        .filter_map(|line| {
            let mut fields = line.split(' ');
            let (_, place, kind) = (fields.next()?, fields.next()?, fields.next()?);
            folder.starts_with(place).then_some((place.len(), kind))
        })
        .max_by_key(|(length, _)| *length);
    longest.map_or_else(|| "unknown".to_owned(), |(_, kind)| kind.to_owned())
}
