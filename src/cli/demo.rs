//! `mailward demo`: a throw-away organization on loopback, and the seven documented calls to try on it;
//! with `--mail` real mail servers next to it (`mail`).

mod mail;

use std::net::SocketAddr;
use std::path::PathBuf;

use crate::app::demo::{Demo as Details, Person, prepare};
use crate::app::mail::servers;
use crate::app::open::open_to_serve;
use crate::app::random::Random;
use crate::cli::desk::Desk;
use crate::cli::logging;
use crate::clock::Clock;
use crate::config::Config;
use crate::error::{Error, Result};
use crate::serve::Bound;

/// Try Mailward: a throw-away organization on loopback
///
/// Makes an embedded database with an organization, people in every role, a client and tokens,
/// prints the documented calls ready to paste, and serves them until Ctrl-C.
/// Of a configuration, the sections compat and oauth hold: from --config and variables, from no other file.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  mailward demo
  mailward demo --mail          as root, with a private Postfix and Dovecot
  mailward demo --listen 127.0.0.1:0 --json
  MAILWARD_COMPAT_STRICT=true mailward demo
  mailward demo --data ./demo           kept, and continued the next time")]
pub struct Demo {
    /// Where to listen; port 0 takes a free one
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:7080")]
    listen: SocketAddr,
    /// Keep the demonstration in this folder, and continue it there (mail is not kept)
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Start a private Postfix and Dovecot on free loopback ports, and end them with the demonstration
    ///
    /// Nothing of this machine's own mail is touched. Needs root and Debian's packages.
    #[arg(long)]
    mail: bool,
}

impl Demo {
    /// # Errors
    /// An address in use, a folder that cannot be written, a database of something else, a configuration that
    /// cannot be meant; with `--mail` whatever keeps the mail servers from starting.
    pub async fn run(self, desk: &Desk) -> Result<()> {
        let mut config = configured(desk)?;
        config.server.listen = self.listen;
        if !self.mail {
            let folder = Folder::open(self.data)?;
            let (bound, app, details) = open(&folder, &mut config).await?;
            // Left behind by a demonstration with mail that could not end in order.
            match servers::remove(&app, &mail::context(), mail::SERVER).await {
                Ok(()) | Err(Error::NotFound(_)) => {}
                Err(error) => return Err(error),
            }
            print(&announcement(&details, desk.global.json)?)?;
            let router = crate::cli::doors(&app);
            return bound.serve(app, router, crate::serve::hangups()?).await;
        }
        let mut end = mail::End::listen()?;
        let mut servers = mail::DemoServers::prepare(&mut config)?;
        let folder = Folder::open(self.data)?;
        let (bound, app, mut details) = open(&folder, &mut config).await?;
        crate::cli::listen_to_logins(&app);
        servers.start(&app).await?;
        if end.asked().await {
            return Ok(());
        }
        details.mail = Some(servers.addresses());
        print(&announcement(&details, desk.global.json)?)?;
        let router = crate::cli::doors(&app);
        end.patiently(bound.serve(app, router, crate::serve::hangups()?)).await
    }
}

/// What shapes the answers of the API is the configured; everything else is the demonstration's own.
fn configured(desk: &Desk) -> Result<Config> {
    if desk.global.database.is_some() {
        return Err(Error::bad_value(
            "--database",
            "the demonstration makes a database of its own; --data DIR keeps it",
        ));
    }
    let Config { compat, mut oauth, .. } = desk.named_config()?;
    // Clients that follow it would go elsewhere.
    oauth.api_domain.clear();
    let config = Config { compat, oauth, ..Config::default() };
    config.check()?;
    Ok(config)
}

async fn open(folder: &Folder, config: &mut Config) -> Result<(Bound, crate::app::App, Details)> {
    config.database.url = format!("sqlite:{}", folder.path.join("mailward.sqlite").display());
    logging::start(&config.log);
    let bound = crate::serve::bind(&config.server)?;
    config.server.listen = bound.address;
    let app = open_to_serve(config, Clock::System, Random::System).await?;
    let details = prepare(&app, &folder.path.join("demo.json")).await?;
    Ok((bound, app, details))
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

In a browser: {url}, signed in as {admin} with the password {admin_password}

{mail}Passwords and refresh tokens: run with --json. Ctrl-C ends the demonstration.
",
        mail = mail_text(demo),
        url = demo.base_url,
        zoid = demo.zoid,
        domain = demo.domain,
        admin = demo.admin.email,
        admin_password = demo.admin.password,
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

/// Client settings, and one look into a mailbox.
fn mail_text(demo: &Details) -> String {
    let Some(mail) = &demo.mail else { return String::new() };
    format!(
        "Real mail servers, for this machine alone and without TLS:

  IMAP        {imap}   user name: any address of the account
  POP3        {pop3}
  submission  {submission}   to send; with the same user name and password
  SMTP        {smtp}   as other servers deliver to {domain}

Mail from outside to {member}, whose password is {password}, and a look into the mailbox:

printf 'From: Somebody <somebody@elsewhere.example>\\nSubject: Hello\\n\\nFrom outside.\\n' | \\
curl 'smtp://{smtp}' --mail-from somebody@elsewhere.example --mail-rcpt {member} -T - --crlf

curl 'imap://{imap}/INBOX;MAILINDEX=1' --user '{member}:{password}'

scripts/tour shows more.

",
        imap = mail.imap,
        pop3 = mail.pop3,
        submission = mail.submission,
        smtp = mail.smtp,
        domain = demo.domain,
        member = demo.member.email,
        password = demo.member.password,
    )
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
