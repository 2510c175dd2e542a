//! A bucket on a real S3 server (crate s3s-fs, over a directory), what was asked of it, and what may go wrong with it.

use std::{
    net::{IpAddr, Ipv4Addr},
    path::Path,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use axum::{
    body::Body,
    extract::{Request, State},
    http::{Method, StatusCode},
    response::{IntoResponse as _, Response},
};
use s3s::{auth::SimpleAuth, service::S3Service};
use tempfile::TempDir;
use tokio::{net::TcpListener, sync::Notify, task::JoinHandle};
use tokio_stream::StreamExt as _;

/// How a server answers other than it should.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum S3Fault {
    /// It says that it has a fault of its own.
    Fails,
    /// It does not let us in.
    Refuses,
    /// It takes a request and does not answer, until [`S3Server::go_on`].
    Stalls,
    /// It ends the connection in the middle of its answer to a GET, and in the middle of the request else.
    Cuts,
    /// It sends other bytes than it was given.
    Garbles,
}

/// A server with one bucket, `grapnel`. It stops when it is dropped.
#[derive(Debug)]
pub struct S3Server {
    shared: Arc<Shared>,
    address: std::net::SocketAddr,
    directory: TempDir,
    serving: JoinHandle<()>,
}

struct Shared {
    s3: S3Service,
    asked: Mutex<Vec<(Method, String)>>,
    fault: Mutex<Option<Spoilt>>,
    stalled: AtomicUsize,
    go_on: Notify,
}

/// Which requests are answered other than they should.
struct Spoilt {
    method: Method,
    within: String,
    /// How many of them are still answered as they should.
    passing: usize,
    fault: S3Fault,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").finish_non_exhaustive()
    }
}

impl S3Server {
    /// The bucket.
    pub const BUCKET: &str = "grapnel";

    /// The id of the access key that gets in.
    pub const ACCESS_KEY_ID: &str = "harbour";

    /// Its secret.
    pub const SECRET_ACCESS_KEY: &str = "s3cret-of-the-harbour";

    /// Starts one.
    ///
    /// # Panics
    /// It does not start.
    pub async fn start() -> Self {
        Self::start_at(Ipv4Addr::LOCALHOST.into()).await
    }

    /// Starts one on another address of this machine.
    ///
    /// # Panics
    /// As [`S3Server::start`].
    pub async fn start_at(address: IpAddr) -> Self {
        let directory = tempfile::tempdir().expect("a directory can be made");
        std::fs::create_dir(directory.path().join(Self::BUCKET)).expect("a bucket can be made");
        let files = s3s_fs::FileSystem::new(directory.path()).expect("the directory can be served");
        let mut s3 = s3s::service::S3ServiceBuilder::new(files);
        s3.set_auth(SimpleAuth::from_single(Self::ACCESS_KEY_ID, Self::SECRET_ACCESS_KEY));
        let shared = Arc::new(Shared {
            s3: s3.build(),
            asked: Mutex::default(),
            fault: Mutex::default(),
            stalled: AtomicUsize::default(),
            go_on: Notify::new(),
        });
        let listener = TcpListener::bind((address, 0)).await.expect("a port is free");
        let address = listener.local_addr().expect("it has an address");
        let router = axum::Router::new().fallback(answer).with_state(shared.clone());
        let serving = tokio::spawn(async move {
            let _ = axum::serve(listener, router).await;
        });
        Self { shared, address, directory, serving }
    }

    /// Returns its address.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Returns the settings with which a process of ours uses it, without their prefix.
    pub fn settings(&self) -> Vec<(String, String)> {
        let setting = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        vec![
            setting("ARTIFACTS_URL", &format!("s3://{}/sites", Self::BUCKET)),
            setting("ARTIFACTS_ENDPOINT", &self.endpoint()),
            setting("ARTIFACTS_ACCESS_KEY_ID", Self::ACCESS_KEY_ID),
            setting("ARTIFACTS_SECRET_ACCESS_KEY", Self::SECRET_ACCESS_KEY),
        ]
    }

    /// Returns the keys in the bucket that begin so.
    pub fn keys(&self, beginning: &str) -> Vec<String> {
        let bucket = self.directory.path().join(Self::BUCKET);
        let mut keys = Vec::new();
        collect(&bucket, &bucket, &mut keys);
        keys.retain(|key| key.starts_with(beginning));
        keys.sort();
        keys
    }

    /// Returns how often it was asked so for keys that have this in them, and forgets nothing.
    pub fn asked(&self, method: &Method, within: &str) -> usize {
        let asked = self.shared.asked.lock().unwrap_or_else(PoisonError::into_inner);
        asked.iter().filter(|(asked, key)| asked == method && key.contains(within)).count()
    }

    /// Lets answers be wrong to requests of this method for keys that have this in them.
    pub fn spoil(&self, method: Method, within: &str, fault: S3Fault) {
        self.spoil_after(0, method, within, fault);
    }

    /// Does the same from a later one of these requests on.
    pub fn spoil_after(&self, passing: usize, method: Method, within: &str, fault: S3Fault) {
        *self.shared.fault() = Some(Spoilt { method, within: within.to_owned(), passing, fault });
    }

    /// Lets all answers be right again. Who was left without an answer stays so.
    pub fn heal(&self) {
        *self.shared.fault() = None;
    }

    /// Answers the requests that were left without an answer.
    pub fn go_on(&self) {
        self.shared.go_on.notify_waiters();
    }

    /// Returns how many requests were left without an answer.
    pub fn stalled(&self) -> usize {
        self.shared.stalled.load(Ordering::Acquire)
    }
}

impl Shared {
    fn fault(&self) -> MutexGuard<'_, Option<Spoilt>> {
        self.fault.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn fault_for(&self, method: &Method, key: &str) -> Option<S3Fault> {
        let mut fault = self.fault();
        let spoilt = fault.as_mut().filter(|it| it.method == *method && key.contains(&it.within))?;
        if spoilt.passing > 0 {
            spoilt.passing -= 1;
            return None;
        }
        Some(spoilt.fault)
    }
}

impl Drop for S3Server {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn answer(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let (method, key) = (request.method().clone(), request.uri().to_string());
    shared.asked.lock().unwrap_or_else(PoisonError::into_inner).push((method.clone(), key.clone()));
    match shared.fault_for(&method, &key) {
        None => ask(&shared, request).await,
        Some(S3Fault::Fails) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
        Some(S3Fault::Refuses) => StatusCode::FORBIDDEN.into_response(),
        Some(S3Fault::Stalls) => {
            let go_on = shared.go_on.notified();
            shared.stalled.fetch_add(1, Ordering::AcqRel);
            go_on.await;
            ask(&shared, request).await
        }
        Some(S3Fault::Cuts) if method != Method::GET => {
            let _ = request.into_body().into_data_stream().next().await;
            // The task of a connection that unwinds lets go of it without a word.
            std::panic::resume_unwind(Box::new("cut"))
        }
        Some(S3Fault::Cuts) => {
            // A body that fails ends the connection.
            let broken = tokio_stream::iter([
                Ok(bytes::Bytes::from_static(b"<")),
                Err(std::io::Error::from(std::io::ErrorKind::ConnectionReset)),
            ]);
            Response::builder()
                .header("content-length", "1000")
                .header("etag", "\"0\"")
                .header("last-modified", "Thu, 01 Jan 2026 00:00:00 GMT")
                .body(Body::from_stream(broken))
                .expect("it is a response")
        }
        Some(S3Fault::Garbles) => {
            let (parts, body) = ask(&shared, request).await.into_parts();
            let body = axum::body::to_bytes(body, usize::MAX).await.expect("it can be read");
            let garbled: Vec<u8> = body.iter().map(|byte| byte ^ 1).collect();
            Response::from_parts(parts, Body::from(garbled))
        }
    }
}

async fn ask(shared: &Shared, request: Request) -> Response {
    let request = request.map(s3s::Body::http_body_unsync);
    match shared.s3.call(request).await {
        Ok(response) => response.map(Body::new),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error:?}")).into_response(),
    }
}

fn collect(bucket: &Path, directory: &Path, keys: &mut Vec<String>) {
    for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            collect(bucket, &path, keys);
        } else if let Ok(key) = path.strip_prefix(bucket) {
            keys.push(key.display().to_string());
        }
    }
}
