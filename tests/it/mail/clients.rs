//! Small clients for IMAP, POP3 and SMTP that say what the server said, word for word.
//! Each has a timeout: a server with a broken table hangs rather than fails.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

const PATIENCE: Duration = Duration::from_secs(60);

trait Wire: Read + Write + Send {}
impl<T: Read + Write + Send> Wire for T {}

/// A connection that speaks in lines.
pub struct Lines {
    reader: BufReader<Box<dyn Wire>>,
    socket: TcpStream,
}

impl Lines {
    pub fn connect(port: u16) -> Self {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).expect("the server listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout can be set");
        stream.set_write_timeout(Some(PATIENCE)).expect("a timeout can be set");
        let socket = stream.try_clone().expect("a socket has two handles");
        Self { reader: BufReader::new(Box::new(stream)), socket }
    }

    /// TLS from the first byte, or from here on after STARTTLS.
    pub fn into_tls(self, trust: &Arc<rustls::ClientConfig>) -> Self {
        let name = rustls::pki_types::ServerName::try_from("mx.example.test").expect("a host name");
        let tls = rustls::ClientConnection::new(Arc::clone(trust), name).expect("a TLS client");
        let stream = self.socket.try_clone().expect("a socket has two handles");
        Self { reader: BufReader::new(Box::new(rustls::StreamOwned::new(tls, stream))), socket: self.socket }
    }

    fn send(&mut self, line: &str) {
        // A server that has closed meanwhile is seen when reading.
        let _seen_when_reading = self.reader.get_mut().write_all(format!("{line}\r\n").as_bytes());
    }

    /// The next line; `None` when the server has closed.
    fn read(&mut self) -> Option<String> {
        let mut line = String::new();
        match self.reader.read_line(&mut line) {
            Ok(0) => None,
            Ok(_) => Some(line.trim_end().to_owned()),
            Err(e) if closed(&e) => None,
            Err(e) => panic!("no answer within {PATIENCE:?}: {e}"),
        }
    }

    fn expect(&mut self) -> String {
        self.read().unwrap_or_else(|| "(closed)".to_owned())
    }

    /// Reads until the server closes, and how long that took.
    fn until_closed(&mut self, within: Duration) -> Option<(Duration, Vec<String>)> {
        let start = Instant::now();
        self.socket.set_read_timeout(Some(within)).expect("a timeout can be set");
        let mut lines = vec![];
        loop {
            let mut line = String::new();
            match self.reader.read_line(&mut line) {
                Ok(0) => return Some((start.elapsed(), lines)),
                Ok(_) => lines.push(line.trim_end().to_owned()),
                Err(e) if e.kind() == std::io::ErrorKind::ConnectionReset => {
                    return Some((start.elapsed(), lines));
                }
                Err(_) => return None,
            }
        }
    }
}

fn closed(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{ConnectionReset, UnexpectedEof};
    matches!(error.kind(), ConnectionReset | UnexpectedEof)
}

/// An IMAP session.
pub struct Imap {
    lines: Lines,
    tag: u32,
}

impl Imap {
    pub fn connect(port: u16) -> Self {
        Self::over(Lines::connect(port))
    }

    pub fn over(mut lines: Lines) -> Self {
        let greeting = lines.expect();
        assert!(greeting.starts_with("* OK"), "{greeting}");
        Self { lines, tag: 0 }
    }

    /// A session that is logged in.
    pub fn open(port: u16, login: &str, password: &str) -> Self {
        let mut imap = Self::connect(port);
        let answer = imap.login(login, password);
        assert!(answer.starts_with("OK"), "{answer}");
        imap
    }

    /// The answer without the tag, such as `NO [AUTHENTICATIONFAILED] Authentication failed.`
    pub fn login(&mut self, login: &str, password: &str) -> String {
        self.command(&format!("LOGIN \"{login}\" \"{password}\"")).1
    }

    /// Untagged lines, and the answer without the tag (or `(closed)`).
    pub fn command(&mut self, command: &str) -> (Vec<String>, String) {
        self.tag += 1;
        let tag = format!("t{} ", self.tag);
        self.lines.send(&format!("{tag}{command}"));
        let mut untagged = vec![];
        loop {
            let line = self.lines.expect();
            match line.strip_prefix(&tag) {
                Some(answer) => return (untagged, answer.to_owned()),
                None if line == "(closed)" => return (untagged, line),
                None => untagged.push(line),
            }
        }
    }

    /// Selects INBOX and waits for news in it.
    pub fn idle(&mut self) {
        let (_, answer) = self.command("SELECT INBOX");
        assert!(answer.starts_with("OK"), "{answer}");
        self.lines.send("idle IDLE");
        let answer = self.lines.expect();
        assert!(answer.starts_with('+'), "{answer}");
    }

    /// Subjects of what is in INBOX, in order.
    pub fn subjects(&mut self) -> Vec<String> {
        let (untagged, answer) = self.command("SELECT INBOX");
        assert!(answer.starts_with("OK"), "{answer}");
        if untagged.iter().any(|line| line == "* 0 EXISTS") {
            return vec![];
        }
        let (lines, answer) = self.command("FETCH 1:* BODY.PEEK[HEADER.FIELDS (SUBJECT)]");
        assert!(answer.starts_with("OK"), "{answer}");
        lines.iter().filter_map(|line| line.strip_prefix("Subject: ").map(str::to_owned)).collect()
    }

    /// Whether the session still answers.
    pub fn is_open(&mut self) -> bool {
        self.command("NOOP").1.starts_with("OK")
    }

    /// How long until the server closed, and its last words; `None` when it did not.
    pub fn until_closed(&mut self, within: Duration) -> Option<(Duration, Vec<String>)> {
        self.lines.until_closed(within)
    }
}

/// A POP3 session.
pub struct Pop3 {
    lines: Lines,
}

impl Pop3 {
    pub fn connect(port: u16) -> Self {
        Self::over(Lines::connect(port))
    }

    pub fn over(mut lines: Lines) -> Self {
        let greeting = lines.expect();
        assert!(greeting.starts_with("+OK"), "{greeting}");
        Self { lines }
    }

    pub fn open(port: u16, login: &str, password: &str) -> Self {
        let mut pop = Self::connect(port);
        let answer = pop.login(login, password);
        assert!(answer.starts_with("+OK"), "{answer}");
        pop
    }

    /// Such as `-ERR [AUTH] Authentication failed.`
    pub fn login(&mut self, login: &str, password: &str) -> String {
        let answer = self.command(&format!("USER {login}"));
        if answer.starts_with("+OK") { self.command(&format!("PASS {password}")) } else { answer }
    }

    pub fn command(&mut self, command: &str) -> String {
        self.lines.send(command);
        self.lines.expect()
    }

    pub fn until_closed(&mut self, within: Duration) -> Option<(Duration, Vec<String>)> {
        self.lines.until_closed(within)
    }
}

/// An SMTP session; answers are the last line of the reply.
pub struct Smtp {
    lines: Lines,
}

impl Smtp {
    pub fn connect(port: u16) -> Self {
        Self::over(Lines::connect(port))
    }

    pub fn over(lines: Lines) -> Self {
        let mut smtp = Self { lines };
        let greeting = smtp.reply();
        assert!(greeting.starts_with("220"), "{greeting}");
        let answer = smtp.command("EHLO client.example.test");
        assert!(answer.starts_with("250"), "{answer}");
        smtp
    }

    pub fn open(port: u16, login: &str, password: &str) -> Self {
        let mut smtp = Self::connect(port);
        let answer = smtp.login(login, password);
        assert!(answer.starts_with("235"), "{answer}");
        smtp
    }

    /// STARTTLS, and EHLO again.
    pub fn start_tls(mut self, trust: &Arc<rustls::ClientConfig>) -> Self {
        let answer = self.command("STARTTLS");
        assert!(answer.starts_with("220"), "{answer}");
        let mut smtp = Self { lines: self.lines.into_tls(trust) };
        let answer = smtp.command("EHLO client.example.test");
        assert!(answer.starts_with("250"), "{answer}");
        smtp
    }

    /// AUTH PLAIN, such as `235 2.7.0 Authentication successful`.
    pub fn login(&mut self, login: &str, password: &str) -> String {
        let secret = STANDARD.encode(format!("\0{login}\0{password}"));
        self.command(&format!("AUTH PLAIN {secret}"))
    }

    pub fn command(&mut self, command: &str) -> String {
        self.lines.send(command);
        self.reply()
    }

    /// The answer to RCPT, where Postfix tells what it thinks of sender, login and recipient.
    pub fn rcpt(&mut self, from: &str, to: &str) -> String {
        let answer = self.command(&format!("MAIL FROM:<{from}>"));
        if !answer.starts_with("250") {
            return answer;
        }
        let answer = self.command(&format!("RCPT TO:<{to}>"));
        if !answer.starts_with("421") {
            self.command("RSET");
        }
        answer
    }

    /// Sends a message; the first answer that is no success, or the last.
    pub fn send(&mut self, from: &str, to: &str, subject: &str) -> String {
        for (command, good) in [
            (format!("MAIL FROM:<{from}>"), "250"),
            (format!("RCPT TO:<{to}>"), "250"),
            ("DATA".into(), "354"),
        ] {
            let answer = self.command(&command);
            if !answer.starts_with(good) {
                return answer;
            }
        }
        self.command(&format!("From: <{from}>\r\nTo: <{to}>\r\nSubject: {subject}\r\n\r\nHello.\r\n."))
    }

    fn reply(&mut self) -> String {
        loop {
            let line = self.lines.expect();
            if line.as_bytes().get(3) != Some(&b'-') {
                return line;
            }
        }
    }
}

/// What Dovecot's LMTP socket answers to a recipient.
pub fn lmtp(socket: &std::path::Path, to: &str) -> String {
    let stream = std::os::unix::net::UnixStream::connect(socket).expect("Dovecot listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout can be set");
    let mut reader = BufReader::new(stream);
    let mut reply = |command: &str| {
        if !command.is_empty() {
            reader.get_mut().write_all(format!("{command}\r\n").as_bytes()).expect("a command");
        }
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).expect("an answer");
            if line.as_bytes().get(3) != Some(&b'-') {
                return line.trim_end().to_owned();
            }
        }
    };
    reply("");
    reply("LHLO client.example.test");
    reply("MAIL FROM:<someone@elsewhere.test>");
    reply(&format!("RCPT TO:<{to}>"))
}
