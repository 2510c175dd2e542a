//! An endpoint that hears events: it remembers all of them, and answers as the test says.

use std::{
    collections::{BTreeMap, VecDeque},
    io::Write as _,
    net::SocketAddr,
    process::{Command, Stdio},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use axum::{
    Router,
    body::{Body, to_bytes},
    extract::{Request, State},
    http::Response,
};
use serde_json::{Value, json};
use tokio::{sync::Semaphore, task::JoinHandle};

use crate::told;

/// Lets the official library of another language look at a request.
const VERIFY: &str = include_str!("../data/verify_webhook.py");

/// How long events are waited for.
const PATIENCE: Duration = Duration::from_secs(60);

/// One request that was received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    /// Its path.
    pub path: String,
    /// Its headers by their names in lower case.
    pub headers: BTreeMap<String, String>,
    /// Its body.
    pub body: String,
}

/// How a request is answered.
#[derive(Clone, Debug)]
pub struct Reply {
    status: u16,
    headers: Vec<(&'static str, String)>,
    body: String,
    held: bool,
}

/// A receiver on a free port of 127.0.0.1. It ends when dropped.
#[derive(Debug)]
pub struct Receiver {
    address: SocketAddr,
    shared: Arc<Shared>,
    serving: JoinHandle<()>,
}

#[derive(Debug)]
struct Shared {
    received: Mutex<Vec<Received>>,
    replies: Mutex<VecDeque<Reply>>,
    gate: Semaphore,
}

impl Reply {
    /// Answers with a status.
    pub fn status(status: u16) -> Self {
        Self { status, headers: Vec::new(), body: String::new(), held: false }
    }

    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: &'static str, value: &str) -> Self {
        self.headers.push((name, value.to_owned()));
        self
    }

    /// Sets the body.
    #[must_use]
    pub fn body(mut self, body: &str) -> Self {
        body.clone_into(&mut self.body);
        self
    }

    /// Waits with the answer until the receiver lets it go.
    #[must_use]
    pub fn held(mut self) -> Self {
        self.held = true;
        self
    }
}

impl Receiver {
    /// Begins to listen.
    ///
    /// # Panics
    /// No port is free.
    pub async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        let address = listener.local_addr().expect("it has an address");
        let shared = Arc::new(Shared {
            received: Mutex::default(),
            replies: Mutex::default(),
            gate: Semaphore::new(0),
        });
        let router = Router::new().fallback(hear).with_state(shared.clone());
        let serving = tokio::spawn(async move {
            let _ = axum::serve(listener, router).await;
        });
        Self { address, shared, serving }
    }

    /// Returns its address.
    pub fn url(&self) -> String {
        format!("http://{}/events", self.address)
    }

    /// Returns its port.
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// Says how the next request is answered that nothing was said about yet; the others are answered 204.
    pub fn reply(&self, reply: Reply) {
        self.shared.replies.lock().unwrap_or_else(PoisonError::into_inner).push_back(reply);
    }

    /// Lets one answer go that is held, or will be.
    pub fn let_go(&self) {
        self.shared.gate.add_permits(1);
    }

    /// Returns what was received so far.
    pub fn received(&self) -> Vec<Received> {
        self.shared.received.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits until so many requests were received, and returns them.
    ///
    /// # Panics
    /// They do not come.
    pub async fn until(&self, count: usize) -> Vec<Received> {
        let begun = Instant::now();
        loop {
            let received = self.received();
            if received.len() >= count {
                return received;
            }
            assert!(begun.elapsed() < PATIENCE, "{} of {count} events came: {received:#?}", received.len());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Received {
    /// Returns a header; empty where there is none.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }

    /// Returns the body as JSON.
    ///
    /// # Panics
    /// It is none.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).expect("an event's body is JSON")
    }

    /// Returns the type of the event.
    pub fn kind(&self) -> String {
        self.json()["type"].as_str().expect("an event has a type").to_owned()
    }

    /// Lets the official library verify it, as a receiver whose clock says what the try's timestamp says.
    ///
    /// # Errors
    /// It does not; with the library's words.
    ///
    /// # Panics
    /// The library cannot be asked.
    pub fn verify(&self, secret: &str) -> Result<Value, String> {
        let now: i64 = self.header("webhook-timestamp").parse().expect("a try has a time");
        let asked = json!({ "secret": secret, "now": now, "headers": self.headers, "body": self.body });
        let mut python = Command::new(told("GRAPNEL_TEST_STANDARDWEBHOOKS"))
            .args(["-c", VERIFY])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the interpreter runs");
        let mut stdin = python.stdin.take().expect("it was asked for");
        stdin.write_all(asked.to_string().as_bytes()).expect("it reads");
        drop(stdin);
        let output = python.wait_with_output().expect("it ends");
        if output.status.success() {
            return Ok(serde_json::from_slice(&output.stdout).expect("it says what was told"));
        }
        Err(String::from_utf8_lossy(&output.stderr).trim().to_owned())
    }
}

async fn hear(State(shared): State<Arc<Shared>>, request: Request) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let body = to_bytes(body, 1 << 20).await.expect("a body can be read");
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("what is sent is text");
    let headers =
        parts.headers.iter().map(|(name, value)| (name.to_string(), text(value.as_bytes()))).collect();
    let received = Received { path: parts.uri.to_string(), headers, body: text(&body) };
    let reply = {
        // Both at once, so that the n-th that is remembered gets the n-th reply.
        let mut replies = shared.replies.lock().unwrap_or_else(PoisonError::into_inner);
        shared.received.lock().unwrap_or_else(PoisonError::into_inner).push(received);
        replies.pop_front().unwrap_or_else(|| Reply::status(204))
    };
    if reply.held {
        let permit = shared.gate.acquire().await;
        permit.expect("the gate is never closed").forget();
    }
    let mut response = Response::builder().status(reply.status);
    for (name, value) in reply.headers {
        response = response.header(name, value);
    }
    response.body(Body::from(reply.body)).expect("a test's answer is one")
}
