//! What a page tells after a redirect: one of these, by a word in its address, since a redirect brings
//! nothing else along. Nothing that a link could make up is ever shown.

use crate::console::texts::ENGLISH;

/// What was done before the browser came here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Said {
    Address,
    Deleted,
    Disconnected,
    FactorAdded,
    FactorRemoved,
    LinkSent,
    MailOff,
    MailOn,
    Name,
    Nothing,
    Password,
    Recovered,
    RecoveryAsked,
    RecoveryRemoved,
    Revoked,
    Session,
    SignedOut,
}

impl Said {
    const ALL: [Self; 17] = [
        Self::Address,
        Self::Deleted,
        Self::Disconnected,
        Self::FactorAdded,
        Self::FactorRemoved,
        Self::LinkSent,
        Self::MailOff,
        Self::MailOn,
        Self::Name,
        Self::Nothing,
        Self::Password,
        Self::Recovered,
        Self::RecoveryAsked,
        Self::RecoveryRemoved,
        Self::Revoked,
        Self::Session,
        Self::SignedOut,
    ];

    /// What a word means; `None` for any other text.
    pub fn of(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|one| one.word() == word)
    }

    fn word(self) -> &'static str {
        match self {
            Self::Address => "address",
            Self::Deleted => "deleted",
            Self::Disconnected => "disconnected",
            Self::FactorAdded => "factor-added",
            Self::FactorRemoved => "factor-removed",
            Self::LinkSent => "link-sent",
            Self::MailOff => "mail-off",
            Self::MailOn => "mail-on",
            Self::Name => "name",
            Self::Nothing => "nothing",
            Self::Password => "password",
            Self::Recovered => "recovered",
            Self::RecoveryAsked => "sent",
            Self::RecoveryRemoved => "recovery-removed",
            Self::Revoked => "revoked",
            Self::Session => "session",
            Self::SignedOut => "signed-out",
        }
    }

    /// Whether it is told to nobody who is signed in.
    pub fn is_outside(self) -> bool {
        matches!(self, Self::Recovered | Self::RecoveryAsked | Self::SignedOut)
    }

    /// The address of a page that tells it.
    pub fn at(self, page: &str) -> String {
        format!("{page}?said={}", self.word())
    }

    /// What the page says.
    pub fn text(self) -> &'static str {
        let t = &ENGLISH;
        match self {
            Self::Address => t.said_address,
            Self::Deleted => t.user_is_deleted,
            Self::Disconnected => t.said_disconnected,
            Self::FactorAdded => t.said_factor_added,
            Self::FactorRemoved => t.said_factor_removed,
            Self::LinkSent => t.said_link_sent,
            Self::MailOff => t.said_mail_off,
            Self::MailOn => t.said_mail_on,
            Self::Name => t.said_name,
            Self::Nothing => t.nothing_to_do,
            Self::Password => t.said_password,
            Self::Recovered => t.recover_done,
            Self::RecoveryAsked => t.recover_sent,
            Self::RecoveryRemoved => t.said_recovery_removed,
            Self::Revoked => t.said_revoked,
            Self::Session => t.said_session,
            Self::SignedOut => t.you_are_signed_out,
        }
    }
}
