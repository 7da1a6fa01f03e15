//! The authorization endpoint's work (RFC 6749 §4.1, RFC 7636, Zoho's parameters): a request is
//! checked, a person allows or denies it, and the browser is sent back. Start with `check`.
//!
//! Until `check` has matched the redirect address, errors are for a page; afterwards they go back.

use crate::app::App;
use crate::app::call::{Caller, Context, authenticate};
use crate::app::journal::Stamp;
use crate::app::oauth::LIMIT_WINDOW;
use crate::app::oauth::codes::{self, CodeWish};
use crate::app::oauth::connections;
use crate::app::own::{self, Act};
use crate::clock::SECOND;
use crate::domain::actor::Signed;
use crate::domain::client::ClientKind;
use crate::domain::ids::GrantId;
use crate::domain::scope::ScopeSet;
use crate::domain::secret::{Secret, new_token};
use crate::error::{Error, GrantRefusal, Result};
use crate::store;
use crate::store::accounts::Handle;
use crate::store::clients::Client;
use crate::store::connections::{Connection, Consent};
use crate::store::engine::Tx;
use crate::wire::Params;

/// A request whose client and redirect address are known to belong together, and which can be granted.
#[derive(Debug, Clone)]
pub struct Request {
    pub client: Client,
    pub scope: ScopeSet,
    /// Access also while the person is away.
    pub offline: bool,
    pub prompt: Prompt,
    place: RedirectTarget,
    challenge: Option<String>,
}

/// What the client wants the person to be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Prompt {
    /// What is needed.
    AsNeeded,
    /// Whether to allow it, although it was allowed before.
    Consent,
    /// To sign in again, or as somebody else.
    Login,
    /// Nothing: an error goes back where somebody would have to be asked.
    Nothing,
}

/// Where the answer goes, with what the client wants to hear again.
#[derive(Debug, Clone)]
struct RedirectTarget {
    redirect_uri: String,
    state: Option<String>,
}

/// Why a client gets no code (RFC 6749 §4.1.2.1, OpenID Connect Core §3.1.2.6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Denial {
    InvalidRequest,
    UnsupportedResponseType,
    InvalidScope,
    AccessDenied,
    LoginRequired,
    ConsentRequired,
}

impl Denial {
    fn word(self) -> &'static str {
        match self {
            Self::InvalidRequest => "invalid_request",
            Self::UnsupportedResponseType => "unsupported_response_type",
            Self::InvalidScope => "invalid_scope",
            Self::AccessDenied => "access_denied",
            Self::LoginRequired => "login_required",
            Self::ConsentRequired => "consent_required",
        }
    }
}

/// Where the browser goes next. It may carry a code: not for logs.
#[derive(Debug, Clone)]
pub struct Back(Secret);

impl Back {
    /// The whole address.
    pub fn address(&self) -> &str {
        self.0.expose()
    }
}

/// What becomes of a request before anybody is asked.
#[derive(Debug)]
pub enum Checked {
    Good(Box<Request>),
    /// It cannot be granted, and the client is told.
    Refused(Back),
}

/// What becomes of a request of somebody who is signed in.
#[derive(Debug)]
pub enum Begun {
    /// The person has to be asked; `owner` is the address of whoever keeps the application.
    Ask { owner: String },
    /// Nothing has to be asked.
    Answered(Back),
}

/// The original names the data center of an account in `location`, by which clients look up a domain. Here there is
/// one place.
const LOCATION: &str = "us";

/// Reads a request.
///
/// # Errors
/// For a page, never for a redirect: `Malformed`, `Grant(InvalidClient)`, `Grant(InvalidRedirectUri)`.
pub async fn check(app: &App, params: &Params) -> Result<Checked> {
    let id = params.text_required("client_id")?;
    let client = store::clients::load(&mut *app.db.read().await?, id).await?;
    let client = client.filter(|client| client.disabled.is_none()).ok_or(GrantRefusal::InvalidClient)?;
    let redirect_uri = params.text("redirect_uri")?.ok_or(GrantRefusal::InvalidRedirectUri)?;
    let registered = client.redirect_uris.iter().any(|known| known == redirect_uri);
    // A self client gets its codes at the desk; nothing may be sent to what guides let people write there.
    if client.kind == ClientKind::SelfClient || !registered {
        return Err(GrantRefusal::InvalidRedirectUri.into());
    }
    let place = RedirectTarget {
        redirect_uri: redirect_uri.to_owned(),
        state: params.text("state")?.map(str::to_owned),
    };
    Ok(match read(params, client, place.clone()) {
        Ok(request) => Checked::Good(Box::new(request)),
        Err((denial, why)) => Checked::Refused(place.denied(app, denial, &why)),
    })
}

type Denied = (Denial, String);

fn read(params: &Params, client: Client, place: RedirectTarget) -> Result<Request, Denied> {
    let invalid = |why: &str| (Denial::InvalidRequest, why.to_owned());
    let text = |name: &'static str| params.text(name).map_err(|error| invalid(&error.to_string()));
    match text("response_type")? {
        Some("code") => {}
        Some(_) => {
            return Err((Denial::UnsupportedResponseType, "send response_type=code".to_owned()));
        }
        None => return Err(invalid("send response_type=code")),
    }
    let scope = ScopeSet::parse(text("scope")?.unwrap_or_default())
        .map_err(|error| (Denial::InvalidScope, error.to_string()))?;
    let offline = match text("access_type")? {
        None | Some("online") => false,
        Some("offline") => true,
        Some(_) => return Err(invalid("access_type is online or offline")),
    };
    let prompt = prompt(text("prompt")?.unwrap_or_default())
        .ok_or_else(|| invalid("prompt=none goes with no other prompt"))?;
    let challenge =
        challenge(text("code_challenge")?, text("code_challenge_method")?, client.kind).map_err(invalid)?;
    Ok(Request { client, scope, offline, prompt, place, challenge })
}

/// `None` for a contradiction. Words that nobody knows ask for nothing.
fn prompt(text: &str) -> Option<Prompt> {
    let words: Vec<_> = text.split([' ', ',']).filter(|word| !word.is_empty()).collect();
    let has = |word: &str| words.contains(&word);
    match (has("none"), has("login") || has("select_account"), has("consent")) {
        (true, _, _) if words.len() > 1 => None,
        (true, _, _) => Some(Prompt::Nothing),
        (false, true, _) => Some(Prompt::Login),
        (false, false, true) => Some(Prompt::Consent),
        (false, false, false) => Some(Prompt::AsNeeded),
    }
}

/// PKCE with S256; the other method, which is meant where none is named, would prove nothing.
fn challenge(
    challenge: Option<&str>,
    method: Option<&str>,
    kind: ClientKind,
) -> Result<Option<String>, &'static str> {
    let base64url = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    match (challenge, method) {
        (None, None) if kind == ClientKind::Public => {
            Err("this client has no secret: send code_challenge with code_challenge_method=S256")
        }
        (None, None) => Ok(None),
        (None, Some(_)) => Err("code_challenge_method without code_challenge"),
        (Some(text), Some("S256")) if text.len() == 43 && text.bytes().all(base64url) => {
            Ok(Some(text.to_owned()))
        }
        (Some(_), Some("S256")) => Err("code_challenge is the SHA-256 of the verifier in base64url"),
        (Some(_), None | Some(_)) => Err("send code_challenge_method=S256"),
    }
}

impl Request {
    /// The address that the answer goes to, without what is added.
    pub fn redirect_uri(&self) -> &str {
        &self.place.redirect_uri
    }

    /// Whether it asks for power over others than the person who is asked.
    pub fn reaches_others(&self) -> bool {
        self.scope.iter().any(|scope| scope.root.is_of_organizations())
    }

    /// Whether silence may stand for a yes: a public client's name proves nothing, and the redirect
    /// of an app may be taken by another one on the same device (RFC 8252 §8.6).
    fn may_be_remembered(&self) -> bool {
        match self.client.kind {
            ClientKind::Web => self.prompt == Prompt::AsNeeded || self.prompt == Prompt::Nothing,
            ClientKind::Public | ClientKind::SelfClient => false,
        }
    }
}

/// The answer for a client that wants nobody to be asked, when nobody is signed in.
pub fn without_session(app: &App, request: &Request) -> Option<Back> {
    (request.prompt == Prompt::Nothing)
        .then(|| request.place.denied(app, Denial::LoginRequired, "nobody is signed in"))
}

/// Looks whether the person who is signed in has to be asked.
///
/// # Errors
/// `BadToken`; `Forbidden` for an application of another organization, for a page.
pub async fn begin(app: &App, context: &Context, request: &Request) -> Result<Begun> {
    let (known, owner) = {
        let mut tx = app.db.snapshot().await?;
        let actor = authenticate(&mut tx, &context.caller, app.clock.now()).await?;
        let signed = browsing(context, actor.person()?, request)?;
        let known = said_yes_before(&mut tx, signed, request).await?;
        let owner = Handle::User(request.client.owner);
        let owner = store::accounts::load(&mut tx, request.client.organization, owner).await?;
        (known, owner.map(|owner| owner.primary.to_string()).unwrap_or_default())
    };
    if known && request.may_be_remembered() {
        // As with the original, a refresh token comes with a yes, and not with silence.
        if let Some(back) = give(app, context, request, Yes::Before).await? {
            return Ok(Begun::Answered(back));
        }
    }
    if request.prompt == Prompt::Nothing {
        let back = request.place.denied(app, Denial::ConsentRequired, "the person has to be asked");
        return Ok(Begun::Answered(back));
    }
    Ok(Begun::Ask { owner })
}

/// Whether the person has allowed all of this before, and nothing has ended it since.
async fn said_yes_before(tx: &mut Tx, signed: &Signed, request: &Request) -> Result<bool> {
    let owner = store::tokens::resource_owner(tx, signed.organization, signed.user).await?;
    let known = store::connections::load(tx, signed.organization, signed.user, &request.client.id).await?;
    Ok(known.is_some_and(|known| {
        known.consent.as_ref().is_some_and(|consent| request.scope.is_subset_of(&consent.scope))
            && owner.is_some_and(|owner| owner.epoch == known.epoch)
            && (known.offline || !request.offline)
    }))
}

/// The person said yes.
///
/// # Errors
/// As `begin`.
pub async fn allow(app: &App, context: &Context, request: &Request) -> Result<Back> {
    let given = give(app, context, request, Yes::Now).await?;
    given.ok_or_else(|| Error::internal("a yes that was just said was looked for"))
}

/// The person said no.
pub fn deny(app: &App, request: &Request) -> Back {
    request.place.denied(app, Denial::AccessDenied, "the person said no")
}

/// When the person said yes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Yes {
    Now,
    Before,
}

/// What came of it in the database.
enum Given {
    Code,
    TooMany,
    Nothing,
}

/// Gives a code; `None` where the yes of before has been taken back meanwhile.
async fn give(app: &App, context: &Context, request: &Request, yes: Yes) -> Result<Option<Back>> {
    let limits = app.config.oauth.clone();
    let grant: GrantId = app.ids.next().await?;
    let stamp = Stamp::new(app, context, "authorizeApplication").await?;
    let (code, now) = (app.random.with(new_token), stamp.at);
    let hash = code.fingerprint();
    let (context, wanted) = (context.clone(), request.clone());
    let given = app
        .db
        .write(async move |tx| {
            let actor = authenticate(tx, &context.caller, now).await?;
            let signed = browsing(&context, actor.person()?, &wanted)?;
            if yes == Yes::Before && !said_yes_before(tx, signed, &wanted).await? {
                return Ok(Given::Nothing);
            }
            let client = &wanted.client;
            let since = now - LIMIT_WINDOW;
            let recent = store::tokens::codes_of_person_since(tx, &client.id, signed.user, since).await?;
            if recent >= limits.codes_per_client {
                return Ok(Given::TooMany);
            }
            let wish = CodeWish {
                client: client.id.clone(),
                organization: signed.organization,
                user: signed.user,
                scope: wanted.scope.clone(),
                life: limits.code_seconds * SECOND,
                offline: wanted.offline && yes == Yes::Now,
                redirect_uri: Some(wanted.place.redirect_uri.clone()),
                challenge: wanted.challenge.clone(),
            };
            let owner = codes::write(tx, &hash, &wish, grant, now).await?;
            if yes == Yes::Now {
                let connection = Connection {
                    organization: signed.organization,
                    user: signed.user,
                    client: client.id.clone(),
                    epoch: owner.epoch,
                    scope: wanted.scope.clone(),
                    offline: wanted.offline,
                    consent: Some(Consent { scope: wanted.scope.clone(), at: now }),
                    created_at: now,
                };
                connections::remember(tx, connection).await?;
                let access = if wanted.offline { "offline" } else { "online" };
                let notes = [
                    ("client", client.id.clone()),
                    ("name", client.name.clone()),
                    ("scope", wanted.scope.to_string()),
                    ("access", access.to_owned()),
                ];
                let account = own::account(tx, signed).await?;
                let act = Act { context: &context, actor: actor.clone(), account: &account, stamp };
                act.note(tx, notes, &[]).await?;
            }
            Ok(Given::Code)
        })
        .await?;
    match given {
        Given::Code => {}
        Given::Nothing => return Ok(None),
        Given::TooMany => {
            let back = request.place.denied(app, Denial::AccessDenied, "too many codes within ten minutes");
            return Ok(Some(back));
        }
    }
    let url = app.config.public_url();
    let answer = [("code", code.expose()), ("location", LOCATION), ("accounts-server", &url)];
    Ok(Some(request.place.with(app, &answer)))
}

/// Who is signed in in the browser, if the application is one of the own organization: whoever made
/// it chose its name, and is trusted there and nowhere else.
fn browsing<'a>(context: &Context, signed: &'a Signed, request: &Request) -> Result<&'a Signed> {
    match context.caller {
        Caller::Session { .. } => {}
        Caller::Token(_) | Caller::Operator { .. } | Caller::Clock | Caller::Nobody => {
            return Err(Error::Forbidden("an application is let in in the browser, by a person".to_owned()));
        }
    }
    if signed.organization != request.client.organization {
        return Err(Error::Forbidden(
            "this application belongs to another organization; sign in with an account of that one"
                .to_owned(),
        ));
    }
    Ok(signed)
}

impl RedirectTarget {
    fn denied(&self, app: &App, denial: Denial, why: &str) -> Back {
        // RFC 6749 §4.1.2.1: printable ASCII without the quotation mark and the backslash.
        let allowed = |c: &char| matches!(c, ' '..='~') && !matches!(c, '"' | '\\');
        let why: String = why.chars().filter(allowed).collect();
        self.with(app, &[("error", denial.word()), ("error_description", &why)])
    }

    /// The redirect address exactly as it was registered, with parameters behind.
    fn with(&self, app: &App, answer: &[(&str, &str)]) -> Back {
        let mut pairs = url::form_urlencoded::Serializer::new(String::new());
        pairs.extend_pairs(answer);
        if let Some(state) = &self.state {
            pairs.append_pair("state", state);
        }
        // RFC 9207: a client of several servers sees whose answer it is.
        pairs.append_pair("iss", &app.config.public_url());
        let between = match self.redirect_uri.split_once('?') {
            None => "?",
            Some((_, "")) => "",
            Some((_, query)) if query.ends_with('&') => "",
            Some(_) => "&",
        };
        Back(Secret::new(format!("{}{between}{}", self.redirect_uri, pairs.finish())))
    }
}
