//! Doing something to one user: what it would do is shown first, then it is done through the same path
//! as every other door's.

use axum::extract::{Path, State};
use axum::response::Response;

use crate::app::App;
use crate::app::call::Context;
use crate::app::change::{self, Ask, Done};
use crate::app::forecast::Forecast;
use crate::app::password;
use crate::app::people::Overview;
use crate::console::asked::with_query;
use crate::console::form::Form;
use crate::console::page::{answer, ok};
use crate::console::refusals::{self, Trouble};
use crate::console::said::Said;
use crate::console::texts::ENGLISH;
use crate::console::users::action::Action;
use crate::console::users::handed::password_page;
use crate::console::users::panel::{Numbers, RELEASE, SHOWN, Typed, decisive, in_numbers, way_back};
use crate::console::users::secured;
use crate::console::users::show::{Seen, user_of};
use crate::console::visit::{Posted, Visitor};
use crate::domain::ids::UserId;
use crate::domain::rights::Route;
use crate::domain::secret::Secret;
use crate::domain::switch::Reason;
use crate::error::{Error, Result};

fn action_of(text: &str) -> Result<Action> {
    Action::of(text).ok_or_else(|| Error::NoRoute(ENGLISH.no_such_page.to_owned()))
}

/// The mode on that user, as it goes the way of every change.
pub fn asking(visitor: &Visitor, user: UserId, mode: crate::app::accounts::AccountMode) -> Ask {
    let number = Some(user.get());
    Ask { route: Route::Organization(visitor.organization()), path: number, zuid: number, mode }
}

/// `GET /users/{zuid}/{action}`: the page with that panel open and what the action would do; for a
/// script only the latter.
pub async fn preview(
    State(app): State<App>,
    visitor: Visitor,
    Path((user, action)): Path<(String, String)>,
    asked: crate::console::asked::Asked,
) -> Result<Response> {
    let (user, action) = (user_of(&user)?, action_of(&action)?);
    let seen = Seen::of(&app, &visitor, user).await?;
    let foretold = foretell(&app, &visitor, &seen.over, action).await;
    if visitor.guest.partial {
        let (lines, problem) = match foretold {
            Ok(lines) => (lines.unwrap_or_default(), None),
            Err(error) => (Vec::new(), Some(refusals::text(&error))),
        };
        return Ok(ok(&Numbers { lines, problem, t: &ENGLISH }));
    }
    let (lines, problem) = match foretold {
        Ok(lines) => (lines, None),
        Err(error) => (None, Some(refusals::text(&error))),
    };
    let typed = Typed::of(&asked, problem);
    Ok(ok(&seen.page(&app, &visitor, Some((action, typed, lines)))))
}

/// What the action would do, if that can be said before anything is typed and is worth saying.
async fn foretell(
    app: &App,
    visitor: &Visitor,
    seen: &Overview,
    action: Action,
) -> Result<Option<Vec<String>>> {
    if !action.field().is_plain() || !action.is_dangerous() {
        return Ok(None);
    }
    let mode = action.mode(&Form::default(), &password::one_time(app, visitor.organization()).await?)?;
    let user = seen.listed.account.user;
    let forecast = change::forecast(app, &visitor.context(app, None), asking(visitor, user, mode)).await?;
    Ok(Some(in_numbers(&forecast, app.clock.now())))
}

/// `POST /users/{zuid}/{action}`
pub async fn act(
    State(app): State<App>,
    Path((user, action)): Path<(String, String)>,
    Posted { visitor, form }: Posted,
) -> Result<Response> {
    let (user, action) = (user_of(&user)?, action_of(&action)?);
    if action.is_dangerous()
        && let Some(first) = visitor.prove_first(&app, &way_back(user, action, &form))
    {
        return Ok(first);
    }
    if action == Action::Secure {
        return match secured::secure(&app, &visitor, user, &form).await {
            Ok((done, report)) => secured::page(&app, &visitor, &done, &report).await,
            Err(error) => refused(&app, &visitor, user, action, &form, error).await,
        };
    }
    let password = password::one_time(&app, visitor.organization()).await?;
    let called = call(&app, &visitor, user, action, &form, &password);
    let shown = !action.shows_first() || form.text(SHOWN) == decisive(&form);
    let refusal = match called {
        Ok((context, ask)) if shown => match change::run(&app, &context, ask).await {
            Ok(done) => return done_page(&app, &visitor, user, action, done, &password).await,
            Err(error) => error,
        },
        Ok((context, ask)) => match change::forecast(&app, &context, ask).await {
            Ok(forecast) => return show_first(&app, &visitor, user, action, &form, &forecast).await,
            Err(error) => error,
        },
        Err(error) => error,
    };
    refused(&app, &visitor, user, action, &form, refusal).await
}

/// What the action would do with what was typed, above a form that then does it.
async fn show_first(
    app: &App,
    visitor: &Visitor,
    user: UserId,
    action: Action,
    form: &Form,
    forecast: &Forecast,
) -> Result<Response> {
    let mut typed = Typed::of(form, None);
    typed.shown = Some(decisive(form));
    let lines = Some(in_numbers(forecast, app.clock.now()));
    let seen = Seen::of(app, visitor, user).await?;
    Ok(ok(&seen.page(app, visitor, Some((action, typed, lines)))))
}

/// A refusal beside the form, with what was typed, where it is about that.
async fn refused(
    app: &App,
    visitor: &Visitor,
    user: UserId,
    action: Action,
    form: &Form,
    error: Error,
) -> Result<Response> {
    let may_release = visitor.may_release(&error);
    let Trouble { status, problem } = refusals::beside(error)?;
    let mut typed = Typed::of(form, problem);
    typed.may_release = may_release;
    let seen = Seen::of(app, visitor, user).await?;
    Ok(answer(status, &seen.page(app, visitor, Some((action, typed, None)))))
}

/// The call that a form stands for, and who makes it, with the reasons that were typed.
fn call(
    app: &App,
    visitor: &Visitor,
    user: UserId,
    action: Action,
    form: &Form,
    password: &Secret,
) -> Result<(Context, Ask)> {
    let mode = action.mode(form, password)?;
    let mut context = visitor.context(app, Reason::parse(form.text("reason"))?);
    context.release = Reason::parse(form.text(RELEASE))?;
    Ok((context, asking(visitor, user, mode)))
}

async fn done_page(
    app: &App,
    visitor: &Visitor,
    user: UserId,
    action: Action,
    done: Done,
    password: &Secret,
) -> Result<Response> {
    let change = done.change.map(|change| change.to_string()).unwrap_or_default();
    if action == Action::ResetPassword {
        let account = done.accounts.first().ok_or_else(|| Error::internal("a reset of nobody"))?;
        let title = ENGLISH.password_is_reset;
        return password_page(app, visitor, account, &change, password, title).await;
    }
    if action == Action::Delete {
        return Ok(visitor.guest.go(&Said::Deleted.at("/users")));
    }
    let page = format!("/users/{user}");
    if change.is_empty() {
        return Ok(visitor.guest.go(&Said::Nothing.at(&page)));
    }
    Ok(visitor.guest.go(&with_query(&page, &[("change", &change)])))
}
