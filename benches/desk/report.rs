//! From raw figures to ratios, targets and the table: JSON for programs, a document for people.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context, Result, bail};
use serde_json::{Map, Value, json};

use crate::load::{Load, median};

/// Noise that `met` allows.
const NOISE: f64 = 1.1;

/// What is measured under each key, and what is asked of it.
const WORKS: [(&str, &str, &str); 12] = [
    (
        "reset",
        "password resets end to end over HTTP with the default policy, beside bare Argon2id with the same \
         parameters, memory that is kept, and as many threads as cores",
        "at least 0.90 of the bare Argon2id rate; the p99 of other requests at most 20 ms meanwhile",
    ),
    (
        "switch_sqlite_32",
        "durable enable and disable over 32 connections, beside a bare axum handler that updates one row with \
         group commit, and beside OpenLDAP's modify",
        "at least 0.5 of the bare handler, and at least twice OpenLDAP",
    ),
    (
        "switch_sqlite_1",
        "durable enable and disable over one connection, beside bare synced commits of one row",
        "at least 0.6 of the bare commits",
    ),
    (
        "switch_postgres_32",
        "durable enable and disable on PostgreSQL, serializable, over 32 connections, beside the same statements \
         by hand on the bare driver, and beside bare commits of one row",
        "at least 0.85 of the same statements by hand, and at least 0.3 of bare commits of one row",
    ),
    (
        "get",
        "token-checked GET of one account over 32 connections, beside an axum handler that looks the token up in \
         the same database and sends as many bytes, and beside OpenLDAP's indexed search",
        "at least 0.8 of the bare handler, and ahead of OpenLDAP",
    ),
    (
        "list_depth",
        "list pages of 200 over HTTP at the start and behind all accounts; creates with the list's counters and \
         without",
        "at most 1.5 times the cost at the start, on both engines; creates within 10 % of the rate without counters",
    ),
    (
        "size",
        "each operation with all accounts beside the same with a thousand",
        "p50 and p99 at most 1.5 times those with a thousand",
    ),
    (
        "memory_start",
        "resident memory and time to be ready, SQLite, with the look-up files in place",
        "at most 64 MiB resident idle, 150 MiB under load; ready in at most 0.3 s; a binary of at most 40 MB",
    ),
    (
        "projection",
        "durable enable and disable with the mail servers' look-up files kept current, beside the same without",
        "at most 20 % of the rate, at most 1 ms of the p50",
    ),
    (
        "console",
        "the console's pages over one connection, signed in as the administrator of all accounts, both engines",
        "p99 of every page at most 100 ms",
    ),
    (
        "cut",
        "live IMAP sessions on a real Dovecot, three for each account: from the call that resets or disables to \
         the end of each session",
        "p99 at most 250 ms, no survivor",
    ),
    (
        "lookups",
        "look-ups of Dovecot and checks of recipients by Postfix on the look-up files, beside the same servers on \
         a minimal SQLite file made by hand",
        "none: told for comparison",
    ),
];

/// What is measured under one key.
pub struct Figure {
    pub key: &'static str,
    work: &'static str,
    target: &'static str,
    pub raw: Map<String, Value>,
    pub checks: Vec<Check>,
    /// Why it could not be measured.
    failure: Option<String>,
}

/// One number with its target.
pub struct Check {
    pub name: String,
    pub value: f64,
    pub target: Target,
}

#[derive(Clone, Copy)]
pub enum Target {
    /// A ratio of two rates.
    AtLeast(f64),
    /// A ratio of two costs.
    AtMost(f64),
    /// A number with its unit.
    Within(f64, &'static str),
}

impl Target {
    fn met(self, value: f64) -> bool {
        match self {
            Self::AtLeast(bound) => value * NOISE >= bound,
            Self::AtMost(bound) | Self::Within(bound, _) => value <= bound * NOISE,
        }
    }

    fn told(self) -> String {
        match self {
            Self::AtLeast(bound) => format!("at least {bound}"),
            Self::AtMost(bound) => format!("at most {bound}"),
            Self::Within(bound, unit) => format!("at most {bound} {unit}"),
        }
    }
}

impl Figure {
    pub fn new(key: &'static str) -> Self {
        let known = WORKS.iter().find(|(known, ..)| *known == key);
        let (key, work, target) = *known.expect("every key has its line in the table above");
        Self { key, work, target, raw: Map::new(), checks: Vec::new(), failure: None }
    }

    pub fn failed(key: &'static str, why: String) -> Self {
        Self { failure: Some(why), ..Self::new(key) }
    }

    pub fn tell(&mut self, name: &str, value: impl Into<Value>) {
        self.raw.insert(name.to_owned(), value.into());
    }

    pub fn check(&mut self, name: impl Into<String>, value: f64, target: Target) {
        self.checks.push(Check { name: name.into(), value, target });
    }

    pub fn met(&self) -> bool {
        self.failure.is_none() && self.checks.iter().all(|check| check.target.met(check.value))
    }

    pub fn json(&self) -> Value {
        let checks: Vec<Value> = self
            .checks
            .iter()
            .map(|check| {
                json!({
                    "name": check.name,
                    "value": rounded(check.value),
                    "target": check.target.told(),
                    "met": check.target.met(check.value),
                })
            })
            .collect();
        let mut object = json!({
            "work": self.work,
            "figures": self.raw,
            "target": self.target,
            "met": self.met(),
            "checks": checks,
        });
        let ratio = self.checks.iter().find(|check| !matches!(check.target, Target::Within(..)));
        if let Some(ratio) = ratio {
            object["ratio"] = rounded(ratio.value);
        }
        if let Some(why) = &self.failure {
            object["error"] = json!(why);
        }
        object
    }
}

/// Rounds of one load, paired with those of another.
#[derive(Default)]
pub struct Rounds {
    rates: Vec<f64>,
    p50: Vec<f64>,
    p99: Vec<f64>,
    /// Calls per second of the server's processor time.
    per_cpu: Vec<f64>,
}

impl Rounds {
    /// Takes a round; `cpu` is the server's processor time in it, where there is a server.
    pub fn take(&mut self, load: &Load, cpu: Option<f64>) {
        self.rates.push(load.rate());
        self.p50.push(load.p50());
        self.p99.push(load.p99());
        self.per_cpu.extend(cpu.map(|seconds| load.calls() as f64 / seconds));
    }

    /// The middle of the ratios of each round to its neighbour: noise of the machine meets both.
    pub fn over(&self, other: &Self) -> f64 {
        over(&self.rates, &other.rates)
    }

    pub fn p50(&self) -> f64 {
        median(&self.p50)
    }

    pub fn p50_over(&self, other: &Self) -> f64 {
        over(&self.p50, &other.p50)
    }

    pub fn json(&self) -> Value {
        let mut object = json!({
            "perSecond": rounded(median(&self.rates)),
            "rounds": self.rates.iter().map(|rate| rounded(*rate)).collect::<Vec<_>>(),
            "p50Milliseconds": rounded(median(&self.p50)),
            "p99Milliseconds": rounded(median(&self.p99)),
        });
        if !self.per_cpu.is_empty() {
            object["perServerCpuSecond"] = rounded(median(&self.per_cpu));
        }
        object
    }
}

/// The middle of the ratios, round by round.
pub fn over(ours: &[f64], theirs: &[f64]) -> f64 {
    median(&ours.iter().zip(theirs).map(|(ours, theirs)| ours / theirs).collect::<Vec<_>>())
}

/// Four digits are more than any of this is worth.
pub fn rounded(value: f64) -> Value {
    if !value.is_finite() {
        return Value::Null;
    }
    if value == 0.0 {
        return json!(0);
    }
    let digits = (4 - 1 - value.abs().log10().floor() as i32).clamp(0, 6);
    let factor = 10_f64.powi(digits);
    let rounded = (value * factor).round() / factor;
    if digits == 0 { json!(rounded as i64) } else { json!(rounded) }
}

const BEGIN: &str = "<!-- bench: begin (made by scripts/bench; do not edit by hand) -->";
const END: &str = "<!-- bench: end -->";

/// Writes the figures into the document, over those of the run before; what else stands there stays.
pub fn write(document: &Path, command: &str, date: &str, settings: &Value, figures: &[Figure]) -> Result<()> {
    let before = match std::fs::read_to_string(document) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            format!("# Performance\n\n{BEGIN}\n{END}\n")
        }
        Err(error) => return Err(error).context("reading the document"),
    };
    let (Some((head, _)), Some((_, tail))) = (before.split_once(BEGIN), before.split_once(END)) else {
        bail!("{} has lost its marks {BEGIN} and {END}", document.display());
    };
    let text = format!("{head}{BEGIN}\n{}{END}{tail}", body(command, date, settings, figures)?);
    std::fs::write(document, text).with_context(|| document.display().to_string())
}

fn body(command: &str, date: &str, settings: &Value, figures: &[Figure]) -> Result<String> {
    let mut text = format!(
        "Made on {date} by `{command}`. Ratios compare two things that were measured in turn in the same run;\n\
         each is the middle of the rounds. A target counts as met within 10 % of noise. The load generator\n\
         shares the machine with the server.\n\n| Setting | |\n| --- | --- |\n"
    );
    for (name, value) in settings.as_object().into_iter().flatten() {
        writeln!(text, "| {name} | {} |", plain(value))?;
    }
    text += "\n| Key | What | Value | Target | Met |\n| --- | --- | --- | --- | --- |\n";
    for figure in figures {
        if let Some(why) = &figure.failure {
            let why = why.replace(['\n', '|'], " ");
            writeln!(text, "| `{}` | could not be measured: {why} | | | **no** |", figure.key)?;
        }
        for check in &figure.checks {
            let met = if check.target.met(check.value) { "yes" } else { "**no**" };
            let value = plain(&rounded(check.value));
            let target = check.target.told();
            writeln!(text, "| `{}` | {} | {value} | {target} | {met} |", figure.key, check.name)?;
        }
    }
    text += "\n## Raw figures\n";
    for figure in figures.iter().filter(|figure| figure.failure.is_none()) {
        let raw = serde_json::to_string_pretty(&Value::Object(figure.raw.clone()))?;
        write!(text, "\n### `{}`\n\n{}\n\n```json\n{raw}\n```\n", figure.key, figure.work)?;
    }
    Ok(text)
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
