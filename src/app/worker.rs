//! Works in the background: brings the look-ups up to date, has every mail server end its
//! sessions, tells people, and tidies what time has ended. Everything can be done twice, so it
//! needs no lock but the claims on outbox rows.

use std::collections::HashMap;
use std::time::Duration;

use tokio::task::JoinHandle;

use crate::app::App;
use crate::app::accounts::create;
use crate::app::journal;
use crate::app::mail::{expiry, notices, servers, sessions};
use crate::clock::{DAY, MINUTE, Millis, SECOND};
use crate::domain::effect::PERSON;
use crate::error::Result;
use crate::mailserver::MailServer;
use crate::store;
use crate::store::mail_servers::MailServerRow;
use crate::store::settings;

/// How long done effects are remembered, for receipts and for look-up files that were away.
const REMEMBERED: Millis = 30 * DAY;

/// Runs until the task is dropped.
pub async fn run(app: App) {
    let tidier = tokio::spawn(tidy_for_ever(app.clone()));
    let teller = tokio::spawn(tell_people_for_ever(app.clone()));
    let mut tasks = Tasks(vec![tidier, teller], HashMap::new());
    loop {
        if let Err(error) = app.projector.catch_up(&app.db).await {
            tracing::error!(%error, "the mail servers' look-up files could not be written");
        }
        if let Err(error) = note_projected(&app).await {
            tracing::warn!(%error, "the outbox could not be worked on; trying again");
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
        tokio::time::sleep(Duration::from_secs(1)).await;
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

/// The running tasks; those of mail servers by name, with the row they were started from.
struct Tasks(Vec<JoinHandle<()>>, HashMap<String, (MailServerRow, JoinHandle<()>)>);

impl Tasks {
    /// One task for each mail server, so that one that hangs delays no other.
    fn keep(&mut self, app: &App, all: Vec<(MailServerRow, Result<MailServer>)>) {
        self.1.retain(|_, (row, task)| {
            let keep = all.iter().any(|(known, _)| known == row);
            if !keep {
                task.abort();
            }
            keep
        });
        for (row, server) in all {
            if self.1.contains_key(&row.name) {
                continue;
            }
            match server {
                Ok(server) => {
                    let task = tokio::spawn(serve_mail_server(app.clone(), server));
                    self.1.insert(row.name.clone(), (row, task));
                }
                Err(error) => tracing::error!(server = row.name, %error, "a mail server cannot be used"),
            }
        }
    }
}

impl Drop for Tasks {
    fn drop(&mut self) {
        self.0.iter().chain(self.1.values().map(|(_, task)| task)).for_each(JoinHandle::abort);
    }
}

async fn serve_mail_server(app: App, server: MailServer) {
    if let Err(error) = server.check().await {
        tracing::warn!(server = server.name(), %error, "the mail server does not answer; its effects wait");
    }
    let mut next_reconcile = app.clock.now();
    loop {
        if app.clock.now() >= next_reconcile {
            match sessions::reconcile(&app, &server).await {
                Ok(_) => next_reconcile = app.clock.now() + MINUTE,
                Err(error) => {
                    tracing::warn!(server = server.name(), %error, "sessions could not be compared");
                    next_reconcile = app.clock.now() + 10 * SECOND;
                }
            }
        }
        match sessions::tell(&app, &server).await {
            Ok(0) => rest(&app, server.name()).await,
            Ok(_) => {}
            Err(error) => {
                tracing::warn!(server = server.name(), %error, "the outbox could not be worked on");
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
    }
}

async fn tell_people_for_ever(app: App) {
    loop {
        match notices::send_due(&app).await {
            Ok(0) => rest(&app, PERSON).await,
            Ok(_) => {}
            Err(error) => {
                tracing::warn!(%error, "notices could not be sent; trying again");
                tokio::time::sleep(Duration::from_secs(5)).await;
            }
        }
    }
}

/// Waits until something may be due for the target: a commit of this process, the next due time,
/// or a second (for what other processes wrote).
async fn rest(app: &App, target: &str) {
    // Listens before it looks: what is committed in between must not wait for the next second.
    let mut woken = std::pin::pin!(app.wake_worker.notified());
    woken.as_mut().enable();
    let next = async {
        let mut tx = app.db.read().await?;
        store::outbox::next_due(&mut tx, target).await
    };
    let wait = match next.await {
        Ok(Some(due)) => (due - app.clock.now()).clamp(10, SECOND),
        Ok(None) | Err(_) => SECOND,
    };
    let wait = Duration::from_millis(u64::try_from(wait).unwrap_or(1000));
    let _ = tokio::time::timeout(wait, woken).await;
}

async fn tidy_for_ever(app: App) {
    loop {
        if let Err(error) = tidy(&app).await {
            tracing::warn!(%error, "tidying up failed; trying again in a minute");
        }
        tokio::time::sleep(Duration::from_secs(60)).await;
    }
}

/// Carries out once everything that is due: for tests and commands.
pub async fn drain(app: &App, servers: &[MailServer]) -> Result<usize> {
    app.projector.catch_up(&app.db).await?;
    note_projected(app).await?;
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
    let (upto, words) = app.projector.standing();
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

/// What time has ended: users' terms, passwords, tokens, counters, old effects.
pub async fn tidy(app: &App) -> Result<()> {
    create::expire(app).await?;
    expiry::app_passwords(app).await?;
    expiry::one_time_passwords(app).await?;
    while journal::fold_refusals(app).await? > 0 {}
    let now = app.clock.now();
    app.db
        .write(async move |tx| {
            store::tokens::sweep(tx, now - DAY).await?;
            store::throttle::sweep(tx, now).await?;
            let swept = store::outbox::sweep(tx, now - REMEMBERED).await?;
            if swept > 0 {
                settings::set(tx, settings::SWEPT, &swept.to_string()).await?;
            }
            Ok(())
        })
        .await
}
