//! nginx and HAProxy in front of a node, set up with the very lines of the guides: callers keep their
//! addresses, and the agents of mail hosts their links.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use mailward::store::audit;
use mailward::store::migrations::STEPS;
use rustix::process::{Pid, Signal, kill_process};
use rustls::pki_types::ServerName;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpSocket;
use tokio_rustls::TlsConnector;

use super::agents::{applied, desk};
use crate::support::agent::{Host, until};
use crate::support::certificates::{certificates, trusting};
use crate::support::databases::{TestDb, on_sqlite};
use crate::support::service::Service;

/// Where a caller comes from, who is not the proxy.
const CALLER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

#[test]
fn behind_nginx_callers_keep_their_addresses_and_agents_their_links() {
    on_sqlite(STEPS, async |test| behind(test, nginx).await);
}

#[test]
fn behind_haproxy_callers_keep_their_addresses_and_agents_their_links() {
    on_sqlite(STEPS, async |test| behind(test, haproxy).await);
}

async fn behind(test: TestDb, start: fn(&Path, SocketAddr) -> Proxy) {
    let world = desk(&test).await;
    let node = Service::start_with(&test.url, &[("MAILWARD_SERVER_TRUSTED_PROXIES", "127.0.0.1/32")]);
    certificates(&test.folder);
    let proxy = start(&test.folder, node.address());

    // A caller who lies about where the call comes from.
    let body = format!(r#"{{"zuid":{},"mode":"disableMailAccount"}}"#, world.member.zuid);
    let request = format!(
        "PUT {} HTTP/1.1\r\nHost: desk.example.org\r\nAuthorization: Zoho-oauthtoken {}\r\nX-Forwarded-For: 203.0.113.9\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        world.path(&world.member),
        world.admin.org_token,
        body.len(),
    );
    let answer = proxy.ask(&test.folder, &request).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    let entries = {
        let mut tx = test.db.read().await.expect("a connection");
        audit::newest(&mut tx, world.zoid, None, 1).await.expect("an entry")
    };
    let entry: Value = serde_json::from_str(&entries[0].entry).expect("JSON");
    assert_eq!(
        (entry["verb"].as_str(), entry["source"].as_str()),
        (Some("disableMailAccount"), Some("127.0.0.2"))
    );

    let host = Host::new(&world.app, &test.folder, "imap1", &["*"]).await;
    let authority = test.folder.join("authority.pem");
    let agent = host.start_with(&[
        ("MAILWARD_MAIL_AGENT_NODES", &format!("https://127.0.0.1:{}", proxy.port)),
        ("MAILWARD_MAIL_AGENT_CA_FILE", authority.to_str().expect("UTF-8")),
    ]);
    until(4, || host.logins().len());
    let on = world.mode(&world.admin, &world.member, "enableMailAccount", serde_json::json!({})).await;
    applied(&world, &on.ok().change().expect("a change"), "imap1").await;
    assert_eq!(agent.said("a node is here"), 1, "one connection served all of it");

    // The key goes to nobody who merely listens there.
    certificates(&host.folder);
    let other = host.folder.join("authority.pem");
    let stranger = host.start_with(&[
        ("MAILWARD_MAIL_AGENT_NODES", &format!("https://127.0.0.1:{}", proxy.port)),
        ("MAILWARD_MAIL_AGENT_CA_FILE", other.to_str().expect("UTF-8")),
    ]);
    stranger.says("invalid peer certificate");
    assert_eq!(stranger.said("a node is here"), 0);
}

/// A proxy of one test, which ends with it.
struct Proxy {
    port: u16,
    child: Child,
}

impl Drop for Proxy {
    /// As an administrator stops it: killed, nginx would leave its workers behind.
    fn drop(&mut self) {
        let _may_be_dead = kill_process(Pid::from_child(&self.child), Signal::TERM);
        let _reaped = self.child.wait();
    }
}

impl Proxy {
    fn start(mut command: Command, port: u16) -> Self {
        let said = |at: &str| {
            format!("{at} is needed: install the packages nginx-light and haproxy (scripts/mail-packages)")
        };
        let program = command.get_program().to_string_lossy().into_owned();
        let child = command.stdin(Stdio::null()).spawn().unwrap_or_else(|_| panic!("{}", said(&program)));
        let proxy = Self { port, child };
        let start = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(start.elapsed() < Duration::from_secs(30), "{program} does not listen");
            std::thread::sleep(Duration::from_millis(20));
        }
        proxy
    }

    /// Sends a request over TLS, from the caller's address; the whole answer.
    async fn ask(&self, folder: &Path, request: &str) -> String {
        let config = trusting(&fs::read(folder.join("authority.pem")).expect("a file"));
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.bind((CALLER, 0).into()).expect("an address of this machine");
        let tcp = socket.connect(([127, 0, 0, 1], self.port).into()).await.expect("the proxy listens");
        let name = ServerName::try_from("127.0.0.1").expect("a name");
        let mut stream = TlsConnector::from(config).connect(name, tcp).await.expect("TLS");
        stream.write_all(request.as_bytes()).await.expect("sent");
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.expect("an answer");
        String::from_utf8(answer).expect("text")
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("a free port").port()
}

/// The lines that a guide has for a program, with what only a test wants otherwise.
fn lines(guide: &str, program: &str, instead: &[(&str, &str)]) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/guide").join(guide);
    let text = fs::read_to_string(path).expect("a guide");
    let block = text.split_once(&format!("```{program}\n")).and_then(|(_, rest)| rest.split_once("```"));
    let mut block = block.unwrap_or_else(|| panic!("{guide} says nothing for {program}")).0.to_owned();
    for (theirs, ours) in instead {
        assert!(block.contains(theirs), "{theirs} is not in {guide}: {block}");
        block = block.replace(theirs, ours);
    }
    block
}

fn nginx(folder: &Path, node: SocketAddr) -> Proxy {
    let (port, at) = (free_port(), folder.display());
    let link = lines("mail-hosts.md", "nginx", &[]);
    let server = lines(
        "administrator.md",
        "nginx",
        &[
            ("127.0.0.1:7080", &node.to_string()),
            ("listen 443", &format!("listen 127.0.0.1:{port}")),
            ("/etc/ssl/desk.pem", &format!("{at}/server.crt")),
            ("/etc/ssl/private/desk.key", &format!("{at}/server.key")),
            ("    location / {", &format!("{link}\n    location / {{")),
        ],
    );
    let folders = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
    let folders: Vec<_> = folders.iter().map(|of| format!("{of}_temp_path {at}/nginx-{of};\n")).collect();
    let config = format!(
        "daemon off; pid {at}/nginx.pid; error_log {at}/nginx.log;\nevents {{}}\n\
         http {{ access_log off;\n{}{server}}}\n",
        folders.concat()
    );
    fs::write(folder.join("nginx.conf"), config).expect("a file");
    let mut command = Command::new("/usr/sbin/nginx");
    command.arg("-c").arg(folder.join("nginx.conf")).arg("-p").arg(folder);
    Proxy::start(command, port)
}

fn haproxy(folder: &Path, node: SocketAddr) -> Proxy {
    let port = free_port();
    let both = ["server.crt", "server.key"].map(|name| fs::read(folder.join(name)).expect("a file"));
    fs::write(folder.join("both.pem"), both.concat()).expect("a file");
    // The tunnel's line ends the section, which goes on with what every HAProxy has.
    let defaults = lines("mail-hosts.md", "haproxy", &[]);
    let doors = lines(
        "administrator.md",
        "haproxy",
        &[
            ("127.0.0.1:7080", &node.to_string()),
            ("bind :443", &format!("bind 127.0.0.1:{port}")),
            ("/etc/ssl/private/desk-with-key.pem", &folder.join("both.pem").display().to_string()),
        ],
    );
    let config = format!(
        "{defaults}    timeout connect 5s\n    timeout client 30s\n    timeout server 30s\n\n{doors}"
    );
    fs::write(folder.join("haproxy.cfg"), config).expect("a file");
    let mut command = Command::new("/usr/sbin/haproxy");
    command.arg("-db").arg("-q").arg("-f").arg(folder.join("haproxy.cfg"));
    Proxy::start(command, port)
}
