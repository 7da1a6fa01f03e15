//! A real Postfix and Dovecot on loopback for the bench, and clients for what is asked of them:
//! IMAP sessions, SMTP recipients, and Dovecot's own protocols for look-ups.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use mailward::app::random::Random;
use mailward::mailserver::config::{ConfigFile, Contract};
use mailward::mailserver::private::{self, Ports, Servers, Wish};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::{TcpStream, UnixStream};

/// For one line of an answer.
const PATIENCE: Duration = Duration::from_secs(30);
/// Owns the mail: a user of every Debian that nobody is logged in as.
const MAIL_USER: &str = "mail";

/// The running pair and its directory; both go when this is dropped.
pub struct Lab {
    pub dir: PathBuf,
    pub ports: Ports,
    servers: Option<Servers>,
}

impl Lab {
    /// Starts both servers on the contract, with their files as Mailward writes them and then changed so.
    pub fn start(contract: Contract, change: impl FnOnce(&Path, &mut Vec<ConfigFile>)) -> Result<Self> {
        if let Some(obstacle) = private::obstacle() {
            anyhow::bail!(obstacle);
        }
        let name = hex::encode(&Random::System.salt()[..4]);
        let mut lab =
            Self { dir: private::make_dir(&format!("mw-{name}"))?, ports: Ports::free(), servers: None };
        let wish = Wish {
            dir: lab.dir.clone(),
            ports: lab.ports,
            hostname: "mx.zylker.example".to_owned(),
            contract,
            mail_user: MAIL_USER.to_owned(),
            doveadm_key: hex::encode(Random::System.salt()).into(),
            tls: None,
            policy_server: None,
        };
        let mut files = private::files(&wish)?;
        change(&lab.dir, &mut files);
        lab.servers = Some(Servers::start(&wish.dir, &files, &wish.mail_user, wish.ports)?);
        Ok(lab)
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        // The servers first: they write into the directory.
        drop(self.servers.take());
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

/// The text of one of the servers' files.
pub fn text<'a>(files: &'a mut [ConfigFile], name: &str) -> Result<&'a mut String> {
    let file = files.iter_mut().find(|file| file.path.ends_with(name));
    file.map(|file| &mut file.text).with_context(|| format!("the servers have no file {name}"))
}

/// A connection that speaks in lines.
pub struct Lines<S>(BufReader<S>);

impl Lines<TcpStream> {
    pub async fn connect(port: u16) -> Result<Self> {
        let stream = TcpStream::connect(("127.0.0.1", port)).await.context("connecting")?;
        stream.set_nodelay(true)?;
        Ok(Self(BufReader::new(stream)))
    }
}

impl Lines<UnixStream> {
    pub async fn connect(socket: &Path) -> Result<Self> {
        let stream = UnixStream::connect(socket).await.with_context(|| socket.display().to_string())?;
        Ok(Self(BufReader::new(stream)))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Lines<S> {
    pub async fn send(&mut self, text: &str) -> Result<()> {
        Ok(self.0.write_all(text.as_bytes()).await?)
    }

    /// The next line; `None` when the server has closed.
    async fn next(&mut self) -> Result<Option<String>> {
        let mut line = String::new();
        match self.0.read_line(&mut line).await {
            Ok(0) => Ok(None),
            Ok(_) => Ok(Some(line.trim_end().to_owned())),
            Err(cause) if cause.kind() == std::io::ErrorKind::ConnectionReset => Ok(None),
            Err(cause) => Err(cause.into()),
        }
    }

    /// The first line that begins with one of these.
    pub async fn until(&mut self, starts: &[&str]) -> Result<String> {
        while let Some(line) = tokio::time::timeout(PATIENCE, self.next())
            .await
            .with_context(|| format!("the server says nothing for {PATIENCE:?} instead of {starts:?}"))??
        {
            if starts.iter().any(|start| line.starts_with(start)) {
                return Ok(line);
            }
        }
        anyhow::bail!("the server closed instead of saying {starts:?}")
    }
}

/// An IMAP connection.
pub struct Imap(Lines<TcpStream>);

impl Imap {
    pub async fn connect(port: u16) -> Result<Self> {
        let mut lines = Lines::<TcpStream>::connect(port).await?;
        lines.until(&["* OK"]).await?;
        Ok(Self(lines))
    }

    /// Whether the server lets the login in.
    pub async fn login(&mut self, address: &str, password: &str) -> Result<bool> {
        self.0.send(&format!("a LOGIN \"{address}\" \"{password}\"\r\n")).await?;
        Ok(self.0.until(&["a "]).await?.starts_with("a OK"))
    }

    /// Waits for news in INBOX.
    pub async fn idle(&mut self) -> Result<()> {
        self.0.send("b SELECT INBOX\r\n").await?;
        ensure!(self.0.until(&["b "]).await?.starts_with("b OK"), "INBOX could not be selected");
        self.0.send("c IDLE\r\n").await?;
        self.0.until(&["+"]).await.map(drop)
    }

    /// When the server closed.
    pub async fn closed(mut self) -> Result<Instant> {
        while self.0.next().await?.is_some() {}
        Ok(Instant::now())
    }
}

/// A connection to the port for mail from other servers, in a transaction.
pub struct Smtp {
    lines: Lines<TcpStream>,
    recipients: u32,
}

impl Smtp {
    /// Postfix takes a thousand recipients in one transaction.
    const MOST_RECIPIENTS: u32 = 500;

    pub async fn connect(port: u16) -> Result<Self> {
        let mut smtp = Self { lines: Lines::<TcpStream>::connect(port).await?, recipients: 0 };
        smtp.lines.until(&["220 "]).await?;
        smtp.ask("EHLO client.example").await?;
        smtp.ask("MAIL FROM:<somebody@elsewhere.example>").await?;
        Ok(smtp)
    }

    async fn ask(&mut self, command: &str) -> Result<String> {
        self.lines.send(&format!("{command}\r\n")).await?;
        // The last line of a reply has no hyphen behind its code.
        loop {
            let line = self.lines.until(&[""]).await?;
            if line.as_bytes().get(3) != Some(&b'-') {
                return Ok(line);
            }
        }
    }

    /// What Postfix answers to a recipient.
    pub async fn recipient(&mut self, address: &str) -> Result<String> {
        self.recipients += 1;
        if self.recipients > Self::MOST_RECIPIENTS {
            self.recipients = 1;
            self.ask("RSET").await?;
            self.ask("MAIL FROM:<somebody@elsewhere.example>").await?;
        }
        self.ask(&format!("RCPT TO:<{address}>")).await
    }
}

/// A connection to Dovecot's auth process.
pub struct Auth(Lines<UnixStream>);

impl Auth {
    /// Where Postfix asks about logins.
    pub async fn for_logins(lab: &Lab) -> Result<Self> {
        let mut lines = Lines::<UnixStream>::connect(&lab.dir.join("spool/private/dovecot-auth")).await?;
        lines.send(&format!("VERSION\t1\t1\nCPID\t{}\n", std::process::id())).await?;
        lines.until(&["DONE"]).await?;
        Ok(Self(lines))
    }

    /// Where sessions and deliveries ask for users.
    pub async fn for_users(lab: &Lab) -> Result<Self> {
        let mut lines = Lines::<UnixStream>::connect(&lab.dir.join("run/dovecot/auth-userdb")).await?;
        lines.send("VERSION\t1\t0\n").await?;
        lines.until(&["SPID"]).await?;
        Ok(Self(lines))
    }

    /// Checks a login, which must succeed.
    pub async fn login(&mut self, number: i64, address: &str, password: &str) -> Result<()> {
        let secret = STANDARD.encode(format!("\0{address}\0{password}"));
        let request = format!("AUTH\t{number}\tPLAIN\tservice=smtp\tsecured\tresp={secret}\n");
        self.0.send(&request).await?;
        let answer = self.0.until(&["OK\t", "FAIL\t", "CONT\t"]).await?;
        ensure!(answer.starts_with("OK\t"), "the login of {address}: {answer}");
        Ok(())
    }

    /// Looks a user up, who must exist.
    pub async fn user(&mut self, number: i64, name: &str) -> Result<()> {
        self.0.send(&format!("USER\t{number}\t{name}\tservice=imap\n")).await?;
        let answer = self.0.until(&["USER\t", "NOTFOUND\t", "FAIL\t"]).await?;
        ensure!(answer.starts_with("USER\t"), "the user {name}: {answer}");
        Ok(())
    }
}
