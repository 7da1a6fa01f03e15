//! `mailward org`: organizations and their policies.

use serde_json::{Value, json};

use crate::app::accounts::read::{self, OrganizationView};
use crate::app::{operator, organizations};
use crate::cli::desk::{Desk, OrgName, zoid};
use crate::cli::policy;
use crate::cli::show::switch_json;
use crate::cli::text::table;
use crate::clock::rfc3339;
use crate::domain::ids::OrganizationId;
use crate::error::Result;
use crate::store::organizations::Organization;

/// Organizations: add, list, show, disable, enable, and their policies
#[derive(Debug, clap::Subcommand)]
pub enum Org {
    /// Add an organization
    #[command(after_help = "Examples:\n  mailward org add 'Example Inc'")]
    Add {
        /// Its name
        name: String,
    },
    /// List the organizations
    #[command(after_help = "Examples:\n  mailward org list\n  mailward org list --json")]
    List,
    /// Show an organization with its domains, counts and policy
    #[command(after_help = "Examples:\n  mailward org show\n  mailward org show --org 10000001 --json")]
    Show {
        #[command(flatten)]
        org: OrgName,
    },
    /// Turn an organization off: nobody in it can sign in, its tokens do not work
    #[command(after_help = "Examples:\n  mailward org disable 10000001 --reason 'contract ended'")]
    Disable {
        /// Its zoid
        zoid: String,
    },
    /// Turn an organization on again; everything in it comes back as it was
    #[command(after_help = "Examples:\n  mailward org enable 10000001")]
    Enable {
        /// Its zoid
        zoid: String,
    },
    /// The organization's own rules
    #[command(subcommand)]
    Policy(Policy),
}

/// Show or change an organization's policy
#[derive(Debug, clap::Subcommand)]
pub enum Policy {
    /// Show every rule with its value
    #[command(
        after_help = "Examples:\n  mailward org policy show\n  mailward org policy show --json --org 10000001"
    )]
    Show {
        #[command(flatten)]
        org: OrgName,
    },
    /// Change rules
    ///
    /// Lists are written with commas. Keys that end in _days or _minutes are in that unit, and
    /// password.one_time_valid_for is in milliseconds, as `policy show` prints it.
    #[command(
        after_help = "Examples:\n  mailward org policy set password.min_length=12 password.history=5\n  mailward org policy set self_rename=own_alias\n  mailward org policy set reserved_names=board,press --org 10000001"
    )]
    Set {
        /// Rules as key=value
        #[arg(required = true, value_name = "KEY=VALUE")]
        rules: Vec<String>,
        #[command(flatten)]
        org: OrgName,
    },
}

impl Org {
    /// # Errors
    /// `NotFound`, `BadValue`.
    pub async fn run(self, desk: &Desk) -> Result<()> {
        let app = desk.open().await?;
        let context = desk.context(&app);
        match self {
            Self::Add { name } => {
                let (made, done) = organizations::create(&app, &context, &name).await?;
                desk.tell(&done, || format!("organization {} ({})", made.name, made.id), || brief(&made))
            }
            Self::List => {
                let all = operator::organizations(&app).await?;
                desk.answer(
                    || {
                        let rows: Vec<_> = all
                            .iter()
                            .map(|one| {
                                let state = if one.disabled.is_some() { "disabled" } else { "enabled" };
                                [
                                    one.id.to_string(),
                                    state.to_owned(),
                                    rfc3339(one.created_at),
                                    one.name.clone(),
                                ]
                            })
                            .collect();
                        table(["ZOID", "STATE", "CREATED", "NAME"], &rows)
                    },
                    || all.iter().map(brief).collect(),
                )
            }
            Self::Show { org } => {
                let found = org.find(&app).await?;
                let view = read::organization(&app, &context.caller, Some(found)).await?;
                desk.answer(|| view_text(&view), || view_json(&view))
            }
            Self::Disable { zoid: named } => {
                let named = existing(&app, &named).await?;
                let done = organizations::switch(&app, &context, named, true).await?;
                desk.tell(
                    &done,
                    || format!("organization {named} disabled"),
                    || json!({"zoid": named.to_string(), "enabled": false}),
                )
            }
            Self::Enable { zoid: named } => {
                let named = existing(&app, &named).await?;
                let done = organizations::switch(&app, &context, named, false).await?;
                desk.tell(
                    &done,
                    || format!("organization {named} enabled"),
                    || json!({"zoid": named.to_string(), "enabled": true}),
                )
            }
            Self::Policy(Policy::Show { org }) => {
                let found = operator::organization(&app, org.zoid()?).await?;
                let rules = policy::read(&found.policy)?;
                desk.answer(|| policy::text(&rules), || rules.clone())
            }
            Self::Policy(Policy::Set { rules, org }) => {
                let found = operator::organization(&app, org.zoid()?).await?;
                let rules = policy::assignments(&rules)?;
                policy::apply(&found.policy, &rules)?;
                let done = organizations::update(&app, &context, found.id, move |organization, _| {
                    organization.policy = policy::apply(&organization.policy, &rules)?;
                    Ok(())
                })
                .await?;
                let now = policy::read(&operator::organization(&app, Some(found.id)).await?.policy)?;
                desk.tell(&done, || policy::text(&now), || now.clone())
            }
        }
    }
}

async fn existing(app: &crate::app::App, named: &str) -> Result<OrganizationId> {
    Ok(operator::organization(app, Some(zoid(named)?)).await?.id)
}

fn brief(organization: &Organization) -> Value {
    json!({
        "zoid": organization.id.to_string(),
        "name": organization.name,
        "enabled": organization.disabled.is_none(),
        "disabled": switch_json(&organization.disabled),
        "createdAt": organization.created_at,
    })
}

fn view_text(view: &OrganizationView) -> String {
    let organization = &view.organization;
    let mut lines = vec![
        format!("name      {}", organization.name),
        format!("zoid      {}", organization.id),
        format!("created   {}", rfc3339(organization.created_at)),
        format!("users     {}", view.counts.persons),
    ];
    if let Some(block) = &organization.disabled {
        lines.push(format!("disabled  by {} at {}", block.by, rfc3339(block.at)));
    }
    for domain in &view.domains {
        let verified = if domain.verified_at.is_some() { "verified" } else { "not verified" };
        let primary = if domain.primary { ", primary" } else { "" };
        lines.push(format!("domain    {} ({verified}{primary})", domain.name));
    }
    if let Some((address, name)) = &view.super_admin {
        lines.push(format!("super     {address} ({name})"));
    }
    lines.join("\n")
}

fn view_json(view: &OrganizationView) -> Value {
    let mut answer = brief(&view.organization);
    if let Some(object) = answer.as_object_mut() {
        object.insert("users".to_owned(), view.counts.persons.into());
        object.insert("domains".to_owned(), view.domains.iter().map(super::domain::json_of).collect());
        object.insert("superAdmin".to_owned(), json!(view.super_admin.as_ref().map(|(address, _)| address)));
        object.insert("policy".to_owned(), json!(view.organization.policy));
    }
    answer
}
