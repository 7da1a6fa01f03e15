//! Domains: which there are, how they stand, and what a super administrator does with them.

use askama::Template;
use axum::extract::{Path, State};
use axum::response::Response;

use crate::app::App;
use crate::app::accounts::read;
use crate::app::call::Context;
use crate::app::organizations::{self, Domain, DomainChange};
use crate::console::apart::apart;
use crate::console::asked::Asked;
use crate::console::changes::Progress;
use crate::console::form::Form;
use crate::console::page::{Frame, Tab, answer, ok};
use crate::console::refusals::{self, Trouble};
use crate::console::texts::{ENGLISH, fill};
use crate::console::times::Time;
use crate::console::visit::{Posted, Visitor, prove_at};
use crate::domain::email_address::DomainName;
use crate::domain::switch::Reason;
use crate::error::{Error, Result};

/// What can be done to a domain.
#[derive(Clone, Copy)]
enum Verb {
    MakePrimary,
    SwitchOff,
    SwitchOn,
    Remove,
}

impl Verb {
    /// As the path of a form has it.
    fn of(slug: &str) -> Option<Self> {
        match slug {
            "make-primary" => Some(Self::MakePrimary),
            "switch-off" => Some(Self::SwitchOff),
            "switch-on" => Some(Self::SwitchOn),
            "remove" => Some(Self::Remove),
            _ => None,
        }
    }
}

/// A domain as the page shows it.
pub struct Row {
    pub name: String,
    pub primary: bool,
    pub verified: Option<Time>,
    pub off: bool,
    pub off_why: String,
    pub code: String,
    /// What the operator types to vouch for it.
    pub command: String,
    pub added: Time,
}

impl Row {
    fn of(domain: &Domain, now: i64) -> Self {
        Self {
            name: domain.name.to_string(),
            primary: domain.primary,
            verified: domain.verified_at.map(|at| Time::new(at, now)),
            off: domain.disabled.is_some(),
            off_why: domain
                .disabled
                .as_ref()
                .and_then(|block| Some(block.reason.as_ref()?.as_str().to_owned()))
                .unwrap_or_default(),
            code: domain.verification_code.clone(),
            command: format!("mailward domain verify {}", domain.name),
            added: Time::new(domain.created_at, now),
        }
    }
}

#[derive(Template)]
#[template(path = "domains.html")]
struct DomainsPage {
    frame: Frame,
    rows: Vec<Row>,
    may_manage: bool,
    prove: Option<String>,
    problem: Option<String>,
    typed: String,
    progress: Option<Progress>,
}

async fn page(app: &App, visitor: &Visitor, problem: Option<String>, typed: &str) -> Result<DomainsPage> {
    let (caller, zoid) = (visitor.caller(app), visitor.organization());
    let domains = read::domains(app, &caller, zoid).await?;
    let now = app.clock.now();
    Ok(DomainsPage {
        frame: Frame::inside(ENGLISH.domains, visitor, Tab::Domains),
        rows: domains.iter().map(|domain| Row::of(domain, now)).collect(),
        may_manage: organizations::may_manage(app, &caller, zoid).await?,
        prove: visitor.proof_is_old(app).then(|| prove_at("/domains")),
        problem,
        typed: typed.to_owned(),
        progress: None,
    })
}

/// `GET /domains`
pub async fn show(State(app): State<App>, visitor: Visitor, asked: Asked) -> Result<Response> {
    let mut page = page(&app, &visitor, None, "").await?;
    page.progress = Progress::asked_for(&app, &visitor, asked.text("change")).await?;
    Ok(ok(&page))
}

async fn beside(app: &App, visitor: &Visitor, error: Error, typed: &str) -> Result<Response> {
    let Trouble { status, problem } = refusals::beside(error)?;
    Ok(answer(status, &page(app, visitor, problem, typed).await?))
}

fn context(app: &App, visitor: &Visitor, form: &Form) -> Result<Context> {
    Ok(visitor.context(app, Reason::parse(form.text("reason"))?))
}

/// `POST /domains`: adds one.
pub async fn add(State(app): State<App>, Posted { visitor, form }: Posted) -> Result<Response> {
    let typed = form.text("name");
    let zoid = visitor.organization();
    let added = match (DomainName::parse(typed.trim()), context(&app, &visitor, &form)) {
        (Ok(name), Ok(context)) => {
            let app = app.clone();
            apart(move || async move { organizations::add_domain(&app, &context, zoid, &name).await }).await
        }
        (Err(error), _) | (_, Err(error)) => Err(error),
    };
    match added {
        Ok(_) => Ok(visitor.guest.go("/domains")),
        Err(error) => beside(&app, &visitor, error, typed).await,
    }
}

/// `POST /domains/{name}/{verb}`
pub async fn change(
    State(app): State<App>,
    Path((name, verb)): Path<(String, String)>,
    Posted { visitor, form }: Posted,
) -> Result<Response> {
    let verb = Verb::of(&verb).ok_or_else(|| Error::NoRoute(ENGLISH.no_such_page.to_owned()))?;
    if let Some(first) = visitor.prove_first(&app, "/domains") {
        return Ok(first);
    }
    let zoid = visitor.organization();
    let missing = |_| Error::NotFound(fill(ENGLISH.no_such_domain, &[&name]));
    let name = DomainName::parse(&name).map_err(missing)?;
    let changed = match context(&app, &visitor, &form) {
        Ok(context) => {
            let app = app.clone();
            apart(move || async move {
                let change = match verb {
                    Verb::MakePrimary => DomainChange::MakePrimary,
                    Verb::SwitchOff => DomainChange::Disable,
                    Verb::SwitchOn => DomainChange::Enable,
                    Verb::Remove => return organizations::remove_domain(&app, &context, zoid, &name).await,
                };
                organizations::change_domain(&app, &context, zoid, &name, change).await
            })
            .await
        }
        Err(error) => Err(error),
    };
    match changed {
        Ok(done) => {
            let change = done.change.filter(|_| done.position.is_some());
            let change = change.map(|change| change.to_string()).unwrap_or_default();
            Ok(visitor.guest.go(&crate::console::asked::with_query("/domains", &[("change", &change)])))
        }
        Err(error) => beside(&app, &visitor, error, "").await,
    }
}
