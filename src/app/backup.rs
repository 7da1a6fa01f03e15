//! Copies of the database, and what must happen before a copy is used again: tokens, codes, one-time
//! and app passwords are void, and ids and generations never go back.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File};
use std::io::{self, Read as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use crate::app::call::Context;
use crate::app::journal;
use crate::app::open::{self, SchemaState};
use crate::app::read_only;
use crate::clock::Millis;
use crate::config::Database;
use crate::error::{Error, Result};
use crate::machine::files;
use crate::store;
use crate::store::engine::{Db, Options};

/// Writes a copy of the embedded database as of one moment, while the service runs, and makes it
/// durable. Refuses to overwrite.
///
/// # Errors
/// `Refused` when the file exists, cannot be made, or the database is PostgreSQL.
pub async fn backup(db: &Db, target: &Path) -> Result<()> {
    db.backup_to(target).await?;
    sync(target).map_err(|cause| Error::caused("making the backup durable", cause))
}

/// Puts a copy in the place of the configured embedded database, which must not exist, and voids
/// what the copy still believes in.
///
/// # Errors
/// `Refused` when something is in the way, or the file is no backup of Mailward's.
pub async fn restore(database: &Database, from: &Path, context: &Context, now: Millis) -> Result<()> {
    let Some(target) = database.sqlite_path() else {
        return Err(Error::Refused(
            "this database is PostgreSQL: restore it with pg_restore, then run \
             `mailward restore --after-pg-restore`"
                .to_owned(),
        ));
    };
    refuse_overwriting(target)?;
    refuse_strangers(from)?;
    DirBuilder::new().recursive(true).mode(0o700).create(files::folder(target)).map_err(|cause| {
        Error::Refused(format!("cannot make the folder of {}: {cause}", target.display()))
    })?;
    let beside = beside(target, ".restoring");
    // Left by a restore that was cut off: its log would be taken for one of the new copy.
    remove_with_log(&beside)?;
    let outcome = async {
        copy(from, &beside).map_err(|cause| {
            Error::Refused(format!("cannot copy {} to {}: {cause}", from.display(), beside.display()))
        })?;
        prepare(&beside, context, now).await?;
        settle(&beside, target)
    };
    let outcome = outcome.await;
    // What cannot be removed now is told by the next restore.
    let _left = remove_with_log(&beside);
    outcome
}

/// Removes a database that is not in use, with what belongs to it.
fn remove_with_log(database: &Path) -> Result<()> {
    for end in ["", "-wal", "-shm"] {
        let file = beside(database, end);
        match fs::remove_file(&file) {
            Err(cause) if cause.kind() != std::io::ErrorKind::NotFound => {
                return Err(Error::Refused(format!("cannot remove {}: {cause}", file.display())));
            }
            Ok(()) | Err(_) => {}
        }
    }
    Ok(())
}

/// Voids what a restored PostgreSQL database still believes in.
///
/// # Errors
/// `Refused` for an embedded database, which `restore` itself treats so.
pub async fn after_pg_restore(db: &Db, context: &Context, now: Millis) -> Result<()> {
    if open::is_embedded(db) {
        return Err(Error::Refused(
            "this database is embedded: `mailward restore FILE` restores it and does this too".to_owned(),
        ));
    }
    read_only::forget(db).await?;
    open::refuse_ahead(db).await?;
    open::bring_up(db, now).await?;
    void(db, context, now).await
}

async fn prepare(file: &Path, context: &Context, now: Millis) -> Result<()> {
    let db = Db::open(&format!("sqlite:{}", file.display()), &Options::default())?;
    let outcome = async {
        read_only::forget(&db).await?;
        open::refuse_ahead(&db).await?;
        match open::schema_state(&db).await? {
            SchemaState::Empty => {
                return Err(Error::Refused("the file is a database, but not one of Mailward's".to_owned()));
            }
            SchemaState::Behind(_) => drop(open::migrate(&db, now).await?),
            SchemaState::Current | SchemaState::Ahead => {}
        }
        void(&db, context, now).await
    };
    let outcome = outcome.await;
    db.close().await;
    outcome?;
    // The last connection folds the log into the file, which alone gets the name; a full disk may keep it from that.
    let log = beside(file, "-wal");
    match fs::metadata(&log).is_ok_and(|log| log.len() > 0) {
        true => Err(Error::Refused(
            "what was voided could not be written into the copy; is the disk full?".to_owned(),
        )),
        false => Ok(()),
    }
}

async fn void(db: &Db, context: &Context, now: Millis) -> Result<()> {
    let context = context.clone();
    // It touches every person and every account.
    db.write_at_length(async move |tx| {
        store::restore::void(tx, now).await?;
        let what = "every token, code, one-time password and app password of the copy; applications are switched off"
            .to_owned();
        // After the jump, or the entries could bear numbers that were given before.
        journal::everywhere(tx, &context, "restore", &BTreeMap::from([("voided", what)]), now).await
    })
    .await
}

fn refuse_overwriting(target: &Path) -> Result<()> {
    for end in ["", "-wal", "-shm"] {
        let there = beside(target, end);
        if there.exists() {
            return Err(Error::Refused(format!(
                "{} exists; stop the service and move it away first, nothing is overwritten",
                there.display()
            )));
        }
    }
    Ok(())
}

/// A copy of the bare file while its log lay beside it would lack the newest changes.
fn refuse_strangers(from: &Path) -> Result<()> {
    let mut start = [0; 16];
    File::open(from).and_then(|mut file| file.read_exact(&mut start)).map_err(|cause| {
        match cause.kind() {
            io::ErrorKind::NotFound => Error::NotFound(format!("there is no file {}", from.display())),
            _ => Error::Refused(format!("cannot read {}: {cause}", from.display())),
        }
    })?;
    if start != *b"SQLite format 3\0" {
        return Err(Error::Refused(format!("{} is no SQLite database", from.display())));
    }
    let log = beside(from, "-wal");
    if fs::metadata(&log).is_ok_and(|log| log.len() > 0) {
        return Err(Error::Refused(format!(
            "{} lies beside the file, so the file alone is not whole; make the copy with `mailward backup`",
            log.display()
        )));
    }
    Ok(())
}

fn copy(from: &Path, to: &Path) -> io::Result<()> {
    let mut source = File::open(from)?;
    let mut target = files::new_private(to)?;
    files::give_to_folders_owner(to)?;
    io::copy(&mut source, &mut target).map(drop)
}

/// Gives the file its name in one step, durably. A link does not replace what is there.
fn settle(file: &Path, target: &Path) -> Result<()> {
    sync(file)
        .and_then(|()| fs::hard_link(file, target))
        .and_then(|()| sync(target))
        .map_err(|cause| Error::Refused(format!("cannot put the copy to {}: {cause}", target.display())))
}

fn sync(file: &Path) -> io::Result<()> {
    File::open(file)?.sync_all()?;
    files::sync_folder(file)
}

/// The path with more at its end.
fn beside(path: &Path, end: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(end);
    PathBuf::from(name)
}
