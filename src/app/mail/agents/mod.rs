//! The agents on mail hosts (docs/decisions/0032). Here: which there are, their keys, how they stand. `hold` is the
//! node's side of a link, `run` the agent's, `obey` what an agent does with its files.

mod asks;
mod hold;
mod obey;
mod run;

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::{Semaphore, oneshot};

use crate::app::App;
use crate::app::call::Context;
use crate::app::mail::servers;
use crate::app::throttle::{self, Subject};
use crate::clock::{Millis, SECOND};
use crate::domain::email_address::DomainName;
use crate::domain::secret::{self, Fingerprint, Secret};
use crate::error::{Error, Result};
use crate::mailserver::MailServer;
use crate::store;
use crate::store::mail_agents::{AgentStatus, EVERY_DOMAIN, MailAgentRow};

pub use crate::mailserver::link::{LINK_PATH, PROTOCOL};
pub use hold::{HEARTBEAT, hold};
pub use run::{Agent, nodes};

/// An agent that was not heard from for so long counts as away. Heartbeats go several times as often.
pub const AWAY: Millis = 30 * SECOND;

/// The hosts whose agents are connected to this node, by name.
#[derive(Debug)]
pub struct ConnectedHosts {
    linked: Mutex<HashMap<String, Linked>>,
    /// Hosts that may hold a connection to the database while their agent writes: slow ones must not have them all.
    walks: Semaphore,
}

#[derive(Debug)]
struct Linked {
    /// Names the connection.
    link: String,
    server: MailServer,
    /// Dropped when a newer connection takes over.
    _stays: oneshot::Sender<()>,
}

/// Comes to an end when the agent has a newer connection to this node.
type Replaced = oneshot::Receiver<()>;

impl ConnectedHosts {
    /// Nobody yet, at a node with so many connections to the database.
    pub fn new(pool_size: usize) -> Self {
        Self { linked: Mutex::default(), walks: Semaphore::new((pool_size / 4).max(1)) }
    }

    /// The sessions of a host, if this node can ask for them.
    pub fn server(&self, name: &str) -> Option<MailServer> {
        self.lock().get(name).map(|linked| linked.server.clone())
    }

    fn came(&self, link: &str, server: MailServer) -> Replaced {
        let (stays, replaced) = oneshot::channel();
        let name = server.name().to_owned();
        self.lock().insert(name, Linked { link: link.to_owned(), server, _stays: stays });
        replaced
    }

    /// Removes the host, unless a newer connection has taken over.
    fn went(&self, name: &str, link: &str) {
        let mut all = self.lock();
        if all.get(name).is_some_and(|linked| linked.link == link) {
            all.remove(name);
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Linked>> {
        self.linked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether an agent was heard of a moment ago, or since when it was not.
///
/// # Errors
/// In words.
pub fn is_here(status: &AgentStatus, now: Millis) -> std::result::Result<(), String> {
    match status.heard_at {
        Some(at) if now - at <= AWAY => Ok(()),
        Some(at) => Err(format!("its agent was last heard of {} seconds ago", (now - at) / SECOND)),
        None => Err("its agent was never heard of".to_owned()),
    }
}

/// Those of an agent's domains that no organization has proved to be its own: mail to them is not taken.
///
/// # Errors
/// `Unavailable`.
pub async fn unknown_domains(app: &App, agent: &MailAgentRow) -> Result<Vec<String>> {
    let known = store::organizations::verified_domains(&mut *app.db.read().await?).await?;
    let unknown = agent.domains.iter().filter(|domain| *domain != EVERY_DOMAIN && !known.contains(domain));
    Ok(unknown.cloned().collect())
}

/// Makes an agent known; answers its key, which is told this once.
///
/// # Errors
/// `BadValue` for a name or a domain that is none; `Refused` when the name is taken.
pub async fn add(
    app: &App,
    context: &Context,
    name: &str,
    domains: &[String],
) -> Result<(MailAgentRow, Secret)> {
    servers::check_name("an agent", name)?;
    let mut known = Vec::with_capacity(domains.len());
    for domain in domains {
        known.push(if domain == EVERY_DOMAIN {
            EVERY_DOMAIN.to_owned()
        } else {
            DomainName::parse(domain)?.to_string()
        });
    }
    known.sort();
    known.dedup();
    if known.is_empty() {
        return Err(Error::bad_value("--domain", "name the domains of the host, or * for every one"));
    }
    let key = app.random.with(secret::new_link);
    let (hash, row) = (
        key.fingerprint(),
        MailAgentRow { name: name.to_owned(), domains: known, created_at: app.clock.now() },
    );
    let inner = row.clone();
    let notes = [("agent", row.name.clone()), ("domains", row.domains.join(" "))];
    servers::record_everywhere(app, context, "addMailAgent", notes, async move |tx| {
        let taken = |what: &str| Err(Error::Refused(format!("there is {what} {} already", inner.name)));
        if store::mail_servers::all(tx).await?.iter().any(|server| server.name == inner.name) {
            return taken("a mail server");
        }
        if store::mail_agents::all(tx).await?.iter().any(|agent| agent.name == inner.name) {
            return taken("an agent");
        }
        store::mail_agents::insert(tx, &inner, &hash).await
    })
    .await?;
    Ok((row, key))
}

/// Gives an agent another key; the connection that it has ends.
///
/// # Errors
/// `NotFound`.
pub async fn rotate_key(app: &App, context: &Context, name: &str) -> Result<Secret> {
    let key = app.random.with(secret::new_link);
    let (hash, notes, name) = (key.fingerprint(), [("agent", name.to_owned())], name.to_owned());
    servers::record_everywhere(app, context, "rotateAgentKey", notes, async move |tx| {
        known(&name, store::mail_agents::rekey(tx, &name, &hash).await)
    })
    .await?;
    Ok(key)
}

/// Removes an agent; what waits for it is ended with that remark.
///
/// # Errors
/// `NotFound`.
pub async fn remove(app: &App, context: &Context, name: &str) -> Result<()> {
    let (notes, name, now) = ([("agent", name.to_owned())], name.to_owned(), app.clock.now());
    servers::record_everywhere(app, context, "removeMailAgent", notes, async move |tx| {
        known(&name, store::mail_agents::remove(tx, &name, now).await)
    })
    .await
}

fn known(name: &str, outcome: Result<()>) -> Result<()> {
    match outcome {
        Err(Error::Stale) => {
            Err(Error::NotFound(format!("there is no mail agent {name}; see `mailward mail-agent list`")))
        }
        other => other,
    }
}

/// An agent with how it stands.
#[derive(Debug, Clone)]
pub struct Known {
    pub row: MailAgentRow,
    pub status: AgentStatus,
    /// Changes that its files lack; `None` when they were never told of.
    pub behind: Option<usize>,
}

/// Every agent, by name.
///
/// # Errors
/// `Unavailable`.
pub async fn all(app: &App) -> Result<Vec<Known>> {
    let mut tx = app.db.snapshot().await?;
    let now = store::feed::now(&mut tx).await?;
    let rows = store::mail_agents::all(&mut tx).await?;
    let mut all = Vec::with_capacity(rows.len());
    for status in store::mail_agents::statuses(&mut tx).await? {
        let Some(row) = rows.iter().find(|row| row.name == status.name).cloned() else { continue };
        let behind = match &status.seen {
            Some(seen) => store::feed::since(&mut tx, seen, &now).await?.map(|changed| changed.len()),
            None => None,
        };
        all.push(Known { row, status, behind });
    }
    Ok(all)
}

/// Whose key that is. A wrong one is counted against where it comes from.
///
/// # Errors
/// `BadToken`; `TooMany` after too many wrong ones.
pub async fn admit(app: &App, key_hash: &Fingerprint, source: Option<IpAddr>) -> Result<MailAgentRow> {
    let found = store::mail_agents::with_key(&mut *app.db.read().await?, key_hash).await?;
    if let Some(agent) = found {
        return Ok(agent);
    }
    let Some(source) = source else { return Err(Error::BadToken) };
    let (now, limits) = (app.clock.now(), &app.config.throttle);
    let (most, window) = (limits.wrong_per_source, limits.window());
    let subject = Subject::mail_agent(source);
    app.db.write(async move |tx| throttle::count(tx, &subject, most, window, now).await).await?;
    Err(Error::BadToken)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mailserver::link::Link;
    use crate::mailserver::remote::Remote;

    #[tokio::test]
    async fn a_newer_connection_ends_the_one_before_and_no_other() {
        let server = |name: &str| {
            let (io, _) = tokio::io::duplex(64);
            MailServer::Agent(Remote::new(name, Link::over(Box::new(io)).0))
        };
        let here = ConnectedHosts::new(16);
        let mut first = here.came("one", server("mx1"));
        let mut other = here.came("two", server("mx2"));
        let mut newer = here.came("three", server("mx1"));
        let ended = |end: &mut Replaced| end.try_recv() == Err(oneshot::error::TryRecvError::Closed);
        assert!(ended(&mut first) && !ended(&mut other) && !ended(&mut newer));
        here.went("mx1", "one");
        assert!(here.server("mx1").is_some(), "the newer one is there");
    }
}
