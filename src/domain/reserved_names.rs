//! Names before the @ that nobody may claim for themselves.

/// The mailboxes that a domain has for its duties: RFC 2142, and those mail software writes to.
pub const ROLE_NAMES: &[&str] = &[
    "abuse",
    "ftp",
    "hostmaster",
    "info",
    "mailer-daemon",
    "marketing",
    "news",
    "noc",
    "postmaster",
    "sales",
    "security",
    "support",
    "usenet",
    "uucp",
    "webmaster",
    "www",
];

/// Names that read like the organization itself speaking. An organization can add its own.
pub const RESERVED_NAMES: &[&str] = &[
    "account",
    "accounting",
    "accounts",
    "admin",
    "administration",
    "administrator",
    "admins",
    "audit",
    "billing",
    "board",
    "bounce",
    "bounces",
    "ceo",
    "cfo",
    "chairman",
    "ciso",
    "compliance",
    "contact",
    "coo",
    "cto",
    "director",
    "dmarc",
    "do-not-reply",
    "dpo",
    "finance",
    "help",
    "helpdesk",
    "hr",
    "human-resources",
    "invoice",
    "invoices",
    "it",
    "it-support",
    "legal",
    "mail",
    "mailadmin",
    "management",
    "newsletter",
    "no-reply",
    "noreply",
    "notification",
    "notifications",
    "office",
    "owner",
    "payments",
    "payroll",
    "personnel",
    "president",
    "press",
    "privacy",
    "procurement",
    "recruiting",
    "root",
    "service",
    "servicedesk",
    "ssladmin",
    "ssladministrator",
    "sslwebmaster",
    "staff",
    "sysadmin",
    "system",
    "team",
    "tls-reports",
    "treasurer",
];

/// Whether this local part is a mailbox for a duty of the domain (RFC 2142), in any case of letters.
pub fn is_role_address(local: &str) -> bool {
    ROLE_NAMES.iter().any(|name| name.eq_ignore_ascii_case(local))
}

/// Whether this local part is on the shipped list of reserved names.
///
/// Case, dots, hyphens and underscores do not matter: `No_Reply` is `noreply`.
pub fn is_reserved_name(local: &str) -> bool {
    RESERVED_NAMES.iter().any(|name| reads_like(name, local))
}

/// Whether two names differ only in case and in dots, hyphens and underscores.
pub fn reads_like(one: &str, other: &str) -> bool {
    let letters = |name: &str| -> Vec<char> {
        name.chars().filter(|c| !matches!(c, '.' | '-' | '_')).flat_map(char::to_lowercase).collect()
    };
    letters(one) == letters(other)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::email_address::EmailAddress;

    #[test]
    fn duties_and_reserved_names_are_known_in_any_spelling() {
        assert!(is_role_address("postmaster"));
        assert!(is_role_address("Abuse"));
        assert!(!is_role_address("jane"));
        for name in ["payroll", "HR", "no-reply", "no_reply", "NoReply", "help.desk", "root"] {
            assert!(is_reserved_name(name), "{name}");
        }
        assert!(!is_reserved_name("itamar"));
        assert!(!is_reserved_name(""));
    }

    #[test]
    fn every_listed_name_can_be_an_address() {
        for name in ROLE_NAMES.iter().chain(RESERVED_NAMES) {
            let address = EmailAddress::parse(&format!("{name}@example.org")).expect(name);
            assert_eq!(address.local(), *name);
        }
        assert!(ROLE_NAMES.is_sorted() && RESERVED_NAMES.is_sorted());
    }
}
