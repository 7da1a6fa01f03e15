//! An application that sends somebody here to be let in, as the person sees it.

use axum::Router;
use axum::extract::RawQuery;
use axum::response::Redirect;
use axum::routing::get;
use mailward::app::clients::{self, NewClient};
use mailward::domain::client::ClientKind;
use mailward::domain::ids::UserId;
use mailward::store::engine::Db;

use super::Window;
use crate::support::world::{PASSWORD, operator};

/// An application whose callback sends the browser on to another of its hosts, as many do. Answers the
/// address of its callback.
async fn application() -> String {
    let home = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let callback = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let home_url = format!("http://localhost:{}/home", home.local_addr().expect("an address").port());
    let url = format!("http://127.0.0.1:{}/callback", callback.local_addr().expect("an address").port());
    let page = get(|RawQuery(query): RawQuery| async move {
        format!("The application heard: {}", query.unwrap_or_default())
    });
    let on = get(|RawQuery(query): RawQuery| async move {
        Redirect::to(&format!("{home_url}?{}", query.unwrap_or_default()))
    });
    let icon = get(|| async { axum::http::StatusCode::NO_CONTENT });
    let home_pages = Router::new().route("/home", page).route("/favicon.ico", icon);
    tokio::spawn(async move { axum::serve(home, home_pages).await });
    tokio::spawn(async move { axum::serve(callback, Router::new().route("/callback", on)).await });
    url
}

both_engines! {
    async fn an_application_is_let_in_or_not(db: Db) {
        let window = Window::open(db).await;
        let (world, browser) = (&window.world, &window.browser);
        let callback = application().await;
        let new = NewClient {
            organization: world.zoid,
            owner: UserId::new(world.owner.zuid).expect("a zuid"),
            name: "Chart Table".to_owned(),
            kind: ClientKind::Web,
            redirect_uris: vec![callback.clone()],
        };
        let (client, secret, _) = clients::create(&world.app, &operator(), new).await.expect("a client");
        let query = url::form_urlencoded::Serializer::new(String::new())
            .extend_pairs([
                ("client_id", client.id.as_str()),
                ("redirect_uri", &callback),
                ("response_type", "code"),
                ("scope", "ZohoMail.organization.accounts.READ,ZohoMail.accounts.ALL,ZohoMail.messages.READ"),
                ("access_type", "offline"),
                ("state", "as-before"),
            ])
            .finish();
        let path = format!("/oauth/v2/auth?{query}");

        // To the question by way of the sign-in.
        window.go(&path).await;
        browser.fill("#address", &world.admin.email).await;
        browser.fill("#password", PASSWORD).await;
        browser.press("Sign in").await;
        browser.sees("Allow Chart Table to use your account?").await;
        let mut findings = Vec::new();
        window.arrive("consent", &mut findings).await;
        assert!(findings.is_empty(), "{findings:#?}");

        browser.press("Do not allow").await;
        browser.sees("The application heard: ").await;
        let heard = browser.text().await;
        assert!(heard.contains("error=access_denied") && heard.contains("state=as-before"), "{heard}");

        window.go(&path).await;
        browser.press("Allow").await;
        browser.sees("The application heard: code=1000.").await;
        let heard = browser.text().await;
        let query = heard.trim().strip_prefix("The application heard: ").expect("a query");
        let heard: Vec<_> = url::form_urlencoded::parse(query.as_bytes()).into_owned().collect();
        let code = &heard.iter().find(|(name, _)| name == "code").expect("a code").1;
        let secret = secret.expect("a secret");
        let form = [
            ("grant_type", "authorization_code"),
            ("client_id", client.id.as_str()),
            ("client_secret", secret.expose()),
            ("redirect_uri", &callback),
            ("code", code),
        ];
        let tokens = world.form("/oauth/v2/token", &form).await.ok().json();
        assert!(tokens["refresh_token"].is_string(), "{tokens}");
        let access = tokens["access_token"].as_str().expect("a token");
        world.get(access, &world.path(&world.member)).await.ok();
        assert_eq!(browser.complaints().await, Vec::<String>::new());

        // An address that was not registered: a page that says so, and nothing is sent there.
        window.go(&path.replace("callback", "elsewhere")).await;
        browser.sees("was not registered").await;
        let mut findings = Vec::new();
        window.arrive("consent-refused", &mut findings).await;
        assert!(findings.is_empty(), "{findings:#?}");
    }
}
