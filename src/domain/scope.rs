//! What a token may be used for: `ZohoMail.organization.accounts.UPDATE`.
//!
//! A call names what it needs ([`Required`]); a token carries a [`ScopeSet`]. Scopes of services
//! that Mailward does not offer can be granted, so that foreign clients get through their consent.

use std::{collections::BTreeSet, fmt};

use crate::error::{Error, Result};

/// The part of a scope before its operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Root(&'static str);

pub const ORGANIZATION: Root = Root("ZohoMail.organization");
pub const ORGANIZATION_ACCOUNTS: Root = Root("ZohoMail.organization.accounts");
pub const ORGANIZATION_DOMAINS: Root = Root("ZohoMail.organization.domains");
pub const ORGANIZATION_GROUPS: Root = Root("ZohoMail.organization.groups");
pub const ORGANIZATION_AUDIT: Root = Root("ZohoMail.organization.audit");
pub const PARTNER_ORGANIZATION: Root = Root("ZohoMail.partner.organization");
pub const ACCOUNTS: Root = Root("ZohoMail.accounts");
pub const PROFILE: Root = Root("AaaServer.profile");

/// Every root that can be granted, in the documented spelling.
pub const KNOWN: &[Root] = &[
    ORGANIZATION,
    ORGANIZATION_ACCOUNTS,
    ORGANIZATION_DOMAINS,
    ORGANIZATION_GROUPS,
    ORGANIZATION_AUDIT,
    PARTNER_ORGANIZATION,
    ACCOUNTS,
    PROFILE,
    Root("ZohoMail.organization.policy"),
    Root("ZohoMail.organization.spam"),
    Root("ZohoMail.organization.subscriptions"),
    Root("ZohoMail.messages"),
    Root("ZohoMail.folders"),
    Root("ZohoMail.tags"),
    Root("ZohoMail.tasks"),
    Root("ZohoMail.notes"),
    Root("ZohoMail.links"),
    Root("ZohoMail.attachments"),
    Root("ZohoMail.settings"),
    Root("ZohoMail.search"),
    Root("ZohoMail.contacts"),
];

/// What may be done under a root.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Operation {
    /// Covers the other four.
    All,
    Read,
    Create,
    Update,
    Delete,
}

/// One permission.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Scope {
    pub root: Root,
    pub operation: Operation,
}

/// The permissions of a token, of a grant or of a client. The default has none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ScopeSet(BTreeSet<Scope>);

/// What a call needs: any one of these scopes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Required {
    first: Scope,
    others: &'static [Scope],
}

impl Root {
    /// Whether it is about an organization, and not about the own account.
    pub fn is_of_organizations(self) -> bool {
        self.0.starts_with(ORGANIZATION.0) || self == PARTNER_ORGANIZATION
    }

    pub const fn to(self, operation: Operation) -> Scope {
        Scope { root: self, operation }
    }

    pub const fn read(self) -> Scope {
        self.to(Operation::Read)
    }

    pub const fn create(self) -> Scope {
        self.to(Operation::Create)
    }

    pub const fn update(self) -> Scope {
        self.to(Operation::Update)
    }

    pub const fn delete(self) -> Scope {
        self.to(Operation::Delete)
    }
}

impl Required {
    /// `Required::scope(ACCOUNTS.read())`
    pub const fn scope(scope: Scope) -> Self {
        Self { first: scope, others: &[] }
    }

    /// `Required::scope(PARTNER_ORGANIZATION.read()).or(&[ORGANIZATION_ACCOUNTS.read()])`
    pub const fn or(self, others: &'static [Scope]) -> Self {
        Self { others, ..self }
    }

    /// The scopes that would do, the documented one first.
    pub fn any_of(&self) -> impl Iterator<Item = Scope> {
        std::iter::once(self.first).chain(self.others.iter().copied())
    }
}

impl Scope {
    /// Whether who has `self` may do what `needed` permits.
    pub fn covers(self, needed: Self) -> bool {
        self.root == needed.root && (self.operation == Operation::All || self.operation == needed.operation)
    }

    fn parse(text: &str) -> Result<Self> {
        if !text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'.') || text.len() > 100 {
            return refused("a scope looks like ZohoMail.accounts.READ; separate several by commas".into());
        }
        if let Some(root) = root(text) {
            return refused(format!("the scope {text} lacks its operation, as in {root}.READ"));
        }
        let Some((before, word)) = text.rsplit_once('.') else { return unknown(text) };
        let Some(root) = root(before) else { return unknown(before) };
        match Operation::ALL.into_iter().find(|operation| operation.word().eq_ignore_ascii_case(word)) {
            Some(operation) => Ok(root.to(operation)),
            None => refused(format!("the scope {text} does not end in ALL, READ, CREATE, UPDATE or DELETE")),
        }
    }
}

impl ScopeSet {
    /// Reads a list of scopes, separated by commas or spaces, in any case.
    ///
    /// # Errors
    /// A bad value of `scope` for an empty list, an unknown root (the text names the nearest
    /// known one) or an unknown operation.
    pub fn parse(text: &str) -> Result<Self> {
        let scopes: BTreeSet<_> = text
            .split([',', ' '])
            .filter(|scope| !scope.is_empty())
            .map(Scope::parse)
            .collect::<Result<_>>()?;
        if scopes.is_empty() {
            return refused("name at least one scope, as in ZohoMail.accounts.READ".into());
        }
        Ok(Self(scopes))
    }

    /// Every known permission: what a person may do in the console, where the role alone decides.
    pub fn everything() -> Self {
        Self(KNOWN.iter().map(|root| root.to(Operation::All)).collect())
    }

    pub fn covers(&self, required: &Required) -> bool {
        required.any_of().any(|needed| self.permits(needed))
    }

    /// Whether everything that `self` permits is permitted by `other` too.
    pub fn is_subset_of(&self, other: &Self) -> bool {
        self.0.iter().all(|scope| other.permits(*scope))
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn iter(&self) -> impl Iterator<Item = Scope> {
        self.0.iter().copied()
    }

    fn permits(&self, needed: Scope) -> bool {
        self.0.iter().any(|scope| scope.covers(needed))
    }
}

impl FromIterator<Scope> for ScopeSet {
    fn from_iter<I: IntoIterator<Item = Scope>>(scopes: I) -> Self {
        Self(scopes.into_iter().collect())
    }
}

impl Operation {
    pub const ALL: [Self; 5] = [Self::All, Self::Read, Self::Create, Self::Update, Self::Delete];

    const fn word(self) -> &'static str {
        match self {
            Self::All => "ALL",
            Self::Read => "READ",
            Self::Create => "CREATE",
            Self::Update => "UPDATE",
            Self::Delete => "DELETE",
        }
    }
}

impl fmt::Display for Root {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.root, self.operation.word())
    }
}

/// Documented spelling, sorted, separated by spaces: what [`ScopeSet::parse`] reads back.
impl fmt::Display for ScopeSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        joined(f, self.iter(), " ")
    }
}

/// For people: the scopes that would do.
impl fmt::Display for Required {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        joined(f, self.any_of(), " or ")
    }
}

fn joined(f: &mut fmt::Formatter<'_>, scopes: impl Iterator<Item = Scope>, between: &str) -> fmt::Result {
    for (at, scope) in scopes.enumerate() {
        if at > 0 {
            f.write_str(between)?;
        }
        write!(f, "{scope}")?;
    }
    Ok(())
}

/// The root in its documented spelling. `VirtualOffice.` is what `ZohoMail.` was called before, and the oldest
/// documents leave it out.
fn root(text: &str) -> Option<Root> {
    let wanted = modern(text);
    KNOWN.iter().copied().find(|root| root.0.eq_ignore_ascii_case(&wanted))
}

fn modern(text: &str) -> String {
    match text.split_once('.') {
        Some((service, rest)) if service.eq_ignore_ascii_case("VirtualOffice") => format!("ZohoMail.{rest}"),
        Some((part, _)) if ["organization", "partner"].iter().any(|old| part.eq_ignore_ascii_case(old)) => {
            format!("ZohoMail.{text}")
        }
        Some(_) | None => text.to_owned(),
    }
}

fn unknown<T>(text: &str) -> Result<T> {
    let wanted = modern(text).to_ascii_lowercase();
    let nearest =
        KNOWN.iter().min_by_key(|root| strsim::damerau_levenshtein(&wanted, &root.0.to_ascii_lowercase()));
    let hint = nearest.map(|root| format!("; the nearest is {root}")).unwrap_or_default();
    refused(format!("{text} is not a scope of this service{hint}"))
}

fn refused<T>(why: String) -> Result<T> {
    Err(Error::bad_value("scope", why))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn set(text: &str) -> ScopeSet {
        ScopeSet::parse(text).expect("a list of known scopes")
    }

    fn why_not(text: &str) -> String {
        ScopeSet::parse(text).expect_err("a list that has to be refused").to_string()
    }

    const DETAILS: Required =
        Required::scope(PARTNER_ORGANIZATION.read()).or(&[ORGANIZATION_ACCOUNTS.read()]);

    #[test]
    fn commas_spaces_and_both_separate_scopes() {
        let both = set("ZohoMail.accounts.READ ZohoMail.organization.accounts.ALL");
        assert_eq!(set("ZohoMail.accounts.READ,ZohoMail.organization.accounts.ALL"), both);
        assert_eq!(set(" ZohoMail.organization.accounts.ALL, ZohoMail.accounts.READ,"), both);
        assert_eq!(both.iter().count(), 2);
    }

    #[test]
    fn any_case_is_answered_in_the_documented_spelling() {
        assert_eq!(
            set("ZOHOMAIL.Partner.organization.all,aaaserver.profile.read").to_string(),
            "AaaServer.profile.READ ZohoMail.partner.organization.ALL"
        );
    }

    #[test]
    fn virtual_office_is_an_old_name_of_the_mail_service() {
        assert_eq!(set("VirtualOffice.accounts.READ"), set("ZohoMail.accounts.READ"));
        assert_eq!(set("virtualoffice.Messages.ALL").to_string(), "ZohoMail.messages.ALL");
        assert!(ScopeSet::parse("VirtualOffice.profile.READ").is_err());
        assert_eq!(set("organization.accounts.READ"), set("ZohoMail.organization.accounts.READ"));
        assert_eq!(set("Partner.organization.ALL"), set("ZohoMail.partner.organization.ALL"));
    }

    #[test]
    fn the_scope_of_the_whole_organization_is_granted_and_covers_nothing_else() {
        let whole = set("ZohoMail.organization.ALL,ZohoMail.organization.READ");
        assert!(whole.iter().all(|scope| scope.root.is_of_organizations()));
        assert!(!whole.covers(&Required::scope(ORGANIZATION_ACCOUNTS.read())) && !whole.covers(&DETAILS));
    }

    #[test]
    fn all_covers_the_other_four_operations_of_its_root_alone() {
        let all = set("ZohoMail.accounts.ALL");
        for operation in Operation::ALL {
            assert!(all.covers(&Required::scope(ACCOUNTS.to(operation))));
            assert!(!all.covers(&Required::scope(ORGANIZATION_ACCOUNTS.to(operation))));
        }
        let read = set("ZohoMail.accounts.READ");
        assert!(read.covers(&Required::scope(ACCOUNTS.read())));
        assert!(!read.covers(&Required::scope(ACCOUNTS.update())));
    }

    #[test]
    fn one_of_several_scopes_is_enough() {
        assert!(set("ZohoMail.partner.organization.READ").covers(&DETAILS));
        assert!(set("ZohoMail.organization.accounts.ALL").covers(&DETAILS));
        assert!(!set("ZohoMail.organization.accounts.UPDATE").covers(&DETAILS));
        assert!(!ScopeSet::default().covers(&DETAILS));
        assert_eq!(
            DETAILS.to_string(),
            "ZohoMail.partner.organization.READ or ZohoMail.organization.accounts.READ"
        );
    }

    #[test]
    fn a_part_of_what_all_permits_is_a_subset() {
        assert!(set("ZohoMail.accounts.READ").is_subset_of(&set("ZohoMail.accounts.ALL")));
        assert!(!set("ZohoMail.accounts.ALL").is_subset_of(&set("ZohoMail.accounts.READ")));
        assert!(
            !set("ZohoMail.accounts.READ,ZohoMail.tags.READ").is_subset_of(&set("ZohoMail.accounts.ALL"))
        );
        assert!(ScopeSet::default().is_subset_of(&set("ZohoMail.accounts.READ")));
    }

    #[test]
    fn a_slip_of_the_pen_is_answered_with_the_nearest_scope() {
        assert_eq!(
            why_not("ZohoMail.organisation.acounts.READ"),
            "scope: ZohoMail.organisation.acounts is not a scope of this service; \
             the nearest is ZohoMail.organization.accounts"
        );
        assert_eq!(
            why_not("VirtualOffice.account.READ"),
            "scope: VirtualOffice.account is not a scope of this service; the nearest is ZohoMail.accounts"
        );
    }

    #[test]
    fn a_missing_or_strange_operation_is_named() {
        assert!(why_not("ZohoMail.partner.organization").contains("lacks its operation"));
        assert!(why_not("ZohoMail.accounts.WRITE").contains("ALL, READ, CREATE, UPDATE or DELETE"));
    }

    #[test]
    fn what_is_no_list_of_scopes_is_refused() {
        let long = "x".repeat(101);
        for text in [
            "",
            " , ",
            "READ",
            ".",
            "..",
            "ZohoMail",
            "ZohoMail.READ",
            "ZohoMail.accounts.READ;x",
            "é",
            &long,
        ] {
            why_not(text);
        }
        assert!(why_not("ZohoMail.accounts.READ\n").len() < 100);
    }

    #[test]
    fn a_scope_is_of_an_organization_or_of_oneself() {
        let own = [ACCOUNTS, PROFILE, Root("ZohoMail.messages"), Root("ZohoMail.settings")];
        for root in KNOWN {
            let named = root.to_string();
            let of_one = named.starts_with("ZohoMail.organization") || named.starts_with("ZohoMail.partner.");
            assert_eq!(root.is_of_organizations(), of_one, "{root}");
            assert!(!own.contains(root) || !root.is_of_organizations(), "{root}");
        }
    }

    #[test]
    fn what_a_person_may_in_the_console_is_everything_and_the_default_is_nothing() {
        let everything = ScopeSet::everything();
        assert!(ScopeSet::default().is_empty() && !everything.is_empty());
        for root in KNOWN {
            for operation in Operation::ALL {
                assert!(everything.covers(&Required::scope(root.to(operation))), "{root}");
            }
        }
    }

    #[test]
    fn what_is_too_long_or_has_strange_signs_is_not_repeated() {
        let hundred = "x".repeat(100);
        assert!(why_not(&hundred).contains(&hundred));
        for strange in [format!("{hundred}x"), "ZohoMail.accounts.READ;".to_owned()] {
            assert!(why_not(&strange).contains("a scope looks like"), "{strange}");
        }
    }

    #[test]
    fn one_bad_scope_spoils_the_list() {
        why_not("ZohoMail.accounts.READ,ZohoCRM.modules.ALL");
    }

    fn any_set() -> impl Strategy<Value = ScopeSet> {
        let scope = (prop::sample::select(KNOWN), prop::sample::select(&Operation::ALL[..]));
        prop::collection::vec(scope.prop_map(|(root, operation)| root.to(operation)), 1..12)
            .prop_map(|scopes| scopes.into_iter().collect())
    }

    proptest! {
        #[test]
        fn every_set_comes_back_as_it_was_written(set in any_set(), upper: bool) {
            let text = set.to_string();
            prop_assert_eq!(ScopeSet::parse(&text).unwrap(), set.clone());
            let shouted = if upper { text.to_ascii_uppercase() } else { text.to_ascii_lowercase() };
            prop_assert_eq!(ScopeSet::parse(&shouted.replace(' ', ",")).unwrap(), set);
        }

        #[test]
        fn a_subset_never_covers_more(small in any_set(), large in any_set()) {
            prop_assert!(small.is_subset_of(&small));
            if small.is_subset_of(&large) {
                for scope in small.iter() {
                    prop_assert!(large.covers(&Required::scope(scope)));
                }
            }
        }

        #[test]
        fn no_text_makes_the_parser_panic(text: String) {
            let _ = ScopeSet::parse(&text);
        }
    }
}
