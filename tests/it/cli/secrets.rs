//! Secrets come out where they were asked for, once, and nowhere else.

use super::{Place, Said, text};

fn clean(said: &Said, secrets: &[&str]) {
    for secret in secrets {
        assert!(!said.out.contains(secret), "standard output shows {secret}: {}", said.out);
        assert!(!said.err.contains(secret), "standard error shows {secret}: {}", said.err);
    }
}

#[test]
fn a_chosen_password_is_never_shown() {
    let place = Place::initialised();
    let canary = "canary plum 6402";
    let input = format!("{canary}\n");
    clean(&place.run_with(&["user", "add", "tom@example.org", "--password-stdin"], &input).good(), &[canary]);
    clean(&place.run_with(&["user", "add", "tom@example.org", "--password-stdin"], &input), &[canary]);
    let file = place.write("password.txt", &input);
    let file = file.display().to_string();
    let reset = ["user", "reset-password", "tom@example.org", "--password-file", &file];
    clean(&place.run(&reset).good(), &[canary]);
    let logged = ["MAILWARD_LOG_LEVEL", "RUST_LOG"];
    let mut command = place.command(&reset);
    for variable in logged {
        command.env(variable, "trace");
    }
    clean(&super::said(command, "").good(), &[canary]);
    // A password that the rules refuse is not repeated either.
    let refused = place
        .run_with(&["user", "reset-password", "tom@example.org", "--password-stdin"], "tom canary8\u{7}\n");
    assert_eq!(refused.code, 3);
    clean(&refused, &["tom canary8"]);
}

#[test]
fn what_is_shown_once_is_nowhere_afterwards() {
    let place = Place::initialised();
    let password = text(&place.json(&["user", "add", "tom@example.org"]), "password");
    let scope = "ZohoMail.accounts.ALL";
    let issued = place.run(&["token", "issue", "--user", "tom@example.org", "--scope", scope]).good();
    let token = issued.out.trim().to_owned();
    clean(&Said { out: String::new(), ..issued }, &[&token]);
    let made = place.json(&["client", "add", "--owner", "tom@example.org", "--name", "sync"]);
    let (client, secret) = (text(&made, "client_id"), text(&made, "client_secret"));
    let code = place.run(&["client", "code", &client, "--user", "tom@example.org", "--scope", scope]).good();
    let code = code.out.trim().to_owned();

    let phone = [
        "client",
        "add",
        "--owner",
        "tom@example.org",
        "--name",
        "phone",
        "--kind",
        "public",
        "--redirect-uri",
        "https://x.example/",
    ];
    let phone = text(&place.json(&phone), "client_id");
    let refused =
        place.run(&["client", "code", &phone, "--user", "tom@example.org", "--scope", scope]).refused(3);
    assert!(refused.contains("nobody could exchange"), "{refused}");
    place.run(&["client", "add", "--owner", "tom@example.org", "--name", " "]).refused(2);

    let secrets = [password.as_str(), &token, &secret, &code];
    for command in [
        &["audit", "list"][..],
        &["audit", "list", "--json"],
        &["client", "list", "--json"],
        &["user", "show", "tom@example.org", "--json"],
        &["user", "list", "--json"],
        &["org", "show", "--json"],
        &["doctor", "--json"],
    ] {
        clean(&place.run(command).good(), &secrets);
    }
    place.run(&["backup", "copy.sqlite"]).good();
    for entry in std::fs::read_dir(place.path("data"))
        .expect("a folder")
        .chain(std::fs::read_dir(place.root()).expect("a folder"))
    {
        let file = entry.expect("a file").path();
        if let Ok(bytes) = std::fs::read(&file) {
            for secret in secrets {
                let found = bytes.windows(secret.len()).any(|part| part == secret.as_bytes());
                assert!(!found, "{} holds a secret in the clear", file.display());
            }
        }
    }
    let revoked = place.run_with(&["token", "revoke"], &format!("{token}\n")).good();
    clean(&revoked, &secrets);
    let again = place.run_with(&["token", "revoke"], &format!("{token}\n"));
    assert_eq!(again.code, 4);
    clean(&again, &secrets);
}

#[test]
fn a_password_in_a_database_url_is_not_repeated_in_errors() {
    let place = Place::initialised();
    for url in [
        "postgres://mail:canary-9155@127.0.0.1:1/desk",
        "postgres://mail:canary-9155@:::/desk",
        "mysql://u:canary-9155@h/d",
    ] {
        let said = place.run(&["user", "list", "--database", url]);
        assert_ne!(said.code, 0);
        clean(&said, &["canary-9155"]);
        clean(&place.run(&["doctor", "--database", url]), &["canary-9155"]);
    }
}

#[test]
fn two_sources_for_one_password_are_refused() {
    let place = Place::initialised();
    let both = ["user", "add", "tom@example.org", "--password-stdin", "--ask-password"];
    place.run_with(&both, "plum tarmac 83\n").refused(2);
    place.run(&["user", "add", "tom@example.org", "--password-stdin"]).refused(2); // nothing came
    place.run(&["user", "add", "tom@example.org", "--one-time", "--permanent"]).refused(2);
    place.run(&["user", "show", "tom@example.org"]).refused(4);
}
