//! A git server over smart HTTP: git's own `http-backend` behind a small CGI, with private repositories, and with
//! large files beside them.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    process::Stdio,
    sync::{Arc, Mutex, PoisonError},
};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::{Request, State},
    http::{HeaderMap, Response, StatusCode},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use tokio::{io::AsyncWriteExt as _, process::Command, sync::watch, task::JoinHandle};

use crate::LfsStore;

/// A server of all repositories below a directory. It ends when dropped.
#[derive(Debug)]
pub struct GitServer {
    address: SocketAddr,
    shared: Arc<Shared>,
    serving: JoinHandle<()>,
}

#[derive(Debug)]
struct Shared {
    root: PathBuf,
    lfs: LfsStore,
    guards: Mutex<HashMap<String, Guard>>,
    shown: Mutex<Vec<String>>,
    held: watch::Sender<bool>,
}

/// Who may read a repository.
#[derive(Clone, Debug)]
enum Guard {
    /// Who shows this in `Authorization`.
    Basic(String),
    /// Nobody: the repository is as if it were not there.
    Hidden,
}

impl GitServer {
    /// Serves what is below `root`, on a free port of 127.0.0.1.
    ///
    /// # Errors
    /// No port is free.
    pub async fn start(root: &Path) -> std::io::Result<Self> {
        Self::start_at(root, Ipv4Addr::LOCALHOST.into()).await
    }

    /// Does the same on another address of this machine.
    ///
    /// # Errors
    /// As [`GitServer::start`].
    pub async fn start_at(root: &Path, address: IpAddr) -> std::io::Result<Self> {
        let listener = tokio::net::TcpListener::bind((address, 0)).await?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            root: root.to_owned(),
            lfs: LfsStore::new(format!("http://{address}")),
            guards: Mutex::default(),
            shown: Mutex::default(),
            held: watch::Sender::new(false),
        });
        let router = Router::new().fallback(serve).with_state(shared.clone());
        let serving = tokio::spawn(async move {
            let _ = axum::serve(listener, router).await;
        });
        Ok(Self { address, shared, serving })
    }

    /// Returns the address of a repository by its name below the root.
    pub fn url(&self, name: &str) -> String {
        format!("http://{}/{name}/.git", self.address)
    }

    /// Returns the origin of all its repositories.
    pub fn origin(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Lets only those read a repository who show a user and a token; others are answered 401.
    pub fn protect(&self, name: &str, user: &str, token: &str) {
        let wanted = format!("Basic {}", STANDARD.encode(format!("{user}:{token}")));
        self.guard(name, Guard::Basic(wanted));
    }

    /// Hides a repository: it is answered 404, whoever asks.
    pub fn hide(&self, name: &str) {
        self.guard(name, Guard::Hidden);
    }

    /// Returns what stood in `Authorization` of all requests so far, where it stood there.
    pub fn shown(&self) -> Vec<String> {
        self.shared.shown.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Lets every request for objects wait until [`GitServer::release`].
    pub fn hold(&self) {
        self.shared.held.send_replace(true);
    }

    /// Answers the requests that wait.
    pub fn release(&self) {
        self.shared.held.send_replace(false);
    }

    /// Returns its large files.
    pub fn lfs(&self) -> &LfsStore {
        &self.shared.lfs
    }

    fn guard(&self, name: &str, guard: Guard) {
        let mut guards = self.shared.guards.lock().unwrap_or_else(PoisonError::into_inner);
        guards.insert(name.to_owned(), guard);
    }
}

impl Drop for GitServer {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Shared {
    /// Says no where a repository is not for whoever asks.
    fn refusal(&self, path: &str, headers: &HeaderMap) -> Option<Response<Body>> {
        let shown = headers.get("authorization").and_then(|value| value.to_str().ok());
        let mut all = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        all.extend(shown.map(ToOwned::to_owned));
        let name = path.trim_start_matches('/').split("/.git").next().unwrap_or_default();
        let guards = self.guards.lock().unwrap_or_else(PoisonError::into_inner);
        match guards.get(name)? {
            Guard::Basic(wanted) if shown == Some(wanted) => None,
            Guard::Basic(_) => {
                let mut response = status(StatusCode::UNAUTHORIZED);
                let challenge = axum::http::HeaderValue::from_static("Basic realm=\"Git\"");
                response.headers_mut().insert("www-authenticate", challenge);
                Some(response)
            }
            Guard::Hidden => Some(status(StatusCode::NOT_FOUND)),
        }
    }
}

async fn serve(State(shared): State<Arc<Shared>>, request: Request) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let path = parts.uri.path().to_owned();
    // Objects of large files have addresses of their own, which need no more than they say.
    if let Some(refusal) = shared.refusal(&path, &parts.headers) {
        return refusal;
    }
    let sent = axum::body::to_bytes(body, 64 << 20).await.unwrap_or_default();
    if path.contains("/info/lfs/") || path.starts_with(LfsStore::OBJECTS) {
        return shared.lfs.answer(parts.method.as_str(), &path, &parts.headers, &sent).await;
    }
    if path.ends_with("/git-upload-pack") {
        let _ = shared.held.subscribe().wait_for(|held| !held).await;
    }
    let header =
        |name: &str| parts.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or("").to_owned();
    let mut command = Command::new("git");
    command
        .arg("http-backend")
        .env("GIT_PROJECT_ROOT", &shared.root)
        .env("GIT_HTTP_EXPORT_ALL", "1")
        .env("GIT_CONFIG_COUNT", "1")
        .env("GIT_CONFIG_KEY_0", "safe.directory")
        .env("GIT_CONFIG_VALUE_0", "*")
        .env("PATH_INFO", path)
        .env("QUERY_STRING", parts.uri.query().unwrap_or_default())
        .env("REQUEST_METHOD", parts.method.as_str())
        .env("CONTENT_TYPE", header("content-type"))
        .env("HTTP_CONTENT_ENCODING", header("content-encoding"))
        .env("GIT_PROTOCOL", header("git-protocol"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    answer(command, sent).await.unwrap_or_else(|_| status(StatusCode::INTERNAL_SERVER_ERROR))
}

fn status(code: StatusCode) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = code;
    response
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
