//! The agents on mail hosts: their keys, their domains, and how far the files of each host are.

use std::collections::BTreeMap;

use crate::clock::Millis;
use crate::domain::ids::OrganizationId;
use crate::domain::secret::Fingerprint;
use crate::error::Result;
use crate::store::engine::{Row, Tx, params};
use crate::store::feed::Mark;
use crate::store::outbox;

/// Stands for every domain among an agent's; the statements on `mail_agent_domain` write it too.
pub const EVERY_DOMAIN: &str = "*";

/// An agent as it was made known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MailAgentRow {
    pub name: String,
    /// The domains whose accounts its host has, or [`EVERY_DOMAIN`]. Sorted.
    pub domains: Vec<String>,
    pub created_at: Millis,
}

/// How far an agent is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentStatus {
    pub name: String,
    /// What the files of its host hold; `None` before it has told.
    pub seen: Option<Mark>,
    pub heard_at: Option<Millis>,
    /// The node that it talks to, or did last.
    pub node: String,
}

/// Makes an agent known.
///
/// # Errors
/// `Unique` when there is one of that name.
pub async fn insert(tx: &mut Tx, agent: &MailAgentRow, key_hash: &Fingerprint) -> Result<()> {
    tx.execute_one(
        "INSERT INTO mail_agent (name, key_hash, created_at) VALUES ($1, $2, $3)",
        params![&agent.name, key_hash, agent.created_at],
    )
    .await?;
    for domain in &agent.domains {
        tx.execute_one(
            "INSERT INTO mail_agent_domain (agent, domain) VALUES ($1, $2)",
            params![&agent.name, domain],
        )
        .await?;
    }
    Ok(())
}

/// Every agent, by name.
pub async fn all(tx: &mut Tx) -> Result<Vec<MailAgentRow>> {
    let mut domains: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let pairs = tx
        .query_all("SELECT agent, domain FROM mail_agent_domain ORDER BY agent, domain", params![], |row| {
            Ok((row.get::<String>("agent")?, row.get::<String>("domain")?))
        })
        .await?;
    for (agent, domain) in pairs {
        domains.entry(agent).or_default().push(domain);
    }
    let read = |row: &Row<'_>| Ok((row.get::<String>("name")?, row.get("created_at")?));
    let agents =
        tx.query_all("SELECT name, created_at FROM mail_agent ORDER BY name", params![], read).await?;
    let agents = agents.into_iter().map(|(name, created_at)| MailAgentRow {
        domains: domains.remove(&name).unwrap_or_default(),
        name,
        created_at,
    });
    Ok(agents.collect())
}

/// The agent with that key.
pub async fn with_key(tx: &mut Tx, key_hash: &Fingerprint) -> Result<Option<MailAgentRow>> {
    let found = tx
        .query_opt("SELECT name, created_at FROM mail_agent WHERE key_hash = $1", params![key_hash], |row| {
            Ok((row.get::<String>("name")?, row.get("created_at")?))
        })
        .await?;
    let Some((name, created_at)) = found else { return Ok(None) };
    let domains = tx
        .query_all(
            "SELECT domain FROM mail_agent_domain WHERE agent = $1 ORDER BY domain",
            params![&name],
            |row| row.get("domain"),
        )
        .await?;
    Ok(Some(MailAgentRow { name, domains, created_at }))
}

/// Gives an agent another key, and takes its word from the connection it has.
///
/// # Errors
/// `Stale` when there is none of that name.
pub async fn rekey(tx: &mut Tx, name: &str, key_hash: &Fingerprint) -> Result<()> {
    tx.execute_one("UPDATE mail_agent SET key_hash = $2 WHERE name = $1", params![name, key_hash]).await?;
    tx.execute("UPDATE mail_agent_standing SET link = '' WHERE agent = $1", params![name]).await.map(drop)
}

/// Removes an agent; what waits for it is ended with that remark.
///
/// # Errors
/// `Stale` when there is none of that name.
pub async fn remove(tx: &mut Tx, name: &str, now: Millis) -> Result<()> {
    tx.execute_one("DELETE FROM mail_agent WHERE name = $1", params![name]).await?;
    tx.execute("DELETE FROM mail_agent_domain WHERE agent = $1", params![name]).await?;
    tx.execute("DELETE FROM mail_agent_standing WHERE agent = $1", params![name]).await?;
    outbox::abandon(tx, name, "the mail agent was removed before it was told", now).await
}

/// From now on this connection, which came with that key, speaks for the agent, and an older one does not.
///
/// # Errors
/// `Stale` when the agent is gone, or has another key by now.
pub async fn take(tx: &mut Tx, name: &str, key_hash: &Fingerprint, link: &str, node: &str) -> Result<()> {
    tx.execute_one(
        "INSERT INTO mail_agent_standing (agent, link, node)
         SELECT name, CAST($2 AS TEXT), CAST($3 AS TEXT) FROM mail_agent WHERE name = $1 AND key_hash = $4
         ON CONFLICT (agent) DO UPDATE SET link = $2, node = $3",
        params![name, link, node, key_hash],
    )
    .await
}

/// After a restore: what hosts have acknowledged was said of another history.
pub async fn forget_statuses(tx: &mut Tx) -> Result<()> {
    tx.execute("DELETE FROM mail_agent_standing", params![]).await.map(drop)
}

/// Notes what the files of the host hold.
///
/// # Errors
/// `Stale` when another connection speaks for the agent.
pub async fn heard(tx: &mut Tx, name: &str, link: &str, seen: Option<&Mark>, now: Millis) -> Result<()> {
    let seen = seen.map(ToString::to_string);
    tx.execute_one(
        "UPDATE mail_agent_standing SET seen = $3, heard_at = $4 WHERE agent = $1 AND link = $2",
        params![name, link, seen.as_deref(), now],
    )
    .await
}

/// Notes that the agent is there, while its files are brought up to date and hold what they held.
///
/// # Errors
/// `Stale` when another connection speaks for the agent.
pub async fn still_heard(tx: &mut Tx, name: &str, link: &str, now: Millis) -> Result<()> {
    tx.execute_one(
        "UPDATE mail_agent_standing SET heard_at = $3 WHERE agent = $1 AND link = $2",
        params![name, link, now],
    )
    .await
}

fn read_status(row: &Row<'_>) -> Result<AgentStatus> {
    Ok(AgentStatus {
        name: row.get("name")?,
        seen: row.get::<Option<&str>>("seen")?.and_then(Mark::read),
        heard_at: row.get("heard_at")?,
        node: row.get::<Option<String>>("node")?.unwrap_or_default(),
    })
}

/// How far every agent is, by name.
pub async fn statuses(tx: &mut Tx) -> Result<Vec<AgentStatus>> {
    tx.query_all(
        "SELECT g.name, s.seen, s.heard_at, s.node FROM mail_agent g
         LEFT JOIN mail_agent_standing s ON s.agent = g.name ORDER BY g.name",
        params![],
        read_status,
    )
    .await
}

/// The same for the agents whose hosts have a domain of the organization.
pub async fn statuses_for(tx: &mut Tx, organization: OrganizationId) -> Result<Vec<AgentStatus>> {
    tx.query_all(
        "SELECT g.name, s.seen, s.heard_at, s.node FROM mail_agent g
         LEFT JOIN mail_agent_standing s ON s.agent = g.name
         WHERE EXISTS (SELECT 1 FROM mail_agent_domain m
                       WHERE m.agent = g.name AND (m.domain = '*' OR m.domain IN
                             (SELECT name FROM domain WHERE organization_id = $1)))
         ORDER BY g.name",
        params![organization],
        read_status,
    )
    .await
}
