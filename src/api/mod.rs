//! The Zoho-compatible door: routes, and what every request passes on its way in and out.

mod accounts;
mod app_passwords;
mod applications;
mod changes;
mod compromised;
mod door;
mod envelope;
mod health;
mod mail_agents;
mod mail_logins;
mod metrics;
mod oauth;
mod openapi;
mod organizations;
mod own_password;
pub mod refusals;
mod views;

use axum::Router;
use axum::http::Method;
use axum::response::IntoResponse;
use tower::Layer;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::normalize_path::NormalizePathLayer;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::app::App;
use crate::error::Error;

pub use mail_logins::router as mail_logins;
pub use metrics::router as side_door;
pub use openapi::document;

/// The routes of the API, with its answers for unknown addresses and methods. `cli::doors` puts the pages of the
/// console beside them.
pub fn router(app: App) -> Router {
    let (routes, _) = described().split_for_parts();
    let routes = routes.merge(mail_agents::router());
    // Documents and clients write collections with and without a slash at the end.
    Router::new().fallback_service(NormalizePathLayer::trim_trailing_slash().layer(complete(routes, app)))
}

/// Adds what every route has: an answer for other addresses and methods and for a panic, and the door.
fn complete(routes: Router<App>, app: App) -> Router {
    routes
        .fallback(|| async {
            Error::NoRoute("there is no such address; see /openapi.json for those there are".to_owned())
        })
        .method_not_allowed_fallback(|method: Method| async move {
            Error::WrongMethod(crate::door::shown(&method))
        })
        .layer(CatchPanicLayer::custom(|_| Error::internal("a request panicked").into_response()))
        .layer(axum::middleware::from_fn_with_state(app.clone(), door::pass))
        .with_state(app)
}

/// The routes with their descriptions: the document and the router come from one list.
fn described() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(accounts::list, accounts::create, accounts::change_listed, accounts::delete_listed))
        .routes(routes!(accounts::show, accounts::change, accounts::delete))
        .routes(routes!(accounts::clear_throttle))
        .routes(routes!(accounts::own_all))
        .routes(routes!(accounts::own, accounts::change_own))
        .routes(routes!(accounts::history))
        .routes(routes!(compromised::secure))
        .routes(routes!(app_passwords::list, app_passwords::create))
        .routes(routes!(app_passwords::revoke))
        .routes(routes!(applications::list))
        .routes(routes!(applications::disconnect))
        .routes(routes!(changes::show))
        .routes(routes!(organizations::own))
        .routes(routes!(organizations::show))
        .routes(routes!(organizations::domains))
        .routes(routes!(organizations::domain))
        .routes(routes!(own_password::change))
        .routes(routes!(oauth::metadata))
        .routes(routes!(health::live))
        .routes(routes!(health::ready))
        .routes(routes!(openapi::serve))
        .merge(credentials())
}

fn credentials() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(oauth::token))
        .routes(routes!(oauth::revoke))
        .routes(routes!(oauth::introspect))
        .routes(routes!(oauth::user_info))
        .route_layer(axum::middleware::from_fn(door::untried))
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::http::Request;
    use axum::routing::get;
    use tower::ServiceExt;

    use super::*;
    use crate::app::random::Random;
    use crate::clock::Clock;
    use crate::config::Config;
    use crate::store::engine::{Db, Options};

    async fn told(routes: Router<App>, request: Request<Body>) -> (u16, String) {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite:{}", folder.path().join("db").display());
        let db = Db::open(&url, &Options::default()).unwrap();
        crate::app::open::bring_up(&db, 0).await.unwrap();
        let mut config = Config::default();
        config.database.url = url;
        let app = App::new(db, config, Clock::at(0), Random::seeded(1)).await.unwrap();
        let response = complete(routes, app).oneshot(request).await.unwrap();
        let status = response.status().as_u16();
        let bytes = axum::body::to_bytes(response.into_body(), 1 << 20).await.unwrap();
        (status, String::from_utf8(bytes.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn a_panic_is_answered_in_the_envelope_and_not_quoted() {
        let routes = Router::new().route(
            "/",
            get(|| async {
                if true {
                    panic!("Sesame")
                }
            }),
        );
        let (status, text) = told(routes, Request::get("/").body(Body::empty()).unwrap()).await;
        assert_eq!(status, 500);
        assert!(text.contains("INTERNAL_ERROR") && !text.contains("Sesame"), "{text}");
    }

    #[tokio::test]
    async fn a_method_of_any_length_is_refused_shortly() {
        let request = Request::builder().method("A".repeat(9_000).as_str()).uri("/");
        let routes = Router::new().route("/", get(|| async {}));
        let (status, text) = told(routes, request.body(Body::empty()).unwrap()).await;
        assert_eq!(status, 404);
        assert!(text.contains("INVALID_METHOD") && text.len() < 300, "{text}");
    }
}
