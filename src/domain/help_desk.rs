//! A help-desk administrator's limits: some verbs, perhaps on some domains alone, and on members
//! only (docs/decisions/0018). The API calls such a person a custom admin.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::domain::email_address::DomainName;
use crate::error::Error;

/// What a help-desk administrator may be allowed to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verb {
    /// Look at users. Every other verb brings it along.
    Read,
    /// Give somebody a new password.
    Reset,
    /// Enable and disable, block and unblock.
    Switches,
    /// Change a primary address or a display name.
    Rename,
}

impl Verb {
    pub const ALL: [Self; 4] = [Self::Read, Self::Reset, Self::Switches, Self::Rename];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Reset => "reset",
            Self::Switches => "switches",
            Self::Rename => "rename",
        }
    }
}

from_word!(Verb, str::eq_ignore_ascii_case, "verbs", "each is read, reset, switches or rename");

/// What one help-desk administrator may do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HelpDesk {
    verbs: BTreeSet<Verb>,
    /// `None` is every domain of the organization.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    domains: Option<BTreeSet<DomainName>>,
}

impl HelpDesk {
    /// A help desk with these verbs and, where given, on these domains alone.
    ///
    /// # Errors
    /// `BadValue` for no verb, or a choice of no domain: that would not mean all of them.
    pub fn new(
        verbs: impl IntoIterator<Item = Verb>,
        domains: Option<BTreeSet<DomainName>>,
    ) -> Result<Self, Error> {
        let mut verbs: BTreeSet<_> = verbs.into_iter().collect();
        if verbs.is_empty() {
            return Err(Error::bad_value("verbs", "name at least one of read, reset, switches and rename"));
        }
        if domains.as_ref().is_some_and(BTreeSet::is_empty) {
            return Err(Error::bad_value("domains", "name at least one domain, or leave it out for all"));
        }
        verbs.insert(Verb::Read);
        Ok(Self { verbs, domains })
    }

    pub fn verbs(&self) -> &BTreeSet<Verb> {
        &self.verbs
    }

    pub fn domains(&self) -> Option<&BTreeSet<DomainName>> {
        self.domains.as_ref()
    }

    pub fn has(&self, verb: Verb) -> bool {
        self.verbs.contains(&verb)
    }

    pub fn reaches(&self, domain: &DomainName) -> bool {
        self.domains.as_ref().is_none_or(|domains| domains.contains(domain))
    }
}

/// As in `read reset, on a.example b.example`.
impl fmt::Display for HelpDesk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verbs: Vec<_> = self.verbs.iter().map(|verb| verb.as_str()).collect();
        f.write_str(&verbs.join(" "))?;
        if let Some(domains) = &self.domains {
            let domains: Vec<_> = domains.iter().map(DomainName::as_str).collect();
            write!(f, ", on {}", domains.join(" "))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_choice_of_nothing_is_not_a_choice_of_everything() {
        assert!(HelpDesk::new([], None).is_err());
        assert!(HelpDesk::new([Verb::Reset], Some(BTreeSet::new())).is_err());
    }

    #[test]
    fn a_verb_is_read_as_it_is_written_in_any_case() {
        for (verb, word) in Verb::ALL.into_iter().zip(["read", "reset", "switches", "rename"]) {
            assert_eq!(verb.as_str(), word);
            assert_eq!(word.to_uppercase().parse::<Verb>().unwrap(), verb);
        }
        assert!("delete".parse::<Verb>().is_err());
    }

    #[test]
    fn limits_are_told_and_reach_as_far_as_they_say() {
        let domain = |text: &str| DomainName::parse(text).unwrap();
        let everywhere = HelpDesk::new([Verb::Rename, Verb::Reset], None).unwrap();
        assert_eq!(everywhere.to_string(), "read reset rename");
        assert_eq!(everywhere.verbs(), &BTreeSet::from([Verb::Read, Verb::Reset, Verb::Rename]));
        assert!(everywhere.domains().is_none() && everywhere.reaches(&domain("a.example")));
        let domains = BTreeSet::from([domain("b.example"), domain("a.example")]);
        let here = HelpDesk::new([Verb::Read], Some(domains.clone())).unwrap();
        assert_eq!(here.to_string(), "read, on a.example b.example");
        assert_eq!(here.domains(), Some(&domains));
        assert!(here.reaches(&domain("a.example")) && !here.reaches(&domain("c.example")));
    }

    #[test]
    fn who_may_do_something_may_see_whom_it_concerns() {
        let desk = HelpDesk::new([Verb::Reset], None).unwrap();
        assert!(desk.has(Verb::Read) && desk.has(Verb::Reset) && !desk.has(Verb::Rename));
    }
}
