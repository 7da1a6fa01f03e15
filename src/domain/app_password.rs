//! App passwords: made by Mailward for one device or program, for chosen protocols.

use crate::clock::Millis;
use crate::domain::ids::AppPasswordId;

/// An app password as stored: its SHA-256 only. That is enough because Mailward makes them, with
/// at least 80 random bits.
#[derive(Clone, PartialEq, Eq)]
pub struct AppPassword {
    pub id: AppPasswordId,
    /// What the person calls the device.
    pub name: String,
    /// SHA-256 of the password as typed, lower-case hex.
    pub digest: String,
    pub protocols: Protocols,
    pub created_at: Millis,
    pub expires_at: Option<Millis>,
}

/// The protocols an app password opens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Protocols {
    pub imap: bool,
    pub pop: bool,
    pub smtp: bool,
}

impl Protocols {
    pub const ALL: Self = Self { imap: true, pop: true, smtp: true };

    /// The words of the API.
    pub fn words(self) -> Vec<&'static str> {
        [("imap", self.imap), ("pop", self.pop), ("smtp", self.smtp)]
            .into_iter()
            .filter_map(|(word, on)| on.then_some(word))
            .collect()
    }
}

impl std::fmt::Debug for AppPassword {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AppPassword").field("id", &self.id).field("name", &self.name).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn protocols_are_named_as_the_api_names_them() {
        let only = |imap, pop, smtp| Protocols { imap, pop, smtp }.words();
        assert_eq!(Protocols::ALL.words(), ["imap", "pop", "smtp"]);
        assert_eq!(only(true, false, false), ["imap"]);
        assert_eq!(only(false, true, false), ["pop"]);
        assert_eq!(only(false, false, true), ["smtp"]);
        assert!(only(false, false, false).is_empty());
    }

    #[test]
    fn nothing_that_opens_mail_is_in_its_debug_text() {
        let app = AppPassword {
            id: AppPasswordId::new(100_000_000_001).expect("an id"),
            name: "Telephone".to_owned(),
            digest: "c0ffee".to_owned(),
            protocols: Protocols::ALL,
            created_at: 0,
            expires_at: None,
        };
        let shown = format!("{app:?}");
        assert!(shown.contains("Telephone") && !shown.contains("c0ffee"), "{shown}");
    }
}
