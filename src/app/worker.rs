//! Works in the background: brings the look-ups up to date, has every mail server end its
//! sessions, tells people, and tidies what time has ended. Everything can be done twice, so it
//! needs no lock but the claims on outbox rows.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use tokio::task::JoinHandle;

use crate::app::App;
use crate::app::audit::{head, seal};
use crate::app::mail::{notices, servers, sessions};
use crate::app::recovery;
use crate::app::tidy;
use crate::clock::{MINUTE, Millis, SECOND};
use crate::domain::effect::PERSON;
use crate::error::{Error, Result};
use crate::mailserver::MailServer;
use crate::store;
use crate::store::mail_servers::MailServerRow;

/// How often the mail servers are looked up, and the look-up files brought up to date without a sign.
const LOOK: Duration = Duration::from_secs(1);
/// After effects for a mail server could not be worked on for a reason of ours, such as the database.
const AGAIN: Duration = Duration::from_secs(1);
/// After notices could not be sent.
const NOTICES_AGAIN: Duration = Duration::from_secs(5);
/// After a look for notices that found none: most changes tell nobody anything.
const NOTICES_TOGETHER: Duration = Duration::from_millis(100);
/// How long sealing waits for the sign of a commit before it looks without one.
const SEAL_WITHOUT_SIGN: Duration = Duration::from_millis(400);
/// How long it waits after the sign, so that entries written together are sealed together.
const SEAL_TOGETHER: Duration = Duration::from_millis(100);
const TIDY: Duration = Duration::from_secs(60);

/// Nothing is put off for longer, and no claim lasts longer.
const FARTHEST: Millis = 5 * MINUTE;

/// Runs until the task is dropped.
pub async fn run(app: App) {
    let tidier = tokio::spawn(tidy_for_ever(app.clone()));
    let teller = tokio::spawn(tell_people_for_ever(app.clone()));
    let sealer = tokio::spawn(seal_for_ever(app.clone()));
    let mut tasks =
        Tasks { own: vec![tidier, teller, sealer], servers: HashMap::new(), unusable: Unusable::default() };
    loop {
        if let Err(error) = app.projector.catch_up(&app.db).await {
            tracing::error!(%error, "the mail servers' look-up files could not be written");
        }
        if let Err(error) = note_projected(&app).await {
            unless_read_only(
                &error,
                || tracing::warn!(%error, "the outbox could not be worked on; trying again"),
            );
        }
        match servers::all(&app).await {
            Ok(all) => {
                if app.projector.take_replaced() {
                    reload(&all).await;
                }
                tasks.keep(&app, all);
            }
            Err(error) => tracing::warn!(%error, "the list of mail servers could not be read"),
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// A look-up file had to be made anew: a server that runs still has the old one open.
async fn reload(all: &[(MailServerRow, Result<MailServer>)]) {
    tracing::warn!("a look-up file was made anew; if Postfix runs, run `postfix reload`");
    for server in all.iter().filter_map(|(_, server)| server.as_ref().ok()) {
        if let Err(error) = server.reload().await {
            tracing::warn!(server = server.name(), %error, "it could not be reloaded; run `doveadm reload`");
        }
    }
}

/// The running tasks.
struct Tasks {
    own: Vec<JoinHandle<()>>,
    /// By the server's name, with what it was started from.
    servers: HashMap<String, (MailServerRow, MailServer, JoinHandle<()>)>,
    unusable: Unusable,
}

/// The mail servers that cannot be used, by name, and why: they are tried every second, and told once.
#[derive(Default)]
struct Unusable(HashMap<String, String>);

impl Unusable {
    /// Whether that was another reason before, or none.
    fn is_news(&mut self, name: &str, why: &str) -> bool {
        self.0.insert(name.to_owned(), why.to_owned()).is_none_or(|before| before != why)
    }
}

impl Tasks {
    /// One task for each mail server, so that one that hangs delays no other.
    fn keep(&mut self, app: &App, all: Vec<(MailServerRow, Result<MailServer>)>) {
        self.servers.retain(|_, (row, server, task)| {
            // A key may be replaced in its file; one that cannot be read for a moment is kept as it was.
            let same = |(known, read): &(MailServerRow, Result<MailServer>)| {
                known == row && read.as_ref().map_or(true, |read| read.has_key_of(server))
            };
            let keep = all.iter().any(same) && !task.is_finished();
            if !keep {
                task.abort();
            }
            keep
        });
        self.unusable
            .0
            .retain(|name, _| all.iter().any(|(row, server)| row.name == *name && server.is_err()));
        for (row, server) in all {
            if self.servers.contains_key(&row.name) {
                continue;
            }
            match server {
                Ok(server) => {
                    let task = tokio::spawn(serve_mail_server(app.clone(), server.clone(), None));
                    self.servers.insert(row.name.clone(), (row, server, task));
                }
                Err(error) if self.unusable.is_news(&row.name, &error.to_string()) => {
                    tracing::error!(server = row.name, %error, "a mail server cannot be used");
                }
                Err(_) => {}
            }
        }
    }
}

impl Drop for Tasks {
    fn drop(&mut self) {
        self.own.iter().chain(self.servers.values().map(|(_, _, task)| task)).for_each(JoinHandle::abort);
    }
}

/// Has one server end its sessions, for as long as it is known. `shown` tells what its files hold, where
/// they are not those of this machine.
pub async fn serve_mail_server(app: App, server: MailServer, mut shown: Option<sessions::Shown>) {
    if let Err(error) = server.check().await {
        tracing::warn!(server = server.name(), %error, "the mail server does not answer; its effects wait");
    }
    let (mut next_reconcile, mut watch) = (app.clock.now(), ClockWatch::default());
    loop {
        if watch.went_back(&app, server.name()).await {
            next_reconcile = app.clock.now();
        }
        if app.clock.now() >= next_reconcile {
            match sessions::reconcile(&app, &server).await {
                Ok(_) => next_reconcile = app.clock.now() + MINUTE,
                Err(error) => {
                    tracing::warn!(server = server.name(), %error, "sessions could not be compared");
                    next_reconcile = app.clock.now() + 10 * SECOND;
                }
            }
        }
        if !due_or_wait(&app, server.name()).await {
            continue;
        }
        if let Err(error) = sessions::tell_what_shows(&app, &server, shown.as_mut()).await {
            let name = server.name();
            unless_read_only(
                &error,
                || tracing::warn!(server = name, %error, "the outbox could not be worked on"),
            );
            tokio::time::sleep(AGAIN).await;
        }
    }
}

async fn tell_people_for_ever(app: App) {
    let mut watch = ClockWatch::default();
    loop {
        watch.went_back(&app, PERSON).await;
        // Wishes for a forgotten password are no effects yet.
        if let Err(error) = recovery::take_up(&app).await {
            unless_read_only(
                &error,
                || tracing::warn!(%error, "wishes to recover a password could not be read"),
            );
        }
        if !due_or_wait(&app, PERSON).await {
            tokio::time::sleep(NOTICES_TOGETHER).await;
            continue;
        }
        if let Err(error) = notices::send_due(&app).await {
            unless_read_only(&error, || tracing::warn!(%error, "notices could not be sent; trying again"));
            tokio::time::sleep(NOTICES_AGAIN).await;
        }
    }
}

/// Notices that the clock went back, at the first look also that it did so before.
#[derive(Default)]
struct ClockWatch {
    seen: Option<Millis>,
    /// What was put off by the clock as it was has still to become due.
    owes: bool,
}

impl ClockWatch {
    /// Whether it went back since the last look. What was put off by the clock as it was becomes due now, or as
    /// soon as the database takes it.
    async fn went_back(&mut self, app: &App, target: &str) -> bool {
        let went_back = self.look(app.clock.now());
        if self.owes {
            match call_back(app, target).await {
                Ok(()) => self.owes = false,
                Err(error) => unless_read_only(
                    &error,
                    || tracing::warn!(%error, "the outbox could not be worked on; trying again"),
                ),
            }
        }
        went_back
    }

    fn look(&mut self, now: Millis) -> bool {
        let went_back = self.seen.is_none_or(|before| before - now >= FARTHEST);
        self.seen = Some(now);
        self.owes |= went_back;
        went_back
    }
}

/// Makes due what a clock that was ahead has put off.
async fn call_back(app: &App, target: &str) -> Result<()> {
    let (now, target) = (app.clock.now(), target.to_owned());
    app.db
        .write(async move |tx| store::outbox::call_back(tx, &target, now, now + FARTHEST).await)
        .await
        .map(drop)
}

/// Waits until something may be due for the target: a commit of this process, the next due time, or a second (for
/// what other processes wrote). Does not wait, and says so, where something is due already: a claim is a
/// change of its own, and most changes leave nothing to do.
async fn due_or_wait(app: &App, target: &str) -> bool {
    // Listens before it looks: what is committed in between must not wait for the next second.
    let mut woken = std::pin::pin!(app.wake_worker.notified());
    woken.as_mut().enable();
    let next = async {
        let mut tx = app.db.read().await?;
        store::outbox::next_due(&mut tx, target).await
    };
    let now = app.clock.now();
    let wait = match next.await {
        Ok(Some(due)) if due <= now => return true,
        Ok(Some(due)) => (due - now).clamp(10, SECOND),
        Ok(None) | Err(_) => SECOND,
    };
    let wait = Duration::from_millis(u64::try_from(wait).unwrap_or(1000));
    let _ = tokio::time::timeout(wait, woken).await;
    false
}

/// Seals audit entries a moment after they were written, together with those of that moment.
async fn seal_for_ever(app: App) {
    let name = seal::name(&app);
    loop {
        let mut woken = std::pin::pin!(app.wake_worker.notified());
        woken.as_mut().enable();
        if let Err(error) = seal::seal_due(&app, &name).await {
            unless_read_only(
                &error,
                || tracing::warn!(%error, "audit entries could not be sealed; trying again"),
            );
        }
        // What other nodes wrote, and what was not over at the last look, is found without a sign.
        let _ = tokio::time::timeout(SEAL_WITHOUT_SIGN, woken).await;
        tokio::time::sleep(SEAL_TOGETHER).await;
    }
}

async fn tidy_for_ever(app: App) {
    let mut written = BTreeMap::new();
    loop {
        if let Err(error) = head::write_moved(&app, &mut written).await {
            tracing::warn!(%error, "the audit log's heads could not be written to audit.heads_file");
        }
        if let Err(error) = tidy::run(&app).await {
            unless_read_only(
                &error,
                || tracing::warn!(%error, "tidying up failed; trying again in a minute"),
            );
        }
        tokio::time::sleep(TIDY).await;
    }
}

/// A warning, unless the operator wanted it so: what waits is done afterwards.
fn unless_read_only(error: &Error, warn: impl FnOnce()) {
    if !error.is_read_only() {
        warn();
    }
}

/// Carries out once everything that is due, without waiting: for tests.
pub async fn drain(app: &App, servers: &[MailServer]) -> Result<usize> {
    app.projector.catch_up(&app.db).await?;
    note_projected(app).await?;
    for target in servers.iter().map(MailServer::name).chain([PERSON]) {
        call_back(app, target).await?;
    }
    recovery::take_up(app).await?;
    let mut taken = 0;
    loop {
        let mut more = notices::send_due(app).await?;
        for server in servers {
            more += sessions::tell(app, server).await?;
        }
        taken += more;
        if more == 0 {
            return Ok(taken);
        }
    }
}

/// Notes in the outbox what the look-ups hold; one write for many changes.
async fn note_projected(app: &App) -> Result<()> {
    let (upto, words) = app.projector.reached();
    let waiting = {
        let mut tx = app.db.read().await?;
        store::outbox::next_due(&mut tx, crate::domain::effect::PROJECTION).await?
    };
    if waiting.is_none() {
        return Ok(());
    }
    let (now, words) = (app.clock.now(), words.to_owned());
    app.db.write(async move |tx| store::outbox::projected(tx, upto, &words, now).await).await.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::DAY;

    #[test]
    fn a_clock_that_went_back_is_told_once_and_what_it_put_off_stays_owed() {
        let mut watch = ClockWatch::default();
        assert!(watch.look(DAY) && watch.owes, "it may have gone back before");
        for _ in 0..3 {
            // The database takes nothing.
            assert!(!watch.look(DAY) && watch.owes);
        }
        watch.owes = false;
        assert!(!watch.look(DAY + MINUTE) && !watch.owes);
        assert!(!watch.look(DAY) && !watch.owes, "a little is nothing");
        assert!(watch.look(DAY - FARTHEST) && watch.owes);
        assert!(!watch.look(DAY - FARTHEST) && watch.owes);
        let mut at_the_beginning = ClockWatch::default();
        assert!(at_the_beginning.look(0) && !at_the_beginning.look(0));
    }

    #[test]
    fn a_mail_server_that_cannot_be_used_is_told_when_the_reason_is_another() {
        let mut unusable = Unusable::default();
        assert!(unusable.is_news("mx1", "no key") && unusable.is_news("mx2", "no key"));
        assert!(!unusable.is_news("mx1", "no key"));
        assert!(unusable.is_news("mx1", "a wrong key") && unusable.is_news("mx1", "no key"));
        assert!(!unusable.is_news("mx2", "no key"));
    }
}
