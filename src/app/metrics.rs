//! What Prometheus is told. Counters are raised where things happen; what the database knows is looked up
//! when somebody asks ([`render`]). No label is a secret, an address or an id: only words of the program
//! and names that the operator gave to mail servers.

use std::time::Duration;

use prometheus::core::Collector;
use prometheus::{
    Encoder as _, Gauge, GaugeVec, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge,
    IntGaugeVec, Opts, Registry, TextEncoder,
};
use tokio::sync::Mutex;

use crate::app::change::Done;
use crate::app::mail::projector::Projector;
use crate::app::{App, read_only};
use crate::clock::Millis;
use crate::domain::effect::{PERSON, PROJECTION};
use crate::error::{Error, Result};
use crate::store;

/// How long the database may take to answer; without it the rest is told.
const PATIENCE: Duration = Duration::from_secs(2);
/// Upper bounds of the classes of durations, in seconds: from a look-up to a queue of passwords.
const SECONDS: &[f64] =
    &[0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
/// Methods that are told by their name; strangers may call theirs anything.
const METHODS: &[&str] = &["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"];

/// Every metric of this process.
pub struct Metrics {
    registry: Registry,
    described: Vec<Described>,
    requests: IntCounterVec,
    durations: HistogramVec,
    throttled: IntCounterVec,
    changes: IntCounterVec,
    sessions_ended: IntCounterVec,
    /// Set while somebody asks.
    looked_up: Mutex<LookedUp>,
}

struct LookedUp {
    hash_queue: IntGauge,
    hash_refusals: IntCounter,
    database_up: IntGauge,
    pool: IntGaugeVec,
    waiting: IntGaugeVec,
    oldest: GaugeVec,
    agents_silent: GaugeVec,
    projection_lag: IntGauge,
    unsealed: Gauge,
    read_only: IntGauge,
}

/// A metric in the documents.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Described {
    pub name: String,
    /// `counter`, `gauge` or `histogram`.
    pub kind: &'static str,
    pub labels: Vec<String>,
    pub help: String,
}

const NAMED: &str = "the metrics are constants with names of their own";

/// Makes metrics and notes what they are.
struct Maker(Registry, Vec<Described>);

impl Maker {
    fn keep<M: Collector + Clone + 'static>(&mut self, kind: &'static str, metric: M) -> M {
        for desc in metric.desc() {
            self.1.push(Described {
                name: desc.fq_name.clone(),
                kind,
                labels: desc.variable_labels.clone(),
                help: desc.help.clone(),
            });
        }
        self.0.register(Box::new(metric.clone())).expect(NAMED);
        metric
    }

    fn counters(&mut self, name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
        self.keep("counter", IntCounterVec::new(Opts::new(name, help), labels).expect(NAMED))
    }

    fn gauges(&mut self, name: &str, help: &str, labels: &[&str]) -> IntGaugeVec {
        self.keep("gauge", IntGaugeVec::new(Opts::new(name, help), labels).expect(NAMED))
    }

    fn gauge(&mut self, name: &str, help: &str) -> IntGauge {
        self.keep("gauge", IntGauge::new(name, help).expect(NAMED))
    }
}

impl Default for Metrics {
    fn default() -> Self {
        let mut make = Maker(Registry::new(), Vec::new());
        let build = make.gauges("mailward_build_info", "1, with the version as a label.", &["version"]);
        build.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        let durations = HistogramOpts::new(
            "mailward_http_request_duration_seconds",
            "How long answers took, from the head of the request to the head of the answer.",
        );
        let durations = HistogramVec::new(durations.buckets(SECONDS.to_vec()), &["route", "method"]);
        let oldest = GaugeVec::new(
            Opts::new(
                "mailward_outbox_oldest_seconds",
                "For how long the oldest effect of the target has been waiting; 0 when none waits.",
            ),
            &["target"],
        );
        let agents_silent = GaugeVec::new(
            Opts::new(
                "mailward_mail_agent_silent_seconds",
                "Since when nothing was heard of a mail host's agent, by any node; nothing before its first word.",
            ),
            &["agent"],
        );
        let unsealed = Gauge::new(
            "mailward_audit_unsealed_seconds",
            "For how long the oldest audit entry has waited for its place in the chain; 0 when none waits.",
        );
        let refusals = IntCounter::new(
            "mailward_password_hash_refusals_total",
            "Passwords that were turned away because too many waited to be hashed.",
        );
        Self {
            requests: make.counters(
                "mailward_http_requests_total",
                "Answers, by the template of the route.",
                &["route", "method", "status"],
            ),
            durations: make.keep("histogram", durations.expect(NAMED)),
            throttled: make.counters(
                "mailward_throttled_total",
                "What was refused because there had been too much of it: passwords for an account or from a source \
                 address, requests for tokens.",
                &["subject"],
            ),
            changes: make.counters(
                "mailward_changes_total",
                "Calls on accounts by mode and outcome: done, unchanged (the state held already), repeated (made \
                 before with the same idempotency key), refused, failed.",
                &["verb", "outcome"],
            ),
            sessions_ended: make.counters(
                "mailward_sessions_ended_total",
                "Mail sessions that this node ended.",
                &["server"],
            ),
            looked_up: Mutex::new(LookedUp {
                hash_queue: make.gauge(
                    "mailward_password_hash_queue_length",
                    "Passwords that wait for a thread to hash them.",
                ),
                hash_refusals: make.keep("counter", refusals.expect(NAMED)),
                database_up: make.gauge("mailward_database_up", "1 when the database answered this look."),
                pool: make.gauges(
                    "mailward_database_pool_connections",
                    "Connections to PostgreSQL: idle, used, and the most there may be (max). Nothing on SQLite.",
                    &["state"],
                ),
                waiting: make.gauges(
                    "mailward_outbox_waiting",
                    "Effects that wait: for a mail server by its name, for people (person), for the look-up files (look-ups).",
                    &["target"],
                ),
                oldest: make.keep("gauge", oldest.expect(NAMED)),
                agents_silent: make.keep("gauge", agents_silent.expect(NAMED)),
                projection_lag: make.gauge(
                    "mailward_projection_lag_positions",
                    "Positions by which this node's look-up files are behind the database; 0 with PostgreSQL.",
                ),
                unsealed: make.keep("gauge", unsealed.expect(NAMED)),
                read_only: make.gauge(
                    "mailward_read_only",
                    "1 while changes are refused (`mailward read-only on`).",
                ),
            }),
            registry: make.0,
            described: make.1,
        }
    }
}

impl Metrics {
    /// Every metric, in the order of their names.
    pub fn described(&self) -> Vec<Described> {
        let mut described = self.described.clone();
        described.sort_by(|one, other| one.name.cmp(&other.name));
        described
    }

    /// An answer went out.
    pub fn answered(&self, route: &str, method: &str, status: u16, took: Duration) {
        let method = METHODS.iter().copied().find(|known| *known == method).unwrap_or("other");
        let status = status.to_string();
        self.requests.with_label_values(&[route, method, status.as_str()]).inc();
        self.durations.with_label_values(&[route, method]).observe(took.as_secs_f64());
    }

    /// A try was refused because there were too many.
    pub fn throttled(&self, subject: &'static str) {
        self.throttled.with_label_values(&[subject]).inc();
    }

    /// A call on accounts was carried out, or not.
    pub fn changed(&self, verb: &str, outcome: &Result<Done>) {
        let outcome = match outcome {
            Ok(done) if done.forecast.is_some() => return,
            Ok(done) if done.repeated => "repeated",
            Ok(done) if done.change.is_some() => "done",
            Ok(_) => "unchanged",
            Err(
                Error::Unavailable { .. }
                | Error::ReadOnly
                | Error::Unconfirmed { .. }
                | Error::Again
                | Error::Stale
                | Error::Unique(_)
                | Error::Internal(_),
            ) => "failed",
            Err(
                Error::NoCredentials
                | Error::BadToken
                | Error::MissingScope
                | Error::NotFound(_)
                | Error::NoRoute(_)
                | Error::WrongMethod(_)
                | Error::Forbidden(_)
                | Error::Malformed(_)
                | Error::Refused(_)
                | Error::AddressTaken(_)
                | Error::AddressKept { .. }
                | Error::BadAddress(_)
                | Error::BadPassword(_)
                | Error::BadCredentials
                | Error::Grant(_)
                | Error::KeyReused
                | Error::AnswerNotKept(_)
                | Error::TooMany { .. },
            ) => "refused",
        };
        self.changes.with_label_values(&[verb, outcome]).inc();
    }

    /// A mail server ended sessions.
    pub fn ended(&self, server: &str, sessions: u64) {
        self.sessions_ended.with_label_values(&[server]).inc_by(sessions);
    }
}

/// Everything in Prometheus' text format, version 0.0.4.
///
/// # Errors
/// `Internal` when it cannot be written down.
pub async fn render(app: &App) -> Result<String> {
    let looked_up = app.metrics.looked_up.lock().await;
    looked_up.hash_queue.set(i64::try_from(app.hasher.queued()).unwrap_or(i64::MAX));
    looked_up.hash_refusals.inc_by(app.hasher.refused().saturating_sub(looked_up.hash_refusals.get()));
    if let Some(pool) = app.db.pool() {
        for (state, count) in [("idle", pool.idle), ("used", pool.used), ("max", pool.max)] {
            let count = i64::try_from(count).unwrap_or(i64::MAX);
            looked_up.pool.with_label_values(&[state]).set(count);
        }
    }
    let up = matches!(tokio::time::timeout(PATIENCE, look(app, &looked_up)).await, Ok(Ok(())));
    looked_up.database_up.set(i64::from(up));
    let mut text = Vec::new();
    TextEncoder::new()
        .encode(&app.metrics.registry.gather(), &mut text)
        .map_err(|cause| Error::caused("writing the metrics", cause))?;
    String::from_utf8(text).map_err(|cause| Error::caused("writing the metrics", cause))
}

/// What the database knows.
async fn look(app: &App, looked_up: &LookedUp) -> Result<()> {
    let now = app.clock.now();
    looked_up.read_only.set(i64::from(read_only::since(&app.db).await?.is_some()));
    let mut tx = app.db.snapshot().await?;
    let servers = store::mail_servers::all(&mut tx).await?;
    let agents = store::mail_agents::all(&mut tx).await?;
    let servers = servers.iter().map(|server| server.name.as_str());
    let agents = agents.iter().map(|agent| agent.name.as_str());
    let targets = servers.chain(agents).chain([PERSON, PROJECTION]);
    // A server that was removed is not told of any more.
    looked_up.waiting.reset();
    looked_up.oldest.reset();
    for target in targets {
        let backlog = store::outbox::backlog_of(&mut tx, target).await?;
        looked_up.waiting.with_label_values(&[target]).set(backlog.waiting);
        looked_up.oldest.with_label_values(&[target]).set(seconds_since(backlog.oldest, now));
    }
    looked_up.agents_silent.reset();
    for status in store::mail_agents::statuses(&mut tx).await? {
        if status.heard_at.is_some() {
            let silent = looked_up.agents_silent.with_label_values(&[&status.name]);
            silent.set(seconds_since(status.heard_at, now));
        }
    }
    let newest = store::outbox::newest(&mut tx).await?;
    let shown = app.projector.reached().0;
    let lag = if matches!(app.projector, Projector::Files(_)) { newest - shown } else { 0 };
    looked_up.projection_lag.set(lag.max(0));
    looked_up.unsealed.set(seconds_since(store::audit_chain::waiting_since(&mut tx).await?, now));
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "seconds for people to look at")]
fn seconds_since(then: Option<Millis>, now: Millis) -> f64 {
    then.map_or(0.0, |then| (now - then).max(0) as f64 / 1000.0)
}
