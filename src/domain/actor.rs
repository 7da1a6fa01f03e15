//! Who asks, with which rank, and through which credential.

use serde::{Deserialize, Serialize};

use crate::domain::help_desk::HelpDesk;
use crate::domain::ids::{AccountId, OrganizationId, UserId};
use crate::domain::scope::ScopeSet;
use crate::error::Error;

/// A person's role in the organization. On the wire a help-desk administrator is an `admin` who is a
/// custom one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    Member,
    /// An administrator of members, within the limits of a [`HelpDesk`].
    HelpDesk,
    Admin,
    SuperAdmin,
}

impl Role {
    pub const ALL: [Self; 4] = [Self::Member, Self::HelpDesk, Self::Admin, Self::SuperAdmin];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Member => "member",
            Self::HelpDesk => "help_desk",
            Self::Admin => "admin",
            Self::SuperAdmin => "super_admin",
        }
    }

    pub fn rank(self) -> Rank {
        match self {
            Self::Member => Rank::Member,
            Self::HelpDesk => Rank::HelpDesk,
            Self::Admin => Rank::Admin,
            Self::SuperAdmin => Rank::SuperAdmin,
        }
    }
}

impl std::fmt::Display for Role {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

from_word!(
    Role,
    str::eq_ignore_ascii_case,
    "role",
    "a role is member, admin or super_admin; the help desk is admin with isCustomAdmin"
);

/// How high somebody stands when a block is set or lifted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rank {
    Member,
    HelpDesk,
    Admin,
    SuperAdmin,
    /// Somebody at the host's own command line.
    Operator,
}

impl Rank {
    pub fn in_words(self) -> &'static str {
        match self {
            Self::Member => "a member",
            Self::HelpDesk => "the help desk",
            Self::Admin => "an administrator",
            Self::SuperAdmin => "a super administrator",
            Self::Operator => "the operator of the server",
        }
    }
}

/// Who did something, as stored with blocks and in the audit log.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Who {
    User(UserId),
    /// The operating-system user at the command line.
    Operator(String),
    /// Mailward itself, when a term ends.
    Clock,
}

impl std::fmt::Display for Who {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::User(id) => write!(f, "user {id}"),
            Self::Operator(name) => write!(f, "operator {name}"),
            Self::Clock => f.write_str("clock"),
        }
    }
}

impl std::str::FromStr for Who {
    type Err = Error;
    /// Reads what `Display` writes.
    fn from_str(text: &str) -> Result<Self, Error> {
        let unknown = || Error::bad_value("actor", "an actor is a user, an operator or the clock");
        match text.split_once(' ') {
            Some(("user", zuid)) => zuid.parse().map(Self::User).map_err(|()| unknown()),
            Some(("operator", name)) => Ok(Self::Operator(name.to_owned())),
            None if text == "clock" => Ok(Self::Clock),
            Some(_) | None => Err(unknown()),
        }
    }
}

impl Who {
    /// The user, if it was one.
    pub fn user(&self) -> Option<UserId> {
        match self {
            Self::User(user) => Some(*user),
            Self::Operator(_) | Self::Clock => None,
        }
    }
}

/// A caller whose credential was good at the moment of the transaction.
#[derive(Debug, Clone)]
pub enum Actor {
    User(Signed),
    Operator { os_user: String },
    Clock,
}

/// A person as the caller, by an access token or in a browser.
#[derive(Debug, Clone)]
pub struct Signed {
    pub organization: OrganizationId,
    pub user: UserId,
    pub account: AccountId,
    pub role: Role,
    /// The limits of a help-desk administrator; without them such a person may do nothing.
    pub help_desk: Option<HelpDesk>,
    /// What the token permits. In a browser every scope: there the role alone decides.
    pub scopes: ScopeSet,
    /// The client that the token was given to; `None` for one from the command line, and in a browser.
    pub client: Option<String>,
}

impl Actor {
    /// The person who asks, for what only somebody with an account can ask.
    ///
    /// # Errors
    /// `NotFound` for the command line and the clock.
    pub fn person(&self) -> Result<&Signed, Error> {
        match self {
            Self::User(signed) => Ok(signed),
            Self::Operator { .. } | Self::Clock => {
                Err(Error::NotFound("the command line has no account of its own".to_owned()))
            }
        }
    }

    pub fn rank(&self) -> Rank {
        match self {
            Self::User(signed) => signed.role.rank(),
            Self::Operator { .. } | Self::Clock => Rank::Operator,
        }
    }

    /// The rank with which a block is set on a user of that role. The clock acts for the lowest rank that may
    /// give such a user a term, so that whoever gave it can lift what it set.
    pub fn rank_over(&self, role: Role) -> Rank {
        match (self, role) {
            (Self::User(_) | Self::Operator { .. }, _) => self.rank(),
            (Self::Clock, Role::Member | Role::HelpDesk) => Rank::Admin,
            (Self::Clock, Role::Admin | Role::SuperAdmin) => Rank::SuperAdmin,
        }
    }

    pub fn who(&self) -> Who {
        match self {
            Self::User(signed) => Who::User(signed.user),
            Self::Operator { os_user } => Who::Operator(os_user.clone()),
            Self::Clock => Who::Clock,
        }
    }

    pub fn is(&self, user: UserId) -> bool {
        matches!(self, Self::User(signed) if signed.user == user)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signed(role: Role) -> Actor {
        Actor::User(Signed {
            organization: OrganizationId::new(10_000_001).expect("a zoid"),
            user: UserId::new(1_000_000_000_001).expect("a zuid"),
            account: AccountId::new(2_560_636_000_000_008_002).expect("an accountId"),
            role,
            help_desk: None,
            scopes: ScopeSet::default(),
            client: None,
        })
    }

    #[test]
    fn a_role_is_read_as_it_is_written_in_any_case_and_has_the_rank_of_its_name() {
        let words = ["member", "help_desk", "admin", "super_admin"];
        let ranks = [Rank::Member, Rank::HelpDesk, Rank::Admin, Rank::SuperAdmin];
        let spoken = ["a member", "the help desk", "an administrator", "a super administrator"];
        for (at, role) in Role::ALL.into_iter().enumerate() {
            assert_eq!((role.as_str(), role.to_string().as_str()), (words[at], words[at]));
            assert_eq!((role.rank(), role.rank().in_words()), (ranks[at], spoken[at]));
            assert_eq!(words[at].to_uppercase().parse::<Role>().expect("a role"), role);
        }
        assert!(ranks.is_sorted() && Rank::SuperAdmin < Rank::Operator);
        assert_eq!(Rank::Operator.in_words(), "the operator of the server");
        assert!("operator".parse::<Role>().is_err());
    }

    #[test]
    fn the_operator_and_the_clock_stand_above_every_role() {
        let operator = Actor::Operator { os_user: "root".to_owned() };
        for above in [&operator, &Actor::Clock] {
            assert_eq!(above.rank(), Rank::Operator);
            assert!(!above.is(UserId::new(1_000_000_000_001).expect("a zuid")));
        }
        for role in Role::ALL {
            assert_eq!(signed(role).rank(), role.rank());
            assert_eq!(signed(role).rank_over(Role::Member), role.rank());
            assert_eq!(operator.rank_over(role), Rank::Operator);
            let for_whoever_gave_the_term = if role < Role::Admin { Rank::Admin } else { Rank::SuperAdmin };
            assert_eq!(Actor::Clock.rank_over(role), for_whoever_gave_the_term);
        }
    }

    #[test]
    fn who_did_something_is_read_as_it_is_written() {
        let operator = |name: &str| Who::Operator(name.to_owned());
        for who in
            [signed(Role::Member).who(), operator("root"), operator("user 7"), operator(""), Who::Clock]
        {
            assert_eq!(who.to_string().parse::<Who>().expect("somebody"), who);
        }
        for nobody in ["", "user", "user x", "user 7", "operator", "clock ", "Clock", "mia"] {
            assert!(nobody.parse::<Who>().is_err(), "{nobody:?}");
        }
    }

    #[test]
    fn who_did_something_is_named_in_entries() {
        let mia = signed(Role::Member);
        assert_eq!(mia.who().to_string(), "user 1000000000001");
        assert_eq!(Actor::Operator { os_user: "root".to_owned() }.who().to_string(), "operator root");
        assert_eq!(Actor::Clock.who().to_string(), "clock");
        assert!(mia.is(UserId::new(1_000_000_000_001).expect("a zuid")));
        assert!(!mia.is(UserId::new(1_000_000_000_002).expect("a zuid")));
    }
}
