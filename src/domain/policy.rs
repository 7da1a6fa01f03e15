//! What an organization decides for itself. Stored as JSON with the organization.

use serde::{Deserialize, Serialize};

use crate::clock::{DAY, MINUTE, Millis};
use crate::domain::actor::Role;
use crate::domain::email_address::MAX_LOCAL_LENGTH;
use crate::domain::password::PasswordPolicy;
use crate::domain::plain_text::is_plain_line;
use crate::error::Error;

/// An organization's own rules; the defaults are the charter's.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Policy {
    pub password: PasswordPolicy,
    pub self_rename: SelfRename,
    /// How many addresses an account has besides the primary one.
    pub most_aliases: usize,
    /// Days for which a freed address is kept for its former account.
    pub address_kept_days: i64,
    /// Local parts that only an administrator gives out, besides the shipped list.
    pub reserved_names: Vec<String>,
    /// Who must have a second factor in the console.
    pub second_factor: SecondFactor,
    /// Minutes without contact after which a mail host with an agent refuses logins; 0: it goes on with the last
    /// state that it has.
    pub cut_off_minutes: i64,
}

/// Which new primary address a person may choose.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SelfRename {
    Any,
    OwnAlias,
    Off,
}

/// Who must sign in to the console with a second factor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SecondFactor {
    /// Nobody; who has one is asked for it all the same.
    Optional,
    /// Whoever has a role above member.
    Administrators,
    Everyone,
}

impl SecondFactor {
    pub fn demands(self, role: Role) -> bool {
        match self {
            Self::Optional => false,
            Self::Administrators => role > Role::Member,
            Self::Everyone => true,
        }
    }
}

/// A person's own renames: at most this many in the term before.
pub const MOST_SELF_RENAMES: usize = 5;
pub const SELF_RENAME_TERM: Millis = 30 * DAY;

impl Default for Policy {
    fn default() -> Self {
        Self {
            password: PasswordPolicy::default(),
            self_rename: SelfRename::Any,
            most_aliases: 30,
            address_kept_days: 180,
            reserved_names: Vec::new(),
            second_factor: SecondFactor::Optional,
            cut_off_minutes: 0,
        }
    }
}

/// The most addresses that a policy may let an account have besides the primary one.
const MOST_ALIASES: usize = 10_000;
/// The longest term for freed addresses: a hundred years.
const MOST_DAYS: i64 = 36_500;
/// The longest time that a mail host may be cut off: a year.
const MOST_CUT_OFF_MINUTES: i64 = 366 * DAY / MINUTE;
const MOST_RESERVED_NAMES: usize = 10_000;

impl Policy {
    /// Whether every number can be meant. Asked wherever a policy is stored.
    ///
    /// # Errors
    /// `BadValue` with the rule's name.
    pub fn validate(&self) -> Result<(), Error> {
        self.password.validate()?;
        if self.most_aliases > MOST_ALIASES {
            return Err(Error::bad_value("most_aliases", format!("must be between 0 and {MOST_ALIASES}")));
        }
        if !(0..=MOST_DAYS).contains(&self.address_kept_days) {
            return Err(Error::bad_value("address_kept_days", format!("must be between 0 and {MOST_DAYS}")));
        }
        if !(0..=MOST_CUT_OFF_MINUTES).contains(&self.cut_off_minutes) {
            let why = format!("must be between 0 (go on) and {MOST_CUT_OFF_MINUTES}");
            return Err(Error::bad_value("cut_off_minutes", why));
        }
        if self.reserved_names.len() > MOST_RESERVED_NAMES {
            return Err(Error::bad_value("reserved_names", format!("at most {MOST_RESERVED_NAMES} names")));
        }
        let is_name = |name: &String| {
            let name = name.trim();
            !name.is_empty() && name.len() <= MAX_LOCAL_LENGTH && !name.contains('@') && is_plain_line(name)
        };
        match self.reserved_names.iter().find(|name| !is_name(name)) {
            Some(_) => Err(Error::bad_value(
                "reserved_names",
                format!("each is what stands before the @: 1 to {MAX_LOCAL_LENGTH} characters"),
            )),
            None => Ok(()),
        }
    }

    /// After how many minutes without contact a mail host refuses logins, if ever.
    pub fn cut_off(&self) -> Option<i64> {
        (self.cut_off_minutes > 0).then_some(self.cut_off_minutes)
    }

    pub fn address_kept(&self) -> Millis {
        self.address_kept_days.saturating_mul(DAY)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_that_cannot_be_meant_is_refused() {
        let sane = Policy::default();
        sane.validate().expect("the charter's own");
        let password = PasswordPolicy { history: 25, ..PasswordPolicy::default() };
        for broken in [
            Policy { address_kept_days: -1, ..sane.clone() },
            Policy { address_kept_days: i64::MAX, ..sane.clone() },
            Policy { cut_off_minutes: -1, ..sane.clone() },
            Policy { cut_off_minutes: i64::MAX, ..sane.clone() },
            Policy { most_aliases: usize::MAX, ..sane.clone() },
            Policy { reserved_names: vec![String::new()], ..sane.clone() },
            Policy { reserved_names: vec!["x".repeat(65)], ..sane.clone() },
            Policy { reserved_names: vec!["a@b".to_owned()], ..sane.clone() },
            Policy { reserved_names: vec!["two\nlines".to_owned()], ..sane.clone() },
            Policy { password, ..sane.clone() },
        ] {
            broken.validate().expect_err("cannot be meant");
        }
    }

    #[test]
    fn a_policy_may_go_to_its_limits_and_no_further() {
        let with = |alter: &dyn Fn(&mut Policy)| {
            let mut policy = Policy::default();
            alter(&mut policy);
            policy.validate().is_ok()
        };
        assert!(
            with(&|policy| policy.most_aliases = 10_000) && !with(&|policy| policy.most_aliases = 10_001)
        );
        assert!(with(&|policy| policy.most_aliases = 0));
        assert!(with(&|policy| policy.address_kept_days = 0));
        assert!(with(&|policy| policy.address_kept_days = 36_500));
        assert!(!with(&|policy| policy.address_kept_days = 36_501));
        assert!(with(&|policy| policy.cut_off_minutes = 527_040), "a year, and a day for the leap");
        assert!(!with(&|policy| policy.cut_off_minutes = 527_041));
        assert!(with(&|policy| policy.reserved_names = vec!["front-desk".to_owned(); 10_000]));
        assert!(!with(&|policy| policy.reserved_names = vec!["front-desk".to_owned(); 10_001]));
        assert!(with(&|policy| policy.reserved_names = vec!["x".repeat(64)]));
        assert!(!with(&|policy| policy.reserved_names = vec!["  ".to_owned()]));
    }

    #[test]
    fn a_second_factor_is_demanded_of_whom_the_policy_names() {
        for role in Role::ALL {
            assert!(!SecondFactor::Optional.demands(role));
            assert_eq!(SecondFactor::Administrators.demands(role), role != Role::Member, "{role}");
            assert!(SecondFactor::Everyone.demands(role));
        }
    }

    #[test]
    fn a_mail_host_that_is_cut_off_goes_on_unless_minutes_are_given() {
        let after = |minutes| Policy { cut_off_minutes: minutes, ..Policy::default() }.cut_off();
        assert_eq!([0, 1, 60].map(after), [None, Some(1), Some(60)]);
    }

    #[test]
    fn a_freed_address_is_kept_for_days() {
        let policy = Policy { address_kept_days: 2, ..Policy::default() };
        assert_eq!(policy.address_kept(), 172_800_000);
    }
}
