//! Answers every request with the same: what a server in this language comes to that does nothing. Its argument is the address.

use axum::{Router, http::header::CONTENT_TYPE, response::IntoResponse};

/// As long as what a hook's URL answers.
const ANSWER: &str = r#"{"job":{"id":"dpl_00000000000000000000000000","state":"PENDING","createdAt":1662825789999},"statusUrl":"http://127.0.0.1:7300/v1/status/dpl_00000000000000000000000000/00000000000000000000000000000000"}"#;

/// As many threads as `grapnel up` has.
#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> anyhow::Result<()> {
    let address = std::env::args().nth(1).ok_or_else(|| anyhow::anyhow!("the argument is the address"))?;
    let listener = tokio::net::TcpListener::bind(address).await?;
    axum::serve(listener, Router::new().fallback(answer)).await?;
    Ok(())
}

async fn answer() -> impl IntoResponse {
    ([(CONTENT_TYPE, "application/json")], ANSWER)
}
