//! Hashing passwords, on threads of its own: slow on purpose, and never in the way of requests.
//!
//! The queue is bounded, and a full one refuses at once. What the numbers mean to a mail
//! server, and the form of a stored hash, are in `domain::password`.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use argon2::password_hash::phc::Output;
use argon2::{Algorithm, Argon2, Block, Params, Version};
use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use tokio::sync::oneshot;
use zeroize::Zeroizing;

pub use crate::domain::password::Cost;
use crate::domain::password::{Password, PasswordHash};
use crate::error::{Error, Result};

/// Bytes of a new hash.
const HASH_BYTES: usize = 32;

/// How much hashing this process may do at once.
#[derive(Debug, Clone)]
pub struct HasherOptions {
    /// Threads; each keeps the memory of one hash.
    pub threads: usize,
    /// How many passwords may wait for a thread.
    pub queue: usize,
    /// What new hashes cost.
    pub cost: Cost,
}

impl Default for HasherOptions {
    /// One thread for each core, and a queue that empties in a few seconds.
    fn default() -> Self {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        Self { threads, queue: 64 * threads, cost: Cost::default() }
    }
}

/// A handle to the hashing threads; they end when the last clone is dropped.
#[derive(Clone)]
pub struct Hasher {
    handle: Arc<Handle>,
}

impl Hasher {
    /// Starts the threads. They take no memory for hashes before the first password comes.
    ///
    /// # Errors
    /// [`Error::Malformed`] for a cost that the mail server could not bear, or no threads or queue;
    /// [`Error::Internal`] if the machine gives no threads.
    pub fn new(options: HasherOptions) -> Result<Self> {
        let HasherOptions { threads, queue, cost } = options;
        cost.check().map_err(|why| Error::bad_value("cost", why))?;
        if threads == 0 || queue == 0 {
            return Err(Error::bad_value("threads, queue", "must be at least 1"));
        }
        let pool = Arc::new(Pool {
            state: Mutex::new(State { waiting: VecDeque::new(), closed: false }),
            work: Condvar::new(),
            limit: queue,
            refused: AtomicU64::new(0),
            threads,
            typical_micros: AtomicU64::new(50_000),
        });
        // Made first, so that threads end if a later one cannot be started.
        let handle = Arc::new(Handle { pool: Arc::clone(&pool), cost });
        for number in 0..threads {
            let pool = Arc::clone(&pool);
            std::thread::Builder::new()
                .name(format!("hasher-{number}"))
                .spawn(move || work(&pool))
                .map_err(|cause| Error::caused("starting a hashing thread", cause))?;
        }
        Ok(Self { handle })
    }

    /// The stored form of a password, with Argon2id at the configured cost.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when too many passwords are waiting.
    pub async fn hash(&self, password: &Password, salt: [u8; 16]) -> Result<PasswordHash> {
        let Cost { memory_kib, passes, lanes } = self.handle.cost;
        let params = params(self.handle.cost, HASH_BYTES)?;
        let output = self.compute(Algorithm::Argon2id, params, password.expose(), &salt).await?;
        let (salt, hash) = (STANDARD_NO_PAD.encode(salt), STANDARD_NO_PAD.encode(output));
        PasswordHash::parse(&format!("$argon2id$v=19$m={memory_kib},t={passes},p={lanes}${salt}${hash}"))
    }

    /// Whether the password is the hashed one, at whatever cost the hash has.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when too many passwords are waiting.
    pub async fn verify(&self, password: &Password, hash: &PasswordHash) -> Result<bool> {
        let unreadable = || Error::internal("a parsed password hash could not be read again");
        let parsed = argon2::PasswordHash::new(hash.as_phc()).map_err(|_| unreadable())?;
        let algorithm = Algorithm::new(parsed.algorithm.as_str()).map_err(|_| unreadable())?;
        let (Some(salt), Some(expected)) = (parsed.salt, parsed.hash) else { return Err(unreadable()) };
        let params = params(hash.cost(), expected.len())?;
        let output = self.compute(algorithm, params, password.expose(), &salt).await?;
        // `Output` compares in constant time.
        Ok(output == expected)
    }

    /// The work of one verification at the configured cost, for nothing: an unknown address
    /// must take as long to refuse as a wrong password.
    ///
    /// # Errors
    /// [`Error::Unavailable`], exactly when [`Hasher::verify`] would give it.
    pub async fn burn(&self) -> Result<()> {
        let params = params(self.handle.cost, HASH_BYTES)?;
        self.compute(Algorithm::Argon2id, params, "", &[0; 16]).await.map(|_| ())
    }

    /// The work that the verification of this hash lacks to the configured cost, for nothing: a hash from before the cost
    /// was raised must take as long as an unknown address. One of a higher cost cannot be hidden.
    ///
    /// # Errors
    /// As [`Hasher::burn`].
    pub async fn burn_rest(&self, hash: &PasswordHash) -> Result<()> {
        let full = self.handle.cost;
        let work = |cost: Cost| u64::from(cost.memory_kib) * u64::from(cost.passes);
        let lacking = work(full).saturating_sub(work(hash.cost())) / u64::from(full.passes);
        let memory_kib = u32::try_from(lacking).unwrap_or(u32::MAX).min(full.memory_kib);
        // Argon2 takes no less than two blocks for each quarter of a lane.
        if memory_kib < 8 * full.lanes {
            return Ok(());
        }
        let params = params(Cost { memory_kib, ..full }, HASH_BYTES)?;
        self.compute(Algorithm::Argon2id, params, "", &[0; 16]).await.map(|_| ())
    }

    /// How many passwords are waiting for a thread, abandoned ones among them.
    pub fn queued(&self) -> usize {
        self.handle.pool.lock().waiting.len()
    }

    /// How many passwords were turned away since the start because too many waited.
    pub fn refused(&self) -> u64 {
        self.handle.pool.refused.load(Ordering::Relaxed)
    }

    /// Argon2 over the password, in the queue and on a thread of its own.
    async fn compute(
        &self,
        algorithm: Algorithm,
        params: Params,
        password: &str,
        salt: &[u8],
    ) -> Result<Output> {
        let (password, salt) = (Zeroizing::new(password.to_owned()), salt.to_vec());
        self.run(Box::new(move |memory| {
            let blocks = params.block_count();
            if memory.len() < blocks {
                memory.resize(blocks, Block::new());
            }
            let mut output = vec![0; params.output_len().unwrap_or(HASH_BYTES)];
            Argon2::new(algorithm, Version::V0x13, params)
                .hash_password_into_with_memory(password.as_bytes(), &salt, &mut output, memory)
                .map_err(|cause| Error::caused("hashing a password", cause))?;
            Output::new(&output).map_err(|cause| Error::caused("hashing a password", cause))
        }))
        .await
    }

    async fn run(&self, task: Task) -> Result<Output> {
        let (reply, answer) = oneshot::channel();
        self.handle.pool.submit(Job { task, reply })?;
        answer.await.map_err(|_| Error::internal("the hashing threads have ended"))?
    }
}

impl std::fmt::Debug for Hasher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hasher").field("cost", &self.handle.cost).field("queued", &self.queued()).finish()
    }
}

fn params(cost: Cost, output_bytes: usize) -> Result<Params> {
    Params::new(cost.memory_kib, cost.passes, cost.lanes, Some(output_bytes))
        .map_err(|cause| Error::caused("reading the cost of a password hash", cause))
}

/// What all clones of a [`Hasher`] share. The threads hold the pool alone, so that this is
/// dropped with the last clone.
struct Handle {
    pool: Arc<Pool>,
    cost: Cost,
}

impl Drop for Handle {
    fn drop(&mut self) {
        let mut state = self.pool.lock();
        state.closed = true;
        state.waiting.clear();
        drop(state);
        self.pool.work.notify_all();
    }
}

struct Pool {
    state: Mutex<State>,
    /// Told when a job has come or the pool is closed.
    work: Condvar,
    limit: usize,
    /// How many were turned away.
    refused: AtomicU64,
    threads: usize,
    /// How long one job takes, smoothed.
    typical_micros: AtomicU64,
}

struct State {
    waiting: VecDeque<Job>,
    closed: bool,
}

/// A task gets the memory of its thread, which it may make longer.
type Task = Box<dyn FnOnce(&mut Vec<Block>) -> Result<Output> + Send>;

struct Job {
    task: Task,
    reply: oneshot::Sender<Result<Output>>,
}

impl Pool {
    fn submit(&self, job: Job) -> Result<()> {
        let mut state = self.lock();
        if state.waiting.len() >= self.limit {
            state.waiting.retain(|job| !job.reply.is_closed());
        }
        if state.waiting.len() >= self.limit {
            self.refused.fetch_add(1, Ordering::Relaxed);
            return Err(Error::Unavailable {
                why: "too many passwords are waiting to be hashed",
                retry_after_seconds: self.seconds_for(state.waiting.len()),
            });
        }
        state.waiting.push_back(job);
        drop(state);
        self.work.notify_one();
        Ok(())
    }

    /// The next job that somebody still waits for; `None` when the pool is closed.
    fn next(&self) -> Option<Job> {
        let mut state = self.lock();
        loop {
            if state.closed {
                return None;
            }
            match state.waiting.pop_front() {
                Some(job) if job.reply.is_closed() => {}
                Some(job) => return Some(job),
                None => state = self.work.wait(state).unwrap_or_else(PoisonError::into_inner),
            }
        }
    }

    fn seconds_for(&self, jobs: usize) -> u64 {
        let each = self.typical_micros.load(Ordering::Relaxed);
        let micros = each.saturating_mul(jobs as u64) / self.threads as u64;
        micros.div_ceil(1_000_000).clamp(1, 60)
    }

    fn learn(&self, took: Duration) {
        let took = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        // Two threads may overwrite each other here; it is an estimate.
        let before = self.typical_micros.load(Ordering::Relaxed);
        self.typical_micros.store((before / 8).saturating_mul(7).saturating_add(took / 8), Ordering::Relaxed);
    }

    /// Nothing under this lock can leave the state half changed, so a poisoned one is good.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The life of one thread.
fn work(pool: &Pool) {
    yield_to_requests();
    let mut memory = Vec::new();
    while let Some(Job { task, reply }) = pool.next() {
        let start = Instant::now();
        let answer = catch_unwind(AssertUnwindSafe(|| task(&mut memory)))
            .unwrap_or_else(|_| Err(Error::internal("hashing a password panicked")));
        pool.learn(start.elapsed());
        // The caller may have gone away meanwhile.
        reply.send(answer).ok();
    }
}

/// Lets every other thread of the machine go first. Without the right to, hashing works as well.
fn yield_to_requests() {
    // On Linux a priority belongs to a thread, although the call speaks of a process. Beyond what the process has.
    #[cfg(target_os = "linux")]
    rustix::process::nice(10).ok();
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;
    use std::sync::mpsc;

    use super::*;

    const CHEAP: Cost = Cost { memory_kib: 64, passes: 1, lanes: 1 };
    const SALT: [u8; 16] = *b"0123456789abcdef";

    /// Made with argon2-cffi 25.1.0, which wraps the reference implementation in C.
    const FOREIGN: &[(&str, &str)] = &[
        (
            "correct horse battery staple",
            "$argon2id$v=19$m=19456,t=2,p=1$MDEyMzQ1Njc4OWFiY2RlZg$gy5SuVm5Z7Vw7keB9se9p87QGcomaseB/S2U1OhTsM0",
        ),
        (
            "Z\u{fc}rich-K\u{e4}se \u{1f412} 8",
            "$argon2id$v=19$m=8192,t=3,p=4$MDEyMzQ1Njc4OWFiY2RlZg$qWxluJOSXjkQBz2qnD71lwDEDucn6hkkqIVPlbWJdyU",
        ),
        (
            "only argon2i here",
            "$argon2i$v=19$m=256,t=3,p=1$MDEyMzQ1Njc4OWFiY2RlZg$PcCKFeFv9LPzGWOZpeWzeJ3ZMNS4QD2Bq80U/iCV5yk",
        ),
        ("short tag", "$argon2id$v=19$m=64,t=2,p=1$MDEyMzQ1Njc$BYOzj9c1WzHdl59kmjKZqQ"),
    ];

    fn hasher(threads: usize, queue: usize) -> Hasher {
        Hasher::new(HasherOptions { threads, queue, cost: CHEAP }).expect("a hasher")
    }

    fn password(text: &str) -> Password {
        Password::prepare(text).expect("a password")
    }

    async fn until(holds: impl Fn() -> bool) {
        let patience = Instant::now() + Duration::from_secs(20);
        while !holds() {
            assert!(Instant::now() < patience, "waited in vain");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    fn nothing() -> Result<Output> {
        Err(Error::internal("a task of a test"))
    }

    /// Occupies the only thread until the sender is dropped.
    async fn occupy(hasher: &Hasher) -> mpsc::Sender<()> {
        let (release, held) = mpsc::channel::<()>();
        let (started, running) = oneshot::channel();
        let occupant = hasher.clone();
        tokio::spawn(async move {
            let task = move |_: &mut Vec<Block>| {
                started.send(()).ok();
                held.recv().ok();
                nothing()
            };
            occupant.run(Box::new(task)).await
        });
        running.await.expect("the thread takes the task");
        release
    }

    /// Puts a task in the queue; the counter tells whether it ever ran.
    async fn enqueue(hasher: &Hasher, ran: &Arc<AtomicUsize>) -> tokio::task::JoinHandle<Result<Output>> {
        let before = hasher.queued();
        let (caller, ran) = (hasher.clone(), Arc::clone(ran));
        let waiting = tokio::spawn(async move {
            let task = move |_: &mut Vec<Block>| {
                ran.fetch_add(1, Ordering::SeqCst);
                nothing()
            };
            caller.run(Box::new(task)).await
        });
        until(|| hasher.queued() > before).await;
        waiting
    }

    #[tokio::test]
    async fn hashes_of_another_implementation_are_verified() {
        // One thread, so that all of them share its memory; the second round meets what the first left.
        let hasher = hasher(1, 8);
        for (text, phc) in FOREIGN.iter().chain(FOREIGN) {
            let hash = PasswordHash::parse(phc).expect("a hash");
            assert!(hasher.verify(&password(text), &hash).await.expect("an answer"), "{phc}");
            let wrong = password(&format!("{text}!"));
            assert!(!hasher.verify(&wrong, &hash).await.expect("an answer"), "{phc}");
        }
    }

    #[tokio::test]
    async fn a_new_hash_is_the_string_another_implementation_makes() {
        let (text, phc) = FOREIGN[0];
        let hasher = Hasher::new(HasherOptions { threads: 1, ..HasherOptions::default() }).expect("a hasher");
        let hash = hasher.hash(&password(text), SALT).await.expect("a hash");
        assert_eq!(hash.as_phc(), phc);
    }

    #[tokio::test]
    async fn another_salt_gives_another_hash_that_verifies_too() {
        let hasher = hasher(2, 8);
        let secret = password("sleepy otters 42");
        let one = hasher.hash(&secret, SALT).await.expect("a hash");
        let other = hasher.hash(&secret, [7; 16]).await.expect("a hash");
        assert_ne!(one.as_phc(), other.as_phc());
        assert!(hasher.verify(&secret, &one).await.expect("an answer"));
        assert!(hasher.verify(&secret, &other).await.expect("an answer"));
        assert!(!hasher.verify(&password("Sleepy otters 42"), &one).await.expect("an answer"));
    }

    #[tokio::test]
    async fn a_full_queue_refuses_at_once_and_says_when_to_come_back() {
        let hasher = hasher(1, 2);
        let release = occupy(&hasher).await;
        let ran = Arc::default();
        let waiting = [enqueue(&hasher, &ran).await, enqueue(&hasher, &ran).await];
        assert_eq!(hasher.queued(), 2);

        let hash = PasswordHash::parse(FOREIGN[3].1).expect("a hash");
        let refusals = [
            hasher.hash(&password("one too many"), SALT).await.map(|_| ()),
            hasher.verify(&password("one too many"), &hash).await.map(|_| ()),
            hasher.burn().await,
        ];
        for refusal in refusals {
            assert!(
                matches!(refusal, Err(Error::Unavailable { retry_after_seconds: 1..=60, .. })),
                "{refusal:?}"
            );
        }

        drop(release);
        for done in waiting {
            done.await.expect("no panic").expect_err("the task of a test");
        }
        assert_eq!(ran.load(Ordering::SeqCst), 2);
        assert!(hasher.hash(&password("now there is room"), SALT).await.is_ok());
    }

    #[tokio::test]
    async fn callers_that_went_away_leave_no_work_and_no_full_queue() {
        let hasher = hasher(1, 2);
        let release = occupy(&hasher).await;
        let ran = Arc::default();
        for abandoned in [enqueue(&hasher, &ran).await, enqueue(&hasher, &ran).await] {
            abandoned.abort();
            assert!(abandoned.await.is_err_and(|end| end.is_cancelled()));
        }
        let next = tokio::spawn({
            let hasher = hasher.clone();
            async move { hasher.hash(&password("there is room"), SALT).await }
        });
        // The abandoned two made room for this one.
        until(|| hasher.queued() == 1).await;
        drop(release);
        assert!(next.await.expect("no panic").is_ok());
        assert_eq!(ran.load(Ordering::SeqCst), 0);
    }

    #[tokio::test]
    async fn a_caller_that_goes_away_while_others_wait_is_skipped() {
        let hasher = hasher(1, 8);
        let release = occupy(&hasher).await;
        let (abandoned, kept) = (Arc::default(), Arc::default());
        let first = enqueue(&hasher, &abandoned).await;
        let second = enqueue(&hasher, &kept).await;
        first.abort();
        assert!(first.await.is_err_and(|end| end.is_cancelled()));
        drop(release);
        second.await.expect("no panic").expect_err("the task of a test");
        assert_eq!((abandoned.load(Ordering::SeqCst), kept.load(Ordering::SeqCst)), (0, 1));
    }

    #[tokio::test]
    async fn a_panic_costs_one_answer_and_no_thread() {
        let hasher = hasher(1, 8);
        let answer = hasher.run(Box::new(|_| panic!("a test wants to see this survived"))).await;
        assert!(matches!(answer, Err(Error::Internal(_))));
        assert!(hasher.hash(&password("still at work"), SALT).await.is_ok());
    }

    #[tokio::test]
    async fn a_thread_keeps_its_memory() {
        let hasher = hasher(1, 8);
        let look = || async {
            let (tell, told) = mpsc::channel();
            let task = move |memory: &mut Vec<Block>| {
                tell.send((memory.as_ptr() as usize, memory.len())).ok();
                nothing()
            };
            hasher.run(Box::new(task)).await.expect_err("the task of a test");
            told.recv().expect("the task ran")
        };
        assert_eq!(look().await.1, 0, "no memory before the first password");
        hasher.burn().await.expect("room");
        let after_one = look().await;
        assert_eq!(after_one.1, 64, "burning does the work of the configured cost");
        hasher.hash(&password("the same cost"), SALT).await.expect("room");
        assert_eq!(look().await, after_one);

        let dear = PasswordHash::parse(FOREIGN[1].1).expect("a hash");
        hasher.verify(&password("a bigger cost"), &dear).await.expect("room");
        let grown = look().await;
        assert_eq!(grown.1, 8192);
        hasher.burn().await.expect("room");
        assert_eq!(look().await, grown);
    }

    #[tokio::test]
    async fn a_hash_from_before_the_cost_was_raised_takes_as_long_as_one_from_after() {
        let raised = Cost { memory_kib: 2048, passes: 2, lanes: 1 };
        let hasher = Hasher::new(HasherOptions { threads: 1, queue: 8, cost: raised }).expect("a hasher");
        // A new thread's memory shows how much it was made to fill.
        let filled = async || {
            let (tell, told) = mpsc::channel();
            let task = move |memory: &mut Vec<Block>| {
                tell.send(memory.len()).ok();
                *memory = Vec::new();
                nothing()
            };
            hasher.run(Box::new(task)).await.expect_err("the task of a test");
            told.recv().expect("the task ran")
        };
        let form = |cost: &str| {
            let rest = "MDEyMzQ1Njc4OWFiY2RlZg$gy5SuVm5Z7Vw7keB9se9p87QGcomaseB/S2U1OhTsM0";
            PasswordHash::parse(&format!("$argon2id$v=19${cost}${rest}")).expect("a hash")
        };
        for (cost, rest) in
            [("m=512,t=2,p=1", 1536), ("m=512,t=1,p=1", 1792), ("m=2048,t=2,p=1", 0), ("m=4096,t=2,p=1", 0)]
        {
            hasher.burn_rest(&form(cost)).await.expect("room");
            assert_eq!(filled().await, rest, "{cost}");
        }
    }

    #[tokio::test]
    async fn the_threads_end_with_the_last_handle() {
        let hasher = hasher(3, 8);
        let pool = Arc::downgrade(&hasher.handle.pool);
        let clone = hasher.clone();
        drop(hasher);
        assert!(clone.hash(&password("one handle is enough"), SALT).await.is_ok());
        drop(clone);
        until(|| pool.strong_count() == 0).await;
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn the_threads_let_requests_go_first() {
        let ours =
            || rustix::process::getpriority_process(Some(rustix::thread::gettid())).expect("a priority");
        let (tell, told) = mpsc::channel();
        let task = move |_: &mut Vec<Block>| {
            tell.send(ours()).ok();
            nothing()
        };
        hasher(1, 8).run(Box::new(task)).await.expect_err("the task of a test");
        let theirs = told.recv().expect("the task ran");
        assert!(theirs >= 10 && theirs >= ours(), "hashing runs at {theirs}, requests at {}", ours());
    }

    #[test]
    fn costs_that_the_mail_server_cannot_bear_are_refused() {
        for cost in [
            Cost { memory_kib: 65_537, ..CHEAP },
            Cost { passes: 0, ..CHEAP },
            Cost { lanes: 9, ..CHEAP },
            Cost { memory_kib: 65_536, passes: 17, lanes: 1 },
        ] {
            let refusal = Hasher::new(HasherOptions { threads: 1, queue: 1, cost });
            assert!(matches!(refusal, Err(Error::Malformed(_))), "{cost:?}");
        }
        let dear = Cost { memory_kib: 65_537, ..CHEAP };
        let why = Hasher::new(HasherOptions { threads: 1, queue: 1, cost: dear })
            .expect_err("too dear")
            .to_string();
        assert!(why.contains("at most 65536 KiB"), "{why}");
        for (threads, queue) in [(0, 1), (1, 0)] {
            assert!(Hasher::new(HasherOptions { threads, queue, cost: CHEAP }).is_err());
        }
    }

    #[test]
    fn the_wait_grows_with_the_queue_and_with_what_a_hash_takes() {
        let hasher = hasher(2, 8);
        let pool = &hasher.handle.pool;
        assert_eq!(pool.seconds_for(8), 1);
        assert_eq!(pool.seconds_for(400), 10);
        for _ in 0..100 {
            pool.learn(Duration::from_secs(1));
        }
        assert_eq!(pool.seconds_for(8), 4);
        assert_eq!(pool.seconds_for(1_000_000), 60);
    }

    #[test]
    fn a_hasher_shows_no_secret() {
        let text = format!("{:?} {:?}", hasher(1, 1), HasherOptions::default());
        assert!(text.contains("queued: 0") && !text.contains("password"), "{text}");
    }
}
