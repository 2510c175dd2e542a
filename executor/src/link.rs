//! The executor's end of the line to a sandbox's runner.
//!
//! What comes in comes from a hostile place: lengths, kinds and numbers are checked, one connection is heard at a
//! time, and nothing is read faster than it is taken. A connection that breaks is made again by the runner, which
//! then sends what was not acknowledged.

use std::{fs, io, os::unix::fs::PermissionsExt as _, path::Path, time::Duration};

use grapnel_domain::event::Stream;
use grapnel_run::{
    frame::{Frame, HEAD, Head, Kind, MAX_OUTPUT},
    message::{StepExit, StepRequest},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::{UnixListener, UnixStream},
    time::timeout,
};

/// The name of the socket in an attempt's link directory.
pub const SOCKET: &str = "socket";

/// How long a runner may take to connect, first or again.
const CONNECT: Duration = Duration::from_secs(30);

/// How many frames may stay unacknowledged. Well below what the runner keeps, so that it never has to wait.
const ACKNOWLEDGE_EVERY: u64 = 16;

/// Why the line failed.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// The runner did not connect in time.
    #[error("the sandbox's runner did not connect within {} s", CONNECT.as_secs())]
    NotConnected,
    /// What came was not what a runner sends.
    #[error("the sandbox sent what its runner never sends: {0}")]
    Nonsense(&'static str),
    /// The socket cannot be used.
    #[error("the sandbox's socket cannot be used: {0}")]
    Io(#[from] io::Error),
}

/// Takes what a step prints, as it comes. Slow takers slow the step down.
pub trait Output {
    /// Takes bytes of one stream.
    fn take(&mut self, stream: Stream, bytes: &[u8]) -> impl Future<Output = ()> + Send;
}

/// The line to one runner.
#[derive(Debug)]
pub struct Link {
    listener: UnixListener,
    connection: Option<BufReader<UnixStream>>,
    received: u64,
    acknowledged: u64,
    step: u64,
}

impl Link {
    /// Listens in a directory that only this attempt has.
    ///
    /// # Errors
    /// The socket cannot be made; its path may have 107 bytes at most.
    pub fn listen(directory: &Path) -> io::Result<Self> {
        let path = directory.join(SOCKET);
        let listener = UnixListener::bind(&path)?;
        // The sandbox's user is another one; who may enter the directory decides.
        fs::set_permissions(&path, fs::Permissions::from_mode(0o666))?;
        Ok(Self { listener, connection: None, received: 0, acknowledged: 0, step: 0 })
    }

    /// Waits until the runner is there.
    ///
    /// # Errors
    /// It does not come in time.
    pub async fn connected(&mut self) -> Result<(), LinkError> {
        if self.connection.is_none() {
            let greeted = timeout(CONNECT, self.accept()).await.map_err(|_| LinkError::NotConnected)?;
            self.connection = Some(greeted?);
        }
        Ok(())
    }

    /// Runs a step and returns how it ended. What it prints goes to `output` in order, whatever breaks meanwhile.
    ///
    /// # Errors
    /// The runner is gone for longer than it may be, or is none.
    pub async fn run_step(
        &mut self,
        step: &StepRequest,
        output: &mut impl Output,
    ) -> Result<StepExit, LinkError> {
        self.step += 1;
        let request = Frame { number: self.step, kind: Kind::Step, payload: step.encode() };
        loop {
            self.connected().await?;
            match self.attend(&request, output).await {
                Ok(exit) => return Ok(exit),
                Err(LinkError::Io(error)) => {
                    tracing::debug!(%error, "the line to the sandbox broke");
                    self.connection = None;
                }
                Err(error) => return Err(error),
            }
        }
    }

    async fn accept(&mut self) -> Result<BufReader<UnixStream>, LinkError> {
        let (stream, _) = self.listener.accept().await?;
        let mut stream = BufReader::with_capacity(MAX_OUTPUT, stream);
        let (head, _) = read(&mut stream).await?;
        if head.kind != Kind::Hello {
            return Err(LinkError::Nonsense("no greeting"));
        }
        acknowledge(&mut stream, self.received).await?;
        self.acknowledged = self.received;
        Ok(stream)
    }

    /// Sends the step (again, on a new connection: the runner knows what it has) and reads until it has ended.
    async fn attend(&mut self, request: &Frame, output: &mut impl Output) -> Result<StepExit, LinkError> {
        let Some(connection) = self.connection.as_mut() else {
            return Err(LinkError::NotConnected);
        };
        connection.write_all(&request.encode()).await?;
        loop {
            let (head, payload) = read(connection).await?;
            if head.number <= self.received {
                continue;
            }
            if head.number != self.received + 1 {
                return Err(LinkError::Nonsense("a frame out of order"));
            }
            self.received = head.number;
            match head.kind {
                Kind::Stdout => output.take(Stream::Stdout, &payload).await,
                Kind::Stderr => output.take(Stream::Stderr, &payload).await,
                Kind::Exited => {
                    acknowledge(connection, self.received).await?;
                    self.acknowledged = self.received;
                    return StepExit::decode(&payload)
                        .map_err(|_| LinkError::Nonsense("an exit that is none"));
                }
                Kind::Hello | Kind::Step | Kind::Ack => {
                    return Err(LinkError::Nonsense("a frame of another kind"));
                }
            }
            if self.received - self.acknowledged >= ACKNOWLEDGE_EVERY {
                acknowledge(connection, self.received).await?;
                self.acknowledged = self.received;
            }
        }
    }
}

async fn read(from: &mut BufReader<UnixStream>) -> Result<(Head, Vec<u8>), LinkError> {
    let mut head = [0; HEAD];
    from.read_exact(&mut head).await?;
    let head = Head::decode(&head, MAX_OUTPUT).map_err(|_| LinkError::Nonsense("a frame that is none"))?;
    let mut payload = vec![0; head.length];
    from.read_exact(&mut payload).await?;
    Ok((head, payload))
}

async fn acknowledge(to: &mut BufReader<UnixStream>, number: u64) -> io::Result<()> {
    to.write_all(&Frame { number, kind: Kind::Ack, payload: Vec::new() }.encode()).await
}
