//! A git host that behaves as a test wants it: it keeps what it has heard, also while it is dead.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use grapnel_runtime::CancellationToken;
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::watch,
};

/// What one request said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heard {
    pub path: String,
    pub authorization: String,
    pub commit: String,
    pub context: String,
    pub state: String,
    pub description: String,
    pub page: String,
}

/// How a request is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reply {
    /// It is heard.
    Ok,
    /// It is not heard: this status, and `Retry-After` where there is one.
    Refuse(u16, Option<u64>),
    /// It is never answered; it may have been heard.
    Silent { heard: bool },
    /// It is not answered, and heard when [`GitHost::hear_late`] is called.
    Late,
}

type Behaviour = Box<dyn FnMut(&Heard) -> Reply + Send>;

struct Inner {
    behaviour: Behaviour,
    heard: Vec<Heard>,
    late: Vec<Heard>,
}

/// The host.
#[derive(Clone)]
pub struct GitHost {
    address: SocketAddr,
    inner: Arc<Mutex<Inner>>,
    asked: Arc<watch::Sender<usize>>,
    alive: Arc<Mutex<CancellationToken>>,
}

impl GitHost {
    pub async fn start(behaviour: impl FnMut(&Heard) -> Reply + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let inner = Inner { behaviour: Box::new(behaviour), heard: Vec::new(), late: Vec::new() };
        let host = Self {
            address: listener.local_addr().unwrap(),
            inner: Arc::new(Mutex::new(inner)),
            asked: Arc::new(watch::channel(0).0),
            alive: Arc::default(),
        };
        host.serve(listener);
        host
    }

    /// Returns where its interface begins.
    pub fn api_base(&self) -> String {
        format!("http://{}/api/v1", self.address)
    }

    /// Answers differently from now on.
    pub fn behave(&self, behaviour: impl FnMut(&Heard) -> Reply + Send + 'static) {
        self.inner.lock().unwrap().behaviour = Box::new(behaviour);
    }

    /// Returns what it has heard, in order.
    pub fn heard(&self) -> Vec<Heard> {
        self.inner.lock().unwrap().heard.clone()
    }

    /// Returns the states that it has heard of a commit, in order.
    pub fn states_of(&self, commit: &str) -> Vec<String> {
        self.heard().into_iter().filter(|it| it.commit == commit).map(|it| it.state).collect()
    }

    /// Hears what came and was not answered.
    pub fn hear_late(&self) {
        let mut inner = self.inner.lock().unwrap();
        let late = std::mem::take(&mut inner.late);
        inner.heard.extend(late);
    }

    /// Returns how often it was asked.
    pub fn asked(&self) -> usize {
        *self.asked.borrow()
    }

    /// Waits until it was asked so often.
    pub async fn asked_for(&self, times: usize) {
        let mut asked = self.asked.subscribe();
        let waited = asked.wait_for(|asked| *asked >= times);
        tokio::time::timeout(Duration::from_secs(60), waited).await.expect("it was not asked").unwrap();
    }

    /// Dies: its port is closed, and so is every connection.
    pub fn kill(&self) {
        self.alive.lock().unwrap().cancel();
    }

    /// Lives again, at the same address.
    pub async fn revive(&self) {
        *self.alive.lock().unwrap() = CancellationToken::new();
        self.serve(TcpListener::bind(self.address).await.unwrap());
    }

    fn serve(&self, listener: TcpListener) {
        let (host, alive) = (self.clone(), self.alive.lock().unwrap().clone());
        tokio::spawn(async move {
            while let Some(Ok((stream, _))) = alive.run_until_cancelled(listener.accept()).await {
                let (host, alive) = (host.clone(), alive.clone());
                tokio::spawn(async move { alive.run_until_cancelled(host.answer(stream)).await });
            }
        });
    }

    async fn answer(&self, mut stream: TcpStream) {
        let Some(heard) = read(&mut stream).await else { return };
        let reply = {
            let mut inner = self.inner.lock().unwrap();
            let reply = (inner.behaviour)(&heard);
            match reply {
                Reply::Ok | Reply::Silent { heard: true } => inner.heard.push(heard),
                Reply::Late => inner.late.push(heard),
                Reply::Refuse(..) | Reply::Silent { heard: false } => {}
            }
            reply
        };
        self.asked.send_modify(|asked| *asked += 1);
        let (status, retry_after) = match reply {
            Reply::Ok => (201, None),
            Reply::Refuse(status, retry_after) => (status, retry_after),
            Reply::Silent { .. } | Reply::Late => return std::future::pending().await,
        };
        let retry_after = retry_after.map(|it| format!("Retry-After: {it}\r\n")).unwrap_or_default();
        let answer =
            format!("HTTP/1.1 {status} X\r\nConnection: close\r\nContent-Length: 2\r\n{retry_after}\r\n{{}}");
        let _ = stream.write_all(answer.as_bytes()).await;
        let _ = stream.shutdown().await;
    }
}

async fn read(stream: &mut TcpStream) -> Option<Heard> {
    let mut bytes = Vec::new();
    loop {
        if let Some(heard) = parse(&bytes) {
            return Some(heard);
        }
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    }
}

fn parse(bytes: &[u8]) -> Option<Heard> {
    let text = std::str::from_utf8(bytes).ok()?;
    let (head, body) = text.split_once("\r\n\r\n")?;
    let header = |wanted: &str| {
        let mut lines = head.lines().filter_map(|line| line.split_once(": "));
        lines.find(|(name, _)| name.eq_ignore_ascii_case(wanted)).map(|(_, value)| value.to_owned())
    };
    let length: usize = header("content-length")?.parse().ok()?;
    if body.len() < length {
        return None;
    }
    let json: Value = serde_json::from_str(body).ok()?;
    let field = |name: &str| json[name].as_str().unwrap_or_default().to_owned();
    let path = head.split(' ').nth(1)?.to_owned();
    Some(Heard {
        commit: path.rsplit('/').next()?.to_owned(),
        path,
        authorization: header("authorization").unwrap_or_default(),
        context: field("context"),
        state: field("state"),
        description: field("description"),
        page: field("target_url"),
    })
}
