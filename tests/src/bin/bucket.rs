//! `bucket <address>`: a bucket on an address of this machine, until it is ended. Prints the settings with which a process of
//! Grapnel uses it.

use anyhow::Context as _;
use grapnel_e2e::S3Server;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let address = std::env::args().nth(1).context("usage: bucket <address>")?;
    let bucket = S3Server::start_at(address.parse().context("it is no address")?).await;
    for (name, value) in bucket.settings() {
        println!("GRAPNEL_{name}={value}");
    }
    std::future::pending().await
}
