//! What is wrong with the settings that the mail servers have in force: from what their own programs say to findings.
//! Pure functions; who asks runs `doveconf -n`, `postconf -n` and `-P`, and `dpkg-query`.

mod dovecot;
mod packages;
mod postfix;

use crate::machine::finding::{Finding, wrong};

pub use dovecot::{USERNAME_CHARS, dovecot};
pub use packages::{PACKAGES, Package};
pub use postfix::postfix;

/// What the settings must agree with.
#[derive(Debug, Clone, Copy)]
pub struct Expected {
    /// Separates a mailbox from a detail in Mailward's addresses.
    pub recipient_delimiter: char,
    /// What computing one password's hash takes, in KiB.
    pub hash_memory_kib: u32,
}

/// Whether a server takes addresses apart as Mailward does.
fn of_delimiter(server: &str, have: &str, expected: &Expected) -> Option<Finding> {
    let wanted = expected.recipient_delimiter.to_string();
    (have != wanted).then(|| {
        wrong(
            format!("{server}'s recipient_delimiter is not {wanted:?}, which Mailward has"),
            format!(
                "`mailward mail-server config {}` writes its files with addresses.recipient_delimiter",
                server.to_lowercase()
            ),
        )
    })
}
