//! `mailward serve`.

use std::net::SocketAddr;

use crate::app::open::open_to_serve;
use crate::app::random::Random;
use crate::cli::desk::Desk;
use crate::cli::logging;
use crate::clock::Clock;
use crate::error::Result;
use crate::serve::SideDoor;

/// Run the service until SIGTERM or SIGINT
///
/// Logs go to standard error. SIGHUP reads the certificate again; a bad one leaves the old one in
/// place. SIGTERM finishes the requests in flight; a second one does not. An empty database gets
/// its tables; an older one must be migrated with `mailward migrate` first.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  mailward serve
  mailward serve --listen 127.0.0.1:8080
  mailward serve --listen 10.0.0.5:80 --insecure-http")]
pub struct Serve {
    /// The address to listen on, in place of server.listen; port 0 takes a free one
    #[arg(long, value_name = "ADDR:PORT")]
    listen: Option<SocketAddr>,
    /// Serve plain HTTP also outside loopback (behind a proxy that speaks TLS)
    #[arg(long)]
    insecure_http: bool,
}

impl Serve {
    /// # Errors
    /// What makes it impossible to start.
    pub async fn run(self, desk: &Desk) -> Result<()> {
        // First of all: a reload may be asked for while this starts, which can take long.
        let hangups = crate::serve::hangups()?;
        let (mut config, file) = desk.read_config()?;
        if let Some(listen) = self.listen {
            config.server.listen = listen;
        }
        config.server.insecure_http |= self.insecure_http;
        config.check()?;
        logging::start(&config.log);
        match &file {
            Some(file) => tracing::info!(file = %file.display(), "configuration read"),
            None => tracing::info!("no configuration file; the defaults hold"),
        }
        let bound = crate::serve::bind(&config.server)?;
        // Links name the real port, also when a free one was asked for.
        config.server.listen = bound.address;
        let metrics =
            config.metrics.address()?.map(|address| SideDoor::open("metrics.listen", address)).transpose()?;
        let app = open_to_serve(&config, Clock::System, Random::System).await?;
        crate::cli::listen_to_logins(&app);
        let router = crate::cli::doors(&app);
        let metrics = metrics.map(|door| {
            tracing::info!(metrics = %door.address, "metrics can be asked for");
            door.answer(crate::api::side_door(app.clone()))
        });
        let outcome = bound.serve(app, router, hangups).await;
        metrics.iter().for_each(tokio::task::JoinHandle::abort);
        outcome
    }
}
