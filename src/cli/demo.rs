//! `mailward demo`.

use crate::cli::desk::Desk;
use crate::error::{Error, Result};

/// Try Mailward in a throw-away database
///
/// Examples:
///   mailward demo
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Demo {}

impl Demo {
    pub async fn run(self, _: &Desk) -> Result<()> {
        Err(Error::Refused("the demonstration is not part of this build".to_owned()))
    }
}
