//! `mailward init`: from nothing to an organization that somebody can administer.

use std::fs::{self, DirBuilder};
use std::io::Write as _;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use serde_json::json;

use crate::app::accounts::create;
use crate::app::open::open_app;
use crate::app::operator;
use crate::app::organizations::{self, DomainChange};
use crate::app::random::Random;
use crate::cli::desk::Desk;
use crate::cli::logging;
use crate::cli::password::PasswordArgs;
use crate::clock::Clock;
use crate::config::{self, Config, Database};
use crate::domain::actor::Role;
use crate::domain::claim::check_local_part;
use crate::domain::email_address::{DomainName, EmailAddress};
use crate::domain::plain_text;
use crate::domain::policy::Policy;
use crate::error::{Error, Result};
use crate::machine::files;

/// Set up Mailward: configuration, database, the first organization and its super administrator
///
/// Makes the database (and its folder, for you alone), writes a commented mailward.toml where
/// there is none, and creates the organization, its verified domain and a super administrator.
/// Run it as the user that the service will run as. Nothing is changed where there is an
/// organization already.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  mailward init --organization Example --domain example.org \\
      --admin admin@example.org
  mailward init --config ./mailward.toml --database sqlite:data/m.sqlite \\
      --organization Example --domain example.org \\
      --admin admin@example.org --ask-password
  mailward init --database postgres://mailward@db.internal/mailward \\
      --organization Example --domain example.org \\
      --admin admin@example.org --password-file password.txt")]
pub struct Init {
    /// The organization's name
    #[arg(long, value_name = "NAME")]
    organization: String,
    /// The organization's mail domain; you vouch that it is theirs
    #[arg(long, value_name = "DOMAIN")]
    domain: String,
    /// The address of the first super administrator
    #[arg(long, value_name = "ADDRESS")]
    admin: String,
    /// The super administrator's name
    #[arg(long, value_name = "NAME", default_value = "Administrator")]
    name: String,
    #[command(flatten)]
    password: PasswordArgs,
}

impl Init {
    /// # Errors
    /// `Refused` when there is an organization already.
    pub async fn run(self, desk: &Desk) -> Result<()> {
        logging::quiet();
        let domain = DomainName::parse(&self.domain)?;
        let address = EmailAddress::parse(&self.admin)?;
        if *address.domain() != domain {
            return Err(Error::BadAddress(format!("{address} is not on the domain {domain}")));
        }
        let file = file(desk.global.config.as_deref());
        let mut config = self.config(desk, &file)?;
        config.database.url = absolute(&config.database)?;
        config.check()?;
        if desk.global.database.is_some()
            && let Some(of_file) = Self::of_file(desk, &file)?
            && absolute(&of_file)? != config.database.url
        {
            // A URL may have a password in it.
            let other =
                of_file.sqlite_path().map_or("a PostgreSQL".to_owned(), |path| path.display().to_string());
            return Err(Error::bad_value(
                "--database",
                format!(
                    "{} is there and names {other}, which is what the service would open; \
                     write database.url into it, and run this without --database",
                    file.display()
                ),
            ));
        }
        if let Some(path) = config.database.sqlite_path() {
            make_folder(path)?;
        }
        let app = open_app(&config, Clock::System, Random::System).await?;
        if let Some(first) = operator::organizations(&app).await?.first() {
            return Err(Error::Refused(format!(
                "this database is initialised already: it has the organization {} ({}); \
                 use `mailward org add` for another one, `mailward user add --role super_admin` for another administrator",
                first.name, first.id
            )));
        }
        // Everything that can be refused is asked before anything is made.
        let policy = Policy::default();
        plain_text::some_name("--organization", &self.organization)?;
        check_local_part(&address, config.addresses.recipient_delimiter)?;
        let chosen = self.password.choose(&app, &policy.password)?;
        policy.password.check(&chosen.password, chosen.kind, &[address.as_str(), &self.name])?;
        let mut new = create::simple(address, chosen.password.clone(), Role::SuperAdmin, &self.name)?;
        new.kind = chosen.kind;
        let written = write_config(&file, &config)?;

        let context = desk.context(&app);
        let (organization, _) = organizations::create(&app, &context, &self.organization).await?;
        let zoid = organization.id;
        organizations::add_domain(&app, &context, zoid, &domain).await?;
        organizations::change_domain(&app, &context, zoid, &domain, DomainChange::Verify).await?;
        let (admin, _) = create::create(&app, &context, zoid, new).await?;

        if written {
            desk.note(&format!("wrote {}", file.display()));
        }
        desk.note("start the service with `mailward serve`; see `mailward doctor` when in doubt");
        desk.answer(
            || {
                format!(
                    "organization         {} ({zoid})\ndomain               {domain}\nsuper administrator  {} ({}){}",
                    organization.name,
                    admin.primary,
                    admin.user,
                    chosen.text()
                )
            },
            || {
                let mut answer = json!({
                    "zoid": zoid.to_string(),
                    "organization": organization.name,
                    "domain": domain.as_str(),
                    "zuid": admin.user.to_string(),
                    "accountId": admin.id.to_string(),
                    "email": admin.primary.as_str(),
                    "config": file,
                    "database": config.database.url_without_password(),
                });
                chosen.add_to(&mut answer);
                answer
            },
        )
    }

    /// The database that a file which is there already names, whatever the flags say.
    fn of_file(desk: &Desk, file: &Path) -> Result<Option<Database>> {
        if !file.exists() {
            return Ok(None);
        }
        let unnamed = crate::cli::Global { database: None, ..desk.global.clone() };
        Ok(Some(Desk::new(unnamed)?.read_config()?.0.database))
    }

    /// The configuration as it is, or as it will be when the file is written.
    fn config(&self, desk: &Desk, file: &Path) -> Result<Config> {
        if file.exists() {
            return Ok(desk.read_config()?.0);
        }
        let named = crate::cli::Global { config: None, ..desk.global.clone() };
        Ok(Desk::new(named)?.read_config()?.0)
    }
}

/// The file to use or to write: the named one, one that is there, or the place for this user.
fn file(named: Option<&Path>) -> PathBuf {
    config::find(named).unwrap_or_else(|| {
        let place = if rustix::process::getuid().is_root() { config::EVERYWHERE } else { config::HERE };
        PathBuf::from(place)
    })
}

/// The URL with the whole path, so that it means the same from every folder.
fn absolute(database: &Database) -> Result<String> {
    match database.sqlite_path() {
        None => Ok(database.url.clone()),
        Some(path) => {
            let path = std::path::absolute(path)
                .map_err(|cause| Error::bad_value("database.url", format!("{}: {cause}", path.display())))?;
            Ok(format!("sqlite:{}", path.display()))
        }
    }
}

fn make_folder(database: &Path) -> Result<()> {
    let folder = files::folder(database);
    DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(|cause| {
        Error::bad_value(
            "database.url",
            format!(
                "cannot make the folder {}: {cause}; name another place, as --database sqlite:./data/mailward.sqlite",
                folder.display()
            ),
        )
    })
}

/// Writes the commented example with the database in it; an existing file is left alone.
fn write_config(file: &Path, config: &Config) -> Result<bool> {
    const EXAMPLE: &str = include_str!("../../mailward.example.toml");
    if file.exists() {
        return Ok(false);
    }
    let default = format!("#url = {:?}", Database::default().url);
    let chosen = toml::Value::String(config.database.url.clone());
    let text = EXAMPLE.replacen(&default, &format!("url = {chosen}"), 1);
    let made = fs::create_dir_all(files::folder(file))
        .and_then(|()| files::new_private(file)?.write_all(text.as_bytes()));
    made.map(|()| true).map_err(|cause| {
        Error::bad_value("--config", format!("cannot write {}: {cause}; name another file", file.display()))
    })
}
