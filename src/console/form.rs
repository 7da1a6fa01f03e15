//! What a page's form sends: fields by name, believed only with the token that the page was given.

use secrecy::SecretString;
use zeroize::Zeroizing;

use crate::console::texts;
use crate::domain::password::Password;
use crate::error::{Error, Malformed, Result};

/// The name of the field that carries the token against forged forms.
pub const CSRF: &str = "csrf";

/// The fields of a form, in their order. Wiped from memory when dropped: some are passwords.
#[derive(Default)]
pub struct Form(Vec<(String, Zeroizing<String>)>);

impl Form {
    /// Reads `application/x-www-form-urlencoded`.
    ///
    /// # Errors
    /// `Malformed` for bytes that are no UTF-8, and for NUL, which is in no text.
    pub fn parse(body: &[u8]) -> Result<Self> {
        let fields: Vec<_> = url::form_urlencoded::parse(body)
            .map(|(name, value)| (name.into_owned(), Zeroizing::new(value.into_owned())))
            .collect();
        let has_nul =
            |(name, value): &(String, Zeroizing<String>)| name.contains('\0') || value.contains('\0');
        if std::str::from_utf8(body).is_err() || fields.iter().any(has_nul) {
            return Err(Malformed::Unreadable("the form is not text".to_owned()).into());
        }
        Ok(Self(fields))
    }

    /// A field as it was sent, empty when it was not.
    pub fn text(&self, name: &str) -> &str {
        self.0.iter().find(|(known, _)| known == name).map_or("", |(_, value)| value.as_str())
    }

    /// A field without the space around it; `None` when nothing is left.
    pub fn trimmed(&self, name: &str) -> Option<&str> {
        Some(self.text(name).trim()).filter(|text| !text.is_empty())
    }

    /// Every value of a field that may be sent several times.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// A ticked box.
    pub fn ticked(&self, name: &str) -> bool {
        !self.text(name).is_empty()
    }

    /// A secret that is no password of a person, such as a code.
    pub fn secret(&self, name: &str) -> SecretString {
        SecretString::from(self.text(name).trim())
    }

    /// A password of a person.
    ///
    /// # Errors
    /// `BadPassword` for what can be no password.
    pub fn password(&self, name: &str) -> Result<Password> {
        if self.text(name).is_empty() {
            return Err(Error::BadPassword(texts::ENGLISH.password_missing.to_owned()));
        }
        Password::prepare(self.text(name))
    }

    /// A new password that was typed twice.
    ///
    /// # Errors
    /// `BadPassword`, also when the two differ.
    pub fn new_password(&self) -> Result<Password> {
        let password = self.password("new_password")?;
        if self.text("new_password") != self.text("new_password_again") {
            return Err(Error::BadPassword(texts::ENGLISH.passwords_differ.to_owned()));
        }
        Ok(password)
    }
}
