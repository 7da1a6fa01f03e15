//! OpenLDAP beside Mailward: Debian's slapd on an mdb of its own, which syncs each change, and the
//! little of LDAP that binds, modifies and searches (RFC 4511, in BER).

use std::io::{BufWriter, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::bare::Counter;
use crate::load::{Load, repeat, together};
use crate::server::{self, Server};

const SLAPD: &str = "/usr/sbin/slapd";
const SLAPADD: &str = "/usr/sbin/slapadd";
const ADMIN: &str = "cn=admin,dc=bench";
const PASSWORD: &str = "secret";

/// An LDIF being loaded by a process of its own, while other databases are filled.
pub struct Filling {
    config: PathBuf,
    entries: i64,
    slapadd: Child,
    writer: Option<JoinHandle<std::io::Result<()>>>,
}

/// A filled directory, not yet served.
pub struct Directory {
    config: PathBuf,
    pub entries: i64,
}

impl Filling {
    /// Begins to load as many entries as there are accounts.
    pub fn begin(folder: &Path, entries: i64) -> Result<Self> {
        ensure!(Path::new(SLAPD).exists(), "{SLAPD} is missing; scripts/mail-packages slapd installs it");
        let database = folder.join("mdb");
        std::fs::create_dir_all(&database)?;
        let config = folder.join("slapd.conf");
        std::fs::write(
            &config,
            format!(
                "include /etc/ldap/schema/core.schema\ninclude /etc/ldap/schema/cosine.schema\n\
                 include /etc/ldap/schema/inetorgperson.schema\nmodulepath /usr/lib/ldap\nmoduleload back_mdb\n\
                 tool-threads 2\ndatabase mdb\nsuffix dc=bench\nrootdn {ADMIN}\nrootpw {PASSWORD}\n\
                 directory {}\nmaxsize 34359738368\nindex objectClass,uid,mail eq\n",
                database.display()
            ),
        )?;
        let mut slapadd = Command::new(SLAPADD)
            .arg("-q")
            .arg("-f")
            .arg(&config)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(folder.join("slapadd.log"))?)
            .spawn()
            .context(SLAPADD)?;
        let input = slapadd.stdin.take().context("a pipe was asked for")?;
        let writer = std::thread::spawn(move || write_entries(BufWriter::new(input), entries));
        Ok(Self { config, entries, slapadd, writer: Some(writer) })
    }

    /// Waits until everything is in the directory.
    pub fn finish(mut self) -> Result<Directory> {
        let written = self.writer.take().map(JoinHandle::join);
        let status = self.slapadd.wait()?;
        let log = || std::fs::read_to_string(self.config.with_file_name("slapadd.log")).unwrap_or_default();
        ensure!(status.success() && matches!(written, Some(Ok(Ok(())))), "slapadd failed: {}", log());
        Ok(Directory { config: self.config.clone(), entries: self.entries })
    }
}

impl Drop for Filling {
    fn drop(&mut self) {
        // Has ended already when the filling was finished.
        let _ = self.slapadd.kill();
        let _ = self.slapadd.wait();
    }
}

fn write_entries(mut out: impl Write, entries: i64) -> std::io::Result<()> {
    writeln!(out, "dn: dc=bench\nobjectClass: dcObject\nobjectClass: organization\no: bench\ndc: bench\n")?;
    writeln!(out, "dn: ou=people,dc=bench\nobjectClass: organizationalUnit\nou: people\n")?;
    for number in 1..=entries {
        writeln!(
            out,
            "dn: uid={number},ou=people,dc=bench\nobjectClass: inetOrgPerson\nuid: {number}\n\
             cn: Ada Anderson\nsn: Anderson\ngivenName: Ada\ndisplayName: Ada Anderson\n\
             mail: ada.anderson{number}@zylker.example\nemployeeType: enabled\n"
        )?;
    }
    out.flush()
}

impl Directory {
    pub async fn start(&self) -> Result<Server> {
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let mut command = Command::new(SLAPD);
        // With "-d" it stays in the foreground.
        command.args(["-d", "0", "-h"]).arg(format!("ldap://{address}/")).arg("-f").arg(&self.config);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        server::listening(command, address, Duration::from_secs(30)).await
    }

    /// Modifies of one attribute of entries that are far from each other, each to a fresh value.
    pub async fn modify(
        &self,
        server: &Server,
        connections: usize,
        time: Duration,
        numbers: &Arc<Counter>,
    ) -> Result<Load> {
        self.drive(server, connections, time, numbers, async |connection, number, entry| {
            let name = format!("uid={entry},ou=people,dc=bench");
            let value = octets(format!("disabled {number}").as_bytes());
            let change = [octets(b"employeeType"), tlv(SET, &[value])];
            let replace = tlv(SEQUENCE, &[vec![ENUMERATED, 1, 2], tlv(SEQUENCE, &change)]);
            let request = tlv(0x66, &[octets(name.as_bytes()), tlv(SEQUENCE, &[replace])]);
            connection.ask(request, 0x67).await.map(drop)
        })
        .await
    }

    /// Searches by an indexed attribute, from the suffix down.
    pub async fn search(
        &self,
        server: &Server,
        connections: usize,
        time: Duration,
        numbers: &Arc<Counter>,
    ) -> Result<Load> {
        self.drive(server, connections, time, numbers, async |connection, _, entry| {
            let filter = tlv(0xa3, &[octets(b"uid"), octets(entry.to_string().as_bytes())]);
            let limits =
                vec![ENUMERATED, 1, 2, ENUMERATED, 1, 0, INTEGER, 1, 0, INTEGER, 1, 0, BOOLEAN, 1, 0];
            let request = tlv(0x63, &[octets(b"dc=bench"), limits, filter, tlv(SEQUENCE, &[])]);
            match connection.ask(request, 0x65).await? {
                1 => Ok(()),
                other => bail!("{other} entries instead of one"),
            }
        })
        .await
    }

    async fn drive(
        &self,
        server: &Server,
        connections: usize,
        time: Duration,
        numbers: &Arc<Counter>,
        call: impl AsyncFn(&mut Connection, i64, i64) -> Result<()> + Clone + 'static,
    ) -> Result<Load> {
        let mut open = Vec::new();
        for _ in 0..connections {
            open.push(Connection::open(server.address).await?);
        }
        let tasks: Vec<_> = open
            .into_iter()
            .map(|mut connection| {
                let (call, numbers, entries) = (call.clone(), Arc::clone(numbers), self.entries);
                tokio::task::spawn_local(async move {
                    repeat(time, async || {
                        let number = numbers.next_scattered();
                        call(&mut connection, number, 1 + number.rem_euclid(entries)).await
                    })
                    .await
                })
            })
            .collect();
        let mut loads = Vec::new();
        for task in tasks {
            loads.push(task.await??);
        }
        Ok(together(loads))
    }
}

/// A connection that is bound as the directory's administrator.
struct Connection {
    stream: TcpStream,
    number: i32,
    input: Vec<u8>,
}

impl Connection {
    async fn open(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(address).await.context("connecting to slapd")?;
        stream.set_nodelay(true)?;
        let mut connection = Self { stream, number: 0, input: Vec::new() };
        let mut password = octets(PASSWORD.as_bytes());
        password[0] = 0x80;
        let request = tlv(0x60, &[vec![INTEGER, 1, 3], octets(ADMIN.as_bytes()), password]);
        connection.ask(request, 0x61).await.context("binding")?;
        Ok(connection)
    }

    /// Sends an operation and reads up to its result, which must be success: the number of entries found.
    async fn ask(&mut self, operation: Vec<u8>, result: u8) -> Result<usize> {
        self.number += 1;
        let mut number = vec![INTEGER, 4];
        number.extend(self.number.to_be_bytes());
        self.stream.write_all(&tlv(SEQUENCE, &[number, operation])).await?;
        let mut entries = 0;
        loop {
            let message = self.message().await?;
            let (_, message, _) = split(&message).context("a message")?;
            let (_, _, rest) = split(message).context("a number")?;
            let (kind, operation, _) = split(rest).context("an operation")?;
            if kind == result {
                let (_, code, _) = split(operation).context("a result")?;
                ensure!(code == [0], "slapd answered with the code {code:?}");
                return Ok(entries);
            }
            entries += 1;
        }
    }

    async fn message(&mut self) -> Result<Vec<u8>> {
        loop {
            if let Some((_, _, rest)) = split(&self.input) {
                let length = self.input.len() - rest.len();
                let rest = self.input.split_off(length);
                return Ok(std::mem::replace(&mut self.input, rest));
            }
            ensure!(self.stream.read_buf(&mut self.input).await? > 0, "slapd closed the connection");
        }
    }
}

// BER ----------------------------------------------------------------------------------------

const BOOLEAN: u8 = 0x01;
const INTEGER: u8 = 0x02;
const OCTETS: u8 = 0x04;
const ENUMERATED: u8 = 0x0a;
const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;

fn octets(content: &[u8]) -> Vec<u8> {
    tlv(OCTETS, &[content.to_vec()])
}

fn tlv(tag: u8, parts: &[Vec<u8>]) -> Vec<u8> {
    let content = parts.concat();
    let length = content.len().to_be_bytes();
    let mut whole = vec![tag];
    match content.len() {
        short @ 0..0x80 => whole.push(short as u8),
        // The long form with its two low bytes: nothing here is larger.
        _ => whole.extend([0x82, length[6], length[7]]),
    }
    whole.extend(content);
    whole
}

/// The first element: its tag, its content, and what follows; `None` while it is not whole.
fn split(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, rest) = bytes.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = match first {
        0..0x80 => (usize::from(first), rest),
        _ => {
            let (length, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            (length.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte)), rest)
        }
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some((tag, content, rest))
}
