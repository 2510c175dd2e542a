//! A line between two processes that can be cut, can fall silent, and can be slow.

use std::{
    fmt,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use grapnel_runtime::CancellationToken;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
};

/// How a line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quality {
    /// It carries everything at once.
    Good,
    /// Everything that is on it is reset, and nothing gets on it.
    Cut,
    /// Nothing arrives, and neither side is told.
    Silent,
    /// Everything arrives this much later.
    Slow(Duration),
}

impl fmt::Display for Quality {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Good => f.write_str("good"),
            Self::Cut => f.write_str("cut"),
            Self::Silent => f.write_str("silent"),
            Self::Slow(late) => write!(f, "{} ms late", late.as_millis()),
        }
    }
}

/// A proxy before a port of this machine. It ends when it is dropped.
#[derive(Debug)]
pub struct Line {
    port: u16,
    quality: watch::Sender<Quality>,
    asked: Arc<AtomicUsize>,
    over: CancellationToken,
}

impl Line {
    /// Stands before a port.
    ///
    /// # Panics
    /// There is no free port.
    pub async fn before(server: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        let port = listener.local_addr().expect("it has an address").port();
        let (quality, seen) = watch::channel(Quality::Good);
        let over = CancellationToken::new();
        let asked = Arc::new(AtomicUsize::new(0));
        let line = Self { port, quality, asked: asked.clone(), over: over.clone() };
        tokio::spawn(async move {
            while let Some(Ok((client, _))) = over.run_until_cancelled(listener.accept()).await {
                asked.fetch_add(1, Ordering::SeqCst);
                let (seen, over) = (seen.clone(), over.clone());
                tokio::spawn(async move { over.run_until_cancelled(carry(client, server, seen)).await });
            }
        });
        line
    }

    /// Returns the port that it listens on.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Returns how many connections it was asked for.
    pub fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    /// Makes it better or worse.
    pub fn make(&self, quality: Quality) {
        self.quality.send_replace(quality);
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.over.cancel();
    }
}

async fn carry(client: TcpStream, server: u16, mut quality: watch::Receiver<Quality>) {
    let address = SocketAddr::from(([127, 0, 0, 1], server));
    tears(&client);
    if *quality.borrow() == Quality::Cut {
        return;
    }
    let Ok(server) = TcpStream::connect(address).await else { return };
    tears(&server);
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let (there, back) = (quality.clone(), quality.clone());
    tokio::select! {
        () = pass(from_client, to_server, there) => {}
        () = pass(from_server, to_client, back) => {}
        _ = quality.wait_for(|quality| *quality == Quality::Cut) => {}
    }
}

/// Carries one direction until either end is closed.
async fn pass(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut quality: watch::Receiver<Quality>) {
    let mut buffer = vec![0; 16 * 1024];
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        if quality.wait_for(|quality| *quality != Quality::Silent).await.is_err() {
            return;
        }
        let late = match *quality.borrow() {
            Quality::Slow(late) => late,
            Quality::Good | Quality::Cut | Quality::Silent => Duration::ZERO,
        };
        tokio::time::sleep(late).await;
        if to.write_all(&buffer[..length]).await.is_err() {
            return;
        }
    }
}

/// Has the other side told, when the connection is dropped, that it was reset, and not that it has ended.
fn tears(stream: &TcpStream) {
    let _ = stream.set_zero_linger();
}
