use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;

use sha2::{Digest, Sha256};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::*;

struct Files(tempfile::TempDir);

impl Files {
    fn new() -> Self {
        let files = Self(tempfile::tempdir().expect("a temporary directory"));
        files.key("top-secret-key\n", 0o600);
        files
    }

    fn key(&self, text: &str, mode: u32) {
        fs::write(self.0.path().join("key"), text).expect("writes");
        fs::set_permissions(self.0.path().join("key"), Permissions::from_mode(mode)).expect("sets the mode");
    }

    fn config(&self, url: String) -> DoveadmConfig {
        DoveadmConfig {
            name: "mx1".into(),
            url,
            key_file: self.0.path().join("key"),
            certificate_sha256: None,
            ca_file: None,
        }
    }

    fn client(&self, port: u16) -> Doveadm {
        Doveadm::new(&self.config(format!("http://127.0.0.1:{port}"))).expect("a good configuration")
    }
}

/// Answers one request with each text, and gives what was asked.
async fn dovecot(answers: Vec<(u16, String)>) -> (u16, tokio::task::JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
    let port = listener.local_addr().expect("bound").port();
    let task = tokio::spawn(async move {
        let mut asked = vec![];
        for (status, body) in answers {
            let (stream, _) = listener.accept().await.expect("accepts");
            asked.push(answer(stream, status, &body).await);
        }
        asked
    });
    (port, task)
}

async fn answer(mut stream: impl AsyncRead + AsyncWrite + Unpin, status: u16, body: &str) -> String {
    let mut request = vec![];
    loop {
        let mut part = [0; 65536];
        let n = stream.read(&mut part).await.expect("reads");
        request.extend_from_slice(&part[..n]);
        let text = String::from_utf8_lossy(&request).into_owned();
        let length = text
            .to_ascii_lowercase()
            .split_once("content-length: ")
            .and_then(|(_, rest)| rest.split("\r\n").next()?.parse::<usize>().ok());
        if let (Some((_, have)), Some(length)) = (text.split_once("\r\n\r\n"), length)
            && have.len() == length
        {
            let head = format!("HTTP/1.1 {status} x\r\nContent-Length: {}\r\n\r\n", body.len());
            stream.write_all(format!("{head}{body}").as_bytes()).await.expect("writes");
            let _client_may_be_gone = stream.shutdown().await;
            return text;
        }
    }
}

#[tokio::test]
async fn sessions_are_read_as_dovecot_2_3_prints_them() {
    let body = r#"[["doveadmResponse",[{"username":"1395@a6","service":"imap","pid":"16230","ip":"127.0.0.1"},{"username":"7@g2","service":"pop3","pid":"9","ip":"::1"}],"t0"]]"#;
    let (port, asked) = dovecot(vec![(200, body.into())]).await;
    let sessions = Files::new().client(port).who().await.expect("answers");
    assert_eq!(
        sessions,
        [
            Session {
                name: "1395@a6".into(),
                service: "imap".into(),
                pid: Some(16230),
                ip: "127.0.0.1".parse().ok()
            },
            Session { name: "7@g2".into(), service: "pop3".into(), pid: Some(9), ip: "::1".parse().ok() },
        ]
    );
    let asked = asked.await.expect("served").remove(0);
    assert!(asked.starts_with("POST /doveadm/v1 HTTP/1.1\r\n"), "{asked}");
    assert!(asked.contains("authorization: X-Dovecot-API dG9wLXNlY3JldC1rZXk=\r\n"), "{asked}");
    assert!(asked.ends_with(r#"[["who",{"separateConnections":true},"t0"]]"#), "{asked}");
}

#[tokio::test]
async fn one_mask_is_one_command_and_nobody_there_is_a_success() {
    let body = r#"[["doveadmResponse",[{"username":"1@g1","service":"imap","pid":"1","ip":""},{"username":"1@g1","service":"imap","pid":"2","ip":""},{"username":"1@g2","service":"imap","pid":"3","ip":""}],"t0"],
        ["doveadmResponse",[{"result":"1@g1"}],"t1"],["error",{"type":"exitCode", "exitCode":68},"t2"],["doveadmResponse",[{"count":"3"}],"t3"]]"#;
    let (port, asked) = dovecot(vec![(200, body.into())]).await;
    let exact = |mbox: &str, credential: &str| SessionMask::Exact {
        mbox: mbox.into(),
        credential: credential.parse().expect("a credential"),
    };
    let masks = [exact("1", "g1"), exact("2", "a7"), SessionMask::All { mbox: "3".into() }];
    let ended = Files::new().client(port).kick(&masks).await.expect("answers");
    assert_eq!(ended.iter().map(|ended| ended.sessions).collect::<Vec<_>>(), [2, 0, 3]);
    let asked = asked.await.expect("served").remove(0);
    assert!(
        asked.ends_with(r#"["kick",{"mask":["1@g1"]},"t1"],["kick",{"mask":["2@a7"]},"t2"],["kick",{"mask":["3@*"]},"t3"]]"#),
        "{asked}"
    );
}

#[tokio::test]
async fn many_masks_go_in_calls_of_a_hundred() {
    let reply = |kicks: usize| {
        let errors = (1..=kicks).map(|n| format!(r#",["error",{{"type":"exitCode","exitCode":68}},"t{n}"]"#));
        format!(r#"[["doveadmResponse",[],"t0"]{}]"#, errors.collect::<String>())
    };
    let (port, asked) = dovecot(vec![(200, reply(100)), (200, reply(100)), (200, reply(50))]).await;
    let masks: Vec<_> = (0..250).map(|n| SessionMask::All { mbox: n.to_string() }).collect();
    assert_eq!(Files::new().client(port).kick(&masks).await.expect("answers").len(), 250);
    assert_eq!(asked.await.expect("served").len(), 3);
}

#[tokio::test]
async fn errors_inside_a_good_answer_are_errors() {
    let cases = [
        (200, r#"[["error",{"type":"invalidRequest"},"t0"]]"#, "invalidRequest"),
        (200, r#"[["error",{"type":"unknownMethod"},"t0"]]"#, "unknownMethod"),
        (200, r#"[["error",{"type":"exitCode","exitCode":75},"t0"]]"#, "exit code 75"),
        (200, "[]", "not one reply"),
        (200, r#"[["doveadmResponse",[],"t9"]]"#, "out of order"),
        (200, "<html>", "no JSON"),
        (401, "", "refused the key"),
        (500, "", "500"),
    ];
    for (status, body, expected) in cases {
        let (port, _) = dovecot(vec![(status, body.into())]).await;
        let error = Files::new().client(port).check().await.expect_err(body).to_string();
        assert!(error.contains(expected), "{body}: {error}");
    }
}

#[tokio::test]
async fn a_stopped_and_a_hung_server_are_told_apart_in_time() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
    let port = listener.local_addr().expect("bound").port();
    let files = Files::new();
    let hung = tokio::time::timeout(TOTAL + Duration::from_secs(1), files.client(port).check()).await;
    assert_eq!(hung.expect("gives up by itself"), Err(DoveadmError::Timeout));
    drop(listener);
    assert!(matches!(files.client(port).check().await, Err(DoveadmError::Unreachable(_))));
}

#[test]
fn an_unsafe_way_is_refused_with_a_reason() {
    let files = Files::new();
    let refused = |config: DoveadmConfig| Doveadm::new(&config).expect_err("refused");
    assert!(refused(files.config("http://192.0.2.1:8080".into())).contains("clear text"));
    assert!(refused(files.config("http://imap.example.test:8080".into())).contains("clear text"));
    assert!(refused(files.config("https://imap.example.test:8080".into())).contains("pinned"));
    assert!(refused(files.config("ftp://127.0.0.1".into())).contains("http"));
    assert!(refused(files.config("http://me:key@127.0.0.1".into())).contains("password"));
    let mut config = files.config("https://imap.example.test:8080".into());
    config.certificate_sha256 = Some("12:34".into());
    assert!(refused(config).contains("64"));
    files.key("top-secret-key\n", 0o640);
    assert!(refused(files.config("http://127.0.0.1".into())).contains("0600"));
    files.key("\n", 0o600);
    assert!(refused(files.config("http://127.0.0.1".into())).contains("empty"));
}

#[test]
fn the_key_is_never_printed() {
    let client = Files::new().client(1);
    assert!(!format!("{client:?}").contains("top-secret"));
}

#[tokio::test]
async fn tls_goes_to_the_pinned_certificate_or_the_named_authority_only() {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).expect("makes a certificate");
    let other =
        rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).expect("makes a certificate");
    let server =
        rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(
                vec![made.cert.der().clone()],
                rustls::pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der()).expect("a key"),
            )
            .expect("a server");
    let acceptor = TlsAcceptor::from(Arc::new(server));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
    let port = listener.local_addr().expect("bound").port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            if let Ok(stream) = acceptor.accept(stream).await {
                answer(stream, 200, r#"[["doveadmResponse",[],"t0"]]"#).await;
            }
        }
    });

    let files = Files::new();
    let check = async |pin: Option<&[u8]>, authority: Option<&str>| {
        let ca_file = authority.map(|pem| {
            let path = files.0.path().join("ca.pem");
            fs::write(&path, pem).expect("writes");
            path
        });
        let config = DoveadmConfig {
            certificate_sha256: pin.map(|der| hex::encode_upper(Sha256::digest(der))),
            ca_file,
            ..files.config(format!("https://localhost:{port}"))
        };
        Doveadm::new(&config).expect("a good configuration").check().await
    };
    assert_eq!(check(Some(made.cert.der()), None).await, Ok(()));
    assert_eq!(check(None, Some(&made.cert.pem())).await, Ok(()));
    for refused in [check(Some(other.cert.der()), None).await, check(None, Some(&other.cert.pem())).await] {
        assert!(matches!(refused, Err(DoveadmError::Unreachable(_))), "{refused:?}");
    }
}
