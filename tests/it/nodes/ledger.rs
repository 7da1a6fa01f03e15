//! What clients asked of several nodes and what they heard, and the verdict on it: every answer is held
//! against the audit log, and each account's calls against `linear`.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use mailward::domain::ids::OrganizationId;
use mailward::store::audit;
use mailward::store::engine::Db;
use reqwest::Method;
use serde_json::{Value, json};

use super::linear::{self, Act, Call, State};
use crate::support::world::{PASSWORD, Someone};

/// What a client learned of its call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Heard {
    /// It was done, and changed something if it names a change.
    Done { change: Option<String> },
    /// It was not done.
    Refused { status: u16 },
    /// Nobody knows; what to look for, where that was told.
    Unconfirmed { change: Option<String> },
    /// No answer came.
    Silence,
}

pub struct Ledger {
    begin: Instant,
    kept: Mutex<Vec<Kept>>,
    wrong: Mutex<Vec<String>>,
    operations: AtomicUsize,
    last: AtomicUsize,
    addresses: Mutex<Addresses>,
}

/// One call on an account.
struct Kept {
    account: i64,
    call: Call,
    /// What stands in the audit entry, if there is one; empty where none can be said.
    reason: String,
    heard: Heard,
}

/// Addresses by their number.
#[derive(Default)]
struct Addresses {
    all: Vec<String>,
    numbers: HashMap<String, u32>,
}

impl Ledger {
    pub fn new() -> Self {
        Self {
            begin: Instant::now(),
            kept: Mutex::default(),
            wrong: Mutex::default(),
            operations: AtomicUsize::new(0),
            last: AtomicUsize::new(1),
            addresses: Mutex::default(),
        }
    }

    pub fn now(&self) -> u64 {
        u64::try_from(self.begin.elapsed().as_micros()).expect("less than an age")
    }

    /// A number that nobody else gets, never 0.
    pub fn fresh(&self) -> u32 {
        u32::try_from(self.last.fetch_add(1, Ordering::Relaxed)).expect("fewer")
    }

    pub fn address(&self, text: &str) -> u32 {
        let mut addresses = lock(&self.addresses);
        if let Some(number) = addresses.numbers.get(text) {
            return *number;
        }
        let number = u32::try_from(addresses.all.len()).expect("fewer");
        addresses.all.push(text.to_owned());
        addresses.numbers.insert(text.to_owned(), number);
        number
    }

    pub fn operations(&self) -> usize {
        self.operations.load(Ordering::Relaxed)
    }

    pub fn count(&self) {
        self.operations.fetch_add(1, Ordering::Relaxed);
    }

    /// Something that must not be.
    pub fn wrong(&self, what: String) {
        lock(&self.wrong).push(what);
    }

    pub fn keep(&self, account: i64, start: u64, act: Act, reason: String, heard: Heard, told: String) {
        let end = Some(self.now());
        let call = Call { start, end, act, changed: None, certain: true, told };
        self.count();
        lock(&self.kept).push(Kept { account, call, reason, heard });
    }

    /// How the person stands at first.
    pub fn first(&self, of: &Someone) -> State {
        let address = self.address(&of.email);
        State { name: 0, address, enabled: true, mail: true, password: 0, one_time: false }
    }

    /// An account as it was shown.
    pub fn shown(&self, user: &Value) -> Option<State> {
        let name = user["displayName"].as_str()?;
        Some(State {
            name: name.strip_prefix("Name ").map_or(Some(0), |number| number.parse().ok())?,
            address: self.address(user["primaryEmailAddress"].as_str()?),
            enabled: user["enabled"].as_bool()?,
            mail: user["accountEnabled"].as_bool()?,
            password: 0,
            one_time: user["oneTimePassword"].as_bool()?,
        })
    }

    /// The verdict: everything that is wrong. Nothing may be under way any more.
    pub async fn verdict(&self, db: &Db, zoid: OrganizationId, people: &[Someone]) -> Vec<String> {
        let written = Written::read(db, zoid).await;
        let mut wrong = std::mem::take(&mut *lock(&self.wrong));
        let mut accounts: BTreeMap<i64, Vec<Call>> = BTreeMap::new();
        for kept in lock(&self.kept).drain(..) {
            match written.settle(&kept) {
                Ok(Some(call)) => accounts.entry(kept.account).or_default().push(call),
                Ok(None) => {}
                Err(why) => wrong.push(why),
            }
        }
        for person in people {
            let calls = accounts.remove(&person.zuid).unwrap_or_default();
            if let Err(why) = linear::check(self.first(person), &calls) {
                wrong.push(format!("account {}: {why}", person.zuid));
            }
        }
        wrong
    }
}

pub fn name(number: u32) -> String {
    format!("Name {number}")
}

/// The password of that number; what a person begins with is 0.
pub fn password(number: u32) -> String {
    if number == 0 { PASSWORD.to_owned() } else { format!("Quokka-{number}-heron") }
}

/// The audit log of an organization, by what its entries say.
pub struct Written {
    by_reason: HashMap<String, Vec<Entry>>,
    by_change: HashMap<String, Entry>,
}

#[derive(Debug, Clone)]
pub struct Entry {
    pub change: String,
    pub changed: bool,
}

impl Written {
    pub async fn read(db: &Db, zoid: OrganizationId) -> Self {
        let mut tx = db.read().await.expect("a connection");
        let rows = audit::newest(&mut tx, zoid, None, 10_000_000).await.expect("readable");
        let mut written = Self { by_reason: HashMap::new(), by_change: HashMap::new() };
        for row in rows {
            let text: Value = serde_json::from_str(&row.entry).expect("an entry is JSON");
            let changed = text["outcome"] == "changed";
            if !changed && text["outcome"] != "lost" {
                continue;
            }
            let entry = Entry { change: row.id.to_string(), changed };
            written.by_change.insert(entry.change.clone(), entry.clone());
            if let Some(reason) = text["reason"].as_str() {
                written.by_reason.entry(reason.to_owned()).or_default().push(entry);
            }
        }
        written
    }

    /// The changes that were made for this reason.
    pub fn made(&self, reason: &str) -> Vec<&Entry> {
        self.by_reason.get(reason).into_iter().flatten().filter(|entry| entry.changed).collect()
    }

    /// What became of a call; `None` if it changed nothing and saw nothing.
    fn settle(&self, kept: &Kept) -> Result<Option<Call>, String> {
        let made = if kept.reason.is_empty() { Vec::new() } else { self.made(&kept.reason) };
        let tell = |what: &str| Err(format!("{what}: {:?} {:?} {made:?}", kept.call, kept.heard));
        if made.len() > 1 {
            return tell("one call was carried out twice");
        }
        let mut call = kept.call.clone();
        let looks = matches!(call.act, Act::Look(_) | Act::TurnedAway { .. });
        match &kept.heard {
            Heard::Done { .. } if looks => Ok(Some(call)),
            Heard::Done { change: Some(change) } => {
                let entry = self.by_change.get(change).filter(|entry| entry.changed);
                if entry.is_none() || made.first().is_some_and(|one| one.change != *change) {
                    return tell("an acknowledged change is not in the audit log");
                }
                call.changed = Some(true);
                Ok(Some(call))
            }
            Heard::Done { change: None } if made.is_empty() => {
                call.changed = Some(false);
                Ok(Some(call))
            }
            Heard::Done { change: None } => tell("a call that changed nothing left an entry"),
            Heard::Refused { .. } if made.is_empty() => Ok(None),
            Heard::Refused { .. } => tell("a call that was refused was carried out"),
            Heard::Unconfirmed { .. } | Heard::Silence if looks => Ok(None),
            Heard::Unconfirmed { change } => {
                let entry = change.as_ref().and_then(|change| self.by_change.get(change));
                call.end = None;
                call.certain = entry.is_some_and(|entry| entry.changed);
                match (call.certain, change) {
                    (true, _) => Ok(Some(Call { changed: Some(true), ..call })),
                    (false, Some(_)) if made.is_empty() => Ok(None),
                    (false, Some(_)) => tell("a change was made under another id than was told"),
                    (false, None) => Ok(Some(Call { certain: !made.is_empty(), ..call })),
                }
            }
            Heard::Silence => {
                call.end = None;
                call.certain = !made.is_empty();
                match (call.certain, kept.reason.is_empty()) {
                    (true, _) => Ok(Some(Call { changed: Some(true), ..call })),
                    // Its entry would say the reason.
                    (false, false) => Ok(None),
                    (false, true) => Ok(Some(call)),
                }
            }
        }
    }
}

/// A client with an administrator's token.
pub struct Client<'a> {
    http: reqwest::Client,
    ledger: &'a Ledger,
    zoid: OrganizationId,
    authorization: String,
}

impl<'a> Client<'a> {
    pub fn new(ledger: &'a Ledger, zoid: OrganizationId, token: &str, patience: Duration) -> Self {
        let http = reqwest::Client::builder()
            .timeout(patience)
            .connect_timeout(Duration::from_secs(1))
            .no_proxy()
            .build()
            .expect("a client");
        Self { http, ledger, zoid, authorization: format!("Zoho-oauthtoken {token}") }
    }

    /// Asks a node for a mode on an account, and remembers what was heard. With a key it may be sent
    /// again, to any of the doors.
    pub async fn ask(&self, door: SocketAddr, on: i64, mode: &str, more: Value, act: Act) -> Heard {
        let reason = format!("op {}", self.ledger.fresh());
        let start = self.ledger.now();
        let heard = self.put(door, on, mode, more, &reason, None).await;
        let told = format!("{mode} at {door}, {reason}");
        self.ledger.keep(on, start, act, reason, heard.clone(), told);
        heard
    }

    /// The same with an idempotency key, until it is done, and then once more.
    pub async fn ask_once(&self, doors: &[SocketAddr], on: i64, mode: &str, more: Value, act: Act) {
        let (number, start) = (self.ledger.fresh(), self.ledger.now());
        let (reason, key) = (format!("op {number}"), format!("key {number}"));
        let (mut settled, mut doubt, mut end) = (None, false, 0);
        for turn in 0..6 {
            let door = doors[turn % doors.len()];
            let heard = self.put(door, on, mode, more.clone(), &reason, Some(&key)).await;
            match (&heard, &settled) {
                (Heard::Done { .. }, None) => {
                    settled = Some(heard);
                    end = turn;
                }
                (Heard::Done { .. }, Some(first)) if heard != *first => {
                    self.ledger
                        .wrong(format!("a repeat with a key was answered otherwise: {first:?}, {heard:?}"));
                }
                (Heard::Silence | Heard::Unconfirmed { .. }, None) => doubt = true,
                _ => {}
            }
            if settled.is_some() && turn > end {
                break;
            }
            if settled.is_none() {
                tokio::time::sleep(Duration::from_millis(150)).await;
            }
        }
        let heard = match (settled, doubt) {
            (Some(done), _) => done,
            (None, true) => Heard::Silence,
            (None, false) => Heard::Refused { status: 503 },
        };
        self.ledger.keep(on, start, act, reason, heard, format!("{mode} with {key}"));
    }

    pub async fn put(
        &self,
        door: SocketAddr,
        on: i64,
        mode: &str,
        mut more: Value,
        reason: &str,
        key: Option<&str>,
    ) -> Heard {
        more["mode"] = json!(mode);
        more["zuid"] = json!(on);
        let path = format!("/api/organization/{}/accounts/{on}", self.zoid);
        self.send(Method::PUT, door, &path, &more, Some(reason), key).await.0
    }

    /// One call; what was heard, and what the answer carries.
    pub async fn send(
        &self,
        method: Method,
        door: SocketAddr,
        path: &str,
        body: &Value,
        reason: Option<&str>,
        key: Option<&str>,
    ) -> (Heard, Value) {
        let mut request = self.http.request(method, format!("http://{door}{path}"));
        if !body.is_null() {
            request = request.json(body);
        }
        if path.starts_with("/api/") {
            request = request.header("authorization", &self.authorization);
        }
        for (header, value) in [("x-mailward-reason", reason), ("idempotency-key", key)] {
            if let Some(value) = value {
                request = request.header(header, value);
            }
        }
        let Ok(response) = request.send().await else { return (Heard::Silence, Value::Null) };
        let status = response.status().as_u16();
        let change = response.headers().get("x-mailward-change");
        let change = change.map(|value| value.to_str().expect("digits").to_owned());
        let comes_again = response.headers().contains_key("retry-after");
        let Ok(text) = response.text().await else { return (Heard::Silence, Value::Null) };
        let answer: Value = serde_json::from_str(&text).unwrap_or_default();
        let heard = match status {
            200 | 201 => Heard::Done { change },
            503 if text.contains("did not confirm") => Heard::Unconfirmed { change },
            status => Heard::Refused { status },
        };
        if matches!(status, 429 | 503) && !comes_again {
            self.ledger.wrong(format!("{status} without Retry-After at {door}{path}: {text}"));
        }
        if status >= 500 && status != 503 {
            self.ledger.wrong(format!("{status} at {door}{path}: {text}"));
        }
        (heard, answer)
    }

    /// Looks at an account, and remembers how it was shown; what, if it was.
    pub async fn look(&self, door: SocketAddr, on: i64) -> Option<State> {
        let start = self.ledger.now();
        let path = format!("/api/organization/{}/accounts/{on}", self.zoid);
        let (heard, answer) = self.get(door, &path).await;
        if heard != (Heard::Done { change: None }) {
            self.ledger.count();
            return None;
        }
        let Some(found) = self.ledger.shown(&answer["data"]) else {
            self.ledger.wrong(format!("{door}{path} shows {answer}"));
            return None;
        };
        self.ledger.keep(on, start, Act::Look(found), String::new(), heard, format!("look at {door}"));
        Some(found)
    }

    pub async fn get(&self, door: SocketAddr, path: &str) -> (Heard, Value) {
        self.send(Method::GET, door, path, &Value::Null, None, None).await
    }

    /// The person chooses a new password.
    pub async fn choose(&self, door: SocketAddr, on: &Someone, current: u32) {
        let (new, start) = (self.ledger.fresh(), self.ledger.now());
        let body = json!({"address": on.email, "password": password(current), "newPassword": password(new)});
        let (heard, answer) = self.send(Method::POST, door, "/self/password", &body, None, None).await;
        let (act, heard) = match heard {
            Heard::Refused { status: 401 } => (Act::TurnedAway { current }, Heard::Done { change: None }),
            Heard::Refused { status } if status != 503 => {
                self.ledger.wrong(format!("a new password was answered with {status}: {answer}"));
                return;
            }
            heard => (Act::Choose { current, new }, heard),
        };
        self.ledger.keep(on.zuid, start, act, String::new(), heard, format!("choose at {door}"));
    }
}

pub fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
