//! From nothing to people with mail accounts, and what the shell hears of refusals.

use std::os::unix::fs::PermissionsExt as _;

use super::{Place, text};

#[test]
fn an_organization_is_set_up_in_one_command_for_its_owner_alone() {
    let place = Place::empty();
    let answer = place.init().good().json();
    assert_eq!(text(&answer, "email"), "admin@example.org");
    assert!(text(&answer, "password").len() >= 12);
    let mode = |name| std::fs::metadata(place.path(name)).expect(name).permissions().mode() & 0o7777;
    assert_eq!(mode("data"), 0o700);
    assert_eq!(mode("data/mailward.sqlite"), 0o600);
    assert_eq!(mode("mailward.toml"), 0o600);

    let listed = place.json(&["user", "list"]);
    assert_eq!(listed[0]["email"], "admin@example.org");
    assert_eq!(listed[0]["role"], "super_admin");
    assert_eq!(place.json(&["domain", "list"])[0]["primary"], true);
    // The written configuration names the database from every folder.
    let mut elsewhere = place.command(&["user", "list"]);
    elsewhere.current_dir("/");
    assert!(super::said(elsewhere, "").good().out.contains("admin@example.org"));
}

#[test]
fn a_second_init_is_refused_and_changes_nothing() {
    let place = Place::initialised();
    let before = place.json(&["org", "list"]);
    let refusal = place.init().refused(3);
    assert!(refusal.contains("initialised already"), "{refusal}");
    assert_eq!(place.json(&["org", "list"]), before);
    assert_eq!(place.json(&["user", "list"]).as_array().expect("a list").len(), 1);
}

#[test]
fn an_init_of_another_database_than_the_service_would_open_is_refused() {
    let place = Place::empty();
    place.write("mailward.toml", "[database]\nurl = \"sqlite:theirs.sqlite\"\n");
    let init = |more: &[&str]| {
        let all = ["init", "--organization", "E", "--domain", "example.org", "--admin", "admin@example.org"];
        place.run(&[&all, more].concat())
    };
    let refusal = init(&["--database", "sqlite:other.sqlite"]).refused(2);
    assert!(refusal.contains("mailward.toml is there") && refusal.contains("theirs.sqlite"), "{refusal}");
    assert!(!place.path("other.sqlite").exists());
    let secret =
        place.write("secret.toml", "[database]\nurl = \"postgres://m:s3cret-word@db.internal/desk\"\n");
    let config = secret.to_str().expect("text");
    let refusal = init(&["--config", config, "--database", "sqlite:other.sqlite"]).refused(2);
    assert!(refusal.contains("names a PostgreSQL") && !refusal.contains("s3cret-word"), "{refusal}");
    init(&[]).good();
    assert!(place.path("theirs.sqlite").exists());
}

#[test]
fn an_init_that_would_fail_halfway_makes_nothing() {
    let place = Place::empty();
    let init = |password: &str, admin: &str| {
        let arguments =
            ["init", "--database", "sqlite:m.sqlite", "--organization", "E", "--domain", "example.org"];
        let mut all = arguments.to_vec();
        all.extend(["--admin", admin, "--password-stdin"]);
        place.run_with(&all, password)
    };
    init("password1\n", "admin@example.org").refused(3);
    init("a good long one 77\n", "admin@example.com").refused(3);
    assert!(!place.path("mailward.toml").exists());
    init("a good long one 77\n", "admin@example.org").good();
    assert_eq!(place.json(&["org", "list"]).as_array().expect("a list").len(), 1);
}

#[test]
fn an_account_goes_through_its_life() {
    let place = Place::initialised();
    let added = place.json(&["user", "add", "rebecca@example.org", "--name", "Rebecca Anderson"]);
    assert_eq!(added["oneTimePassword"], true);
    let zuid = text(&added["user"], "zuid");
    let account_id = text(&added["user"], "accountId");
    for name in ["rebecca@example.org", "REBECCA@Example.ORG", zuid.as_str(), account_id.as_str()] {
        assert_eq!(place.json(&["user", "show", name])["zuid"], zuid.as_str(), "{name}");
    }

    let reset = place
        .run_with(&["user", "reset-password", &zuid, "--password-stdin", "--json"], "plum tarmac 83\n")
        .good()
        .json();
    assert_eq!(reset["users"][0]["password"], "permanent");
    assert!(reset.get("password").is_none());

    place.run(&["alias", "add", &zuid, "sales@example.org", "shop@example.org"]).good();
    place.run(&["user", "rename", &zuid, "sales@example.org", "--name", "Sales"]).good();
    let shown = place.json(&["user", "show", &zuid]);
    assert_eq!(
        (shown["email"].as_str(), shown["displayName"].as_str()),
        (Some("sales@example.org"), Some("Sales"))
    );
    place.run(&["alias", "remove", &zuid, "shop@example.org"]).good();
    assert_eq!(place.run(&["alias", "list", &zuid]).good().out, "rebecca@example.org\n");

    for (on, off, switch) in [
        (vec!["disable"], vec!["enable"], "userDisabled"),
        (vec!["disable-mail"], vec!["enable-mail"], "mailAccountDisabled"),
        (vec!["incoming", "off"], vec!["incoming", "on"], "incomingBlocked"),
        (vec!["outgoing", "off"], vec!["outgoing", "on"], "outgoingBlocked"),
        (vec!["imap", "off"], vec!["imap", "on"], "imapOff"),
        (vec!["pop", "off"], vec!["pop", "on"], "popOff"),
    ] {
        let turn = |words: &[&str]| {
            let mut all = vec!["user", words[0], zuid.as_str()];
            all.extend(&words[1..]);
            all.extend(["--reason", "a test"]);
            place.json(&all)
        };
        let blocked = turn(&on);
        assert_eq!(blocked["users"][0]["switches"][switch]["reason"], "a test", "{switch}");
        assert!(turn(&on)["change"].is_null(), "a repeat of {switch} changes nothing");
        assert!(turn(&off)["users"][0]["switches"][switch].is_null(), "{switch}");
    }

    place.run(&["user", "role", &zuid, "admin"]).good();
    assert_eq!(place.json(&["user", "show", &zuid])["role"], "admin");
    let limits = ["--may", "reset,switches", "--domain", "example.org"];
    place.run(&[&["user", "role", &zuid, "help-desk"][..], &limits].concat()).good();
    let shown = place.json(&["user", "show", &zuid]);
    assert_eq!(shown["role"], "help_desk");
    assert_eq!(shown["helpDesk"]["verbs"], serde_json::json!(["read", "reset", "switches"]));
    assert_eq!(shown["helpDesk"]["domains"], serde_json::json!(["example.org"]));
    place.run(&["user", "role", &zuid, "help-desk"]).refused(2);
    place.run(&[&["user", "role", &zuid, "admin"][..], &limits].concat()).refused(2);
    place.run(&["user", "role", &zuid, "help-desk", "--may", "everything"]).refused(2);
    let refusal = place.run(&["user", "role", &zuid, "boss"]).refused(2);
    assert!(refusal.contains("help-desk") && !refusal.contains("isCustomAdmin"), "{refusal}");
    place.run(&["user", "role", &zuid, "help-desk", "--may", "read", "--domain", "else.example"]).refused(2);
    place.run(&["user", "delete", &zuid]).refused(2);
    place.run(&["user", "delete", &zuid, "--yes"]).good();
    place.run(&["user", "show", &zuid]).refused(4);
    // The address is kept for its former owner, until it is given out on purpose.
    let refusal = place.run(&["user", "add", "sales@example.org"]).refused(3);
    assert!(refusal.trim_end().ends_with("can release it with --release-address REASON"), "{refusal}");
    // A reason alone is not that purpose, wherever it stands.
    let again = place.run(&["--reason", "ticket 1", "user", "add", "sales@example.org"]).refused(3);
    assert_eq!(again, refusal);
    place.run(&["user", "add", "sales@example.org", "--reason", "ticket 1"]).refused(3);
    place.run(&["user", "add", "sales@example.org", "--release-address", "new shop"]).good();
}

#[test]
fn exit_codes_tell_refusals_apart() {
    let place = Place::initialised();
    place.run(&["user", "list", "--no-such-flag"]).refused(2);
    place.run(&["user", "imap", "admin@example.org", "perhaps"]).refused(2);
    place.run(&["user", "show", "admin"]).refused(2);
    place.run(&["user", "list", "--org", "x"]).refused(2);
    place.run(&["user", "add", "a@example.org", "--reason", &"x".repeat(201)]).refused(2);
    place.run(&["user", "add", "admin@example.org"]).refused(3);
    place.run(&["user", "add", "tom@elsewhere.example"]).refused(3);
    place.run(&["user", "add", "not-an-address"]).refused(3);
    place.run_with(&["user", "add", "tom@example.org", "--password-stdin"], "short\n").refused(3);
    place.run(&["user", "role", "admin@example.org", "member"]).refused(3);
    place.run(&["user", "show", "nobody@example.org"]).refused(4);
    place.run(&["user", "show", "1000000099999"]).refused(4);
    place.run(&["client", "disable", "1000.NONE"]).refused(4);
    place.run_with(&["token", "revoke"], "1000.aa.bb\n").refused(4);
    place.run(&["user", "list", "--database", "sqlite:none.sqlite"]).refused(4);
    assert!(!place.path("none.sqlite").exists(), "a typing error makes no database");
    place.run(&["user", "list", "--database", "postgres://nobody@127.0.0.1:1/none"]).refused(1);

    let error = place.run(&["user", "show", "nobody@example.org", "--json"]).refused(4);
    let error: serde_json::Value = serde_json::from_str(&error).expect("JSON on standard error");
    assert_eq!(error["error"]["kind"], "not_found");
    let misused = place.run(&["user", "shwo", "--json"]).refused(2);
    let misused: serde_json::Value = serde_json::from_str(&misused).expect("JSON on standard error");
    assert_eq!(misused["error"]["kind"], "usage");
    assert!(misused["error"]["message"].as_str().is_some_and(|text| text.contains("shwo")), "{misused}");
}

#[test]
fn what_was_done_is_in_the_audit_log_with_name_and_reason() {
    let place = Place::initialised();
    place.run(&["user", "add", "tom@example.org"]).good();
    let done = place.json(&["user", "disable", "tom@example.org", "--reason", "left"]);
    let entries = place.json(&["audit", "list", "--user", "tom@example.org", "--limit", "1"]);
    assert_eq!(entries[0]["verb"], "disableUser");
    assert_eq!(entries[0]["reason"], "left");
    assert_eq!(entries[0]["actor"]["kind"], "operator");
    assert!(!text(&entries[0]["actor"], "name").is_empty());
    let receipt = place.json(&["change", "show", &text(&done, "change")]);
    assert_eq!(receipt["entries"][0], entries[0]);
    assert_eq!(receipt["effects"][0]["effect"], "project");
    place.run(&["change", "show", "200000000999999999"]).refused(4);

    // Of somebody who is gone the log still tells.
    let zuid = text(&place.json(&["user", "show", "tom@example.org"]), "zuid");
    place.run(&["user", "delete", &zuid, "--yes"]).good();
    let entries = place.json(&["audit", "list", "--user", &zuid, "--limit", "1"]);
    assert_eq!(entries[0]["verb"], "deleteUser");
    place.run(&["audit", "list", "--user", "1000000000999"]).refused(4);
}

#[test]
fn the_glass_is_broken_only_where_nobody_is_left() {
    let place = Place::initialised();
    place.run(&["user", "add", "tom@example.org"]).good();
    let refusal = place.run(&["user", "recover-super-admin", "tom@example.org"]).refused(3);
    assert!(refusal.contains("has an enabled super administrator"), "{refusal}");

    // No call leads here; a restored or damaged database may.
    let database = rusqlite::Connection::open(place.path("data/mailward.sqlite")).expect("the database");
    database
        .execute("UPDATE person SET role = 'member' WHERE role = 'super_admin'", [])
        .expect("nobody left");
    drop(database);
    let ill = place.run(&["doctor"]);
    assert_eq!(ill.code, 1);
    assert!(ill.out.contains("recover-super-admin"), "{}", ill.out);
    place.run(&["user", "disable", "tom@example.org"]).good();
    place.run(&["user", "recover-super-admin", "tom@example.org", "--reason", "all gone"]).good();
    let tom = place.json(&["user", "show", "tom@example.org"]);
    assert_eq!((tom["role"].as_str(), tom["enabled"].as_bool()), (Some("super_admin"), Some(true)));
    assert_eq!(place.json(&["audit", "list", "--limit", "1"])[0]["verb"], "recoverSuperAdmin");
    place.run(&["doctor"]).good();
}

#[test]
fn several_organizations_are_told_apart() {
    let place = Place::initialised();
    let second = text(&place.json(&["org", "add", "Second"]), "zoid");
    let refusal = place.run(&["user", "list"]).refused(2);
    assert!(refusal.contains("--org"), "{refusal}");
    place.run(&["domain", "add", "example.com", "--org", &second]).good();
    place.run(&["user", "add", "tom@example.com"]).refused(3); // not verified yet
    place.run(&["domain", "verify", "example.com"]).good();
    place.run(&["user", "add", "tom@example.com"]).good();
    assert_eq!(text(&place.json(&["user", "show", "tom@example.com"]), "zoid"), second);
    place.run(&["user", "show", "admin@example.org", "--org", &second]).refused(4);
    place.run(&["org", "disable", &second]).good();
    assert_eq!(place.json(&["org", "show", "--org", &second])["enabled"], false);
    place.run(&["org", "enable", &second]).good();
    place.run(&["domain", "add", "example.org", "--org", &second]).refused(3);
}

#[test]
fn a_policy_is_changed_and_holds_at_once() {
    let place = Place::initialised();
    let shown = place.json(&["org", "policy", "set", "password.min_length=20", "reserved_names=board"]);
    assert_eq!(shown["password"]["min_length"], 20);
    place.run_with(&["user", "add", "tom@example.org", "--password-stdin"], "plum tarmac 83\n").refused(3);
    let refusal = place.run(&["org", "policy", "set", "password.minlength=2"]).refused(2);
    assert!(refusal.contains("password.min_length"), "{refusal}");
    place.run(&["org", "policy", "set", "password.min_length=0"]).refused(2);
}

#[test]
fn a_long_list_comes_whole_and_in_order() {
    let place = Place::initialised();
    for number in 0..5 {
        place.run(&["user", "add", &format!("u{number}@example.org")]).good();
    }
    let all = place.json(&["user", "list"]);
    let emails: Vec<&str> =
        all.as_array().expect("a list").iter().filter_map(|one| one["email"].as_str()).collect();
    assert_eq!(
        emails[1..],
        ["u0@example.org", "u1@example.org", "u2@example.org", "u3@example.org", "u4@example.org"]
    );
    let page = place.json(&["user", "list", "--start", "2", "--limit", "2"]);
    assert_eq!(page.as_array().expect("a list")[..], all.as_array().expect("a list")[2..4]);
    assert_eq!(place.json(&["user", "list", "--start", "99"]), serde_json::json!([]));
}
