//! What is wrong between Mailward and the mail servers of this machine. The servers' own programs are asked
//! (`doveconf -n`, `postconf -n` and `-P`, `dpkg-query`); `mailserver::examine` judges what they say.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::Command;

use super::mode;
use crate::app::mail::{agents, servers};
use crate::cli::os_user;
use crate::clock::{MINUTE, Millis};
use crate::config::Config;
use crate::error::Result;
use crate::machine::files;
use crate::machine::finding::{Finding, good, warning, wrong};
use crate::machine::users::Users;
use crate::mailserver::examine::{self, Expected, PACKAGES, Package};
use crate::store;
use crate::store::engine::Db;
use crate::store::outbox::Backlog;
use crate::store::projection;

/// Everything that can be seen without the database.
pub fn of_machine(config: &Config) -> Vec<Finding> {
    let mail = &config.mail;
    let mut findings = Vec::new();
    if let (Some(auth), Some(maps)) = (&mail.auth_dir, &mail.maps_dir) {
        let users = Users::read();
        let service = os_user::of_service(config, &users);
        for (option, group, server, dir, file) in [
            ("mail.auth_group", &mail.auth_group, "dovecot", auth, "auth.sqlite"),
            ("mail.maps_group", &mail.maps_group, "postfix", maps, "maps.sqlite"),
        ] {
            findings.extend(of_group(&users, option, group, server, service));
            findings.extend(of_look_ups(dir, file, group, users.gid_of(group)));
        }
        findings.extend(of_drop_ins());
    } else if mail.dovecot_password_file.is_none() && mail.postfix_password_file.is_none() {
        // No mail server of this machine reads anything of ours.
        return findings;
    }
    let expected = Expected {
        recipient_delimiter: config.addresses.recipient_delimiter,
        hash_memory_kib: config.passwords.memory_kib,
    };
    match output("doveconf", &["-n"]) {
        Some(Ok(text)) => findings.extend(examine::dovecot(&text, &expected)),
        Some(Err(why)) => findings.push(warning(
            format!("Dovecot's settings cannot be read: {why}"),
            "run `mailward doctor` as root; else see what `doveconf -n` says",
        )),
        None => findings.push(good("Dovecot is not on this machine, so its settings are not looked at")),
    }
    if let (Some(Ok(main)), Some(Ok(services))) = (output("postconf", &["-n"]), output("postconf", &["-P"])) {
        findings.extend(examine::postfix(&main, &services, &expected));
    }
    for package in PACKAGES {
        let Some(Ok(have)) = output("dpkg-query", &["-W", "-f", "${Version}", package.name]) else {
            continue;
        };
        findings.extend(of_package(&package, have.trim()));
    }
    findings
}

/// What the agent of this mail host needs, and what it has brought here.
pub fn of_agent(config: &Config) -> Vec<Finding> {
    let agent = &config.mail_agent;
    let users = Users::read();
    let service = os_user::of_service(config, &users);
    let mut findings = vec![match agents::nodes(agent) {
        Ok(_) => good(format!("the agent {} asks {}", agent.name, agent.nodes.join(", else "))),
        Err(error) => {
            wrong(error.to_string(), "correct the configuration; `mailward mail-agent run` refuses it too")
        }
    }];
    for (what, file, cure) in [
        (
            "the agent's key",
            &agent.key_file,
            "put in what `mailward mail-agent add` printed at a node; `mailward mail-agent rotate-key` there makes a \
             new one",
        ),
        (
            "the key of doveadm",
            &agent.doveadm_key_file,
            "`mailward mail-server config dovecot --directory /` makes it",
        ),
    ] {
        findings.push(of_key(what, file, cure, (service, users.ids_of(service).map(|(uid, _)| uid))));
    }
    match (&config.mail.auth_dir, &config.mail.maps_dir) {
        (Some(auth), Some(maps)) => {
            let files = [auth.join("auth.sqlite"), maps.join("maps.sqlite")];
            findings.extend(files.iter().map(|file| of_brought(file, &projection::peek(file))));
        }
        (None | Some(_), None | Some(_)) => findings.push(wrong(
            "there are no look-up files: mail.auth_dir and mail.maps_dir are not set",
            "set both in [mail] and run `mailward mail-server config`; they are what an agent is for",
        )),
    }
    findings
}

/// A key that the agent reads, which runs as this user.
fn of_key(what: &str, file: &Path, cure: &str, (service, uid): (&str, Option<u32>)) -> Finding {
    let shown = file.display();
    if let Some(mode) = mode(file).filter(|mode| mode & 0o077 != 0) {
        return wrong(
            format!("others can read {what}, {shown} (mode {mode:04o})"),
            format!("chmod 0600 {shown}"),
        );
    }
    if let Err(why) = files::secret(file) {
        return wrong(format!("{what}, {shown}: {why}"), cure);
    }
    let owner = fs::metadata(file).ok().map(|meta| meta.uid());
    match uid {
        Some(uid) if owner != Some(uid) => warning(
            format!(
                "{what}, {shown}, does not belong to {service}, so an agent that runs as {service} cannot read it"
            ),
            format!("chown {service} {shown}"),
        ),
        Some(_) | None => good(format!("{what} is nobody else's")),
    }
}

/// How far a look-up file is that an agent keeps; what there is to hold, the nodes alone know.
fn of_brought(file: &Path, held: &std::result::Result<(i64, String), String>) -> Finding {
    let file = file.display();
    match held {
        Ok((position, _)) => good(format!(
            "{file} holds position {position}; `mailward mail-agent list` at a node says whether that is all"
        )),
        Err(why) => wrong(
            format!("{file} cannot be read: {why}"),
            "see that `mailward mail-agent run` runs here and what it logs: it makes the file anew from a node",
        ),
    }
}

/// What the database knows: whether the look-up files are behind, and whether the mail servers answer.
pub async fn of_database(db: &Db, config: &Config, now: Millis) -> Vec<Finding> {
    match ask(db, config, now).await {
        Ok(findings) => findings,
        Err(error) => vec![wrong(
            format!("what waits for the mail servers cannot be read: {error}"),
            "look at the database's own log",
        )],
    }
}

async fn ask(db: &Db, config: &Config, now: Millis) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    if let (Some(auth), Some(maps)) = (&config.mail.auth_dir, &config.mail.maps_dir)
        && config.database.sqlite_path().is_some()
    {
        let (newest, instance) = {
            let mut tx = db.snapshot().await?;
            let instance = store::settings::get(&mut tx, store::settings::INSTANCE).await?;
            (store::outbox::newest(&mut tx).await?, instance.unwrap_or_default())
        };
        for file in [auth.join("auth.sqlite"), maps.join("maps.sqlite")] {
            findings.push(of_position(&file, &projection::peek(&file), newest, &instance));
        }
    }
    let rows = store::mail_servers::all(&mut *db.read().await?).await?;
    let hosts = store::mail_agents::statuses(&mut *db.read().await?).await?;
    findings.extend(of_reach(config, rows.len(), hosts.len()));
    for status in hosts {
        findings.push(match agents::is_here(&status, now) {
            Ok(()) => good(format!("the mail host {} has its agent at {}", status.name, status.node)),
            Err(why) => wrong(
                format!("the mail host {}: {why}; it goes on with what it has", status.name),
                "see that `mailward mail-agent run` runs there and what it logs; `mailward mail-agent list`",
            ),
        });
    }
    for row in rows {
        let name = row.name.clone();
        let answer = match servers::connect(&row) {
            Ok(server) => server.check().await.map_err(|why| why.to_string()),
            Err(error) => Err(error.to_string()),
        };
        let Backlog { waiting, oldest } = store::outbox::backlog_of(&mut *db.read().await?, &name).await?;
        findings.push(match (answer, oldest) {
            (Err(why), _) => wrong(
                format!("the mail server {name} ({}): {why}; {waiting} effects wait for it", row.url),
                "see that it runs and that --key-file has the key of its doveadm_api_key; `mailward mail-server check`",
            ),
            (Ok(()), Some(oldest)) if now - oldest > 5 * MINUTE => warning(
                format!("the mail server {name} answers, but {waiting} effects have waited for minutes"),
                "see that `mailward serve` runs; `mailward change show ID` says why",
            ),
            (Ok(()), _) => good(format!("the mail server {name} answers and takes the key")),
        });
    }
    Ok(findings)
}

/// Whether changes reach anybody: so many mail servers are known, and so many hosts with an agent.
fn of_reach(config: &Config, servers: usize, hosts: usize) -> Option<Finding> {
    let embedded = config.database.sqlite_path().is_some();
    // With PostgreSQL the servers read views.
    let look_ups = embedded && config.mail.auth_dir.is_some();
    if embedded && !look_ups && hosts == 0 {
        return Some(warning(
            "no mail server obeys: there are no look-up files, and no mail host has an agent",
            "set auth_dir and maps_dir in [mail] and run `mailward mail-server config`; for a mail host of its own \
             `mailward mail-agent add`",
        ));
    }
    // An agent ends the sessions of its own host alone.
    (servers == 0 && (look_ups || hosts == 0)).then(|| {
        warning(
            "no mail server is known: changes hold at the next login, but open sessions are not ended",
            "`mailward mail-server add NAME URL --key-file FILE`",
        )
    })
}

fn of_position(
    file: &Path,
    held: &std::result::Result<(i64, String), String>,
    newest: i64,
    instance: &str,
) -> Finding {
    let file = file.display();
    match held {
        Err(why) => wrong(format!("{file} cannot be read: {why}"), "`mailward projection rebuild`"),
        Ok((_, other)) if other != instance => {
            wrong(format!("{file} was made from another database"), "`mailward projection rebuild`")
        }
        Ok((position, _)) if *position < newest => wrong(
            format!("{file} is behind: it holds position {position} of {newest}"),
            "see that `mailward serve` runs and can write it; `mailward projection catch-up` brings it up now",
        ),
        Ok(_) => good(format!("{file} holds every change")),
    }
}

fn of_look_ups(dir: &Path, file: &str, group: &str, gid: Option<u32>) -> Vec<Finding> {
    let mut ill = Vec::new();
    let Ok(meta) = fs::metadata(dir) else {
        return vec![wrong(
            format!("there is no folder {}", dir.display()),
            "run the commands that `mailward mail-server config` prints",
        )];
    };
    for (path, right) in [
        (dir.to_owned(), 0o2770),
        (dir.join(file), 0o660),
        (dir.join(format!("{file}-wal")), 0o660),
        (dir.join(format!("{file}-shm")), 0o660),
    ] {
        let Some(have) = mode(&path) else { continue };
        if have != right {
            let what = format!("{} has mode {have:04o}, not {right:04o}", path.display());
            ill.push(wrong(what, format!("chmod {right:04o} {}", path.display())));
        }
        if let (Some(gid), Ok(of)) = (gid, fs::metadata(&path))
            && of.gid() != gid
        {
            let what = format!("{} does not belong to the group {group}", path.display());
            ill.push(wrong(what, format!("chgrp {group} {}", path.display())));
        }
    }
    let closed = dir.ancestors().skip(1).find(|above| mode(above).is_some_and(|mode| mode & 0o011 == 0));
    if let Some(above) = closed {
        ill.push(wrong(
            format!("{} is closed, so the mail servers cannot reach {}", above.display(), dir.display()),
            format!(
                "choose another folder; `chmod o+x {}` only where nothing else is in it",
                above.display()
            ),
        ));
    }
    if ill.is_empty() && meta.is_dir() {
        ill.push(good(format!("{} is for its group alone", dir.display())));
    }
    ill
}

fn of_drop_ins() -> Option<Finding> {
    // Without systemd somebody else starts the servers.
    if !Path::new("/run/systemd/system").exists() {
        return None;
    }
    let missing = ["dovecot.service.d", "postfix@.service.d"]
        .into_iter()
        .find(|unit| !Path::new("/etc/systemd/system").join(unit).join("mailward.conf").exists())?;
    Some(warning(
        format!(
            "/etc/systemd/system/{missing}/mailward.conf is missing: a mail server could start with an old copy"
        ),
        "`mailward mail-server config` writes it",
    ))
}

// Users and groups -------------------------------------------------------------------------

/// Whether a look-up file's group is for its mail server and for Mailward alone.
fn of_group(users: &Users, option: &str, group: &str, server: &str, service: &str) -> Vec<Finding> {
    if group.is_empty() {
        return vec![warning(
            format!("{option} is empty: only the owner of the folder's group reads the look-ups"),
            "name a group that only the mail server and Mailward are in",
        )];
    }
    if users.gid_of(group).is_none() {
        return vec![wrong(
            format!("there is no group {group}"),
            format!("groupadd --system {group}; usermod -aG {group} {server}"),
        )];
    }
    let members = users.members_of(group);
    let mut ill = Vec::new();
    let must = [server, service];
    for name in must {
        if users.ids_of(name).is_some() && !members.contains(&name) {
            ill.push(wrong(
                format!("{name} is not in the group {group}, so it cannot use the look-ups"),
                format!("usermod -aG {group} {name}, and restart it"),
            ));
        }
    }
    for name in members.iter().filter(|name| !must.contains(name)) {
        ill.push(warning(
            format!("{name} is in the group {group} too, and can read and change the look-ups"),
            format!("gpasswd -d {name} {group}"),
        ));
    }
    if ill.is_empty() {
        ill.push(good(format!("the group {group} is for {} alone", must.join(" and "))));
    }
    ill
}

// Packages ---------------------------------------------------------------------------------

fn of_package(package: &Package, have: &str) -> Option<Finding> {
    package.examine(have, |least| {
        let status = Command::new("dpkg").args(["--compare-versions", have, "ge", least]).status();
        status.is_ok_and(|status| status.success())
    })
}

/// What a program says, or complains; `None` when it is not here.
fn output(program: &str, arguments: &[&str]) -> Option<std::result::Result<String, String>> {
    let path = std::env::var("PATH").unwrap_or_default();
    let mut folders = path.split(':').filter(|folder| !folder.is_empty()).chain(["/usr/sbin", "/usr/bin"]);
    let file =
        folders.find_map(|folder| Some(Path::new(folder).join(program)).filter(|file| file.is_file()))?;
    Some(match Command::new(file).args(arguments).output() {
        Ok(out) if out.status.success() => Ok(String::from_utf8_lossy(&out.stdout).into_owned()),
        Ok(out) => Err(String::from_utf8_lossy(&out.stderr).lines().next().unwrap_or_default().to_owned()),
        Err(cause) => Err(cause.to_string()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::finding::State;

    #[test]
    fn groups_have_their_two_members_and_no_others() {
        let passwd = "root:x:0:0::/:\ndovecot:x:100:110::/:\nmailward:x:200:210::/:\neve:x:300:310::/:\n";
        let ill = |group: &str| {
            let users = Users::from_files(passwd, format!("dovecot:x:110:\n{group}"));
            let found = of_group(&users, "mail.auth_group", "mwauth", "dovecot", "mailward");
            found.into_iter().filter(|one| one.state != State::Good).map(|one| one.what).collect::<Vec<_>>()
        };
        assert_eq!(ill("mwauth:x:400:dovecot,mailward\n"), [""; 0]);
        assert!(ill("")[0].contains("no group mwauth"));
        assert!(ill("mwauth:x:400:mailward\n")[0].starts_with("dovecot is not in"));
        assert!(ill("mwauth:x:400:dovecot\n")[0].starts_with("mailward is not in"));
        assert!(ill("mwauth:x:400:dovecot,mailward,eve\n")[0].starts_with("eve is in"));
        assert!(ill("mwauth:x:310:dovecot,mailward\n")[0].starts_with("eve is in"), "by the first group");
    }

    #[test]
    fn packages_are_compared_only_with_their_own_upstream_version() {
        let state = |have: &str| of_package(&PACKAGES[0], have).map(|one| one.state);
        assert_eq!(state("1:2.3.19.1+dfsg1-2.1+deb12u7"), Some(State::Good));
        assert_eq!(state("1:2.3.19.1+dfsg1-2.1+deb12u6"), Some(State::Wrong));
        assert_eq!(state("1:2.3.19.1+dfsg1-2.1"), Some(State::Wrong));
        assert_eq!(state("1:2.4.1+dfsg1-6"), Some(State::Good));
        assert_eq!(state(""), None);
    }

    #[test]
    fn an_installation_that_nobody_obeys_is_told() {
        let told = |url: &str, auth_dir: Option<&str>, servers: usize, hosts: usize| {
            let mut config = Config::default();
            url.clone_into(&mut config.database.url);
            config.mail.auth_dir = auth_dir.map(Into::into);
            of_reach(&config, servers, hosts).map(|one| {
                assert_eq!(one.state, State::Warning, "it may be what is wanted");
                one.what.split(':').next().unwrap_or_default().to_owned()
            })
        };
        let (embedded, postgres) = ("sqlite:desk.sqlite", "postgres://db/desk");
        let (nobody, unknown) =
            (Some("no mail server obeys".to_owned()), Some("no mail server is known".to_owned()));
        assert_eq!(told(embedded, None, 0, 0), nobody);
        assert_eq!(told(embedded, None, 1, 0), nobody, "its look-ups are nowhere");
        assert_eq!(told(embedded, None, 0, 1), None);
        assert_eq!(told(embedded, Some("auth"), 0, 0), unknown);
        assert_eq!(told(embedded, Some("auth"), 0, 1), unknown, "the one beside the database is not told");
        assert_eq!(told(embedded, Some("auth"), 1, 0), None);
        assert_eq!(told(postgres, None, 0, 0), unknown);
        assert_eq!(told(postgres, None, 1, 0), None);
        assert_eq!(told(postgres, None, 0, 1), None);
    }

    #[test]
    fn files_that_are_behind_or_foreign_are_told_apart() {
        let state = |held: std::result::Result<(i64, &str), &str>| {
            let held = held.map(|(at, name)| (at, name.to_owned())).map_err(str::to_owned);
            of_position(Path::new("auth.sqlite"), &held, 7, "us")
        };
        assert_eq!(state(Ok((7, "us"))).state, State::Good);
        assert!(state(Ok((6, "us"))).cure.contains("catch-up"));
        assert!(state(Ok((7, "them"))).what.contains("another database"));
        assert!(state(Err("no such file")).cure.contains("rebuild"));
    }
}
