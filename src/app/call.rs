//! Who calls, by which door, and what is said beside the call itself.

use std::net::IpAddr;

use crate::app::App;
use crate::app::once::{Answer, Once};
use crate::clock::Millis;
use crate::domain::actor::Actor;
use crate::domain::ids::Id;
use crate::domain::secret::Fingerprint;
use crate::domain::switch::Reason;
use crate::error::{Error, Result};
use crate::store;
use crate::store::engine::Tx;

/// The door a call came through, for the audit log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Door {
    Api,
    CommandLine,
    SelfService,
    Console,
    Clock,
}

impl Door {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Api => "api",
            Self::CommandLine => "command line",
            Self::SelfService => "self-service",
            Self::Console => "console",
            Self::Clock => "clock",
        }
    }
}

/// A credential as it was presented; checked again in the transaction that acts on it.
#[derive(Clone)]
pub enum Caller {
    Token(Fingerprint),
    /// A browser that signed in, by its cookie's fingerprint; unused for longer than `idle` it is void.
    Session {
        hash: Fingerprint,
        idle: Millis,
    },
    /// Somebody at the host's command line; the host has let them in.
    Operator {
        os_user: String,
    },
    /// Mailward itself, when a term ends.
    Clock,
    /// Somebody who proves to be the person by what the call itself carries: a password, a link.
    Nobody,
}

/// What every door says about a call.
#[derive(Clone)]
pub struct Context {
    pub caller: Caller,
    pub door: Door,
    pub request_id: String,
    pub source: Option<IpAddr>,
    /// Why, in the caller's words.
    pub reason: Option<Reason>,
    /// Why a protected address is to be given out.
    pub release: Option<Reason>,
    /// Only say what would happen: every check is made in its order, and nothing is stored.
    pub dry_run: bool,
    /// Make the call once, however often it is asked. A dry run makes it not at all.
    pub once: Option<Once>,
}

/// By what callers of the API have a protected address given out, in a refusal's words.
pub const RELEASE_HEADER: &str = "the header X-Mailward-Release-Address: reason";

impl Context {
    /// A call that is meant, with nothing said beside it.
    pub fn new(caller: Caller, door: Door, request_id: String) -> Self {
        Self {
            caller,
            door,
            request_id,
            source: None,
            reason: None,
            release: None,
            dry_run: false,
            once: None,
        }
    }

    /// The call of somebody at the host's command line.
    pub fn operator(os_user: &str, request_id: String) -> Self {
        Self::new(Caller::Operator { os_user: os_user.to_owned() }, Door::CommandLine, request_id)
    }

    /// A call whose credential is what it carries itself: a password, a link.
    pub fn unsigned(door: Door, request_id: String, source: Option<IpAddr>) -> Self {
        Self { source, ..Self::new(Caller::Nobody, door, request_id) }
    }

    /// Repeats of the call get no answer, since the first carries a secret; `remedy` says where to make
    /// a new one.
    pub fn answers_with_a_secret(&mut self, remedy: &'static str) {
        if let Some(once) = &mut self.once {
            once.answered(Answer::Secret(remedy));
        }
    }

    /// Something that a repeat of the call must ask as well.
    pub fn also_asks(&mut self, part: &[u8]) {
        if let Some(once) = &mut self.once {
            once.asks(part);
        }
    }

    /// A new id for what the call makes. A dry run uses up no number: it gets the greatest id of the kind, which is
    /// never given out.
    pub async fn id<T: Id>(&self, app: &App) -> Result<T> {
        if self.dry_run { Ok(T::GREATEST) } else { app.ids.next().await }
    }
}

/// Who the caller is at this moment.
///
/// # Errors
/// `BadToken`.
pub async fn authenticate(tx: &mut Tx, caller: &Caller, now: Millis) -> Result<Actor> {
    match caller {
        Caller::Token(hash) => {
            let (signed, _) = store::tokens::holder(tx, hash, now).await?.ok_or(Error::BadToken)?;
            Ok(Actor::User(signed))
        }
        Caller::Session { hash, idle } => {
            let held =
                store::web_sessions::holder(tx, hash, now, now - idle).await?.ok_or(Error::BadToken)?;
            held.signed().map(Actor::User).ok_or(Error::BadToken)
        }
        Caller::Operator { os_user } => Ok(Actor::Operator { os_user: os_user.clone() }),
        Caller::Clock => Ok(Actor::Clock),
        Caller::Nobody => Err(Error::BadToken),
    }
}

/// Checks the credential before the call takes an id or a place in a queue, so that a caller without a valid one
/// costs a single look-up. The transaction checks it again. Where it was valid within the last minute
/// (`acquainted`), callers leave this first check out.
///
/// # Errors
/// `BadToken`.
pub async fn known(app: &App, context: &Context) -> Result<Actor> {
    let now = app.clock.now();
    let actor = authenticate(&mut *app.db.read().await?, &context.caller, now).await?;
    app.acquainted.note(&context.caller, now);
    Ok(actor)
}

/// Queues the statements of [`authenticate`], so that PostgreSQL answers them in its next round trip.
pub fn prefetch_caller(tx: &mut Tx, caller: &Caller, now: Millis) {
    match caller {
        Caller::Token(hash) => store::tokens::prefetch_holder(tx, hash),
        Caller::Session { hash, idle } => store::web_sessions::prefetch_holder(tx, hash, now, now - idle),
        Caller::Operator { .. } | Caller::Clock | Caller::Nobody => {}
    }
}
