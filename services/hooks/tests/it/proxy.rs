//! A line to PostgreSQL that can be cut, and that can keep notices to itself.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

use grapnel_runtime::CancellationToken;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
};

/// The type of the message by which PostgreSQL tells a notice.
const NOTIFICATION: u8 = b'A';

/// A proxy in front of the tests' PostgreSQL.
pub struct Proxy {
    /// The database behind it.
    pub url: String,
    lines: Arc<Mutex<CancellationToken>>,
    deaf: Arc<AtomicBool>,
    whole: CancellationToken,
}

impl Proxy {
    /// Stands before the database of a URL.
    pub async fn before(url: &str) -> Self {
        let (start, rest) = url.split_once('@').unwrap();
        let (server, database) = rest.split_once('/').unwrap();
        let server: SocketAddr = server.parse().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let whole = CancellationToken::new();
        let lines = Arc::new(Mutex::new(whole.child_token()));
        let deaf = Arc::new(AtomicBool::new(false));
        let (all, keeps, over) = (lines.clone(), deaf.clone(), whole.clone());
        tokio::spawn(async move {
            while let Some(accepted) = over.run_until_cancelled(listener.accept()).await {
                let line = all.lock().unwrap().clone();
                let keeps = keeps.clone();
                let client = accepted.unwrap().0;
                tokio::spawn(async move {
                    line.run_until_cancelled(carry(client, server, keeps)).await;
                });
            }
        });
        // Without TLS, so that messages can be told apart.
        Self { url: format!("{start}@{address}/{database}?sslmode=disable"), lines, deaf, whole }
    }

    /// Cuts all lines. New ones can be made.
    pub fn cut(&self) {
        std::mem::replace(&mut *self.lines.lock().unwrap(), self.whole.child_token()).cancel();
    }

    /// Says whether notices are kept back. Everything else goes through: a line that looks alive and is dead.
    pub fn keep_notices(&self, keep: bool) {
        self.deaf.store(keep, Ordering::Relaxed);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.whole.cancel();
    }
}

async fn carry(client: TcpStream, server: SocketAddr, deaf: Arc<AtomicBool>) {
    let Ok(server) = TcpStream::connect(server).await else { return };
    let (mut from_client, to_client) = client.into_split();
    let (from_server, mut to_server) = server.into_split();
    // Whichever side ends it, both are closed.
    tokio::select! {
        _ = tokio::io::copy(&mut from_client, &mut to_server) => {}
        _ = messages(from_server, to_client, deaf) => {}
    }
}

/// Carries the server's messages: a byte that says which, its length, and what it says.
async fn messages(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    deaf: Arc<AtomicBool>,
) -> std::io::Result<()> {
    loop {
        let kind = from.read_u8().await?;
        let length = from.read_u32().await?;
        let mut message = vec![0; length as usize - 4];
        from.read_exact(&mut message).await?;
        if kind == NOTIFICATION && deaf.load(Ordering::Relaxed) {
            continue;
        }
        let mut whole = vec![kind];
        whole.extend(length.to_be_bytes());
        whole.extend(message);
        to.write_all(&whole).await?;
    }
}
