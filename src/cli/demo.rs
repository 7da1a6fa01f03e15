//! `mailward demo`: a throw-away organization on loopback, and the seven documented calls to try on it.

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};

use crate::app::App;
use crate::app::demo::{Demo, Person, prepare};
use crate::app::random::Random;
use crate::clock::Clock;
use crate::config::Config;
use crate::error::{Error, Result};
use crate::store::engine::{Db, Options, migrate};
use crate::store::migrations::STEPS;

/// Tries Mailward out: makes a throw-away organization and serves it on loopback.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example:\n  mailward demo\n  mailward demo --listen 127.0.0.1:0 --json\n  mailward demo --data ./demo   # kept and continued"
)]
pub struct DemoArgs {
    /// Where to listen; port 0 takes a free one.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:7080")]
    pub listen: SocketAddr,
    /// Keeps the demonstration in this folder and continues it there.
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Prints one JSON object with addresses, ids, passwords and tokens in place of the commands.
    #[arg(long)]
    pub json: bool,
}

/// A demonstration that is ready to be served.
pub struct Ready {
    pub app: App,
    pub listener: TcpListener,
    pub demo: Demo,
    /// A temporary folder to be removed at the end.
    pub temporary: Option<PathBuf>,
}

/// Opens or makes the demonstration and binds its address.
///
/// # Errors
/// An address in use, a folder that cannot be written, a database of something else.
pub async fn make_ready(args: &DemoArgs) -> Result<Ready> {
    let listener = TcpListener::bind(args.listen)
        .map_err(|error| Error::bad_value("--listen", format!("{}: {error}", args.listen)))?;
    let address =
        listener.local_addr().map_err(|error| Error::caused("asking for the own address", error))?;
    let (folder, temporary) = match &args.data {
        Some(folder) => (folder.clone(), None),
        None => {
            let folder = std::env::temp_dir().join(format!("mailward-demo-{}", std::process::id()));
            (folder.clone(), Some(folder))
        }
    };
    make_folder(&folder)?;
    let database = folder.join("mailward.sqlite");
    let mut config = Config::default();
    config.server.listen = address;
    config.database.url = format!("sqlite:{}", database.display());
    let db = Db::open(&config.database.url, &Options::default())?;
    let clock = Clock::System;
    migrate(&db, STEPS, clock.now()).await?;
    let app = App::new(db, config, clock, Random::System)?;
    let demo = prepare(&app, &folder.join("demo.json")).await?;
    Ok(Ready { app, listener, demo, temporary })
}

fn make_folder(folder: &Path) -> Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .map_err(|error| Error::bad_value("--data", format!("{}: {error}", folder.display())))
}

/// What `demo` prints: the object, or the commands for people.
pub fn announcement(demo: &Demo, json: bool) -> Result<String> {
    if json {
        return serde_json::to_string(demo).map_err(|error| Error::caused("writing the demo", error));
    }
    Ok(format!(
        "Mailward serves a throw-away organization on {url}

  organization   {zoid} ({domain})
  super admin    {admin}, zuid {admin_zuid}
  plain admin    {plain_admin}
  member         {member}, zuid {member_zuid}
  and {spare} more members

The seven calls of the documentation, in an order in which all of them succeed:

{samples}

Then look at the list of users:

curl \"{url}/api/organization/{zoid}/accounts?start=0&limit=20\" \\
-H \"Authorization: Zoho-oauthtoken {token}\"

Passwords and refresh tokens: run with --json. Ctrl-C ends the demonstration.
",
        url = demo.base_url,
        zoid = demo.zoid,
        domain = demo.domain,
        admin = demo.admin.email,
        admin_zuid = demo.admin.zuid,
        plain_admin = demo.plain_admin.email,
        member = demo.member.email,
        member_zuid = demo.member.zuid,
        spare = demo.spare.len(),
        token = token(&demo.admin),
        samples = samples(demo)
            .iter()
            .map(|sample| format!("# {}\n{}", sample.title, sample.command))
            .collect::<Vec<_>>()
            .join("\n\n"),
    ))
}

/// One sample request of the documentation with host, token, domain and ids filled in.
pub struct Sample {
    pub title: &'static str,
    pub command: String,
}

fn token(person: &Person) -> &str {
    person.access_token.as_deref().unwrap_or_default()
}

/// The seven sample requests, word for word but for host, token, domain and ids.
pub fn samples(demo: &Demo) -> Vec<Sample> {
    let Demo { base_url: url, zoid, domain, admin, member, spare, .. } = demo;
    let (reset, disabled) = (&spare[0], &spare[1]);
    let (admin, user) = (token(admin), token(member));
    let (account, own) = (&disabled.account_id, &member.account_id);
    vec![
        Sample {
            title: "resetPassword, by an administrator: the password becomes a one-time password",
            command: format!(
                r#"curl "{url}/api/organization/{zoid}/accounts/{zuid}" \
-X PUT \
-H "Accept: application/json" \
-H "Content-Type: application/json" \
-H "Authorization: Zoho-oauthtoken {admin}" \
-d '{{
  "password": "t*c9ma",
  "resetAuthtoken": true,
  "oneTimePassword": true,
  "zuid": {zuid},
  "mode": "resetPassword"
}}'"#,
                zuid = reset.zuid
            ),
        },
        Sample {
            title: "emailupdate, by an administrator: the old address stays as an alias",
            command: format!(
                r#"curl "{url}/api/organization/{zoid}/accounts/{own}" \
-X PUT \
-H "Accept: application/json" \
-H "Content-Type: application/json" \
-H "Authorization:Zoho-oauthtoken {admin}" \
-d '{{
   "zuid": "{zuid}",
   "mode": "emailupdate",
   "emailAddress": "rebecca@{domain}"
}}'"#,
                zuid = member.zuid
            ),
        },
        Sample {
            title: "emailupdate, by the user",
            command: format!(
                r#"curl "{url}/api/accounts/{own}" \
-X PUT \
-H "Accept: application/json" \
-H "Content-Type: application/json" \
-H "Authorization:Zoho-oauthtoken {user}" \
-d '{{
   "mode": "emailupdate",
   "emailAddress": "rebecca@{domain}"
}}'"#
            ),
        },
        Sample {
            title: "disableMailAccount, by an administrator",
            command: format!(
                r#"curl "{url}/api/organization/{zoid}/accounts/{account}" \
-X PUT \
-H "Accept: application/json" \
-H "Content-Type: application/json" \
-H "Authorization: Zoho-oauthtoken {admin}" \
-d '{{
"zuid": {zuid},
"mode": "disableMailAccount"
}}'"#,
                zuid = disabled.zuid
            ),
        },
        Sample {
            title: "enableUser, by an administrator",
            command: format!(
                r#"curl "{url}/api/organization/{zoid}/accounts/{account}" \
-X PUT \
-H "Accept: application/json" \
-H "Content-Type: application/json" \
-H "Authorization: Zoho-oauthtoken {admin}" \
-d '{{ 
"mode":"enableUser",
"unblockIncoming":"true",
"zuid":"{zuid}"
}}'"#,
                zuid = disabled.zuid
            ),
        },
        Sample {
            title: "disableMailAccount, by the user",
            command: format!(
                r#"curl "{url}/api/accounts/{own}" \
-X PUT \
-H "Accept: application/json" \
-H "Content-Type: application/json" \
-H "Authorization:Zoho-oauthtoken {user}" \
-d '{{
"mode" : "disableMailAccount"
}}'"#
            ),
        },
        Sample {
            title: "enableUser, by the user: lifts what the user blocked",
            command: format!(
                r#"curl "{url}/api/organization/{zoid}/accounts/{own}" \
-X PUT \
-H "Accept: application/json" \
-H "Content-Type: application/json" \
-H "Authorization: Zoho-oauthtoken {user}" \
-d '{{ 
"mode":"enableUser",
"unblockIncoming":"true"
}}'"#
            ),
        },
    ]
}
