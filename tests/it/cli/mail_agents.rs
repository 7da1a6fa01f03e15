//! Agents of mail hosts at the command line: making them known, and what keeps one from running.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use super::{Place, Said};

impl Place {
    /// A configuration for a mail host; `more` goes below `[mail_agent]`.
    fn as_mail_host(&self, more: &str) {
        let key = self.write("agent.key", "a key that was shown once\n");
        let doveadm = self.write("doveadm.key", "a key of the host\n");
        for file in [&key, &doveadm] {
            fs::set_permissions(file, fs::Permissions::from_mode(0o600)).expect("a mode");
        }
        let text = format!(
            "[mail]\nauth_dir = {:?}\nmaps_dir = {:?}\nauth_group = \"\"\nmaps_group = \"\"\nhostname = \"mx.example.org\"\n\
             tls_cert = \"/etc/ssl/mail.pem\"\ntls_key = \"/etc/ssl/private/mail.key\"\ndoveadm_key_file = {doveadm:?}\n\
             [mail_agent]\ndoveadm_key_file = {doveadm:?}\n{more}",
            self.path("auth"),
            self.path("maps"),
        );
        self.write("mailward.toml", &text);
    }
}

fn refused(place: &Place, more: &str) -> String {
    place.as_mail_host(more);
    place.run(&["mail-agent", "run"]).refused(2)
}

#[test]
fn an_agent_is_made_known_with_a_key_that_is_shown_once() {
    let place = Place::initialised();
    let add = ["mail-agent", "add", "imap1", "--domain", "example.org", "--domain", "Example.COM"];
    let tried = place.run(&[&add[..], &["--dry-run"]].concat()).good();
    assert!(tried.out.contains("would be added") && !tried.out.contains("key"), "{}", tried.out);
    assert_eq!(place.json(&["mail-agent", "list"]).as_array().map(Vec::len), Some(0));

    let added = place.run(&add).good();
    assert!(added.out.starts_with("imap1 added, for example.com example.org\n"), "{}", added.out);
    let key = added.out.lines().last().expect("a key").to_owned();
    assert_eq!(key.len(), 64, "{key}");
    let listed = place.json(&["mail-agent", "list"]);
    assert_eq!(listed[0]["name"], "imap1");
    assert_eq!(listed[0]["domains"], serde_json::json!(["example.com", "example.org"]));
    assert!(listed[0]["heardAt"].is_null() && listed[0]["behind"].is_null());
    let table = place.run(&["mail-agent", "list"]).good().out;
    assert!(table.contains("never") && !table.contains(&key), "{table}");

    let logged = |verb: &str| {
        let entries = place.json(&["audit", "list", "--limit", "20"]);
        let all = entries.as_array().expect("entries").clone();
        all.into_iter().find(|entry| entry["verb"] == verb).unwrap_or_else(|| panic!("no {verb}: {entries}"))
    };
    let entry = logged("addMailAgent").to_string();
    // Of its domains, the log of an organization tells those of its own.
    assert!(entry.contains("imap1") && entry.contains(r#""domains":"example.org""#), "{entry}");
    assert!(!entry.contains(&key), "{entry}");

    let twice = place.run(&add).refused(3);
    assert!(twice.contains("there is an agent imap1 already"), "{twice}");
    let server =
        ["mail-server", "add", "imap1", "http://127.0.0.1:9", "--key-file", "doveadm.key", "--unasked"];
    place.as_doveadm_key();
    let taken = place.run(&[&server[..], &["--dry-run"]].concat()).refused(3);
    assert!(
        taken.contains("there is an agent imap1 already"),
        "a dry run finds what the call would: {taken}"
    );
    let taken = place.run(&server).refused(3);
    assert!(taken.contains("there is an agent imap1 already"), "{taken}");
    for (name, domain) in [("look-ups", "*"), ("a b", "*"), ("imap2", "no domain")] {
        let said = place.run(&["mail-agent", "add", name, "--domain", domain]);
        assert!([2, 3].contains(&said.code), "{name} {domain}: {}", said.out);
    }

    let rotate = ["mail-agent", "rotate-key", "imap1", "--key-file", "new.key"];
    place.run(&[&rotate[..], &["--dry-run"]].concat()).good();
    assert!(!place.path("new.key").exists());
    let said = place.run(&rotate).good();
    let new = fs::read_to_string(place.path("new.key")).expect("the key");
    assert!(new.trim() != key && new.trim().len() == 64 && !said.out.contains(new.trim()), "{}", said.out);
    let mode = fs::metadata(place.path("new.key")).expect("a file").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let there = place.run(&rotate).refused(2);
    assert!(there.contains("new.key"), "{there}");
    place.run(&["mail-agent", "rotate-key", "imap9", "--key-file", "other.key"]).refused(4);
    assert!(!place.path("other.key").exists(), "nothing is left of what failed");

    place.run(&["mail-agent", "remove", "imap1", "--dry-run"]).good();
    logged("rotateAgentKey");
    place.run(&["mail-agent", "remove", "imap1"]).good();
    logged("removeMailAgent");
    place.run(&["mail-agent", "remove", "imap1"]).refused(4);
}

impl Place {
    fn as_doveadm_key(&self) {
        let key = self.write("doveadm.key", "a key\n");
        fs::set_permissions(key, fs::Permissions::from_mode(0o600)).expect("a mode");
    }
}

#[test]
fn an_agent_starts_with_nothing_that_is_not_safe() {
    let place = Place::empty();
    let key = format!("key_file = {:?}\n", place.path("agent.key"));
    let node = "name = \"imap1\"\nnodes = [\"http://127.0.0.1:9\"]\n";
    assert!(refused(&place, &key).contains("mail_agent.name"));
    assert!(refused(&place, &format!("name = \"imap1\"\n{key}")).contains("mail_agent.nodes"));
    let open = refused(&place, &format!("name = \"imap1\"\nnodes = [\"http://192.0.2.1\"]\n{key}"));
    assert!(open.contains("the agent's key in clear text"), "{open}");
    let missing = refused(&place, &format!("{node}key_file = \"/nonexistent/agent.key\"\n"));
    assert!(missing.contains("mail_agent.key_file"), "{missing}");
    place.as_mail_host(&format!("{node}{key}"));
    fs::set_permissions(place.path("agent.key"), fs::Permissions::from_mode(0o644)).expect("a mode");
    let readable = place.run(&["mail-agent", "run"]).refused(2);
    assert!(readable.contains("chmod 0600") && !readable.contains("shown once"), "{readable}");
    fs::set_permissions(place.path("agent.key"), fs::Permissions::from_mode(0o600)).expect("a mode");
    let mut command = place.command(&["mail-agent", "run"]);
    command.env("MAILWARD_MAIL_AUTH_DIR", "").env("MAILWARD_MAIL_MAPS_DIR", "");
    let without = super::said(command, "").refused(2);
    assert!(without.contains("mail.auth_dir"), "{without}");
    place.run(&["mail-agent", "run", "--dry-run"]).refused(2);
    assert!(!place.path("auth").exists(), "nothing was made");
}

#[test]
fn the_servers_files_of_a_host_with_an_agent_ask_no_database() {
    let place = Place::empty();
    place.as_mail_host("name = \"imap1\"\nnodes = [\"https://desk.example.org\"]\n");
    for server in ["dovecot", "postfix"] {
        let config =
            ["mail-server", "config", server, "--dovecot-version", "2.3", "--service-user", "mailward"];
        let Said { out, .. } = place.run(&config).good();
        assert!(out.contains("After=mailward-mail-agent.service"), "{out}");
        assert!(!out.contains("catch-up") && !out.contains("auth_policy_server_url"), "{out}");
        assert!(!out.contains("mail-server add"), "{out}");
    }
}

#[test]
fn the_doctor_warns_where_no_mail_server_obeys() {
    let place = Place::initialised();
    const NOBODY: &str = "warning  no mail server obeys: ";
    const UNKNOWN: &str = "warning  no mail server is known: ";
    let warned = place.run(&["doctor"]).good().out;
    assert!(warned.contains(NOBODY) && !warned.contains(UNKNOWN), "{warned}");
    assert!(warned.contains("set auth_dir and maps_dir in [mail]"), "{warned}");

    let mut command = place.command(&["doctor"]);
    command.env("MAILWARD_MAIL_AUTH_DIR", "auth").env("MAILWARD_MAIL_MAPS_DIR", "maps");
    let with = super::said(command, "").out;
    assert!(with.contains(UNKNOWN) && !with.contains(NOBODY), "{with}");

    place.run(&["mail-agent", "add", "imap1", "--domain", "*"]).good();
    let host = place.run(&["doctor"]).out;
    assert!(host.contains("the mail host imap1: its agent was never heard of"), "{host}");
    assert!(!host.contains(NOBODY) && !host.contains(UNKNOWN), "{host}");
}

#[test]
fn the_doctor_of_a_mail_host_looks_at_its_agent_and_at_no_database() {
    let place = Place::initialised();
    // The files as an agent would have brought them.
    let mut command = place.command(&["projection", "catch-up"]);
    command
        .env("MAILWARD_MAIL_AUTH_DIR", place.path("auth"))
        .env("MAILWARD_MAIL_MAPS_DIR", place.path("maps"))
        .env("MAILWARD_MAIL_AUTH_GROUP", "")
        .env("MAILWARD_MAIL_MAPS_GROUP", "");
    super::said(command, "").good();
    fs::remove_dir_all(place.path("data")).expect("no database");
    fs::set_permissions(place.root(), fs::Permissions::from_mode(0o755)).expect("a mode");
    let key = place.path("agent.key");
    let with = |nodes: &str| {
        place.as_mail_host(&format!("name = \"imap1\"\nnodes = [{nodes}]\nkey_file = {key:?}\n"));
        let programs = [("doveconf", "protocols = imap"), ("postconf", ""), ("dpkg-query", "9.9-1")];
        place.with_programs(&["doctor"], &programs)
    };
    let nodes = "\"http://127.0.0.1:9\", \"http://127.0.0.1:10\"";
    let well = with(nodes);
    assert_eq!(well.code, 0, "{}", well.out);
    for part in [
        "good     the agent imap1 asks http://127.0.0.1:9, else http://127.0.0.1:10\n",
        "the agent's key",
        "the key of doveadm",
        "auth.sqlite holds position ",
        "maps.sqlite holds position ",
        "Dovecot on this machine does not ask Mailward",
    ] {
        assert!(well.out.contains(part), "{part} in {}", well.out);
    }
    for part in ["database", "plain HTTP", "mailward init", "usermod", "gpasswd"] {
        assert!(!well.out.contains(part), "{part} in {}", well.out);
    }

    let ill = |nodes: &str, parts: &[&str]| {
        let said = with(nodes);
        assert_eq!(said.code, 1, "{}", said.out);
        for part in parts {
            assert!(said.out.contains(part), "{part} in {}", said.out);
        }
        assert!(!said.out.contains("shown once"), "{}", said.out);
    };
    ill("\"http://192.0.2.1\"", &["wrong    mail_agent.nodes: ", "`mailward mail-agent run` refuses it too"]);
    fs::remove_file(place.path("maps/maps.sqlite")).expect("deleted");
    ill(nodes, &["maps.sqlite cannot be read", "see that `mailward mail-agent run` runs here"]);

    let doctor = || place.run(&["doctor"]);
    fs::set_permissions(&key, fs::Permissions::from_mode(0o640)).expect("a mode");
    let open = doctor();
    assert!(open.code == 1 && open.out.contains("others can read the agent's key"), "{}", open.out);
    assert!(open.out.contains(&format!("chmod 0600 {}", key.display())), "{}", open.out);
    fs::remove_file(&key).expect("deleted");
    let missing = doctor();
    assert!(missing.code == 1 && missing.out.contains("rotate-key"), "{}", missing.out);
    let mut command = place.command(&["doctor"]);
    command.env("MAILWARD_MAIL_AUTH_DIR", "").env("MAILWARD_MAIL_MAPS_DIR", "");
    let without = super::said(command, "");
    assert!(without.code == 1 && without.out.contains("set both in [mail]"), "{}", without.out);
}
