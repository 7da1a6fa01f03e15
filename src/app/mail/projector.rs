//! Keeps the look-up files of this machine's mail servers at the main database's position. Whoever
//! has made a change waits here for its own position; one turn serves everybody who waits.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use tokio::sync::{Mutex, OwnedMutexGuard};

use crate::app::mail::feed::Walk;
use crate::app::random::Random;
use crate::config::Config;
use crate::crash::{self, Point};
use crate::domain::account::Account;
use crate::domain::ids::{AccountId, ChangeId};
use crate::error::{Error, Result};
use crate::machine::users::Users;
use crate::store;
use crate::store::engine::{Db, EngineKind, Reading, Tx};
use crate::store::outbox::Touched;
use crate::store::projection::{
    Alone, Applied, Change, Drift, Extent, MailboxState, Options, Projection, Rebuilt,
};
use crate::store::settings;

/// How long an answer waits for the look-up files before it goes out without them.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long one process waits for another to be done with the files: it may be making all of them anew.
const LONGEST_TURN: Duration = Duration::from_secs(300);
/// How often it looks whether that one is done.
const LOOK: Duration = Duration::from_millis(10);
/// Changes that are brought over in one go.
const MOST_CHANGES: i64 = 2000;
/// States that wait here at most.
const MOST_FRESH: usize = 4096;
/// Whatever there is.
pub const NEWEST: i64 = i64::MAX;
/// What a receipt says where there are no look-ups.
pub const NO_FILES: &str = "no look-up files are configured; no mail server was told";

const HELD: &str = "the look-up files of this machine hold it";
const VIEWS: &str = "the mail servers read the database's views";

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
    fresh: FreshStates,
    /// The position that both files hold, as far as this process knows.
    applied: AtomicI64,
    /// A file had to be made anew; servers that run have the old one open.
    replaced: Arc<AtomicBool>,
}

impl Projector {
    /// # Errors
    /// A folder or group that cannot be used.
    pub async fn open(db: &Db, config: &Config, random: &Random) -> Result<Self> {
        if db.engine() == EngineKind::Postgres {
            return Ok(Self::Views);
        }
        let Some(mut options) = options(config)? else { return Ok(Self::None) };
        options.instance = instance(db, random).await?;
        let mut projection = Projection::open(options)?;
        let applied = AtomicI64::new(projection.position().unwrap_or(-1));
        let projection = Arc::new(Mutex::new(projection));
        let (fresh, replaced) = (FreshStates::default(), Arc::default());
        Ok(Self::Files(Files { projection, fresh, applied, replaced }))
    }

    /// Whether a change does well to read the new states of its accounts: [`reach`](Self::reach) takes them.
    pub fn wants_states(&self) -> bool {
        matches!(self, Self::Files(_))
    }

    /// Waits until the mail servers see everything up to the position, for at most two seconds.
    /// Answers whether they do; what was not done then is done by the worker. States that the change has read
    /// itself need not be read again.
    pub async fn reach(&self, db: &Db, position: i64, fresh: &[Fresh]) -> bool {
        let Self::Files(files) = self else { return true };
        files.fresh.put(fresh);
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
            Self::Files(files) => files.catch_up(db, NEWEST).await,
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
    pub fn reached(&self) -> (i64, &'static str) {
        match self {
            Self::Files(files) => (files.applied.load(Ordering::Acquire), HELD),
            Self::Views => (i64::MAX, VIEWS),
            Self::None => (i64::MAX, NO_FILES),
        }
    }

    /// Makes both files anew from the main database, in place.
    ///
    /// # Errors
    /// `Refused` where there are none.
    pub async fn rebuild(&self, db: &Db) -> Result<Rebuilt> {
        let Self::Files(files) = self else { return Err(no_files()) };
        let rebuilt = files.rebuild(db, files.turn().await?).await?;
        // What was committed meanwhile may have nobody else who brings it over.
        files.catch_up(db, NEWEST).await?;
        Ok(rebuilt)
    }

    /// Compares both files with the main database, and mends what differs when asked.
    ///
    /// # Errors
    /// `Refused` where there are none.
    pub async fn verify(&self, db: &Db, repair: bool) -> Result<Drift> {
        let Self::Files(files) = self else { return Err(no_files()) };
        files.catch_up(db, NEWEST).await?;
        // Other processes write meanwhile, as this takes long: an account that they change may be named without need.
        let projection = Arc::clone(&files.projection).lock_owned().await;
        let snapshot = db.snapshot().await?;
        let handle = tokio::runtime::Handle::current();
        let drift = blocking(move || {
            let mut projection = projection;
            let mut source = Source::new(snapshot, handle);
            let domains = source.domains()?;
            projection.verify(&mut source, &domains)
        })
        .await?;
        if !repair || drift.is_clean() {
            return Ok(drift);
        }
        if drift.needs_rebuild.is_some() {
            files.rebuild(db, files.turn().await?).await?;
        } else {
            files.mend(db, &drift).await?;
        }
        files.catch_up(db, NEWEST).await?;
        Ok(drift)
    }
}

/// Where the configured look-up files are; of which database is not said yet. `None` when there are none.
///
/// # Errors
/// `BadValue` for a group that this machine does not have.
pub fn options(config: &Config) -> Result<Option<Options>> {
    let (Some(auth_dir), Some(maps_dir)) = (&config.mail.auth_dir, &config.mail.maps_dir) else {
        return Ok(None);
    };
    Ok(Some(Options {
        auth_dir: auth_dir.clone(),
        maps_dir: maps_dir.clone(),
        auth_group: group("mail.auth_group", &config.mail.auth_group)?,
        maps_group: group("mail.maps_group", &config.mail.maps_group)?,
        instance: String::new(),
    }))
}

/// The name of this database, by which files know it again; given to it when it has none.
///
/// # Errors
/// `Unavailable`.
pub async fn instance(db: &Db, random: &Random) -> Result<String> {
    let name = hex::encode(random.salt());
    db.write(async move |tx| settings::get_or_set(tx, settings::INSTANCE, &name).await).await
}

/// The position that the mail servers see, where that is all there is, and what it means; otherwise what is lacking. For a
/// program that cannot read all tables of the database, which may be older or newer: nothing is changed.
///
/// # Errors
/// `Refused` where there are no files; `Unavailable`.
pub async fn complete(db: &Db, config: &Config) -> Result<std::result::Result<(i64, &'static str), String>> {
    if db.engine() == EngineKind::Postgres {
        return Ok(Ok((newest(db).await?.0, VIEWS)));
    }
    let (Some(auth), Some(maps)) = (&config.mail.auth_dir, &config.mail.maps_dir) else {
        return Err(no_files());
    };
    let files = [auth.join("auth.sqlite"), maps.join("maps.sqlite")];
    let mut found = Ok((0, HELD));
    // A service may be bringing a change over right now.
    for _ in 0..20 {
        let (before, instance) = newest(db).await?;
        let paths = files.clone();
        let held = blocking(move || Ok(paths.map(|file| store::projection::peek(&file)))).await?;
        // Or it has brought more over since.
        let (after, _) = newest(db).await?;
        let lack = files.iter().zip(held).find_map(|(file, held)| {
            let file = file.display();
            match held {
                Err(why) => Some(format!("{file} cannot be read: {why}")),
                Ok((_, of)) if of != instance => Some(format!("{file} was made from another database")),
                Ok((position, _)) if !(before..=after).contains(&position) => {
                    Some(format!("{file} holds position {position} of {after}"))
                }
                Ok(_) => None,
            }
        });
        found = lack.map_or(Ok((before, HELD)), Err);
        if found.is_ok() {
            break;
        }
        tokio::time::sleep(PATIENCE / 20).await;
    }
    Ok(found)
}

/// The newest position, and the database's name.
async fn newest(db: &Db) -> Result<(i64, String)> {
    let mut tx = db.snapshot().await?;
    let instance = settings::get(&mut tx, settings::INSTANCE).await?;
    Ok((store::outbox::newest(&mut tx).await?, instance.unwrap_or_default()))
}

/// What is refused where no files are configured.
pub fn no_files() -> Error {
    Error::Refused("there are no look-up files: mail.auth_dir and mail.maps_dir are not set".to_owned())
}

/// The number of a group by its name; none is set when the name is empty.
fn group(option: &str, name: &str) -> Result<Option<u32>> {
    if name.is_empty() {
        return Ok(None);
    }
    match Users::read().gid_of(name) {
        Some(number) => Ok(Some(number)),
        None => Err(Error::bad_value(option, format!("there is no group {name} on this machine"))),
    }
}

/// How an account stands for the mail servers after a change, as its own transaction saw it.
#[derive(Debug, Clone)]
pub struct Fresh {
    pub change: ChangeId,
    pub account: AccountId,
    /// `None` when it is gone.
    pub state: Option<MailboxState>,
    pub extent: Extent,
}

impl Fresh {
    /// Reads it in the transaction that has stored the account.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn read(tx: &mut Tx, change: ChangeId, before: &Account, after: &Account) -> Result<Self> {
        let (organization, account) = (after.organization, after.id);
        let same_addresses = (&before.primary, &before.aliases) == (&after.primary, &after.aliases);
        // Most changes are about switches and passwords.
        let extent = match !after.deleted && same_addresses && before.app_passwords == after.app_passwords {
            true => Extent::WithoutBelongings,
            false => Extent::Whole,
        };
        let state = match extent {
            Extent::WithoutBelongings => {
                store::mailboxes::without_belongings(tx, organization, account).await?
            }
            Extent::Whole => store::mailboxes::one(tx, organization, account).await?,
        };
        Ok(Self { change, account, state, extent })
    }
}

/// States that wait to be written. To read them again would cost more than to write them: after each commit the
/// connections for reading begin with an empty cache.
#[derive(Default)]
struct FreshStates(std::sync::Mutex<HashMap<AccountId, Fresh>>);

impl FreshStates {
    fn put(&self, fresh: &[Fresh]) {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if held.len() >= MOST_FRESH {
            // Nobody has come for them; the database has them all.
            held.clear();
        }
        held.extend(fresh.iter().map(|fresh| (fresh.account, fresh.clone())));
    }

    /// The states of those accounts whose newest change has left one here, in the order of these changes: an
    /// address that went from one to another stands in both, and belongs to the later. And what is to be read.
    fn take(&self, changed: &[Touched]) -> (Vec<Change>, Vec<Touched>) {
        let mut newest = HashMap::new();
        let mut changed_twice = HashSet::new();
        for row in changed {
            let before = newest.insert(row.account, row);
            if before.is_some_and(|before: &Touched| before.change != row.change) {
                changed_twice.insert(row.account);
            }
        }
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut states = BTreeMap::new();
        for row in newest.values() {
            // A state without belongings says nothing of what the change before did to them.
            let says_all = |fresh: &Fresh| {
                fresh.extent == Extent::Whole || !changed_twice.contains(&Some(fresh.account))
            };
            if let Some(account) = row.account
                && let Some(fresh) = held.remove(&account).filter(|fresh| fresh.change.get() == row.change)
                && says_all(&fresh)
            {
                let Fresh { state, extent, .. } = fresh;
                states.insert(row.position, Change { account_id: account.get(), state, extent });
            }
        }
        let states: Vec<_> = states.into_values().collect();
        let taken: HashSet<_> = states.iter().map(|state| state.account_id).collect();
        let is_read = |row: &&Touched| row.account.is_some_and(|account| taken.contains(&account.get()));
        let unread = changed.iter().filter(|row| !is_read(row)).copied().collect();
        (states, unread)
    }
}

/// The right to write the files, in this process and among all. It is taken before a snapshot is, and lasts until what
/// was read is written, so snapshots are written in the order in which they were taken. A walk moves the position only
/// at its end; without this an older one could write over a newer one, whose position then told an untruth for good.
struct Turn {
    /// Given back first: who comes next in this process finds it free.
    _alone: Alone,
    projection: OwnedMutexGuard<Projection>,
}

impl Files {
    async fn turn(&self) -> Result<Turn> {
        among_all(Arc::clone(&self.projection).lock_owned().await).await
    }

    async fn catch_up(&self, db: &Db, wanted: i64) -> Result<()> {
        let projection = Arc::clone(&self.projection).lock_owned().await;
        // Whoever had the turn before may have done it for us.
        if self.applied.load(Ordering::Acquire) >= wanted {
            return Ok(());
        }
        let mut turn = among_all(projection).await?;
        while self.applied.load(Ordering::Acquire) < wanted {
            let have = turn.projection.position();
            self.replaced.fetch_or(turn.projection.take_replaced(), Ordering::AcqRel);
            let Some(have) = have else {
                self.rebuild(db, turn).await?;
                return Ok(());
            };
            let mut snapshot = db.snapshot().await?;
            let changed = store::outbox::changed_since(&mut snapshot, have, MOST_CHANGES).await?;
            // Older than what is remembered, or of a future that a restore took back.
            let lost = have < settings::swept(&mut snapshot).await?
                || (changed.is_empty() && have > store::outbox::newest(&mut snapshot).await?);
            if lost {
                drop(snapshot);
                self.rebuild(db, turn).await?;
                return Ok(());
            }
            let Some(upto) = changed.last().map(|row| row.position) else {
                self.applied.store(have, Ordering::Release);
                return Ok(());
            };
            let (mut changes, unread) = self.fresh.take(&changed);
            let whole = unread.iter().any(|row| row.account.is_none());
            if !whole {
                changes.extend(states(&mut snapshot, &unread).await?);
            }
            // Off the async threads: another writer may hold the file for seconds.
            crash::at(Point::Projecting);
            let handle = tokio::runtime::Handle::current();
            let (applied, back) = blocking(move || {
                let applied = match whole {
                    true => {
                        let walk = Walk::of(&unread);
                        let mut source =
                            Source { snapshot, handle, walk: Some(walk), page: Default::default() };
                        apply_pages(&mut turn.projection, have, upto, changes, &mut source)?
                    }
                    false => {
                        drop(snapshot);
                        turn.projection.apply(have, upto, &changes, None)?
                    }
                };
                Ok((applied, turn))
            })
            .await?;
            turn = back;
            crash::at(Point::Projected);
            match applied {
                Applied::Done | Applied::AlreadyThere => self.applied.store(upto, Ordering::Release),
                Applied::Behind { .. } => {}
                Applied::NeedsRebuild { why } => {
                    tracing::warn!(why, "the mail servers' look-up files are made anew");
                    self.rebuild(db, turn).await?;
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    async fn rebuild(&self, db: &Db, turn: Turn) -> Result<Rebuilt> {
        let mut snapshot = db.snapshot().await?;
        let position = store::outbox::newest(&mut snapshot).await?;
        let (handle, replaced) = (tokio::runtime::Handle::current(), Arc::clone(&self.replaced));
        let rebuilt = blocking(move || {
            let mut turn = turn;
            let mut source = Source::new(snapshot, handle);
            let domains = source.domains()?;
            let rebuilt = turn.projection.rebuild(position, &mut source, &domains)?;
            // Here: whoever waits for it may lose patience before it is done.
            replaced.fetch_or(rebuilt.reload_servers, Ordering::AcqRel);
            Ok(rebuilt)
        })
        .await?;
        self.applied.store(position, Ordering::Release);
        tracing::info!(
            accounts = rebuilt.accounts,
            position,
            "the mail servers' look-up files were made anew"
        );
        Ok(rebuilt)
    }

    async fn mend(&self, db: &Db, drift: &Drift) -> Result<()> {
        for _ in 0..10 {
            let mut turn = self.turn().await?;
            let mut snapshot = db.snapshot().await?;
            let position = store::outbox::newest(&mut snapshot).await?;
            let mut changes = Vec::new();
            for number in &drift.accounts {
                changes.push(Change::whole(*number, anywhere(&mut snapshot, *number).await?));
            }
            let domains = store::organizations::verified_domains(&mut snapshot).await?;
            drop(snapshot);
            let (applied, turn) = blocking(move || {
                let applied = turn.projection.repair(position, &changes, Some(&domains))?;
                Ok((applied, turn))
            })
            .await?;
            match applied {
                Applied::Done | Applied::AlreadyThere => return Ok(()),
                Applied::Behind { .. } => {}
                Applied::NeedsRebuild { .. } => return self.rebuild(db, turn).await.map(drop),
            }
        }
        Err(Error::internal("the look-up files moved on faster than they could be mended"))
    }
}

/// Waits until no other process is at the files. Not in the kernel: whoever loses patience leaves no thread behind.
async fn among_all(projection: OwnedMutexGuard<Projection>) -> Result<Turn> {
    let turn = async move {
        loop {
            if let Some(alone) = projection.alone()? {
                return Ok(Turn { _alone: alone, projection });
            }
            tokio::time::sleep(LOOK).await;
        }
    };
    tokio::time::timeout(LONGEST_TURN, turn).await.unwrap_or(Err(Error::Unavailable {
        why: "another process has been writing the mail servers' look-up files for five minutes",
        retry_after_seconds: 5,
    }))
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| Error::caused("working on the look-up files", error))?
}

/// The states now of the accounts that changed.
async fn states(tx: &mut Tx, changed: &[Touched]) -> Result<Vec<Change>> {
    let (mut changes, mut walk) = (Vec::new(), Walk::of(changed));
    while let Some((_, page)) = walk.next(tx).await? {
        changes.extend(page);
    }
    Ok(changes)
}

/// A whole organization may have a million accounts: they are read and written page by page, after `changes`.
/// The position moves with the last one, and with the domains, which belong to organizations.
fn apply_pages(
    projection: &mut Projection,
    since: i64,
    upto: i64,
    mut changes: Vec<Change>,
    source: &mut Source,
) -> Result<Applied> {
    let domains = source.domains()?;
    while let Some(more) = source.next_page()? {
        match projection.apply_part(since, upto, &changes)? {
            Applied::Done => changes = more,
            other => return Ok(other),
        }
    }
    projection.apply(since, upto, &changes, Some(&domains))
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

/// The states of accounts, read page by page from one snapshot, for work off the async threads.
struct Source {
    snapshot: Reading,
    handle: tokio::runtime::Handle,
    /// Which accounts are read; `None` before the first page, which begins a walk over all.
    walk: Option<Walk>,
    page: std::vec::IntoIter<Change>,
}

impl Source {
    fn new(snapshot: Reading, handle: tokio::runtime::Handle) -> Self {
        Self { snapshot, handle, walk: None, page: Vec::new().into_iter() }
    }

    fn domains(&mut self) -> Result<Vec<String>> {
        self.handle.block_on(store::organizations::verified_domains(&mut self.snapshot))
    }

    fn advance(&mut self) -> Result<Option<MailboxState>> {
        loop {
            if let Some(state) = self.page.by_ref().find_map(|change| change.state) {
                return Ok(Some(state));
            }
            let Some(page) = self.next_page()? else { return Ok(None) };
            self.page = page.into_iter();
        }
    }

    /// The next page. Deleted accounts are in it, without a state.
    fn next_page(&mut self) -> Result<Option<Vec<Change>>> {
        let mut walk = match self.walk.take() {
            Some(walk) => walk,
            None => self.handle.block_on(Walk::of_all(&mut self.snapshot))?,
        };
        let page = self.handle.block_on(walk.next(&mut self.snapshot))?;
        self.walk = Some(walk);
        Ok(page.map(|(_, page)| page))
    }
}

impl Iterator for Source {
    type Item = Result<MailboxState>;
    fn next(&mut self) -> Option<Self::Item> {
        self.advance().transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ids::OrganizationId;

    fn change(number: i64) -> ChangeId {
        ChangeId::new(200_000_000_000_000_000 + number).expect("a changeId")
    }

    fn account(number: i64) -> AccountId {
        AccountId::new(2_560_636_000_000_009_000 + number).expect("an accountId")
    }

    fn row(position: i64, of: i64, whose: Option<i64>) -> Touched {
        let organization = OrganizationId::new(10_000_001).expect("a zoid");
        let (change, account) = (change(of).get(), whose.map(account));
        Touched { position, transaction: 0, change, organization, account }
    }

    fn fresh_state(of: i64, whose: i64, extent: Extent) -> Fresh {
        Fresh { change: change(of), account: account(whose), state: None, extent }
    }

    #[test]
    fn a_state_without_belongings_is_read_anew_where_another_change_came_before_it() {
        let fresh = FreshStates::default();
        fresh.put(&[1, 2].map(|whose| fresh_state(5, whose, Extent::WithoutBelongings)));
        let changed = [row(1, 4, Some(1)), row(2, 5, Some(1)), row(3, 5, Some(2)), row(4, 5, Some(2))];
        let (states, unread) = fresh.take(&changed);
        assert_eq!(states.iter().map(|state| state.account_id).collect::<Vec<_>>(), [account(2).get()]);
        assert_eq!(unread.iter().map(|row| row.account).collect::<Vec<_>>(), [Some(account(1)); 2]);
    }

    #[test]
    fn a_state_is_taken_once_and_only_where_no_later_change_concerns_its_account() {
        let fresh = FreshStates::default();
        let left = |of: i64, whose: i64| fresh_state(of, whose, Extent::Whole);
        fresh.put(&[left(1, 1), left(2, 2)]);

        // Each change writes several rows; the second account was changed again by another process.
        let changed = [row(1, 1, Some(1)), row(2, 1, Some(1)), row(3, 2, Some(2)), row(4, 3, Some(2))];
        let (states, unread) = fresh.take(&changed);
        assert_eq!(states.iter().map(|state| state.account_id).collect::<Vec<_>>(), [account(1).get()]);
        assert_eq!(unread.iter().map(|row| row.account).collect::<Vec<_>>(), [Some(account(2)); 2]);

        let (states, unread) = fresh.take(&[row(5, 1, Some(1)), row(6, 4, None)]);
        assert_eq!((states.len(), unread.len()), (0, 2), "what was taken is read from now on");
    }

    #[test]
    fn states_are_written_in_the_order_of_their_changes() {
        let fresh = FreshStates::default();
        let order = [5, 3, 9, 1, 7, 2, 8];
        for (place, whose) in (1..).zip(order) {
            fresh.put(&[fresh_state(place, whose, Extent::Whole)]);
        }
        let changed: Vec<_> = (1..).zip(order).map(|(place, whose)| row(place, place, Some(whose))).collect();
        let (states, unread) = fresh.take(&changed);
        assert_eq!(
            states.iter().map(|state| state.account_id).collect::<Vec<_>>(),
            order.map(|whose| account(whose).get())
        );
        assert!(unread.is_empty());
    }
}
