//! One action on several people: who, what it would do in numbers, the reason, and one button.

use askama::Template;
use axum::Extension;
use axum::extract::State;
use axum::response::Response;

use crate::app::App;
use crate::app::change;
use crate::app::forecast::Forecast;
use crate::app::password;
use crate::app::people::{self, Listed};
use crate::console::asked::Asked;
use crate::console::form::Form;
use crate::console::jobs::{self, AtStop, Jobs, Outcome};
use crate::console::page::{Frame, Tab, ok};
use crate::console::refusals;
use crate::console::texts::{ENGLISH, count, fill};
use crate::console::users::Row;
use crate::console::users::act::asking;
use crate::console::users::action::Action;
use crate::console::users::panel::{ALSO, Numbers, in_numbers};
use crate::console::visit::{Posted, Visitor, prove_at};
use crate::domain::ids::UserId;
use crate::domain::switch::Reason;
use crate::error::{Error, Result};

/// What can be done to several people at once.
pub fn choices() -> Vec<Action> {
    let plain = |action: &Action| action.field().is_plain();
    // A deletion and a report are looked at one by one, and who asks for lost factors has to be known.
    let one_by_one =
        |action: &Action| matches!(action, Action::Delete | Action::Secure | Action::RemoveFactors);
    Action::ALL.into_iter().filter(plain).filter(|action| !one_by_one(action)).collect()
}

#[derive(Template)]
#[template(path = "bulk.html")]
struct BulkPage {
    frame: Frame,
    action: Action,
    rows: Vec<Row>,
    /// "Disable mail for 3 users"
    title: String,
    reason: String,
    /// Whether the box of what goes along is ticked.
    also: bool,
    problem: Option<String>,
    numbers: Option<Vec<String>>,
    /// The address of the numbers.
    ask_numbers: String,
    prove: Option<String>,
}

fn what(form: &Form) -> Result<(Action, Vec<UserId>)> {
    let action = Action::of(form.text("what")).filter(|action| choices().contains(action));
    let action = action.ok_or_else(|| Error::NoRoute(ENGLISH.no_such_page.to_owned()))?;
    let mut users: Vec<UserId> = form.all("user").filter_map(|user| user.parse().ok()).collect();
    users.sort_unstable();
    users.dedup();
    if users.is_empty() {
        return Err(Error::Refused(ENGLISH.nobody_chosen.to_owned()));
    }
    if users.len() > people::PAGE {
        return Err(Error::Refused(fill(ENGLISH.too_many_chosen, &[&people::PAGE])));
    }
    Ok((action, users))
}

/// Whom it is about: without oneself, where nobody does it to oneself.
struct Chosen {
    listed: Vec<Listed>,
    /// What is said of who was left out.
    left_out: Option<String>,
}

async fn chosen(app: &App, visitor: &Visitor, action: Action, users: &[UserId]) -> Result<Chosen> {
    let mut listed = people::some(app, &visitor.caller(app), visitor.organization(), users).await?;
    if listed.is_empty() {
        return Err(Error::NotFound(ENGLISH.no_such_user.to_owned()));
    }
    let so_many = listed.len();
    listed.retain(|one| !(action.is_for_others() && one.account.user == visitor.account.user));
    let left_out = (listed.len() < so_many).then(|| ENGLISH.bulk_not_oneself.to_owned());
    match left_out {
        Some(why) if listed.is_empty() => Err(Error::Refused(why)),
        left_out => Ok(Chosen { listed, left_out }),
    }
}

fn title(action: Action, listed: &[Listed]) -> String {
    let number = i64::try_from(listed.len()).unwrap_or(i64::MAX);
    fill(ENGLISH.bulk_title, &[&action.button(), &count(number, ENGLISH.one_user, ENGLISH.so_many_users)])
}

/// `GET /users/bulk`: what would be done, and to whom.
pub async fn ask(State(app): State<App>, visitor: Visitor, asked: Asked) -> Result<Response> {
    let (action, users) = what(&asked)?;
    let Chosen { listed, left_out } = chosen(&app, &visitor, action, &users).await?;
    let numbers = match visitor.guest.partial || !asked.text("numbers").is_empty() {
        true => Some(foretell(&app, &visitor, action, &listed).await),
        false => None,
    };
    if visitor.guest.partial {
        let lines = numbers.unwrap_or_default();
        return Ok(ok(&Numbers { lines, problem: None, t: &ENGLISH }));
    }
    let here = visitor.guest.target.clone();
    let now = app.clock.now();
    let must_prove = action.is_dangerous() && visitor.proof_is_old(&app);
    let page = BulkPage {
        frame: Frame::inside(action.button(), &visitor, Tab::Users),
        action,
        rows: listed.iter().map(|one| Row::of(one, "", now)).collect(),
        title: title(action, &listed),
        reason: asked.text("reason").to_owned(),
        also: ALSO.iter().any(|name| asked.ticked(name)),
        problem: left_out,
        numbers,
        ask_numbers: format!("{here}&numbers=yes"),
        prove: must_prove.then(|| prove_at(&here)),
    };
    Ok(ok(&page))
}

/// What it would do to all of them together, and who cannot be touched.
async fn foretell(app: &App, visitor: &Visitor, action: Action, listed: &[Listed]) -> Vec<String> {
    let mut lines = Vec::new();
    let mut sum = Forecast { changes: true, ..Forecast::default() };
    let (mut changes, mut sessions) = (0, std::collections::BTreeMap::<String, Option<u64>>::new());
    for one in listed {
        let account = &one.account;
        let forecast = async {
            let stand_in = password::one_time(app, visitor.organization()).await?;
            let mode = action.mode(&Form::default(), &stand_in)?;
            let context = visitor.context(app, None);
            change::forecast(app, &context, asking(visitor, account.user, mode)).await
        };
        match forecast.await {
            Ok(forecast) => {
                changes += i64::from(forecast.changes);
                sum.ends += forecast.ends;
                for server in forecast.servers {
                    let known = sessions.entry(server.name).or_insert(Some(0));
                    *known = known.zip(server.sessions).map(|(one, other)| one + other);
                }
            }
            Err(error) => {
                lines.push(fill(ENGLISH.bulk_cannot, &[&account.primary, &refusals::text(&error)]));
            }
        }
    }
    let servers = sessions.into_iter();
    sum.servers = servers.map(|(name, sessions)| crate::app::forecast::OnServer { name, sessions }).collect();
    let mut all = vec![count(changes, ENGLISH.bulk_changes_one, ENGLISH.bulk_changes)];
    if action.is_dangerous() {
        all.extend(in_numbers(&sum, app.clock.now()));
    }
    all.extend(lines);
    all
}

/// `POST /users/bulk`: does it, line by line.
pub async fn start(
    State(app): State<App>,
    Extension(jobs): Extension<Jobs>,
    Posted { visitor, form }: Posted,
) -> Result<Response> {
    let (action, users) = what(&form)?;
    if action.is_dangerous() {
        let mut back = url::form_urlencoded::Serializer::new(String::new());
        back.append_pair("what", action.slug()).append_pair("reason", form.text("reason"));
        for name in ALSO.into_iter().filter(|name| form.ticked(name)) {
            back.append_pair(name, form.text(name));
        }
        for user in &users {
            back.append_pair("user", &user.to_string());
        }
        if let Some(first) = visitor.prove_first(&app, &format!("/users/bulk?{}", back.finish())) {
            return Ok(first);
        }
    }
    let Chosen { listed, .. } = chosen(&app, &visitor, action, &users).await?;
    let reason = Reason::parse(form.text("reason"))?;
    let context = visitor.context(&app, reason);
    let form = std::sync::Arc::new(form);
    let lines = listed.iter().map(|one| (one.account.primary.to_string(), one.account.user)).collect();
    let (worker, doer) = (app.clone(), visitor.clone());
    let at_stop = if action == Action::ResetPassword { AtStop::Leave } else { AtStop::Finish };
    let path =
        jobs::begin(&jobs, &app, &visitor, title(action, &listed), lines, at_stop, move |user: UserId| {
            let (app, visitor, context, form) = (worker.clone(), doer.clone(), context.clone(), form.clone());
            async move {
                let password = password::one_time(&app, visitor.organization()).await?;
                let mode = action.mode(&form, &password)?;
                let done = change::run(&app, &context, asking(&visitor, user, mode)).await?;
                let password = (action == Action::ResetPassword).then_some(password);
                Ok(Outcome { user: Some(user), change: done.change, password })
            }
        })?;
    Ok(visitor.guest.go(&path))
}
