//! `mailward completions` and `mailward man`: from the same definitions as the help.

use std::path::PathBuf;

use clap::CommandFactory as _;
use clap_complete::Shell;

use crate::cli::Cli;
use crate::cli::desk::Desk;
use crate::error::{Error, Result};

/// Print the completions for a shell
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  mailward completions bash > /etc/bash_completion.d/mailward
  mailward completions zsh > ~/.zfunc/_mailward
  mailward completions fish > ~/.config/fish/completions/mailward.fish")]
pub struct Completions {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

impl Completions {
    /// # Errors
    /// When standard output cannot be written.
    pub fn run(self, desk: &Desk) -> Result<()> {
        let mut text = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), "mailward", &mut text);
        desk.write(&text)
    }
}

/// Print the manual page, or write one for every command
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  mailward man | man -l -\n  mailward man --dir /usr/local/share/man/man1"
)]
pub struct Man {
    /// Write the pages of all commands into this folder
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

impl Man {
    /// # Errors
    /// When the pages cannot be written.
    pub fn run(self, desk: &Desk) -> Result<()> {
        match self.dir {
            Some(_) if desk.global.dry_run => desk.in_earnest("leave --dir out to see the page"),
            Some(folder) => clap_mangen::generate_to(Cli::command(), &folder).map_err(|cause| {
                Error::bad_value("--dir", format!("cannot write to {}: {cause}", folder.display()))
            }),
            None => {
                let mut page = Vec::new();
                clap_mangen::Man::new(Cli::command())
                    .render(&mut page)
                    .map_err(|cause| Error::caused("writing the manual page", cause))?;
                desk.write(&page)
            }
        }
    }
}
