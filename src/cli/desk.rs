//! What commands share: the configuration with the flags over it, the opened app, and the two
//! ways to answer. Standard output carries only what was asked for.

use std::io::Write as _;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use serde_json::{Value, json};

use crate::app::App;
use crate::app::accounts::AccountMode;
use crate::app::call::Context;
use crate::app::change::{Ask, Done, Entrance, enter, run};
use crate::app::once::{Answer, Once};
use crate::app::open;
use crate::app::operator;
use crate::app::random::Random;
use crate::cli::{Global, logging, os_user, show};
use crate::clock::Clock;
use crate::config::{self, Config};
use crate::domain::account::Account;
use crate::domain::ids::OrganizationId;
use crate::domain::rights::Route;
use crate::domain::switch::Reason;
use crate::error::{Error, Result};

/// One run of the command line.
pub struct Desk {
    pub global: Global,
    reason: Option<Reason>,
    once: Option<Once>,
    opened: OnceLock<App>,
}

impl Desk {
    /// # Errors
    /// `BadValue` for a reason that is none, or a key.
    pub fn new(global: Global) -> Result<Self> {
        let reason = global.reason.as_deref().map(Reason::parse).transpose()?.flatten();
        let once = global.idempotency_key.as_deref().map(once).transpose()?;
        Ok(Self { global, reason, once, opened: OnceLock::new() })
    }

    /// Why, as `--reason` said.
    pub fn reason(&self) -> Option<&Reason> {
        self.reason.as_ref()
    }

    /// The configuration with the flags over it, unchecked; and the file it came from.
    ///
    /// # Errors
    /// `BadValue`.
    pub fn read_config(&self) -> Result<(Config, Option<PathBuf>)> {
        let mut loaded = config::load(self.global.config.as_deref(), variables())?;
        if let Some(url) = &self.global.database {
            loaded.config.database.url.clone_from(url);
        }
        Ok((loaded.config, loaded.file))
    }

    /// What `--config` (or its variable) and the variables say, unchecked; a file that nobody named is not read.
    ///
    /// # Errors
    /// `BadValue`.
    pub fn named_config(&self) -> Result<Config> {
        config::load_named(self.global.config.as_deref(), variables())
    }

    /// The configuration, with values that can be meant.
    ///
    /// # Errors
    /// `BadValue`.
    pub fn config(&self) -> Result<Config> {
        let (config, _) = self.read_config()?;
        config.check()?;
        Ok(config)
    }

    /// What says where the database and the look-up files are, for when the rest of the configuration has a mistake.
    ///
    /// # Errors
    /// `BadValue`.
    pub fn config_of_look_ups(&self) -> Result<Config> {
        let named = self.global.config.as_deref();
        let mut config = config::load_sections(named, variables(), &["database", "mail"])?;
        if let Some(url) = &self.global.database {
            config.database.url.clone_from(url);
        }
        config.check()?;
        Ok(config)
    }

    /// The app on the configured database, which must exist.
    ///
    /// # Errors
    /// `NotFound` when there is no database yet; as `open_app`.
    pub async fn open(&self) -> Result<App> {
        let config = self.config()?;
        logging::quiet();
        must_exist(&config)?;
        let app = open::open_app(&config, Clock::System, Random::System).await?;
        // Once more only where the first was done with.
        let _first = self.opened.set(app.clone());
        Ok(app)
    }

    /// The app, if the command has opened it.
    pub fn opened(&self) -> Option<&App> {
        self.opened.get()
    }

    /// Who acts, through which door, and why.
    pub fn context(&self, app: &App) -> Context {
        Context {
            reason: self.reason.clone(),
            dry_run: self.global.dry_run,
            once: self.once.clone(),
            ..Context::operator(&os_user::name(), app.random.request_id())
        }
    }

    /// The same for a command that claims addresses.
    ///
    /// # Errors
    /// `BadValue` for a reason that is none.
    pub fn releasing(&self, app: &App, release: Option<&str>) -> Result<Context> {
        let release = release.map(Reason::parse).transpose()?.flatten();
        Ok(Context { release, ..self.context(app) })
    }

    /// The answer to `missing`, which is what a command ended with: what an earlier run of it with the same key has
    /// deleted is not there to be named again.
    ///
    /// # Errors
    /// `missing`, where there was no such run.
    pub async fn made_before(&self, app: &App, context: &Context, missing: Error) -> Result<Done> {
        match enter(app, context).await {
            Ok(Entrance::MadeBefore(done)) => Ok(done),
            Ok(Entrance::Pass(_)) | Err(_) => Err(missing),
        }
    }

    /// Carries out a mode on one account and tells what became of it.
    ///
    /// # Errors
    /// As `change::run`.
    pub async fn change(
        &self,
        app: &App,
        context: &Context,
        account: &Account,
        mode: AccountMode,
    ) -> Result<()> {
        let done = self.run_mode(app, context, account.organization, Some(account), mode).await?;
        self.tell_done(&done)
    }

    /// # Errors
    /// As `change::run`.
    pub async fn run_mode(
        &self,
        app: &App,
        context: &Context,
        organization: OrganizationId,
        account: Option<&Account>,
        mode: AccountMode,
    ) -> Result<Done> {
        let zuid = account.map(|account| account.user.get());
        run(app, context, Ask { route: Route::Organization(organization), path: None, zuid, mode }).await
    }

    /// # Errors
    /// When standard output cannot be written.
    pub fn tell_done(&self, done: &Done) -> Result<()> {
        self.tell(done, || show::done_text(done), || show::done_json(done))
    }

    /// Answers what a change did, in the command's own words; after a dry run, what it would do.
    ///
    /// # Errors
    /// When standard output cannot be written.
    pub fn tell(
        &self,
        done: &Done,
        text: impl FnOnce() -> String,
        json: impl FnOnce() -> Value,
    ) -> Result<()> {
        match (&done.forecast, done.repeated) {
            (Some(forecast), _) => {
                self.answer(|| show::forecast_text(forecast), || show::forecast_json(forecast))
            }
            (None, true) => {
                let change = done.answer.as_deref().filter(|change| !change.is_empty());
                let named = change.map(|change| format!("; change {change}")).unwrap_or_default();
                self.answer(
                    || format!("done before with this key; nothing was done again{named}"),
                    || json!({"repeated": true, "change": change}),
                )
            }
            (None, false) => self.answer(text, json),
        }
    }

    /// For a command that cannot be tried: who asked for that must not find it done.
    ///
    /// # Errors
    /// `BadValue` where `--dry-run` was given; `instead` says what to do in its place.
    pub fn in_earnest(&self, instead: &str) -> Result<()> {
        if self.global.dry_run {
            return Err(Error::bad_value(
                "--dry-run",
                format!("this command cannot be tried, and nothing was done; {instead}"),
            ));
        }
        Ok(())
    }

    /// For a command that does what it does each time it is run.
    ///
    /// # Errors
    /// `BadValue` where `--idempotency-key` was given.
    pub fn without_key(&self) -> Result<()> {
        if self.once.is_some() {
            return Err(Error::bad_value(
                "--idempotency-key",
                "this command takes no idempotency key; nothing was done",
            ));
        }
        Ok(())
    }

    /// Answers what was asked for, in words or in JSON.
    ///
    /// # Errors
    /// `Internal` when standard output cannot be written.
    pub fn answer(&self, text: impl FnOnce() -> String, json: impl FnOnce() -> Value) -> Result<()> {
        let mut answer = if self.global.json { json().to_string() } else { text() };
        if !answer.is_empty() && !answer.ends_with('\n') {
            answer.push('\n');
        }
        self.write(answer.as_bytes())
    }

    /// # Errors
    /// `Internal` when standard output cannot be written.
    pub fn write(&self, bytes: &[u8]) -> Result<()> {
        let mut out = std::io::stdout().lock();
        match out.write_all(bytes).and_then(|()| out.flush()) {
            // `| head` has seen enough.
            Err(cause) if cause.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
            Err(cause) => Err(Error::caused("writing to standard output", cause)),
            Ok(()) => Ok(()),
        }
    }

    /// Says something beside the answer.
    pub fn note(&self, text: &str) {
        if !self.global.json {
            eprintln!("{text}");
        }
    }
}

/// Those of the environment that are text.
fn variables() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os().filter_map(|(name, text)| Some((name.into_string().ok()?, text.into_string().ok()?)))
}

/// A wish that this very command be carried out once. What it prints is not kept, the change's id is.
fn once(key: &str) -> Result<Once> {
    let answer =
        Answer::Kept(Arc::new(|done| done.change.map(|change| change.to_string()).unwrap_or_default()));
    let mut once = Once::new("--idempotency-key", key, "command line".to_owned(), answer)?;
    for word in std::env::args_os().skip(1) {
        once.asks(word.as_encoded_bytes());
    }
    Ok(once)
}

/// A user as commands name one.
#[derive(Debug, clap::Args)]
pub struct UserName {
    /// The user: an address, a zuid or an accountId
    #[arg(value_name = "USER")]
    pub user: String,
    #[command(flatten)]
    pub org: OrgName,
}

impl UserName {
    /// # Errors
    /// `NotFound`, `BadAddress`.
    pub async fn find(&self, app: &App) -> Result<Account> {
        operator::user(app, &self.user, self.org.zoid()?).await
    }
}

/// An organization, where it does not follow from something else.
#[derive(Debug, clap::Args)]
pub struct OrgName {
    /// The organization's zoid; only needed where it cannot be told otherwise
    #[arg(long, value_name = "ZOID")]
    pub org: Option<String>,
}

impl OrgName {
    /// # Errors
    /// `BadValue`.
    pub fn zoid(&self) -> Result<Option<OrganizationId>> {
        self.org.as_deref().map(zoid).transpose()
    }

    /// # Errors
    /// As `operator::organization`.
    pub async fn find(&self, app: &App) -> Result<OrganizationId> {
        Ok(operator::organization(app, self.zoid()?).await?.id)
    }
}

/// # Errors
/// `BadValue`.
pub fn zoid(text: &str) -> Result<OrganizationId> {
    text.parse().map_err(|()| Error::bad_value("zoid", format!("{text} is no zoid; see `mailward org list`")))
}

/// # Errors
/// `NotFound` when the embedded database has no file yet, so that none is made by a typing error.
pub fn must_exist(config: &Config) -> Result<()> {
    match config.database.sqlite_path() {
        Some(path) if !path.exists() => Err(Error::NotFound(format!(
            "there is no database at {}; run `mailward init`, or name another one with --database",
            path.display()
        ))),
        Some(_) | None => Ok(()),
    }
}
