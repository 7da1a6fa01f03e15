//! `mode: deleteEmailAlias`. Fewer addresses; a freed one is protected for a term.

use super::{Mode, ModeInfo, Parameter, ParameterKind, address};
use crate::app::change::Prepared;
use crate::domain::account::Transition;
use crate::domain::email_address::EmailAddress;
use crate::domain::rights::Forms;
use crate::domain::scope::Operation;
use crate::error::Result;
use crate::wire::Body;

#[derive(Debug, Clone)]
pub struct DeleteEmailAlias {
    pub aliases: Vec<EmailAddress>,
}

impl Mode for DeleteEmailAlias {
    const INFO: ModeInfo = ModeInfo {
        name: "deleteEmailAlias",
        also: &["removeEmailAlias"],
        method: super::Method::Put,
        forms: Forms::AdminOnly,
        operation: Operation::Update,
        verb: None,
        summary: "Takes addresses away. Each is kept for this account for a term before somebody else can have it.",
        parameters: &[Parameter::must(
            "emailAlias",
            ParameterKind::Addresses,
            "The addresses, at most 100. All or nothing.",
        )],
        sample: r#"{"zuid": "11111111", "mode": "deleteEmailAlias", "emailAlias": ["rebecca.a@zylker.com"]}"#,
    };

    fn parse(body: &Body) -> Result<Self> {
        let listed = body.text_list_required("emailAlias")?;
        let mut aliases = listed.into_iter().map(address).collect::<Result<Vec<_>>>()?;
        aliases.sort();
        aliases.dedup();
        Ok(Self { aliases })
    }

    fn apply(&self, change: &mut Transition<'_>, _: &Prepared) -> Result<()> {
        self.aliases.iter().try_for_each(|alias| change.remove_alias(alias))
    }
}
