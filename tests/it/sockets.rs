//! A default installation, seen from outside: which sockets it listens on, and what it tells somebody
//! without a credential.

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Child, Stdio};
use std::time::Duration;

use mailward::config::Config;
use reqwest::Method;
use reqwest::redirect::Policy;
use serde_json::Value;

use crate::cli::Place;
use crate::support::databases::runtime;
use crate::support::service::is_the_door;
use crate::support::source::Source;

/// Killed when the test is over.
struct Served(Child);

impl Drop for Served {
    fn drop(&mut self) {
        let _ended = self.0.kill();
        let _reaped = self.0.wait();
    }
}

/// `init` and `serve` with the defaults, but for the numbers of the ports; with a key, so that the door
/// for mail servers is open too. Where it listens for everybody, and where for mail servers.
fn installation() -> (Place, Served, [SocketAddr; 2]) {
    let place = Place::initialised();
    let key = place.write("logins.key", "a key of sixteen letters or more\n");
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).expect("a mode");
    let defaults = Config::default();
    let on_a_free_port = |address: SocketAddr| SocketAddr::new(address.ip(), 0).to_string();
    let mut child = place
        .command(&["serve", "--listen", &on_a_free_port(defaults.server.listen)])
        .env("MAILWARD_MAIL_LOGINS_LISTEN", on_a_free_port(defaults.mail.logins_listen))
        .env("MAILWARD_MAIL_LOGINS_KEY_FILE", &key)
        .env("MAILWARD_LOG_JSON", "true")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the service starts");
    let mut lines = BufReader::new(child.stderr.take().expect("a pipe")).lines().map_while(Result::ok);
    let (mut doors, mut seen) = (Vec::new(), Vec::new());
    for line in lines.by_ref() {
        let said: Value = serde_json::from_str(&line).unwrap_or_default();
        seen.push(line.clone());
        if line.contains("listening") {
            doors.extend(said["address"].as_str().and_then(|text| text.parse::<SocketAddr>().ok()));
        }
        if is_the_door(&said) {
            break;
        }
    }
    std::thread::spawn(move || lines.for_each(drop));
    let [for_mail_servers, for_all] = doors[..] else { panic!("two doors: {seen:#?}") };
    (place, Served(child), [for_all, for_mail_servers])
}

/// Where a process listens for TCP, and every UDP socket it has.
pub fn listening(pid: u32) -> BTreeSet<SocketAddr> {
    let inodes: BTreeSet<String> = std::fs::read_dir(format!("/proc/{pid}/fd"))
        .expect("its own process")
        .flatten()
        .filter_map(|entry| std::fs::read_link(entry.path()).ok())
        .filter_map(|link| Some(link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.to_owned()))
        .collect();
    let mut found = BTreeSet::new();
    for (table, state) in [("tcp", "0A"), ("tcp6", "0A"), ("udp", "07"), ("udp6", "07")] {
        let text = std::fs::read_to_string(format!("/proc/{pid}/net/{table}")).unwrap_or_default();
        for line in text.lines().skip(1) {
            let fields: Vec<_> = line.split_whitespace().collect();
            if fields[3] == state && inodes.contains(fields[9]) {
                found.insert(address(fields[1]));
            }
        }
    }
    found
}

/// `0100007F:1BA8` as the kernel writes it: words of the machine's byte order, and the port.
fn address(text: &str) -> SocketAddr {
    let (host, port) = text.split_once(':').expect("host and port");
    let word = |at: usize| u32::from_str_radix(&host[at..at + 8], 16).expect("hex").to_ne_bytes();
    let ip = if host.len() == 8 {
        IpAddr::from(Ipv4Addr::from(word(0)))
    } else {
        let mut bytes = [0; 16];
        for (number, part) in bytes.chunks_mut(4).enumerate() {
            part.copy_from_slice(&word(number * 8));
        }
        IpAddr::from(Ipv6Addr::from(bytes))
    };
    SocketAddr::new(ip, u16::from_str_radix(port, 16).expect("a port"))
}

#[test]
fn a_default_installation_listens_on_loopback_alone() {
    let (_place, served, doors) = installation();
    let found = listening(served.0.id());
    assert_eq!(found, BTreeSet::from(doors), "the doors that it tells of, and no other");
    let outside: Vec<_> = found.iter().filter(|address| !address.ip().is_loopback()).collect();
    assert!(outside.is_empty(), "it listens at {outside:?}");
    // What a browser could reach from another machine would be seen.
    let open = std::net::TcpListener::bind("0.0.0.0:0").expect("a port");
    let seen = listening(std::process::id());
    assert!(
        seen.contains(&open.local_addr().expect("bound")) && seen.iter().any(|one| !one.ip().is_loopback())
    );
}

/// What answers everybody, and why.
const OPEN: &[(&str, &str, u16, &str)] = &[
    ("GET", "/health/live", 200, "health"),
    ("GET", "/health/ready", 200, "health"),
    ("GET", "/openapi.json", 200, "the document, which is in the repository too"),
    ("GET", "/.well-known/oauth-authorization-server", 200, "where the endpoints are (RFC 8414)"),
    ("GET", "/", 200, "the sign-in page"),
    ("GET", "/recover", 200, "the page for a forgotten password"),
    (
        "POST",
        "/oauth/v2/token",
        200,
        "credentials are presented here; it refuses under 200, as the original does",
    ),
    ("POST", "/oauth/v2/token/revoke", 400, "credentials are presented here"),
    ("POST", "/oauth/v2/introspect", 401, "credentials are presented here"),
    ("POST", "/self/password", 400, "credentials are presented here"),
    ("GET", "/oauth/v2/auth", 400, "a page that says that no application asked"),
    ("POST", "/oauth/v2/auth", 400, "the same"),
    ("POST", "/assets/1", 405, "files are only read"),
    ("GET", "/recover/password/1", 404, "a link that is none"),
    ("GET", "/recover/address/1", 404, "a link that is none"),
    ("GET", "/assets/1", 404, "a file that is none; those there are are in the repository"),
];

/// Every route of the document and every page, with its methods; parameters are `1`.
fn routes() -> BTreeSet<(String, String)> {
    let filled = |path: &str| {
        let parts = path.split('/').map(|part| if part.starts_with('{') { "1" } else { part });
        parts.collect::<Vec<_>>().join("/")
    };
    let document = serde_json::to_value(mailward::api::document()).expect("JSON");
    let mut routes = BTreeSet::new();
    for (path, methods) in document["paths"].as_object().expect("paths") {
        for method in methods.as_object().expect("methods").keys() {
            routes.insert((method.to_uppercase(), filled(path)));
        }
    }
    let api = routes.len();
    let text = include_str!("../../src/console/mod.rs");
    for path in Source::parse("src/console/mod.rs", text).strings.iter().filter(|text| text.starts_with('/'))
    {
        if text.contains(&format!(".route(\"{path}\"")) {
            routes.extend(["GET", "POST"].map(|method| (method.to_owned(), filled(path))));
        }
    }
    assert!(api > 25 && routes.len() > api + 80, "{api} routes and {} in all were found", routes.len());
    routes
}

#[test]
fn without_a_credential_nothing_of_substance_is_answered() {
    let (_place, _served, [address, for_mail_servers]) = installation();
    let mut wrong = Vec::new();
    runtime().block_on(async {
        let http = reqwest::Client::builder().redirect(Policy::none()).timeout(Duration::from_secs(20));
        let http = http.build().expect("a client");
        let mut met = BTreeSet::new();
        for (method, path) in routes() {
            let verb = Method::from_bytes(method.as_bytes()).expect("a method");
            let answer =
                http.request(verb, format!("http://{address}{path}")).send().await.expect("an answer");
            let (status, to) = (answer.status().as_u16(), answer.headers().get("location").cloned());
            let to = to.map(|to| to.to_str().expect("ASCII").to_owned()).unwrap_or_default();
            let body = answer.text().await.expect("a body");
            let open = OPEN.iter().find(|(on, at, _, _)| *on == method && *at == path);
            let as_it_must = match open {
                Some((_, _, wanted, _)) => {
                    met.insert(path.clone());
                    status == *wanted
                        && (path != "/oauth/v2/token" || body == r#"{"error":"invalid_client"}"#)
                }
                // A token is missing; a page sends to the sign-in; a form has no token of a page.
                None => match status {
                    400 => body.contains("INVALID_TICKET"),
                    401 => body.contains("INVALID_OAUTHTOKEN"),
                    303 => (to == "/" || to.starts_with("/?next=")) && body.is_empty(),
                    403 | 404 => true,
                    _ => false,
                },
            };
            if !as_it_must {
                wrong.push(format!("{method} {path}: {status} {to} {body:.120}"));
            }
            if path != "/openapi.json" && (body.contains("example.org") || body.contains("Example")) {
                wrong.push(format!("{method} {path} tells who is here: {body:.200}"));
            }
        }
        let link = http.get(format!("http://{address}{}", mailward::app::mail::agents::LINK_PATH));
        let answer = link.send().await.expect("an answer");
        if answer.status().as_u16() != 401 {
            wrong.push(format!("an agent without a key: {}", answer.status()));
        }
        for path in ["/policy?command=allow", "/policy?command=report", "/policy", "/", "/health/live"] {
            for key in ["", "Bearer ", "Bearer a key"] {
                let request =
                    http.post(format!("http://{for_mail_servers}{path}")).header("authorization", key);
                let answer = request.body("{}").send().await.expect("an answer");
                let (status, body) = (answer.status().as_u16(), answer.text().await.expect("a body"));
                if ![401, 404].contains(&status) || !body.is_empty() {
                    wrong.push(format!("{path} for mail servers: {status} {body}"));
                }
            }
        }
        let unmet: Vec<_> = OPEN.iter().filter(|(_, path, _, _)| !met.contains(*path)).collect();
        assert!(unmet.is_empty(), "not there any more: {unmet:?}");
    });
    assert!(wrong.is_empty(), "{wrong:#?}");
}
