//! The one thread that writes to SQLite. Changes that wait at the same time share one COMMIT; a refusal or a panic
//! undoes only itself. Start with `write_loop`.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::pin;
use std::sync::{Mutex, mpsc};
use std::task::{Context, Poll, Waker};
use std::thread::{self, JoinHandle};

use rusqlite::Connection;
use tokio::sync::oneshot;

use super::checkpoint::Checkpoints;
use super::sqlite::{NOT_SYNCED, closed, control, lock, sqlite};
use super::{Arm, Manner, Tx, unavailable};
use crate::crash::{self, Point};
use crate::error::{Error, Result};

const MOST_CHANGES_WAITING: usize = 4096;
const MOST_CHANGES_PER_COMMIT: usize = 256;

pub(super) struct Writer {
    /// `None` once closed.
    queue: Mutex<Option<mpsc::SyncSender<Box<dyn Waiting>>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Writer {
    pub fn start(connection: Connection, checkpoints: Checkpoints) -> Result<Self> {
        let (queue, waiting) = mpsc::sync_channel(MOST_CHANGES_WAITING);
        let mut tx = Tx { arm: Arm::Sqlite(connection), failed: false, uncounted: false, kept: None };
        let thread = thread::Builder::new()
            .name("sqlite-writer".to_owned())
            .spawn(move || {
                write_loop(&mut tx, &waiting);
                checkpoints.wait();
            })
            .map_err(|cause| Error::caused("starting the writer's thread", cause))?;
        Ok(Self { queue: Mutex::new(Some(queue)), thread: Mutex::new(Some(thread)) })
    }

    /// Queues a change and waits for the common COMMIT. A panic in it resurfaces here.
    pub async fn write<T, F>(&self, manner: Manner, change: F) -> Result<T>
    where
        F: AsyncFn(&mut Tx) -> Result<T> + Send + 'static,
        T: Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let write = Box::new(Write { manner, change, outcome: None, reply });
        match &*lock(&self.queue) {
            Some(queue) => queue.try_send(write).map_err(|refused| match refused {
                mpsc::TrySendError::Full(_) => unavailable("too many changes are waiting", 1),
                mpsc::TrySendError::Disconnected(_) => unavailable("the database's writer has stopped", 5),
            })?,
            None => return Err(closed()),
        }
        match answer.await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(panic)) => resume_unwind(panic),
            Err(_) => Err(unavailable("the database's writer has stopped", 5)),
        }
    }

    /// Refuses new work; the thread, returned to whoever asks first, ends after what it has accepted.
    pub fn stop(&self) -> Option<JoinHandle<()>> {
        lock(&self.queue).take();
        lock(&self.thread).take()
    }
}

/// A change in the queue, whatever its closure and its result are.
trait Waiting: Send {
    /// Runs the change, any number of times. Unless it is to be kept it must leave no trace.
    fn run(&mut self, tx: &mut Tx) -> Result<Fate>;
    /// Whether it writes what is undone, or what SQLite does not count.
    fn wants_savepoint(&self) -> bool;
    /// Tells the caller, after the common COMMIT.
    fn answer(self: Box<Self>, committed: Result<()>);
}

/// What becomes of a change that succeeded.
#[derive(Clone, Copy, PartialEq)]
enum Fate {
    Kept,
    Undone,
}

struct Write<F, T> {
    manner: Manner,
    change: F,
    outcome: Option<thread::Result<Result<T>>>,
    reply: oneshot::Sender<thread::Result<Result<T>>>,
}

impl<T, F> Waiting for Write<F, T>
where
    T: Send,
    F: AsyncFn(&mut Tx) -> Result<T> + Send,
{
    fn run(&mut self, tx: &mut Tx) -> Result<Fate> {
        let outcome =
            catch_unwind(AssertUnwindSafe(|| ready((self.change)(tx)))).map(|outcome| tx.verdict(outcome));
        tx.failed = false;
        let fate = match (&outcome, self.manner) {
            (Ok(Ok(_)), Manner::Rehearsal) => Ok(Fate::Undone),
            (Ok(Ok(_)), Manner::Change | Manner::ChangeAtLength | Manner::Migration) => Ok(Fate::Kept),
            (Ok(Err(error)), _) => Err(error.clone()),
            (Err(_), _) => Err(Error::internal("a change panicked")),
        };
        self.outcome = Some(outcome);
        fate
    }

    fn wants_savepoint(&self) -> bool {
        match self.manner {
            Manner::Change | Manner::ChangeAtLength => false,
            Manner::Rehearsal | Manner::Migration => true,
        }
    }

    fn answer(self: Box<Self>, committed: Result<()>) {
        let answer = match (self.outcome, committed) {
            (Some(Ok(Ok(_))) | None, Err(error)) => Ok(Err(error)),
            (Some(outcome), _) => outcome,
            (None, Ok(())) => Ok(Err(Error::internal("a change was passed over"))),
        };
        // A caller that has gone away is told nothing.
        let _ = self.reply.send(answer);
    }
}

fn ready<T>(future: impl Future<Output = Result<T>>) -> Result<T> {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(outcome) => outcome,
        Poll::Pending => Err(Error::internal("a change waited for something outside its transaction")),
    }
}

fn write_loop(tx: &mut Tx, queue: &mpsc::Receiver<Box<dyn Waiting>>) {
    while let Ok(first) = queue.recv() {
        // Whoever is waiting comes along, nobody is waited for.
        let mut batch = vec![first];
        batch.extend(queue.try_iter().take(MOST_CHANGES_PER_COMMIT - 1));
        let committed = run_together(tx, &mut batch);
        if committed.is_err() && !sqlite(tx).is_autocommit() {
            let _ = control(tx, "ROLLBACK");
        }
        batch.into_iter().for_each(|write| write.answer(committed.clone()));
    }
}

fn run_together(tx: &mut Tx, batch: &mut [Box<dyn Waiting>]) -> Result<()> {
    control(tx, "BEGIN IMMEDIATE")?;
    if !run_all(tx, batch, Savepoints::WhereWanted)? {
        control(tx, "ROLLBACK")?;
        control(tx, "BEGIN IMMEDIATE")?;
        run_all(tx, batch, Savepoints::Everywhere)?;
    }
    crash::at(Point::Committing);
    control(tx, "COMMIT").map_err(|error| match error {
        Error::Unavailable { why: NOT_SYNCED, .. } if !overwritten(tx) => UNCONFIRMED,
        error => error,
    })?;
    crash::at(Point::Committed);
    Ok(())
}

/// Which changes have a savepoint of their own.
#[derive(Clone, Copy, PartialEq)]
enum Savepoints {
    /// Nearly all changes are kept, or refused before they write: in a savepoint SQLite would copy every page that
    /// those before them have written.
    WhereWanted,
    Everywhere,
}

/// Runs the changes one after the other, as far as those that are not kept leave no trace. Whether none has left any.
fn run_all(tx: &mut Tx, batch: &mut [Box<dyn Waiting>], savepoints: Savepoints) -> Result<bool> {
    for write in batch {
        let savepoint = savepoints == Savepoints::Everywhere || write.wants_savepoint();
        if savepoint {
            control(tx, "SAVEPOINT change")?;
        }
        let before = sqlite(tx).total_changes();
        tx.uncounted = false;
        let fate = write.run(tx);
        if sqlite(tx).is_autocommit() {
            // SQLite gives up everything after some errors of the disk, earlier neighbours included.
            return Err(fate.err().unwrap_or_else(|| Error::internal("a change ended the transaction")));
        }
        let kept = matches!(fate, Ok(Fate::Kept));
        if savepoint && !kept {
            control(tx, "ROLLBACK TO change")?;
        }
        if savepoint {
            control(tx, "RELEASE change")?;
        } else if !kept && (tx.uncounted || sqlite(tx).total_changes() != before) {
            return Ok(false);
        }
    }
    Ok(true)
}

const UNCONFIRMED: Error = Error::Unconfirmed { change: None };

/// After a COMMIT whose sync failed: its pages stand in the log with the mark of a commit, and would count after a
/// loss of power, or of this process. The next write takes their place, so it is made now.
fn overwritten(tx: &mut Tx) -> bool {
    if !sqlite(tx).is_autocommit() && control(tx, "ROLLBACK").is_err() {
        return false;
    }
    // The same number once more: its page is written nevertheless.
    let number = sqlite(tx).query_row("PRAGMA user_version", [], |row| row.get::<_, i64>(0));
    number.and_then(|number| sqlite(tx).pragma_update(None, "user_version", number)).is_ok()
}
