//! Options: from the file, variables and flags; and the example that tells of them.

use std::os::unix::fs::PermissionsExt as _;

use mailward::config::{Config, variables};

use super::{Place, said};

const EXAMPLE: &str = include_str!("../../../mailward.example.toml");

/// The example with every option in force.
fn uncommented() -> String {
    let lines = EXAMPLE.lines().map(|line| match line.strip_prefix('#') {
        Some(option) if !option.starts_with(' ') => option,
        Some(_) | None => line,
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn the_example_has_every_option_with_its_default() {
    let read: Config = toml::from_str(&uncommented()).expect("the example with every option in force");
    assert_eq!(read, Config::default());
    assert_eq!(toml::from_str::<Config>(EXAMPLE).expect("the example"), Config::default());
    let table: toml::Table = toml::from_str(&uncommented()).expect("the example");
    for (variable, section, key, default) in variables() {
        assert_eq!(table[&section].get(&key), Some(&default), "{variable}");
    }
}

#[test]
fn every_option_of_the_example_has_a_sentence() {
    let lines: Vec<&str> = EXAMPLE.lines().collect();
    let options = lines
        .iter()
        .enumerate()
        .filter(|(_, line)| line.len() > 1 && line.starts_with('#') && !line.starts_with("# "));
    let mut count = 0;
    for (place, option) in options {
        let sentence = lines[place - 1];
        assert!(sentence.starts_with("# ") && sentence.ends_with('.'), "{option} stands below {sentence:?}");
        count += 1;
    }
    assert_eq!(count, variables().len());
}

#[test]
fn an_unknown_option_names_file_line_and_the_nearest_one() {
    let place = Place::initialised();
    let text = std::fs::read_to_string(place.path("mailward.toml")).expect("the configuration");
    place
        .write("mailward.toml", &text.replacen("\n[server]\n", "\n[server]\nlissten = \"127.0.0.1:1\"\n", 1));
    let refusal = place.run(&["user", "list"]).refused(2);
    assert!(
        refusal.contains("mailward.toml, line 8:") && refusal.contains("did you mean listen?"),
        "{refusal}"
    );
    let ill = place.run(&["doctor"]);
    assert!(ill.code == 1 && ill.out.contains("did you mean listen?"), "{}", ill.out);
}

#[test]
fn variables_win_over_the_file_and_flags_over_both() {
    let place = Place::initialised();
    let mut command = place.command(&["user", "list"]);
    command.env("MAILWARD_DATABASE_URL", "sqlite:variable.sqlite");
    assert!(said(command, "").refused(4).contains("variable.sqlite"));
    let mut command = place.command(&["user", "list", "--database", "sqlite:flag.sqlite"]);
    command.env("MAILWARD_DATABASE_URL", "sqlite:variable.sqlite");
    assert!(said(command, "").refused(4).contains("flag.sqlite"));
    let mut command = place.command(&["user", "list"]);
    command.env("MAILWARD_DATABSE_URL", "sqlite:variable.sqlite");
    assert!(said(command, "").refused(2).contains("did you mean MAILWARD_DATABASE_URL?"));
}

#[test]
fn dangerous_values_are_refused_before_anything_listens() {
    let place = Place::initialised();
    let refusal = place.run(&["serve", "--listen", "0.0.0.0:0"]).refused(2);
    assert!(refusal.contains("insecure_http"), "{refusal}");
    let mut command = place.command(&["user", "list"]);
    command.env("MAILWARD_PASSWORDS_MEMORY_KIB", "70000");
    assert!(said(command, "").refused(2).contains("passwords.memory_kib"));
    let mut command = place.command(&["serve"]);
    command.env("MAILWARD_SERVER_TLS_CERT", "cert.pem");
    assert!(said(command, "").refused(2).contains("server.tls_key"));
}

#[test]
fn a_password_file_for_all_to_read_is_refused_without_being_shown() {
    let place = Place::initialised();
    let file = place.write("password", "canary-5481\n");
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).expect("a mode");
    let mut command = place.command(&["user", "list", "--database", "postgres://mail@127.0.0.1:1/desk"]);
    command.env("MAILWARD_DATABASE_PASSWORD_FILE", &file);
    let refusal = said(command, "").refused(2);
    assert!(refusal.contains("chmod 0600") && !refusal.contains("canary"), "{refusal}");
}

#[test]
fn the_doctor_says_what_is_wrong_and_how_to_mend_it() {
    let place = Place::initialised();
    let healthy = place.json(&["doctor"]);
    assert_eq!(healthy["healthy"], true, "{healthy}");

    let database = place.path("data/mailward.sqlite");
    std::fs::set_permissions(&database, std::fs::Permissions::from_mode(0o644)).expect("a mode");
    std::fs::set_permissions(place.path("mailward.toml"), std::fs::Permissions::from_mode(0o622))
        .expect("a mode");
    let ill = place.run(&["doctor"]);
    assert_eq!(ill.code, 1);
    for cure in ["chmod 0600", "chmod go-w"] {
        assert!(ill.out.contains(cure), "{}", ill.out);
    }
    std::fs::set_permissions(&database, std::fs::Permissions::from_mode(0o600)).expect("a mode");
    std::fs::set_permissions(place.path("mailward.toml"), std::fs::Permissions::from_mode(0o600))
        .expect("a mode");

    let mut command = place.command(&["doctor"]);
    command.env("MAILWARD_SERVER_LISTEN", "0.0.0.0:80").env("MAILWARD_SERVER_INSECURE_HTTP", "true");
    let warned = said(command, "").good();
    assert!(warned.out.contains("warning") && warned.out.contains("in the clear"), "{}", warned.out);
    assert_eq!(place.run(&["doctor", "--database", "sqlite:none.sqlite"]).code, 1);
}

#[test]
fn migrating_what_is_up_to_date_does_nothing_and_a_newer_database_is_left_alone() {
    let place = Place::initialised();
    assert_eq!(place.json(&["migrate", "--check"])["current"], true);
    assert_eq!(place.json(&["migrate"])["applied"], serde_json::json!([]));
    let database = rusqlite::Connection::open(place.path("data/mailward.sqlite")).expect("the database");
    database
        .execute(
            "INSERT INTO migration (number, name, checksum, applied_at) VALUES (999, 'later', 'x', 0)",
            [],
        )
        .expect("a later step");
    drop(database);
    for command in
        [&["migrate"][..], &["migrate", "--check"], &["user", "list"], &["serve", "--listen", "127.0.0.1:0"]]
    {
        let refusal = place.run(command).refused(3);
        assert!(refusal.contains("newer Mailward"), "{refusal}");
    }
}

#[test]
fn an_empty_database_is_behind_until_it_is_migrated() {
    let place = Place::initialised();
    place.write("empty.sqlite", "");
    let empty = ["--database", "sqlite:empty.sqlite"];
    let refusal = place.run(&[&["migrate", "--check"][..], &empty].concat()).refused(3);
    assert!(refusal.contains("mailward migrate"), "{refusal}");
    place.run(&[&["migrate"][..], &empty].concat()).good();
    place.run(&[&["migrate", "--check"][..], &empty].concat()).good();
}
