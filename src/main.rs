use clap::Parser;
use mailward::cli::demo;

#[derive(Parser)]
struct Main {
    #[command(subcommand)]
    command: Command,
}
#[derive(clap::Subcommand)]
enum Command {
    Demo(demo::DemoArgs),
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_env_filter("info").init();
    let Command::Demo(args) = Main::parse().command;
    let ready = demo::make_ready(&args).await?;
    println!("{}", demo::announcement(&ready.demo, args.json)?);
    ready.listener.set_nonblocking(true)?;
    let listener = tokio::net::TcpListener::from_std(ready.listener)?;
    let router = mailward::api::router(ready.app.clone());
    axum::serve(listener, router.into_make_service_with_connect_info::<std::net::SocketAddr>()).await?;
    Ok(())
}
