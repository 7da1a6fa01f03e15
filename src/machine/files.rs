//! Files that are nobody else's, and the folders that they are in.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use zeroize::Zeroizing;

/// More than any secret has; whoever names a wrong file shall not have all of it read.
const MOST_BYTES: u64 = 4096;

/// Makes a file that its owner alone reads and writes (mode 0600).
///
/// # Errors
/// `AlreadyExists`: what is there is left alone.
pub fn new_private(file: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(file)
}

/// Has a file that root makes belong to whom its folder belongs to: a command of the administrator makes what the
/// service uses.
///
/// # Errors
/// What chown(2) is refused with.
pub fn give_to_folders_owner(file: &Path) -> io::Result<()> {
    if !rustix::process::geteuid().is_root() {
        return Ok(());
    }
    let owner = std::fs::metadata(folder(file))?;
    std::os::unix::fs::chown(file, Some(owner.uid()), Some(owner.gid()))
}

/// The folder that a file is in; `.` for a bare name.
pub fn folder(file: &Path) -> &Path {
    file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Makes the name of a new file outlast a power loss, by fsync(2) on its folder.
///
/// # Errors
/// Whatever the folder is refused with.
pub fn sync_folder(file: &Path) -> io::Result<()> {
    File::open(folder(file))?.sync_all()
}

/// The first line of a file that holds a secret and that nobody but its owner can read.
///
/// # Errors
/// Why not, in words that go on after the name of the file.
pub fn secret(file: &Path) -> Result<Zeroizing<String>, String> {
    let unreadable = |cause: io::Error| format!("it cannot be read: {cause}");
    let mut opened = File::open(file).map_err(unreadable)?;
    let meta = opened.metadata().map_err(unreadable)?;
    if !meta.is_file() {
        return Err("it is no file".to_owned());
    }
    if meta.mode() & 0o077 != 0 {
        return Err(format!("others can read it (mode {:04o}); run chmod 0600 on it", meta.mode() & 0o7777));
    }
    let mut text = Zeroizing::new(String::new());
    Read::by_ref(&mut opened).take(MOST_BYTES).read_to_string(&mut text).map_err(unreadable)?;
    match text.lines().next() {
        Some(line) if !line.trim().is_empty() => Ok(Zeroizing::new(line.to_owned())),
        Some(_) | None => Err("its first line is empty; the secret belongs there".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{Permissions, set_permissions, write};
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_secret_is_read_from_a_file_that_is_nobody_elses() {
        let place = tempfile::tempdir().expect("a folder");
        let file = place.path().join("secret");
        let holds = |text: &str, mode: u32| {
            write(&file, text).expect("written");
            set_permissions(&file, Permissions::from_mode(mode)).expect("a mode");
            secret(&file).map(|line| line.to_string())
        };
        assert_eq!(holds("secret words\nnot this\n", 0o600), Ok("secret words".to_owned()));
        assert_eq!(holds("secret words", 0o400), Ok("secret words".to_owned()));
        for mode in [0o640, 0o604, 0o620] {
            let why = holds("secret words\n", mode).expect_err("readable");
            assert!(why.contains("chmod 0600") && !why.contains("words"), "{why}");
        }
        for blank in ["", "\n", "  \nsecret\n"] {
            assert!(holds(blank, 0o600).expect_err("blank").contains("empty"));
        }
        assert!(secret(place.path()).expect_err("a folder").contains("no file"));
        assert!(secret(&place.path().join("nothing")).expect_err("nothing").contains("cannot be read"));
    }

    #[test]
    fn what_root_makes_belongs_to_whom_the_folder_belongs_to() {
        let place = tempfile::tempdir().expect("a folder");
        let root = rustix::process::geteuid().is_root();
        // Whoever is not root gives nothing away.
        let (uid, gid) = match root {
            true => (4242, 4243),
            false => (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw()),
        };
        std::os::unix::fs::chown(place.path(), Some(uid), Some(gid)).expect("an owner");
        let file = place.path().join("new");
        new_private(&file).expect("made");
        give_to_folders_owner(&file).expect("given");
        let meta = std::fs::metadata(&file).expect("there");
        assert_eq!((meta.uid(), meta.gid(), meta.mode() & 0o7777), (uid, gid, 0o600));
    }

    #[test]
    fn a_new_private_file_takes_nobodys_place() {
        let place = tempfile::tempdir().expect("a folder");
        let file = place.path().join("new");
        new_private(&file).expect("made");
        assert_eq!(std::fs::metadata(&file).expect("there").mode() & 0o7777, 0o600);
        assert_eq!(new_private(&file).expect_err("there").kind(), io::ErrorKind::AlreadyExists);
        sync_folder(&file).expect("synced");
        assert_eq!(folder(Path::new("bare.name")), Path::new("."));
    }
}
