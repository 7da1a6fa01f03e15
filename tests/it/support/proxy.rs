//! A door in front of a PostgreSQL that misbehaves when told to: it cuts or holds what passes, at
//! a COMMIT or at once, and takes no new connections. It also counts how often the two take turns.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use tokio_postgres::config::Host;

/// What happens to the next COMMIT that passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AtCommit {
    /// The server never gets it; the client's connection breaks.
    Lost,
    /// The server gets it and answers; the client's connection breaks before the answer.
    Unanswered,
    /// The same, and from then on the server is away (`set_away`).
    UnansweredThenAway,
    /// The client's connection breaks; the server gets it when it is let go (`let_go`).
    Late,
    /// The server gets it; no answer comes, and the connection stays open.
    Silent,
}

pub struct Proxy {
    pub port: u16,
    shared: Arc<Shared>,
}

struct Shared {
    server: Host,
    server_port: u16,
    /// And what its transaction must have said.
    next_commit: Mutex<Option<(AtCommit, &'static str)>>,
    /// Commits that were interfered with so far.
    met: AtomicUsize,
    away: AtomicBool,
    frozen: Mutex<bool>,
    thawed: Condvar,
    held: Mutex<Vec<Held>>,
    open: Mutex<Vec<TcpStream>>,
    turns: AtomicUsize,
}

/// What the server did not get yet.
struct Held {
    server: Wire,
    chunk: Vec<u8>,
    connection: Arc<Joined>,
}

impl Proxy {
    /// A door to the server that the URL names.
    pub fn to(url: &str) -> Self {
        let config: tokio_postgres::Config = url.parse().expect("a URL of PostgreSQL");
        let shared = Arc::new(Shared {
            server: config.get_hosts().first().expect("a host").clone(),
            server_port: config.get_ports().first().copied().unwrap_or(5432),
            next_commit: Mutex::new(None),
            met: AtomicUsize::new(0),
            away: AtomicBool::new(false),
            frozen: Mutex::new(false),
            thawed: Condvar::new(),
            held: Mutex::new(Vec::new()),
            open: Mutex::new(Vec::new()),
            turns: AtomicUsize::new(0),
        });
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        let inner = Arc::clone(&shared);
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                if inner.away.load(Ordering::SeqCst) {
                    continue;
                }
                inner.wait_until_thawed();
                // A server that is away is one that closes the connection.
                if let Ok(server) = inner.connect() {
                    inner.join(client, server);
                }
            }
        });
        Self { port, shared }
    }

    /// The same database behind this door.
    pub fn url(&self, url: &str) -> String {
        let (start, database) = url.rsplit_once('/').expect("a URL with a database");
        let user = start.split("://").nth(1).and_then(|rest| rest.split('@').next()).expect("a user");
        format!("postgres://{user}@127.0.0.1:{}/{database}", self.port)
    }

    pub fn at_next_commit(&self, what: AtCommit) {
        self.at_next_commit_of(what, "");
    }

    /// The next one whose transaction has said this text, in one piece or in several.
    pub fn at_next_commit_of(&self, what: AtCommit, text: &'static str) {
        *lock(&self.shared.next_commit) = Some((what, text));
    }

    /// How many commits were interfered with so far.
    pub fn met(&self) -> usize {
        self.shared.met.load(Ordering::SeqCst)
    }

    /// Breaks every connection and takes no new one, or takes them again.
    pub fn set_away(&self, away: bool) {
        if away {
            self.shared.go_away();
        } else {
            self.shared.away.store(false, Ordering::SeqCst);
        }
    }

    /// Nothing passes any more, and nothing breaks; or everything passes again.
    pub fn set_frozen(&self, frozen: bool) {
        *lock(&self.shared.frozen) = frozen;
        self.shared.thawed.notify_all();
    }

    /// Lets the server have what was held back, and waits for its answer.
    pub fn let_go(&self) {
        let start = Instant::now();
        let still_patient =
            || assert!(start.elapsed() < Duration::from_secs(60), "no answer to what was let go");
        for Held { mut server, chunk, connection } in lock(&self.shared.held).drain(..) {
            // Two readers of one connection would each get a part of the answer.
            while !connection.left.load(Ordering::SeqCst) {
                still_patient();
                thread::sleep(Duration::from_millis(5));
            }
            server.write_all(&chunk).expect("the server listens");
            let (mut buffer, mut answer) = ([0; 65_536], Vec::new());
            // The end of a transaction is answered with its name, whichever it was.
            let ended = |answer: &[u8]| {
                [&b"COMMIT\0"[..], b"ROLLBACK\0"]
                    .iter()
                    .any(|tag| answer.windows(tag.len()).any(|window| window == *tag))
            };
            while !ended(&answer) {
                still_patient();
                match server.read(&mut buffer) {
                    Ok(size @ 1..) => answer.extend_from_slice(&buffer[..size]),
                    Err(cause) if is_patience(&cause) => {}
                    Ok(0) | Err(_) => panic!("the server closed a connection that was held"),
                }
            }
        }
    }

    /// How often the client has sent something after an answer: round trips.
    pub fn turns(&self) -> usize {
        self.shared.turns.load(Ordering::SeqCst)
    }
}

impl Shared {
    fn connect(&self) -> std::io::Result<Wire> {
        match &self.server {
            Host::Tcp(name) => TcpStream::connect((name.as_str(), self.server_port)).map(Wire::Tcp),
            Host::Unix(folder) => {
                UnixStream::connect(folder.join(format!(".s.PGSQL.{}", self.server_port))).map(Wire::Unix)
            }
        }
    }

    /// What is to happen to the commit at the end of this.
    fn told(&self, said: &[u8]) -> Option<AtCommit> {
        let mut next = lock(&self.next_commit);
        let has =
            |text: &str| text.is_empty() || said.windows(text.len()).any(|some| some == text.as_bytes());
        let (what, _) = next.take_if(|(_, text)| has(text))?;
        Some(what)
    }

    fn go_away(&self) {
        self.away.store(true, Ordering::SeqCst);
        for client in lock(&self.open).drain(..) {
            let _ = client.shutdown(Shutdown::Both);
        }
    }

    fn wait_until_thawed(&self) {
        let mut frozen = lock(&self.frozen);
        while *frozen {
            frozen = self.thawed.wait(frozen).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn join(self: &Arc<Self>, client: TcpStream, server: Wire) {
        let _ = client.set_nodelay(true);
        lock(&self.open).push(client.try_clone().expect("a second handle"));
        let connection = Arc::new(Joined {
            clients_turn: AtomicBool::new(false),
            swallow: AtomicBool::new(false),
            then_away: AtomicBool::new(false),
            silent: AtomicBool::new(false),
            held: AtomicBool::new(false),
            left: AtomicBool::new(false),
        });
        let (forth, back) = (Arc::clone(self), Arc::clone(self));
        let (to_server, from_server) = (server.try_clone(), server);
        let (from_client, to_client) = (client.try_clone().expect("a second handle"), client);
        let other = Arc::clone(&connection);
        thread::spawn(move || forth.forth(from_client, to_server, &other));
        thread::spawn(move || back.back(from_server, to_client, &connection));
    }

    /// From the client to the server.
    fn forth(&self, mut client: TcpStream, mut server: Wire, connection: &Arc<Joined>) {
        let mut buffer = vec![0; 1 << 16];
        // A transaction arrives in as many pieces as the client's threads happened to make of it.
        let mut since_commit = Vec::new();
        while let Ok(size @ 1..) = client.read(&mut buffer) {
            self.wait_until_thawed();
            let chunk = &buffer[..size];
            since_commit.extend_from_slice(chunk);
            if connection.clients_turn.swap(false, Ordering::SeqCst) {
                self.turns.fetch_add(1, Ordering::SeqCst);
            }
            let commits = since_commit.windows(7).any(|window| window == b"COMMIT\0");
            let told = if commits { self.told(&since_commit) } else { None };
            if commits {
                since_commit.clear();
            }
            if told.is_some() {
                self.met.fetch_add(1, Ordering::SeqCst);
            }
            match told {
                None => {}
                Some(AtCommit::Lost) => break,
                Some(AtCommit::Late) => {
                    let (chunk, joined) = (chunk.to_vec(), Arc::clone(connection));
                    lock(&self.held).push(Held { server, chunk, connection: joined });
                    connection.held.store(true, Ordering::SeqCst);
                    let _ = client.shutdown(Shutdown::Both);
                    return;
                }
                Some(AtCommit::Unanswered) => connection.swallow.store(true, Ordering::SeqCst),
                Some(AtCommit::UnansweredThenAway) => {
                    connection.then_away.store(true, Ordering::SeqCst);
                    connection.swallow.store(true, Ordering::SeqCst);
                }
                Some(AtCommit::Silent) => connection.silent.store(true, Ordering::SeqCst),
            }
            if server.write_all(chunk).is_err() {
                break;
            }
        }
        let _ = client.shutdown(Shutdown::Both);
        server.shut_down();
    }

    /// From the server to the client.
    fn back(&self, mut server: Wire, mut client: TcpStream, connection: &Joined) {
        server.set_patience(Duration::from_millis(20));
        let mut buffer = vec![0; 1 << 16];
        loop {
            match server.read(&mut buffer) {
                Ok(0) => break,
                Ok(size) => {
                    self.wait_until_thawed();
                    let chunk = &buffer[..size];
                    if connection.silent.load(Ordering::SeqCst) {
                        continue;
                    }
                    if connection.swallow.load(Ordering::SeqCst) {
                        if chunk.windows(7).any(|window| window == b"COMMIT\0") {
                            if connection.then_away.load(Ordering::SeqCst) {
                                self.go_away();
                            }
                            break;
                        }
                        continue;
                    }
                    connection.clients_turn.store(true, Ordering::SeqCst);
                    if client.write_all(chunk).is_err() {
                        break;
                    }
                }
                // Only a held connection is read by somebody else from now on.
                Err(cause) if is_patience(&cause) => {
                    if connection.held.load(Ordering::SeqCst) {
                        connection.left.store(true, Ordering::SeqCst);
                        return;
                    }
                }
                Err(_) => break,
            }
        }
        let _ = client.shutdown(Shutdown::Both);
        server.shut_down();
    }
}

fn is_patience(cause: &std::io::Error) -> bool {
    matches!(cause.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut)
}

struct Joined {
    /// The server has said something since the client spoke last.
    clients_turn: AtomicBool,
    /// Nothing more goes to the client; the connection ends at the server's answer to COMMIT.
    swallow: AtomicBool,
    then_away: AtomicBool,
    /// Nothing more goes to the client, and nothing ends.
    silent: AtomicBool,
    /// What the client sent last waits to be let go,
    held: AtomicBool,
    /// and the thread that reads the server's answers has left them to whoever lets it go.
    left: AtomicBool,
}

enum Wire {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Wire {
    fn try_clone(&self) -> Self {
        match self {
            Self::Tcp(stream) => Self::Tcp(stream.try_clone().expect("a second handle")),
            Self::Unix(stream) => Self::Unix(stream.try_clone().expect("a second handle")),
        }
    }

    fn shut_down(&self) {
        let _ = match self {
            Self::Tcp(stream) => stream.shutdown(Shutdown::Both),
            Self::Unix(stream) => stream.shutdown(Shutdown::Both),
        };
    }

    fn set_patience(&self, patience: Duration) {
        let _ = match self {
            Self::Tcp(stream) => stream.set_read_timeout(Some(patience)),
            Self::Unix(stream) => stream.set_read_timeout(Some(patience)),
        };
    }
}

impl Read for Wire {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.read(buffer),
            Self::Unix(stream) => stream.read(buffer),
        }
    }
}

impl Write for Wire {
    fn write(&mut self, buffer: &[u8]) -> std::io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.write(buffer),
            Self::Unix(stream) => stream.write(buffer),
        }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.flush(),
            Self::Unix(stream) => stream.flush(),
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
