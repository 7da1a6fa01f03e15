//! Postfix's files, for 3.7.

use std::path::Path;

use secrecy::ExposeSecret;

use super::queries;
use super::{ConfigFile, Contract, Environment, Settings, Tls, fill};

const OWN_MAIL: &str = "mailward-own.cf";

/// The files of Postfix, complete; those with a database password can be read by root and Postfix alone.
pub fn postfix(settings: &Settings) -> Vec<ConfigFile> {
    let conf = settings.postfix_dir();
    let file = |name: &str, mode, group, text| ConfigFile { path: conf.join(name), group, mode, text };
    let kind = match &settings.contract {
        Contract::Sqlite { .. } => "sqlite",
        Contract::Postgres { .. } => "pgsql",
    };
    let host = matches!(settings.place, Environment::Host(_));
    let choose = |on_host: &str, in_lab: &str| if host { on_host } else { in_lab }.to_owned();
    let main = [
        ("PLACE", place(&settings.place)),
        ("HOSTNAME", settings.hostname.clone()),
        ("MYDESTINATION", choose(&format!("localhost, proxy:{kind}:{}/{OWN_MAIL}", conf.display()), "")),
        ("DELIMITER", settings.recipient_delimiter.to_string()),
        ("MYNETWORKS", choose("127.0.0.0/8 [::ffff:127.0.0.0]/104 [::1]/128", "")),
        ("LOCAL_RECIPIENTS", choose("proxy:unix:passwd.byname $alias_maps", "")),
        ("ALIASES", choose("hash:/etc/aliases", "")),
        ("TYPE", kind.to_owned()),
        ("CONF", conf.display().to_string()),
        ("TLS", tls(settings.tls())),
        ("TUNING", tuning(&settings.place)),
    ];
    let submission = |port: &str, name: &str, wrapper: bool| {
        fill(
            include_str!("templates/submission.cf"),
            &[
                ("PORT", port.to_owned()),
                ("NAME", name.to_owned()),
                ("LEVEL", choose("encrypt", if settings.tls().is_some() { "may" } else { "none" })),
                ("WRAPPER", if wrapper { "yes" } else { "no" }.to_owned()),
                ("AUTH_ONLY", choose("yes", "no")),
            ],
        )
    };
    let (smtp, plain, wrapped) = match &settings.place {
        Environment::Host(_) => (
            "smtp".to_owned(),
            submission("submission", "submission", false),
            submission("submissions", "submissions", true),
        ),
        Environment::Lab(lab) => (
            format!("127.0.0.1:{}", lab.smtp),
            submission(&format!("127.0.0.1:{}", lab.submission), "submission", false),
            String::new(),
        ),
    };
    let master =
        [("SMTP", smtp), ("SUBMISSION", plain), ("SUBMISSIONS", wrapped), ("CHROOT", choose("y", "n"))];
    // Nested placeholders are filled from the outside in.
    let master = fill(&fill(include_str!("templates/master.cf"), &master), &master);
    let mut files = vec![
        file("main.cf", 0o644, None, fill(include_str!("templates/main.cf"), &main)),
        file("master.cf", 0o644, None, master),
        file("mailward-session.regexp", 0o644, None, queries::SESSION_NAMES.to_owned()),
    ];
    files.extend(settings.contract.authorities(&conf));
    let own_mail = queries::own_mail(&settings.hostname);
    let own_mail = host.then_some((
        OWN_MAIL,
        "Whether this host's name stands for the machine itself.",
        own_mail.as_str(),
    ));
    for (name, what, query) in queries::POSTFIX.into_iter().chain(own_mail) {
        let text = format!(
            "# {what}\n# Written by Mailward; contract version 1 (docs/contract.md).\n{}query = {query}\n",
            connect(&settings.contract, &conf)
        );
        files.push(file(name, 0o640, Some("postfix"), text));
    }
    files
}

fn connect(contract: &Contract, conf: &Path) -> String {
    match contract {
        Contract::Sqlite { maps_file, .. } => format!("dbpath = {}\n", maps_file.display()),
        Contract::Postgres { host, port, database, postfix_password, tls: Some(tls), .. } => {
            let encoded = |text: &str| {
                url::form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>().replace('+', "%20")
            };
            let host = if host.contains(':') { format!("[{host}]") } else { host.clone() };
            format!(
                "hosts = postgresql://mw_postfix:{}@{host}:{port}/{}?sslmode=verify-full&sslrootcert={}\n\
                 # The address above says it all; Postfix asks for this one nevertheless.\ndbname = {database}\n",
                encoded(postfix_password.expose_secret()),
                encoded(database),
                encoded(&tls.authorities_in(conf).display().to_string()),
            )
        }
        Contract::Postgres { host, port, database, postfix_password, tls: None, .. } => {
            // A directory is the place of a socket; libpq finds the port's socket in it.
            let host = if host.starts_with('/') {
                format!("unix:{host}/.s.PGSQL.{port}")
            } else {
                format!("{host}:{port}")
            };
            format!(
                "hosts = {host}\nuser = mw_postfix\npassword = {}\ndbname = {database}\n",
                postfix_password.expose_secret()
            )
        }
    }
}

fn place(place: &Environment) -> String {
    match place {
        Environment::Host(_) => String::new(),
        Environment::Lab(lab) => {
            let dir = lab.dir.display();
            format!(
                "\n# A private server for tests.\nqueue_directory = {dir}/spool\ndata_directory = {dir}/data\n\
                 command_directory = /usr/sbin\ndaemon_directory = /usr/lib/postfix/sbin\nmail_owner = postfix\n\
                 setgid_group = postdrop\nmulti_instance_name = postfix-mailward-lab\nmulti_instance_enable = yes\n\
                 maillog_file = {dir}/log/postfix.log\nmaillog_file_prefixes = /var, /dev/stdout, {dir}\n\
                 inet_interfaces = 127.0.0.1\ninet_protocols = ipv4\n\
                 local_transport = error:5.1.1 no local delivery\ndefault_transport = error:5.4.4 no outbound mail in tests\n"
            )
        }
    }
}

fn tls(tls: Option<&Tls>) -> String {
    let Some(Tls { certificate, key }) = tls else { return "smtpd_tls_security_level = none\n".to_owned() };
    format!(
        "smtpd_tls_security_level = may\nsmtpd_tls_cert_file = {}\nsmtpd_tls_key_file = {}\n\
         smtpd_tls_auth_only = yes\nsmtpd_tls_loglevel = 1\nsmtpd_tls_mandatory_protocols = >=TLSv1.2\n\
         smtp_tls_security_level = may\nsmtp_tls_CApath = /etc/ssl/certs\n\
         smtpd_tls_session_cache_database = btree:$data_directory/smtpd_scache\n\
         smtp_tls_session_cache_database = btree:$data_directory/smtp_scache\n",
        certificate.display(),
        key.display()
    )
}

fn tuning(place: &Environment) -> String {
    match place {
        Environment::Host(_) => String::new(),
        Environment::Lab(_) => {
            "\n# --- Tests only: no brakes ---\nin_flow_delay = 0\nsmtpd_client_connection_rate_limit = 0\n\
                          smtpd_client_connection_count_limit = 0\nsmtpd_error_sleep_time = 0\nbiff = no\n"
                .to_owned()
        }
    }
}
