//! What sandboxes of the fake engine run.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use grapnel_executor::engine::{Exit, Sandbox, fake::Program};
use grapnel_run::{
    frame::{Frame, HEAD, Head, Kind, MAX_INPUT},
    message::{StepExit, StepRequest},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::UnixStream,
    process::Command,
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

pub const GONE: Exit = Exit { code: 1, out_of_memory: false };

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
