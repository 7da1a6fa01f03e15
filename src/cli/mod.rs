//! The command line: for the operator of the server, who stands above every administrator. Start
//! with `Command`; `desk` opens what a command needs, `exit` says what an error means to a shell.

mod alias;
mod app_password;
mod audit;
mod backup;
mod change;
mod client;
mod copy;
mod demo;
pub mod desk;
mod doctor;
mod documents;
mod domain;
pub mod exit;
mod init;
mod keys;
pub mod logging;
mod mail_agent;
mod mail_server;
mod mailbox;
mod migrate;
mod org;
mod os_user;
mod password;
pub mod policy;
mod projection;
mod read_only;
mod serve;
mod show;
mod text;
mod throttle;
mod token;
mod user;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::app::App;
use crate::app::open::read_private;
use crate::cli::desk::Desk;
use crate::domain::secret::Secret;
use crate::error::{Error, Result};
use crate::serve::{Router, SideDoor};

/// Everything that is answered over HTTP: pages for browsers, the API for programs.
pub fn doors(app: &App) -> Router {
    crate::console::router(app.clone(), crate::api::router(app.clone()))
}

/// Opens the door where Dovecot tells of logins, if there is a key for it. Mail goes on without it,
/// so nothing here keeps the service from starting.
pub fn listen_to_logins(app: &App) {
    let (file, address) = (&app.config.mail.logins_key_file, app.config.mail.logins_listen);
    if !file.exists() {
        tracing::info!(file = %file.display(), "no key for logins at the mail servers; they are not counted");
        return;
    }
    let opened = read_private("mail.logins_key_file", file).and_then(|token| {
        let router = crate::api::mail_logins(app.clone(), &Secret::new(token.as_str()));
        let door = SideDoor::open("mail.logins_listen", address)?;
        let address = door.address;
        door.answer(router);
        Ok(address)
    });
    match opened {
        Ok(address) => tracing::info!(%address, "listening to logins at the mail servers"),
        Err(error) => tracing::error!(%error, "logins at the mail servers are not counted"),
    }
}

/// The account desk of a mail organization that runs its own servers.
///
/// Mailward speaks the Zoho Mail Users API over HTTPS, and this is its command line, for whoever
/// operates the server. Everything done here is written to the audit log with your name on this
/// machine.
#[derive(Debug, Parser)]
#[command(
    name = "mailward",
    version,
    max_term_width = 100,
    after_help = "\
Examples:
  mailward demo                     try it, in a throw-away database
  mailward init --organization Example --domain example.org \\
      --admin admin@example.org
  mailward serve
  mailward user add rebecca@example.org --name 'Rebecca Anderson'
  mailward user reset-password rebecca@example.org --reason 'ticket 4711'
  mailward doctor                   what is wrong, and how to mend it

Exit codes:
  0 done  1 failure  2 wrong usage or value  3 refused by a rule  4 not found

Options come from --config, or ./mailward.toml, or /etc/mailward/mailward.toml;
variables named MAILWARD_SECTION_OPTION win over the file, flags over both."
)]
pub struct Cli {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub command: Command,
}

/// Flags that every command takes.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Everywhere")]
pub struct Global {
    /// The configuration file [default: ./mailward.toml, else /etc/mailward/mailward.toml]
    #[arg(long, global = true, value_name = "FILE", env = "MAILWARD_CONFIG", hide_env_values = true)]
    pub config: Option<PathBuf>,
    /// The database, sqlite:PATH or postgres://…, in place of the configured one
    #[arg(long, global = true, value_name = "URL")]
    pub database: Option<String>,
    /// Answer in JSON, for machines; errors too (on standard error)
    #[arg(long, global = true)]
    pub json: bool,
    /// Why you do it, for the audit log; at most 200 characters
    #[arg(long, global = true, value_name = "TEXT")]
    pub reason: Option<String>,
    /// Only say what would happen: every check is made, nothing is changed
    #[arg(long, global = true)]
    pub dry_run: bool,
    /// Do it once, however often this very command is run within 24 hours with this key
    #[arg(long, global = true, value_name = "KEY")]
    pub idempotency_key: Option<String>,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    Init(init::Init),
    Serve(serve::Serve),
    Demo(demo::Demo),
    #[command(subcommand)]
    Org(org::Org),
    #[command(subcommand)]
    Domain(domain::Domain),
    #[command(subcommand)]
    User(user::User),
    #[command(subcommand)]
    Alias(alias::Alias),
    #[command(subcommand)]
    AppPassword(app_password::AppPassword),
    #[command(subcommand)]
    Client(client::Client),
    #[command(subcommand)]
    Token(token::Token),
    #[command(subcommand)]
    Audit(audit::Audit),
    #[command(subcommand)]
    Change(change::Change),
    #[command(subcommand)]
    MailServer(mail_server::MailServer),
    #[command(subcommand)]
    MailAgent(mail_agent::MailAgent),
    #[command(subcommand)]
    Projection(projection::Projection),
    #[command(subcommand)]
    Mailbox(mailbox::Mailbox),
    #[command(subcommand)]
    Keys(keys::Keys),
    #[command(subcommand)]
    Throttle(throttle::Throttle),
    Doctor(doctor::Doctor),
    Backup(backup::Backup),
    Restore(backup::Restore),
    Copy(copy::Copy),
    #[command(subcommand)]
    ReadOnly(read_only::ReadOnly),
    Migrate(migrate::Migrate),
    Completions(documents::Completions),
    Man(documents::Man),
}

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(usage) => {
            let asked_for = usage.exit_code() == 0; // help, or the version
            if !asked_for && std::env::args_os().any(|argument| argument == "--json") {
                return exit::misused(&usage.render().to_string());
            }
            // A closed pipe is the only way for this to fail, and nobody is left to tell.
            let _ = usage.print();
            return ExitCode::from(u8::try_from(usage.exit_code()).unwrap_or(exit::USAGE));
        }
    };
    let json = cli.global.json;
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(cause) => return exit::fail(&crate::error::Error::caused("starting the threads", cause), json),
    };
    match runtime.block_on(run(cli)) {
        Ok(code) => ExitCode::from(code),
        Err(error) => exit::fail(&error, json),
    }
}

impl Command {
    /// For a command that cannot be tried, what to do in place of `--dry-run`.
    fn untried(&self) -> Option<&'static str> {
        match self {
            Self::Init(_) => Some("give it a --config and a --database of their own to see what it makes"),
            Self::Serve(_) => Some("`mailward doctor` says whether it could start"),
            Self::Demo(_) => Some("it is throw-away by itself"),
            Self::Backup(_) => Some("a backup changes nothing but its own new file"),
            Self::Copy(_) => Some("it only reads the source, and the target must be empty"),
            Self::Keys(keys::Keys::Show) => None,
            Self::Keys(_) => Some("`mailward keys show` names the keys that there are"),
            Self::Restore(_) => Some("it overwrites nothing; restore into another --database first"),
            Self::Org(_)
            | Self::Domain(_)
            | Self::User(_)
            | Self::Alias(_)
            | Self::AppPassword(_)
            | Self::Client(_)
            | Self::Token(_)
            | Self::Audit(_)
            | Self::Change(_)
            | Self::MailServer(_)
            | Self::MailAgent(_)
            | Self::Projection(_)
            | Self::Mailbox(_)
            | Self::Throttle(_)
            | Self::Doctor(_)
            | Self::ReadOnly(_)
            | Self::Migrate(_)
            | Self::Completions(_)
            | Self::Man(_) => None,
        }
    }

    /// Whether the command would change something anew each time, whatever `--idempotency-key` says. What
    /// changes accounts, organizations and their clients keeps keys; what only looks has no need of one.
    fn keeps_no_keys(&self) -> bool {
        match self {
            Self::Init(_)
            | Self::Serve(_)
            | Self::Demo(_)
            | Self::Backup(_)
            | Self::Restore(_)
            | Self::Copy(_)
            | Self::Migrate(_)
            | Self::Projection(_)
            | Self::ReadOnly(read_only::ReadOnly::On | read_only::ReadOnly::Off)
            | Self::Throttle(throttle::Throttle::Clear { .. })
            | Self::User(user::User::Factors { remove: true, .. }) => true,
            Self::Keys(keys) => !matches!(keys, keys::Keys::Show),
            Self::MailServer(server) => {
                matches!(server, mail_server::MailServer::Add { .. } | mail_server::MailServer::Remove { .. })
            }
            Self::MailAgent(agent) => !matches!(agent, mail_agent::MailAgent::List),
            Self::Org(_)
            | Self::Domain(_)
            | Self::User(_)
            | Self::Alias(_)
            | Self::AppPassword(_)
            | Self::Client(_)
            | Self::Token(_)
            | Self::Audit(_)
            | Self::Change(_)
            | Self::Mailbox(_)
            | Self::Throttle(_)
            | Self::Doctor(_)
            | Self::ReadOnly(_)
            | Self::Completions(_)
            | Self::Man(_) => false,
        }
    }
}

async fn run(cli: Cli) -> Result<u8> {
    let desk = Desk::new(cli.global)?;
    if let Some(instead) = cli.command.untried() {
        desk.in_earnest(instead)?;
    }
    if cli.command.keeps_no_keys() {
        desk.without_key()?;
    }
    let outcome = match carry_out(cli.command, &desk).await {
        Err(missing @ Error::NotFound(_)) if desk.global.idempotency_key.is_some() => {
            let app = desk.open().await?;
            let done = desk.made_before(&app, &desk.context(&app), missing).await?;
            desk.tell_done(&done).map(|()| exit::DONE)
        }
        other => other,
    };
    if let Some(app) = desk.opened() {
        projection::reload(&desk, app).await?;
    }
    outcome
}

async fn carry_out(command: Command, desk: &Desk) -> Result<u8> {
    match command {
        Command::Init(init) => init.run(desk).await,
        Command::Serve(serve) => serve.run(desk).await,
        Command::Demo(demo) => demo.run(desk).await,
        Command::Org(org) => org.run(desk).await,
        Command::Domain(domain) => domain.run(desk).await,
        Command::User(user) => user.run(desk).await,
        Command::Alias(alias) => alias.run(desk).await,
        Command::AppPassword(app_password) => app_password.run(desk).await,
        Command::Client(client) => client.run(desk).await,
        Command::Token(token) => token.run(desk).await,
        Command::Audit(audit) => return audit.run(desk).await,
        Command::Change(change) => change.run(desk).await,
        Command::MailServer(mail_server) => return mail_server.run(desk).await,
        Command::MailAgent(mail_agent) => mail_agent.run(desk).await,
        Command::Projection(projection) => projection.run(desk).await,
        Command::Mailbox(mailbox) => mailbox.run(desk).await,
        Command::Keys(keys) => keys.run(desk).await,
        Command::Throttle(throttle) => throttle.run(desk).await,
        Command::Doctor(doctor) => return doctor.run(desk).await,
        Command::Backup(backup) => backup.run(desk).await,
        Command::Restore(restore) => restore.run(desk).await,
        Command::Copy(copy) => copy.run(desk).await,
        Command::ReadOnly(read_only) => read_only.run(desk).await,
        Command::Migrate(migrate) => migrate.run(desk).await,
        Command::Completions(completions) => completions.run(desk),
        Command::Man(man) => man.run(desk),
    }?;
    Ok(exit::DONE)
}
