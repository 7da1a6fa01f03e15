//! Changing the server's keys: a new one in front, every sealed value moved to it, old ones
//! forgotten; and a new beginning when the file is lost.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;

use super::{Check, Key, KeyId, Keys, Purpose, bad, file, key_of, make, of_person, read, replace};
use crate::app::App;
use crate::app::call::Context;
use crate::app::journal;
use crate::app::random::Random;
use crate::clock::Millis;
use crate::config::Config;
use crate::error::{Error, Result};
use crate::machine::files;
use crate::store::engine::Db;
use crate::store::sealed::{self, SealedTable};
use crate::store::settings;

/// Values that one transaction seals anew.
const AT_ONCE: i64 = 100;

/// Puts a new key in front. The old ones stay, to read what they sealed.
///
/// # Errors
/// `BadValue` when the file cannot be written.
pub async fn rotate(app: &App, context: &Context) -> Result<KeyId> {
    let now = app.clock.now();
    let (id, check) = {
        let file = app.keys.path();
        let _locked = lock(file)?;
        let mut all = read(file).map_err(|why| why.told(file))?;
        let key = loop {
            let key = Key::new(&app.random, now);
            if all.iter().all(|known| known.id != key.id) {
                break key;
            }
        };
        let (id, check) = (key.id, Check::of(&key).to_string());
        all.insert(0, key);
        replace(file, &all, &app.random)?;
        (id, check)
    };
    let context = context.clone();
    app.db
        .write(async move |tx| {
            settings::set(tx, settings::KEY_CHECK, &check).await?;
            let notes = BTreeMap::from([("key", id.to_string())]);
            journal::everywhere(tx, &context, "rotateKeys", &notes, now).await
        })
        .await?;
    Ok(id)
}

/// Seals every value of the database that an older key holds with the newest one; answers how many.
///
/// # Errors
/// `Internal` for a value whose key the file lacks.
pub async fn reseal(app: &App) -> Result<u64> {
    let mut resealed = 0;
    for (table, purpose) in tables()? {
        resealed += reseal_table(app, table, purpose).await?;
    }
    Ok(resealed)
}

/// The same for one table.
pub async fn reseal_table(app: &App, table: SealedTable, purpose: Purpose) -> Result<u64> {
    let (mut after, mut resealed) = (None, 0);
    loop {
        let page = {
            let mut tx = app.db.read().await?;
            sealed::page(&mut tx, table, after, AT_ONCE).await?
        };
        let Some(last) = page.last() else { return Ok(resealed) };
        after = Some((last.organization, last.person));
        let newest = app.keys.all()[0].id;
        let mut changed = Vec::new();
        for row in page.into_iter().filter(|row| key_of(&row.sealed) != Some(newest)) {
            let about = of_person(row.organization, row.person);
            let open = app.keys.open(purpose, &about, &row.sealed)?;
            changed.push((row, app.keys.seal(purpose, &about, &open)));
        }
        let moved = async move |tx: &mut crate::store::engine::Tx| {
            let mut moved = 0;
            for (row, new) in &changed {
                // Whoever was quicker has sealed with the newest key too.
                moved += u64::from(sealed::replace(tx, table, row, new).await?);
            }
            Ok(moved)
        };
        resealed += app.db.write(moved).await?;
    }
}

/// Takes a key out of the file that nothing is sealed with any more.
///
/// # Errors
/// `NotFound`; `Refused` for the newest one, and while a value needs it.
pub async fn forget(app: &App, id: KeyId, context: &Context) -> Result<()> {
    let all = app.keys.all();
    if all[0].id == id {
        return Err(Error::Refused(
            "this is the key in use; `mailward keys rotate` makes another one".to_owned(),
        ));
    }
    if all.iter().all(|key| key.id != id) {
        return Err(Error::NotFound(format!("{} has no key {id}", app.keys.path().display())));
    }
    for (table, _) in tables()? {
        let mut after = None;
        loop {
            let mut tx = app.db.read().await?;
            let page = sealed::page(&mut tx, table, after, AT_ONCE).await?;
            let Some(last) = page.last() else { break };
            after = Some((last.organization, last.person));
            if page.iter().any(|row| key_of(&row.sealed) == Some(id)) {
                return Err(Error::Refused(format!(
                    "{} holds values that only this key opens; run `mailward keys reseal` first",
                    table.name
                )));
            }
        }
    }
    // After a rotation that was cut off the database still asks for the old key at every start.
    let check = Check::of(&all[0]).to_string();
    app.db.write(async move |tx| settings::set(tx, settings::KEY_CHECK, &check).await).await?;
    {
        let file = app.keys.path();
        let _locked = lock(file)?;
        let mut all = read(file).map_err(|why| why.told(file))?;
        all.retain(|key| key.id != id);
        replace(file, &all, &app.random)?;
    }
    let (context, now) = (context.clone(), app.clock.now());
    app.db
        .write(async move |tx| {
            let notes = BTreeMap::from([("key", id.to_string())]);
            journal::everywhere(tx, &context, "forgetKey", &notes, now).await
        })
        .await
}

/// Begins with a new file where the old one is lost: everything sealed is deleted, since nobody can
/// open it. Answers how many values those were.
///
/// # Errors
/// `Refused` while there is a file.
pub async fn start_anew(db: &Db, config: &Config, context: &Context, now: Millis) -> Result<(Keys, u64)> {
    let file = file(config);
    if file.exists() {
        return Err(Error::Refused(format!(
            "{} is there; move it away if it is not this database's, and copy the right one to its place if anybody \
             still has it",
            file.display()
        )));
    }
    // First the file: without the rights to make it nothing may be deleted.
    make(&file, config.database.sqlite_path(), &Random::System, now)?;
    let context = context.clone();
    let cleared = db
        .write(async move |tx| {
            settings::delete(tx, settings::KEY_CHECK).await?;
            let cleared = sealed::clear(tx).await?;
            let notes = BTreeMap::from([("sealedValuesDeleted", cleared.to_string())]);
            journal::everywhere(tx, &context, "startKeysAnew", &notes, now).await?;
            Ok(cleared)
        })
        .await?;
    Ok((Keys::load_or_create(db, config, Random::System, now).await?, cleared))
}

/// Every sealed table with what its values are for.
fn tables() -> Result<Vec<(SealedTable, Purpose)>> {
    let purpose = |table: &SealedTable| match table.name {
        "totp" => Ok((*table, Purpose::Totp)),
        other => Err(Error::internal(format!("nobody says what the sealed values of {other} are for"))),
    };
    sealed::TABLES.iter().map(purpose).collect()
}

/// Two who write the file at once would lose a key. The folder is locked, since the file is replaced.
fn lock(file: &Path) -> Result<File> {
    let folder = File::open(files::folder(file)).and_then(|folder| folder.lock().map(|()| folder));
    folder.map_err(|cause| bad(format!("cannot lock the folder of {}: {cause}", file.display())))
}
