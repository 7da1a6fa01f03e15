//! Work on many people: done one after another in the background, followed on a page of its own. A job
//! lives in the memory of this node, for an hour; each of its lines is a change of its own, so that
//! nothing hangs on the job. A service that stops lets it end for a while, or cuts it off between two lines.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use askama::Template;
use axum::Extension;
use axum::extract::{Path, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};

use crate::app::App;
use crate::clock::{HOUR, Millis};
use crate::console::page::{Frame, Tab, ok};
use crate::console::texts::{ENGLISH, Texts, count, fill};
use crate::console::visit::{Posted, Visitor};
use crate::domain::actor::Role;
use crate::domain::help_desk::HelpDesk;
use crate::domain::ids::{ChangeId, OrganizationId, UserId};
use crate::domain::secret::{Secret, new_token};
use crate::error::{Error, Result};

/// For how long a job can be looked at.
const KEPT: Millis = HOUR;
/// Jobs of one person that are kept; the oldest that is of no more use goes first.
const MOST_OF_ONE: usize = 16;

/// What became of a line.
#[derive(Debug, Clone)]
pub enum Fate {
    Waiting,
    Done(Option<ChangeId>),
    /// Why not, in words.
    Failed(String),
}

struct Entry {
    name: String,
    user: Option<UserId>,
    fate: Fate,
    /// A one-time password, until it is fetched.
    password: Option<Secret>,
}

struct Job {
    organization: OrganizationId,
    owner: UserId,
    /// What the owner was when it began: what it brought is not for who has lost that.
    rank: (Role, Option<HelpDesk>),
    title: String,
    began: Millis,
    lines: Vec<Entry>,
}

impl Job {
    fn complete(&self) -> bool {
        !self.lines.iter().any(|line| matches!(line.fate, Fate::Waiting))
    }

    /// Whether nothing comes of it any more: it is done, and has no password that could be fetched.
    fn is_spent(&self, rank: &(Role, Option<HelpDesk>)) -> bool {
        self.complete() && (self.rank != *rank || self.lines.iter().all(|line| line.password.is_none()))
    }
}

/// The jobs of this node.
#[derive(Clone, Default)]
pub struct Jobs(Arc<Mutex<HashMap<String, Job>>>);

impl Jobs {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, Job>> {
        // Nobody panics between a lock and its end; if so, the rows are whole all the same.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Those that are still kept.
    fn at(&self, now: Millis) -> MutexGuard<'_, HashMap<String, Job>> {
        let mut all = self.lock();
        all.retain(|_, job| now - job.began < KEPT);
        all
    }

    /// Keeps one more.
    ///
    /// # Errors
    /// `Refused` when all that the owner has are still of use.
    fn keep(&self, id: &str, job: Job) -> Result<()> {
        let mut all = self.at(job.began);
        let own = |(_, one): &(&String, &Job)| (one.organization, one.owner) == (job.organization, job.owner);
        if all.iter().filter(own).count() >= MOST_OF_ONE {
            let spent = all.iter().filter(own).filter(|(_, one)| one.is_spent(&job.rank));
            let oldest = spent.min_by_key(|(_, one)| one.began).map(|(id, _)| id.clone());
            let Some(oldest) = oldest else { return Err(Error::Refused(ENGLISH.too_many_jobs.to_owned())) };
            all.remove(&oldest);
        }
        all.insert(id.to_owned(), job);
        Ok(())
    }

    fn note(&self, id: &str, place: usize, outcome: Result<Outcome>) {
        let mut all = self.lock();
        let Some(line) = all.get_mut(id).and_then(|job| job.lines.get_mut(place)) else { return };
        match outcome {
            Ok(done) => {
                line.fate = Fate::Done(done.change);
                (line.user, line.password) = (done.user, done.password);
            }
            Err(error) => line.fate = Fate::Failed(crate::console::refusals::text(&error)),
        }
    }

    /// Does the lines in their order; what is left when `stops` says so is not begun.
    async fn work_off<T, F>(self, id: String, items: Vec<T>, stops: impl Fn() -> bool, work: impl Fn(T) -> F)
    where
        F: Future<Output = Result<Outcome>> + Send + 'static,
    {
        let so_many = items.len();
        for (place, item) in items.into_iter().enumerate() {
            if stops() {
                tracing::warn!(
                    done = place,
                    left = so_many - place,
                    "a list of many ends early: the service stops"
                );
                return;
            }
            // A task of its own: one that panics must not keep the job, and its passwords, from their end.
            let outcome = tokio::spawn(work(item)).await.unwrap_or_else(|cause| {
                tracing::error!(%cause, "a line of a job panicked");
                Err(Error::caused("a line of a job", cause))
            });
            self.note(&id, place, outcome);
        }
    }
}

/// What one line came to.
pub struct Outcome {
    pub user: Option<UserId>,
    pub change: Option<ChangeId>,
    pub password: Option<Secret>,
}

/// What becomes of the lines that are not begun when the service stops.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AtStop {
    /// They are done first.
    Finish,
    /// They are left as they are: nobody could fetch the passwords that they bring any more.
    Leave,
}

/// Begins a job; answers the path of its page. `work` does one line, in their order.
///
/// # Errors
/// `Refused` when as many earlier ones as are kept still work or hold passwords.
pub fn begin<T, F>(
    jobs: &Jobs,
    app: &App,
    visitor: &Visitor,
    title: String,
    lines: Vec<(String, T)>,
    at_stop: AtStop,
    work: impl Fn(T) -> F + Send + 'static,
) -> Result<String>
where
    T: Send + 'static,
    F: Future<Output = Result<Outcome>> + Send + 'static,
{
    let id = app.random.with(new_token).expose().replace(['.', '-', '_'], "");
    let (names, items): (Vec<String>, Vec<T>) = lines.into_iter().unzip();
    let waiting = |name| Entry { name, user: None, fate: Fate::Waiting, password: None };
    let job = Job {
        organization: visitor.organization(),
        owner: visitor.held.session.user,
        rank: visitor.rank(),
        title,
        began: app.clock.now(),
        lines: names.into_iter().map(waiting).collect(),
    };
    jobs.keep(&id, job)?;
    let path = format!("/jobs/{id}");
    let background = app.background.clone();
    let stops = move || at_stop == AtStop::Leave && background.is_closed();
    app.background.spawn(jobs.clone().work_off(id, items, stops, work));
    Ok(path)
}

/// A line as the page shows it.
pub struct Line {
    pub name: String,
    pub user: Option<UserId>,
    pub kind: &'static str,
    pub state: &'static str,
    pub text: String,
}

/// A job as the page shows it.
pub struct Progress {
    pub path: String,
    pub title: String,
    pub done: usize,
    pub all: usize,
    pub failed: usize,
    pub passwords: usize,
    pub lines: Vec<Line>,
    pub csrf: String,
    pub t: &'static Texts,
}

impl Progress {
    pub fn complete(&self) -> bool {
        self.done == self.all
    }

    /// How many passwords can be fetched, in words.
    pub fn waiting(&self) -> String {
        let number = i64::try_from(self.passwords).unwrap_or(i64::MAX);
        count(number, self.t.password_waits, self.t.passwords_wait)
    }

    pub fn count(&self) -> String {
        fill(self.t.job_count, &[&self.done, &self.all, &self.failed])
    }
}

fn missing() -> Error {
    Error::NotFound(ENGLISH.no_such_job.to_owned())
}

fn load(jobs: &Jobs, app: &App, visitor: &Visitor, id: &str) -> Result<Progress> {
    let t = &ENGLISH;
    let all = jobs.at(app.clock.now());
    let job = all.get(id).filter(|job| is_theirs(job, visitor)).ok_or_else(missing)?;
    let lines: Vec<Line> = job
        .lines
        .iter()
        .map(|line| {
            let (kind, state, text) = match &line.fate {
                Fate::Waiting => ("wait", t.part_pending, String::new()),
                Fate::Done(Some(_)) => ("good", t.part_applied, String::new()),
                Fate::Done(None) => ("good", t.part_applied, t.nothing_to_do.to_owned()),
                Fate::Failed(why) => ("bad", t.line_failed, why.clone()),
            };
            Line { name: line.name.clone(), user: line.user, kind, state, text }
        })
        .collect();
    Ok(Progress {
        path: format!("/jobs/{id}"),
        title: job.title.clone(),
        done: job.lines.iter().filter(|line| !matches!(line.fate, Fate::Waiting)).count(),
        all: job.lines.len(),
        failed: job.lines.iter().filter(|line| matches!(line.fate, Fate::Failed(_))).count(),
        passwords: job.lines.iter().filter(|line| line.password.is_some()).count(),
        lines,
        csrf: visitor.guest.csrf(),
        t,
    })
}

fn is_theirs(job: &Job, visitor: &Visitor) -> bool {
    let owner = (job.organization, job.owner) == (visitor.organization(), visitor.held.session.user);
    owner && job.rank == visitor.rank()
}

#[derive(Template)]
#[template(path = "job_progress.html")]
struct Fragment {
    job: Progress,
}

#[derive(Template)]
#[template(path = "job.html")]
struct Page {
    frame: Frame,
    job: Progress,
}

/// `GET /jobs/{id}`
pub async fn show(
    State(app): State<App>,
    Extension(jobs): Extension<Jobs>,
    visitor: Visitor,
    Path(id): Path<String>,
) -> Result<Response> {
    let job = load(&jobs, &app, &visitor, &id)?;
    if visitor.guest.partial {
        return Ok(ok(&Fragment { job }));
    }
    Ok(ok(&Page { frame: Frame::inside(&job.title, &visitor, Tab::Users), job }))
}

/// `POST /jobs/{id}/passwords`: the one-time passwords as a file, once.
pub async fn passwords(
    State(app): State<App>,
    Extension(jobs): Extension<Jobs>,
    Path(id): Path<String>,
    Posted { visitor, .. }: Posted,
) -> Result<Response> {
    if let Some(first) = visitor.prove_first(&app, &format!("/jobs/{id}")) {
        return Ok(first);
    }
    let taken: Vec<(String, Secret)> = {
        let mut all = jobs.at(app.clock.now());
        let job = all.get_mut(&id).filter(|job| is_theirs(job, &visitor)).ok_or_else(missing)?;
        let lines = job.lines.iter_mut();
        lines.filter_map(|line| Some((line.name.clone(), line.password.take()?))).collect()
    };
    if taken.is_empty() {
        return Err(Error::Refused(ENGLISH.passwords_were_taken.to_owned()));
    }
    let mut file = csv::Writer::from_writer(Vec::new());
    let written = file.write_record([ENGLISH.csv_address, ENGLISH.csv_one_time]).and_then(|()| {
        taken.iter().try_for_each(|(name, password)| file.write_record([name.as_str(), password.expose()]))
    });
    written.map_err(|cause| Error::caused("writing a list", cause))?;
    let bytes = file.into_inner().map_err(|cause| Error::internal(cause.error()))?;
    let headers = [
        (header::CONTENT_TYPE, "text/csv; charset=utf-8"),
        (header::CONTENT_DISPOSITION, "attachment; filename=\"one-time-passwords.csv\""),
        (header::CACHE_CONTROL, "no-store"),
    ];
    Ok((headers, bytes).into_response())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::MINUTE;

    fn job(owner: i64, began: Millis, fate: Fate, password: Option<&str>) -> Job {
        let line = Entry { name: "mia".to_owned(), user: None, fate, password: password.map(Secret::new) };
        Job {
            organization: OrganizationId::new(10_000_001).expect("an id"),
            owner: UserId::new(1_000_000_000_000 + owner).expect("an id"),
            rank: (Role::Admin, None),
            title: String::new(),
            began,
            lines: vec![line],
        }
    }

    fn ids(jobs: &Jobs) -> Vec<String> {
        let mut ids: Vec<String> = jobs.lock().keys().cloned().collect();
        ids.sort();
        ids
    }

    #[test]
    fn what_works_or_holds_passwords_does_not_go_for_a_new_job() {
        let jobs = Jobs::default();
        let new = |began| job(1, began, Fate::Waiting, None);
        for number in 0..MOST_OF_ONE as Millis {
            let one = match number {
                0 => job(1, number, Fate::Done(None), Some("secret")),
                2 => job(1, number, Fate::Done(None), None),
                5 => job(1, number, Fate::Failed(String::new()), None),
                _ => new(number),
            };
            jobs.keep(&format!("{number:02}"), one).expect("there is room");
        }
        jobs.keep("of another", job(2, 20, Fate::Done(None), None)).expect("everybody has room");
        for (id, gone) in [("20", "02"), ("21", "05")] {
            jobs.keep(id, new(30)).expect("room is made");
            assert!(!ids(&jobs).contains(&gone.to_owned()), "the oldest that is spent: {:?}", ids(&jobs));
        }
        let before = ids(&jobs);
        let refused = jobs.keep("22", new(31)).expect_err("none is spent");
        assert_eq!(refused.to_string(), ENGLISH.too_many_jobs);
        assert_eq!(ids(&jobs), before);
        // Who has another rank cannot fetch what is left of the one before.
        let promoted = Job { rank: (Role::SuperAdmin, None), ..new(32) };
        jobs.keep("22", promoted).expect("room is made");
        assert!(!ids(&jobs).contains(&"00".to_owned()));
        jobs.keep("23", new(HOUR + MINUTE)).expect("an hour later there is room");
        assert_eq!(ids(&jobs), ["23"]);
    }

    #[tokio::test]
    async fn a_line_that_panics_has_failed_and_the_next_is_done() {
        let jobs = Jobs::default();
        let waiting = || Entry { name: String::new(), user: None, fate: Fate::Waiting, password: None };
        let lines = vec![waiting(), waiting(), waiting()];
        jobs.keep("one", Job { lines, ..job(1, 0, Fate::Waiting, None) }).expect("there is room");
        let work = |bad: bool| async move {
            assert!(!bad, "this is on purpose");
            Ok(Outcome { user: None, change: None, password: Some(Secret::new("secret")) })
        };
        jobs.clone().work_off("one".to_owned(), vec![false, true, false], || false, work).await;
        let all = jobs.lock();
        assert!(all["one"].complete());
        let fates: Vec<_> =
            all["one"].lines.iter().map(|line| (&line.fate, line.password.is_some())).collect();
        assert!(
            matches!(fates[..], [(Fate::Done(_), true), (Fate::Failed(_), false), (Fate::Done(_), true)]),
            "{:?}",
            all["one"].lines.iter().map(|line| &line.fate).collect::<Vec<_>>()
        );
    }

    #[tokio::test]
    async fn a_job_is_cut_off_between_two_lines() {
        let jobs = Jobs::default();
        let waiting = || Entry { name: String::new(), user: None, fate: Fate::Waiting, password: None };
        jobs.keep("one", Job { lines: vec![waiting(), waiting()], ..job(1, 0, Fate::Waiting, None) })
            .expect("there is room");
        let background = tokio_util::task::TaskTracker::new();
        let closing = background.clone();
        let work = move |()| {
            closing.close();
            async { Ok(Outcome { user: None, change: None, password: None }) }
        };
        let stops = move || background.is_closed();
        jobs.clone().work_off("one".to_owned(), vec![(), ()], stops, work).await;
        let all = jobs.lock();
        let fates: Vec<_> = all["one"].lines.iter().map(|line| &line.fate).collect();
        assert!(matches!(fates[..], [Fate::Done(_), Fate::Waiting]), "{fates:?}");
    }
}
