//! The HTTP door.

use axum::Router;

use crate::app::App;

/// Every route.
pub fn router(_: App) -> Router {
    Router::new()
}
