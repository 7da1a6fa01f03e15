//! The keys that need real mail servers: how soon sessions end, and what the look-ups of logins and
//! recipients cost. The Dovecot and the Postfix are private ones (`lab`), on the large database's look-up files.

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use mailward::mailserver::config::{ConfigFile, Contract};
use mailward::mailserver::doveadm::{Doveadm, DoveadmConfig};
use mailward::mailserver::private;
use serde_json::{Value, json};

use crate::bare::Counter;
use crate::figures::{Bench, FIRST_UNTOLD};
use crate::fill::{PASSWORD, World};
use crate::lab::{Auth, Imap, Lab, Smtp, text};
use crate::load::{Call, Connection, repeat, together};
use crate::report::{Figure, Rounds, Target, rounded};
use crate::settings::SESSIONS;

/// The name of the Dovecot among Mailward's mail servers.
const NAME: &str = "bench";
const NEW_PASSWORD: &str = "t*c9ma 21 otters";
/// Logins that are opened at the same time.
const DRIVERS: usize = 8;
/// The last sweep comes 15 seconds after the first; by then everything has ended.
const SETTLED: Duration = Duration::from_secs(20);
/// Accounts whose incoming mail is blocked to see how soon Postfix knows.
const BLOCKED: usize = 20;
/// Clients of the look-ups, each with one question at a time.
const ASKERS: usize = 8;

/// Somebody whose account nothing has changed yet.
#[derive(Debug, Clone)]
struct Person {
    zuid: i64,
    mailbox: String,
    generation: i64,
    address: String,
}

impl Bench {
    pub async fn cut(&mut self) -> Result<Figure> {
        let mut figure = Figure::new("cut");
        let accounts = self.arguments.cut_accounts();
        let server = self.start(&self.many, true).await?;
        let mut people = untouched(&self.many, accounts + BLOCKED)?;
        let blocked = people.split_off(accounts);
        let lab = Lab::start(contract(&self.many)?, |_, files| make_room(files, accounts * SESSIONS))?;
        let url = format!("http://127.0.0.1:{}", lab.ports.doveadm);
        let key = private::key_file(&lab.dir);
        self.command(&["mail-server", "add", NAME, &url, "--key-file", &key.display().to_string()])?;
        // The worker looks for new mail servers every second.
        tokio::time::sleep(Duration::from_millis(1500)).await;

        let sessions = open_sessions(lab.ports.imap, &people).await?;
        let opened = sessions.len();
        let mut watched = Vec::new();
        for (number, session) in sessions {
            let closed = tokio::time::timeout(SETTLED * 10, session.closed());
            watched.push((number, tokio::task::spawn_local(closed)));
        }

        // One caller, one account after the other: once answered, the old password is tried.
        let mut connection = Connection::open(server.address, &self.many.token).await?;
        let mut called = Vec::new();
        let (mut answered, mut tried) = (Vec::new(), Vec::new());
        for (number, person) in people.iter().enumerate() {
            let mut comes_back = Imap::connect(lab.ports.imap).await?;
            let call = end_of(&self.many, number, person);
            let start = Instant::now();
            called.push(start);
            connection.call(call).await?;
            let answer = Instant::now();
            answered.push(answer - start);
            // Dovecot holds a refusal back for a while; the next call need not wait for that.
            let address = person.address.clone();
            tried.push(tokio::task::spawn_local(async move {
                let let_in = comes_back.login(&address, PASSWORD).await?;
                anyhow::Ok((let_in, answer.elapsed()))
            }));
        }
        let (mut refused, mut let_in) = (Vec::new(), 0);
        for tried in tried {
            let (is_in, took) = tried.await??;
            let_in += usize::from(is_in);
            refused.push(took);
        }

        let last = Instant::now();
        let (mut all, mut by_mode, mut survivors) = (Vec::new(), [Vec::new(), Vec::new()], 0);
        for (number, session) in watched {
            let left = SETTLED.saturating_sub(last.elapsed());
            match tokio::time::timeout(left, session).await {
                Ok(closed) => {
                    let took = closed??? - called[number];
                    all.push(took);
                    by_mode[number % 2].push(took);
                }
                Err(_) => survivors += 1,
            }
        }
        survivors += self.listed(&lab, &url, &people).await?;

        // The same for a recipient, where no password is computed.
        let mut known = Vec::new();
        let mut smtp = Smtp::connect(lab.ports.smtp).await?;
        for person in &blocked {
            ensure!(smtp.recipient(&person.address).await?.starts_with("250"), "a recipient is not known");
            let zuid = person.zuid;
            let body = format!(r#"{{"mode":"updateIncomingStatus","incomingBlocked":true,"zuid":{zuid}}}"#);
            connection.call(Call::put(self.many.path_of(zuid), body)).await?;
            let answer = Instant::now();
            let said = smtp.recipient(&person.address).await?;
            ensure!(said.starts_with("550 5.2.1"), "after the answer Postfix said {said}");
            known.push(answer.elapsed());
        }
        self.command(&["mail-server", "remove", NAME])?;

        let [resets, disables] = by_mode.map(|mut times| distribution(&mut times));
        figure.tell("accounts", accounts);
        figure.tell("sessions", opened);
        figure.tell("callToDisconnect", distribution(&mut all));
        figure.tell("callToDisconnectOfResets", resets);
        figure.tell("callToDisconnectOfDisables", disables);
        figure.tell("callToAnswer", distribution(&mut answered));
        figure.tell("answerToRefusedLogin", distribution(&mut refused));
        figure.tell("answerToRefusedRecipient", distribution(&mut known));
        figure.tell("loginsLetInAfterTheAnswer", let_in);
        figure.tell("survivors", survivors);
        all.sort();
        let p99 = share(&all, 0.99).context("there are sessions")?;
        figure.check("p99 from call to disconnect", p99.as_secs_f64() * 1000.0, Target::Within(250.0, "ms"));
        figure.check("survivors", survivors as f64, Target::Within(0.0, "sessions"));
        figure.check("old logins let in after the answer", let_in as f64, Target::Within(0.0, "logins"));
        drop(lab);
        server.stop()?;
        Ok(figure)
    }

    /// Sessions of these people that Dovecot itself still lists under their old names.
    async fn listed(&self, lab: &Lab, url: &str, people: &[Person]) -> Result<usize> {
        let config = DoveadmConfig {
            name: NAME.to_owned(),
            url: url.to_owned(),
            key_file: private::key_file(&lab.dir),
            certificate_sha256: None,
            ca_file: None,
        };
        let listed = Doveadm::new(&config).map_err(anyhow::Error::msg)?.who().await?;
        let old =
            |name: &str| people.iter().any(|who| name == format!("{}@g{}", who.mailbox, who.generation));
        Ok(listed.iter().filter(|session| old(&session.name)).count())
    }

    /// Runs a command of Mailward beside the server of the large database.
    fn command(&self, words: &[&str]) -> Result<()> {
        let config = folder(&self.many)?.join("mailward.toml");
        let done = Command::new(&self.arguments.server).arg("--config").arg(config).args(words).output()?;
        ensure!(done.status.success(), "{words:?}: {}", String::from_utf8_lossy(&done.stderr));
        Ok(())
    }

    pub async fn lookups(&mut self) -> Result<Figure> {
        let mut figure = Figure::new("lookups");
        // Brings the look-up files up to date; the mail servers need nobody but the files.
        self.start(&self.many, true).await?.stop()?;
        let folder = folder(&self.many)?;
        let people: Rc<[Person]> = sample(&self.many)?.into();
        // A cheap hash in both: Argon2id would be all that is measured.
        let cheap = cheap_hash(PASSWORD);
        let auth = rusqlite::Connection::open(folder.join("auth/auth.sqlite"))?;
        let mut change = auth.prepare(
            "UPDATE account SET pw = ?1, pw_until = NULL, gate = NULL, gate_main = NULL WHERE mbox = ?2",
        )?;
        auth.execute_batch("BEGIN")?;
        for person in people.iter() {
            change.execute([&cheap, &person.mailbox])?;
        }
        auth.execute_batch("COMMIT")?;
        drop(change);
        auth.close().map_err(|(_, cause)| cause)?;
        let minimal = folder.join("minimal.sqlite");
        make_minimal(&self.many, &minimal, &cheap)?;

        let ours = Lab::start(contract(&self.many)?, |_, _| ())?;
        let mut changed = Ok(());
        let theirs = Lab::start(contract(&self.many)?, |dir, files| changed = by_hand(dir, files, &minimal))?;
        changed?;
        let time = self.arguments.round().mul_f64(0.75);
        let numbers = Counter::from(1);
        for what in ["loginLookUps", "userLookUps", "recipientChecks"] {
            let (mut with, mut without) = (Rounds::default(), Rounds::default());
            for _ in 0..self.arguments.rounds() {
                for (rounds, lab, sessions) in [(&mut with, &ours, true), (&mut without, &theirs, false)] {
                    let mut tasks = Vec::new();
                    for _ in 0..ASKERS {
                        let (people, numbers) = (Rc::clone(&people), numbers.clone());
                        let mut asker = Asker::new(what, lab, sessions).await?;
                        tasks.push(tokio::task::spawn_local(repeat(time, async move || {
                            let number = numbers.next();
                            let place = usize::try_from(number * 7919)? % people.len();
                            asker.ask(number, &people[place]).await
                        })));
                    }
                    let mut loads = Vec::new();
                    for task in tasks {
                        loads.push(task.await??);
                    }
                    rounds.take(&together(loads), None);
                }
            }
            figure.tell(what, json!({"lookUpFiles": with.json(), "byHand": without.json(), "ratio": rounded(with.over(&without))}));
        }
        figure.tell("accounts", self.arguments.accounts());
        figure.tell("clients", ASKERS);
        figure.tell("lookUpFilesMiB", files_mib(&folder, &["auth/auth.sqlite", "maps/maps.sqlite"]));
        figure.tell("byHandMiB", files_mib(&folder, &["minimal.sqlite"]));
        Ok(figure)
    }
}

fn folder(world: &World) -> Result<PathBuf> {
    let file = world.url.strip_prefix("sqlite:").context("the large database is SQLite's")?;
    Ok(Path::new(file).parent().context("the file lies in a folder")?.to_owned())
}

fn contract(world: &World) -> Result<Contract> {
    Ok(private::contract(&folder(world)?, "dovecot", "postfix"))
}

fn files_mib(folder: &Path, names: &[&str]) -> Value {
    let bytes: u64 = names
        .iter()
        .filter_map(|name| std::fs::metadata(folder.join(name)).ok())
        .map(|meta| meta.len())
        .sum();
    rounded(bytes as f64 / 1048576.0)
}

// Cut ----------------------------------------------------------------------------------------

/// Every other account is reset, the rest is disabled.
fn end_of(world: &World, number: usize, person: &Person) -> Call {
    let zuid = person.zuid;
    let body = if number.is_multiple_of(2) {
        format!(
            r#"{{"mode":"resetPassword","password":"{NEW_PASSWORD}","oneTimePassword":false,"zuid":{zuid}}}"#
        )
    } else {
        format!(r#"{{"mode":"disableUser","zuid":{zuid}}}"#)
    };
    Call::put(world.path_of(zuid), body)
}

/// Three sessions for each person, one of them waiting in IDLE; with the number of the person.
async fn open_sessions(port: u16, people: &[Person]) -> Result<Vec<(usize, Imap)>> {
    let left: Vec<_> = (0..SESSIONS)
        .flat_map(|session| {
            people.iter().enumerate().map(move |(number, who)| (number, session, who.clone()))
        })
        .collect();
    let left = Rc::new(RefCell::new(left));
    let openers: Vec<_> = (0..DRIVERS)
        .map(|_| {
            let left = Rc::clone(&left);
            tokio::task::spawn_local(async move {
                let mut open = Vec::new();
                loop {
                    let next = left.borrow_mut().pop();
                    let Some((number, session, who)) = next else { return anyhow::Ok(open) };
                    let mut imap = Imap::connect(port).await?;
                    ensure!(imap.login(&who.address, PASSWORD).await?, "{} is not let in", who.address);
                    if session == 0 {
                        imap.idle().await?;
                    }
                    open.push((number, imap));
                }
            })
        })
        .collect();
    let mut all = Vec::new();
    for opener in openers {
        all.extend(opener.await??);
    }
    Ok(all)
}

/// One process holds each session; Dovecot's own bounds are for a smaller number.
fn make_room(files: &mut [ConfigFile], sessions: usize) {
    if let Ok(text) = text(files, "dovecot.conf") {
        let most = sessions + 200;
        text.push_str(&format!(
            "\ndefault_client_limit = {}\nservice imap {{\n  process_limit = {most}\n}}\n",
            most * 4
        ));
    }
}

/// Members whom nothing has touched since the database was filled.
fn untouched(world: &World, most: usize) -> Result<Vec<Person>> {
    let people = select(
        world,
        "WHERE p.role = 'member' AND p.version = 1 AND p.disabled IS NULL AND a.mail_disabled IS NULL
         AND p.id < ?2 LIMIT ?1",
        i64::try_from(most)?,
    )?;
    ensure!(people.len() == most, "only {} accounts are as they were made", people.len());
    Ok(people)
}

fn select(world: &World, rest: &str, number: i64) -> Result<Vec<Person>> {
    let file = world.url.trim_start_matches("sqlite:");
    let connection = rusqlite::Connection::open(file)?;
    let sql = format!(
        "SELECT p.id, a.mailbox, a.generation, a.primary_address FROM person p
         JOIN account a ON a.organization_id = p.organization_id AND a.person_id = p.id {rest}"
    );
    let mut statement = connection.prepare(&sql)?;
    // Those made beside the outbox, to see what creates cost, are in no look-up file.
    let people = statement.query_map([number, FIRST_UNTOLD], |row| {
        Ok(Person { zuid: row.get(0)?, mailbox: row.get(1)?, generation: row.get(2)?, address: row.get(3)? })
    })?;
    Ok(people.collect::<rusqlite::Result<_>>()?)
}

fn share(sorted: &[Duration], share: f64) -> Option<Duration> {
    let place = (sorted.len() as f64 * share) as usize;
    sorted.get(place.min(sorted.len().saturating_sub(1))).copied()
}

fn distribution(times: &mut [Duration]) -> Value {
    times.sort();
    let at = |part| share(times, part).map_or(Value::Null, |time| rounded(time.as_secs_f64() * 1000.0));
    json!({
        "count": times.len(),
        "p50Milliseconds": at(0.5),
        "p99Milliseconds": at(0.99),
        "maxMilliseconds": at(1.0),
    })
}

// Look-ups -----------------------------------------------------------------------------------

/// Twenty thousand members from all over the database who may receive mail.
fn sample(world: &World) -> Result<Vec<Person>> {
    let step = (world.accounts / 20_000).max(1);
    let people = select(
        world,
        "WHERE p.role = 'member' AND p.disabled IS NULL AND p.ordinal % ?1 = 0 AND a.incoming_blocked IS NULL
         AND a.mail_disabled IS NULL AND p.id < ?2",
        step,
    )?;
    ensure!(!people.is_empty(), "nobody can be looked up");
    Ok(people)
}

/// A salted SHA-512 as Dovecot takes it, about as long as an Argon2id hash.
fn cheap_hash(password: &str) -> String {
    use base64::Engine as _;
    use sha2::Digest as _;
    let salt = b"01234567";
    let mut bytes = sha2::Sha512::digest([password.as_bytes(), salt].concat()).to_vec();
    bytes.extend(salt);
    format!("{{SSHA512}}{}", base64::engine::general_purpose::STANDARD.encode(bytes))
}

/// What an administrator would make by hand: one table of users, one of domains, nothing that can be
/// blocked, reset at once or joined.
fn make_minimal(world: &World, file: &Path, hash: &str) -> Result<()> {
    let connection = rusqlite::Connection::open(file)?;
    connection.execute_batch(
        "PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA cache_size = -400000;
         CREATE TABLE user (address TEXT PRIMARY KEY, mailbox TEXT NOT NULL, password TEXT NOT NULL) WITHOUT ROWID;
         CREATE TABLE domain (name TEXT PRIMARY KEY) WITHOUT ROWID;",
    )?;
    connection.execute("ATTACH ?1 AS desk", [world.url.trim_start_matches("sqlite:")])?;
    connection.execute(
        "INSERT INTO user SELECT d.address, a.mailbox, ?1 FROM desk.address d
         JOIN desk.account a ON a.organization_id = d.organization_id AND a.id = d.account_id
         WHERE d.freed_at IS NULL ORDER BY d.address",
        [hash],
    )?;
    connection.execute("INSERT INTO domain SELECT name FROM desk.domain", ())?;
    connection.execute_batch("DETACH desk; PRAGMA journal_mode = DELETE")?;
    connection.close().map_err(|(_, cause)| cause)?;
    std::os::unix::fs::chown(file, None, None)?;
    std::fs::set_permissions(file, std::os::unix::fs::PermissionsExt::from_mode(0o644))?;
    Ok(())
}

/// Points both servers to the minimal file: one look-up for a login, one for its user, two for a recipient.
fn by_hand(dir: &Path, files: &mut Vec<ConfigFile>, minimal: &Path) -> Result<()> {
    let (dir, file) = (dir.display(), minimal.display());
    let dovecot = text(files, "dovecot.conf")?;
    let (from, to) = (dovecot.find("passdb {"), dovecot.find("# --- Mailboxes"));
    let (Some(from), Some(to)) = (from, to) else { bail!("Dovecot's file has another form") };
    let one = format!("{{\n  driver = sql\n  args = {dir}/dovecot/minimal.conf.ext\n}}\n");
    dovecot.replace_range(from..to, &format!("passdb {one}userdb {one}"));
    let mut put = |name: &str, group, text: String| {
        let path = PathBuf::from(format!("{dir}/{name}"));
        files.push(ConfigFile { path, group, mode: 0o640, text });
    };
    put(
        "dovecot/minimal.conf.ext",
        Some("dovecot"),
        format!(
            "driver = sqlite\nconnect = {file}\ndefault_pass_scheme = ARGON2ID\n\
             password_query = SELECT address AS \"user\", password FROM user WHERE address = '%Lu'\n\
             user_query = SELECT mailbox AS \"user\", '{dir}/mail/' || mailbox AS home FROM user WHERE address = '%Lu'\n"
        ),
    );
    for (name, query) in [
        ("minimal-domain.cf", "SELECT 'OK' FROM domain WHERE name = '%s'"),
        ("minimal-mailbox.cf", "SELECT mailbox FROM user WHERE address = '%u@%d'"),
    ] {
        put(&format!("postfix/{name}"), Some("postfix"), format!("dbpath = {file}\nquery = {query}\n"));
    }
    let main = text(files, "main.cf")?;
    // The last word counts in this file.
    main.push_str(&format!(
        "\nvirtual_mailbox_domains = proxy:sqlite:{dir}/postfix/minimal-domain.cf\n\
         virtual_mailbox_maps = proxy:sqlite:{dir}/postfix/minimal-mailbox.cf\n\
         smtpd_sender_login_maps =\nsmtpd_recipient_restrictions = reject_unlisted_recipient\n"
    ));
    Ok(())
}

/// A client that asks one thing.
enum Asker {
    Login(Auth),
    /// With whether users are asked for by the names of sessions.
    User(Auth, bool),
    Recipient(Smtp),
}

impl Asker {
    async fn new(what: &str, lab: &Lab, sessions: bool) -> Result<Self> {
        Ok(match what {
            "loginLookUps" => Self::Login(Auth::for_logins(lab).await?),
            "userLookUps" => Self::User(Auth::for_users(lab).await?, sessions),
            _ => Self::Recipient(Smtp::connect(lab.ports.smtp).await?),
        })
    }

    async fn ask(&mut self, number: i64, who: &Person) -> Result<()> {
        match self {
            Self::Login(auth) => auth.login(number, &who.address, PASSWORD).await,
            Self::User(auth, true) => {
                auth.user(number, &format!("{}@g{}", who.mailbox, who.generation)).await
            }
            Self::User(auth, false) => auth.user(number, &who.address).await,
            Self::Recipient(smtp) => {
                let said = smtp.recipient(&who.address).await?;
                ensure!(said.starts_with("250"), "the recipient {}: {said}", who.address);
                Ok(())
            }
        }
    }
}
