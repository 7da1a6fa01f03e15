//! The lock that lets one process at a time read how accounts stand and write it into the files.

use std::fs::{self, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::OFlags;

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

/// Opens the file, which is made when missing, for whoever may write the folder. A mail server's group may, too: what
/// it puts there instead, such as a link, is neither followed nor waited for.
fn open(path: &Path, group: Option<u32>) -> io::Result<fs::File> {
    let unfollowed = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
    let mut options = OpenOptions::new();
    options.write(true).custom_flags(unfollowed);
    let opened = match options.open(path) {
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => {
            match options.create_new(true).mode(FILE_MODE).open(path) {
                Ok(made) => {
                    set_access(path, FILE_MODE, group)?;
                    made
                }
                // Somebody else has made it this moment.
                Err(cause) if cause.kind() == io::ErrorKind::AlreadyExists => {
                    options.create_new(false).open(path)?
                }
                Err(cause) => return Err(cause),
            }
        }
        opened => opened?,
    };
    if !opened.metadata()?.is_file() {
        return Err(io::Error::other(format!("{} is no file; delete it", path.display())));
    }
    Ok(opened)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_in_its_place_is_neither_followed_nor_waited_for() {
        let folder = tempfile::tempdir().expect("a folder");
        let (lock, elsewhere) = (folder.path().join("lock"), folder.path().join("elsewhere"));
        std::os::unix::fs::symlink(&elsewhere, &lock).expect("a link");
        assert!(Alone::attempt(&lock, None).is_err());
        assert!(!elsewhere.exists());
        fs::remove_file(&lock).expect("removed");
        rustix::fs::mkfifoat(rustix::fs::CWD, &lock, rustix::fs::Mode::RWXU).expect("a pipe");
        assert!(Alone::attempt(&lock, None).is_err());
        fs::remove_file(&lock).expect("removed");
        let held = Alone::attempt(&lock, None).expect("a file");
        assert!(held.is_some() && Alone::attempt(&lock, None).expect("a file").is_none());
        drop(held);
        assert!(Alone::attempt(&lock, None).expect("a file").is_some());
    }
}
