//! `mode: updatePersonalInfo`. Names, telephone and postal address, free text that is only shown; and the user's term.

use super::{Mode, ModeInfo, Parameter, ParameterKind};
use crate::app::change::Prepared;
use crate::clock::{DAY, Millis};
use crate::domain::account::{Gender, Profile, Transition};
use crate::domain::plain_text::name;
use crate::domain::rights::Forms;
use crate::domain::scope::Operation;
use crate::error::{Error, Result};
use crate::wire::{Body, Names};

/// What is `None` stays as it is.
#[derive(Debug, Clone, Default)]
pub struct UpdatePersonalInfo {
    pub first_name: Option<String>,
    pub last_name: Option<String>,
    pub display_name: Option<String>,
    pub gender: Option<Gender>,
    pub country: Option<String>,
    pub language: Option<String>,
    pub time_zone: Option<String>,
    pub phone_number: Option<String>,
    pub mobile_number: Option<String>,
    pub street_address: Option<String>,
    pub city: Option<String>,
    pub postal_code: Option<String>,
    pub state: Option<String>,
    pub term: Option<Term>,
}

/// For how long somebody is to be a user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Term {
    Days(u16),
    Forever,
}

impl Term {
    /// Reads `userExpiry`: days, or -1. None at all are how a term is shown that has ended; [`Self::given`] refuses them.
    fn read(body: &Body) -> Result<Option<Self>> {
        let days = body.long("userExpiry")?;
        days.map(|days| if days == 0 { Ok(Self::Days(0)) } else { Self::of_days(days) }).transpose()
    }

    /// The term, where it can be given to somebody.
    ///
    /// # Errors
    /// `BadValue`.
    pub fn given(self) -> Result<Self> {
        Self::of_days(self.days())
    }

    fn of_days(days: i64) -> Result<Self> {
        match u16::try_from(days) {
            Err(_) if days == -1 => Ok(Self::Forever),
            Ok(days @ 1..=36_500) => Ok(Self::Days(days)),
            _ => Err(Error::bad_value(
                "userExpiry",
                "days until the user expires, 1 to 36500, or -1 for never",
            )),
        }
    }

    /// What somebody typed: a number of days.
    ///
    /// # Errors
    /// `BadValue`.
    pub fn of_text(text: &str) -> Result<Self> {
        // What is no number is none of those either.
        Self::of_days(text.parse::<u16>().map_or(0, i64::from))
    }

    /// What is left of a term, in days counted up.
    pub fn left(end: Option<Millis>, now: Millis) -> i64 {
        end.map_or(-1, |end| ((end - now).max(0) + DAY - 1) / DAY)
    }

    /// As `userExpiry` says it: days, or -1.
    fn days(self) -> i64 {
        match self {
            Self::Days(days) => days.into(),
            Self::Forever => -1,
        }
    }

    /// When it ends that begins now.
    pub fn end(self, now: Millis) -> Option<Millis> {
        match self {
            Self::Days(days) => Some(now + i64::from(days) * DAY),
            Self::Forever => None,
        }
    }
}

impl Mode for UpdatePersonalInfo {
    const INFO: ModeInfo = ModeInfo {
        name: "updatePersonalInfo",
        also: &[],
        method: super::Method::Put,
        forms: Forms::AdminOnly,
        operation: Operation::Update,
        verb: None,
        summary: "Changes names, telephone numbers, the postal address and the user's term. What is left out stays.",
        parameters: &[
            Parameter::may("displayName", ParameterKind::Text, "The display name."),
            Parameter::may("firstName", ParameterKind::Text, "The first name."),
            Parameter::may("lastName", ParameterKind::Text, "The last name."),
            Parameter::may("gender", ParameterKind::Text, "MALE, FEMALE, NON_BINARY or NOT_SPECIFIED."),
            Parameter::may(
                "country",
                ParameterKind::Text,
                "A country, by custom its two letters. Kept as it is sent.",
            ),
            Parameter::may("language", ParameterKind::Text, "A language code."),
            Parameter::may(
                "timeZone",
                ParameterKind::Text,
                "A time zone, by custom its IANA name. Kept as it is sent.",
            ),
            Parameter::may("phoneNumer", ParameterKind::Text, "A telephone number; spelled as on the wire."),
            Parameter::may("mobileNumber", ParameterKind::Text, "A mobile number."),
            Parameter::may("address", ParameterKind::Object, "streetAddr, city, postalCode, state, country."),
            Parameter::may(
                "userExpiry",
                ParameterKind::Number,
                "Days from now until the user is disabled; -1 for never. As many as are shown leave the end where it is. Not for the own account.",
            ),
        ],
        sample: r#"{"zuid": "11111111", "mode": "updatePersonalInfo", "displayName": "Rebecca Anderson", "gender": "FEMALE", "country": "in", "phoneNumer": "0441234567", "mobileNumber": "9876543210", "address": {"streetAddr": "1 Main Street", "city": "Chennai", "postalCode": "600001", "state": "TN"}}"#,
    };

    fn parse(body: &Body) -> Result<Self> {
        let address = body.object("address")?;
        let country_in_address = address.map_or(Ok(None), |address| line(address, "country"))?;
        let in_address = |names: &[&str]| address.map_or(Ok(None), |address| line(address, names));
        let gender = body.text("gender")?.map(str::parse);
        Ok(Self {
            first_name: line(body, "firstName")?,
            last_name: line(body, "lastName")?,
            display_name: line(body, "displayName")?,
            gender: gender.transpose()?,
            country: line(body, "country")?.or(country_in_address),
            language: line(body, "language")?,
            time_zone: line(body, "timeZone")?,
            phone_number: line(body, ["phoneNumer", "phoneNumber"])?,
            mobile_number: line(body, "mobileNumber")?,
            street_address: in_address(&["streetAddr", "streetAddress"])?,
            city: in_address(&["city"])?,
            postal_code: in_address(&["postalCode"])?,
            state: in_address(&["state"])?,
            term: Term::read(body)?,
        })
    }

    fn apply(&self, change: &mut Transition<'_>, _: &Prepared) -> Result<()> {
        self.fill(&mut change.account.profile);
        let now = change.hand.at;
        match self.term {
            // What was shown may be sent back; it does not move the end.
            Some(term) if term.days() != Term::left(change.account.expires_at, now) => {
                change.set_term(term.given()?.end(now))
            }
            Some(_) | None => Ok(()),
        }
    }
}

impl UpdatePersonalInfo {
    /// Writes what was given over the profile.
    pub fn fill(&self, profile: &mut Profile) {
        for (field, new) in [
            (&mut profile.first_name, &self.first_name),
            (&mut profile.last_name, &self.last_name),
            (&mut profile.display_name, &self.display_name),
            (&mut profile.country, &self.country),
            (&mut profile.language, &self.language),
            (&mut profile.time_zone, &self.time_zone),
            (&mut profile.phone_number, &self.phone_number),
            (&mut profile.mobile_number, &self.mobile_number),
            (&mut profile.street_address, &self.street_address),
            (&mut profile.city, &self.city),
            (&mut profile.postal_code, &self.postal_code),
            (&mut profile.state, &self.state),
        ] {
            if let Some(new) = new {
                field.clone_from(new);
            }
        }
        profile.gender = self.gender.unwrap_or(profile.gender);
    }
}

/// An optional line of text.
fn line(body: &Body, names: impl Names) -> Result<Option<String>> {
    let parameter = names.spellings().first().copied().unwrap_or_default().to_owned();
    body.text(names)?.map(|text| name(&parameter, text)).transpose()
}
