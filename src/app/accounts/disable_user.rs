//! `mode: disableUser`. No sign-in anywhere; tokens and sessions are revoked. Mail keeps arriving
//! unless `blockIncoming` says otherwise.

use super::{Mode, ModeInfo, Parameter, ParameterKind};
use crate::app::change::Prepared;
use crate::domain::account::{SwitchName, Transition};
use crate::domain::help_desk::Verb;
use crate::domain::rights::Forms;
use crate::domain::scope::Operation;
use crate::error::Result;
use crate::wire::Body;

#[derive(Debug, Clone, Default)]
pub struct DisableUser {
    pub block_incoming: bool,
    pub remove_mail_forward: bool,
    pub remove_group_membership: bool,
    pub remove_alias: bool,
}

impl Mode for DisableUser {
    const INFO: ModeInfo = ModeInfo {
        name: "disableUser",
        also: &[],
        method: super::Method::Put,
        forms: Forms::AdminOnly,
        operation: Operation::Update,
        verb: Some(Verb::Switches),
        summary: "Disables the user everywhere and revokes every token and session. Mail keeps arriving unless it is blocked.",
        parameters: &[
            Parameter::may(
                "blockIncoming",
                ParameterKind::Flag,
                "Whether incoming mail is refused. Default false.",
            ),
            Parameter::may(
                "removeMailforward",
                ParameterKind::Flag,
                "Whether forwarding is removed. Recorded as nothing to remove while there is no forwarding. Default false.",
            ),
            Parameter::may(
                "removeGroupMembership",
                ParameterKind::Flag,
                "Whether the user leaves all groups. Recorded as nothing to remove while there are no groups. Default false.",
            ),
            Parameter::may(
                "removeAlias",
                ParameterKind::Flag,
                "Whether every address but the primary one is taken away; each is kept for the user for the usual term. Not for the help desk. Default false.",
            ),
        ],
        sample: r#"{"zuid": "11111111", "mode": "disableUser", "blockIncoming": "true", "removeMailforward": "true", "removeGroupMembership": "true", "removeAlias": "true"}"#,
    };

    fn parse(body: &Body) -> Result<Self> {
        body.ignore("password"); // the administrator's own, in earlier editions of the API
        Ok(Self {
            block_incoming: body.flag("blockIncoming")?.unwrap_or(false),
            remove_mail_forward: body.flag("removeMailforward")?.unwrap_or(false),
            remove_group_membership: body.flag("removeGroupMembership")?.unwrap_or(false),
            remove_alias: body.flag("removeAlias")?.unwrap_or(false),
        })
    }

    /// Addresses are taken away by administrators; switches alone are the help desk's.
    fn verb(&self) -> Option<Verb> {
        if self.remove_alias { None } else { Self::INFO.verb }
    }

    fn apply(&self, change: &mut Transition<'_>, _: &Prepared) -> Result<()> {
        change.set(SwitchName::UserDisabled)?;
        if self.block_incoming {
            change.set(SwitchName::IncomingBlocked)?;
        }
        if self.remove_alias {
            for alias in change.account.aliases.clone() {
                change.remove_alias(&alias)?;
            }
        }
        if self.remove_mail_forward {
            change.notes.insert("removeMailforward", "nothing to remove".to_owned());
        }
        if self.remove_group_membership {
            change.notes.insert("removeGroupMembership", "nothing to remove".to_owned());
        }
        Ok(())
    }
}
