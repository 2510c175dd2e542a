//! A git server over smart HTTP: git's own `http-backend` behind a small CGI.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Stdio,
};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::{Request, State},
    http::{Response, StatusCode},
};
use tokio::{io::AsyncWriteExt as _, process::Command, task::JoinHandle};

/// A server of all repositories below a directory. It ends when dropped.
#[derive(Debug)]
pub struct GitServer {
    address: SocketAddr,
    serving: JoinHandle<()>,
}

impl GitServer {
    /// Serves what is below `root`, on a free port of 127.0.0.1.
    ///
    /// # Errors
    /// No port is free.
    pub async fn start(root: &Path) -> std::io::Result<Self> {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let router = Router::new().fallback(serve).with_state(root.to_owned());
        let serving = tokio::spawn(async move {
            let _ = axum::serve(listener, router).await;
        });
        Ok(Self { address, serving })
    }

    /// Returns the address of a repository by its name below the root.
    pub fn url(&self, name: &str) -> String {
        format!("http://{}/{name}/.git", self.address)
    }
}

impl Drop for GitServer {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn serve(State(root): State<PathBuf>, request: Request) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let header =
        |name: &str| parts.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or("").to_owned();
    let mut command = Command::new("git");
    command
        .arg("http-backend")
        .env("GIT_PROJECT_ROOT", &root)
        .env("GIT_HTTP_EXPORT_ALL", "1")
        .env("GIT_CONFIG_COUNT", "1")
        .env("GIT_CONFIG_KEY_0", "safe.directory")
        .env("GIT_CONFIG_VALUE_0", "*")
        .env("PATH_INFO", parts.uri.path())
        .env("QUERY_STRING", parts.uri.query().unwrap_or_default())
        .env("REQUEST_METHOD", parts.method.as_str())
        .env("CONTENT_TYPE", header("content-type"))
        .env("HTTP_CONTENT_ENCODING", header("content-encoding"))
        .env("GIT_PROTOCOL", header("git-protocol"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    let sent = axum::body::to_bytes(body, 64 << 20).await.unwrap_or_default();
    answer(command, sent).await.unwrap_or_else(|_| {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
        response
    })
}

async fn answer(mut command: Command, sent: Bytes) -> std::io::Result<Response<Body>> {
    let mut child = command.spawn()?;
    if let Some(mut input) = child.stdin.take() {
        input.write_all(&sent).await?;
    }
    let output = child.wait_with_output().await?.stdout;
    let end = output.windows(4).position(|window| window == b"\r\n\r\n").unwrap_or(output.len());
    let mut response = Response::builder();
    for line in String::from_utf8_lossy(&output[..end]).lines() {
        if let Some((name, value)) = line.split_once(": ") {
            response = match name {
                "Status" => response.status(value.split(' ').next().unwrap_or("500")),
                name => response.header(name, value),
            };
        }
    }
    let body = output.get(end + 4..).unwrap_or_default().to_vec();
    response.body(Body::from(body)).map_err(std::io::Error::other)
}
