//! `DELETE` on accounts. The users go; their mail stays where it is, their addresses are kept for a term.

use super::{Mode, ModeInfo, Parameter, ParameterKind, TargetName, address};
use crate::app::change::Prepared;
use crate::domain::account::Transition;
use crate::domain::rights::Forms;
use crate::domain::scope::Operation;
use crate::error::{Error, Result};
use crate::wire::{Body, MAX_LIST};

#[derive(Debug, Clone)]
pub struct DeleteUser {
    pub users: Vec<TargetName>,
}

impl Mode for DeleteUser {
    const INFO: ModeInfo = ModeInfo {
        name: "deleteUser",
        also: &[],
        method: super::Method::Delete,
        forms: Forms::AdminOnly,
        operation: Operation::Delete,
        verb: None,
        summary: "Deletes users. Their mail stays where it is, and their addresses are kept for a term.",
        parameters: &[
            Parameter::may(
                "accountList",
                ParameterKind::Users,
                "The users' zuids, at most 100. All or nothing.",
            ),
            Parameter::may(
                "emailList",
                ParameterKind::Addresses,
                "The users' addresses, in place of accountList.",
            ),
        ],
        sample: r#"{"accountList": [11111111]}"#,
    };

    fn parse(body: &Body) -> Result<Self> {
        let numbers = body.long_list("accountList")?.unwrap_or_default();
        let addresses = body.text_list("emailList")?.unwrap_or_default();
        let users = numbers
            .into_iter()
            .map(|number| Ok(TargetName::Number(number)))
            .chain(addresses.into_iter().map(|text| address(text).map(TargetName::Address)))
            .collect::<Result<Vec<_>>>()?;
        if users.len() > MAX_LIST {
            return Err(Error::bad_value("accountList", format!("at most {MAX_LIST} users in one call")));
        }
        Ok(Self { users })
    }

    fn targets(&self) -> &[TargetName] {
        &self.users
    }

    fn apply(&self, change: &mut Transition<'_>, _: &Prepared) -> Result<()> {
        change.delete()
    }
}
