//! `mailward domain`: an organization's mail domains.

use serde_json::{Value, json};

use crate::app::accounts::read;
use crate::app::operator;
use crate::app::organizations::{self, DomainChange};
use crate::cli::desk::{Desk, OrgName};
use crate::cli::show::switch_json;
use crate::cli::text::table;
use crate::domain::email_address::DomainName;
use crate::error::Result;
use crate::store::organizations::Domain as Row;

/// Mail domains: add, list, verify, make primary, disable, enable, remove
#[derive(Debug, clap::Subcommand)]
pub enum Domain {
    /// Add a domain; the first one becomes the primary one
    ///
    /// Nobody can have an address on it before it is verified.
    #[command(
        after_help = "Examples:\n  mailward domain add example.org --verified\n  mailward domain add example.com --org 10000002"
    )]
    Add {
        /// The domain, as example.org
        name: String,
        /// You vouch that the domain is the organization's
        #[arg(long)]
        verified: bool,
        #[command(flatten)]
        org: OrgName,
    },
    /// List an organization's domains
    #[command(after_help = "Examples:\n  mailward domain list\n  mailward domain list --org 10000001 --json")]
    List {
        #[command(flatten)]
        org: OrgName,
    },
    /// Vouch that the domain is the organization's, so that addresses on it can be given out
    #[command(after_help = "Examples:\n  mailward domain verify example.org --reason 'seen in DNS'")]
    Verify(Named),
    /// Make a verified domain the organization's primary one
    #[command(after_help = "Examples:\n  mailward domain primary example.com")]
    Primary(Named),
    /// Turn a domain off
    #[command(after_help = "Examples:\n  mailward domain disable example.com")]
    Disable(Named),
    /// Turn a domain on again
    #[command(after_help = "Examples:\n  mailward domain enable example.com")]
    Enable(Named),
    /// Take a domain away on which nobody has an address, so that another organization can add it
    ///
    /// It no longer receives mail here. Addresses that are kept for their former owners stay so.
    #[command(after_help = "Examples:\n  mailward domain remove exampel.org")]
    Remove(Named),
}

#[derive(Debug, clap::Args)]
pub struct Named {
    /// The domain, as example.org
    name: String,
    #[command(flatten)]
    org: OrgName,
}

impl Domain {
    /// # Errors
    /// `NotFound`, `Refused`, `BadAddress`.
    pub async fn run(self, desk: &Desk) -> Result<()> {
        let app = desk.open().await?;
        let context = desk.context(&app);
        let (named, change) = match self {
            Self::Add { name, verified, org } => {
                let (zoid, name) = (org.find(&app).await?, DomainName::parse(&name)?);
                let done = match verified {
                    true => organizations::add_verified_domain(&app, &context, zoid, &name).await?,
                    false => organizations::add_domain(&app, &context, zoid, &name).await?,
                };
                if done.forecast.is_some() || done.repeated {
                    return desk.tell_done(&done);
                }
                let domains = read::domains(&app, &context.caller, zoid).await?;
                let Some(made) = domains.iter().find(|domain| domain.name == name) else { return Ok(()) };
                return desk.answer(|| list(std::slice::from_ref(made)), || json_of(made));
            }
            Self::List { org } => {
                let domains = read::domains(&app, &context.caller, org.find(&app).await?).await?;
                return desk.answer(|| list(&domains), || domains.iter().map(json_of).collect());
            }
            Self::Verify(named) => (named, DomainChange::Verify),
            Self::Primary(named) => (named, DomainChange::MakePrimary),
            Self::Disable(named) => (named, DomainChange::Disable),
            Self::Enable(named) => (named, DomainChange::Enable),
            Self::Remove(named) => {
                let name = DomainName::parse(&named.name)?;
                let zoid = operator::organization_of_domain(&app, &name, named.org.zoid()?).await?;
                return desk.tell_done(&organizations::remove_domain(&app, &context, zoid, &name).await?);
            }
        };
        let name = DomainName::parse(&named.name)?;
        let zoid = operator::organization_of_domain(&app, &name, named.org.zoid()?).await?;
        let done = organizations::change_domain(&app, &context, zoid, &name, change).await?;
        let domains = read::domains(&app, &context.caller, zoid).await?;
        let Some(now) = domains.iter().find(|domain| domain.name == name) else { return Ok(()) };
        desk.tell(&done, || list(std::slice::from_ref(now)), || json_of(now))
    }
}

fn list(domains: &[Row]) -> String {
    let rows: Vec<_> = domains
        .iter()
        .map(|domain| {
            let mut state = vec![if domain.verified_at.is_some() { "verified" } else { "not verified" }];
            state.extend(domain.primary.then_some("primary"));
            state.extend(domain.disabled.is_some().then_some("disabled"));
            [domain.name.to_string(), domain.organization.to_string(), state.join(", ")]
        })
        .collect();
    table(["DOMAIN", "ZOID", "STATE"], &rows)
}

pub fn json_of(domain: &Row) -> Value {
    json!({
        "domainId": domain.id.to_string(),
        "zoid": domain.organization.to_string(),
        "name": domain.name.as_str(),
        "primary": domain.primary,
        "verifiedAt": domain.verified_at,
        "verifiedBy": domain.verified_by,
        "disabled": switch_json(&domain.disabled),
        "createdAt": domain.created_at,
    })
}
