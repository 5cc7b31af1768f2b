//! A local authorization server for trying Kalit without an account: `cargo run -p kalit-journeys
//! --example authorization-server`. Prints `{"url":…}` once it listens; runs until it is ended.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, ValueEnum};
use kalit_journeys::authserver::{AuthorizationServer, Options, Revocation};

#[derive(Parser)]
struct Flags {
    /// Port on 127.0.0.1; 0 takes a free one
    #[arg(long, default_value_t = 0)]
    port: u16,
    /// Where every request is logged as one JSON line
    #[arg(long)]
    log: Option<PathBuf>,
    /// Lifetime of an access token in seconds
    #[arg(long, default_value_t = 120)]
    ttl: u64,
    /// Break something on purpose
    #[arg(long)]
    sabotage: Option<Sabotage>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Sabotage {
    /// "Revoke" changes nothing
    Revoke,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let flags = Flags::parse();
    let server = AuthorizationServer::start(Options {
        port: flags.port,
        log: flags.log,
        ttl: Duration::from_secs(flags.ttl),
        revocation: match flags.sabotage {
            Some(Sabotage::Revoke) => Revocation::Ignored,
            None => Revocation::Honoured,
        },
    })
    .await?;
    println!("{}", serde_json::json!({"url": server.url()}));
    std::future::pending().await
}
