//! The command line: for the operator of the server, who stands above every administrator. Start
//! with `Command`; `desk` opens what a command needs, `exit` says what an error means to a shell.

mod alias;
mod app_password;
mod audit;
mod backup;
mod change;
mod client;
mod demo;
pub mod desk;
mod doctor;
mod documents;
mod domain;
pub mod exit;
mod init;
pub mod logging;
mod mail_server;
mod mailbox;
mod migrate;
mod org;
mod os_user;
mod password;
mod policy;
mod projection;
mod serve;
mod show;
mod text;
mod token;
mod user;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::cli::desk::Desk;
use crate::error::Result;

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
    Projection(projection::Projection),
    #[command(subcommand)]
    Mailbox(mailbox::Mailbox),
    Doctor(doctor::Doctor),
    Backup(backup::Backup),
    Restore(backup::Restore),
    Migrate(migrate::Migrate),
    Completions(documents::Completions),
    Man(documents::Man),
}

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(usage) => {
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

async fn run(cli: Cli) -> Result<u8> {
    let desk = Desk::new(cli.global)?;
    match cli.command {
        Command::Init(init) => init.run(&desk).await,
        Command::Serve(serve) => serve.run(&desk).await,
        Command::Demo(demo) => demo.run(&desk).await,
        Command::Org(org) => org.run(&desk).await,
        Command::Domain(domain) => domain.run(&desk).await,
        Command::User(user) => user.run(&desk).await,
        Command::Alias(alias) => alias.run(&desk).await,
        Command::AppPassword(app_password) => app_password.run(&desk).await,
        Command::Client(client) => client.run(&desk).await,
        Command::Token(token) => token.run(&desk).await,
        Command::Audit(audit) => audit.run(&desk).await,
        Command::Change(change) => change.run(&desk).await,
        Command::MailServer(mail_server) => return mail_server.run(&desk).await,
        Command::Projection(projection) => projection.run(&desk).await,
        Command::Mailbox(mailbox) => mailbox.run(&desk).await,
        Command::Doctor(doctor) => return doctor.run(&desk).await,
        Command::Backup(backup) => backup.run(&desk).await,
        Command::Restore(restore) => restore.run(&desk).await,
        Command::Migrate(migrate) => migrate.run(&desk).await,
        Command::Completions(completions) => completions.run(&desk),
        Command::Man(man) => man.run(&desk),
    }?;
    Ok(exit::DONE)
}
