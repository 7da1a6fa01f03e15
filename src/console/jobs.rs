//! Work on many people: done one after another in the background, followed on a page of its own. A job
//! lives in the memory of this node, for an hour; each of its lines is a change of its own, so that
//! nothing hangs on the job.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{LazyLock, Mutex, MutexGuard};

use askama::Template;
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
/// Jobs of one person that are kept; the oldest goes first.
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

static JOBS: LazyLock<Mutex<HashMap<String, Job>>> = LazyLock::new(Mutex::default);

fn jobs() -> MutexGuard<'static, HashMap<String, Job>> {
    // Nobody panics between a lock and its end; if so, the rows are whole all the same.
    JOBS.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// Those that are still kept.
fn jobs_at(now: Millis) -> MutexGuard<'static, HashMap<String, Job>> {
    let mut all = jobs();
    all.retain(|_, job| now - job.began < KEPT);
    all
}

/// What one line came to.
pub struct Outcome {
    pub user: Option<UserId>,
    pub change: Option<ChangeId>,
    pub password: Option<Secret>,
}

/// Begins a job; answers the path of its page. `work` does one line, in their order.
pub fn begin<T, F>(
    app: &App,
    visitor: &Visitor,
    title: String,
    lines: Vec<(String, T)>,
    work: impl Fn(T) -> F + Send + 'static,
) -> String
where
    T: Send + 'static,
    F: Future<Output = Result<Outcome>> + Send,
{
    // Numbered, too: what is drawn from a seed comes twice where two desks live in one process.
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let id = app.random.with(new_token).expose().replace(['.', '-', '_'], "") + &number.to_string();
    let now = app.clock.now();
    let (names, items): (Vec<String>, Vec<T>) = lines.into_iter().unzip();
    let waiting = |name| Entry { name, user: None, fate: Fate::Waiting, password: None };
    let job = Job {
        organization: visitor.organization(),
        owner: visitor.held.session.user,
        rank: visitor.rank(),
        title,
        began: now,
        lines: names.into_iter().map(waiting).collect(),
    };
    {
        let mut all = jobs_at(now);
        let own = |(_, one): &(&String, &Job)| (one.organization, one.owner) == (job.organization, job.owner);
        if all.iter().filter(own).count() >= MOST_OF_ONE
            && let Some(oldest) =
                all.iter().filter(own).min_by_key(|(_, job)| job.began).map(|(id, _)| id.clone())
        {
            all.remove(&oldest);
        }
        all.insert(id.clone(), job);
    }
    let path = format!("/jobs/{id}");
    tokio::spawn(async move {
        for (place, item) in items.into_iter().enumerate() {
            let outcome = work(item).await;
            note(&id, place, outcome);
        }
    });
    path
}

fn note(id: &str, place: usize, outcome: Result<Outcome>) {
    let mut all = jobs();
    let Some(line) = all.get_mut(id).and_then(|job| job.lines.get_mut(place)) else { return };
    match outcome {
        Ok(done) => {
            line.fate = Fate::Done(done.change);
            (line.user, line.password) = (done.user, done.password);
        }
        Err(error) => line.fate = Fate::Failed(crate::console::refusals::text(&error)),
    }
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

fn load(app: &App, visitor: &Visitor, id: &str) -> Result<Progress> {
    let t = &ENGLISH;
    let all = jobs_at(app.clock.now());
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
pub async fn show(State(app): State<App>, visitor: Visitor, Path(id): Path<String>) -> Result<Response> {
    let job = load(&app, &visitor, &id)?;
    if visitor.guest.partial {
        return Ok(ok(&Fragment { job }));
    }
    Ok(ok(&Page { frame: Frame::inside(&job.title, &visitor, Tab::Users), job }))
}

/// `POST /jobs/{id}/passwords`: the one-time passwords as a file, once.
pub async fn passwords(
    State(app): State<App>,
    Path(id): Path<String>,
    Posted { visitor, .. }: Posted,
) -> Result<Response> {
    if let Some(first) = visitor.prove_first(&app, &format!("/jobs/{id}")) {
        return Ok(first);
    }
    let taken: Vec<(String, Secret)> = {
        let mut all = jobs_at(app.clock.now());
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
