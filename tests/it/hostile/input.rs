//! Bad input at every route and mode: a refusal in the envelope, nothing changed, and no 5xx.
//!
//! Routes come from the OpenAPI document, modes and their parameters from the list of modes, so
//! that a new one is attacked without a new line here.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderName, HeaderValue, Request};
use mailward::app::accounts::{MODES, Method, ModeInfo, ParameterKind};
use mailward::domain::actor::Role;
use mailward::wire::{MAX_BODY, MAX_LIST};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tower::ServiceExt;

use crate::support::databases::TestDb;
use crate::support::tables::{COUNTERS, Contents, Tables, difference};
use crate::support::world::{Answer, PASSWORD, Someone, World};

/// A world under attack, and what its tables held when the attack began.
struct Siege {
    world: World,
    tables: Tables,
    before: Contents,
    target: Someone,
}

/// One request.
#[derive(Clone)]
struct Shot {
    method: String,
    path: String,
    headers: Vec<(String, Vec<u8>)>,
    body: Vec<u8>,
}

impl Shot {
    fn new(method: &str, path: impl Into<String>) -> Self {
        Self { method: method.to_uppercase(), path: path.into(), headers: Vec::new(), body: Vec::new() }
    }

    fn token(self, token: &str) -> Self {
        self.header("authorization", format!("Zoho-oauthtoken {token}"))
    }

    fn header(mut self, name: &str, value: impl Into<Vec<u8>>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    fn json(self, body: &Value) -> Self {
        self.header("content-type", "application/json").body(body.to_string())
    }

    fn form(self, body: impl Into<Vec<u8>>) -> Self {
        self.header("content-type", "application/x-www-form-urlencoded").body(body)
    }
}

impl std::fmt::Debug for Shot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let start = &self.body[..self.body.len().min(300)];
        write!(f, "{} {} with {} bytes: {}", self.method, self.path, self.body.len(), start.escape_ascii())
    }
}

impl Siege {
    async fn lay(test: TestDb) -> Self {
        let world = World::start(test.clone()).await;
        let target = world.someone("target", Role::Member).await;
        world.settle().await;
        let tables = Tables::of(&test).await;
        let before = tables.without(COUNTERS).await;
        Self { world, tables, before, target }
    }

    /// Sends a request that HTTP itself allows.
    async fn send(&self, shot: &Shot) -> Answer {
        let mut request = Request::builder().method(shot.method.as_str()).uri(&shot.path);
        for (name, value) in &shot.headers {
            let name = HeaderName::from_bytes(name.as_bytes()).expect("a header's name");
            request = request.header(name, HeaderValue::from_bytes(value).expect("a header's value"));
        }
        let request = request.body(Body::from(shot.body.clone())).unwrap_or_else(|e| panic!("{shot:?}: {e}"));
        let response = self.world.router.clone().oneshot(request).await.expect("the router does not fail");
        let (parts, body) = response.into_parts();
        let bytes = axum::body::to_bytes(body, 64 << 20).await.expect("a whole body");
        let text = String::from_utf8(bytes.to_vec()).expect("UTF-8");
        Answer { status: parts.status, headers: parts.headers, text }
    }

    /// The request is refused in the way of the API.
    async fn refused(&self, shot: Shot) {
        let answer = self.send(&shot).await;
        in_the_envelope(&answer, &shot);
    }

    /// The request may be refused or not; it breaks nothing.
    async fn survived(&self, shot: Shot) -> Answer {
        let answer = self.send(&shot).await;
        assert!(answer.status.as_u16() < 500, "{shot:?}: {} {}", answer.status, answer.text);
        answer
    }

    async fn nothing_changed(&self, after: &str) {
        if let Some(changed) = difference(&self.before, &self.tables.without(COUNTERS).await) {
            panic!("{after} changed the tables:\n{changed}");
        }
    }

    /// The path with its parameters filled in with what exists.
    fn real(&self, template: &str) -> String {
        template
            .replace("{zoid}", &self.world.zoid.to_string())
            .replace("{id}", &self.target.zuid.to_string())
            .replace("{accountId}", &self.target.account_id.to_string())
            .replace("{appPasswordId}", "100000000001")
            .replace("{clientId}", "1000.NONE")
            .replace("{changeId}", "200000000000000001")
            .replace("{domainName}", &self.world.domain)
    }

    /// With the token that opens the path.
    fn signed(&self, method: &str, template: &str, path: impl Into<String>) -> Shot {
        let shot = Shot::new(method, path);
        match template {
            t if t.starts_with("/api/organization") => shot.token(&self.world.owner.org_token),
            t if t.starts_with("/api/") || t == "/oauth/user/info" => shot.token(&self.target.user_token),
            _ => shot,
        }
    }

    /// A body of the mode that would be accepted: its sample with ids and addresses that exist.
    fn good(&self, info: &ModeInfo) -> Value {
        let mut body: Value = serde_json::from_str(info.sample).expect("a sample is JSON");
        for (name, value) in body.as_object_mut().expect("an object") {
            match name.as_str() {
                "zuid" => *value = self.target.zuid.into(),
                "userList" | "accountList" => *value = json!([self.target.zuid]),
                "emailAddress" => *value = format!("new@{}", self.world.domain).into(),
                "emailAlias" => *value = json!([format!("new@{}", self.world.domain)]),
                "emailList" => *value = json!([self.target.email]),
                _ => {}
            }
        }
        body
    }
}

#[track_caller]
fn in_the_envelope(answer: &Answer, shot: &Shot) {
    let (status, body) = (answer.status.as_u16(), answer.json());
    assert!((400..500).contains(&status), "{shot:?}: {status} {}", answer.text);
    let told = |place: &Value| place.as_str().is_some_and(|text| !text.is_empty());
    let ours = body["status"]["code"] == status && told(&body["status"]["description"]);
    assert!(
        ours && told(&body["data"]["errorCode"]) && told(&body["data"]["moreInfo"]),
        "not the envelope for {shot:?}: {status} {}",
        answer.text
    );
    assert!(answer.text.len() < 4096, "a refusal of {} bytes for {shot:?}", answer.text.len());
}

/// Every (method, path) of the document.
fn routes() -> Vec<(String, String)> {
    let document = mailward::api::document();
    let paths = document["paths"].as_object().expect("paths");
    let routes: Vec<_> = paths
        .iter()
        .flat_map(|(path, methods)| {
            let methods = methods.as_object().expect("methods").keys();
            methods.map(|method| (method.to_uppercase(), path.clone())).collect::<Vec<_>>()
        })
        .collect();
    assert!(routes.len() > 15, "{routes:?}");
    routes
}

fn takes_a_body(method: &str, path: &str) -> bool {
    mailward::api::document()["paths"][path][method.to_lowercase()].get("requestBody").is_some()
}

/// The properties of a described body, with their JSON types.
fn described(schema: &str) -> Vec<(String, Vec<String>)> {
    let document = mailward::api::document();
    let properties = document["components"]["schemas"][schema]["properties"].clone();
    let properties = properties.as_object().unwrap_or_else(|| panic!("{schema} is described"));
    properties
        .iter()
        .map(|(name, property)| {
            let types = match &property["type"] {
                Value::String(one) => vec![one.clone()],
                Value::Array(several) => {
                    several.iter().filter_map(Value::as_str).map(str::to_owned).collect()
                }
                other => panic!("{schema}.{name} has the type {other}"),
            };
            (name.clone(), types)
        })
        .collect()
}

/// Where a mode is called with a body; `None` for one that has none, whose path is attacked instead.
fn places(info: &ModeInfo) -> Option<(&'static str, &'static [&'static str])> {
    const ORGANIZATION: &str = "/api/organization/{zoid}/accounts";
    match (info.method, info.name) {
        (Method::Put, _) => Some((
            "PUT",
            &["/api/organization/{zoid}/accounts/{id}", ORGANIZATION, "/api/accounts/{accountId}"],
        )),
        (Method::Delete, _) => Some(("DELETE", &[ORGANIZATION])),
        (Method::Elsewhere, "createAppPassword") => {
            Some(("POST", &["/api/accounts/{accountId}/appPasswords"]))
        }
        (Method::Elsewhere, "revokeAppPassword" | "secureAccount") => None,
        (Method::Elsewhere, other) => panic!("say here where {other} is called"),
    }
}

/// What is never a text.
fn no_texts() -> Vec<Value> {
    vec![json!(1), json!(1.5), json!(true), json!([]), json!(["text"]), json!({}), json!("NUL \0 inside")]
}

/// What is never a flag.
fn no_flags() -> Vec<Value> {
    let words = ["yes", "TRUE", "True", "", " true", "true\0", "1", "null"].map(Value::from);
    let others = [json!(0), json!(1), json!(1.0), json!([]), json!([true]), json!({}), json!({"true": true})];
    words.into_iter().chain(others).collect()
}

/// What is never a whole number, or no id.
fn no_numbers() -> Vec<Value> {
    let digits = ["", "x", "007", "+1", " 1", "1 ", "1.0", "1e3", "0x10", "１", "9223372036854775808"];
    let long = ["99999999999999999999", "-9223372036854775809", "1\0"];
    let others = [json!(true), json!([]), json!([1]), json!({}), json!(1.5), json!(1e300), json!(u64::MAX)];
    digits.into_iter().chain(long).map(Value::from).chain(others).collect()
}

/// Numbers of the right type that name nobody.
fn no_ids() -> Vec<Value> {
    [0, -1, 1, 9_007_199_254_740_992, i64::MAX, i64::MIN].map(Value::from).to_vec()
}

fn wrong(kind: ParameterKind) -> Vec<Value> {
    let many = |element: Value| Value::Array(vec![element; MAX_LIST + 1]);
    match kind {
        ParameterKind::Text => no_texts(),
        ParameterKind::Number => {
            no_numbers().into_iter().chain(no_ids().into_iter().filter(|id| *id != json!(1))).collect()
        }
        ParameterKind::Flag => no_flags(),
        ParameterKind::Addresses => {
            let lists = [
                json!([1]),
                json!([null]),
                json!([["a@b.example"]]),
                json!([{}]),
                many(json!("a@b.example")),
            ];
            let bad = [json!(["no address"]), json!(["a@b\0.example"]), json!("@"), json!([""]), json!({})];
            [json!(1), json!(true)].into_iter().chain(lists).chain(bad).collect()
        }
        ParameterKind::Words => {
            let lists = [json!([1]), json!([null]), json!([["reset"]]), json!([{}]), many(json!("reset"))];
            let bad = [json!(["nothing"]), json!(["res\0et"]), json!(""), json!([""]), json!({})];
            [json!(1), json!(true)].into_iter().chain(lists).chain(bad).collect()
        }
        ParameterKind::Users => {
            let lists = [json!([[1]]), json!([null]), json!([{}]), json!(["1.0"]), many(json!(1)), json!({})];
            let ids = no_ids().into_iter().map(|id| json!([id]));
            no_numbers().into_iter().map(|value| json!([value])).chain(lists).chain(ids).collect()
        }
        ParameterKind::Object => {
            vec![
                json!(1),
                json!("text"),
                json!(true),
                json!([]),
                json!([{}]),
                json!({"city": 1}),
                json!({"city": ["x"]}),
            ]
        }
    }
}

/// Texts of the right type that their parameter cannot take.
fn impossible(name: &str) -> Vec<Value> {
    let long = |length: usize| json!("x".repeat(length));
    match name {
        "emailAddress" => [
            "",
            "@",
            "a",
            "a@",
            "@b.example",
            "a b@zylker.example",
            "a@b@zylker.example",
            "a@zylker",
            "a+b@zylker.example",
            "a@zylker.example\n",
            "<a@zylker.example>",
            "ä@zylker.example",
            "a@[127.0.0.1]",
            "a@elsewhere.example",
        ]
        .map(Value::from)
        .into_iter()
        .chain([json!(format!("{}@zylker.example", "x".repeat(65))), long(60_000)])
        .collect(),
        "password" => vec![
            json!(""),
            json!("a\tb-cdefgh"),
            json!("a\u{7f}bcdefgh"),
            long(257),
            long(60_000),
            json!("short"),
        ],
        "displayName" | "name" => vec![json!("two\nlines"), json!("\u{1b}[31m"), long(101), long(60_000)],
        "role" => vec![json!(""), json!("god"), json!("operator"), long(60_000)],
        "gender" => vec![json!("?"), long(60_000)],
        _ => Vec::new(),
    }
}

/// Raw bodies that are no JSON object, or too much of one.
fn no_bodies() -> Vec<Vec<u8>> {
    let nested = |open: &str, close: &str, levels: usize| {
        format!(
            r#"{{"mode":"displaynameupdate","displayName":"x","x":{}1{}}}"#,
            open.repeat(levels),
            close.repeat(levels)
        )
    };
    let texts = [
        " ",
        "\u{feff}",
        "null",
        "true",
        "1",
        "\"x\"",
        "[]",
        "[{}]",
        "{",
        "}",
        "{]",
        "{\"mode\"",
        "{\"mode\":}",
        "{'mode':1}",
        "{\"mode\":NaN}",
        "{\"mode\":1}{}",
        "{\"mode\":\"\\ud800\"}",
        "\u{feff}\u{feff}{}",
        "{\"mode\":\"x\",\"mode\":\"x\"}",
        "{\"zuid\":1,\"z\\u0075id\":2}",
        "{\"x\":{\"y\":1,\"y\":1}}",
        "mode=displaynameupdate&displayName=x",
        "<mode>displaynameupdate</mode>",
        "--x\r\ncontent-disposition: form-data",
        "{\"mode\":\"displaynameupdate\",\"displayName\":\"x\"}garbage",
    ];
    let mut all: Vec<Vec<u8>> = texts.map(|text| text.as_bytes().to_vec()).to_vec();
    all.extend(
        [nested("[", "]", 16), nested("{\"a\":", "}", 16), nested("[", "]", 9_000)].map(String::into_bytes),
    );
    all.push("[".repeat(60_000).into_bytes());
    all.push("{\"a\":".repeat(12_000).into_bytes());
    all.push(b"{\"mode\":\"\xff\xfe\"}".to_vec());
    all.push(b"{\"mode\":\"\xed\xa0\x80\"}".to_vec());
    all.push(b"{\"mode\":\"a\0b\"}".to_vec());
    all.push(vec![0; 100]);
    for size in [MAX_BODY + 1, 1024 * 1024, 1024 * 1024 + 1, 3 * 1024 * 1024] {
        let mut large = b"{\"mode\":\"displaynameupdate\",\"displayName\":\"x\"".to_vec();
        large.resize(size - 1, b' ');
        large.push(b'}');
        all.push(large);
    }
    all
}

/// Path segments that name nothing, percent-encoded as they go over the wire.
fn no_segments() -> Vec<String> {
    let mut all: Vec<String> = [
        "0",
        "-1",
        "+1",
        "007",
        "1",
        "1.0",
        "1e3",
        "9007199254740992",
        "9223372036854775807",
        "9223372036854775808",
        "99999999999999999999",
        "null",
        "NaN",
        "%00",
        "1%00",
        "%ff",
        "%c3%28",
        "%ed%a0%80",
        "%2f",
        "%2F..%2F",
        "%252f",
        "..",
        ".",
        "%2e%2e",
        "%20",
        "%0d%0aSet-Cookie:%20x=1",
        "%E2%80%AE1",
        "%EF%BC%91",
        "';DROP%20TABLE%20person;--",
        "a%00@zylker.example",
        "a%0a@zylker.example",
        "@",
        "a@",
        "a@b@zylker.example",
        "nobody@zylker.example",
        "%",
        "%zz",
        "%f",
        "%7Bzoid%7D",
        "*",
    ]
    .map(str::to_owned)
    .to_vec();
    all.push("9".repeat(8_000));
    all.push(format!("{}@zylker.example", "x".repeat(8_000)));
    all
}

both_engines! {
    async fn a_parameter_of_the_wrong_type_is_refused_by_every_mode(test: TestDb) {
        let siege = Siege::lay(test).await;
        let mut shots = 0;
        for info in MODES {
            let good = siege.good(info);
            let Some((method, paths)) = places(info) else { continue };
            let mut bodies = Vec::new();
            let with = |name: &str, value: Value| {
                let mut body = good.clone();
                body[name] = value;
                body.to_string()
            };
            let ids = no_numbers().into_iter().chain(no_ids());
            for value in ids.filter(|_| info.method != Method::Elsewhere) {
                bodies.push(with("zuid", value));
            }
            if info.method == Method::Put {
                for value in no_texts().into_iter().chain([json!(""), json!("no such mode"), json!("x".repeat(60_000))]) {
                    bodies.push(with("mode", value));
                }
            }
            for parameter in info.parameters {
                // Of all numbers, this one says never.
                let never = |value: &Value| parameter.name == "userExpiry" && *value == json!(-1);
                let wrong = wrong(parameter.kind).into_iter().filter(|value| !never(value));
                for value in wrong.chain(impossible(parameter.name)) {
                    bodies.push(with(parameter.name, value));
                }
                // Twice the same key, and two spellings that disagree.
                let value = &good[parameter.name];
                let rest = &good.to_string()[1..];
                if good.get(parameter.name).is_some() {
                    bodies.push(format!("{{\"{}\":{value},{rest}", parameter.name));
                    let other = parameter.name.to_uppercase();
                    let disagreeing = if value == "other" { json!("another") } else { json!("other") };
                    bodies.push(format!("{{\"{other}\":{disagreeing},{rest}"));
                    if parameter.mandatory {
                        let mut without = good.clone();
                        without.as_object_mut().expect("an object").remove(parameter.name);
                        bodies.push(without.to_string());
                    }
                }
            }
            for path in paths {
                for body in &bodies {
                    let shot = siege.signed(method, path, siege.real(path)).header("content-type", "application/json");
                    siege.refused(shot.body(body.as_bytes())).await;
                    shots += 1;
                }
            }
            siege.nothing_changed(info.name).await;
        }
        assert!(shots > 1500, "only {shots} requests");
    }

    async fn a_new_user_of_wrong_types_is_refused(test: TestDb) {
        let siege = Siege::lay(test).await;
        let path = siege.real("/api/organization/{zoid}/accounts");
        let good = json!({"primaryEmailAddress": format!("new@{}", siege.world.domain), "password": PASSWORD, "firstName": "New"});
        let send = async |body: String| {
            let shot = Shot::new("POST", &path).token(&siege.world.owner.org_token);
            siege.refused(shot.header("content-type", "application/json").body(body)).await;
        };
        for (name, types) in described("NewUserBody") {
            let is = |kind: &str| types.iter().any(|known| known == kind);
            let values = match () {
                () if is("boolean") => no_flags(),
                () if is("integer") => no_numbers(),
                () => no_texts(),
            };
            let like = if name == "primaryEmailAddress" { "emailAddress" } else { &name };
            for value in values.into_iter().chain(impossible(like)) {
                let mut body = good.clone();
                body[&name] = value;
                send(body.to_string()).await;
            }
        }
        for days in [json!(0), json!(-2), json!(36_501), json!(i64::MAX), json!(i64::MIN)] {
            let mut body = good.clone();
            body["userExpiry"] = days;
            send(body.to_string()).await;
        }
        for (name, value) in [
            ("emailAddress", json!("other@zylker.example")),
            ("PASSWORD", json!("another-secret-9")),
            ("groupMailList", json!(["all@zylker.example"])),
            ("groupMailList", json!({})),
            ("address", json!([])),
            ("address", json!({"country": 5})),
        ] {
            let mut body = good.clone();
            body[name] = value;
            send(body.to_string()).await;
        }
        for missing in ["primaryEmailAddress", "password"] {
            let mut body = good.clone();
            body.as_object_mut().expect("an object").remove(missing);
            send(body.to_string()).await;
        }
        siege.nothing_changed("creating nobody").await;
    }

    async fn an_own_password_of_wrong_types_is_refused(test: TestDb) {
        let siege = Siege::lay(test).await;
        let good = json!({"address": siege.target.email, "password": PASSWORD, "newPassword": "quite-another-9", "resetAuthToken": true});
        for (name, types) in described("OwnPasswordBody") {
            let flag = types.iter().any(|known| known == "boolean");
            let values = if flag { no_flags() } else { no_texts() };
            for value in values.into_iter().chain(impossible("password").into_iter().filter(|_| name == "newPassword")) {
                let mut body = good.clone();
                body[&name] = value;
                siege.refused(Shot::new("POST", "/self/password").json(&body)).await;
            }
        }
        for form in [
            &b"address=a&password=b"[..], b"address=a&address=b&password=c&newPassword=d", b"address=%ff&password=b&newPassword=c",
            b"address=a%00b&password=b&newPassword=correct-horse-8", b"address=a&password=b&newPassword=%zz",
            b"address=a&email=b&password=c&newPassword=correct-horse-8", b"\xff", b"=", b"&&&",
        ] {
            siege.refused(Shot::new("POST", "/self/password").form(form)).await;
        }
        siege.nothing_changed("choosing no password").await;
    }

    async fn a_body_that_is_none_is_refused_by_every_route_that_takes_one(test: TestDb) {
        let siege = Siege::lay(test).await;
        let mut attacked = BTreeSet::new();
        for (method, template) in routes() {
            if !takes_a_body(&method, &template) || template.starts_with("/oauth/") {
                continue;
            }
            let empty_too = !(method == "DELETE" && template.ends_with("{id}"));
            let more: &[&str] = if empty_too { &["", "{}", "\u{feff}{}"] } else { &[] };
            for body in no_bodies().into_iter().chain(more.iter().map(|text| text.as_bytes().to_vec())) {
                let shot = siege.signed(&method, &template, siege.real(&template));
                siege.refused(shot.header("content-type", "application/json").body(body)).await;
            }
            for kind in ["text/xml", "multipart/form-data; boundary=x", "application/x-www-form-urlencoded", ";;;", "\u{fc}"] {
                let shot = siege.signed(&method, &template, siege.real(&template));
                siege.refused(shot.header("content-type", kind).body("--x\r\n\r\nmode=x\r\n--x--")).await;
            }
            siege.nothing_changed(&format!("{method} {template}")).await;
            attacked.insert(format!("{method} {template}"));
        }
        assert!(attacked.len() >= 8, "{attacked:?}");
    }

    async fn a_path_of_nonsense_is_refused_by_every_route(test: TestDb) {
        let siege = Siege::lay(test).await;
        let body = json!({"mode": "displaynameupdate", "displayName": "Somebody else", "accountList": [1]});
        for (method, template) in routes() {
            let parameters: Vec<&str> =
                template.split('/').filter(|segment| segment.starts_with('{')).collect();
            for parameter in &parameters {
                for segment in no_segments() {
                    let path = siege.real(&template.replace(parameter, &segment));
                    siege.refused(siege.signed(&method, &template, path.clone()).json(&body)).await;
                    // Without a token nobody learns what is wrong with the path.
                    let answer = siege.survived(Shot::new(&method, path.clone()).json(&body)).await;
                    assert_eq!(answer.error_code(), "INVALID_TICKET", "{method} {path}");
                    let unknown = Shot::new(&method, path.clone()).token("1000.0.0").json(&body);
                    assert_eq!(siege.survived(unknown).await.error_code(), "INVALID_OAUTHTOKEN", "{method} {path}");
                }
            }
            siege.nothing_changed(&format!("{method} {template}")).await;
        }
        // `/` is the page of the sign-in.
        for path in ["//", "/api", "/api/", "/api/organisation", "/api/%00", "/%ff", "/oauth/v2", "/..%2fetc/passwd", "/self/password/x", "*"] {
            for method in ["GET", "PUT", "POST", "DELETE", "PATCH", "OPTIONS", "BREW"] {
                siege.refused(Shot::new(method, path).token(&siege.world.owner.org_token)).await;
            }
        }
    }

    async fn another_method_is_refused_in_the_envelope(test: TestDb) {
        let siege = Siege::lay(test).await;
        let known: BTreeSet<(String, String)> = routes().into_iter().collect();
        for (_, template) in &known {
            for method in ["GET", "PUT", "POST", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT", "BREW"] {
                if known.contains(&(method.to_owned(), template.clone())) {
                    continue;
                }
                let shot = siege.signed(method, template, siege.real(template));
                let answer = siege.send(&shot).await;
                in_the_envelope(&answer, &shot);
                assert_eq!(answer.error_code(), "INVALID_METHOD", "{shot:?}");
            }
        }
        let long = "A".repeat(10_000);
        siege.refused(Shot::new(&long, "/api/accounts")).await;
        siege.nothing_changed("other methods").await;
    }

    async fn a_query_of_nonsense_breaks_nothing(test: TestDb) {
        let siege = Siege::lay(test).await;
        let mut nonsense: Vec<String> = ["%", "%zz", "%ff", "&&&&", "=", "=%00", "a=%00", "%00=a", "a&a", "a=1&a=2", "a=1;b=2", "[]=1"].map(str::to_owned).to_vec();
        nonsense.push("x=".to_owned() + &"y".repeat(60_000));
        nonsense.push("a&".repeat(20_000));
        for (method, template) in routes().into_iter().filter(|(method, _)| method == "GET") {
            for query in &nonsense {
                let path = format!("{}?{query}", siege.real(&template));
                siege.survived(siege.signed(&method, &template, path)).await;
            }
        }
        let list = siege.real("/api/organization/{zoid}/accounts");
        for value in ["-1", "x", "1.5", "1e3", "+1", "007", "%20", "9223372036854775808", "-9223372036854775808", "%00", "%ff", "%zz", "true", "[1]"] {
            for name in ["start", "limit"] {
                siege.refused(siege.signed("GET", "/api/organization", format!("{list}?{name}={value}"))).await;
            }
        }
        for query in ["start=1&start=2", "start=1&START=2", "limit=1&limit=1", "start=0&%zz"] {
            siege.refused(siege.signed("GET", "/api/organization", format!("{list}?{query}"))).await;
        }
        for query in ["start=9223372036854775807", "start=9223372036854775807&limit=9223372036854775807", "limit=0"] {
            let answer = siege.survived(siege.signed("GET", "/api/organization", format!("{list}?{query}"))).await;
            assert_eq!(answer.ok().json()["data"], json!([]), "{query}");
        }
        siege.nothing_changed("queries").await;
    }

    async fn headers_of_nonsense_are_refused(test: TestDb) {
        let siege = Siege::lay(test).await;
        let path = siege.real("/api/organization/{zoid}/accounts/{id}");
        let body = json!({"mode": "displaynameupdate", "displayName": "Somebody else"});
        let token = format!("Zoho-oauthtoken {}", siege.world.owner.org_token);
        let authorizations: Vec<Vec<u8>> = vec![
            b"".to_vec(), b" ".to_vec(), b"Bearer".to_vec(), b"Zoho-oauthtoken".to_vec(), siege.world.owner.org_token.clone().into_bytes(),
            format!("Basic {}", siege.world.owner.org_token).into_bytes(), b"Bearer \xff\xfe".to_vec(), b"Bearer a b".to_vec(),
            format!("{token}x").into_bytes(), format!("{token} {token}").into_bytes(), format!("{token},{token}").into_bytes(),
            format!("Bearer {}", "x".repeat(100_000)).into_bytes(), format!("Bearer {}", "=".repeat(60_000)).into_bytes(),
            b"Digest username=\"a\"".to_vec(), b"Bearer\ta".to_vec(), "Bearer ü".as_bytes().to_vec(),
        ];
        for value in authorizations {
            siege.refused(Shot::new("PUT", &path).header("authorization", value).json(&body)).await;
        }
        let twice = Shot::new("PUT", &path).header("authorization", token.as_str()).header("authorization", token.as_str());
        siege.refused(twice.json(&body)).await;

        let reasons: Vec<Vec<u8>> = vec![
            "x".repeat(201).into_bytes(), "ü".repeat(201).into_bytes(), b"a\tb".to_vec(), b"\xff".to_vec(), b"\xed\xa0\x80".to_vec(),
            "a\u{85}b".as_bytes().to_vec(), "x".repeat(60_000).into_bytes(),
            "one\u{2028}two".as_bytes().to_vec(), "\u{202e}backwards".as_bytes().to_vec(),
        ];
        for header in ["x-mailward-reason", "x-mailward-release-address"] {
            for reason in &reasons {
                let shot = Shot::new("PUT", &path).header("authorization", token.as_str());
                siege.refused(shot.header(header, reason.clone()).json(&body)).await;
            }
            let shot = Shot::new("PUT", &path).header("authorization", token.as_str());
            siege.refused(shot.header(header, "one").header(header, "two").json(&body)).await;
        }
        siege.nothing_changed("headers").await;

        // Many headers are no fault; they are read and forgotten.
        let many = (0..2_000).fold(siege.signed("GET", "/api/accounts", "/api/accounts"), |shot, number| {
            shot.header(&format!("x-header-{number}"), "y".repeat(100))
        });
        assert_eq!(siege.survived(many).await.status, 200);
    }

    async fn nonsense_at_the_oauth_endpoints_gets_their_own_refusals(test: TestDb) {
        let siege = Siege::lay(test).await;
        let client = crate::support::world::client(&siege.world, mailward::domain::client::ClientKind::Web).await;
        let before = siege.tables.without(COUNTERS).await;
        let valid = format!("client_id={}&client_secret={}", client.0, client.1);
        let mut forms: Vec<Vec<u8>> = [
            "", "&", "=", "%", "%zz", "%ff=1", "grant_type", "grant_type=", "grant_type=x", "grant_type=%00", "grant_type=refresh_token&grant_type=refresh_token",
            "grant_type=authorization_code", "grant_type=refresh_token", "grant_type=client_credentials", "token=", "token=%00", "token=x", "token=x&token=y",
            "grant_type=refresh_token&refresh_token=%00", "grant_type=authorization_code&code=%00&redirect_uri=%00",
            "grant_type=client_credentials&scope=&soid=", "grant_type=client_credentials&scope=%00&soid=%00", "grant_type=client_credentials&soid=ZohoMail.99999999999999999999&scope=x",
            "client_id=%00", "client_id=x&client_secret=%00", "grant_type=refresh_token&GRANT_TYPE=authorization_code",
        ]
        .map(|text| text.as_bytes().to_vec())
        .to_vec();
        for text in forms.clone() {
            forms.push([valid.as_bytes(), b"&", &text].concat());
        }
        let scopes = "a,".repeat(15_000);
        forms.push(format!("{valid}&grant_type=client_credentials&soid=ZohoMail.{}&scope={scopes}", siege.world.zoid).into_bytes());
        forms.push(format!("client_id={}", "x".repeat(60_000)).into_bytes());
        forms.push(b"\xff\xfe\0".to_vec());
        forms.push("a=b&".repeat(15_000).into_bytes());
        for size in [MAX_BODY + 1, 1024 * 1024 + 1, 3 * 1024 * 1024] {
            forms.push(vec![b'a'; size]);
        }
        let basics = ["", "!!!", "eA==", "AA==", "ADo=", "JTAwOiUwMA==", "JWZmOiVmZg==", "Og=="];
        for endpoint in ["/oauth/v2/token", "/oauth/v2/token/revoke", "/oauth/v2/introspect"] {
            let mut shots: Vec<Shot> = forms.iter().map(|form| Shot::new("POST", endpoint).form(form.clone())).collect();
            shots.extend(forms.iter().filter_map(|form| {
                let query = std::str::from_utf8(form).ok().filter(|text| text.len() < 60_000)?;
                Some(Shot::new("POST", format!("{endpoint}?{query}")))
            }));
            shots.extend(basics.iter().map(|basic| {
                Shot::new("POST", endpoint).header("authorization", format!("Basic {basic}")).form("token=x&grant_type=refresh_token&refresh_token=x")
            }));
            shots.push(Shot::new("POST", endpoint).json(&json!({"grant_type": "refresh_token", "token": "x"})));
            for shot in shots {
                let answer = siege.survived(shot.clone()).await;
                let body = answer.json();
                let refused = body["error"].is_string() || body == json!({"active": false});
                assert!(refused, "{shot:?}: {}", answer.text);
                assert!(body.get("access_token").is_none() && body["status"] != "success", "{shot:?}: {}", answer.text);
                assert!(answer.text.len() < 4096, "{shot:?}: {} bytes", answer.text.len());
            }
        }
        let after = siege.tables.without(COUNTERS).await;
        assert_eq!(difference(&before, &after), None);
    }

    async fn broken_http_on_a_socket_is_refused_and_the_next_client_is_served(test: TestDb) {
        let siege = Siege::lay(test).await;
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let service = siege.world.router.clone().into_make_service_with_connect_info::<SocketAddr>();
        let server = tokio::spawn(async move { axum::serve(listener, service).await });

        let path = siege.real("/api/organization/{zoid}/accounts/{id}");
        let token = &siege.world.owner.org_token;
        let body = json!({"mode": "displaynameupdate", "displayName": "Smuggled"}).to_string();
        let start = format!("PUT {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n");
        let size = body.len();
        let chunk = |content: &str| format!("{:x}\r\n{content}\r\n", content.len());
        let huge_chunks: String = (0..40).map(|_| chunk(&" ".repeat(32 * 1024))).collect();
        let mut wires: Vec<Vec<u8>> = vec![
            b"\0\0\0\0".to_vec(),
            b"GET\r\n\r\n".to_vec(),
            b"GET / HTTP/9.9\r\n\r\n".to_vec(),
            b"G\xffT / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(),
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec(),
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(),
            format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "a".repeat(600_000)).into_bytes(),
            format!("GET /api/accounts HTTP/1.1\r\nHost: x\r\nX: {}\r\n\r\n", "a".repeat(600_000)).into_bytes(),
            format!("GET /api/accounts HTTP/1.1\r\nHost: x\r\n{}\r\n", "X: y\r\n".repeat(5_000)).into_bytes(),
            b"GET /api/accounts HTTP/1.1\r\nHost: x\r\nX: a\0b\r\n\r\n".to_vec(),
            b"GET /api/accounts HTTP/1.1\r\nHost: x\r\n folded: x\r\n\r\n".to_vec(),
            b"GET /api/accounts HTTP/1.1\r\nHost : x\r\n\r\n".to_vec(),
            // Two lengths, a length and chunks, lengths that are none.
            format!("{start}Content-Length: {size}\r\nContent-Length: 3\r\n\r\n{body}").into_bytes(),
            format!("{start}Content-Length: -1\r\n\r\n{body}").into_bytes(),
            format!("{start}Content-Length: +{size}\r\n\r\n{body}").into_bytes(),
            format!("{start}Content-Length: 99999999999999999999\r\n\r\n{body}").into_bytes(),
            format!("{start}Transfer-Encoding: chunked, gzip\r\n\r\n{}0\r\n\r\n", chunk(&body)).into_bytes(),
            format!("{start}Transfer-Encoding: chunked\r\n\r\nzz\r\n{body}\r\n0\r\n\r\n").into_bytes(),
            format!("{start}Transfer-Encoding: chunked\r\n\r\nffffffffffffffff1\r\n{body}").into_bytes(),
            format!("{start}Transfer-Encoding: chunked\r\n\r\n{huge_chunks}{}0\r\n\r\n", chunk(&body)).into_bytes(),
            // Bodies that break off.
            format!("{start}Content-Length: {}\r\n\r\n{body}", size + 1).into_bytes(),
            format!("{start}Transfer-Encoding: chunked\r\n\r\n{}", chunk(&body)).into_bytes(),
            // More than is read, announced or not.
            [format!("{start}Content-Length: {}\r\n\r\n", 4 << 20).as_bytes(), &vec![b' '; 4 << 20][..]].concat(),
            [format!("{start}Content-Length: {}\r\n\r\n{body}", MAX_BODY + 1).as_bytes(), &vec![b' '; MAX_BODY + 1 - size][..]].concat(),
        ];
        // A second request hidden in the body of a first one that must be refused.
        wires.push(format!("GET /nowhere HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nTransfer-Encoding: identity\r\n\r\n{start}Content-Length: {size}\r\n\r\n").into_bytes());
        for wire in wires {
            let told = String::from_utf8_lossy(&speak(address, &wire, Duration::from_millis(100)).await).into_owned();
            let shown = wire[..wire.len().min(200)].escape_ascii();
            for status in told.lines().filter(|line| line.starts_with("HTTP/1.")) {
                let code: u16 = status.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0);
                assert!((400..500).contains(&code), "{shown}: {status}");
            }
        }
        siege.nothing_changed("broken HTTP").await;

        const PATIENCE: Duration = Duration::from_secs(30);
        let good = format!("{start}Content-Length: {size}\r\nConnection: close\r\n\r\n{body}");
        let told = String::from_utf8_lossy(&speak(address, good.as_bytes(), PATIENCE).await).into_owned();
        assert!(told.starts_with("HTTP/1.1 200 "), "{told}");
        let chunked = format!("{start}Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n{}{}0\r\n\r\n", chunk(&body[..9]), chunk(&body[9..]));
        let told = String::from_utf8_lossy(&speak(address, chunked.as_bytes(), PATIENCE).await).into_owned();
        assert!(told.starts_with("HTTP/1.1 200 "), "{told}");
        server.abort();
    }
}

/// Sends the bytes, reads what comes, and after that long says that there is no more.
async fn speak(to: SocketAddr, bytes: &[u8], patience: Duration) -> Vec<u8> {
    let mut heard = Vec::new();
    let talk = async {
        let stream = TcpStream::connect(to).await.expect("the server takes everybody");
        let (mut read, mut write) = stream.into_split();
        let saying = async {
            // The server may have heard enough before the end.
            let _ = write.write_all(bytes).await;
            // An end before the answer is taken for a client that has gone.
            tokio::time::sleep(patience).await;
            let _ = write.shutdown().await;
            std::future::pending::<()>().await;
        };
        tokio::select! {
            _ = read.read_to_end(&mut heard) => {}
            () = saying => {}
        }
    };
    tokio::time::timeout(Duration::from_secs(60), talk).await.expect("an answer or a closed connection");
    heard
}
