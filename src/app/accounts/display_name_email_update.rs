//! `mode: displaynameemailupdate`. Name and primary address in one call.

use super::{Mode, ModeInfo, Parameter, ParameterKind, address};
use crate::app::change::Prepared;
use crate::domain::account::Transition;
use crate::domain::email_address::EmailAddress;
use crate::domain::help_desk::Verb;
use crate::domain::plain_text::name;
use crate::domain::rights::Forms;
use crate::domain::scope::Operation;
use crate::error::Result;
use crate::wire::Body;

#[derive(Debug, Clone)]
pub struct DisplayNameEmailUpdate {
    pub display_name: String,
    pub email_address: EmailAddress,
}

impl Mode for DisplayNameEmailUpdate {
    const INFO: ModeInfo = ModeInfo {
        name: "displaynameemailupdate",
        also: &["displayNameEmailAddressUpdate"],
        method: super::Method::Put,
        forms: Forms::AdminOrOwn,
        operation: Operation::Update,
        verb: Some(Verb::Rename),
        summary: "Changes the display name and the primary address in one step.",
        parameters: &[
            Parameter::must("displayName", ParameterKind::Text, "The new display name."),
            Parameter::must("emailAddress", ParameterKind::Text, "The new primary address."),
        ],
        sample: r#"{"zuid": "11111111", "mode": "displaynameemailupdate", "displayName": "Rebecca Anderson", "emailAddress": "rebecca@zylker.com"}"#,
    };

    fn parse(body: &Body) -> Result<Self> {
        Ok(Self {
            display_name: name("displayName", body.text_required("displayName")?)?,
            email_address: address(body.text_required("emailAddress")?)?,
        })
    }

    fn claims(&self) -> Vec<EmailAddress> {
        vec![self.email_address.clone()]
    }

    fn apply(&self, change: &mut Transition<'_>, _: &Prepared) -> Result<()> {
        change.account.profile.display_name.clone_from(&self.display_name);
        change.rename(&self.email_address)
    }
}
