//! Making an app password, by whichever door: drawn here, stored as its SHA-256, told once.

use crate::app::App;
use crate::app::accounts::AccountMode;
use crate::app::accounts::create_app_password::CreateAppPassword;
use crate::app::call::{Context, known};
use crate::app::change::{self, Ask, Done};
use crate::domain::app_password::AppPassword;
use crate::domain::ids::AppPasswordId;
use crate::domain::rights::Route;
use crate::domain::secret::{Secret, new_app_password};
use crate::error::{Error, Result};

/// An app password that was made; in a dry run, one that would be.
pub struct Made {
    pub done: Done,
    pub password: Secret,
    id: AppPasswordId,
}

impl Made {
    /// The app password as it is stored.
    ///
    /// # Errors
    /// `Internal`.
    pub fn stored(&self) -> Result<&AppPassword> {
        let mut all = self.done.accounts.iter().flat_map(|account| &account.app_passwords);
        all.find(|one| one.id == self.id).ok_or_else(|| Error::internal("the app password was not stored"))
    }
}

/// Makes an app password for the account with that number.
///
/// # Errors
/// As `change::run`.
pub async fn make(
    app: &App,
    context: &Context,
    route: Route,
    number: i64,
    wish: CreateAppPassword,
) -> Result<Made> {
    known(app, context).await?;
    let password = app.random.with(new_app_password);
    let id: AppPasswordId = context.id(app).await?;
    let mode = AccountMode::CreateAppPassword(wish.made(id, &password));
    let ask = Ask { route, path: Some(number), zuid: None, mode };
    let done = change::run(app, context, ask).await?;
    Ok(Made { done, password, id })
}
