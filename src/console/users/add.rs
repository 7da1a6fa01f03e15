//! Adding people: one by a form, several by a list that is looked at line by line before anything is done.

use std::collections::BTreeSet;

use askama::Template;
use axum::Extension;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;

use crate::app::App;
use crate::app::accounts::create::{self, NewUser};
use crate::app::{password, people};
use crate::console::form::Form;
use crate::console::jobs::{self, AtStop, Jobs, Outcome};
use crate::console::page::{Frame, Tab, answer, ok};
use crate::console::refusals::{self, Trouble};
use crate::console::texts::{ENGLISH, count, fill};
use crate::console::users::handed::password_page;
use crate::console::users::panel::RELEASE;
use crate::console::visit::{Posted, Visitor};
use crate::domain::account::Profile;
use crate::domain::actor::Role;
use crate::domain::email_address::EmailAddress;
use crate::domain::password::{Password, PasswordKind};
use crate::domain::plain_text::name;
use crate::domain::secret::{Secret, new_one_time_password};
use crate::domain::switch::Reason;
use crate::error::{Error, Result};

/// Most people of one list.
const MOST: usize = 500;

#[derive(Default, Deserialize)]
#[serde(default)]
pub struct Typed {
    address: String,
    first_name: String,
    last_name: String,
    display_name: String,
    role: String,
    reason: String,
    /// Why a kept address is given out, where the visitor may do that.
    #[serde(skip)]
    release: Option<String>,
}

impl Typed {
    fn of(form: &Form) -> Self {
        let text = |field| form.text(field).to_owned();
        Self {
            address: text("address"),
            first_name: text("first_name"),
            last_name: text("last_name"),
            display_name: text("display_name"),
            role: text("role"),
            reason: text("reason"),
            release: None,
        }
    }

    /// The form with what was typed in it.
    fn way_back(&self) -> String {
        let fields = [
            ("address", &self.address),
            ("first_name", &self.first_name),
            ("last_name", &self.last_name),
            ("display_name", &self.display_name),
            ("role", &self.role),
            ("reason", &self.reason),
        ];
        let typed = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
        format!("/users/new?{typed}")
    }
}

#[derive(Template)]
#[template(path = "user_new.html")]
struct NewPage {
    frame: Frame,
    typed: Typed,
    problem: Option<String>,
}

/// `GET /users/new`
pub async fn show(State(app): State<App>, visitor: Visitor, Query(typed): Query<Typed>) -> Result<Response> {
    people::may_add(&app, &visitor.caller(&app), visitor.organization()).await?;
    let frame = Frame::inside(ENGLISH.add_user, &visitor, Tab::Users);
    Ok(ok(&NewPage { frame, typed, problem: None }))
}

/// Somebody with a one-time password.
fn somebody(address: &str, names: [&str; 3], role: Role, password: &Secret) -> Result<NewUser> {
    let [first, last, display] = names;
    let mut profile = Profile {
        first_name: name("firstName", first)?,
        last_name: name("lastName", last)?,
        display_name: name("displayName", display)?,
        ..Profile::default()
    };
    profile.name_if_unnamed();
    Ok(NewUser {
        kind: PasswordKind::OneTime,
        profile,
        ..create::simple(
            EmailAddress::parse(address.trim())?,
            Password::prepare(password.expose())?,
            role,
            "",
        )?
    })
}

/// `POST /users/new`
pub async fn add(State(app): State<App>, Posted { visitor, form }: Posted) -> Result<Response> {
    // Power over others is given out by who has just proved to be there.
    if !matches!(form.trimmed("role"), None | Some("member"))
        && let Some(first) = visitor.prove_first(&app, &Typed::of(&form).way_back())
    {
        return Ok(first);
    }
    let password = password::one_time(&app, visitor.organization()).await?;
    let added = async {
        let role = form.trimmed("role").map_or(Ok(Role::Member), str::parse)?;
        let names = ["first_name", "last_name", "display_name"].map(|field| form.text(field));
        let new = somebody(form.text("address"), names, role, &password)?;
        let mut context = visitor.context(&app, Reason::parse(form.text("reason"))?);
        context.release = Reason::parse(form.text(RELEASE))?;
        create::create(&app, &context, visitor.organization(), new).await
    };
    match added.await {
        Ok((account, change)) => {
            password_page(&app, &visitor, &account, &change.to_string(), &password, ENGLISH.user_is_added)
                .await
        }
        Err(error) => {
            let release = form.text(RELEASE);
            let may_release = visitor.may_release(&error) || !release.is_empty();
            let Trouble { status, problem } = refusals::beside(error)?;
            people::may_add(&app, &visitor.caller(&app), visitor.organization()).await?;
            let page = NewPage {
                frame: Frame::inside(ENGLISH.add_user, &visitor, Tab::Users),
                typed: Typed { release: may_release.then(|| release.to_owned()), ..Typed::of(&form) },
                problem,
            };
            Ok(answer(status, &page))
        }
    }
}

// A list ---------------------------------------------------------------------------------------

/// One line of a list.
pub struct Line {
    pub number: usize,
    pub address: String,
    pub name: String,
    pub problem: Option<String>,
}

#[derive(Template)]
#[template(path = "import.html")]
struct ImportPage {
    frame: Frame,
    list: String,
    reason: String,
    problem: Option<String>,
    /// Empty before the list was looked at.
    lines: Vec<Line>,
    good: usize,
}

/// "Add 3 users"
fn title(number: usize) -> String {
    let number = i64::try_from(number).unwrap_or(i64::MAX);
    fill(ENGLISH.import_title, &[&count(number, ENGLISH.one_user, ENGLISH.so_many_users)])
}

impl ImportPage {
    fn checked(&self) -> String {
        fill(ENGLISH.list_checked, &[&self.good, &self.lines.len()])
    }
}

/// `GET /users/import`
pub async fn ask_list(State(app): State<App>, visitor: Visitor) -> Result<Response> {
    people::may_add(&app, &visitor.caller(&app), visitor.organization()).await?;
    Ok(ok(&import_page(&visitor, &Form::default(), None, Vec::new())))
}

fn import_page(visitor: &Visitor, form: &Form, problem: Option<String>, lines: Vec<Line>) -> ImportPage {
    ImportPage {
        frame: Frame::inside(ENGLISH.import_users, visitor, Tab::Users),
        list: form.text("list").to_owned(),
        reason: form.text("reason").to_owned(),
        problem,
        good: lines.iter().filter(|line| line.problem.is_none()).count(),
        lines,
    }
}

/// The people of a list: each with its line, or what is wrong with it.
struct Read {
    line: Line,
    new: Option<(NewUser, Secret)>,
}

/// The columns, by the words that a head may have for them.
const COLUMNS: [&[&str]; 4] = [
    &["address", "email", "e-mail", "email address", "e-mail address", "mail"],
    &["first name", "firstname", "first", "given name"],
    &["last name", "lastname", "last", "surname", "family name"],
    &["name", "display name", "displayname", "full name"],
];

/// Reads a list with a line of heads; the columns may stand in any order.
fn read(app: &App, shortest: usize, list: &str) -> Result<Vec<Read>> {
    let head = list.lines().next().unwrap_or_default();
    let delimiter = [b';', b'\t', b',']
        .into_iter()
        .max_by_key(|sign| (head.bytes().filter(|byte| byte == sign).count(), *sign == b','));
    let mut reader = csv::ReaderBuilder::new()
        .delimiter(delimiter.unwrap_or(b','))
        .flexible(true)
        .trim(csv::Trim::All)
        .from_reader(list.trim_start_matches('\u{feff}').as_bytes());
    let wrong = |_| Error::Refused(ENGLISH.list_unreadable.to_owned());
    let heads = reader.headers().map_err(wrong)?.clone();
    let places = COLUMNS.map(|names| {
        heads.iter().position(|head| names.contains(&head.to_lowercase().replace('_', " ").as_str()))
    });
    if places[0].is_none() {
        return Err(Error::Refused(ENGLISH.list_without_addresses.to_owned()));
    }
    let (mut all, mut seen) = (Vec::new(), BTreeSet::new());
    for (place, record) in reader.records().enumerate() {
        let record = record.map_err(wrong)?;
        let number =
            record.position().map_or(place + 2, |at| usize::try_from(at.line()).unwrap_or(place + 2));
        let cell = |column: usize| places[column].and_then(|place| record.get(place)).unwrap_or_default();
        if record.iter().all(str::is_empty) {
            continue;
        }
        if all.len() == MOST {
            return Err(Error::Refused(fill(ENGLISH.list_too_long, &[&MOST])));
        }
        let password = app.random.with(|rng| new_one_time_password(rng, shortest));
        let new = somebody(cell(0), [cell(1), cell(2), cell(3)], Role::Member, &password);
        let new = new.and_then(|new| match seen.insert(new.address.clone()) {
            true => Ok(new),
            false => Err(Error::Refused(ENGLISH.twice_in_list.to_owned())),
        });
        let shown = [cell(3), cell(1), cell(2)].into_iter().filter(|text| !text.is_empty());
        let mut line = Line {
            number,
            address: cell(0).to_owned(),
            name: shown.collect::<Vec<_>>().join(" "),
            problem: None,
        };
        let new = match new {
            Ok(new) => {
                line.name.clone_from(&new.profile.display_name);
                Some((new, password))
            }
            Err(error) => {
                line.problem = Some(refusals::text(&error));
                None
            }
        };
        all.push(Read { line, new });
    }
    if all.is_empty() {
        return Err(Error::Refused(ENGLISH.list_empty.to_owned()));
    }
    Ok(all)
}

/// `POST /users/import`: looks at the list; with `go`, adds everybody whose line is good.
pub async fn import(
    State(app): State<App>,
    Extension(jobs): Extension<Jobs>,
    Posted { visitor, form }: Posted,
) -> Result<Response> {
    people::may_add(&app, &visitor.caller(&app), visitor.organization()).await?;
    let bad = |error: &Error| {
        let page = import_page(&visitor, &form, Some(refusals::text(error)), Vec::new());
        answer(StatusCode::BAD_REQUEST, &page)
    };
    let shortest = password::one_time_length(&app, visitor.organization()).await?;
    let (mut all, reason) =
        match (read(&app, shortest, form.text("list")), Reason::parse(form.text("reason"))) {
            (Ok(all), Ok(reason)) => (all, reason),
            (Err(error), _) | (_, Err(error)) => return Ok(bad(&error)),
        };
    let context = visitor.context(&app, reason);
    let people: Vec<NewUser> = all.iter().filter_map(|one| Some(one.new.as_ref()?.0.clone())).collect();
    let mut answers = create::check(&app, &context, visitor.organization(), &people).await?.into_iter();
    for one in all.iter_mut().filter(|one| one.new.is_some()) {
        if let Some(Err(error)) = answers.next() {
            one.line.problem = Some(refusals::text(&error));
            one.new = None;
        }
    }
    if !form.ticked("go") {
        let lines = all.into_iter().map(|one| one.line).collect();
        return Ok(ok(&import_page(&visitor, &form, None, lines)));
    }
    let lines: Vec<_> = all
        .into_iter()
        .filter_map(|one| Some((one.new?, one.line.address)))
        .map(|(new, address)| (address, new))
        .collect();
    if lines.is_empty() {
        return Ok(bad(&Error::Refused(ENGLISH.no_good_line.to_owned())));
    }
    let (worker, zoid) = (app.clone(), visitor.organization());
    let work = move |(new, password): (NewUser, Secret)| {
        let (app, context) = (worker.clone(), context.clone());
        async move {
            let (account, change) = create::create(&app, &context, zoid, new).await?;
            Ok(Outcome { user: Some(account.user), change: Some(change), password: Some(password) })
        }
    };
    match jobs::begin(&jobs, &app, &visitor, title(lines.len()), lines, AtStop::Leave, work) {
        Ok(path) => Ok(visitor.guest.go(&path)),
        Err(error) => Ok(bad(&error)),
    }
}
