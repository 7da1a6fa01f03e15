//! Keeps the look-up files of this machine's mail servers at the main database's position. Whoever
//! has made a change waits here for its own position; one turn serves everybody who waits.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use tokio::sync::Mutex;

use crate::app::random::Random;
use crate::config::Config;
use crate::domain::ids::{AccountId, OrganizationId};
use crate::error::{Error, Result};
use crate::store;
use crate::store::engine::{Db, EngineKind, Reading, Tx};
use crate::store::projection::{Applied, Change, Drift, MailboxState, Options, Projection, Rebuilt};
use crate::store::settings;

/// How long an answer waits for the look-up files before it goes out without them.
const PATIENCE: Duration = Duration::from_secs(2);
/// Changes that are brought over in one go.
const MOST_CHANGES: i64 = 2000;
/// Accounts read at a time for a rebuild.
const PAGE: i64 = 1000;

/// Who shows the mail servers how accounts stand.
pub enum Projector {
    /// Look-up files beside an embedded database.
    Files(Files),
    /// PostgreSQL: the mail servers read the database's own views.
    Views,
    /// An embedded database without look-up files: no mail server is served from here.
    None,
}

pub struct Files {
    projection: Arc<Mutex<Projection>>,
    /// The position that both files hold, as far as this process knows.
    applied: AtomicI64,
    /// A file had to be made anew; servers that run have the old one open.
    replaced: AtomicBool,
}

impl Projector {
    /// # Errors
    /// A folder or group that cannot be used.
    pub async fn open(db: &Db, config: &Config, random: &Random) -> Result<Self> {
        if db.engine() == EngineKind::Postgres {
            return Ok(Self::Views);
        }
        let (Some(auth_dir), Some(maps_dir)) = (&config.mail.auth_dir, &config.mail.maps_dir) else {
            return Ok(Self::None);
        };
        let name = hex::encode(random.salt());
        let instance =
            db.write(async move |tx| settings::get_or_set(tx, settings::INSTANCE, &name).await).await?;
        let options = Options {
            auth_dir: auth_dir.clone(),
            maps_dir: maps_dir.clone(),
            auth_group: group("mail.auth_group", &config.mail.auth_group)?,
            maps_group: group("mail.maps_group", &config.mail.maps_group)?,
            instance,
        };
        let mut projection = Projection::open(options)?;
        let applied = AtomicI64::new(projection.position().unwrap_or(-1));
        let projection = Arc::new(Mutex::new(projection));
        Ok(Self::Files(Files { projection, applied, replaced: AtomicBool::new(false) }))
    }

    /// Waits until the mail servers see everything up to the position, for at most two seconds.
    /// Answers whether they do; what was not done then is done by the worker.
    pub async fn reach(&self, db: &Db, position: i64) -> bool {
        let Self::Files(files) = self else { return true };
        match tokio::time::timeout(PATIENCE, files.catch_up(db, position)).await {
            Ok(Ok(())) => true,
            Ok(Err(error)) => {
                tracing::error!(%error, "the mail servers' look-up files could not be written");
                false
            }
            Err(_) => {
                tracing::warn!(position, "the mail servers' look-up files are behind");
                false
            }
        }
    }

    /// Brings the files to the newest position, whoever wrote it.
    ///
    /// # Errors
    /// When they cannot be written.
    pub async fn catch_up(&self, db: &Db) -> Result<()> {
        match self {
            Self::Files(files) => files.catch_up(db, i64::MAX).await,
            Self::Views | Self::None => Ok(()),
        }
    }

    /// Whether the mail servers see this position.
    pub fn shows(&self, position: i64) -> bool {
        match self {
            Self::Files(files) => files.applied.load(Ordering::Acquire) >= position,
            Self::Views | Self::None => true,
        }
    }

    /// Whether a file was made anew since this was asked last.
    pub fn take_replaced(&self) -> bool {
        match self {
            Self::Files(files) => files.replaced.swap(false, Ordering::AcqRel),
            Self::Views | Self::None => false,
        }
    }

    /// The position that holds for the mail servers, and what that means for a receipt.
    pub fn standing(&self) -> (i64, &'static str) {
        match self {
            Self::Files(files) => {
                (files.applied.load(Ordering::Acquire), "the look-up files of this machine hold it")
            }
            Self::Views => (i64::MAX, "the mail servers read the database's views"),
            Self::None => (i64::MAX, "no look-up files are configured; no mail server was told"),
        }
    }

    /// Makes both files anew from the main database, in place.
    ///
    /// # Errors
    /// `Refused` where there are none.
    pub async fn rebuild(&self, db: &Db) -> Result<Rebuilt> {
        let Self::Files(files) = self else { return Err(no_files()) };
        let projection = Arc::clone(&files.projection).lock_owned().await;
        files.rebuild(db, projection).await
    }

    /// Compares both files with the main database, and mends what differs when asked.
    ///
    /// # Errors
    /// `Refused` where there are none.
    pub async fn verify(&self, db: &Db, repair: bool) -> Result<Drift> {
        let Self::Files(files) = self else { return Err(no_files()) };
        files.catch_up(db, i64::MAX).await?;
        let projection = Arc::clone(&files.projection).lock_owned().await;
        let snapshot = db.snapshot().await?;
        let handle = tokio::runtime::Handle::current();
        let (drift, projection) = blocking(move || {
            let mut projection = projection;
            let mut source = Source::new(snapshot, handle);
            let domains = source.domains()?;
            let drift = projection.verify(&mut source, &domains)?;
            Ok((drift, projection))
        })
        .await?;
        if !repair || drift.is_clean() {
            return Ok(drift);
        }
        if drift.needs_rebuild.is_some() {
            files.rebuild(db, projection).await?;
            return Ok(drift);
        }
        drop(projection);
        files.mend(db, &drift).await?;
        Ok(drift)
    }
}

fn no_files() -> Error {
    Error::Refused("there are no look-up files: mail.auth_dir and mail.maps_dir are not set".to_owned())
}

/// The number of a group by its name; none is set when the name is empty.
fn group(option: &str, name: &str) -> Result<Option<u32>> {
    if name.is_empty() {
        return Ok(None);
    }
    let groups =
        std::fs::read_to_string("/etc/group").map_err(|error| Error::caused("reading /etc/group", error))?;
    let number = groups.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next() == Some(name)).then(|| fields.nth(1)?.parse().ok()).flatten()
    });
    match number {
        Some(number) => Ok(Some(number)),
        None => Err(Error::bad_value(option, format!("there is no group {name} on this machine"))),
    }
}

type Turn = tokio::sync::OwnedMutexGuard<Projection>;

impl Files {
    async fn catch_up(&self, db: &Db, wanted: i64) -> Result<()> {
        let mut projection = Arc::clone(&self.projection).lock_owned().await;
        // Whoever had the turn before may have done it for us.
        while self.applied.load(Ordering::Acquire) < wanted {
            let Some(have) = projection.position() else {
                self.rebuild(db, projection).await?;
                return Ok(());
            };
            let mut snapshot = db.snapshot().await?;
            let swept = settings::swept(&mut snapshot).await?;
            if have < swept || have > store::outbox::newest(&mut snapshot).await? {
                // Older than what is remembered, or of a future that a restore took back.
                drop(snapshot);
                self.rebuild(db, projection).await?;
                return Ok(());
            }
            let changed = store::outbox::changed_since(&mut snapshot, have, MOST_CHANGES).await?;
            let Some((upto, _, _)) = changed.last().copied() else {
                self.applied.store(have, Ordering::Release);
                return Ok(());
            };
            let (changes, domains) = states(&mut snapshot, &changed).await?;
            drop(snapshot);
            // Off the async threads: another writer may hold the file for seconds.
            let (applied, back) = blocking(move || {
                let applied = projection.apply(have, upto, &changes, domains.as_deref())?;
                Ok((applied, projection))
            })
            .await?;
            projection = back;
            match applied {
                Applied::Done | Applied::AlreadyThere => self.applied.store(upto, Ordering::Release),
                Applied::Behind { .. } => {}
                Applied::NeedsRebuild { why } => {
                    tracing::warn!(why, "the mail servers' look-up files are made anew");
                    self.rebuild(db, projection).await?;
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    async fn rebuild(&self, db: &Db, projection: Turn) -> Result<Rebuilt> {
        let mut snapshot = db.snapshot().await?;
        let position = store::outbox::newest(&mut snapshot).await?;
        let handle = tokio::runtime::Handle::current();
        let rebuilt = blocking(move || {
            let mut projection = projection;
            let mut source = Source::new(snapshot, handle);
            let domains = source.domains()?;
            projection.rebuild(position, &mut source, &domains)
        })
        .await?;
        self.applied.store(position, Ordering::Release);
        self.replaced.fetch_or(rebuilt.reload_servers, Ordering::AcqRel);
        tracing::info!(
            accounts = rebuilt.accounts,
            position,
            "the mail servers' look-up files were made anew"
        );
        Ok(rebuilt)
    }

    async fn mend(&self, db: &Db, drift: &Drift) -> Result<()> {
        for _ in 0..10 {
            let mut projection = Arc::clone(&self.projection).lock_owned().await;
            let mut snapshot = db.snapshot().await?;
            let position = store::outbox::newest(&mut snapshot).await?;
            let mut changes = Vec::new();
            for number in &drift.accounts {
                changes.push(Change { account_id: *number, state: anywhere(&mut snapshot, *number).await? });
            }
            let domains = store::organizations::verified_domains(&mut snapshot).await?;
            drop(snapshot);
            match projection.repair(position, &changes, Some(&domains))? {
                Applied::Done | Applied::AlreadyThere => return Ok(()),
                Applied::Behind { .. } => {}
                Applied::NeedsRebuild { .. } => return self.rebuild(db, projection).await.map(drop),
            }
        }
        Err(Error::internal("the look-up files moved on faster than they could be mended"))
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| Error::caused("working on the look-up files", error))?
}

/// The states now of what changed, and the domains when those may have changed.
async fn states(
    tx: &mut Tx,
    changed: &[(i64, OrganizationId, Option<AccountId>)],
) -> Result<(Vec<Change>, Option<Vec<String>>)> {
    let mut changes = Vec::new();
    let whole: BTreeSet<_> =
        changed.iter().filter(|(_, _, account)| account.is_none()).map(|(_, zoid, _)| *zoid).collect();
    for zoid in &whole {
        let mut after = 0;
        loop {
            let page = store::mailboxes::page(tx, *zoid, after, PAGE).await?;
            let Some(last) = page.last() else { break };
            after = last.account_id;
            changes.extend(
                page.into_iter().map(|state| Change { account_id: state.account_id, state: Some(state) }),
            );
        }
    }
    let single: BTreeSet<_> = changed
        .iter()
        .filter(|(_, zoid, _)| !whole.contains(zoid))
        .filter_map(|(_, zoid, account)| Some((*zoid, (*account)?)))
        .collect();
    for (zoid, account) in single {
        let state = store::mailboxes::one(tx, zoid, account).await?;
        changes.push(Change { account_id: account.get(), state });
    }
    let domains = match whole.is_empty() {
        true => None,
        false => Some(store::organizations::verified_domains(tx).await?),
    };
    Ok((changes, domains))
}

async fn anywhere(tx: &mut Tx, number: i64) -> Result<Option<MailboxState>> {
    let Some(account) = AccountId::new(number) else { return Ok(None) };
    for organization in store::organizations::all(tx).await? {
        if let Some(state) = store::mailboxes::one(tx, organization.id, account).await? {
            return Ok(Some(state));
        }
    }
    Ok(None)
}

/// Every account's state, read page by page from one snapshot, for work off the async threads.
struct Source {
    snapshot: Reading,
    handle: tokio::runtime::Handle,
    organizations: std::vec::IntoIter<OrganizationId>,
    current: Option<OrganizationId>,
    after: i64,
    page: std::vec::IntoIter<MailboxState>,
    started: bool,
}

impl Source {
    fn new(snapshot: Reading, handle: tokio::runtime::Handle) -> Self {
        Self {
            snapshot,
            handle,
            organizations: Vec::new().into_iter(),
            current: None,
            after: 0,
            page: Vec::new().into_iter(),
            started: false,
        }
    }

    fn domains(&mut self) -> Result<Vec<String>> {
        self.handle.block_on(store::organizations::verified_domains(&mut self.snapshot))
    }

    fn advance(&mut self) -> Result<Option<MailboxState>> {
        if !self.started {
            self.started = true;
            let all = self.handle.block_on(store::organizations::all(&mut self.snapshot))?;
            let ids: Vec<_> = all.into_iter().map(|organization| organization.id).collect();
            self.organizations = ids.into_iter();
        }
        loop {
            if let Some(state) = self.page.next() {
                self.after = state.account_id;
                return Ok(Some(state));
            }
            let zoid = match self.current {
                Some(zoid) => zoid,
                None => {
                    let Some(next) = self.organizations.next() else { return Ok(None) };
                    (self.current, self.after) = (Some(next), 0);
                    next
                }
            };
            let page =
                self.handle.block_on(store::mailboxes::page(&mut self.snapshot, zoid, self.after, PAGE))?;
            if page.is_empty() {
                self.current = None;
            }
            self.page = page.into_iter();
        }
    }
}

impl Iterator for Source {
    type Item = Result<MailboxState>;
    fn next(&mut self) -> Option<Self::Item> {
        self.advance().transpose()
    }
}
