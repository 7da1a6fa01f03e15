//! The end of sessions, counted: after an accepted reset or disable none that was opened with the
//! old right survives, whatever logs in at that moment.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::json;

use super::{MailWorld, NEW, mbox};
use crate::mail::clients::Imap;
use crate::support::world::{PASSWORD, Someone};

/// The last sweep comes 15 seconds after the first; by then everything has ended.
const SETTLED: Duration = Duration::from_secs(20);
/// Trials that are being prepared at the same time.
const DRIVERS: usize = 8;

#[test]
fn no_session_outlives_its_right_on_sqlite() {
    let long = std::env::var_os("MAILWARD_TEST_LONG").is_some();
    let (rounds, trials) = if long { (25, 400) } else { (1, 304) };
    let mail = MailWorld::sqlite();
    let mut seen = Seen::default();
    for round in 0..rounds {
        seen.add(run(&mail, round, trials));
    }
    seen.judge("SQLite", rounds * trials);
}

#[test]
fn no_session_outlives_its_right_on_postgresql() {
    let mail = MailWorld::postgres();
    let mut seen = Seen::default();
    seen.add(run(&mail, 0, 48));
    seen.judge("PostgreSQL", 48);
}

/// What became of sessions, in all.
#[derive(Default)]
struct Seen {
    /// From sending the call to the end of a session that was open before.
    steady: Vec<Duration>,
    /// Of those that logged in while the call ran: from the login (or the call) to the end.
    racing: Vec<Duration>,
    survivors: Vec<String>,
    /// Clients that came back with the new password and were cut.
    disturbed: Vec<String>,
    /// Logins with the old password after the answer that were let in.
    let_in: Vec<String>,
}

impl Seen {
    fn add(&mut self, other: Self) {
        self.steady.extend(other.steady);
        self.racing.extend(other.racing);
        self.survivors.extend(other.survivors);
        self.disturbed.extend(other.disturbed);
        self.let_in.extend(other.let_in);
    }

    fn judge(mut self, contract: &str, trials: usize) {
        for (what, times) in [("open before", &mut self.steady), ("racing logins", &mut self.racing)] {
            times.sort();
            let at = |share: f64| {
                #[expect(
                    clippy::cast_possible_truncation,
                    clippy::cast_sign_loss,
                    clippy::cast_precision_loss
                )]
                let place = (times.len().saturating_sub(1) as f64 * share).round() as usize;
                times.get(place).copied().unwrap_or_default()
            };
            println!(
                "{contract}, {trials} trials, call to disconnect, {what}: {} sessions, p50 {:.1?}, p90 {:.1?}, \
                 p99 {:.1?}, max {:.1?}",
                times.len(),
                at(0.5),
                at(0.9),
                at(0.99),
                at(1.0)
            );
        }
        println!("{contract}: survivors {}, disturbed {}", self.survivors.len(), self.disturbed.len());
        assert!(self.steady.len() >= 2 * trials, "every steady session was watched");
        assert_eq!(self.survivors, [""; 0], "sessions that outlived their right");
        assert_eq!(self.disturbed, [""; 0], "clients with the new password that were cut");
        assert_eq!(self.let_in, [""; 0], "logins with the old password after the answer");
    }
}

/// Trials at once, half of them resets and half disables, and what was seen of them.
fn run(mail: &MailWorld, round: usize, trials: usize) -> Seen {
    let people: Vec<_> = (0..trials).map(|number| mail.someone(&format!("t{round}x{number}"))).collect();
    let (next, seen) = (AtomicUsize::new(0), Mutex::new(Seen::default()));
    {
        let (people, next, seen) = (&people, &next, &seen);
        std::thread::scope(|scope| {
            for _ in 0..DRIVERS {
                scope.spawn(move || {
                    while let Some(who) = people.get(next.fetch_add(1, Ordering::Relaxed)) {
                        trial(scope, mail, who, seen);
                    }
                });
            }
        });
    }
    // The server's own list agrees: old names are nowhere.
    let sessions = mail.sessions();
    let mut seen = seen.into_inner().expect("no thread fails with it");
    for who in &people {
        let old = format!("{}@g1", mbox(who));
        seen.survivors
            .extend(sessions.iter().filter(|s| s.name == old).map(|s| format!("listed: {}", s.name)));
    }
    seen
}

fn trial<'scope>(
    scope: &'scope std::thread::Scope<'scope, '_>,
    mail: &'scope MailWorld,
    who: &'scope Someone,
    seen: &'scope Mutex<Seen>,
) {
    let is_reset = who.account_id % 2 == 0;
    let address = who.email.as_str();
    let mut idle = mail.imap(address, PASSWORD);
    idle.idle();
    let mut pop = mail.pop3(address, PASSWORD);

    let [first, second] = [(); 2].map(|()| Imap::connect(mail.lab.imap));

    // Micros since `start`: when the call was sent.
    let start = Instant::now();
    let called = std::sync::Arc::new(AtomicU64::new(u64::MAX));
    let since_call = {
        let called = std::sync::Arc::clone(&called);
        move |at: Instant| {
            let sent = start + Duration::from_micros(called.load(Ordering::SeqCst));
            at.saturating_duration_since(sent)
        }
    };

    // Logins race the call, some tens of milliseconds around it.
    let race = |mut imap: Imap, after: u64| {
        let since_call = since_call.clone();
        move || {
            sleep(Duration::from_millis(after));
            if !imap.login(address, PASSWORD).starts_with("OK") {
                return;
            }
            let opened = Instant::now();
            match imap.until_closed(SETTLED) {
                Some((took, _)) => {
                    let took = took.min(since_call(opened + took));
                    note_in(seen, |seen| seen.racing.push(took));
                }
                None => note_in(seen, |seen| seen.survivors.push(format!("racing login of {address}"))),
            }
        }
    };
    let number = u64::try_from(who.account_id % 1000).unwrap_or_default();
    scope.spawn(race(first, number * 7 % 30));
    scope.spawn(race(second, 10 + number * 13 % 50));

    // The IDLE client comes back at once: first with what it remembers, then as its person types it.
    let came_back = {
        let since_call = since_call.clone();
        move || {
            let Some((_, _)) = idle.until_closed(SETTLED + SETTLED) else {
                note_in(seen, |seen| seen.survivors.push(format!("IDLE of {address}")));
                return;
            };
            let took = since_call(Instant::now());
            note_in(seen, |seen| seen.steady.push(took));
            if Imap::connect(mail.lab.imap).login(address, PASSWORD).starts_with("OK") {
                note_in(seen, |seen| seen.let_in.push(format!("{address} came back with the old password")));
            }
        }
    };
    scope.spawn(came_back);
    {
        let since_call = since_call.clone();
        scope.spawn(move || match pop.until_closed(SETTLED + SETTLED) {
            Some(_) => {
                let took = since_call(Instant::now());
                note_in(seen, |seen| seen.steady.push(took));
            }
            None => note_in(seen, |seen| seen.survivors.push(format!("POP3 of {address}"))),
        });
    }

    sleep(Duration::from_millis(20));
    called.store(u64::try_from(start.elapsed().as_micros()).unwrap_or(u64::MAX), Ordering::SeqCst);
    if is_reset {
        mail.reset(who, NEW);
    } else {
        mail.mode(who, "disableUser", json!({}));
    }
    // Right after the answer.
    let answer = Imap::connect(mail.lab.imap).login(address, PASSWORD);
    if answer.starts_with("OK") {
        note_in(seen, |seen| seen.let_in.push(format!("{address} after the answer")));
    }
    if is_reset {
        let mut new = mail.imap(address, NEW);
        scope.spawn(move || {
            if new.until_closed(SETTLED + Duration::from_secs(2)).is_some() {
                note_in(seen, |seen| seen.disturbed.push(address.to_owned()));
            }
        });
    }
}

fn note_in(seen: &Mutex<Seen>, what: impl FnOnce(&mut Seen)) {
    what(&mut seen.lock().expect("no thread fails with it"));
}
