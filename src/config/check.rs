//! Values of the right type that cannot be meant, or that would be dangerous.

use std::net::IpAddr;

use ipnet::IpNet;

use super::{Config, Server};
use crate::error::{Error, Result};

/// A network as options name it; an address is the network of itself.
fn read_network(text: &str) -> Option<IpNet> {
    text.parse().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from))
}

impl Server {
    /// Whose `X-Forwarded-For` is believed.
    pub fn trusted_networks(&self) -> Vec<IpNet> {
        self.trusted_proxies.iter().filter_map(|text| read_network(text)).collect()
    }
}

impl Config {
    /// # Errors
    /// `BadValue` with the option's name as in the file and what to write instead.
    pub fn check(&self) -> Result<()> {
        self.check_server()?;
        self.check_database()?;
        self.check_limits()?;
        self.check_mail()?;
        self.check_metrics()?;
        self.passwords
            .cost()
            .check()
            .map_err(|why| Error::bad_value("passwords.memory_kib, passes, lanes", why))?;
        let delimiter = self.addresses.recipient_delimiter;
        if !matches!(delimiter, '+' | '-' | '=' | '_' | '#' | '!' | '%' | '*') {
            return Err(Error::bad_value(
                "addresses.recipient_delimiter",
                "write one of + - = _ # ! % *, the same as Postfix's recipient_delimiter",
            ));
        }
        // Four processes for a session of each protocol; Debian's unit gives Dovecot 65535 open files.
        if !(1..=16_000).contains(&self.mail.most_sessions) {
            return Err(Error::bad_value("mail.most_sessions", "write a number from 1 to 16000"));
        }
        tracing_subscriber::EnvFilter::try_new(&self.log.level).map_err(|cause| {
            Error::bad_value(
                "log.level",
                format!("{cause}; write error, warn, info, debug, or as mailward=debug,info"),
            )
        })?;
        Ok(())
    }

    fn check_server(&self) -> Result<()> {
        let server = &self.server;
        // As many as the counter of places can hold.
        if !(1..=1_000_000).contains(&server.most_at_once) {
            return Err(Error::bad_value("server.most_at_once", "write a number from 1 to 1000000"));
        }
        match (&server.tls_cert, &server.tls_key) {
            (Some(_), None) => {
                return Err(Error::bad_value(
                    "server.tls_key",
                    "tls_cert is set, so the key's file belongs here",
                ));
            }
            (None, Some(_)) => {
                return Err(Error::bad_value(
                    "server.tls_cert",
                    "tls_key is set, so the certificate's file belongs here",
                ));
            }
            (None, None) if !server.listen.ip().is_loopback() && !server.insecure_http => {
                return Err(Error::bad_value(
                    "server.listen",
                    format!(
                        "{} is reachable from other machines, and plain HTTP would show them passwords and tokens; \
                         set tls_cert and tls_key, or insecure_http = true behind a proxy that speaks TLS",
                        server.listen
                    ),
                ));
            }
            (Some(_), Some(_)) | (None, None) => {}
        }
        if !server.public_url.is_empty() {
            let good = url::Url::parse(&server.public_url)
                .is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
            if !good {
                return Err(Error::bad_value(
                    "server.public_url",
                    "write the whole address, as https://desk.example.org",
                ));
            }
        }
        for network in &server.trusted_proxies {
            if read_network(network).is_none() {
                return Err(Error::bad_value(
                    "server.trusted_proxies",
                    format!(
                        "{network} is no network and no address; write 10.0.0.0/8, 2001:db8::/32 or 192.0.2.1"
                    ),
                ));
            }
        }
        Ok(())
    }

    fn check_database(&self) -> Result<()> {
        let database = &self.database;
        let postgres = database.url.starts_with("postgres://") || database.url.starts_with("postgresql://");
        if database.sqlite_path().is_none() && !postgres {
            return Err(Error::bad_value("database.url", "write sqlite:PATH or postgres://user@host/name"));
        }
        if database.sqlite_path().is_some() && database.password_file.is_some() {
            return Err(Error::bad_value("database.password_file", "an embedded database has no password"));
        }
        positive("database.pool_size", database.pool_size)?;
        positive("database.connect_seconds", database.connect_seconds)?;
        positive("database.wait_seconds", database.wait_seconds)
    }

    fn check_metrics(&self) -> Result<()> {
        let Some(address) = self.metrics.address()? else { return Ok(()) };
        if !address.ip().is_loopback() && !self.metrics.outside {
            return Err(Error::bad_value(
                "metrics.listen",
                format!(
                    "{address} is reachable from other machines, and nobody is asked who they are; listen on 127.0.0.1, \
                     or set outside = true where the network is yours alone"
                ),
            ));
        }
        Ok(())
    }

    fn check_mail(&self) -> Result<()> {
        let mail = &self.mail;
        if mail.auth_dir.is_some() != mail.maps_dir.is_some() {
            return Err(Error::bad_value(
                "mail.auth_dir, maps_dir",
                "Dovecot's and Postfix's look-up files belong together; set both or none",
            ));
        }
        if mail.auth_dir.is_some() && mail.auth_dir == mail.maps_dir {
            return Err(Error::bad_value(
                "mail.maps_dir",
                "each server reads a folder of its own: Postfix must not see password hashes",
            ));
        }
        if mail.tls_cert.is_some() != mail.tls_key.is_some() {
            return Err(Error::bad_value("mail.tls_cert, tls_key", "certificate and key belong together"));
        }
        if !mail.notices_smtp.is_empty() && mail.notices_smtp.parse::<std::net::SocketAddr>().is_err() {
            return Err(Error::bad_value("mail.notices_smtp", "an address and a port, as 127.0.0.1:25"));
        }
        if !mail.logins_listen.ip().is_loopback() {
            return Err(Error::bad_value(
                "mail.logins_listen",
                "it speaks plain HTTP: an address of this machine alone, as 127.0.0.1:7081",
            ));
        }
        if !(0..=36_500).contains(&mail.retention_days) {
            return Err(Error::bad_value("mail.retention_days", "0 to 36500 days"));
        }
        // These become lines of other programs' files and commands for root.
        for (name, text) in [
            ("mail.auth_group", &mail.auth_group),
            ("mail.maps_group", &mail.maps_group),
            ("mail.mail_user", &mail.mail_user),
            ("mail.hostname", &mail.hostname),
            ("mail.postmaster", &mail.postmaster),
        ] {
            if !text.chars().all(|c| c.is_ascii_alphanumeric() || "-_.@+".contains(c)) {
                return Err(Error::bad_value(
                    name,
                    format!("{text:?} may have only letters, digits and - _ . @ +"),
                ));
            }
        }
        Ok(())
    }

    fn check_limits(&self) -> Result<()> {
        let (oauth, throttle) = (&self.oauth, &self.throttle);
        for (name, number) in [
            ("oauth.access_token_seconds", oauth.access_token_seconds),
            ("oauth.code_seconds", oauth.code_seconds),
            ("oauth.access_tokens_per_refresh_token", oauth.access_tokens_per_refresh_token),
            ("oauth.refresh_tokens_per_user", oauth.refresh_tokens_per_user),
            ("oauth.mints_per_refresh_token", oauth.mints_per_refresh_token),
            ("oauth.codes_per_client", oauth.codes_per_client),
            ("throttle.wrong_per_account", throttle.wrong_per_account),
            ("throttle.wrong_per_source", throttle.wrong_per_source),
            ("throttle.window_seconds", throttle.window_seconds),
            ("console.idle_minutes", self.console.idle_minutes),
            ("console.session_hours", self.console.session_hours),
            ("throttle.token_failures_per_source", throttle.token_failures_per_source),
        ] {
            if !(1..=1_000_000_000).contains(&number) {
                return Err(Error::bad_value(name, "must be at least 1 and at most 1000000000"));
            }
        }
        positive("passwords.queue", self.passwords.queue)
    }
}

fn positive<N: PartialOrd + From<u8>>(name: &str, number: N) -> Result<()> {
    if number < N::from(1) { Err(Error::bad_value(name, "must be at least 1")) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(change: impl FnOnce(&mut Config)) -> String {
        let mut config = Config::default();
        change(&mut config);
        config.check().expect_err("this configuration is refused").to_string()
    }

    #[test]
    fn the_defaults_are_allowed() {
        Config::default().check().expect("the defaults");
    }

    #[test]
    fn plain_http_outside_loopback_must_be_asked_for() {
        let outside = |config: &mut Config| config.server.listen = ([0, 0, 0, 0], 80).into();
        assert!(refused(outside).contains("insecure_http"));
        let mut config = Config::default();
        outside(&mut config);
        config.server.insecure_http = true;
        config.check().expect("asked for");
    }

    #[test]
    fn what_cannot_be_meant_is_refused_by_name() {
        let certificate_alone = |config: &mut Config| config.server.tls_cert = Some("cert.pem".into());
        assert!(refused(certificate_alone).starts_with("server.tls_key"));
        assert!(refused(|config| config.passwords.memory_kib = 70_000).starts_with("passwords.memory_kib"));
        assert!(refused(|config| config.database.url = "mysql://x".into()).starts_with("database.url"));
        assert!(refused(|config| config.database.pool_size = 0).starts_with("database.pool_size"));
        assert!(refused(|config| config.oauth.code_seconds = -1).starts_with("oauth.code_seconds"));
        assert!(refused(|config| config.addresses.recipient_delimiter = 'a').starts_with("addresses."));
        assert!(
            refused(|config| config.server.trusted_proxies = vec!["x".into()]).starts_with("server.trusted")
        );
        assert!(refused(|config| config.mail.auth_dir = Some("a".into())).starts_with("mail.auth_dir"));
        let one_folder = |config: &mut Config| {
            (config.mail.auth_dir, config.mail.maps_dir) = (Some("a".into()), Some("a".into()));
        };
        assert!(refused(one_folder).starts_with("mail.maps_dir"));
        assert!(refused(|config| config.mail.hostname = "mx\nx".into()).starts_with("mail.hostname"));
        assert!(refused(|config| config.log.level = "mailward=louder".into()).starts_with("log.level"));
    }
}
