//! `mailward demo`: a throw-away organization on loopback, and the seven documented calls to try on it.

use std::net::SocketAddr;
use std::path::PathBuf;

use crate::app::demo::{Demo as Details, Person, prepare};
use crate::app::open::open_app;
use crate::app::random::Random;
use crate::cli::desk::Desk;
use crate::cli::logging;
use crate::clock::Clock;
use crate::config::Config;
use crate::error::{Error, Result};

/// Try Mailward: a throw-away organization on loopback
///
/// Makes an embedded database with an organization, people in every role, a client and tokens,
/// prints the documented calls ready to paste, and serves them until Ctrl-C.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  mailward demo
  mailward demo --listen 127.0.0.1:0 --json
  mailward demo --data ./demo           kept, and continued the next time")]
pub struct Demo {
    /// Where to listen; port 0 takes a free one
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:7080")]
    listen: SocketAddr,
    /// Keep the demonstration in this folder, and continue it there
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
}

impl Demo {
    /// # Errors
    /// An address in use, a folder that cannot be written, a database of something else.
    pub async fn run(self, desk: &Desk) -> Result<()> {
        let folder = Folder::open(self.data)?;
        let mut config = Config::default();
        config.server.listen = self.listen;
        config.database.url = format!("sqlite:{}", folder.path.join("mailward.sqlite").display());
        logging::start(&config.log);
        let bound = crate::serve::bind(&config.server)?;
        config.server.listen = bound.address;
        let app = open_app(&config, Clock::System, Random::System).await?;
        let details = prepare(&app, &folder.path.join("demo.json")).await?;
        print(&announcement(&details, desk.global.json)?)?;
        let router = crate::api::router(app.clone());
        bound.serve(app, router).await
    }
}

fn print(text: &str) -> Result<()> {
    use std::io::Write;
    let mut out = std::io::stdout().lock();
    writeln!(out, "{text}").and_then(|()| out.flush()).map_err(|error| Error::caused("printing", error))
}

/// Where the demonstration lives: a folder that was named, or one that goes with the process.
struct Folder {
    path: PathBuf,
    temporary: bool,
}

impl Folder {
    fn open(named: Option<PathBuf>) -> Result<Self> {
        use std::os::unix::fs::DirBuilderExt;
        let temporary = named.is_none();
        let own = || std::env::temp_dir().join(format!("mailward-demo-{}", std::process::id()));
        let path = named.unwrap_or_else(own);
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&path)
            .map_err(|error| Error::bad_value("--data", format!("{}: {error}", path.display())))?;
        Ok(Self { path, temporary })
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if self.temporary
            && let Err(error) = std::fs::remove_dir_all(&self.path)
        {
            tracing::warn!(folder = %self.path.display(), %error, "the temporary folder could not be removed");
        }
    }
}

/// What `demo` prints: the object, or the commands for people.
fn announcement(demo: &Details, json: bool) -> Result<String> {
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
struct Sample {
    title: &'static str,
    command: String,
}

fn token(person: &Person) -> &str {
    person.access_token.as_deref().unwrap_or_default()
}

/// The seven sample requests, word for word but for host, token, domain and ids.
fn samples(demo: &Details) -> Vec<Sample> {
    let Details { base_url: url, zoid, domain, admin, member, spare, .. } = demo;
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
