//! The Zoho-compatible door: routes, and what every request passes on its way in and out.

mod accounts;
mod app_passwords;
mod changes;
mod door;
mod envelope;
mod health;
mod oauth;
mod openapi;
mod organizations;
mod own_password;
mod views;

use axum::Router;
use tower::Layer;
use tower_http::normalize_path::NormalizePathLayer;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::app::App;
use crate::error::Error;

pub use openapi::document;

/// Everything Mailward answers over HTTP.
pub fn router(app: App) -> Router {
    let (routes, _) = described().split_for_parts();
    let routes = routes
        .fallback(|| async {
            Error::NoRoute("there is no such address; see /openapi.json for those there are".to_owned())
        })
        .method_not_allowed_fallback(|method: axum::http::Method| async move {
            Error::WrongMethod(method.to_string())
        })
        .layer(axum::middleware::from_fn_with_state(app.clone(), door::pass))
        .with_state(app);
    // Documents and clients write collections with and without a slash at the end.
    Router::new().fallback_service(NormalizePathLayer::trim_trailing_slash().layer(routes))
}

/// The routes with their descriptions: the document and the router come from one list.
fn described() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(accounts::list, accounts::create, accounts::change_listed, accounts::delete_listed))
        .routes(routes!(accounts::show, accounts::change, accounts::delete))
        .routes(routes!(accounts::own_all))
        .routes(routes!(accounts::own, accounts::change_own))
        .routes(routes!(app_passwords::list, app_passwords::create))
        .routes(routes!(app_passwords::revoke))
        .routes(routes!(changes::show))
        .routes(routes!(organizations::own))
        .routes(routes!(organizations::show))
        .routes(routes!(organizations::domains))
        .routes(routes!(organizations::domain))
        .routes(routes!(own_password::change))
        .routes(routes!(oauth::token))
        .routes(routes!(oauth::revoke))
        .routes(routes!(oauth::introspect))
        .routes(routes!(oauth::user_info))
        .routes(routes!(oauth::metadata))
        .routes(routes!(health::live))
        .routes(routes!(health::ready))
        .routes(routes!(openapi::serve))
}
