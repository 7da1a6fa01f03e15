//! Folds the write-ahead log of a SQLite file into the file beside whoever writes. A writer that did it by
//! itself, as SQLite has it, would have one change wait for what hundreds of others wrote.
//! Source: <https://www.sqlite.org/wal.html>, "Checkpointing".

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rusqlite::hooks::Wal;
use rusqlite::{Connection, OpenFlags, ffi};

use super::sqlite::{connect, lock};

/// When the log is this many times as long as wished, the thread cannot keep up, and the writer folds it itself.
const MOST_TIMES: u32 = 2;
/// The thread folds whenever the log has grown by this part of the wished length: the more is synced at once, the
/// longer changes wait for their own sync.
const STEPS: u32 = 8;
/// How often the thread looks for what was written meanwhile.
const PASSES: u32 = 5;

/// The thread that folds a log now, if there is one.
#[derive(Clone, Default)]
pub struct Checkpoints(Arc<Running>);

#[derive(Default)]
struct Running {
    thread: Mutex<Option<JoinHandle<()>>>,
    /// The thread has left little to the writer.
    nearly_done: AtomicBool,
}

impl Checkpoints {
    /// From now on the log is folded step by step, and begins anew once it has this many pages. In place of SQLite's
    /// own `wal_autocheckpoint`, which must not be set afterwards.
    pub fn beside(connection: &mut Connection, path: &Path, pages: u32) -> rusqlite::Result<Self> {
        let checkpoints = Self::default();
        let (running, path) = (checkpoints.clone(), path.to_owned());
        let step = (pages / STEPS).max(1);
        let (mut due, mut last) = (step, 0);
        connection.wal_hook(Some(move |log: &mut Wal, length| {
            let length = u32::try_from(length).unwrap_or(0);
            if length < last {
                due = step; // the log has begun anew
            }
            last = length;
            // SQLite begins a log anew only where all of it is in the file. Beside writers who never pause there is
            // always something left, which is for the writer, and costs it a sync.
            let nearly_done = running.0.nearly_done.swap(false, Ordering::Relaxed) && length >= pages;
            let too_long = length >= due && length >= pages.saturating_mul(MOST_TIMES);
            let folded = (nearly_done || too_long) && {
                let outcome = log.checkpoint();
                end_if_not_synced(&outcome);
                outcome.is_ok()
            };
            if folded {
                due = length.saturating_add(step);
            } else if length >= due {
                // What fails is tried again when the log is longer.
                due = length.saturating_add(step);
                running.begin(&path, i64::from(step / 2));
            }
            Ok(())
        }))?;
        Ok(checkpoints)
    }

    fn begin(&self, path: &Path, little: i64) {
        let mut running = lock(&self.0.thread);
        if running.as_ref().is_none_or(JoinHandle::is_finished) {
            let (inner, path) = (self.clone(), path.to_owned());
            let fold = move || {
                let nearly_done = fold(&path, little);
                inner.0.nearly_done.store(nearly_done, Ordering::Relaxed);
            };
            *running = thread::Builder::new().name("sqlite-log".to_owned()).spawn(fold).ok();
        }
    }

    /// Waits for the thread. Before the last connection closes: two that close at the same time could leave a log.
    pub fn wait(&self) {
        let running = lock(&self.0.thread).take();
        if let Some(thread) = running {
            let _ = thread.join();
        }
    }
}

/// As far as readers let it; whether no more than `little` pages are left.
fn fold(path: &Path, little: i64) -> bool {
    let access = OpenFlags::SQLITE_OPEN_READ_WRITE;
    let Ok(connection) = connect(path, access, Duration::ZERO) else { return false };
    let nearly_done = (0..PASSES).any(|_| {
        let left = connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |row| {
            let left = row.get::<_, i64>("log")? - row.get::<_, i64>("checkpointed")?;
            Ok((row.get::<_, i64>("busy")? == 0).then_some(left))
        });
        end_if_not_synced(&left);
        left.is_ok_and(|left| left.is_some_and(|left| left <= little))
    });
    // SQLite syncs the file with the last page of the log alone. That page is the writer's, who would wait for all.
    if let Ok(file) = kept_open(path)
        && let Err(cause) = file.sync_data()
    {
        end(&cause);
    }
    nearly_done
}

fn end_if_not_synced<T>(outcome: &rusqlite::Result<T>) {
    if let Err(rusqlite::Error::SqliteFailure(code, _)) = outcome
        && code.extended_code == ffi::SQLITE_IOERR_FSYNC
    {
        end(&code);
    }
}

/// Pages that were folded did not get to the disk. The system says so once, and the next sync would succeed without
/// them, after which the log would be written over. So this process ends at once: whoever opens the database next folds
/// the whole log, which was synced with each change.
/// Source: <https://wiki.postgresql.org/wiki/Fsync_Errors>, whose servers do the same.
fn end(cause: &dyn std::fmt::Display) -> ! {
    tracing::error!(%cause, "the disk did not take what it was to sync; ending, so that the log is folded anew at the next start");
    std::process::abort()
}

/// Files that are synced here, by device and inode. They are never closed: closing any descriptor of a file ends all
/// locks that this process has on it, SQLite's among them. So a look-up file that was deleted keeps its room until the
/// process ends.
/// Source: <https://www.sqlite.org/howtocorrupt.html>, 2.2.
static KEPT_OPEN: Mutex<BTreeMap<(u64, u64), Arc<File>>> = Mutex::new(BTreeMap::new());

fn kept_open(path: &Path) -> io::Result<Arc<File>> {
    let identity = |meta: fs::Metadata| (meta.dev(), meta.ino());
    let mut kept = lock(&KEPT_OPEN);
    if let Some(file) = kept.get(&identity(fs::metadata(path)?)) {
        return Ok(Arc::clone(file));
    }
    let file = Arc::new(File::open(path)?);
    // Somebody may have put another file there meanwhile, which is known already.
    std::mem::forget(kept.insert(identity(file.metadata()?), Arc::clone(&file)));
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    const WISHED: u32 = 25;

    struct Written {
        folder: tempfile::TempDir,
        connection: Connection,
        checkpoints: Checkpoints,
    }

    fn written() -> Written {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("log.sqlite");
        let mut connection = Connection::open(&path).expect("a new file");
        connection
            .execute_batch("PRAGMA journal_mode = WAL; CREATE TABLE line (text TEXT NOT NULL)")
            .expect("a table");
        let checkpoints = Checkpoints::beside(&mut connection, &path, WISHED).expect("a hook");
        Written { folder, connection, checkpoints }
    }

    impl Written {
        fn write(&self, lines: u32) {
            for _ in 0..lines {
                let text = "x".repeat(3000);
                self.connection.execute("INSERT INTO line VALUES (?1)", [text]).expect("a row");
            }
        }

        /// Pages in the log.
        fn log(&self) -> i64 {
            self.connection
                .query_row("PRAGMA wal_checkpoint(NOOP)", [], |row| row.get("log"))
                .expect("a length")
        }

        /// Writes without a pause until the log is shorter than before; answers how long it was.
        fn write_until_anew(&self) -> i64 {
            for _ in 0..50_000 {
                let before = self.log();
                self.write(1);
                if self.log() < before {
                    return before;
                }
            }
            panic!("the log has {} pages, and never began anew", self.log());
        }
    }

    #[test]
    fn a_log_begins_anew_beside_a_writer_who_never_pauses() {
        let written = written();
        for _ in 0..3 {
            let longest = written.write_until_anew();
            assert!(longest >= i64::from(WISHED), "{longest} pages");
        }
    }

    #[test]
    fn a_log_that_a_reader_holds_begins_anew_when_the_reader_has_gone() {
        let written = written();
        let reader = Connection::open(written.folder.path().join("log.sqlite")).expect("a reader");
        let count = || -> u32 {
            reader.query_row("SELECT COUNT(*) FROM line", [], |row| row.get(0)).expect("a count")
        };
        reader.execute_batch("BEGIN").expect("a snapshot");
        assert_eq!(count(), 0);
        written.write(300);
        assert_eq!(count(), 0, "the reader sees what was there");
        let held = written.log();
        assert!(held > i64::from(WISHED * MOST_TIMES), "{held} pages");
        reader.execute_batch("ROLLBACK").expect("the end of the snapshot");
        assert!(written.write_until_anew() >= held);
    }

    #[test]
    fn what_is_synced_beside_sqlite_keeps_the_locks_of_this_process() {
        let written = written();
        let path = written.folder.path().join("log.sqlite");
        let meta = std::fs::metadata(&path).expect("the file");
        // As the kernel lists them: kind, mode, process, then device and inode.
        let held = || {
            let locks = std::fs::read_to_string("/proc/locks").expect("the kernel's list");
            let ours = std::process::id().to_string();
            let inode = format!(":{}", meta.ino());
            locks.lines().filter(|line| line.contains("POSIX")).any(|line| {
                let words: Vec<_> = line.split_whitespace().collect();
                words.contains(&ours.as_str()) && words.iter().any(|word| word.ends_with(&inode))
            })
        };
        written.write(1);
        assert!(held(), "a connection in WAL mode holds a lock for as long as it is open");
        for _ in 0..3 {
            assert!(fold(&path, 0), "nobody reads");
            assert!(held(), "the lock has gone");
        }
    }

    #[test]
    fn a_log_is_folded_when_its_writer_has_closed() {
        let written = written();
        written.write(WISHED);
        let Written { folder, connection, checkpoints } = written;
        checkpoints.wait();
        connection.close().expect("it closes");
        assert!(!folder.path().join("log.sqlite-wal").exists());
    }
}
