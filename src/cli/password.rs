//! Where a password comes from. Never from an argument: other users of the machine see those.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};

use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use zeroize::Zeroizing;

use crate::app::App;
use crate::app::call::Context;
use crate::domain::password::{Password, PasswordKind, PasswordPolicy};
use crate::domain::secret::{Secret, new_one_time_password};
use crate::error::{Error, Result};

/// A password is generated and shown once, unless one of these says otherwise. A generated one is
/// one-time (it only opens the choice of an own password), a chosen one permanent.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Password (generated and printed once, if nothing is said)")]
pub struct PasswordArgs {
    /// Read the password from the first line of standard input
    #[arg(long, group = "source")]
    password_stdin: bool,
    /// Read the password from the first line of a file
    #[arg(long, value_name = "FILE", group = "source")]
    password_file: Option<PathBuf>,
    /// Ask for the password on the terminal
    #[arg(long, group = "source")]
    ask_password: bool,
    /// The password only opens the choice of an own one, once (so by default for generated ones)
    #[arg(long)]
    one_time: bool,
    /// The password stays until it is changed (so by default for chosen ones)
    #[arg(long, conflicts_with = "one_time")]
    permanent: bool,
}

/// A password to be set.
pub struct Chosen {
    pub password: Password,
    pub kind: PasswordKind,
    /// Set when nobody knows it yet: to be shown once.
    pub generated: Option<Secret>,
}

impl PasswordArgs {
    /// # Errors
    /// `BadPassword`, or why it cannot be read.
    pub fn choose(&self, app: &App, policy: &PasswordPolicy) -> Result<Chosen> {
        let given = if self.password_stdin {
            Some(first_line(std::io::stdin().lock(), "standard input")?)
        } else if let Some(file) = &self.password_file {
            let opened = File::open(file).map_err(|cause| {
                Error::bad_value("--password-file", format!("cannot read {}: {cause}", file.display()))
            })?;
            Some(first_line(BufReader::new(opened), &file.display().to_string())?)
        } else if self.ask_password {
            Some(ask()?)
        } else {
            None
        };
        let kind = match (self.one_time, self.permanent, &given) {
            (true, _, _) | (false, false, None) => PasswordKind::OneTime,
            (false, true, _) | (false, false, Some(_)) => PasswordKind::Permanent,
        };
        match given {
            Some(text) => Ok(Chosen { password: Password::prepare(&text)?, kind, generated: None }),
            None => {
                let shortest = match kind {
                    PasswordKind::OneTime => policy.one_time_min_length,
                    PasswordKind::Permanent => policy.min_length,
                };
                let secret = app.random.with(|rng| new_one_time_password(rng, shortest));
                Ok(Chosen { password: Password::prepare(secret.expose())?, kind, generated: Some(secret) })
            }
        }
    }
}

impl Chosen {
    /// What an idempotency key must know of the password.
    pub fn tell(&self, context: &mut Context) {
        match &self.generated {
            Some(_) => context.answers_with_a_secret("reset the password, with a new key"),
            None => context.also_asks(self.password.expose().as_bytes()),
        }
    }

    /// What is to be said of a generated password, once.
    pub fn text(&self) -> String {
        match (&self.generated, self.kind) {
            (None, _) => String::new(),
            (Some(secret), PasswordKind::OneTime) => {
                format!(
                    "\none-time password: {}\n(it opens only the choice of an own password, once)",
                    secret.expose()
                )
            }
            (Some(secret), PasswordKind::Permanent) => format!("\npassword: {}", secret.expose()),
        }
    }

    /// Adds a generated password to a JSON answer.
    pub fn add_to(&self, answer: &mut serde_json::Value) {
        if let (Some(secret), Some(object)) = (&self.generated, answer.as_object_mut()) {
            object.insert("password".to_owned(), secret.expose().into());
            object.insert("oneTimePassword".to_owned(), (self.kind == PasswordKind::OneTime).into());
        }
    }
}

/// The first line of standard input, as a secret; for tokens too.
///
/// # Errors
/// `BadValue`.
pub fn secret_from_stdin() -> Result<Zeroizing<String>> {
    first_line(std::io::stdin().lock(), "standard input")
}

fn first_line(from: impl std::io::BufRead, name: &str) -> Result<Zeroizing<String>> {
    let mut line = Zeroizing::new(String::with_capacity(1024));
    let unreadable = |why: String| Error::bad_value(name, why);
    from.take(4096).read_line(&mut line).map_err(|cause| unreadable(cause.to_string()))?;
    let text = line.strip_suffix('\n').unwrap_or(&line);
    let text = text.strip_suffix('\r').unwrap_or(text);
    if text.is_empty() {
        return Err(unreadable("its first line is empty; the secret belongs there".to_owned()));
    }
    Ok(Zeroizing::new(text.to_owned()))
}

fn ask() -> Result<Zeroizing<String>> {
    let bad = |why: String| Error::bad_value("--ask-password", why);
    let terminal = Path::new("/dev/tty");
    let open = || File::options().read(true).write(true).open(terminal);
    let tty = open().map_err(|_| {
        bad("there is no terminal to ask on; use --password-stdin or --password-file".to_owned())
    })?;
    let silent = Silent::on(&tty).map_err(|cause| bad(cause.to_string()))?;
    let mut answers = BufReader::new(&tty);
    let mut prompt = |text: &str| {
        (&tty).write_all(text.as_bytes()).map_err(|cause| bad(cause.to_string()))?;
        let answer = first_line(&mut answers, "the terminal");
        (&tty).write_all(b"\n").map_err(|cause| bad(cause.to_string()))?;
        answer
    };
    let first = prompt("New password: ")?;
    let second = prompt("Once more: ")?;
    drop(silent);
    if first == second {
        Ok(first)
    } else {
        Err(bad("the two are not the same; nothing was changed".to_owned()))
    }
}

/// A terminal that does not show what is typed, until this is dropped.
struct Silent<'a>(&'a File, Termios);

impl<'a> Silent<'a> {
    fn on(tty: &'a File) -> std::io::Result<Self> {
        let before = tcgetattr(tty)?;
        let mut silent = before.clone();
        silent.local_modes.remove(LocalModes::ECHO);
        tcsetattr(tty, OptionalActions::Flush, &silent)?;
        Ok(Self(tty, before))
    }
}

impl Drop for Silent<'_> {
    fn drop(&mut self) {
        let _ = tcsetattr(self.0, OptionalActions::Flush, &self.1);
    }
}
