//! `POST …/appPasswords`. A password for one device, made here and shown once.

use secrecy::ExposeSecret as _;
use sha2::{Digest, Sha256};

use super::{Mode, ModeInfo, Parameter, ParameterKind};
use crate::app::change::Prepared;
use crate::clock::DAY;
use crate::domain::account::Transition;
use crate::domain::app_password::{AppPassword, Protocols};
use crate::domain::ids::AppPasswordId;
use crate::domain::password::Password;
use crate::domain::plain_text::name;
use crate::domain::rights::Forms;
use crate::domain::scope::Operation;
use crate::error::{Error, Result};
use crate::wire::Body;

/// The longest term of an app password that has one.
pub const LONGEST_DAYS: i64 = 3650;

#[derive(Debug, Clone)]
pub struct CreateAppPassword {
    pub name: String,
    pub protocols: Protocols,
    pub expires_in_days: Option<i64>,
    /// The person's own, to prove to be there.
    pub current: Option<Password>,
    /// Given by `made`, which the door calls before the change.
    new: Option<(AppPasswordId, String)>,
}

impl CreateAppPassword {
    pub fn new(name: String, protocols: Protocols, expires_in_days: Option<i64>) -> Self {
        Self { name, protocols, expires_in_days, current: None, new: None }
    }

    /// With its id and the password itself, of which only the SHA-256 is kept.
    pub fn made(mut self, id: AppPasswordId, password: &crate::domain::secret::Secret) -> Self {
        self.new = Some((id, hex::encode(Sha256::digest(password.expose()))));
        self
    }
}

/// What the device is called.
///
/// # Errors
/// `BadValue` for no name, or one that is none.
pub fn called(parameter: &str, text: &str) -> Result<String> {
    match name(parameter, text)? {
        empty if empty.is_empty() => Err(Error::bad_value(parameter, "say what the device is called")),
        named => Ok(named),
    }
}

/// The protocols that words name.
///
/// # Errors
/// `BadValue` for an unknown one, or none.
pub fn protocols<'a>(words: impl Iterator<Item = &'a str>) -> Result<Protocols> {
    let mut protocols = Protocols { imap: false, pop: false, smtp: false };
    for word in words {
        match word.to_ascii_lowercase().as_str() {
            "imap" => protocols.imap = true,
            "pop" | "pop3" => protocols.pop = true,
            "smtp" => protocols.smtp = true,
            _ => return Err(Error::bad_value("protocols", "each is imap, pop or smtp")),
        }
    }
    if protocols.words().is_empty() {
        return Err(Error::bad_value("protocols", "name at least one of imap, pop and smtp"));
    }
    Ok(protocols)
}

impl Mode for CreateAppPassword {
    const INFO: ModeInfo = ModeInfo {
        name: "createAppPassword",
        also: &[],
        method: super::Method::Elsewhere,
        forms: Forms::AdminOrOwn,
        operation: Operation::Update,
        verb: None,
        summary: "Makes an app password for chosen protocols. The answer shows it once.",
        parameters: &[
            Parameter::must("name", ParameterKind::Text, "What the person calls the device."),
            Parameter::may("protocols", ParameterKind::Words, "Of imap, pop and smtp; all when left out."),
            Parameter::may("expiresInDays", ParameterKind::Number, "Days until it opens nothing any more."),
            Parameter::must(
                "currentPassword",
                ParameterKind::Text,
                "The person's current password: an app password outlives the token that asks for it.",
            ),
        ],
        sample: r#"{"name": "Telephone", "protocols": ["imap", "smtp"], "expiresInDays": 365, "currentPassword": "correct-horse-7"}"#,
    };

    fn parse(body: &Body) -> Result<Self> {
        let called = called("name", body.text_required("name")?)?;
        let opens = match body.text_list("protocols")? {
            None => Protocols::ALL,
            Some(words) => protocols(words.iter().map(|word| &**word))?,
        };
        let expires_in_days = body.long("expiresInDays")?;
        if expires_in_days.is_some_and(|days| !(1..=LONGEST_DAYS).contains(&days)) {
            let why = format!("between 1 and {LONGEST_DAYS} days");
            return Err(Error::bad_value("expiresInDays", why));
        }
        let current = body.secret("currentPassword")?;
        // What cannot be a password is a wrong one.
        let current = current.map(|text| Password::prepare(text.expose_secret())).transpose();
        let current = current.map_err(|_| Error::BadCredentials)?;
        Ok(Self { current, ..Self::new(called, opens, expires_in_days) })
    }

    fn demands_proof(&self) -> bool {
        true
    }

    fn current_password(&self) -> Option<&Password> {
        self.current.as_ref()
    }

    fn apply(&self, change: &mut Transition<'_>, prepared: &Prepared) -> Result<()> {
        if change.hand.own {
            prepared.proof.holds(&change.account)?;
        }
        let (id, digest) =
            self.new.clone().ok_or_else(|| Error::internal("the app password was not made"))?;
        let now = change.hand.at;
        change.add_app_password(AppPassword {
            id,
            name: self.name.clone(),
            digest,
            protocols: self.protocols,
            created_at: now,
            expires_at: self.expires_in_days.map(|days| now + days * DAY),
        })
    }
}
