//! Requests on their whole way, from bytes to the answer, against a throw-away Mailward with people, tokens
//! and a signed-in browser.
//!
//! An input is a request as people write it down: `METHOD PATH`, headers, an empty line, the body. Words in
//! braces (`{zoid}`, `{admin}`, …) stand for what only this Mailward knows.

use std::{
    cell::RefCell,
    path::PathBuf,
    sync::atomic::{AtomicU32, Ordering},
};

use axum::{
    Router,
    body::{Body, to_bytes},
    http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, Uri, header},
};
use mailward::{
    app::{App, demo, open, random::Random},
    clock::{Clock, SECOND},
    config::Config,
    domain::secret::Secret,
    store::engine::{Db, Options},
};
use serde_json::Value;
use tokio::runtime::Runtime;
use tower::ServiceExt;

/// After so many requests everything is made anew, so that what one input left is not kept for ever.
const FOR: u32 = 1_000;

/// A Mailward for some requests.
struct Desk {
    runtime: Runtime,
    router: Router,
    logins: Router,
    clock: Clock,
    words: Vec<(&'static str, String)>,
    left: u32,
    folder: PathBuf,
}

thread_local! {
    static DESK: RefCell<Option<Desk>> = const { RefCell::new(None) };
}

/// Every request is answered, and never with a failure of ours; what the API answers is its envelope.
pub fn request(data: &[u8]) {
    with_desk(|desk| {
        let data = desk.filled(data);
        let Some(asked) = read(&data) else { return };
        let path = asked.uri().path().to_owned();
        let answer = desk.answer(&desk.router, asked);
        assert!(!answer.status.is_server_error(), "{}: {}", answer.status, answer.text);
        assert!(answer.headers.contains_key("x-request-id") || !path.starts_with("/api/"), "no request id");
        let kind = answer.headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
        if kind.is_some_and(|kind| kind.starts_with("application/json")) && !answer.text.is_empty() {
            let json: Value = serde_json::from_str(&answer.text).expect("JSON");
            if path.starts_with("/api/") {
                assert!(json["status"]["code"].is_number(), "{}", answer.text);
            }
        }
    });
}

/// What Dovecot, or whoever knows its key, tells of a login is answered with a decision, or refused as
/// unreadable; never with a failure, which would keep people from their mail.
pub fn mail_login(data: &[u8]) {
    with_desk(|desk| {
        let mut parts = data.splitn(2, |byte| *byte == b'\n');
        let command = std::str::from_utf8(parts.next().unwrap_or_default()).unwrap_or_default();
        let body = desk.filled(parts.next().unwrap_or_default());
        let Ok(uri) = format!("/policy?{command}").parse::<Uri>() else { return };
        let asked = Request::post(uri).header(header::AUTHORIZATION, "Bearer the-key");
        let asked = asked.body(Body::from(body)).expect("a request");
        let answer = desk.answer(&desk.logins, asked);
        match answer.status {
            StatusCode::OK => {
                let told: Value = serde_json::from_str(&answer.text).expect("JSON");
                assert!(told["status"] == 0 || told["status"] == -1, "{told}");
            }
            StatusCode::BAD_REQUEST | StatusCode::PAYLOAD_TOO_LARGE => {}
            other => panic!("{other} is no answer for Dovecot"),
        }
    });
}

fn with_desk(run: impl FnOnce(&Desk)) {
    DESK.with_borrow_mut(|kept| {
        let mut desk = kept.take().filter(|desk| desk.left > 0).unwrap_or_else(Desk::make);
        desk.left -= 1;
        run(&desk);
        // Not kept after a broken promise: the next input meets a new one.
        *kept = Some(desk);
    });
}

/// The request that the bytes are; none where no client could send them.
fn read(data: &[u8]) -> Option<Request<Body>> {
    let mut lines = data.splitn(2, |byte| *byte == b'\n');
    let (first, mut rest) = (lines.next()?, lines.next().unwrap_or_default());
    let first = std::str::from_utf8(first).ok()?;
    let (method, uri) = first.split_once(' ')?;
    let mut request = Request::builder().method(method.parse::<Method>().ok()?).uri(uri.parse::<Uri>().ok()?);
    loop {
        let mut lines = rest.splitn(2, |byte| *byte == b'\n');
        let line = lines.next().unwrap_or_default();
        rest = lines.next().unwrap_or_default();
        if line.is_empty() {
            return request.body(Body::from(rest.to_vec())).ok();
        }
        let at = line.iter().position(|byte| *byte == b':')?;
        let name = HeaderName::from_bytes(&line[..at]).ok()?;
        request = request.header(name, HeaderValue::from_bytes(line[at + 1..].trim_ascii()).ok()?);
    }
}

struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    text: String,
}

impl Desk {
    fn make() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let name = format!("mailward-fuzz-{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let folder = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&folder).expect("a folder");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let (app, demo) = runtime.block_on(open(&folder));
        let router = mailward::cli::doors(&app);
        let logins = mailward::api::mail_logins(app.clone(), &Secret::new("the-key"));
        let mut desk =
            Self { runtime, router, logins, clock: app.clock.clone(), words: Vec::new(), left: FOR, folder };
        let (cookie, csrf) = desk.sign_in(&demo.admin.email, &demo.admin.password);
        let token = |person: &demo::Person| person.access_token.clone().unwrap_or_default();
        let spare = &demo.spare[0];
        desk.words = vec![
            ("{zoid}", demo.zoid.to_string()),
            ("{zuid}", spare.zuid.to_string()),
            ("{account}", spare.account_id.clone()),
            ("{address}", spare.email.clone()),
            ("{password}", spare.password.clone()),
            ("{own-account}", demo.member.account_id.clone()),
            ("{own-zuid}", demo.member.zuid.to_string()),
            ("{admin}", token(&demo.admin)),
            ("{plain-admin}", token(&demo.plain_admin)),
            ("{member}", token(&demo.member)),
            ("{client}", demo.client.client_id.clone()),
            ("{client-secret}", demo.client.client_secret.clone()),
            ("{refresh}", demo.admin.refresh_token.clone().unwrap_or_default()),
            ("{cookie}", cookie),
            ("{csrf}", csrf),
        ];
        desk
    }

    /// The input with what the words in braces stand for.
    fn filled(&self, data: &[u8]) -> Vec<u8> {
        let mut filled = Vec::with_capacity(data.len() + 256);
        let mut rest = data;
        while let Some(at) = rest.iter().position(|byte| *byte == b'{') {
            filled.extend_from_slice(&rest[..at]);
            rest = &rest[at..];
            let (name, value) = self
                .words
                .iter()
                .find(|(name, _)| rest.starts_with(name.as_bytes()))
                .map_or(("{", "{"), |(name, value)| (*name, value.as_str()));
            filled.extend_from_slice(value.as_bytes());
            rest = &rest[name.len()..];
        }
        filled.extend_from_slice(rest);
        filled
    }

    fn answer(&self, router: &Router, asked: Request<Body>) -> Answer {
        // Throttles forget with the time.
        self.clock.advance(SECOND / 4);
        let response = self.runtime.block_on(async {
            let response = router.clone().oneshot(asked).await.expect("a router does not fail");
            let (parts, body) = response.into_parts();
            (parts, to_bytes(body, 64 << 20).await.expect("a whole body"))
        });
        let (parts, body) = response;
        let text = String::from_utf8(body.to_vec()).expect("text");
        Answer { status: parts.status, headers: parts.headers, text }
    }

    /// A browser's cookie, and the token of its forms.
    fn sign_in(&self, address: &str, password: &str) -> (String, String) {
        let cookie = |answer: &Answer| {
            let set = answer.headers.get_all(header::SET_COOKIE).iter().filter_map(|set| set.to_str().ok());
            let mut pairs =
                set.filter(|set| !set.contains("Max-Age=0")).filter_map(|set| set.split(';').next());
            pairs.next_back().expect("a cookie").to_owned()
        };
        let csrf = |answer: &Answer| {
            let (_, rest) = answer.text.split_once(r#"name="csrf" value=""#).expect("a form");
            rest.split('"').next().unwrap_or_default().to_owned()
        };
        let first = self.answer(&self.router, Request::get("/").body(Body::empty()).expect("a request"));
        let form = url::form_urlencoded::Serializer::new(String::new())
            .extend_pairs([("csrf", csrf(&first).as_str()), ("address", address), ("password", password)])
            .finish();
        let asked = Request::post("/sign-in")
            .header(header::COOKIE, cookie(&first))
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(Body::from(form))
            .expect("a request");
        let signed_in = cookie(&self.answer(&self.router, asked));
        let asked = Request::get("/prove").header(header::COOKIE, &signed_in).body(Body::empty());
        let token = csrf(&self.answer(&self.router, asked.expect("a request")));
        (signed_in.split_once('=').expect("a cookie").1.to_owned(), token)
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

async fn open(folder: &std::path::Path) -> (App, demo::Demo) {
    let mut config = Config::default();
    config.passwords.memory_kib = 8;
    config.passwords.passes = 1;
    config.passwords.threads = 1;
    config.database.url = format!("sqlite:{}", folder.join("mailward.db").display());
    config.keys.file = Some(folder.join("mailward.keys"));
    let db = Db::open(&config.database.url, &Options::default()).expect("a database");
    let clock = Clock::at(1_780_272_000_000);
    open::bring_up(&db, clock.now()).await.expect("a new database");
    let app = App::new(db, config, clock, Random::seeded(7)).await.expect("an app");
    let demo = demo::prepare(&app, &folder.join("demo.json")).await.expect("a demonstration");
    (app, demo)
}
