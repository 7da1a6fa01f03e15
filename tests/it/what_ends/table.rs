//! The table: what becomes of each thing that opens an account when something happens to the person.
//! Written by hand; `docs/security/what-ends.md` is made from it. A missing cell does not compile.

use Fate::{Ends, Rests, Stays};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    Reset,
    UserDisabled,
    MailDisabled,
    Renamed,
    RoleChanged,
    Deleted,
    OrganizationOff,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Artefact {
    AccessToken,
    RefreshToken,
    GrantCode,
    WebSession,
    RecoveryLink,
    OneTimePassword,
    AppPassword,
    Imap,
    Pop3,
    Smtp,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// Worth nothing from the answer on, also after the event was undone.
    Ends,
    /// Refused while it lasts; after it was undone good again.
    Rests,
    Stays,
}

/// The columns, in the order of `Artefact::ALL`: what is used over HTTP first, what mail servers see after it.
pub const TABLE: [(Event, [Fate; 10]); 7] = [
    (Event::Reset, [Ends, Ends, Ends, Ends, Ends, Ends, Ends, Ends, Ends, Ends]),
    (Event::UserDisabled, [Ends, Ends, Ends, Ends, Ends, Rests, Rests, Ends, Ends, Rests]),
    (Event::MailDisabled, [Stays, Stays, Stays, Stays, Stays, Stays, Rests, Ends, Ends, Rests]),
    (Event::Renamed, [Stays, Stays, Stays, Stays, Stays, Stays, Stays, Stays, Stays, Stays]),
    (Event::RoleChanged, [Stays, Stays, Stays, Stays, Rests, Stays, Stays, Stays, Stays, Stays]),
    (Event::Deleted, [Ends, Ends, Ends, Ends, Ends, Ends, Ends, Ends, Ends, Ends]),
    (Event::OrganizationOff, [Rests, Rests, Rests, Rests, Rests, Rests, Rests, Ends, Ends, Rests]),
];

/// Why a cell is as it is, where one may wonder.
pub const NOTES: &[(Event, &[Artefact], &str)] = &[
    (
        Event::Reset,
        &[Artefact::AppPassword],
        "unless the call says `keepAppPasswords`; with `resetAuthToken` false nothing that is open ends",
    ),
    (
        Event::UserDisabled,
        &[Artefact::OneTimePassword, Artefact::AppPassword],
        "who is let in again needs no new ones: a disable is no doubt about who holds them. After a doubt there is \
         `secureAccount`",
    ),
    (
        Event::MailDisabled,
        &[
            Artefact::AccessToken,
            Artefact::RefreshToken,
            Artefact::GrantCode,
            Artefact::WebSession,
            Artefact::RecoveryLink,
            Artefact::OneTimePassword,
        ],
        "the person is not disabled, only the mail account; none of these opens mail, and none lifts the block",
    ),
    (
        Event::Renamed,
        &[Artefact::Imap, Artefact::Pop3, Artefact::Smtp],
        "credentials hang on the account, not on the address; the old address stays an alias",
    ),
    (
        Event::RoleChanged,
        &[Artefact::AccessToken, Artefact::WebSession],
        "the role is looked up at each use and nothing of it is in a token: what the new role may not is refused from \
         the next call on; \
         where a second factor is demanded of the new role, a browser signed in without one has to sign in again",
    ),
    (
        Event::RoleChanged,
        &[Artefact::RecoveryLink],
        "for a member who becomes an administrator: recovery by mail serves members only",
    ),
    (
        Event::OrganizationOff,
        &[Artefact::AccessToken],
        "an organization that is switched on again finds everything as it was, but for mail sessions",
    ),
    (
        Event::UserDisabled,
        &[Artefact::Smtp],
        "the connection may stay open, but every sender and recipient in it is refused; Postfix asks at each",
    ),
];

impl Event {
    pub fn in_words(self) -> &'static str {
        match self {
            Self::Reset => "reset",
            Self::UserDisabled => "disable user",
            Self::MailDisabled => "disable mail account",
            Self::Renamed => "rename",
            Self::RoleChanged => "role change",
            Self::Deleted => "delete",
            Self::OrganizationOff => "organization off",
        }
    }

    /// The test of the columns that are used over HTTP, without the engine.
    pub fn test(self) -> &'static str {
        match self {
            Self::Reset => "what_ends::after_a_reset",
            Self::UserDisabled => "what_ends::after_the_user_was_disabled",
            Self::MailDisabled => "what_ends::after_the_mail_account_was_disabled",
            Self::Renamed => "what_ends::after_a_rename",
            Self::RoleChanged => "what_ends::after_a_change_of_role",
            Self::Deleted => "what_ends::after_the_user_was_deleted",
            Self::OrganizationOff => "what_ends::after_the_organization_was_switched_off",
        }
    }
}

/// The test of the columns that real mail servers see, without the engine.
pub const MAIL_TEST: &str =
    "mail::product::what_ends::sessions_and_app_passwords_fare_after_each_event_as_the_table_says";

impl Artefact {
    pub const ALL: [Self; 10] = [
        Self::AccessToken,
        Self::RefreshToken,
        Self::GrantCode,
        Self::WebSession,
        Self::RecoveryLink,
        Self::OneTimePassword,
        Self::AppPassword,
        Self::Imap,
        Self::Pop3,
        Self::Smtp,
    ];

    pub fn in_words(self) -> &'static str {
        match self {
            Self::AccessToken => "access token",
            Self::RefreshToken => "refresh token",
            Self::GrantCode => "grant code",
            Self::WebSession => "web session",
            Self::RecoveryLink => "recovery link",
            Self::OneTimePassword => "one-time password",
            Self::AppPassword => "app password",
            Self::Imap => "IMAP session",
            Self::Pop3 => "POP3 session",
            Self::Smtp => "SMTP session",
        }
    }

    /// Whether only a mail server can tell.
    pub fn is_mail(self) -> bool {
        match self {
            Self::AppPassword | Self::Imap | Self::Pop3 | Self::Smtp => true,
            Self::AccessToken
            | Self::RefreshToken
            | Self::GrantCode
            | Self::WebSession
            | Self::RecoveryLink
            | Self::OneTimePassword => false,
        }
    }
}

impl Fate {
    pub fn in_a_word(self) -> &'static str {
        match self {
            Ends => "ends",
            Rests => "rests",
            Stays => "stays",
        }
    }
}

/// What the table says.
pub fn fate(event: Event, artefact: Artefact) -> Fate {
    let (_, row) = TABLE.iter().find(|(of, _)| *of == event).expect("a row for each event");
    let column = Artefact::ALL.iter().position(|one| *one == artefact).expect("every artefact is listed");
    row[column]
}

/// Compares what was seen with the table, cell by cell; answers the cells that are wrong.
pub fn wrong(event: Event, seen: &[(Artefact, Fate)]) -> Vec<String> {
    let cells = seen.iter().filter(|(artefact, seen)| *seen != fate(event, *artefact));
    cells
        .map(|(artefact, seen)| {
            let (event_words, artefact_words) = (event.in_words(), artefact.in_words());
            let said = fate(event, *artefact).in_a_word();
            format!("{event_words} × {artefact_words}: {said}, says the table; it {}", seen.in_a_word())
        })
        .collect()
}
