//! `mailward doctor`: what is wrong with this installation, and how to mend it.

mod mail;

use std::net::IpAddr;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use serde_json::json;

use crate::app::keys;
use crate::app::open::{self, SchemaState};
use crate::app::operator::{self, Pulse};
use crate::app::read_only;
use crate::cli::desk::{Desk, must_exist};
use crate::cli::{exit, logging};
use crate::clock::{Clock, MINUTE, Millis, rfc3339};
use crate::config::Config;
use crate::error::Result;
use crate::machine::files;
use crate::machine::finding::{Finding, State, good, warning, wrong};
use crate::store::engine::{Db, PostgresPlace};
use crate::store::outbox::Backlog;

/// Find out what is wrong and how to mend it
///
/// Looks at the configuration, the database, the modes of files, durability, the clock, waiting
/// effects, and at the mail servers: groups, look-up files, settings in force, package revisions,
/// doveadm's door. On a mail host with an agent it looks at that in place of a database. Run it as root to see everything.
/// The exit code is 1 when something is wrong; warnings alone leave it 0.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  mailward doctor\n  mailward doctor --json | jq '.findings[] | select(.state != \"good\")'"
)]
pub struct Doctor {}

impl Doctor {
    /// # Errors
    /// When standard output cannot be written.
    pub async fn run(self, desk: &Desk) -> Result<u8> {
        logging::quiet();
        let findings = examine(desk).await;
        let ill = findings.iter().any(|finding| finding.state == State::Wrong);
        desk.answer(
            || {
                let lines = findings.iter().map(|Finding { state, what, cure }| {
                    let cure = if cure.is_empty() { String::new() } else { format!("\n         → {cure}") };
                    format!("{:<8} {what}{cure}\n", state.as_str())
                });
                lines.collect()
            },
            || {
                let all: Vec<_> = findings
                    .iter()
                    .map(|Finding { state, what, cure }| json!({"state": state.as_str(), "what": what, "cure": cure}))
                    .collect();
                json!({"healthy": !ill, "findings": all})
            },
        )?;
        Ok(if ill { exit::FAILURE } else { exit::DONE })
    }
}

async fn examine(desk: &Desk) -> Vec<Finding> {
    let (config, file) = match desk.read_config() {
        Ok(read) => read,
        Err(error) => {
            return vec![wrong(
                error.to_string(),
                "correct the configuration; `mailward serve` refuses it too",
            )];
        }
    };
    let mut findings = vec![match config.check() {
        Ok(()) => good("every configured value can be meant"),
        Err(error) => wrong(error.to_string(), "correct the configuration; `mailward serve` refuses it too"),
    }];
    findings.extend(of_file(file.as_deref(), &config));
    if config.has_agent() {
        // It listens nowhere and opens no database.
        findings.extend(mail::of_agent(&config));
        findings.extend(mail::of_machine(&config));
        return findings;
    }
    findings.push(of_listening(&config));
    let now = Clock::System.now();
    findings.extend(of_sqlite_files(&config));
    findings.extend(of_way_to_database(&config));
    findings.extend(mail::of_machine(&config));
    if let Err(error) = must_exist(&config) {
        findings.push(wrong(error.to_string(), "run `mailward init`"));
        return findings;
    }
    match open::open_db(&config.database) {
        Ok(db) => {
            findings.extend(of_database(&db, now).await);
            if matches!(open::schema_state(&db).await, Ok(SchemaState::Current | SchemaState::Ahead)) {
                if let Ok(Some(since)) = read_only::since(&db).await {
                    findings.push(warning(
                        format!("nothing is changed since {}: `mailward read-only on`", rfc3339(since)),
                        "`mailward read-only off`, unless everything is just being moved",
                    ));
                }
                findings.push(of_keys(&db, &config).await);
                findings.extend(of_heads(&db, &config, now).await);
                findings.extend(mail::of_database(&db, &config, now).await);
            }
            db.close().await;
        }
        Err(error) => {
            findings.push(wrong(error.to_string(), "correct database.url or the rights of the file"))
        }
    }
    findings
}

fn of_file(file: Option<&Path>, config: &Config) -> Vec<Finding> {
    let Some(file) = file else {
        let cure = match config.has_agent() {
            true => "write one from mailward.example.toml",
            false => "run `mailward init`, or write one from mailward.example.toml",
        };
        return vec![warning("there is no configuration file; the defaults hold", cure)];
    };
    let mut findings = Vec::new();
    let secret = config.database.url_has_password();
    findings.push(match mode(file) {
        Some(mode) if mode & 0o022 != 0 => wrong(
            format!("others can change {} (mode {mode:04o})", file.display()),
            format!("chmod go-w {}", file.display()),
        ),
        Some(mode) if secret && mode & 0o077 != 0 => wrong(
            format!("{} has a password in it and others can read it (mode {mode:04o})", file.display()),
            "chmod 0600 it, or move the password to a file of its own (database.password_file)",
        ),
        Some(_) => good(format!("nobody else can change {}", file.display())),
        None => wrong(format!("cannot look at {}", file.display()), "check the rights of its folder"),
    });
    if let Some(key) = &config.server.tls_key {
        findings.push(match mode(key) {
            Some(mode) if mode & 0o007 != 0 => wrong(
                format!("everybody can read the private key {} (mode {mode:04o})", key.display()),
                format!("chmod o-rwx {}", key.display()),
            ),
            Some(_) => good("the private key is not for everybody"),
            None => wrong(
                format!("cannot look at the private key {}", key.display()),
                "correct server.tls_key or the file's rights",
            ),
        });
    }
    findings
}

fn of_listening(config: &Config) -> Finding {
    let server = &config.server;
    let local = server.listen.ip().is_loopback();
    if server.tls_cert.is_some() {
        good(format!("HTTPS on {}", server.listen))
    } else if local {
        good(format!("plain HTTP on {}, for this machine alone", server.listen))
    } else {
        let everywhere = matches!(server.listen.ip(), IpAddr::V4(ip) if ip.is_unspecified())
            || matches!(server.listen.ip(), IpAddr::V6(ip) if ip.is_unspecified());
        let whom = if everywhere { "every network of this machine" } else { "other machines" };
        warning(
            format!(
                "plain HTTP on {}, open to {whom}: passwords and tokens travel in the clear",
                server.listen
            ),
            "set server.tls_cert and tls_key, or listen on 127.0.0.1 behind a proxy that speaks TLS",
        )
    }
}

fn of_sqlite_files(config: &Config) -> Vec<Finding> {
    let Some(path) = config.database.sqlite_path() else { return Vec::new() };
    let mut findings = Vec::new();
    let mut open_to_others = Vec::new();
    for end in ["", "-wal", "-shm"] {
        let file = PathBuf::from(format!("{}{end}", path.display()));
        if mode(&file).is_some_and(|mode| mode & 0o077 != 0) {
            open_to_others.push(file.display().to_string());
        }
    }
    if open_to_others.is_empty() {
        findings.push(good("the database's files are nobody else's"));
    } else {
        let files = open_to_others.join(" ");
        findings.push(wrong(format!("others can get at {files}"), format!("chmod 0600 {files}")));
    }
    let folder = files::folder(path);
    if mode(folder).is_some_and(|mode| mode & 0o022 != 0 && mode & 0o1000 == 0) {
        findings.push(wrong(
            format!("others can replace files in {}", folder.display()),
            format!("chmod go-w {}", folder.display()),
        ));
    }
    findings
}

fn mode(file: &Path) -> Option<u32> {
    Some(std::fs::metadata(file).ok()?.mode() & 0o7777)
}

async fn of_database(db: &Db, now: Millis) -> Vec<Finding> {
    if let Err(error) = db.ping().await {
        return vec![wrong(
            format!("the database does not answer: {error}"),
            "start it, or correct database.url and its password",
        )];
    }
    let mut findings = vec![good("the database answers")];
    if !open::is_embedded(db) {
        findings.push(match open::keeps_sessions_apart(db).await {
            Ok(true) => good("every connection to the database is its own"),
            Ok(false) => wrong("a pooler mixes the connections to the database", open::MIXED_SESSIONS),
            Err(error) => wrong(error.to_string(), "look at the log of the database or its pooler"),
        });
    }
    match open::schema_state(db).await {
        Ok(SchemaState::Current) => {
            findings.push(good(format!("the tables are up to date (step {})", open::newest_step())))
        }
        Ok(SchemaState::Ahead) => findings.push(warning(
            "a newer Mailward has migrated the database",
            "this one may go on beside it; give it the newer binary soon",
        )),
        Ok(SchemaState::Empty) => {
            findings.push(wrong("the database is empty", "run `mailward init`"));
            return findings;
        }
        Ok(SchemaState::Behind(steps)) => {
            findings.push(wrong(
                format!("the database lacks {}", open::names(&steps)),
                "make a backup and run `mailward migrate`",
            ));
            return findings;
        }
        Err(error) => {
            findings.push(wrong(
                error.to_string(),
                "use the newer binary, or restore a backup that this one made",
            ));
            return findings;
        }
    }
    match operator::pulse(db).await {
        Ok(pulse) => findings.extend(of_pulse(&pulse, now)),
        Err(error) => findings
            .push(wrong(format!("the database cannot be read: {error}"), "look at the database's own log")),
    }
    findings
}

/// PostgreSQL on another machine: hashes and people's data pass the network.
fn of_way_to_database(config: &Config) -> Option<Finding> {
    let place = PostgresPlace::of(&config.database.url).ok()?;
    let is_here = |host: &str| {
        host.starts_with('/') || host == "localhost" || host.parse().is_ok_and(|ip: IpAddr| ip.is_loopback())
    };
    let far = place.hosts.iter().map(|(host, _)| host.as_str()).find(|host| !is_here(host))?;
    Some(match place.demands_tls || config.database.tls_root_cert.is_some() {
        true => good("the way to the database is encrypted"),
        false => warning(
            format!("what {far} is told passes the network in the clear, hashes of passwords among it"),
            "add sslmode=verify-full to database.url",
        ),
    })
}

/// Heads that nobody writes prove nothing.
async fn of_heads(db: &Db, config: &Config, now: Millis) -> Option<Finding> {
    let file = config.audit.heads_file.as_deref()?;
    let newest = operator::pulse(db).await.ok()?.newest_entry?;
    let written = std::fs::metadata(file).and_then(|meta| meta.modified()).ok();
    let written = written.and_then(|at| at.duration_since(std::time::UNIX_EPOCH).ok());
    let written = written.and_then(|since| Millis::try_from(since.as_millis()).ok());
    Some(match written {
        Some(at) if at >= newest || now - newest < 5 * MINUTE => good("heads of the audit log are written"),
        Some(_) | None => warning(
            format!("{} has no head of the newest audit entries", file.display()),
            "see that `mailward serve` runs and may write there (ReadWritePaths= in its unit)",
        ),
    })
}

async fn of_keys(db: &Db, config: &Config) -> Finding {
    let file = keys::file(config);
    match keys::examine(db, config).await {
        Ok(Some(newest)) => good(format!(
            "the keys in {} are this database's; the newest, {}, was made {}",
            file.display(),
            newest.id,
            rfc3339(newest.made_at)
        )),
        Ok(None) => good(format!("{} is made when the service starts", file.display())),
        Err(error) => wrong(error.to_string(), "`mailward serve` does not start before this is mended"),
    }
}

fn of_pulse(pulse: &Pulse, now: Millis) -> Vec<Finding> {
    let mut findings: Vec<Finding> =
        pulse.durability.iter().filter_map(|(setting, value)| of_setting(setting, value)).collect();
    // Before this program was written: 2025-01-01.
    const EARLIEST: Millis = 1_735_689_600_000;
    findings.push(match pulse.newest_entry {
        _ if now < EARLIEST => wrong(format!("the clock says {}", rfc3339(now)), "set the clock; run NTP"),
        Some(newest) if newest > now + 5 * MINUTE => wrong(
            format!("the clock says {}, and the newest entry is from {}", rfc3339(now), rfc3339(newest)),
            "the clock was set back or is wrong on another node; run NTP on all of them",
        ),
        Some(_) | None => good(format!("the clock says {}", rfc3339(now))),
    });
    let Backlog { waiting, oldest } = pulse.backlog;
    findings.push(match oldest {
        Some(oldest) if now - oldest > 5 * MINUTE => warning(
            format!("{waiting} effects wait for the mail servers, the oldest since {}", rfc3339(oldest)),
            "see that `mailward serve` runs and reaches the mail servers; `mailward change show ID` says why",
        ),
        Some(_) | None => good(format!("{waiting} effects wait for the mail servers")),
    });
    if let Some(since) = pulse.unsealed_since.filter(|since| now - since > 5 * MINUTE) {
        findings.push(warning(
            format!("audit entries wait to be sealed since {}", rfc3339(since)),
            "see that `mailward serve` runs; on PostgreSQL a transaction of any database that stays open keeps them \
             waiting (pg_stat_activity, backend_xid)",
        ));
    }
    if pulse.organizations == 0 {
        findings.push(warning("there is no organization", "run `mailward init`"));
    }
    for zoid in &pulse.orphans {
        findings.push(wrong(
            format!("the organization {zoid} has no enabled super administrator"),
            "`mailward user recover-super-admin USER` makes one",
        ));
    }
    findings
}

/// What a setting must be, so that an answered change survives a power failure.
fn of_setting(setting: &str, value: &str) -> Option<Finding> {
    let said = format!("{setting} = {value}");
    let lossy = |cure: &str| Some(wrong(format!("{said}: answered changes can be lost"), cure));
    match (setting, value) {
        ("synchronous", "full" | "extra") | ("journal_mode", "wal") => Some(good(said)),
        ("synchronous" | "journal_mode", _) => lossy("use this program's own connection; this is a defect"),
        ("fsync" | "full_page_writes", "off") => lossy("turn it on in postgresql.conf and reload"),
        ("synchronous_commit", "off") => {
            lossy("set synchronous_commit = on for this database's role or server")
        }
        _ => Some(good(said)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_database_on_another_machine_is_reached_by_tls() {
        let told = |url: &str| {
            let mut config = Config::default();
            url.clone_into(&mut config.database.url);
            of_way_to_database(&config).map(|finding| finding.state)
        };
        for here in [
            "sqlite:/var/lib/mailward/mailward.sqlite",
            "postgres://m@127.0.0.1/desk",
            "postgres://m@[::1]/desk",
        ] {
            assert_eq!(told(here), None, "{here}");
        }
        assert_eq!(told("postgres://m@%2Frun%2Fpostgresql/desk"), None);
        assert_eq!(told("postgres://m@db1,db2/desk"), Some(State::Warning));
        assert_eq!(told("postgres://m@localhost,db2/desk"), Some(State::Warning));
        assert_eq!(told("postgres://m@db1/desk?sslmode=verify-full"), Some(State::Good));
    }
}
