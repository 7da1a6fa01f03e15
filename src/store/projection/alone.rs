//! The lock that lets one process at a time read how accounts stand and write it into the files.

use std::fs::{self, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use super::file::{FILE_MODE, set_access};

/// Held, until it is dropped or the process ends, by whoever writes. A file of its own: SQLite's locks end when any
/// descriptor of its own files is closed.
#[must_use = "others write as soon as it is dropped"]
pub struct Alone(fs::File);

impl Alone {
    /// Takes it, unless somebody else has it. Does not wait.
    pub(super) fn attempt(path: &Path, group: Option<u32>) -> io::Result<Option<Self>> {
        let file = open(path, group)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(cause)) => return Err(cause),
        }
        // One that was deleted meanwhile keeps nobody out.
        let (held, found) = (file.metadata()?, fs::metadata(path).ok());
        let same = found.is_some_and(|found| (found.dev(), found.ino()) == (held.dev(), held.ino()));
        Ok(same.then_some(Self(file)))
    }
}

impl Drop for Alone {
    fn drop(&mut self) {
        // Not by closing alone: a program that is being started has the descriptor, too, for a moment.
        let _closing_does_it_then = self.0.unlock();
    }
}

/// Opens the file, which is made when missing, for whoever may write the folder.
fn open(path: &Path, group: Option<u32>) -> io::Result<fs::File> {
    match OpenOptions::new().write(true).open(path) {
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => {}
        opened => return opened,
    }
    let made = OpenOptions::new().write(true).create(true).truncate(false).mode(FILE_MODE).open(path)?;
    set_access(path, FILE_MODE, group)?;
    Ok(made)
}
