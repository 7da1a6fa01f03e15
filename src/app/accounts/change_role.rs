//! `mode: changeRole`. Grants or removes a role, for one user or a list, all or nothing.

use super::{Mode, ModeInfo, Parameter, ParameterKind, TargetName, wanted_role};
use crate::app::change::Prepared;
use crate::domain::account::Transition;
use crate::domain::actor::Role;
use crate::domain::help_desk::HelpDesk;
use crate::domain::rights::{Forms, Given};
use crate::domain::scope::Operation;
use crate::error::Result;
use crate::wire::Body;

#[derive(Debug, Clone)]
pub struct ChangeRole {
    pub users: Vec<TargetName>,
    pub role: Role,
    /// A help-desk administrator's limits, and nobody else's.
    pub help_desk: Option<HelpDesk>,
}

impl Mode for ChangeRole {
    const INFO: ModeInfo = ModeInfo {
        name: "changeRole",
        also: &[],
        method: super::Method::Put,
        forms: Forms::AdminOnly,
        operation: Operation::Update,
        verb: None,
        summary: "Gives users a role. Roles above member are the super administrators' to grant and to remove.",
        parameters: &[
            Parameter::may(
                "userList",
                ParameterKind::Users,
                "The users' zuids, at most 100. All or nothing.",
            ),
            Parameter::must("role", ParameterKind::Text, "member, admin or super_admin."),
            Parameter::may(
                "isCustomAdmin",
                ParameterKind::Flag,
                "With role admin: a help-desk administrator, who may do what verbs says, to members only. Default false.",
            ),
            Parameter::may(
                "verbs",
                ParameterKind::Words,
                "What a custom administrator may do: read, reset, switches, rename. The others bring read along.",
            ),
            Parameter::may(
                "domains",
                ParameterKind::Words,
                "The domains of the organization whose users a custom administrator sees and changes. All when left out.",
            ),
        ],
        sample: r#"{"mode": "changeRole", "userList": [11111111], "role": "admin"}"#,
    };

    fn parse(body: &Body) -> Result<Self> {
        let users = body.long_list("userList")?.unwrap_or_default();
        let (role, help_desk) = wanted_role(body, body.text_required(["role", "newRole"])?.parse()?)?;
        Ok(Self { users: users.into_iter().map(TargetName::Number).collect(), role, help_desk })
    }

    fn targets(&self) -> &[TargetName] {
        &self.users
    }

    fn new_role(&self) -> Option<Given<'_>> {
        Some(Given { role: self.role, help_desk: self.help_desk.as_ref() })
    }

    fn apply(&self, change: &mut Transition<'_>, _: &Prepared) -> Result<()> {
        change.change_role(self.role, self.help_desk.as_ref())
    }
}
