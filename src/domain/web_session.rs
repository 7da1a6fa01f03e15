//! How far a browser's sign-in has come, and how long it lasts.

use crate::domain::password::PasswordKind;

/// What a browser session may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stage {
    /// The password was right; a second factor is wanted.
    SecondFactor,
    /// The same after a one-time password.
    SecondFactorThenPassword,
    /// A one-time password was right: only a new password may be chosen.
    ChoosePassword,
    /// The organization demands a second factor, and the person has none: one must be set up.
    SetUpFactor,
    SignedIn,
}

impl Stage {
    pub const ALL: [Self; 5] = [
        Self::SecondFactor,
        Self::SecondFactorThenPassword,
        Self::ChoosePassword,
        Self::SetUpFactor,
        Self::SignedIn,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::SecondFactor => "second factor",
            Self::SecondFactorThenPassword => "second factor, then password",
            Self::ChoosePassword => "choose password",
            Self::SetUpFactor => "set up factor",
            Self::SignedIn => "signed in",
        }
    }

    /// The stage after the password, with what is known of the person.
    pub fn after_password(kind: PasswordKind, has_factor: bool, factor_demanded: bool) -> Self {
        match (kind, has_factor) {
            (PasswordKind::OneTime, true) => Self::SecondFactorThenPassword,
            (PasswordKind::Permanent, true) => Self::SecondFactor,
            (PasswordKind::OneTime, false) => Self::ChoosePassword,
            (PasswordKind::Permanent, false) if factor_demanded => Self::SetUpFactor,
            (PasswordKind::Permanent, false) => Self::SignedIn,
        }
    }

    /// The stage after the second factor.
    pub fn after_factor(self) -> Self {
        match self {
            Self::SecondFactorThenPassword | Self::ChoosePassword => Self::ChoosePassword,
            Self::SecondFactor | Self::SetUpFactor | Self::SignedIn => Self::SignedIn,
        }
    }
}

from_word!(Stage, str::eq, "stage", "a session is in a stage that this program does not know");

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::password::PasswordKind::{OneTime, Permanent};

    #[test]
    fn every_stage_is_read_as_it_is_written() {
        for stage in Stage::ALL {
            assert_eq!(stage.as_str().parse::<Stage>().unwrap(), stage);
        }
    }

    #[test]
    fn the_second_factor_leads_to_where_the_password_would_have_led() {
        assert_eq!(Stage::after_password(OneTime, true, false), Stage::SecondFactorThenPassword);
        assert_eq!(Stage::after_password(OneTime, false, true), Stage::ChoosePassword);
        assert_eq!(Stage::SecondFactorThenPassword.after_factor(), Stage::ChoosePassword);
        assert_eq!(Stage::SecondFactor.after_factor(), Stage::SignedIn);
        assert_eq!(Stage::SetUpFactor.after_factor(), Stage::SignedIn);
        assert!("signed".parse::<Stage>().is_err());
    }

    #[test]
    fn a_one_time_password_never_signs_in_by_itself() {
        for (factor, demanded) in [(false, false), (false, true), (true, false), (true, true)] {
            let stage = Stage::after_password(OneTime, factor, demanded);
            assert_ne!(stage, Stage::SignedIn);
            assert_ne!(stage.after_factor(), Stage::SignedIn);
        }
    }

    #[test]
    fn a_second_factor_is_asked_of_whoever_has_one() {
        assert_eq!(Stage::after_password(Permanent, true, false), Stage::SecondFactor);
        assert_eq!(Stage::after_password(Permanent, false, true), Stage::SetUpFactor);
        assert_eq!(Stage::after_password(Permanent, false, false), Stage::SignedIn);
    }
}
