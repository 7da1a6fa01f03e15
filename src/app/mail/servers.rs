//! The mail servers whose sessions Mailward ends: which there are, and whether they answer.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use crate::app::App;
use crate::app::call::{Caller, Context, authenticate};
use crate::app::journal;
use crate::app::mail::agents;
use crate::clock::Millis;
use crate::domain::effect::{PERSON, PROJECTION};
use crate::domain::ids::OrganizationId;
use crate::domain::rights;
use crate::error::{Error, Result};
use crate::mailserver::doveadm::{Doveadm, DoveadmConfig};
use crate::mailserver::{MailServer, Session};
use crate::store;
use crate::store::engine::Tx;
use crate::store::mail_servers::MailServerRow;
use crate::store::outbox::Backlog;

/// Every mail server that can be used, and why one cannot.
pub async fn all(app: &App) -> Result<Vec<(MailServerRow, Result<MailServer>)>> {
    let rows = store::mail_servers::all(&mut *app.db.read().await?).await?;
    Ok(rows
        .into_iter()
        .map(|row| {
            let server = connect(&row);
            (row, server)
        })
        .collect())
}

/// The mail servers that may have sessions of the organization's people, hosts with an agent among them (every one where
/// no organization is named). `None` for one that cannot be asked from here.
///
/// # Errors
/// `Unavailable`.
pub async fn with_sessions_of(
    app: &App,
    organization: Option<OrganizationId>,
) -> Result<Vec<(String, Option<MailServer>)>> {
    let mut tx = app.db.snapshot().await?;
    let rows = store::mail_servers::all(&mut tx).await?;
    let hosts = match organization {
        Some(zoid) => store::mail_agents::statuses_for(&mut tx, zoid).await?,
        None => store::mail_agents::statuses(&mut tx).await?,
    };
    drop(tx);
    let servers = rows.into_iter().map(|row| {
        let server = connect(&row).ok();
        (row.name, server)
    });
    // An agent may have its link to another node, or to none.
    let hosts = hosts.into_iter().map(|host| {
        let server = app.agents.server(&host.name);
        (host.name, server)
    });
    Ok(servers.chain(hosts).collect())
}

/// The sessions that each of these servers has open; `None` where it did not say.
pub async fn sessions(
    servers: Vec<(String, Option<MailServer>)>,
    patience: Duration,
) -> Vec<(String, Option<Vec<Session>>)> {
    let asked = servers.into_iter().map(|(name, server)| {
        (name, async move {
            match server {
                Some(server) => server.who().await.ok(),
                None => None,
            }
        })
    });
    let answers = at_once(asked.collect(), patience).await;
    answers.into_iter().map(|(name, open)| (name, open.flatten())).collect()
}

/// Asks all at once, so that several that hang cost no more than one; `None` for one without an answer.
async fn at_once<K, T: Send + 'static>(
    asked: Vec<(K, impl Future<Output = T> + Send + 'static)>,
    patience: Duration,
) -> Vec<(K, Option<T>)> {
    let running: Vec<_> = asked
        .into_iter()
        .map(|(whom, asking)| (whom, tokio::spawn(tokio::time::timeout(patience, asking))))
        .collect();
    let mut answers = Vec::with_capacity(running.len());
    for (whom, running) in running {
        // One that panics did not answer either.
        answers.push((whom, running.await.ok().and_then(|answer| answer.ok())));
    }
    answers
}

/// The client for a mail server; nothing is asked yet.
///
/// # Errors
/// `BadValue`: an address without TLS beyond this machine, a key file that others can read.
pub fn connect(row: &MailServerRow) -> Result<MailServer> {
    let config = DoveadmConfig {
        name: row.name.clone(),
        url: row.url.clone(),
        key_file: PathBuf::from(&row.key_file),
        certificate_sha256: row.certificate_sha256.clone(),
        ca_file: row.ca_file.as_ref().map(PathBuf::from),
    };
    Doveadm::new(&config).map(MailServer::Doveadm).map_err(|why| Error::bad_value("mail server", why))
}

/// Adds a mail server, or replaces the one of that name, after asking it whether it takes the key. Audited as
/// `addMailServer`, as everything here that changes the list.
///
/// # Errors
/// As `connect`; `Refused` when it does not answer or does not take the key, unless `unasked`.
pub async fn add(app: &App, context: &Context, row: MailServerRow, unasked: bool) -> Result<()> {
    check_name("a mail server", &row.name)?;
    let server = connect(&row)?;
    if !unasked {
        server.check().await.map_err(|why| Error::Refused(format!("{}: {why}", row.name)))?;
    }
    let notes = [("server", row.name.clone())];
    record_everywhere(app, context, "addMailServer", notes, async move |tx| {
        if store::mail_agents::all(tx).await?.iter().any(|agent| agent.name == row.name) {
            return Err(Error::Refused(format!("there is an agent {} already", row.name)));
        }
        store::mail_servers::put(tx, &row).await
    })
    .await
}

/// Removes a mail server; what waits for it is ended with that remark.
///
/// # Errors
/// `NotFound`.
pub async fn remove(app: &App, context: &Context, name: &str) -> Result<()> {
    let (gone, now) = (name.to_owned(), app.clock.now());
    record_everywhere(app, context, "removeMailServer", [("server", name.to_owned())], async move |tx| {
        match store::mail_servers::remove(tx, &gone, now).await {
            Err(Error::Stale) => Err(Error::NotFound(format!("there is no mail server {gone}"))),
            other => other,
        }
    })
    .await
}

/// Changes who is told of changes, with an entry in every organization's log: whoever is added learns of all of
/// them. A dry run undoes both.
pub(super) async fn record_everywhere<const N: usize>(
    app: &App,
    context: &Context,
    verb: &'static str,
    notes: [(&'static str, String); N],
    change: impl AsyncFn(&mut Tx) -> Result<()> + Send + 'static,
) -> Result<()> {
    let (inner, notes, now) = (context.clone(), BTreeMap::from(notes), app.clock.now());
    let both = async move |tx: &mut Tx| {
        change(tx).await?;
        journal::everywhere(tx, &inner, verb, &notes, now).await
    };
    if context.dry_run { app.db.rehearse(both).await } else { app.db.write(both).await }
}

/// The refusal of a name that cannot be a mail server's or an agent's: receipts and metrics show it.
///
/// # Errors
/// `BadValue`.
pub fn check_name(what: &str, name: &str) -> Result<()> {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '.' || c == '_';
    if name.is_empty() || name.len() > 64 || !name.chars().all(plain) {
        return Err(Error::bad_value("name", format!("{what}'s name has letters, digits, '-', '.' and '_'")));
    }
    if [PROJECTION, PERSON].contains(&name) {
        return Err(Error::bad_value("name", format!("{name} is reserved; choose another name")));
    }
    Ok(())
}

/// How a mail server, or the look-ups, stand.
#[derive(Debug, Clone)]
pub struct Health {
    /// `None` for the look-ups.
    pub name: Option<String>,
    /// Whether it answers and takes our key, or why not; nobody asks the look-ups.
    pub answer: Option<std::result::Result<(), String>>,
    /// What waits for it, of every organization.
    pub backlog: Backlog,
    pub added: Option<Millis>,
}

/// How long a server may take to answer before it counts as away.
const PATIENCE: Duration = Duration::from_secs(2);

/// How every mail server stands, asked at once, for the organization's administrators.
///
/// # Errors
/// Rights.
pub async fn health(app: &App, caller: &Caller, zoid: OrganizationId) -> Result<Vec<Health>> {
    let (mut rows, mut hosts) = (Vec::new(), Vec::new());
    let now = app.clock.now();
    let of_look_ups = {
        let mut tx = app.db.snapshot().await?;
        let actor = authenticate(&mut tx, caller, now).await?;
        rights::may_administer(&actor, zoid)?;
        for row in store::mail_servers::all(&mut tx).await? {
            let backlog = store::outbox::backlog_of(&mut tx, &row.name).await?;
            rows.push((row, backlog));
        }
        let added = store::mail_agents::all(&mut tx).await?;
        for status in store::mail_agents::statuses_for(&mut tx, zoid).await? {
            let backlog = store::outbox::backlog_of(&mut tx, &status.name).await?;
            let added = added.iter().find(|row| row.name == status.name).map(|row| row.created_at);
            let answer = Some(agents::is_here(&status, now));
            hosts.push(Health { name: Some(status.name), answer, backlog, added });
        }
        store::outbox::backlog_of(&mut tx, PROJECTION).await?
    };
    let asked = rows.into_iter().map(|(row, backlog)| {
        let server = connect(&row);
        ((row, backlog), async move {
            match server {
                Ok(server) => server.check().await.map_err(|why| why.to_string()),
                Err(why) => Err(why.to_string()),
            }
        })
    });
    let asked = at_once(asked.collect(), PATIENCE).await;
    let mut all = vec![Health { name: None, answer: None, backlog: of_look_ups, added: None }];
    for ((row, backlog), answer) in asked {
        let answer = answer.unwrap_or_else(|| Err("it does not answer".to_owned()));
        let (name, added) = (Some(row.name), Some(row.created_at));
        all.push(Health { name, answer: Some(answer), backlog, added });
    }
    all.append(&mut hosts);
    Ok(all)
}

#[cfg(test)]
mod tests {
    use std::pin::Pin;

    use super::*;

    #[tokio::test]
    async fn whoever_hangs_or_panics_is_named_as_one_without_an_answer() {
        type Asking = Pin<Box<dyn Future<Output = u32> + Send>>;
        let asked: Vec<(&str, Asking)> = vec![
            ("hangs", Box::pin(std::future::pending())),
            ("panics", Box::pin(async { panic!("on purpose") })),
            ("hangs too", Box::pin(std::future::pending())),
            ("answers", Box::pin(async { 7 })),
        ];
        let answers = at_once(asked, Duration::from_millis(50)).await;
        assert_eq!(answers, [("hangs", None), ("panics", None), ("hangs too", None), ("answers", Some(7))]);
    }
}
