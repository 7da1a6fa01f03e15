//! Dovecot's files, for 2.3 and 2.4.

use std::path::Path;

use secrecy::ExposeSecret;

use super::queries;
use super::{ConfigFile, Contract, DovecotVersion, Environment, PolicyServer, Settings, Tls, fill};

/// The files of Dovecot, complete; the one with the doveadm key and those with a database password
/// can be read by root alone, or by Dovecot's group.
pub fn dovecot(settings: &Settings, version: DovecotVersion) -> Vec<ConfigFile> {
    let conf = settings.dovecot_dir();
    let queries = queries::Dovecot::new(version, &settings.mail_root);
    let file = |name: &str, mode, group, text| ConfigFile { path: conf.join(name), group, mode, text };
    let mut files = vec![];
    let template = match version {
        DovecotVersion::V2_3 => {
            for (name, what, queries) in [
                (
                    "mailward-app.conf.ext",
                    "Passwords made for one device and protocol.",
                    format!("password_query = {}", queries.app),
                ),
                (
                    "mailward-login.conf.ext",
                    "The person's password; mailboxes and living sessions.",
                    format!(
                        "password_query = {}\nuser_query = {}\niterate_query = {}",
                        queries.login, queries.user, queries.iterate
                    ),
                ),
                (
                    "mailward-gate.conf.ext",
                    "Why an account does not open, told after the right password.",
                    format!("password_query = {}", queries.gate),
                ),
            ] {
                let (driver, connect) = connect(&settings.contract, &conf);
                let values = [
                    ("WHAT", what.to_owned()),
                    ("DRIVER", driver.to_owned()),
                    ("CONNECT", connect),
                    ("QUERIES", queries),
                ];
                let text = fill(include_str!("templates/dovecot-sql.conf"), &values);
                files.push(file(name, 0o640, Some("dovecot"), text));
            }
            include_str!("templates/dovecot-2.3.conf")
        }
        DovecotVersion::V2_4 => include_str!("templates/dovecot-2.4.conf"),
    };

    files.extend(settings.contract.authorities(&conf));
    let mut doveadm = String::new();
    if let Some(door) = &settings.doveadm {
        files.push(file("mailward-doveadm.conf.ext", 0o600, None, key_file(door.key.expose_secret())));
        let address = match version {
            DovecotVersion::V2_3 => "address",
            DovecotVersion::V2_4 => "listen",
        };
        doveadm = format!(
            "\n# Through this door Mailward ends sessions. Its key opens every mailbox: keep the port away from\n\
             # everybody but Mailward.\n\
             !include {}\n\
             service doveadm {{\n  inet_listener http {{\n    {address} = {}\n    port = {}\n{}  }}\n}}\n",
            conf.join("mailward-doveadm.conf.ext").display(),
            door.address,
            door.port,
            if door.tls { "    ssl = yes\n" } else { "" },
        );
    }

    let mut policy_include = String::new();
    if let Some(policy) = &settings.policy_server {
        files.push(file("mailward-policy.conf.ext", 0o600, None, policy_file(policy, version)));
        policy_include = format!(
            "\n# Mailward slows down guessing.\n!include {}\n",
            conf.join("mailward-policy.conf.ext").display()
        );
    }

    let values = [
        ("PLACE", place(&settings.place)),
        ("LISTEN", listen(&settings.place).to_owned()),
        ("TLS", tls(settings.tls(), &settings.place, version)),
        ("DELAYS", delays(&settings.place)),
        ("CONF", conf.display().to_string()),
        ("QUEUE", settings.queue_dir().display().to_string()),
        ("VMAIL", settings.vmail_user.clone()),
        ("VMAIL_UID", settings.vmail_uid.to_string()),
        ("IMAP_LISTENERS", listeners(&settings.place, "imap", |lab| lab.imap)),
        ("POP_LISTENERS", listeners(&settings.place, "pop3", |lab| lab.pop3)),
        ("AUTH_GROUPS", auth_groups(&settings.contract)),
        ("ANVIL", anvil(&settings.place)),
        ("DELIMITER", settings.recipient_delimiter.to_string()),
        ("SESSIONS", settings.most_sessions.to_string()),
        // The login processes of both protocols, and Postfix.
        ("LOGIN_CLIENTS", (2 * settings.most_sessions + 1000).to_string()),
        ("STATS_CLIENTS", (4 * settings.most_sessions + 1000).to_string()),
        ("POSTMASTER", settings.postmaster.clone()),
        ("DOVEADM", doveadm),
        ("POLICY", policy_include),
        ("SQL", sql(&settings.contract, &conf)),
        ("QUERY_APP", queries.app),
        ("QUERY_LOGIN", queries.login),
        ("QUERY_GATE", queries.gate),
        ("QUERY_USER", queries.user),
        ("QUERY_ITERATE", queries.iterate),
    ];
    // 2.4 has queries and the database password in the main file.
    let (mode, group) = match version {
        DovecotVersion::V2_3 => (0o644, None),
        DovecotVersion::V2_4 => (0o640, Some("dovecot")),
    };
    files.insert(0, file("dovecot.conf", mode, group, fill(template, &values)));
    files
}

fn key_file(key: &str) -> String {
    format!(
        "# The key of doveadm's HTTP door. Mailward has the same in a file of its own.\ndoveadm_api_key = {key}\n"
    )
}

fn connect(contract: &Contract, conf: &Path) -> (&'static str, String) {
    match contract {
        Contract::Sqlite { auth_file, .. } => ("sqlite", auth_file.display().to_string()),
        Contract::Postgres { host, port, database, dovecot_password, tls, .. } => {
            let tls = tls.as_ref().map(|tls| {
                format!(" sslmode=verify-full sslrootcert={}", tls.authorities_in(conf).display())
            });
            let text = format!(
                "host={host} port={port} dbname={database} user=mw_dovecot password='{}'{}",
                dovecot_password.expose_secret().replace('\\', "\\\\").replace('\'', "\\'"),
                tls.unwrap_or_default()
            );
            ("pgsql", text)
        }
    }
}

fn sql(contract: &Contract, conf: &Path) -> String {
    match contract {
        Contract::Sqlite { auth_file, .. } => {
            format!("\nsql_driver = sqlite\nsqlite_path = {}\n", auth_file.display())
        }
        Contract::Postgres { host, port, database, dovecot_password, tls, .. } => {
            let tls = tls.as_ref().map(|tls| {
                let authorities = tls.authorities_in(conf);
                format!("    sslmode = verify-full\n    sslrootcert = {}\n", authorities.display())
            });
            format!(
                "\nsql_driver = pgsql\npgsql {host} {{\n  parameters {{\n    port = {port}\n    dbname = {database}\n    \
                 user = mw_dovecot\n    password = {}\n{}  }}\n}}\n",
                dovecot_password.expose_secret(),
                tls.unwrap_or_default()
            )
        }
    }
}

fn auth_groups(contract: &Contract) -> String {
    match contract {
        Contract::Sqlite { auth_group, .. } => {
            format!(
                "  # May read, and write, the projection of logins, and nothing else of Mailward.\n  extra_groups = {auth_group}"
            )
        }
        Contract::Postgres { .. } => {
            "  # The database's role mw_dovecot may read its views alone.".to_owned()
        }
    }
}

fn place(place: &Environment) -> String {
    match place {
        Environment::Host(_) => String::new(),
        Environment::Lab(lab) => {
            let dir = lab.dir.display();
            format!(
                "# A private server for tests.\nbase_dir = {dir}/run/dovecot\nstate_dir = {dir}/run/state\n\
                 log_path = {dir}/log/dovecot.log\ninstance_name = mailward-lab\n"
            )
        }
    }
}

fn listen(place: &Environment) -> &'static str {
    match place {
        Environment::Host(_) => "*, ::",
        Environment::Lab(_) => "127.0.0.1",
    }
}

fn tls(tls: Option<&Tls>, place: &Environment, version: DovecotVersion) -> String {
    let mut text = match (place, tls) {
        (Environment::Host(_), _) => "ssl = required\n".to_owned(),
        (Environment::Lab(_), Some(_)) => "ssl = yes\n".to_owned(),
        (Environment::Lab(_), None) => "ssl = no\n".to_owned(),
    };
    if let Some(Tls { certificate, key }) = tls {
        let (certificate, key) = (certificate.display(), key.display());
        text.push_str(&match version {
            DovecotVersion::V2_3 => format!("ssl_cert = <{certificate}\nssl_key = <{key}\n"),
            DovecotVersion::V2_4 => {
                format!("ssl_server_cert_file = {certificate}\nssl_server_key_file = {key}\n")
            }
        });
        text.push_str("ssl_min_protocol = TLSv1.2\n");
    }
    let clear = match (place, version) {
        (Environment::Host(_), DovecotVersion::V2_3) => "disable_plaintext_auth = yes\n",
        (Environment::Lab(_), DovecotVersion::V2_3) => "disable_plaintext_auth = no\n",
        (Environment::Host(_), DovecotVersion::V2_4) => "auth_allow_cleartext = no\n",
        (Environment::Lab(_), DovecotVersion::V2_4) => "auth_allow_cleartext = yes\n",
    };
    text + clear
}

fn delays(place: &Environment) -> String {
    match place {
        Environment::Host(_) => "# Guessing is slowed down by this delay and by a penalty per address (service anvil, on by default).\n\
                           auth_failure_delay = 2 secs\n"
            .to_owned(),
        Environment::Lab(_) => "# Tests only: no delay after a failed login.\nauth_failure_delay = 0 secs\n".to_owned(),
    }
}

fn anvil(place: &Environment) -> String {
    match place {
        Environment::Host(_) => String::new(),
        Environment::Lab(_) => {
            "# Tests only: no penalty for failed logins.\nservice anvil {\n  unix_listener anvil-auth-penalty {\n    mode = 0\n  }\n}\n"
                .to_owned()
        }
    }
}

fn listeners(place: &Environment, name: &str, lab_port: impl Fn(&super::Lab) -> u16) -> String {
    let clear = match place {
        Environment::Host(_) => 0,
        Environment::Lab(lab) => lab_port(lab),
    };
    let (comment, secure) = match (place, name) {
        (Environment::Host(_), "imap") => {
            ("  # TLS from the first byte only (RFC 8314).\n", "    port = 993\n    ssl = yes\n")
        }
        (Environment::Host(_), _) => {
            ("  # TLS from the first byte only (RFC 8314).\n", "    port = 995\n    ssl = yes\n")
        }
        (Environment::Lab(_), _) => ("", "    port = 0\n"),
    };
    format!(
        "{comment}  inet_listener {name} {{\n    port = {clear}\n  }}\n  inet_listener {name}s {{\n{secure}  }}"
    )
}

/// A quarter of a second is all that a stopped Mailward costs a login; Dovecot then goes on without it.
fn policy_file(policy: &PolicyServer, version: DovecotVersion) -> String {
    let (timeout, attributes) = match version {
        DovecotVersion::V2_3 => (
            "auth_policy_server_timeout_msecs = 250\n",
            "auth_policy_request_attributes = login=%{original_user} pwhash=%{hashed_password} remote=%{rip} protocol=%s \
             session_id=%{session} mech=%m gate=%{passdb:reason} key=%{passdb:mw_mbox}\n",
        ),
        DovecotVersion::V2_4 => (
            "auth_policy {\n  http_client_request_timeout = 250ms\n}\n",
            "auth_policy_request_attributes {\n  login = %{original_user}\n  pwhash = %{hashed_password}\n  remote = %{remote_ip}\n  protocol = %{protocol}\n  \
             session_id = %{session}\n  mech = %{mechanism}\n  gate = %{passdb:reason}\n  key = %{passdb:mw_mbox}\n}\n",
        ),
    };
    format!(
        "# While Mailward does not answer, logins go on (auth_policy_reject_on_fail stays off).\n\
         auth_policy_server_url = {}\nauth_policy_server_api_header = Authorization: Bearer {}\n\
         auth_policy_hash_nonce = {}\nauth_policy_check_after_auth = no\n{timeout}{attributes}",
        policy.url,
        policy.token.expose_secret(),
        policy.nonce.expose_secret(),
    )
}
