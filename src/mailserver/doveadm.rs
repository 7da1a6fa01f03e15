//! Dovecot's doveadm over HTTP: who is logged in, and ending sessions.
//! Only over loopback, or TLS to a certificate we know: the key opens every mailbox.
//! Errors of commands come inside a 200 answer (<https://doc.dovecot.org/2.3/admin_manual/doveadm_http_api/>).

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::{Request, StatusCode, header};
use hyper_util::rt::TokioIo;
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};
use tokio::time::timeout;
use url::Url;

use super::connection::{Endpoint, Io, Trust, Wording, read_key};
use super::{Ended, Session, SessionMask};

const CONNECT: Duration = Duration::from_secs(2);
const TOTAL: Duration = Duration::from_secs(5);
/// Commands in one call: 100 took 87 ms, 100 calls in a row 769 ms.
const CHUNK: usize = 100;
/// Some 200,000 sessions.
const LARGEST_ANSWER: usize = 32 << 20;
/// doveadm's exit code for "nobody has that name logged in" (EX_NOUSER is 67, EX_NOHOST 68).
const NOBODY: i64 = 68;

/// What doveadm's key is good for.
const OPENS: &str = "it opens every mailbox";

/// How to reach one Dovecot, as the configuration has it.
#[derive(Debug, Clone)]
pub struct DoveadmConfig {
    /// What people call this server.
    pub name: String,
    /// Such as `http://127.0.0.1:8080` or `https://imap1.example.test:8443`; the path is ours.
    pub url: String,
    /// Holds the key in its first line; readable by its owner alone.
    pub key_file: PathBuf,
    /// SHA-256 of the server's certificate (DER), hex with or without colons.
    pub certificate_sha256: Option<String>,
    /// Or the authority that signed it, PEM.
    pub ca_file: Option<PathBuf>,
}

/// Why a server did not do what was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DoveadmError {
    /// Nothing was sent: no connection, or TLS did not come about.
    #[error("not reachable: {0}")]
    Unreachable(String),
    /// No answer within the time; what was asked may have happened.
    #[error("no answer within {} seconds", TOTAL.as_secs())]
    Timeout,
    /// The server does not know our key.
    #[error("the server refused the key")]
    WrongKey,
    /// An answer that is none of doveadm's.
    #[error("unexpected answer: {0}")]
    Answer(String),
    /// doveadm understood and failed.
    #[error("doveadm {command} failed: {why}")]
    Command { command: &'static str, why: String },
    /// The agent that was to ask it could not be asked, or told why it could not.
    #[error("{0}")]
    Agent(String),
}

/// A client of one Dovecot.
#[derive(Clone)]
pub struct Doveadm {
    name: String,
    place: Endpoint,
    key: SecretString,
}

impl Doveadm {
    /// Reads key and certificates and refuses what is not safe, with a text for the administrator.
    ///
    /// # Errors
    /// A URL that is neither loopback nor pinned https, a key file that others can read, a bad pin.
    pub fn new(config: &DoveadmConfig) -> Result<Self, String> {
        let place = Endpoint::new(
            &config.url,
            &Trust {
                certificate_sha256: config.certificate_sha256.as_deref(),
                ca_file: config.ca_file.as_deref(),
                public: false,
            },
            &Wording { whom: "a mail server", what: "doveadm", key: "the key, which opens every mailbox," },
        )?;
        Ok(Self { name: config.name.clone(), key: read_key(&config.key_file, OPENS)?, place })
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn url(&self) -> &Url {
        self.place.url()
    }

    /// Whether both have the same key.
    pub fn has_key_of(&self, other: &Self) -> bool {
        self.key.expose_secret() == other.key.expose_secret()
    }

    /// Asks for a session that cannot exist: an empty list means that the key is good.
    ///
    /// # Errors
    /// As [`DoveadmError`] says.
    pub async fn check(&self) -> Result<(), DoveadmError> {
        self.who_is(Some("no-such-mailbox@g0".into())).await.map(drop)
    }

    /// Every open session of this server.
    ///
    /// # Errors
    /// As [`DoveadmError`] says.
    pub async fn who(&self) -> Result<Vec<Session>, DoveadmError> {
        self.who_is(None).await
    }

    async fn who_is(&self, mask: Option<String>) -> Result<Vec<Session>, DoveadmError> {
        let mut replies = self.call(&[who(mask)]).await?;
        sessions(replies.pop().ok_or_else(|| DoveadmError::Answer("no reply".into()))?)
    }

    /// Ends sessions, and says how many of each mask were open just before.
    ///
    /// # Errors
    /// As [`DoveadmError`] says; what came before the failure has happened.
    pub async fn kick(&self, masks: &[SessionMask]) -> Result<Vec<Ended>, DoveadmError> {
        let mut ended = Vec::with_capacity(masks.len());
        for chunk in masks.chunks(CHUNK) {
            // 2.3 does not say how many sessions a kick ended, so the same call asks who there is, first.
            let mask = match chunk {
                [only] => Some(only.as_doveadm()),
                _ => None,
            };
            let mut commands = vec![who(mask)];
            // One mask per command: several in one are taken for conditions that must all hold.
            commands.extend(chunk.iter().map(|mask| ("kick", json!({"mask": [mask.as_doveadm()]}))));
            let mut replies = self.call(&commands).await?.into_iter();
            let before = sessions(replies.next().ok_or_else(|| DoveadmError::Answer("no reply".into()))?)?;
            for (mask, reply) in chunk.iter().zip(replies) {
                let seen = before.iter().filter(|session| mask.matches(&session.name)).count() as u64;
                ended.push(Ended { mask: mask.clone(), sessions: kicked(reply)?.unwrap_or(seen) });
            }
        }
        Ok(ended)
    }

    /// `doveadm reload`: the server reads its configuration and opens its files again.
    ///
    /// # Errors
    /// As [`DoveadmError`] says.
    pub async fn reload(&self) -> Result<(), DoveadmError> {
        match self.call(&[("reload", json!({}))]).await?.pop() {
            Some(Reply::Rows(_)) => Ok(()),
            Some(Reply::ExitCode(code)) => Err(failed("reload", code)),
            None => Err(DoveadmError::Answer("no reply".into())),
        }
    }

    /// Sends commands, which run in order, and gives their replies in the same order.
    async fn call(&self, commands: &[(&'static str, Value)]) -> Result<Vec<Reply>, DoveadmError> {
        let tagged: Vec<_> = commands
            .iter()
            .enumerate()
            .map(|(n, (name, arguments))| json!([name, arguments, format!("t{n}")]))
            .collect();
        let body = Bytes::from(Value::Array(tagged).to_string());
        let answer = timeout(TOTAL, self.post(body)).await.map_err(|_| DoveadmError::Timeout)??;
        replies(&answer, commands)
    }

    async fn post(&self, body: Bytes) -> Result<Bytes, DoveadmError> {
        let stream = self.place.connect(CONNECT).await.map_err(DoveadmError::Unreachable)?;
        self.post_over(stream, body).await
    }

    async fn post_over(&self, stream: Io, body: Bytes) -> Result<Bytes, DoveadmError> {
        let broken = |e: hyper::Error| DoveadmError::Answer(e.to_string());
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
        let mut key = header::HeaderValue::try_from(format!(
            "X-Dovecot-API {}",
            STANDARD.encode(self.key.expose_secret())
        ))
        .expect("base64 has only visible ASCII");
        key.set_sensitive(true);
        // No "Connection: close": Dovecot 2.3.19 then never sends its 401.
        let request = Request::post("/doveadm/v1")
            .header(header::HOST, self.url().authority())
            .header(header::AUTHORIZATION, key)
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::new(body))
            .map_err(|e| DoveadmError::Answer(e.to_string()))?;
        let exchange = async {
            let response = sender.send_request(request).await.map_err(broken)?;
            match response.status() {
                StatusCode::OK => {}
                StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => return Err(DoveadmError::WrongKey),
                status => return Err(DoveadmError::Answer(format!("HTTP status {status}"))),
            }
            let body = Limited::new(response.into_body(), LARGEST_ANSWER).collect().await;
            Ok(body.map_err(|e| DoveadmError::Answer(e.to_string()))?.to_bytes())
        };
        // The connection lives as long as the exchange: nothing is left running after a timeout.
        tokio::select! {
            answer = exchange => answer,
            ended = async { connection.await.map_err(broken)?; std::future::pending().await } => ended,
        }
    }
}

/// One reply of doveadm.
#[derive(Debug)]
enum Reply {
    Rows(Vec<Value>),
    ExitCode(i64),
}

/// `separateConnections`: without it, two or more rows are broken JSON in 2.3.
fn who(mask: Option<String>) -> (&'static str, Value) {
    let mut arguments = json!({"separateConnections": true});
    if let Some(mask) = mask {
        arguments["mask"] = json!([mask]);
    }
    ("who", arguments)
}

fn failed(command: &'static str, code: i64) -> DoveadmError {
    DoveadmError::Command { command, why: format!("exit code {code}") }
}

/// Reads the answer to a request with `who` alone in it.
///
/// # Errors
/// `Answer` for what is none, `Command` for a refusal.
pub fn who_answer(answer: &[u8]) -> Result<Vec<Session>, DoveadmError> {
    let mut replies = replies(answer, &[who(None)])?;
    sessions(replies.pop().ok_or_else(|| DoveadmError::Answer("no reply".into()))?)
}

/// Reads the answer to a request with one `kick` alone in it: how many sessions ended, where it says so.
///
/// # Errors
/// As `who_answer`.
pub fn kick_answer(answer: &[u8]) -> Result<Option<u64>, DoveadmError> {
    let mut replies = replies(answer, &[("kick", Value::Null)])?;
    kicked(replies.pop().ok_or_else(|| DoveadmError::Answer("no reply".into()))?)
}

/// Replies look like `["doveadmResponse",[…],"t0"]` or `["error",{"type":"exitCode","exitCode":68},"t0"]`.
fn replies(answer: &[u8], commands: &[(&'static str, Value)]) -> Result<Vec<Reply>, DoveadmError> {
    let bad = |why: &str| DoveadmError::Answer(why.to_owned());
    let answer: Vec<(String, Value, String)> = serde_json::from_slice(answer)
        .map_err(|e| DoveadmError::Answer(format!("no JSON of doveadm's: {e}")))?;
    if answer.len() != commands.len() {
        return Err(bad("not one reply for each command"));
    }
    answer
        .into_iter()
        .zip(commands)
        .enumerate()
        .map(|(n, ((kind, value, tag), (command, _)))| {
            if tag != format!("t{n}") {
                return Err(bad("replies out of order"));
            }
            match (kind.as_str(), value) {
                ("doveadmResponse", Value::Array(rows)) => Ok(Reply::Rows(rows)),
                ("error", error) => match (error["type"].as_str(), number(&error["exitCode"])) {
                    (Some("exitCode"), Some(code)) => Ok(Reply::ExitCode(code)),
                    (kind, _) => Err(DoveadmError::Command {
                        command,
                        why: kind.unwrap_or("an error without a type").to_owned(),
                    }),
                },
                _ => Err(bad("a reply of an unknown kind")),
            }
        })
        .collect()
}

fn sessions(reply: Reply) -> Result<Vec<Session>, DoveadmError> {
    let rows = match reply {
        Reply::Rows(rows) => rows,
        Reply::ExitCode(NOBODY) => return Ok(Vec::new()),
        Reply::ExitCode(code) => return Err(failed("who", code)),
    };
    rows.into_iter()
        .map(|row| {
            let text = |field: &str| row[field].as_str().map(str::to_owned);
            Ok(Session {
                name: text("username")
                    .ok_or_else(|| DoveadmError::Answer("a session without a name".into()))?,
                service: text("service").unwrap_or_default(),
                pid: number(&row["pid"]).and_then(|pid| u32::try_from(pid).ok()),
                ip: text("ip").and_then(|ip| ip.parse().ok()),
            })
        })
        .collect()
}

/// How many sessions a kick ended, when the server says it (2.4).
fn kicked(reply: Reply) -> Result<Option<u64>, DoveadmError> {
    match reply {
        Reply::ExitCode(NOBODY) => Ok(Some(0)),
        Reply::ExitCode(code) => Err(failed("kick", code)),
        Reply::Rows(rows) => {
            let counts: Option<Vec<_>> =
                rows.iter().map(|row| number(&row["count"]).and_then(|n| u64::try_from(n).ok())).collect();
            let sum = |counts: Vec<u64>| counts.into_iter().fold(0, u64::saturating_add);
            Ok(counts.filter(|counts| !counts.is_empty()).map(sum))
        }
    }
}

/// doveadm sends numbers as strings, mostly.
fn number(value: &Value) -> Option<i64> {
    value.as_i64().or_else(|| value.as_str()?.parse().ok())
}

impl fmt::Debug for Doveadm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Doveadm")
            .field("name", &self.name)
            .field("url", &self.url().as_str())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
