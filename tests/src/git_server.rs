//! A git server over smart HTTP: git's own `http-backend` behind a real listener, well-behaved or not.

use std::{
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Stdio,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use axum::{
    Router,
    body::{Body, Bytes, to_bytes},
    extract::{Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header},
};
use base64::Engine as _;
use futures_util::StreamExt as _;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    net::TcpListener,
    process::{Child, Command},
};
use tokio_util::{io::ReaderStream, sync::DropGuard};

/// The largest request that is taken: what a client says it wants and has.
const REQUEST_LIMIT: usize = 16 << 20;

/// How a server answers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Behaviour {
    /// As git's own server does.
    #[default]
    Normal,
    /// Wants this user and password.
    Password {
        /// The user.
        user: String,
        /// The password.
        password: String,
    },
    /// Answers everything with this status.
    Status(u16),
    /// Sends everybody somewhere else.
    Redirect(String),
    /// Takes the request and never answers.
    Silent,
    /// Breaks the connection after so many bytes of a pack.
    CutAfter(usize),
}

/// A running server. It stops when dropped.
#[derive(Debug)]
pub struct GitHttpServer {
    address: SocketAddr,
    shared: Arc<Shared>,
    _stop: DropGuard,
}

#[derive(Debug)]
struct Shared {
    root: PathBuf,
    behaviour: Mutex<Behaviour>,
    requests: AtomicUsize,
}

impl GitHttpServer {
    /// Serves the repositories below a directory, on a free port of the loopback interface.
    ///
    /// # Errors
    /// No port is free.
    pub async fn start(root: &Path) -> io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            root: root.to_owned(),
            behaviour: Mutex::default(),
            requests: AtomicUsize::default(),
        });
        let app = Router::new().fallback(answer).with_state(shared.clone());
        let stop = tokio_util::sync::CancellationToken::new();
        let stopped = stop.clone();
        tokio::spawn(async move {
            tokio::select! {
                _ = axum::serve(listener, app) => {}
                () = stopped.cancelled() => {}
            }
        });
        Ok(Self { address, shared, _stop: stop.drop_guard() })
    }

    /// Returns the address of a repository below the root.
    pub fn url(&self, repository: &str) -> String {
        format!("http://{}/{repository}", self.address)
    }

    /// Changes how the server answers from now on.
    pub fn behave(&self, behaviour: Behaviour) {
        *self.shared.behaviour.lock().unwrap_or_else(PoisonError::into_inner) = behaviour;
    }

    /// Returns how many requests have come.
    pub fn requests(&self) -> usize {
        self.shared.requests.load(Ordering::SeqCst)
    }
}

async fn answer(State(shared): State<Arc<Shared>>, request: Request) -> Response<Body> {
    shared.requests.fetch_add(1, Ordering::SeqCst);
    let behaviour = shared.behaviour.lock().unwrap_or_else(PoisonError::into_inner).clone();
    match behaviour {
        Behaviour::Normal => serve(&shared.root, request, usize::MAX).await,
        Behaviour::Password { user, password } if !shows(request.headers(), &user, &password) => {
            let challenge = HeaderValue::from_static("Basic realm=\"git\"");
            let mut response = plain(StatusCode::UNAUTHORIZED);
            response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
            response
        }
        Behaviour::Password { .. } => serve(&shared.root, request, usize::MAX).await,
        Behaviour::Status(status) => plain(StatusCode::from_u16(status).unwrap_or_default()),
        Behaviour::Redirect(target) => redirect(&target, &request),
        Behaviour::Silent => std::future::pending().await,
        Behaviour::CutAfter(bytes) => serve(&shared.root, request, bytes).await,
    }
}

fn shows(headers: &HeaderMap, user: &str, password: &str) -> bool {
    let wanted = base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"));
    let given = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    given == Some(&format!("Basic {wanted}"))
}

fn plain(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Body::from(status.to_string()));
    *response.status_mut() = status;
    response
}

fn redirect(target: &str, request: &Request) -> Response<Body> {
    let rest = request.uri().path_and_query().map_or("/", |path| path.as_str());
    let mut response = plain(StatusCode::FOUND);
    if let Ok(location) = format!("{target}{rest}").parse() {
        response.headers_mut().insert(header::LOCATION, location);
    }
    response
}

/// Runs git's CGI program for one request; see git-http-backend(1).
async fn serve(root: &Path, request: Request, cut_after: usize) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let Ok(body) = to_bytes(body, REQUEST_LIMIT).await else {
        return plain(StatusCode::PAYLOAD_TOO_LARGE);
    };
    let text = |name: HeaderName| {
        parts.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned()
    };
    let mut command = Command::new("git");
    command.arg("http-backend").env_clear().envs([
        ("PATH", "/usr/local/bin:/usr/bin:/bin".to_owned()),
        ("GIT_PROJECT_ROOT", root.to_string_lossy().into_owned()),
        ("GIT_HTTP_EXPORT_ALL", "1".to_owned()),
        ("GIT_PROTOCOL", text(HeaderName::from_static("git-protocol"))),
        ("REQUEST_METHOD", parts.method.to_string()),
        ("PATH_INFO", parts.uri.path().to_owned()),
        ("QUERY_STRING", parts.uri.query().unwrap_or_default().to_owned()),
        ("CONTENT_TYPE", text(header::CONTENT_TYPE)),
        ("CONTENT_LENGTH", body.len().to_string()),
        ("HTTP_CONTENT_ENCODING", text(header::CONTENT_ENCODING)),
    ]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true);
    let is_pack = parts.uri.path().ends_with("/git-upload-pack");
    let limit = if is_pack { cut_after } else { usize::MAX };
    match command.spawn() {
        Ok(child) => relay(child, body, limit).await.unwrap_or_else(|_| plain(StatusCode::BAD_GATEWAY)),
        Err(_) => plain(StatusCode::INTERNAL_SERVER_ERROR),
    }
}

async fn relay(mut child: Child, body: Bytes, limit: usize) -> io::Result<Response<Body>> {
    let (Some(mut stdin), Some(stdout)) = (child.stdin.take(), child.stdout.take()) else {
        return Err(io::ErrorKind::BrokenPipe.into());
    };
    tokio::spawn(async move { stdin.write_all(&body).await });
    let mut stdout = BufReader::new(stdout);
    let mut response = Response::new(Body::empty());
    loop {
        let mut line = String::new();
        stdout.read_line(&mut line).await?;
        let Some((name, value)) = line.trim_end().split_once(": ") else {
            break;
        };
        if name == "Status" {
            let code = value.split(' ').next().and_then(|code| code.parse().ok());
            *response.status_mut() = code.unwrap_or(StatusCode::BAD_GATEWAY);
        } else if let (Ok(name), Ok(value)) = (name.parse::<HeaderName>(), value.parse()) {
            response.headers_mut().insert(name, value);
        }
    }
    let mut sent = 0;
    let pieces = ReaderStream::new(stdout).map(move |piece| {
        // The child lives as long as its output is read.
        let _ = &child;
        sent += piece.as_ref().map_or(0, Bytes::len);
        if sent > limit { Err(io::ErrorKind::ConnectionReset.into()) } else { piece }
    });
    *response.body_mut() = Body::from_stream(pieces);
    Ok(response)
}
