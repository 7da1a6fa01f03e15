//! The packages of the mail servers, and which fixes they must have.

use crate::machine::finding::{Finding, good, wrong};

/// The oldest revision of a package with the fixes that matter here, as its changelog tells them
/// (/usr/share/doc/…/changelog.Debian.gz). Other upstream versions are left to Debian.
#[derive(Debug, Clone, Copy)]
pub struct Package {
    pub name: &'static str,
    /// How the versions begin that can be compared.
    upstream: &'static str,
    least: &'static str,
    fixes: &'static str,
}

pub const PACKAGES: [Package; 2] = [
    Package {
        name: "dovecot-core",
        upstream: "1:2.3.19.1+dfsg1-",
        least: "1:2.3.19.1+dfsg1-2.1+deb12u7",
        fixes: "SQL injection by multi-byte escaping (CVE-2026-40018), nopassword injection (CVE-2026-42008) and timing \
                of doveadm's key (CVE-2026-42393)",
    },
    Package {
        name: "postfix",
        upstream: "3.7.",
        least: "3.7.10-0+deb12u1",
        fixes: "smtpd_forbid_bare_newline = normalize against SMTP smuggling",
    },
];

impl Package {
    /// What is to be said of the version that is here; `at_least` compares it with another one.
    pub fn examine(&self, have: &str, at_least: impl Fn(&str) -> bool) -> Option<Finding> {
        let Self { name, upstream, least, fixes } = self;
        if have.is_empty() {
            return None;
        }
        Some(if !have.starts_with(upstream) {
            good(format!("{name} is {have}; which fixes it has is Debian's to say"))
        } else if at_least(least) {
            good(format!("{name} is {have}, with the fixes for {fixes}"))
        } else {
            wrong(format!("{name} is {have}, older than {least} with the fixes for {fixes}"), "apt upgrade")
        })
    }
}
