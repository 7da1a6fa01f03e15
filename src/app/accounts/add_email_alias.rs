//! `mode: addEmailAlias`. More addresses for the same mailbox.

use super::{Mode, ModeInfo, Parameter, ParameterKind, address};
use crate::app::change::Prepared;
use crate::domain::account::Transition;
use crate::domain::email_address::EmailAddress;
use crate::domain::rights::Forms;
use crate::domain::scope::Operation;
use crate::error::Result;
use crate::wire::Body;

#[derive(Debug, Clone)]
pub struct AddEmailAlias {
    pub aliases: Vec<EmailAddress>,
}

impl Mode for AddEmailAlias {
    const INFO: ModeInfo = ModeInfo {
        name: "addEmailAlias",
        also: &[],
        method: super::Method::Put,
        forms: Forms::AdminOnly,
        operation: Operation::Update,
        verb: None,
        summary: "Gives the account more addresses.",
        parameters: &[Parameter::must(
            "emailAlias",
            ParameterKind::Addresses,
            "The addresses, at most 100. All or nothing.",
        )],
        sample: r#"{"zuid": "11111111", "mode": "addEmailAlias", "emailAlias": ["rebecca.a@zylker.com"]}"#,
    };

    fn parse(body: &Body) -> Result<Self> {
        let listed = body.text_list_required("emailAlias")?;
        Ok(Self { aliases: listed.into_iter().map(address).collect::<Result<_>>()? })
    }

    fn claims(&self) -> Vec<EmailAddress> {
        self.aliases.clone()
    }

    fn apply(&self, change: &mut Transition<'_>, _: &Prepared) -> Result<()> {
        self.aliases.iter().try_for_each(|alias| change.add_alias(alias))
    }
}
