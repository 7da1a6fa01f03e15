//! The least that the same work could cost: Argon2id alone, one synced commit, handlers that do
//! one statement and answer a constant.

use std::cell::RefCell;
use std::path::Path;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use argon2::{Algorithm, Argon2, Block, Params, Version};
use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path as InPath, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::IntoResponse;
use axum::serve::ListenerExt;
use mailward::clock::Clock;
use mailward::domain::password::Cost;
use mailward::domain::secret::fingerprint;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};
use tokio::sync::oneshot;

/// What an accepted change answers.
const DONE: &str = r#"{"status":{"code":200,"description":"success"}}"#;

/// Hashes per second with as many threads as cores, each with memory of its own that it keeps.
pub fn argon2id_rate(time: Duration) -> Result<f64> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let start = Instant::now();
    let workers: Vec<_> = (0..threads)
        .map(|_| {
            std::thread::spawn(move || -> argon2::Result<u64> {
                let Cost { memory_kib, passes, lanes } = Cost::default();
                let params = Params::new(memory_kib, passes, lanes, Some(32))?;
                let mut memory = vec![Block::new(); params.block_count()];
                let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
                let mut hashes = 0_u64;
                while start.elapsed() < time {
                    let mut output = [0; 32];
                    let password = hashes.to_le_bytes();
                    argon2.hash_password_into_with_memory(
                        &password,
                        b"0123456789abcdef",
                        &mut output,
                        &mut memory,
                    )?;
                    hashes += 1;
                }
                Ok(hashes)
            })
        })
        .collect();
    let mut hashes = 0;
    for worker in workers {
        let done = worker.join().map_err(|_| anyhow::anyhow!("a hashing thread panicked"))?;
        hashes += done.map_err(|cause| anyhow::anyhow!("Argon2id: {cause}"))?;
    }
    Ok(hashes as f64 / start.elapsed().as_secs_f64())
}

/// A file with one table to be updated, as durable as Mailward's.
pub fn make_file(path: &Path, rows: i64) -> Result<()> {
    let connection = open(path)?;
    connection.execute_batch(&format!(
        "CREATE TABLE bare (id INTEGER PRIMARY KEY, value INTEGER NOT NULL);
         WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {rows})
         INSERT INTO bare SELECT i, 0 FROM n"
    ))?;
    Ok(())
}

fn open(path: &Path) -> Result<Connection> {
    let connection = Connection::open(path)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    connection.execute_batch("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL")?;
    Ok(connection)
}

const UPDATE: &str = "UPDATE bare SET value = ?2 WHERE id = ?1";

/// Commits of one row, one after the other.
pub struct Commits {
    connection: Connection,
    next: i64,
}

impl Commits {
    pub fn open(path: &Path) -> Result<Self> {
        Ok(Self { connection: open(path)?, next: 1 })
    }

    /// A value that was not there before: SQLite does not sync what is unchanged.
    pub fn commit(&mut self, rows: i64) -> Result<()> {
        self.next += 1;
        let touched = self
            .connection
            .prepare_cached(UPDATE)?
            .execute((1 + self.next.wrapping_mul(7919).rem_euclid(rows), self.next))?;
        if touched != 1 {
            bail!("{touched} rows instead of one");
        }
        Ok(())
    }
}

/// The number of write transactions that the file's log has seen, from the head of its index: only
/// what wrote pages is counted there, and with `synchronous = FULL` each was synced.
/// Source: SQLite's file format, "The WAL-Index or shm", `iChange`.
pub fn commits_so_far(path: &Path) -> Result<u32> {
    let index = format!("{}-shm", path.display());
    let mut head = [0; 12];
    let mut file = std::fs::File::open(&index).context(index)?;
    std::io::Read::read_exact(&mut file, &mut head)?;
    Ok(u32::from_ne_bytes([head[8], head[9], head[10], head[11]]))
}

/// Runs as a bare server, if the bench was started as one.
pub fn serve(arguments: &[String]) -> Option<Result<()>> {
    let router = match arguments.first().map(String::as_str) {
        Some("bare-switch") => switching(arguments),
        Some("bare-get") => getting(arguments),
        _ => return None,
    };
    Some(router.and_then(listen))
}

#[tokio::main]
async fn listen(router: Router) -> Result<()> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    println!("{}", listener.local_addr()?);
    let listener = listener.tap_io(|stream| {
        stream.set_nodelay(true).ok();
    });
    axum::serve(listener, router).await?;
    Ok(())
}

type Update = (i64, oneshot::Sender<()>);

/// `bare-switch FILE`: every PUT updates one row; whoever waits is committed together.
fn switching(arguments: &[String]) -> Result<Router> {
    let path = arguments.get(1).context("bare-switch wants a file")?;
    let connection = open(Path::new(path))?;
    let (queue, waiting) = mpsc::channel::<Update>();
    std::thread::spawn(move || write_together(&connection, &waiting));
    let handler = async |State(queue): State<mpsc::Sender<Update>>, InPath(id): InPath<i64>, _: Bytes| {
        let (reply, answer) = oneshot::channel();
        let sent = queue.send((id, reply)).is_ok();
        match sent && answer.await.is_ok() {
            true => ([(header::CONTENT_TYPE, "application/json")], DONE).into_response(),
            false => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
        }
    };
    Ok(Router::new().route("/{id}", axum::routing::put(handler)).with_state(queue))
}

fn write_together(connection: &Connection, queue: &mpsc::Receiver<Update>) -> rusqlite::Result<()> {
    let mut value = i64::from(std::process::id()) << 32;
    while let Ok(first) = queue.recv() {
        connection.prepare_cached("BEGIN IMMEDIATE")?.execute(())?;
        let mut batch = vec![first];
        let mut place = 0;
        while let Some((id, _)) = batch.get(place) {
            value += 1;
            connection.prepare_cached(UPDATE)?.execute((*id, value))?;
            place += 1;
            batch.extend(queue.try_recv().ok());
        }
        connection.prepare_cached("COMMIT")?.execute(())?;
        for (_, reply) in batch {
            reply.send(()).ok();
        }
    }
    Ok(())
}

thread_local! {
    static READER: RefCell<Option<Connection>> = const { RefCell::new(None) };
}

/// `bare-get FILE BYTES`: every GET looks the token up, inline on its thread, and answers a
/// constant body of that size.
fn getting(arguments: &[String]) -> Result<Router> {
    let [_, path, size] = arguments else { bail!("bare-get wants a file and a size") };
    let (path, size): (Arc<str>, usize) = (path.as_str().into(), size.parse()?);
    let body = Bytes::from(vec![b' '; size]);
    let handler = move |headers: HeaderMap| {
        let (path, body) = (Arc::clone(&path), body.clone());
        async move {
            match holder(&path, &headers) {
                Ok(person) if person > 0 => {
                    ([(header::CONTENT_TYPE, "application/json")], body).into_response()
                }
                Ok(_) => StatusCode::UNAUTHORIZED.into_response(),
                Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
            }
        }
    };
    Ok(Router::new().fallback(handler))
}

fn holder(path: &str, headers: &HeaderMap) -> rusqlite::Result<i64> {
    let header = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let token = header.and_then(|value| value.strip_prefix("Zoho-oauthtoken ")).unwrap_or_default();
    READER.with_borrow_mut(|reader| {
        let connection = match reader {
            Some(connection) => connection,
            None => {
                let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
                connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
                reader.insert(connection)
            }
        };
        connection
            .prepare_cached("SELECT person_id FROM access_token WHERE hash = ?1 AND expires_at > ?2")?
            .query_row((fingerprint(token).as_bytes(), Clock::System.now()), |row| row.get(0))
    })
}

/// Numbers for whoever counts in several tasks.
pub struct Counter(AtomicI64);

impl Counter {
    pub fn from(first: i64) -> Arc<Self> {
        Arc::new(Self(AtomicI64::new(first)))
    }

    pub fn next(&self) -> i64 {
        self.0.fetch_add(1, Ordering::Relaxed)
    }

    /// The next of numbers that are far from each other, so that no two calls share a page.
    pub fn next_scattered(&self) -> i64 {
        self.next().wrapping_mul(7919)
    }
}
