//! The executor's end of the line to a sandbox's runner.
//!
//! What comes in comes from a hostile place: lengths, kinds and numbers are checked, one connection is heard at a
//! time, and nothing is read faster than it is taken. A connection that breaks is made again by the runner, which
//! then sends what was not acknowledged; and only what somebody has written down is.

use std::{fs, io, os::unix::fs::PermissionsExt as _, path::Path, time::Duration};

use crate::first_process::FirstProcess;
use grapnel_domain::event::Stream;
use grapnel_run::{
    frame::{Frame, HEAD, Head, Kind, MAX_OUTPUT},
    message::{StepExit, StepRequest},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::{
        UnixListener,
        unix::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
    time::timeout,
};

/// The name of the socket in an attempt's link directory.
pub const SOCKET: &str = "socket";

/// How long a runner may take to connect, first or again.
pub const CONNECT: Duration = Duration::from_secs(30);

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
    /// Takes bytes of one stream, from one frame.
    fn take(&mut self, frame: u64, stream: Stream, bytes: &[u8]) -> impl Future<Output = ()> + Send;

    /// Returns what says up to which frame everything is in safe hands, so that the runner may forget it.
    fn kept(&self) -> watch::Receiver<u64>;
}

/// The line to one runner.
#[derive(Debug)]
pub struct Link {
    listener: UnixListener,
    connection: Option<Connection>,
    /// The last frame that came.
    received: u64,
    /// The last frame of which it is known that it is in safe hands.
    kept: u64,
    /// The step that was sent last.
    step: u64,
    first_process: Option<FirstProcess>,
}

#[derive(Debug)]
struct Connection {
    reader: BufReader<OwnedReadHalf>,
    writer: OwnedWriteHalf,
}

impl Link {
    /// Listens in a directory that only this attempt has.
    ///
    /// # Errors
    /// The socket cannot be made; its path may have 107 bytes at most.
    pub fn listen(directory: &Path) -> io::Result<Self> {
        Self::listen_again(directory, 0, 0)
    }

    /// Listens in the place of a process that has ended: it had sent `steps`, and frames up to `kept` were in safe hands. A
    /// runner that connects waits until it is asked for something.
    ///
    /// # Errors
    /// As [`Link::listen`].
    pub fn listen_again(directory: &Path, kept: u64, steps: u64) -> io::Result<Self> {
        let path = directory.join(SOCKET);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(&path)?;
        // The sandbox's user is another one; who may enter the directory decides.
        fs::set_permissions(&path, fs::Permissions::from_mode(0o666))?;
        Ok(Self { listener, connection: None, received: kept, kept, step: steps, first_process: None })
    }

    /// Returns the number of the last frame that came.
    pub fn received(&self) -> u64 {
        self.received
    }

    /// Returns the runner as a process, where it was there and can be taken hold of.
    pub fn first_process(&self) -> Option<&FirstProcess> {
        self.first_process.as_ref()
    }

    /// Waits until the runner is there, however long it takes.
    ///
    /// # Errors
    /// It is none, or the socket fails.
    pub async fn greeted(&mut self) -> Result<(), LinkError> {
        if self.connection.is_none() {
            self.connection = Some(self.accept().await?);
        }
        Ok(())
    }

    /// Waits until the runner is there that has begun.
    ///
    /// # Errors
    /// As [`Link::greeted`], and it does not come in time.
    pub async fn connected(&mut self) -> Result<(), LinkError> {
        timeout(CONNECT, self.greeted()).await.map_err(|_| LinkError::NotConnected)?
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

    async fn accept(&mut self) -> Result<Connection, LinkError> {
        let (stream, _) = self.listener.accept().await?;
        if self.first_process.is_none() {
            self.first_process = FirstProcess::behind(&stream);
        }
        let (reader, mut writer) = stream.into_split();
        let mut reader = BufReader::with_capacity(MAX_OUTPUT, reader);
        let (head, _) = read(&mut reader).await?;
        if head.kind != Kind::Hello {
            return Err(LinkError::Nonsense("no greeting"));
        }
        acknowledge(&mut writer, self.kept).await?;
        Ok(Connection { reader, writer })
    }

    /// Sends the step (again, on a new connection: the runner knows what it has) and reads until it has ended.
    async fn attend(&mut self, request: &Frame, output: &mut impl Output) -> Result<StepExit, LinkError> {
        let Some(Connection { reader, writer }) = self.connection.as_mut() else {
            return Err(LinkError::NotConnected);
        };
        writer.write_all(&request.encode()).await?;
        let kept = output.kept();
        tokio::select! {
            exit = hear(reader, &mut self.received, output) => exit,
            never = acknowledge_what_is_kept(writer, &mut self.kept, kept) => match never {},
        }
    }
}

/// Takes frames to the end of the step. The last one is in safe hands when somebody has written down how it ended.
async fn hear(
    from: &mut BufReader<OwnedReadHalf>,
    received: &mut u64,
    output: &mut impl Output,
) -> Result<StepExit, LinkError> {
    loop {
        let (head, payload) = read(from).await?;
        if head.number <= *received {
            continue;
        }
        if head.number != *received + 1 {
            return Err(LinkError::Nonsense("a frame out of order"));
        }
        *received = head.number;
        match head.kind {
            Kind::Stdout => output.take(head.number, Stream::Stdout, &payload).await,
            Kind::Stderr => output.take(head.number, Stream::Stderr, &payload).await,
            Kind::Exited => {
                return StepExit::decode(&payload).map_err(|_| LinkError::Nonsense("an exit that is none"));
            }
            Kind::Hello | Kind::Step | Kind::Ack => {
                return Err(LinkError::Nonsense("a frame of another kind"));
            }
        }
    }
}

/// Lets the runner forget what is in safe hands, for as long as it is heard: whoever hears it finds out that it is gone.
async fn acknowledge_what_is_kept(
    to: &mut OwnedWriteHalf,
    acknowledged: &mut u64,
    mut kept: watch::Receiver<u64>,
) -> std::convert::Infallible {
    loop {
        let now = *kept.borrow_and_update();
        if now > *acknowledged {
            *acknowledged = now;
            if acknowledge(to, now).await.is_err() {
                break;
            }
        }
        if kept.changed().await.is_err() {
            break;
        }
    }
    std::future::pending().await
}

async fn read(from: &mut BufReader<OwnedReadHalf>) -> Result<(Head, Vec<u8>), LinkError> {
    let mut head = [0; HEAD];
    from.read_exact(&mut head).await?;
    let head = Head::decode(&head, MAX_OUTPUT).map_err(|_| LinkError::Nonsense("a frame that is none"))?;
    let mut payload = vec![0; head.length];
    from.read_exact(&mut payload).await?;
    Ok((head, payload))
}

async fn acknowledge(to: &mut OwnedWriteHalf, number: u64) -> io::Result<()> {
    to.write_all(&Frame { number, kind: Kind::Ack, payload: Vec::new() }.encode()).await
}
