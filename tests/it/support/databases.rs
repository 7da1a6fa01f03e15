//! A fresh, migrated database for each test, on each engine: `both_engines! { … }`.

use std::io::Write;
use std::path::PathBuf;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use mailward::store::engine::{Db, Options, Step, migrate};
use tempfile::TempDir;

use super::postgres;

/// What a test gets: an open database, its URL to open it once more, and a folder of its own.
#[derive(Clone)]
pub struct TestDb {
    pub db: Db,
    pub url: String,
    pub folder: PathBuf,
}

impl From<TestDb> for Db {
    fn from(test: TestDb) -> Self {
        test.db
    }
}

/// One test body, run as `name::sqlite` and `name::postgres`. The parameter is a `Db` or a `TestDb`.
///
/// `with STEPS;` in front names the migrations; without it they are the product's.
#[macro_export]
macro_rules! both_engines {
    (with $steps:expr; $($(#[$meta:meta])* async fn $name:ident($db:ident: $type:ty) $body:block)*) => {$(
        $(#[$meta])*
        mod $name {
            #[allow(unused_imports, reason = "some bodies need nothing from their module")]
            use super::*;

            async fn body($db: $type) $body

            #[test]
            fn sqlite() {
                $crate::support::databases::on_sqlite($steps, async |test| body(test.into()).await);
            }

            #[test]
            fn postgres() {
                $crate::support::databases::on_postgres($steps, async |test| body(test.into()).await);
            }
        }
    )*};
    ($($(#[$meta:meta])* async fn $name:ident($db:ident: $type:ty) $body:block)*) => {
        $crate::both_engines! {
            with mailward::store::migrations::STEPS;
            $($(#[$meta])* async fn $name($db: $type) $body)*
        }
    };
}

/// The same on SQLite alone: for what is seen in a browser, where the engine makes no difference. What the pages ask of
/// the database is asked on both by the tests of the console.
#[macro_export]
macro_rules! one_engine {
    ($($(#[$meta:meta])* async fn $name:ident($db:ident: $type:ty) $body:block)*) => {$(
        $(#[$meta])*
        #[test]
        fn $name() {
            async fn body($db: $type) $body
            $crate::support::databases::on_sqlite(mailward::store::migrations::STEPS, async |test| {
                body(test.into()).await
            });
        }
    )*};
}

/// Times short enough for tests that wait for them, long enough for a busy machine.
pub fn options() -> Options {
    Options { wait_timeout: Duration::from_secs(20), ..Options::default() }
}

pub fn on_sqlite(steps: &[Step], body: impl AsyncFnOnce(TestDb)) {
    let _ends = Patience::begins();
    let folder = folder();
    let url = format!("sqlite:{}", folder.path().join("mailward.db").display());
    runtime().block_on(async {
        let db = Db::open(&url, &options()).expect("a new file can be opened");
        migrate(&db, steps, 0).await.expect("the migrations run on SQLite");
        body(TestDb { db, url, folder: folder.path().to_owned() }).await;
    });
}

pub fn on_postgres(steps: &[Step], body: impl AsyncFnOnce(TestDb)) {
    let _ends = Patience::begins();
    let folder = folder();
    let database = postgres::fresh(steps);
    runtime().block_on(async {
        let db = Db::open(&database.url, &options()).expect("the URL is good");
        body(TestDb { db, url: database.url.clone(), folder: folder.path().to_owned() }).await;
    });
}

/// A test that hangs ends the run and is named, instead of keeping everybody waiting.
struct Patience(#[expect(dead_code, reason = "its end is the message")] mpsc::Sender<()>);

impl Patience {
    fn begins() -> Self {
        let (ends, end) = mpsc::channel();
        let test = thread::current().name().unwrap_or("a test").to_owned();
        let limit =
            Duration::from_mins(if std::env::var_os("MAILWARD_TEST_LONG").is_some() { 120 } else { 8 });
        thread::spawn(move || {
            if end.recv_timeout(limit) == Err(RecvTimeoutError::Timeout) {
                // Not `eprintln!`: a test's own output is shown only once it has ended.
                let _ = writeln!(std::io::stderr(), "\n{test} has hung for {limit:?}: the run is given up");
                std::process::abort();
            }
        });
        Self(ends)
    }
}

fn folder() -> TempDir {
    tempfile::Builder::new().prefix("mailward-test-").tempdir().expect("a temporary folder")
}

pub fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime")
}
