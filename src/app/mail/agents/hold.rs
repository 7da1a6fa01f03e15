//! The node's side of a link: it brings the files of the host up to date, has sessions ended there, and records in
//! the database what the agent has acknowledged. It ends with the connection, or when the agent has a newer one.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Interval, MissedTickBehavior, timeout};

use super::Replaced;
use super::asks::{FileAsk, Held, Made, Opened};
use crate::app::App;
use crate::app::mail::feed::{Domains, ForHost, Walk};
use crate::app::mail::projector::instance;
use crate::app::worker;
use crate::domain::secret::{Fingerprint, fingerprint};
use crate::error::{Error, Result};
use crate::mailserver::MailServer;
use crate::mailserver::connection::Io;
use crate::mailserver::link::{Link, LinkError, VERSION};
use crate::mailserver::remote::Remote;
use crate::store;
use crate::store::engine::{Reading, Tx};
use crate::store::feed::{Mark, Now};
use crate::store::mail_agents::MailAgentRow;
use crate::store::outbox::Touched;
use crate::store::projection::{Change, MailboxState};

/// How often an agent is told that the node is there; far below `link::SILENCE`, after which it gives the node up.
pub const HEARTBEAT: Duration = Duration::from_secs(10);
/// How often it is noted, in the midst of other work, that the agent answers; several times within `AWAY`.
const NOTED: Duration = Duration::from_secs(5);
/// How often the database is asked for changes that other nodes made.
const LOOK: Duration = Duration::from_millis(300);
/// After a commit of this node: others that are about to commit go with it.
const BREATH: Duration = Duration::from_millis(5);
/// How long an agent may take to write a page of accounts.
const PATIENCE: Duration = Duration::from_secs(30);
/// The end of a rebuild waits for the disk.
const LONG_PATIENCE: Duration = Duration::from_secs(600);
/// Roughly the bytes of accounts in one request: over a slow line, questions about sessions wait no longer behind it.
const PORTION: usize = 256 << 10;
/// So many accounts are read before the first is told, and need no connection to the database while an agent works.
const FEW: usize = 2000;
/// How long a host waits until it may have a connection for itself.
const TURN: Duration = Duration::from_secs(20);

/// Serves an agent over its connection until that ends. It hears something at least every `heartbeat`,
/// also in the midst of other work. The log says why it ended.
pub async fn hold(app: App, agent: MailAgentRow, key_hash: Fingerprint, io: Io, heartbeat: Duration) {
    let name = agent.name.clone();
    match Holding::begin(app, agent, key_hash, io, heartbeat).await {
        Ok((mut holding, replaced)) => {
            tracing::info!(agent = name, "a mail agent is here");
            let why = tokio::select! {
                why = holding.go_on() => why,
                _ = replaced => given_up(),
            };
            tracing::warn!(agent = name, %why, "a mail agent is gone");
        }
        Err(error) => tracing::warn!(agent = name, %error, "a mail agent came and is gone"),
    }
}

struct Holding {
    app: App,
    agent: MailAgentRow,
    key_hash: Fingerprint,
    domains: Arc<Domains>,
    /// Names this connection: only the newest one of an agent may record what the agent says.
    id: String,
    link: Arc<Link>,
    reading: JoinHandle<LinkError>,
    telling: Option<JoinHandle<()>>,
    /// The position that the files say they hold.
    filed: i64,
    /// What the files hold; `None` when they have to be made anew.
    held: Option<Mark>,
    /// The files were up to date once since this link began. Before that the host may be cut off, and parts of
    /// what it lacks must not open it.
    complete: bool,
    /// The same, for those who wait until the files hold a change.
    shown: watch::Sender<Option<Mark>>,
    heartbeats: Heartbeats,
    /// When it is due to be noted that the agent answers.
    notes: Heartbeats,
}

impl Drop for Holding {
    fn drop(&mut self) {
        self.app.agents.went(&self.agent.name, &self.id);
        self.reading.abort();
        if let Some(telling) = &self.telling {
            telling.abort();
        }
    }
}

fn broken(why: LinkError) -> Error {
    Error::Refused(why.to_string())
}

fn are_few(changed: &[Touched]) -> bool {
    changed.len() <= FEW && changed.iter().all(|row| row.account.is_some())
}

fn given_up() -> Error {
    Error::Refused("it was removed, got a new key, or has a newer connection".to_owned())
}

impl Holding {
    async fn begin(
        app: App,
        agent: MailAgentRow,
        key_hash: Fingerprint,
        io: Io,
        heartbeat: Duration,
    ) -> Result<(Self, Replaced)> {
        let (link, reading) = Link::over(io);
        let reading = tokio::spawn(reading);
        let id = hex::encode(app.random.salt());
        let domains = Arc::new(Domains::new(&agent.domains));
        // Files for other domains hold others' accounts, or lack some: they are those of another database.
        let scope = hex::encode(&fingerprint(&agent.domains.join(" ")).as_bytes()[..8]);
        let mut holding = Self {
            domains,
            id,
            link,
            reading,
            telling: None,
            filed: -1,
            held: None,
            complete: false,
            shown: watch::channel(None).0,
            heartbeats: Heartbeats::every(heartbeat),
            notes: Heartbeats::every(heartbeat.min(NOTED)),
            agent,
            key_hash,
            app,
        };
        let (name, id, node) =
            (holding.agent.name.clone(), holding.id.clone(), holding.app.config.public_url());
        let take = async move |tx: &mut Tx| store::mail_agents::take(tx, &name, &key_hash, &id, &node).await;
        match holding.app.db.write(take).await {
            // The host is kept up to date also while nothing may be written.
            Err(error) if error.is_read_only() => {}
            Err(Error::Stale) => return Err(given_up()),
            other => other?,
        }
        let instance = instance(&holding.app.db, &holding.app.random).await?;
        let open = FileAsk::Open {
            version: VERSION,
            name: holding.agent.name.clone(),
            instance: format!("{instance}/{scope}"),
            now: holding.app.clock.now(),
        };
        let opened: Opened = holding.link.ask(&open, PATIENCE).await.map_err(broken)?;
        if opened.version != VERSION || opened.name != holding.agent.name {
            return Err(Error::Refused(format!(
                "it calls itself {} and speaks version {}; its key is that of {}, and version {VERSION} is spoken here",
                opened.name, opened.version, holding.agent.name
            )));
        }
        holding.filed = opened.position.unwrap_or(-1);
        holding.held = opened.position.map(Mark::upto);
        let server = MailServer::Agent(Remote::new(holding.agent.name.clone(), Arc::clone(&holding.link)));
        let replaced = holding.app.agents.came(&holding.id, server.clone());
        let (app, shown) = (holding.app.clone(), holding.shown.subscribe());
        holding.telling =
            Some(tokio::spawn(async move { worker::serve_mail_server(app, server, Some(shown)).await }));
        Ok((holding, replaced))
    }

    /// Goes on until something ends the link, and answers what it was.
    async fn go_on(&mut self) -> Error {
        loop {
            let app = self.app.clone();
            // Listens before it looks: what is committed in between must not wait.
            let mut woken = std::pin::pin!(app.wake_worker.notified());
            woken.as_mut().enable();
            let outcome = async {
                let mut news = self.bring_up().await?;
                if self.heartbeats.take_due().await {
                    news = true;
                    self.send_heartbeat().await?;
                }
                if news { self.note().await } else { Ok(()) }
            };
            if let Err(error) = outcome.await {
                return error;
            }
            tokio::select! {
                ended = &mut self.reading => {
                    return broken(ended.unwrap_or(LinkError::Ended));
                }
                _ = timeout(LOOK, woken) => tokio::time::sleep(BREATH).await,
            }
        }
    }

    /// Brings the files to what the database shows now; whether there was anything to bring.
    async fn bring_up(&mut self) -> Result<bool> {
        let (tx, now, changed) = self.look().await?;
        match changed {
            Some(changed) if changed.is_empty() => {
                // The files may stay at an older position: nothing lies between.
                self.hold(now.mark);
                Ok(false)
            }
            Some(changed) if are_few(&changed) => self.apply(tx, now, &changed).await,
            Some(_) | None => {
                drop(tx);
                let app = self.app.clone();
                let turn = timeout(TURN, app.agents.walks.acquire()).await;
                let Ok(Ok(_turn)) = turn else {
                    let why = "this node brings as many hosts up to date already as it can at once";
                    return Err(Error::Refused(why.to_owned()));
                };
                match self.look().await? {
                    (tx, now, Some(changed)) => self.apply(tx, now, &changed).await,
                    (tx, now, None) => self.rebuild(tx, now).await.map(|()| true),
                }
            }
        }
    }

    /// What the database shows now, and what of it the files lack; `None` when they have to be made anew.
    async fn look(&mut self) -> Result<(Reading, Now, Option<Vec<Touched>>)> {
        let mut tx = self.app.db.snapshot().await?;
        // Nothing more is told to a key that was replaced: whoever has it may be why.
        let keeper = store::mail_agents::with_key(&mut tx, &self.key_hash).await?;
        if keeper.is_none_or(|agent| agent.name != self.agent.name) {
            return Err(given_up());
        }
        let now = store::feed::now(&mut tx).await?;
        let changed = match &self.held {
            Some(held) => store::feed::since(&mut tx, held, &now).await?,
            None => None,
        };
        Ok((tx, now, changed))
    }

    fn hold(&mut self, mark: Mark) {
        self.complete = true;
        self.held = Some(mark.clone());
        self.shown.send_replace(Some(mark));
    }

    /// Whether the files took it.
    async fn apply(&mut self, mut tx: Reading, now: Now, changed: &[Touched]) -> Result<bool> {
        let since = self.filed;
        let upto = now.mark.position().max(since);
        let domains = match changed.iter().any(|row| row.account.is_none()) {
            true => Some(self.verified_domains(&mut tx).await?),
            false => None,
        };
        let (mut host, mut walk) = (ForHost::new(Arc::clone(&self.domains)), Walk::of(changed));
        let (mut portion, mut read, few) = (Portion::default(), Vec::new(), are_few(changed));
        while let Some((zoid, mut page)) = walk.next(&mut tx).await? {
            host.adapt(&mut tx, zoid, &mut page).await?;
            for change in page {
                portion.add(change);
                if portion.is_full() {
                    read.push(portion.take());
                }
            }
            let due = !few && self.heartbeats.take_due().await;
            if due {
                read.push(portion.take());
            }
            if !few && !self.ask_parts(since, &mut read).await? {
                return Ok(false);
            }
            if due && self.complete {
                self.send_heartbeat().await?;
            }
        }
        drop(tx);
        if !self.ask_parts(since, &mut read).await? {
            return Ok(false);
        }
        let taken =
            self.ask_apply(&FileAsk::Apply { since, upto, changes: portion.take(), domains }, upto).await?;
        if taken {
            self.filed = upto;
            self.hold(now.mark);
            if !few {
                // Parts do not count as contact, and a heartbeat that fell due during the walk may have been used up
                // without being sent.
                self.send_heartbeat().await?;
            }
        }
        Ok(taken)
    }

    /// Has parts written; the position moves with the last one, which is not among them.
    async fn ask_parts(&mut self, since: i64, parts: &mut Vec<Vec<Change>>) -> Result<bool> {
        for changes in parts.drain(..) {
            let ask = FileAsk::Apply { since, upto: since, changes, domains: None };
            if !self.ask_apply(&ask, since).await? {
                return Ok(false);
            }
            self.note_presence().await?;
        }
        Ok(true)
    }

    /// Whether the files have come to that position. If not, the next look begins from what they hold.
    async fn ask_apply(&mut self, ask: &FileAsk, wanted: i64) -> Result<bool> {
        let held: Held = self.link.ask(ask, PATIENCE).await.map_err(broken)?;
        if held.position == Some(wanted) {
            return Ok(true);
        }
        self.begin_again(held.position);
        Ok(false)
    }

    fn begin_again(&mut self, position: Option<i64>) {
        self.filed = position.unwrap_or(-1);
        self.held = position.map(Mark::upto);
    }

    async fn rebuild(&mut self, mut tx: Reading, now: Now) -> Result<()> {
        let position = now.mark.position();
        tracing::info!(agent = self.agent.name, position, "the look-up files of a mail host are made anew");
        let domains = self.verified_domains(&mut tx).await?;
        self.ask_nothing(&FileAsk::Rebuild { position, domains }).await?;
        let (mut host, mut walk) = (ForHost::new(Arc::clone(&self.domains)), Walk::of_all(&mut tx).await?);
        let mut portion = Portion::default();
        while let Some((zoid, mut page)) = walk.next(&mut tx).await? {
            host.adapt(&mut tx, zoid, &mut page).await?;
            for change in page.into_iter().filter(|change| change.state.is_some()) {
                portion.add(change);
                if portion.is_full() {
                    self.ask_page(&mut portion).await?;
                }
            }
            // Far more organizations may have nobody on this host than an agent can wait for.
            if self.heartbeats.take_due().await {
                self.ask_page(&mut portion).await?;
            }
        }
        self.ask_page(&mut portion).await?;
        drop(tx);
        let made: Made = self.link.ask(&FileAsk::Rebuilt, LONG_PATIENCE).await.map_err(broken)?;
        tracing::info!(agent = self.agent.name, accounts = made.accounts, "they were made anew");
        self.filed = position;
        self.hold(now.mark);
        Ok(())
    }

    async fn ask_page(&mut self, portion: &mut Portion) -> Result<()> {
        let states: Vec<MailboxState> =
            portion.take().into_iter().filter_map(|change| change.state).collect();
        self.ask_nothing(&FileAsk::Page { states }).await?;
        self.note_presence().await
    }

    async fn ask_nothing(&self, ask: &FileAsk) -> Result<()> {
        self.link.ask::<serde_json::Value>(ask, PATIENCE).await.map(drop).map_err(broken)
    }

    async fn verified_domains(&self, tx: &mut Tx) -> Result<Vec<String>> {
        let mut all = store::organizations::verified_domains(tx).await?;
        all.retain(|name| self.domains.has(name));
        Ok(all)
    }

    /// Sent only after the database was read: it is what lets a host trust its files for longer.
    async fn send_heartbeat(&mut self) -> Result<()> {
        let ask = FileAsk::StillThere { now: self.app.clock.now() };
        let held: Held = self.link.ask(&ask, PATIENCE).await.map_err(broken)?;
        if held.position != Some(self.filed) {
            self.begin_again(held.position);
        }
        Ok(())
    }

    /// Records what the files hold, for receipts on every node.
    async fn note(&self) -> Result<()> {
        let (name, id, held) = (self.agent.name.clone(), self.id.clone(), self.held.clone());
        let now = self.app.clock.now();
        let noted = self
            .app
            .db
            .write(async move |tx| store::mail_agents::heard(tx, &name, &id, held.as_ref(), now).await)
            .await;
        match noted {
            Err(error) if error.is_read_only() => Ok(()),
            Err(Error::Stale) => Err(given_up()),
            other => other,
        }
    }

    /// Records, every few seconds at most, that the agent answers while its files are brought up to date: one that is
    /// busy for minutes is not away.
    async fn note_presence(&mut self) -> Result<()> {
        if !self.notes.take_due().await {
            return Ok(());
        }
        let (name, id, now) = (self.agent.name.clone(), self.id.clone(), self.app.clock.now());
        let still = async move |tx: &mut Tx| store::mail_agents::still_heard(tx, &name, &id, now).await;
        match self.app.db.write(still).await {
            Err(Error::Stale) => Err(given_up()),
            // The walk itself is worth more than word of it.
            Ok(()) | Err(_) => Ok(()),
        }
    }
}

/// Changes that are collected for one request.
#[derive(Default)]
struct Portion {
    changes: Vec<Change>,
    /// Roughly, as JSON.
    bytes: usize,
}

impl Portion {
    fn add(&mut self, change: Change) {
        let of = |state: &MailboxState| {
            let addresses: usize = state.addresses.iter().map(|address| address.len() + 3).sum();
            let retired: usize =
                state.retired.iter().map(|(address, why)| address.len() + why.len() + 10).sum();
            500 + addresses + retired + 250 * state.app_passwords.len()
        };
        self.bytes += change.state.as_ref().map_or(40, of);
        self.changes.push(change);
    }

    fn is_full(&self) -> bool {
        self.bytes > PORTION
    }

    fn take(&mut self) -> Vec<Change> {
        std::mem::take(self).changes
    }
}

/// When something is due again.
struct Heartbeats(Interval);

impl Heartbeats {
    fn every(heartbeat: Duration) -> Self {
        let mut heartbeats = tokio::time::interval(heartbeat);
        heartbeats.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self(heartbeats)
    }

    /// Whether one is due; true once for each. Does not wait.
    async fn take_due(&mut self) -> bool {
        tokio::select! {
            biased;
            _ = self.0.tick() => true,
            () = std::future::ready(()) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_portion_is_full_before_it_is_too_large_for_a_frame() {
        let state = |addresses: usize| -> MailboxState {
            let aliases: Vec<_> =
                (0..addresses).map(|number| format!("alias{number}@zylker.example")).collect();
            let retired = vec![("gone@zylker.example", "550 5.1.6 Mailbox has moved"); addresses];
            let state = json!({
                "account_id": 1, "mbox": "m1", "generation": 1, "password_phc": null, "password_until": null,
                "gate": null, "imap": true, "pop": true, "smtp_login": true, "sending": null, "incoming": null,
                "addresses": aliases, "primary": "mia@zylker.example", "app_passwords": [], "retired": retired,
                "cut_off_minutes": null,
            });
            serde_json::from_value(state).expect("a state")
        };
        for addresses in [0, 1, 100, 5000] {
            let mut portion = Portion::default();
            while !portion.is_full() {
                portion.add(Change::whole(1, Some(state(addresses))));
            }
            let bytes = serde_json::to_vec(&portion.take()).expect("JSON").len();
            assert!((PORTION / 4..8 * PORTION).contains(&bytes), "{bytes} bytes with {addresses} addresses");
        }
    }
}
