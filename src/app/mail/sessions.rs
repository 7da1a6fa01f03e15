//! Ends live mail sessions: after the look-ups show the change, then twice more, since a login
//! that was checked just before may register late. What a server did not confirm is tried again.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::app::App;
use crate::clock::{MINUTE, Millis, SECOND};
use crate::crash::{self, Point};
use crate::domain::effect::{Effect, Sessions};
use crate::domain::session_credential::SessionCredential;
use crate::error::{Error, Result};
use crate::mailserver::doveadm::DoveadmError;
use crate::mailserver::{MailServer, Session, SessionMask};
use crate::store;
use crate::store::feed::Mark;
use crate::store::outbox::Waiting;

/// For how long a worker has claimed effects to itself; longer than a server may take to answer.
const CLAIM: Millis = 30 * SECOND;
/// For how long a host's files are waited for.
const PATIENCE: Duration = Duration::from_secs(2);
/// Effects told to a server in one call.
const MOST: i64 = 100;
/// When sessions are ended, counted from the first time: later than the slowest login.
const SWEEPS: [Millis; 3] = [0, 2 * SECOND, 15 * SECOND];

/// What became of an effect on a mail server so far; kept with the effect, shown in the receipt.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Progress {
    /// How often the server has confirmed.
    pub sweeps: usize,
    /// Sessions that were ended in all.
    pub ended: u64,
    pub first_at: Option<Millis>,
    /// After the last sweep the server listed no such session any more.
    pub verified: bool,
    /// Failures since the last success.
    pub failures: u32,
    pub error: Option<String>,
}

impl Progress {
    pub fn of(effect: &Waiting) -> Self {
        effect.outcome.as_deref().and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default()
    }

    fn text(&self) -> Result<String> {
        serde_json::to_string(self).map_err(|error| Error::caused("writing what became of an effect", error))
    }
}

/// What a host's files hold, as the node knows that holds the link to its agent.
pub type Shown = watch::Receiver<Option<Mark>>;

/// Tells one server everything that is due for it; answers how many effects were taken up.
pub async fn tell(app: &App, server: &MailServer) -> Result<usize> {
    tell_what_shows(app, server, None).await
}

/// The same for a server that looks into other files than those of this machine.
pub async fn tell_what_shows(app: &App, server: &MailServer, shown: Option<&mut Shown>) -> Result<usize> {
    let (name, now) = (server.name().to_owned(), app.clock.now());
    let claimed =
        app.db.write(async move |tx| store::outbox::claim(tx, &name, now, now + CLAIM, MOST).await).await?;
    if claimed.is_empty() {
        return Ok(0);
    }
    crash::at(Point::Claimed);
    // Never before the look-ups show the change: a client would come straight back in.
    let newest = claimed.iter().map(|effect| effect.position).max().unwrap_or(0);
    let shows = match shown {
        None => app.projector.shows(newest) || app.projector.reach(&app.db, newest, &[]).await,
        Some(shown) => come_to_hold(app, shown, &claimed).await,
    };
    if !shows {
        return put_all_off(app, claimed, "the look-up files are behind").await;
    }
    let wanted = Wanted::of(&claimed);
    let (ended, reconciled, left) = match end(app, server, &wanted).await {
        Ok(done) => done,
        Err(error) => return put_all_off(app, claimed, &error.to_string()).await,
    };
    crash::at(Point::Told);
    app.metrics.ended(server.name(), ended.values().sum());
    let now = app.clock.now();
    let taken = claimed.len();
    let mut results = Vec::with_capacity(taken);
    for effect in claimed {
        let mut progress = Progress::of(&effect);
        progress.sweeps += 1;
        progress.failures = 0;
        progress.error = None;
        let first_at = *progress.first_at.get_or_insert(now);
        match mask_of(&effect.effect) {
            Some(mask) => {
                progress.ended += ended.get(&mask.as_doveadm()).copied().unwrap_or(0);
                progress.verified = !left.iter().any(|name| mask.matches(name));
            }
            None => {
                progress.ended += reconciled;
                progress.verified = true;
            }
        }
        let next = SWEEPS.get(progress.sweeps).map(|after| first_at + after);
        // A session that outlived the last sweep is ended again until there is none.
        let next = next.or_else(|| (!progress.verified).then_some(now + 5 * SECOND));
        results.push((effect, progress.text()?, next));
    }
    app.db
        .write(async move |tx| {
            for (effect, text, next) in &results {
                match next {
                    Some(due) => store::outbox::put_off(tx, effect, text, *due)?,
                    None => store::outbox::finish(tx, effect, text, now)?,
                }
            }
            Ok(())
        })
        .await?;
    crash::at(Point::Finished);
    Ok(taken)
}

/// Waits until a host's files hold the changes of these effects, for a moment at most; whether they do.
async fn come_to_hold(app: &App, shown: &mut Shown, claimed: &[Waiting]) -> bool {
    let numbers: Vec<i64> = claimed.iter().map(|effect| effect.number(app.db.engine())).collect();
    let holds = |mark: &Option<Mark>| {
        mark.as_ref().is_some_and(|mark| numbers.iter().all(|number| mark.holds(*number)))
    };
    matches!(tokio::time::timeout(PATIENCE, shown.wait_for(holds)).await, Ok(Ok(_)))
}

/// What all claimed effects together ask for.
struct Wanted {
    /// Ended without looking, each once.
    at_once: Vec<SessionMask>,
    /// Mailboxes whose sessions were all ended once already. In later sweeps only what is not let
    /// in ends: whoever came back after the block was lifted is left alone.
    again: Vec<SessionMask>,
    /// A whole organization is meant.
    whole: bool,
    /// Somebody's last sweep, after which it is looked whether a session is left.
    last: bool,
}

impl Wanted {
    fn of(claimed: &[Waiting]) -> Self {
        let mut wanted = Self { at_once: Vec::new(), again: Vec::new(), whole: false, last: false };
        for effect in claimed {
            let sweeps = Progress::of(effect).sweeps;
            wanted.last |= sweeps + 1 >= SWEEPS.len();
            wanted.whole |= effect.effect == Effect::Reconcile;
            match mask_of(&effect.effect) {
                Some(mask @ SessionMask::All { .. }) if sweeps > 0 => wanted.again.push(mask),
                Some(mask) => wanted.at_once.push(mask),
                None => {}
            }
        }
        for masks in [&mut wanted.at_once, &mut wanted.again] {
            masks.sort_by_key(SessionMask::as_doveadm);
            masks.dedup();
        }
        wanted
    }
}

/// Ends what is wanted: how many sessions by mask, how many in the whole comparison, and, if it was
/// somebody's last sweep, what is still there and should not be.
async fn end(
    app: &App,
    server: &MailServer,
    wanted: &Wanted,
) -> Result<(BTreeMap<String, u64>, u64, Vec<String>)> {
    let mut ended = BTreeMap::new();
    if !wanted.at_once.is_empty() {
        for one in server.kick(&wanted.at_once).await.map_err(unanswered)? {
            *ended.entry(one.mask.as_doveadm()).or_insert(0) += one.sessions;
        }
    }
    if !wanted.again.is_empty() {
        let dead = dead(app, &who_of(server, &wanted.again).await?).await?;
        for one in server.kick(&dead).await.map_err(unanswered)? {
            let of = wanted.again.iter().find(|mask| mask.matches(&one.mask.as_doveadm()));
            *ended.entry(of.map(SessionMask::as_doveadm).unwrap_or_default()).or_insert(0) += one.sessions;
        }
    }
    let reconciled = if wanted.whole { reconcile(app, server).await? } else { 0 };
    let mut left = Vec::new();
    if wanted.last {
        let exact = |mask: &&SessionMask| matches!(mask, SessionMask::Exact { .. });
        let exact: Vec<_> = wanted.at_once.iter().filter(exact).cloned().collect();
        let present = server.who().await.map_err(unanswered)?;
        let meant = |masks: &[SessionMask], session: &Session| masks.iter().any(|m| m.matches(&session.name));
        left.extend(present.iter().filter(|session| meant(&exact, session)).map(|s| s.name.clone()));
        let others: Vec<_> = present.into_iter().filter(|session| meant(&wanted.again, session)).collect();
        left.extend(dead(app, &others).await?.iter().map(SessionMask::as_doveadm));
    }
    Ok((ended, reconciled, left))
}

async fn who_of(server: &MailServer, masks: &[SessionMask]) -> Result<Vec<Session>> {
    let mut sessions = server.who().await.map_err(unanswered)?;
    sessions.retain(|session| masks.iter().any(|mask| mask.matches(&session.name)));
    Ok(sessions)
}

fn unanswered(why: DoveadmError) -> Error {
    Error::Refused(why.to_string())
}

fn mask_of(effect: &Effect) -> Option<SessionMask> {
    let Effect::EndSessions { mailbox, sessions } = effect else { return None };
    Some(mask(mailbox, sessions))
}

/// Which sessions those are, in the mail server's terms.
pub fn mask(mailbox: &str, sessions: &Sessions) -> SessionMask {
    let exact = |credential| SessionMask::Exact { mbox: mailbox.to_owned(), credential };
    match sessions {
        Sessions::All => SessionMask::All { mbox: mailbox.to_owned() },
        Sessions::Generation(number) => exact(SessionCredential::Generation(*number)),
        Sessions::AppPassword(id) => exact(SessionCredential::AppPassword(id.get())),
    }
}

async fn put_all_off(app: &App, claimed: Vec<Waiting>, why: &str) -> Result<usize> {
    let (now, taken, why) = (app.clock.now(), claimed.len(), why.to_owned());
    app.db
        .write(async move |tx| {
            for effect in &claimed {
                let mut progress = Progress::of(effect);
                progress.failures += 1;
                progress.error = Some(why.clone());
                let due = now + back_off(progress.failures);
                store::outbox::put_off(tx, effect, &progress.text()?, due)?;
            }
            Ok(())
        })
        .await?;
    Ok(taken)
}

/// Doubled at each failure, from half a second to a minute.
pub fn back_off(failures: u32) -> Millis {
    ((SECOND / 2) << failures.clamp(1, 8).saturating_sub(1)).min(MINUTE)
}

/// Ends every session that nothing lets in any more: what was missed while a server or Mailward
/// was away. The server is asked first and the database afterwards; the other order would end
/// sessions that are new.
///
/// # Errors
/// `Refused` when the server does not answer.
pub async fn reconcile(app: &App, server: &MailServer) -> Result<u64> {
    let sessions = server.who().await.map_err(unanswered)?;
    let dead = dead(app, &sessions).await?;
    if dead.is_empty() {
        return Ok(0);
    }
    tracing::info!(
        server = server.name(),
        names = dead.len(),
        "ending sessions that nothing lets in any more"
    );
    let ended = server.kick(&dead).await.map_err(unanswered)?.iter().map(|ended| ended.sessions).sum();
    app.metrics.ended(server.name(), ended);
    Ok(ended)
}

/// The names among our sessions here that nothing lets in any more, each once.
async fn dead(app: &App, sessions: &[Session]) -> Result<Vec<SessionMask>> {
    let names: BTreeSet<(&str, SessionCredential, &str)> = sessions
        .iter()
        .filter_map(|session| {
            session.ours().map(|(mailbox, credential)| (mailbox, credential, session.service.as_str()))
        })
        .collect();
    let now = app.clock.now();
    let mut dead = Vec::new();
    let mut tx = app.db.read().await?;
    for (mailbox, credential, service) in names {
        if !store::mailboxes::may_hold_session(&mut tx, mailbox, credential, service, now).await? {
            let mask = SessionMask::Exact { mbox: mailbox.to_owned(), credential };
            if dead.last() != Some(&mask) {
                dead.push(mask);
            }
        }
    }
    Ok(dead)
}
