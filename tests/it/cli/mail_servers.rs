//! Commands around the mail servers, as far as they need none: look-up files, app passwords, kept mailboxes,
//! configuration files, and what the doctor finds.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use rusqlite::Connection;
use serde_json::json;

use super::{Place, Said, said, text};

impl Place {
    /// With look-up files, beside which no mail server runs.
    fn with_look_ups() -> Self {
        let place = Self::initialised();
        let config = fs::read_to_string(place.path("mailward.toml")).expect("the configuration");
        let mail = format!(
            "[mail]\nauth_dir = {:?}\nmaps_dir = {:?}\nauth_group = \"\"\nmaps_group = \"\"\nmail_root = {:?}\n\
             hostname = \"mx.example.org\"\ntls_cert = \"/etc/ssl/mail.pem\"\ntls_key = \"/etc/ssl/private/mail.key\"\n\
             doveadm_key_file = {:?}\n",
            place.path("look-ups/auth"),
            place.path("look-ups/maps"),
            place.path("mail"),
            place.path("doveadm.key"),
        );
        place.write("mailward.toml", &config.replacen("[mail]\n", &mail, 1));
        place
    }

    fn logins(&self) -> Connection {
        Connection::open(self.path("look-ups/auth/auth.sqlite")).expect("Dovecot's look-ups")
    }

    /// With programs that stand in for those of this machine.
    pub(super) fn with_programs(&self, arguments: &[&str], programs: &[(&str, &str)]) -> Said {
        let folder = self.path("programs");
        fs::create_dir_all(&folder).expect("a folder");
        for (name, output) in programs {
            let path = folder.join(name);
            fs::write(&path, format!("#!/bin/sh\ncat <<'END'\n{output}\nEND\n")).expect("a program");
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("a mode");
        }
        let mut command = self.command(arguments);
        command.env("PATH", format!("{}:/usr/bin:/bin", folder.display()));
        said(command, "")
    }
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).expect("it is there").permissions().mode() & 0o7777
}

#[test]
fn mail_servers_may_start_while_the_desk_may_not() {
    let place = Place::with_look_ups();
    place.run(&["projection", "rebuild"]).good();
    let newest = place.json(&["projection", "catch-up"])["position"].clone();
    let behind = "UPDATE projection SET position = 0";
    let catch_up = || place.run(&["projection", "catch-up"]);
    let with_the_database = |sql: &str| {
        let database = Connection::open(place.path("data/mailward.sqlite")).expect("the database");
        assert_eq!(database.execute(sql, []).expect("altered"), 1, "{sql}");
    };

    // A mistake elsewhere, and keys that cannot be read: the files are brought up all the same.
    for (file, harm, word) in
        [("mailward.toml", "\n[srever]\n", "srever"), ("data/mailward.keys", "nothing of ours\n", "keys")]
    {
        let kept = fs::read_to_string(place.path(file)).expect("a file");
        fs::write(place.path(file), format!("{kept}{harm}")).expect("written");
        assert_ne!(place.run(&["user", "list"]).code, 0, "{word}");
        place.logins().execute(behind, []).expect("an older copy");
        let said = catch_up().good();
        assert!(said.err.contains(word) && said.err.contains("may start"), "{}", said.err);
        assert!(said.out.contains(&format!("position {newest}: ")), "{}", said.out);
        fs::write(place.path(file), kept).expect("mended");
    }

    // A program that knows one step more than was run, and one that does not know what was.
    for (harm, word) in [
        ("DELETE FROM migration WHERE number = (SELECT MAX(number) FROM migration)", "lacks step"),
        (
            "INSERT INTO migration (number, name, checksum, applied_at) VALUES (100000, 'later', '', 0)",
            "newer",
        ),
    ] {
        with_the_database(harm);
        place.run(&["user", "list"]).refused(3);
        let said = catch_up().good();
        assert!(said.err.contains(word) && said.err.contains("may start"), "{}", said.err);
        assert!(said.out.contains(&format!("position {newest}: ")), "{}", said.out);
        place.logins().execute(behind, []).expect("an older copy");
        let refusal = catch_up().refused(3);
        for word in [word, "auth.sqlite holds position 0 of", "must not start"] {
            assert!(refusal.contains(word), "{word} in {refusal}");
        }
        place.logins().execute("UPDATE projection SET position = ?1", [newest.as_i64()]).expect("as it was");
    }
}

#[test]
fn look_up_files_are_made_compared_and_mended() {
    let place = Place::initialised();
    for command in ["catch-up", "rebuild", "verify"] {
        let refusal = place.run(&["projection", command]).refused(3);
        assert!(refusal.contains("mail.auth_dir"), "{refusal}");
    }

    let place = Place::with_look_ups();
    place.run(&["user", "add", "tom@example.org"]).good();
    let position = place.json(&["projection", "catch-up"])["position"].as_i64().expect("a number");
    assert!(position > 0);
    assert_eq!(place.json(&["projection", "verify"])["clean"], true);
    let count = |place: &Place| -> i64 {
        place.logins().query_row("SELECT COUNT(*) FROM mp_user", [], |row| row.get(0)).expect("a count")
    };
    let whole = count(&place);

    place.logins().execute("DELETE FROM address WHERE address LIKE 'tom@%'", []).expect("altered by hand");
    assert!(count(&place) < whole);
    let found = place.run(&["projection", "verify", "--json"]);
    assert_eq!(found.code, 1, "{}", found.err);
    assert_eq!(found.json()["accounts"].as_array().expect("a list").len(), 1);
    assert_eq!(count(&place), whole - 1, "to verify changes nothing");
    assert_eq!(place.json(&["projection", "verify", "--repair"])["repaired"], true);
    assert_eq!((count(&place), &place.json(&["projection", "verify"])["clean"]), (whole, &json!(true)));

    fs::remove_dir_all(place.path("look-ups")).expect("deleted by hand");
    let rebuilt = place.json(&["projection", "rebuild"]);
    assert_eq!((&rebuilt["accounts"], &rebuilt["reload"]), (&json!(2), &json!(true)));
    assert_eq!((count(&place), mode(&place.path("look-ups/auth/auth.sqlite"))), (whole, 0o660));
}

#[test]
fn a_command_of_the_operator_is_in_the_look_ups_when_it_ends() {
    let place = Place::with_look_ups();
    place.run(&["user", "add", "tom@example.org"]).good();
    let gate = |place: &Place| -> i64 {
        place
            .logins()
            .query_row("SELECT COUNT(*) FROM mp_gate WHERE protocol = '*'", [], |row| row.get(0))
            .expect("a count")
    };
    let before = gate(&place);
    place
        .run_with(&["user", "reset-password", "tom@example.org", "--password-stdin"], "plum tarmac 83\n")
        .good();
    assert_eq!(gate(&place), before - 1, "a permanent password opens the gate");
    place.run(&["user", "disable-mail", "tom@example.org"]).good();
    assert_eq!(gate(&place), before);
}

#[test]
fn an_app_password_is_shown_once_listed_and_revoked() {
    let place = Place::with_look_ups();
    place.run(&["user", "add", "tom@example.org"]).good();
    let made = place.json(&[
        "app-password",
        "create",
        "tom@example.org",
        "--name",
        "Scanner",
        "--protocols",
        "smtp",
        "--days",
        "30",
    ]);
    let password = text(&made, "password");
    assert!(password.len() >= 20, "{password}");
    assert_eq!(made["protocols"], json!(["smtp"]));
    assert!(made["expiresAt"].is_i64());
    let id = text(&made, "id");
    let listed = place.run(&["app-password", "list", "tom@example.org", "--json"]).good();
    assert_eq!(listed.json()[0]["id"], id.as_str());
    assert!(!listed.out.contains(&password));
    let rows = |place: &Place| -> i64 {
        place.logins().query_row("SELECT COUNT(*) FROM mp_app", [], |row| row.get(0)).expect("a count")
    };
    assert_eq!(rows(&place), 1);
    // In words it is the first thing that is said.
    let said = place.run(&["app-password", "create", "tom@example.org", "--name", "Telephone"]).good();
    assert!(said.out.starts_with("app password: ") && said.out.contains("imap, pop, smtp"), "{}", said.out);

    place.run(&["app-password", "revoke", "tom@example.org", &id]).good();
    assert_eq!(place.json(&["app-password", "list", "tom@example.org"]).as_array().expect("a list").len(), 1);
    place.run(&["app-password", "revoke", "tom@example.org", &id]).refused(4);
    place.run(&["app-password", "revoke", "tom@example.org", "x"]).refused(2);
    place.run(&["app-password", "create", "tom@example.org", "--name", " "]).refused(2);
    place.run(&["app-password", "create", "tom@example.org", "--name", "x", "--protocols", "ftp"]).refused(2);
    let verbs = place.json(&["audit", "list", "--user", "tom@example.org", "--limit", "1"]);
    assert_eq!(verbs[0]["verb"], "revokeAppPassword");
}

#[test]
fn the_mailbox_of_a_deleted_user_is_named_until_its_files_are_gone() {
    let place = Place::with_look_ups();
    let tom = place.json(&["user", "add", "tom@example.org"]);
    let mailbox = text(&tom["user"], "mailbox");
    assert_eq!(place.json(&["mailbox", "list"]), json!([]));
    place.run(&["user", "delete", "tom@example.org", "--yes"]).good();
    let kept = place.json(&["mailbox", "list"]);
    let folder = place.path("mail").join(&mailbox);
    assert_eq!(
        (text(&kept[0], "mailbox"), text(&kept[0], "path")),
        (mailbox.clone(), folder.display().to_string())
    );
    let days = (kept[0]["keepUntil"].as_i64().expect("a time")
        - kept[0]["deletedAt"].as_i64().expect("a time"))
        / 86_400_000;
    assert_eq!((days, &kept[0]["over"]), (30, &json!(false)));
    assert!(place.run(&["mailbox", "list"]).good().out.contains("tom@example.org"));

    fs::create_dir_all(&folder).expect("its mail");
    let refusal = place.run(&["mailbox", "forget", &mailbox]).refused(3);
    assert!(refusal.contains(&mailbox), "{refusal}");
    assert!(folder.exists(), "Mailward removes no mail");
    fs::remove_dir_all(&folder).expect("removed by the administrator");
    place.run(&["mailbox", "forget", &mailbox]).good();
    place.run(&["mailbox", "forget", &mailbox]).refused(4);
    assert_eq!(place.json(&["mailbox", "list"]), json!([]));
    assert_eq!(place.json(&["audit", "list", "--limit", "1"])[0]["verb"], "forgetMailbox");
}

#[test]
fn a_mail_server_is_asked_before_it_is_believed() {
    let place = Place::initialised();
    let key = place.write("key", "a key\n");
    let key = key.to_str().expect("text");
    let add = |url: &str, more: &[&str]| {
        place.run(&[&["mail-server", "add", "imap1", url, "--key-file", key], more].concat())
    };
    fs::set_permissions(place.path("key"), fs::Permissions::from_mode(0o644)).expect("a mode");
    add("http://127.0.0.1:1", &["--unasked"]).refused(2);
    fs::set_permissions(place.path("key"), fs::Permissions::from_mode(0o600)).expect("a mode");
    let refusal = add("http://imap1.example.org:8080", &["--unasked"]).refused(2);
    assert!(refusal.contains("clear text"), "{refusal}");
    let refusal = add("http://127.0.0.1:1", &[]).refused(3);
    assert!(refusal.contains("not reachable"), "{refusal}");
    assert_eq!(place.json(&["mail-server", "list"]), json!([]));

    add("http://127.0.0.1:1", &["--unasked"]).good();
    assert_eq!(place.json(&["mail-server", "list"])[0]["url"], "http://127.0.0.1:1");
    // A disable waits for a server that does not answer, and the command does not wait with it.
    place.run(&["user", "add", "tom@example.org"]).good();
    let done = place.json(&["user", "disable", "tom@example.org"]);
    let receipt = place.json(&["change", "show", &text(&done, "change")]);
    assert_eq!(receipt["complete"], false, "{receipt}");
    let checked = place.run(&["mail-server", "check", "--json"]);
    assert_eq!(checked.code, 1);
    let checked = checked.json();
    assert_eq!((&checked[0]["answers"], &checked[0]["waiting"]), (&json!(false), &json!(1)), "{checked}");
    let ill = place.run(&["doctor"]);
    assert!(ill.code == 1 && ill.out.contains("mail server imap1"), "{}", ill.out);
    place.run(&["mail-server", "check", "imap2"]).refused(4);

    place.run(&["mail-server", "remove", "imap1"]).good();
    place.run(&["mail-server", "remove", "imap1"]).refused(4);
    let receipt = place.json(&["change", "show", &text(&done, "change")]);
    let removed = receipt["effects"].to_string();
    assert!(removed.contains("removed before it was told") && !removed.contains("\"verified\""), "{removed}");
    place.run(&["mail-server", "check"]).good();
}

#[test]
fn printed_files_hold_no_secret_and_make_nothing() {
    let place = Place::with_look_ups();
    let printed = place.run(&["mail-server", "config", "dovecot", "--dovecot-version", "2.3"]).good().out;
    for part in [
        "# /etc/dovecot/dovecot.conf (mode 0644)",
        "ssl_cert = </etc/ssl/mail.pem",
        "look-ups/auth/auth.sqlite",
        "/etc/systemd/system/dovecot.service.d/mailward.conf",
        "projection catch-up",
        "groupadd",
        "mailward mail-server add mx.example.org http://127.0.0.1:8080 --key-file",
    ] {
        assert!(printed.contains(part), "{part} in {printed}");
    }
    assert!(!place.path("doveadm.key").exists());
    let postfix = place.run(&["mail-server", "config", "postfix"]).good().out;
    assert!(postfix.contains("myhostname = mx.example.org") && !postfix.contains("auth.sqlite"), "{postfix}");
    let untested = place.run(&["mail-server", "config", "dovecot", "--dovecot-version", "2.4.1"]).good();
    assert!(untested.out.contains("UNTESTED") && untested.err.contains("untested"), "{}", untested.err);
    place.run(&["mail-server", "config", "dovecot", "--dovecot-version", "3.0"]).refused(2);
}

#[test]
fn the_installed_version_decides_and_missing_settings_are_named() {
    let place = Place::with_look_ups();
    let config = ["mail-server", "config", "dovecot"];
    let old = place.with_programs(&config, &[("dovecot", "2.3.19.1 (9b53102964)")]).good();
    assert!(!old.out.contains("UNTESTED"));
    let new = place.with_programs(&config, &[("dovecot", "2.4.1-4 (7d8c0e5759)")]).good();
    assert!(new.out.contains("UNTESTED"));
    let refused = |variable: &str, value: &str| {
        let mut command = place.command(&config);
        command.env(variable, value);
        said(command, "").refused(2)
    };
    assert!(refused("MAILWARD_MAIL_TLS_CERT", "").contains("mail.tls_cert"));
    assert!(refused("MAILWARD_MAIL_HOSTNAME", "localhost").contains("mail.hostname"));
    assert!(refused("MAILWARD_MAIL_MAPS_DIR", "").contains("mail.auth_dir"));
    assert!(refused("MAILWARD_DATABASE_URL", "postgres://m@db/desk").contains("mail.dovecot_password_file"));
}

#[test]
fn written_files_have_their_modes_and_keep_what_was_there() {
    let place = Place::with_look_ups();
    let root = place.path("host");
    let write = |server: &str| {
        let root = root.to_str().expect("text");
        let all = ["mail-server", "config", server, "--dovecot-version", "2.3", "--directory", root];
        place.json(&all)
    };
    fs::create_dir_all(root.join("etc/dovecot")).expect("a folder");
    fs::write(root.join("etc/dovecot/dovecot.conf"), "protocols = imap\n").expect("Debian's");
    let all = ["mail-server", "config", "dovecot", "--dovecot-version", "2.3", "--dry-run", "--directory"];
    let tried = place.run(&[&all[..], &[root.to_str().expect("text")]].concat()).good();
    assert!(tried.out.contains("(the first line of") && !place.path("doveadm.key").exists(), "{}", tried.out);
    assert_eq!(
        fs::read_dir(root.join("etc/dovecot")).expect("a folder").count(),
        1,
        "a dry run writes nothing"
    );
    let written = write("dovecot");
    let main = &written["files"][0];
    assert!(text(main, "kept").ends_with("dovecot.conf.before-mailward"), "{main}");
    let kept = fs::read_to_string(root.join("etc/dovecot/dovecot.conf.before-mailward")).expect("kept");
    assert_eq!(kept, "protocols = imap\n");
    let key_file = place.path("doveadm.key");
    let key = fs::read_to_string(&key_file).expect("the key was made");
    let include = root.join("etc/dovecot/mailward-doveadm.conf.ext");
    assert!(fs::read_to_string(&include).expect("written").contains(key.trim()));
    assert_eq!((key.trim().len(), mode(&key_file), mode(&include)), (64, 0o600, 0o600));
    assert_eq!(mode(&root.join("etc/dovecot/mailward-login.conf.ext")), 0o640);

    // What somebody added since is kept as well.
    let conf = root.join("etc/dovecot/dovecot.conf");
    let ours = fs::read_to_string(&conf).expect("written") + "mail_plugins = quota\n";
    fs::write(&conf, &ours).expect("added to");
    let kept = text(&write("dovecot")["files"][0], "kept");
    assert!(kept.ends_with("dovecot.conf.before-mailward.2"), "{kept}");
    assert_eq!(fs::read_to_string(kept).expect("kept"), ours);

    let again = write("dovecot");
    let unchanged = again["files"].as_array().expect("files").iter().all(|file| file["unchanged"] == true);
    assert!(unchanged, "{again}");
    assert_eq!(fs::read_to_string(&key_file).expect("the key"), key, "a key that is there stays");
    let postfix = write("postfix");
    assert!(root.join("etc/postfix/mailward-sasl.cf").exists());
    assert!(text(&postfix, "commands").contains("systemctl restart postfix"));
}

#[test]
fn the_postgres_contract_has_the_password_of_its_own_role_alone() {
    let place = Place::with_look_ups();
    let [dovecot, postfix] = ["dovecot", "postfix"].map(|name| {
        let file = place.write(&format!("{name}.password"), &format!("secret-of-{name}\n"));
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).expect("a mode");
        file
    });
    let root = place.path("host");
    for server in ["dovecot", "postfix", "roles"] {
        let all = ["mail-server", "config", server, "--dovecot-version", "2.3", "--directory"];
        let mut command = place.command(&[&all[..], &[root.to_str().expect("text")]].concat());
        command
            .env("MAILWARD_DATABASE_URL", "postgres://mailward@db.internal:6000/desk")
            .env("MAILWARD_MAIL_AUTH_DIR", "")
            .env("MAILWARD_MAIL_MAPS_DIR", "")
            .env("MAILWARD_MAIL_DOVECOT_PASSWORD_FILE", &dovecot)
            .env("MAILWARD_MAIL_POSTFIX_PASSWORD_FILE", &postfix);
        let written = said(command, "").good();
        assert!(!written.out.contains("secret-of-"), "{}", written.out);
    }
    let login = fs::read_to_string(root.join("etc/dovecot/mailward-login.conf.ext")).expect("written");
    assert!(
        login.contains("host=db.internal port=6000 dbname=desk user=mw_dovecot password='secret-of-dovecot'")
    );
    let maps = fs::read_to_string(root.join("etc/postfix/mailward-rcpt.cf")).expect("written");
    assert!(maps.contains("hosts = db.internal:6000") && maps.contains("password = secret-of-postfix"));
    let roles = root.join("etc/mailward/roles.sql");
    let sql = fs::read_to_string(&roles).expect("written");
    assert!(sql.contains("PASSWORD 'secret-of-dovecot'") && sql.contains("PASSWORD 'secret-of-postfix'"));
    assert_eq!(mode(&roles), 0o600);
    assert!(place.run(&["mail-server", "config", "roles"]).refused(2).contains("embedded"));
    assert!(!root.join("etc/systemd").exists(), "there is no projection to catch up");
}

#[test]
fn the_doctor_sees_what_the_mail_servers_have_in_force() {
    let place = Place::with_look_ups();
    fs::set_permissions(place.root(), fs::Permissions::from_mode(0o755)).expect("a mode");
    fs::create_dir_all(place.path("look-ups")).expect("a folder");
    fs::set_permissions(place.path("look-ups"), fs::Permissions::from_mode(0o755)).expect("a mode");
    place.run(&["projection", "catch-up"]).good();
    const DOVECOT: &str = "passdb {\n  args = /etc/dovecot/mailward-app.conf.ext\n  result_success = continue-ok\n}\n\
                           passdb {\n  args = /etc/dovecot/mailward-login.conf.ext\n  result_success = continue-ok\n}\n\
                           passdb {\n  args = /etc/dovecot/mailward-gate.conf.ext\n  deny = yes\n  \
                           result_internalfail = return-fail\n}";
    const POSTFIX: &str = "recipient_delimiter = +\nvirtual_mailbox_maps = proxy:sqlite:/etc/postfix/mailward-mailbox.cf\n\
                           smtpd_sender_login_maps = proxy:sqlite:/etc/postfix/mailward-sender.cf\n\
                           smtpd_recipient_restrictions = check_recipient_access proxy:sqlite:/etc/postfix/mailward-rcpt.cf";
    let doctor = |dovecot: &str, postfix: &str, package: &str| {
        place.with_programs(
            &["doctor"],
            &[("doveconf", dovecot), ("postconf", postfix), ("dpkg-query", package)],
        )
    };
    let well = doctor(DOVECOT, POSTFIX, "9.9-1");
    assert_eq!(well.code, 0, "{}", well.out);
    assert!(
        well.out.contains("holds every change") && well.out.contains("Dovecot's settings are safe"),
        "{}",
        well.out
    );

    let open = doctor(
        &DOVECOT.replace("deny = yes", "deny = no"),
        &format!("{POSTFIX}\nsubmission/inet/smtpd_sasl_auth_enable = yes"),
        "9.9-1",
    );
    assert_eq!(open.code, 1);
    for part in ["disabled accounts log in", "disabled accounts go on sending"] {
        assert!(open.out.contains(part), "{part} in {}", open.out);
    }

    let ill = doctor(
        &format!("auth_cache_size = 10 M\n{DOVECOT}"),
        &POSTFIX.replace("= +", "= -"),
        "1:2.3.19.1+dfsg1-2",
    );
    assert_eq!(ill.code, 1);
    for cure in ["auth_cache_size = 0", "recipient_delimiter", "apt upgrade"] {
        assert!(ill.out.contains(cure), "{cure} in {}", ill.out);
    }

    // Files that others opened up, and ones that were left behind.
    let auth = place.path("look-ups/auth/auth.sqlite");
    fs::set_permissions(&auth, fs::Permissions::from_mode(0o664)).expect("a mode");
    place.logins().execute("UPDATE projection SET position = 0", []).expect("an older copy");
    let ill = doctor(DOVECOT, POSTFIX, "9.9-1");
    for cure in ["chmod 0660", "projection catch-up"] {
        assert!(ill.code == 1 && ill.out.contains(cure), "{cure} in {}", ill.out);
    }
    assert_eq!(mode(&auth), 0o664, "the doctor changes nothing");
    fs::remove_file(&auth).expect("deleted");
    assert!(doctor(DOVECOT, POSTFIX, "9.9-1").out.contains("projection rebuild"));
}
