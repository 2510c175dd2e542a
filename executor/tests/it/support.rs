//! What sandboxes of the fake engine run.

use std::{
    process::Stdio,
    sync::{Arc, Mutex},
    time::Duration,
};

use futures_util::future::BoxFuture;
use grapnel_executor::engine::{Exit, Sandbox, fake::Program};
use grapnel_run::{
    frame::{Frame, HEAD, Head, Kind, MAX_INPUT},
    message::{StepExit, StepRequest},
};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        UnixStream,
        unix::{OwnedReadHalf, OwnedWriteHalf},
    },
    process::Command,
    sync::Notify,
    task::JoinSet,
};

/// The runner's end of the line, as the fake engine's sandboxes have it.
pub struct Runner {
    stream: UnixStream,
    workspace: String,
    pub sent: u64,
}

impl Runner {
    pub async fn connect(sandbox: &Sandbox) -> Self {
        let mut stream = UnixStream::connect(&sandbox.command[1]).await.unwrap();
        let hello = Frame { number: 0, kind: Kind::Hello, payload: Vec::new() };
        stream.write_all(&hello.encode()).await.unwrap();
        Self { stream, workspace: sandbox.working_dir.clone(), sent: 0 }
    }

    pub async fn next_step(&mut self) -> Option<StepRequest> {
        loop {
            let mut head = [0; HEAD];
            self.stream.read_exact(&mut head).await.ok()?;
            let head = Head::decode(&head, MAX_INPUT).unwrap();
            let mut payload = vec![0; head.length];
            self.stream.read_exact(&mut payload).await.ok()?;
            if head.kind == Kind::Step {
                return Some(StepRequest::decode(&payload).unwrap());
            }
        }
    }

    pub async fn send(&mut self, kind: Kind, payload: &[u8]) {
        self.sent += 1;
        let frame = Frame { number: self.sent, kind, payload: payload.to_owned() };
        let _ = self.stream.write_all(&frame.encode()).await;
    }

    /// Runs a step for real, in the workspace as it is on this machine.
    pub async fn obey(&mut self, step: &StepRequest) {
        let output = Command::new("sh")
            .args(["-c", &step.command])
            .envs(step.environment.iter().cloned())
            .current_dir(&self.workspace)
            .kill_on_drop(true)
            .output()
            .await
            .unwrap();
        for (kind, bytes) in [(Kind::Stdout, &output.stdout), (Kind::Stderr, &output.stderr)] {
            if !bytes.is_empty() {
                self.send(kind, bytes).await;
            }
        }
        let exit = StepExit { code: output.status.code().unwrap_or(255), ..StepExit::default() };
        self.send(Kind::Exited, &exit.encode()).await;
    }
}

pub fn program<F: Future<Output = Exit> + Send + 'static>(play: fn(Sandbox) -> F) -> Program {
    Arc::new(move |sandbox, _| {
        let playing: BoxFuture<'static, Exit> = Box::pin(play(sandbox));
        Ok(playing)
    })
}

pub const GONE: Exit = Exit { code: 1, out_of_memory: false, taken_away: None };

/// Does what a runner does.
pub fn obedient() -> Program {
    program(|sandbox| async move {
        let mut runner = Runner::connect(&sandbox).await;
        while let Some(step) = runner.next_step().await {
            runner.obey(&step).await;
        }
        GONE
    })
}

/// Does what a runner does when its line breaks too: connects again, and sends what was not acknowledged.
pub fn lasting() -> Program {
    program(|sandbox| async move {
        let outbox = Arc::new(Outbox::default());
        let (mut steps, mut last_step) = (JoinSet::new(), 0);
        loop {
            if let Ok(stream) = UnixStream::connect(&sandbox.command[1]).await {
                let (mut reader, mut writer) = stream.into_split();
                let hello = Frame { number: 0, kind: Kind::Hello, payload: Vec::new() };
                let _ = writer.write_all(&hello.encode()).await;
                let mut sending: JoinSet<()> = JoinSet::new();
                if let Some((head, _)) = next_frame(&mut reader).await {
                    assert_eq!(head.kind, Kind::Ack);
                    outbox.acknowledge(head.number);
                    sending.spawn(outbox.clone().send_after(head.number, writer));
                }
                while let Some((head, payload)) = next_frame(&mut reader).await {
                    if head.kind == Kind::Ack {
                        outbox.acknowledge(head.number);
                    } else if head.number > last_step {
                        last_step = head.number;
                        let step = StepRequest::decode(&payload).unwrap();
                        steps.spawn(run_step(step, sandbox.working_dir.clone(), outbox.clone()));
                    }
                }
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
}

async fn next_frame(from: &mut OwnedReadHalf) -> Option<(Head, Vec<u8>)> {
    let mut head = [0; HEAD];
    from.read_exact(&mut head).await.ok()?;
    let head = Head::decode(&head, MAX_INPUT).unwrap();
    let mut payload = vec![0; head.length];
    from.read_exact(&mut payload).await.ok()?;
    Some((head, payload))
}

/// What was not acknowledged.
#[derive(Default)]
struct Outbox {
    frames: Mutex<(u64, Vec<Frame>)>,
    more: Notify,
}

impl Outbox {
    fn push(&self, kind: Kind, payload: Vec<u8>) {
        let mut frames = self.frames.lock().unwrap();
        frames.0 += 1;
        let number = frames.0;
        frames.1.push(Frame { number, kind, payload });
        self.more.notify_waiters();
    }

    fn acknowledge(&self, number: u64) {
        self.frames.lock().unwrap().1.retain(|frame| frame.number > number);
    }

    async fn send_after(self: Arc<Self>, mut sent: u64, mut to: OwnedWriteHalf) {
        loop {
            let more = self.more.notified();
            let frames: Vec<_> =
                self.frames.lock().unwrap().1.iter().filter(|frame| frame.number > sent).cloned().collect();
            for frame in &frames {
                assert_eq!(frame.number, sent + 1, "it was acknowledged before it was safe");
                if to.write_all(&frame.encode()).await.is_err() {
                    return;
                }
                sent = frame.number;
            }
            if frames.is_empty() {
                more.await;
            }
        }
    }
}

async fn run_step(step: StepRequest, workspace: String, outbox: Arc<Outbox>) {
    let mut command = Command::new("sh");
    command.args(["-c", &step.command]).envs(step.environment).current_dir(workspace).kill_on_drop(true);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let (stdout, stderr) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
    tokio::join!(
        forward(stdout, Kind::Stdout, outbox.clone()),
        forward(stderr, Kind::Stderr, outbox.clone())
    );
    let code = child.wait().await.unwrap().code().unwrap_or(255);
    outbox.push(Kind::Exited, StepExit { code, ..StepExit::default() }.encode());
}

async fn forward(mut pipe: impl AsyncRead + Unpin, kind: Kind, outbox: Arc<Outbox>) {
    let mut buffer = vec![0; 4096];
    while let Ok(length @ 1..) = pipe.read(&mut buffer).await {
        outbox.push(kind, buffer[..length].to_vec());
    }
}
