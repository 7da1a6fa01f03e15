//! `mode: emailupdate`. A new primary address; the old one stays with the account as an alias.

use super::{Mode, ModeInfo, Parameter, ParameterKind, address};
use crate::app::change::Prepared;
use crate::domain::account::Transition;
use crate::domain::email_address::EmailAddress;
use crate::domain::help_desk::Verb;
use crate::domain::rights::Forms;
use crate::domain::scope::Operation;
use crate::error::Result;
use crate::wire::Body;

#[derive(Debug, Clone)]
pub struct EmailUpdate {
    pub email_address: EmailAddress,
}

impl Mode for EmailUpdate {
    const INFO: ModeInfo = ModeInfo {
        name: "emailupdate",
        also: &[],
        method: super::Method::Put,
        forms: Forms::AdminOrOwn,
        operation: Operation::Update,
        verb: Some(Verb::Rename),
        summary: "Makes an address the primary one of the account. The old one stays as an alias; an own alias swaps with it.",
        parameters: &[Parameter::must("emailAddress", ParameterKind::Text, "The new primary address.")],
        sample: r#"{"zuid": "11111111", "mode": "emailupdate", "emailAddress": "rebecca@zylker.com"}"#,
    };

    fn parse(body: &Body) -> Result<Self> {
        Ok(Self { email_address: address(body.text_required("emailAddress")?)? })
    }

    fn claims(&self) -> Vec<EmailAddress> {
        vec![self.email_address.clone()]
    }

    fn apply(&self, change: &mut Transition<'_>, _: &Prepared) -> Result<()> {
        change.rename(&self.email_address)
    }
}
