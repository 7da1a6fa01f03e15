//! The two small SQLite files that Dovecot and Postfix read, so that mail never asks Mailward itself.
//! They are disposable: derived from the main database, checked and rebuilt at any time, written in place.
//! Start at [`Projection`]; the views are a public contract, described in docs/contract.md.

mod alone;
mod file;
mod rows;

use std::collections::BTreeSet;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::clock::Millis;
use crate::crash::{self, Point};
use crate::error::{Error, Result};

pub use alone::Alone;
use file::File;
pub use rows::{IMAP_OFF, POP_OFF, SMTP_OFF};

/// The version of the views; a new column or view raises it, see docs/contract.md.
pub const CONTRACT_VERSION: i64 = 1;

/// Everything the mail servers have to know of one account, as it stands at one position. Written as JSON on its
/// way to an agent alone.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MailboxState {
    pub account_id: i64,
    /// The stable key of the mailbox: lower-case ASCII letters, digits, `-`, `_`. Never an address.
    pub mbox: String,
    /// Rises with every event that ends the sessions of the main password. Never goes back.
    pub generation: i64,
    /// Argon2id PHC string of at most 64 MiB; `None`: the main password opens nothing.
    pub password_phc: Option<String>,
    /// From this moment on the main password opens nothing, also while Mailward is stopped.
    pub password_until: Option<Millis>,
    /// Why no mail protocol opens, shown only after the right password. `None`: open.
    pub gate: Option<String>,
    /// The gate shuts the main password alone: app passwords open, and what is open goes on. An older node says
    /// nothing of it, and an older agent takes the gate for all, which lets nobody in.
    #[serde(default)]
    pub gate_is_mains: bool,
    pub imap: bool,
    pub pop: bool,
    /// Whether submission takes this account's logins at all.
    pub smtp_login: bool,
    /// Why outgoing mail is refused, such as `550 5.7.1 Sending is blocked for this account`.
    pub sending: Option<String>,
    /// Why incoming mail is refused, such as `550 5.2.1 Mailbox disabled, not accepting messages`.
    pub incoming: Option<String>,
    /// Every address that receives, logs in and may send; the primary one is among them or is added.
    pub addresses: Vec<String>,
    pub primary: String,
    pub app_passwords: Vec<AppPassword>,
    /// Addresses that once belonged to the account, with what a sender is told, such as
    /// `550 5.1.6 Mailbox has moved, no forwarding address`.
    pub retired: Vec<(String, String)>,
    /// Minutes without contact after which a host with an agent refuses logins. `None`: it goes on with what it
    /// has; also where nobody notes the contact ([`Projection::in_contact`]).
    pub cut_off_minutes: Option<i64>,
}

impl MailboxState {
    /// Why nothing of the account opens.
    fn gate_of_all(&self) -> Option<&str> {
        self.gate.as_deref().filter(|_| !self.gate_is_mains)
    }

    /// Why the main password opens nothing, where app passwords do.
    fn gate_of_main_password(&self) -> Option<&str> {
        self.gate.as_deref().filter(|_| self.gate_is_mains)
    }
}

/// A password made by Mailward for one device, with the protocols it opens.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppPassword {
    /// Never used again for another one; the session is named `<mbox>@a<id>`.
    pub id: i64,
    /// SHA-256 of the password as it is typed, lower-case hex.
    pub digest_hex: String,
    pub imap: bool,
    pub pop: bool,
    pub smtp: bool,
    /// From this moment on it opens nothing, also while Mailward is stopped.
    pub expires_at: Option<Millis>,
}

/// The new state of one account; `None` when the mail servers shall no longer know it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Change {
    pub account_id: i64,
    pub state: Option<MailboxState>,
    /// What is sent to an agent is whole.
    #[serde(skip)]
    pub extent: Extent,
}

impl Change {
    /// Everything of the account, or that it is gone.
    pub fn whole(account_id: i64, state: Option<MailboxState>) -> Self {
        Self { account_id, state, extent: Extent::Whole }
    }
}

/// How much of an account a change brings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Extent {
    #[default]
    Whole,
    /// Addresses and app passwords are as the files have them; the state does not list them.
    WithoutBelongings,
}

/// Where the files live and whom they belong to.
#[derive(Debug, Clone)]
pub struct Options {
    /// Directory of `auth.sqlite`, for Dovecot.
    pub auth_dir: PathBuf,
    /// Directory of `maps.sqlite`, for Postfix.
    pub maps_dir: PathBuf,
    /// Group id for the auth directory and file; the service user has to be a member.
    pub auth_group: Option<u32>,
    /// Group id for the maps directory and file; the service user has to be a member.
    pub maps_group: Option<u32>,
    /// Names the main database. Files made from another one are rebuilt, whatever position they hold.
    pub instance: String,
}

/// What became of a write.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use = "a projection that is behind or damaged has not taken the change"]
pub enum Applied {
    /// Both files hold the change; the next look-up sees it.
    Done,
    /// Both files held this position, or a later one, already.
    AlreadyThere,
    /// The files are older than the changes begin: apply again with everything since `have`.
    Behind { have: i64 },
    /// A file is missing, foreign or damaged: call [`Projection::rebuild`].
    NeedsRebuild { why: String },
}

/// What a rebuild had to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rebuilt {
    pub accounts: u64,
    /// A file could not be kept and was made anew. Servers that run still read the deleted one, until
    /// `doveadm reload` and `postfix reload`.
    pub reload_servers: bool,
}

/// What differs between the files and the main database.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Drift {
    /// A file that cannot be mended by rows, and why: [`Projection::rebuild`] cures it.
    pub needs_rebuild: Option<String>,
    /// Accounts whose rows are missing, altered or foreign: read their states again and
    /// [`Projection::repair`] them (`state: None` for those that do not exist).
    pub accounts: BTreeSet<i64>,
    /// The list of domains differs.
    pub domains: bool,
    /// Wrong modes or groups that were found; opening the projection sets them right.
    pub permissions: Vec<String>,
}

impl Drift {
    /// Whether the files are exactly what they should be.
    pub fn is_clean(&self) -> bool {
        *self == Self::default()
    }
}

/// The writer of both files. One per process; where other processes write them too (the service and commands),
/// whoever writes takes [`Projection::alone`] first.
pub struct Projection {
    options: Options,
    auth: File,
    maps: File,
}

impl Projection {
    /// Opens both files, makes the directories (2770) when missing, and sets modes and groups right.
    ///
    /// Files that are missing, foreign or damaged are left for [`Self::rebuild`]; [`Self::position`]
    /// tells. An empty file would make Postfix answer "user unknown" for good, so tables
    /// appear only together with their rows.
    ///
    /// # Errors
    /// When a directory cannot be made or its mode cannot be set.
    pub fn open(options: Options) -> Result<Self> {
        let auth = File::open(&rows::AUTH, &options.auth_dir, options.auth_group, &options.instance)?;
        let maps = File::open(&rows::MAPS, &options.maps_dir, options.maps_group, &options.instance)?;
        Ok(Self { options, auth, maps })
    }

    pub fn options(&self) -> &Options {
        &self.options
    }

    /// The right to write among all processes with these files; `None` while somebody else has it, and then it is
    /// asked for again a little later. It is taken before the states are read and held until they are written:
    /// otherwise the states of an older snapshot could come after those of a newer one, and stay there.
    ///
    /// # Errors
    /// When its file, beside Dovecot's, cannot be opened.
    pub fn alone(&self) -> Result<Option<Alone>> {
        self.auth.alone()
    }

    /// The position up to which both files hold every change; `None` when one needs a rebuild.
    pub fn position(&mut self) -> Option<i64> {
        Some(self.auth.position()?.min(self.maps.position()?))
    }

    /// Whether somebody else put another file in the place of one that was open, since this was asked last: servers
    /// that run have to be reloaded.
    pub fn take_replaced(&mut self) -> bool {
        // Both are asked.
        self.auth.take_replaced() | self.maps.take_replaced()
    }

    /// Brings both files from any position at or after `since` to `upto`, one transaction each.
    ///
    /// `changes` holds the state *now* of every account that changed in `(since, upto]`, read in one
    /// snapshot; `domains` is the whole list, or `None` when it did not change. Doing it twice, or
    /// again after a crash between the two files, is harmless.
    ///
    /// # Errors
    /// When a file cannot be written at the moment (full, locked for more than five seconds).
    pub fn apply(
        &mut self,
        since: i64,
        upto: i64,
        changes: &[Change],
        domains: Option<&[String]>,
    ) -> Result<Applied> {
        self.write(changes, domains, |held| lacks(held, since, upto).map(|()| upto))
    }

    /// Writes a part of what [`Self::apply`] will bring, while the position stays: it says nothing of the parts, so
    /// [`Self::alone`] is held from the first to the last.
    ///
    /// # Errors
    /// As [`Self::apply`].
    pub fn apply_part(&mut self, since: i64, upto: i64, changes: &[Change]) -> Result<Applied> {
        self.write(changes, None, |held| lacks(held, since, upto).map(|()| held))
    }

    /// As [`Self::apply`], for files with a single writer that always sends current states (an agent's): a file that
    /// is at `upto` already takes them too, because a part of a large batch can be newer than its position says.
    /// Where `upto` is `since`, states are written and the position stays.
    ///
    /// # Errors
    /// As [`Self::apply`].
    pub fn take(
        &mut self,
        since: i64,
        upto: i64,
        changes: &[Change],
        domains: Option<&[String]>,
    ) -> Result<Applied> {
        self.write(changes, domains, |held| {
            if held < since { Err(Applied::Behind { have: held }) } else { Ok(held.max(upto)) }
        })
    }

    /// Sets right the accounts that [`Self::verify`] named, from states read at `position`.
    ///
    /// `Behind` means that the files have moved past `position` since: read the states again.
    ///
    /// # Errors
    /// As [`Self::apply`].
    pub fn repair(
        &mut self,
        position: i64,
        changes: &[Change],
        domains: Option<&[String]>,
    ) -> Result<Applied> {
        self.write(changes, domains, |held| {
            if held > position { Err(Applied::Behind { have: held }) } else { Ok(held) }
        })
    }

    /// Notes that the files were known to be up to date at this moment, for accounts that do not open on a host
    /// that was cut off.
    ///
    /// # Errors
    /// When Dovecot's file cannot be written at the moment.
    pub fn in_contact(&mut self, now: Millis) -> Result<()> {
        self.auth.in_contact(now)
    }

    /// The moment that was noted last.
    #[cfg(test)]
    pub fn contact(&self) -> Millis {
        self.auth.contact()
    }

    fn write(
        &mut self,
        changes: &[Change],
        domains: Option<&[String]>,
        decide: impl Fn(i64) -> Result<i64, Applied>,
    ) -> Result<Applied> {
        check(changes.iter().filter_map(|change| change.state.as_ref()))?;
        let auth = self.auth.write(changes, domains, &decide)?;
        if matches!(auth, Applied::Behind { .. } | Applied::NeedsRebuild { .. }) {
            return Ok(auth);
        }
        crash::at(Point::BetweenLookUps);
        let maps = self.maps.write(changes, domains, &decide)?;
        Ok(match (auth, maps) {
            (_, refused @ (Applied::Behind { .. } | Applied::NeedsRebuild { .. })) => refused,
            (Applied::AlreadyThere, Applied::AlreadyThere) => Applied::AlreadyThere,
            (_, Applied::Done | Applied::AlreadyThere) => Applied::Done,
        })
    }

    /// Replaces all rows of both files by `states`, in place and in one transaction each: readers
    /// see the old rows until the new ones are complete. Cures every damage.
    ///
    /// # Errors
    /// When a file cannot be written, or the source of the states fails; then nothing changed,
    /// unless the file was beyond reading before.
    pub fn rebuild(
        &mut self,
        position: i64,
        states: impl Iterator<Item = Result<MailboxState>>,
        domains: &[String],
    ) -> Result<Rebuilt> {
        let auth = self.auth.begin_rebuild()?;
        let maps = self.maps.begin_rebuild()?;
        let reload_servers = auth.anew || maps.anew;
        let mut accounts = 0;
        for state in states {
            let state = state?;
            check(std::iter::once(&state))?;
            auth.insert(&state)?;
            maps.insert(&state)?;
            accounts += 1;
        }
        auth.commit(position, domains)?;
        maps.commit(position, domains)?;
        self.auth.settle();
        self.maps.settle();
        Ok(Rebuilt { accounts, reload_servers })
    }

    /// Compares both files, row by row, with all `states` and the list of domains, and checks
    /// schema, integrity, modes and groups. Changes nothing.
    ///
    /// The states have to be no older than the files; an account that changes meanwhile may be named
    /// without need, which [`Self::repair`] with its state read afterwards makes harmless.
    ///
    /// # Errors
    /// When the source of the states fails or a file is locked. Damage is no error but a finding.
    pub fn verify(
        &mut self,
        states: impl Iterator<Item = Result<MailboxState>>,
        domains: &[String],
    ) -> Result<Drift> {
        let mut drift = Drift::default();
        for file in [&mut self.auth, &mut self.maps] {
            file.check_permissions(&mut drift.permissions);
            if let Some(why) = file.reopen() {
                drift.needs_rebuild = Some(why);
                return Ok(drift);
            }
        }
        let mut auth = self.auth.begin_verify(domains)?;
        let mut maps = self.maps.begin_verify(domains)?;
        for state in states {
            let state = state?;
            auth.compare(&state);
            maps.compare(&state);
        }
        auth.finish(&mut drift);
        maps.finish(&mut drift);
        Ok(drift)
    }
}

/// Whether a file at that position lacks what lies between, and nothing before.
fn lacks(held: i64, since: i64, upto: i64) -> std::result::Result<(), Applied> {
    match held {
        held if held >= upto => Err(Applied::AlreadyThere),
        held if held < since => Err(Applied::Behind { have: held }),
        _ => Ok(()),
    }
}

/// What a file says of itself: the position it holds, and the database it was made from. Changes nothing,
/// not even its mode.
///
/// # Errors
/// Why it cannot be read, in words.
pub fn peek(file: &std::path::Path) -> std::result::Result<(i64, String), String> {
    file::peek(file).map_err(|e| e.to_string())
}

/// A name that becomes part of a path and of a session name must not surprise either.
fn check<'a>(states: impl Iterator<Item = &'a MailboxState>) -> Result<()> {
    for state in states {
        let plain =
            |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-' || byte == b'_';
        if state.mbox.is_empty() || !state.mbox.bytes().all(plain) {
            return Err(Error::internal(format_args!(
                "account {} has a mailbox key that cannot be a directory and session name",
                state.account_id
            )));
        }
    }
    Ok(())
}

impl std::fmt::Debug for MailboxState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MailboxState")
            .field("account_id", &self.account_id)
            .field("mbox", &self.mbox)
            .field("generation", &self.generation)
            .field("addresses", &self.addresses)
            .finish_non_exhaustive()
    }
}

impl std::fmt::Debug for AppPassword {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AppPassword").field("id", &self.id).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
