//! OAuth clients: made, switched and deleted by super administrators, and the codes of self clients.

use askama::Template;
use axum::extract::{Path, State};
use axum::response::Response;

use crate::app::App;
use crate::app::clients::{self, Client, ClientList, NewClient};
use crate::app::oauth::CodeWish;
use crate::clock::MINUTE;
use crate::console::apart::apart;
use crate::console::form::Form;
use crate::console::page::{Frame, Tab, answer, ok};
use crate::console::refusals::{self, Trouble};
use crate::console::texts::ENGLISH;
use crate::console::times::Time;
use crate::console::visit::{Posted, Visitor, prove_at};
use crate::domain::client::ClientKind;
use crate::domain::scope::ScopeSet;
use crate::domain::switch::Reason;
use crate::error::{Error, Result};

/// How long a code made here may be exchanged.
const CODE_LIVES: i64 = 10 * MINUTE;

/// What can be done to a client.
#[derive(Clone, Copy)]
enum Verb {
    SwitchOff,
    SwitchOn,
    Delete,
    MakeCode,
}

impl Verb {
    /// As the path of a form has it.
    fn of(slug: &str) -> Option<Self> {
        match slug {
            "switch-off" => Some(Self::SwitchOff),
            "switch-on" => Some(Self::SwitchOn),
            "delete" => Some(Self::Delete),
            "code" => Some(Self::MakeCode),
            _ => None,
        }
    }
}

/// A client as the page shows it.
pub struct Row {
    pub id: String,
    pub name: String,
    pub kind: &'static str,
    pub owner: String,
    pub redirects: Vec<String>,
    pub off: bool,
    pub added: Time,
    /// Its codes are the visitor's to make.
    pub own_codes: bool,
}

#[derive(Default)]
struct Typed {
    name: String,
    kind: String,
    redirects: String,
}

#[derive(Template)]
#[template(path = "applications.html")]
struct ApplicationsPage {
    frame: Frame,
    rows: Vec<Row>,
    may_manage: bool,
    prove: Option<String>,
    problem: Option<String>,
    typed: Typed,
}

fn kind_in_words(kind: ClientKind) -> &'static str {
    match kind {
        ClientKind::SelfClient => ENGLISH.client_self,
        ClientKind::Web => ENGLISH.client_web,
        ClientKind::Public => ENGLISH.client_public,
    }
}

async fn listed(app: &App, visitor: &Visitor) -> Result<ClientList> {
    clients::listed(app, &visitor.caller(app), visitor.organization()).await
}

async fn page(
    app: &App,
    visitor: &Visitor,
    problem: Option<String>,
    typed: Typed,
) -> Result<ApplicationsPage> {
    let listed = listed(app, visitor).await?;
    let now = app.clock.now();
    let row = |client: &Client| Row {
        id: client.id.clone(),
        name: client.name.clone(),
        kind: kind_in_words(client.kind),
        owner: listed.owners.get(&client.owner).cloned().unwrap_or_default(),
        redirects: client.redirect_uris.clone(),
        off: client.disabled.is_some(),
        added: Time::new(client.created_at, now),
        own_codes: client.kind == ClientKind::SelfClient && client.owner == visitor.held.session.user,
    };
    Ok(ApplicationsPage {
        frame: Frame::inside(ENGLISH.applications, visitor, Tab::Applications),
        rows: listed.clients.iter().map(row).collect(),
        may_manage: listed.may_manage,
        prove: visitor.proof_is_old(app).then(|| prove_at("/applications")),
        problem,
        typed,
    })
}

/// `GET /applications`
pub async fn show(State(app): State<App>, visitor: Visitor) -> Result<Response> {
    Ok(ok(&page(&app, &visitor, None, Typed::default()).await?))
}

async fn beside(app: &App, visitor: &Visitor, error: Error, typed: Typed) -> Result<Response> {
    let Trouble { status, problem } = refusals::beside(error)?;
    Ok(answer(status, &page(app, visitor, problem, typed).await?))
}

/// A secret that is shown in this answer and nowhere else.
#[derive(Template)]
#[template(path = "secret_once.html")]
struct SecretPage {
    frame: Frame,
    heading: String,
    client: String,
    label: &'static str,
    secret: Option<String>,
    hint: &'static str,
}

fn secret_page(visitor: &Visitor, page: SecretPage) -> Response {
    let frame = Frame::inside(&page.heading, visitor, Tab::Applications);
    ok(&SecretPage { frame, ..page })
}

/// `POST /applications`: makes one that acts as whoever makes it.
pub async fn add(State(app): State<App>, Posted { visitor, form }: Posted) -> Result<Response> {
    if let Some(first) = visitor.prove_first(&app, "/applications") {
        return Ok(first);
    }
    let made = match (new(&visitor, &form), Reason::parse(form.text("reason"))) {
        (Ok(new), Ok(reason)) => {
            let (app, context) = (app.clone(), visitor.context(&app, reason));
            apart(move || async move { clients::create(&app, &context, new).await }).await
        }
        (Err(error), _) | (_, Err(error)) => Err(error),
    };
    match made {
        Ok((client, secret, _)) => Ok(secret_page(
            &visitor,
            SecretPage {
                frame: Frame::outside("", String::new()),
                heading: client.name,
                client: client.id,
                label: ENGLISH.client_secret,
                secret: secret.map(|secret| secret.expose().to_owned()),
                hint: ENGLISH.client_secret_once,
            },
        )),
        Err(error) => {
            let text = |field| form.text(field).to_owned();
            let typed = Typed { name: text("name"), kind: text("kind"), redirects: text("redirects") };
            beside(&app, &visitor, error, typed).await
        }
    }
}

fn new(visitor: &Visitor, form: &Form) -> Result<NewClient> {
    let name = form.trimmed("name").ok_or_else(|| Error::Refused(ENGLISH.field_missing.to_owned()))?;
    Ok(NewClient {
        organization: visitor.organization(),
        owner: visitor.held.session.user,
        name: name.to_owned(),
        kind: form.text("kind").parse()?,
        redirect_uris: form.text("redirects").split_whitespace().map(str::to_owned).collect(),
    })
}

/// `POST /applications/{client}/{verb}`
pub async fn change(
    State(app): State<App>,
    Path((id, verb)): Path<(String, String)>,
    Posted { visitor, form }: Posted,
) -> Result<Response> {
    let verb = Verb::of(&verb).ok_or_else(|| Error::NoRoute(ENGLISH.no_such_page.to_owned()))?;
    // Of another organization's nothing is said, not even whose it is.
    let known = listed(&app, &visitor).await?.clients.into_iter().find(|client| client.id == id);
    let client = known.ok_or_else(|| Error::NotFound(ENGLISH.no_such_client.to_owned()))?;
    if let Some(first) = visitor.prove_first(&app, "/applications") {
        return Ok(first);
    }
    let changed = match Reason::parse(form.text("reason")) {
        Ok(reason) => {
            let (app, context) = (app.clone(), visitor.context(&app, reason));
            let (wish, id) = (wish(&visitor, &client, &form), client.id.clone());
            apart(move || async move {
                match verb {
                    Verb::SwitchOff => clients::switch(&app, &context, &id, true).await.map(|_| None),
                    Verb::SwitchOn => clients::switch(&app, &context, &id, false).await.map(|_| None),
                    Verb::Delete => clients::delete(&app, &context, &id).await.map(|_| None),
                    Verb::MakeCode => clients::make_code(&app, &context, wish?).await.map(Some),
                }
            })
            .await
        }
        Err(error) => Err(error),
    };
    match changed {
        Ok(None) => Ok(visitor.guest.go("/applications")),
        Ok(Some(code)) => Ok(secret_page(
            &visitor,
            SecretPage {
                frame: Frame::outside("", String::new()),
                heading: client.name,
                client: client.id,
                label: ENGLISH.code,
                secret: Some(code.expose().to_owned()),
                hint: ENGLISH.code_once,
            },
        )),
        Err(error) => beside(&app, &visitor, error, Typed::default()).await,
    }
}

fn wish(visitor: &Visitor, client: &Client, form: &Form) -> Result<CodeWish> {
    Ok(CodeWish {
        client: client.id.clone(),
        organization: visitor.organization(),
        user: visitor.held.session.user,
        scope: ScopeSet::parse(form.text("scope"))?,
        life: CODE_LIVES,
        offline: form.ticked("offline"),
        redirect_uri: None,
        challenge: None,
    })
}
