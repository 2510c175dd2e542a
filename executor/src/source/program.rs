//! Programs that are run for sources: git, and what OpenSSH has beside it.
//!
//! Each with an environment that is given whole, nothing to read from, bounded output, a time limit, and the whole
//! process group killed when it is over.

use std::{
    ffi::OsString,
    io,
    path::PathBuf,
    process::{Output, Stdio},
    time::Duration,
};

use tokio::{
    io::AsyncReadExt as _,
    process::{Child, Command},
    time::timeout,
};
use tokio_util::sync::CancellationToken;

/// The most bytes that are kept of what a program prints.
pub const OUTPUT_LIMIT: u64 = 1 << 20;

/// How long a killed call may take to be gone.
const GONE: Duration = Duration::from_secs(5);

/// Where programs are looked for.
pub const PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// One call of a program.
#[derive(Clone, Debug)]
pub struct Call {
    /// Which.
    pub program: &'static str,
    /// What it is told. Nothing secret: every process of the machine can read it.
    pub arguments: Vec<OsString>,
    /// All of its environment. Nothing secret either.
    pub environment: Vec<(&'static str, OsString)>,
    /// Where it runs.
    pub directory: PathBuf,
}

/// What limits one call.
#[derive(Clone, Debug)]
pub struct Bounds {
    /// How long it may take.
    pub timeout: Duration,
    /// Ends it early.
    pub cancel: CancellationToken,
}

/// Why a call has no output.
#[derive(Debug)]
pub enum ProgramError {
    /// It took longer than this.
    TimedOut(Duration),
    /// It was ended early.
    Canceled,
    /// The program cannot be run.
    Program(io::Error),
}

impl Call {
    /// Runs the program and returns what it printed and how it exited.
    ///
    /// A call that the bounds end is gone when this returns. Dropping the future kills the call, and waits for
    /// nothing.
    ///
    /// # Errors
    /// The call was ended, or there is no such program.
    pub async fn run(self, bounds: &Bounds) -> Result<Output, ProgramError> {
        let mut child = self.spawn().map_err(ProgramError::Program)?;
        let mut group = Group(child.id());
        let mut stdout = child.stdout.take();
        let mut stderr = child.stderr.take();
        let whole = async {
            let (out, err) = tokio::join!(read(&mut stdout), read(&mut stderr));
            let status = child.wait().await?;
            Ok(Output { status, stdout: out?, stderr: err? })
        };
        let ended = tokio::select! {
            output = whole => output.map_err(ProgramError::Program),
            () = bounds.cancel.cancelled() => Err(ProgramError::Canceled),
            () = tokio::time::sleep(bounds.timeout) => Err(ProgramError::TimedOut(bounds.timeout)),
        };
        if ended.is_ok() {
            // Its number may be another's from now on.
            group.0 = None;
        } else {
            drop(group);
            // Helpers hold the pipe: it ends when the last of them does, and the directory is at rest.
            let _ = timeout(GONE, async { tokio::join!(child.wait(), read(&mut stderr)) }).await;
        }
        ended
    }

    fn spawn(self) -> io::Result<Child> {
        let mut command = Command::new(self.program);
        command.args(self.arguments).env_clear().envs(self.environment).current_dir(self.directory);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.process_group(0).kill_on_drop(true);
        command.spawn()
    }
}

/// Puts a text between single quotes, for the one shell that git itself gives a text of ours to.
pub fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// Kills a process group when dropped: git starts helpers, and they have to go with it.
struct Group(Option<u32>);

impl Drop for Group {
    fn drop(&mut self) {
        let pid = self.0.and_then(|id| i32::try_from(id).ok()).and_then(rustix::process::Pid::from_raw);
        if let Some(pid) = pid {
            // The group is gone already after a call that went well.
            let _ = rustix::process::kill_process_group(pid, rustix::process::Signal::KILL);
        }
    }
}

/// Reads to the end, so that a program never waits for us, and keeps the first part.
async fn read(pipe: &mut Option<impl tokio::io::AsyncRead + Unpin>) -> io::Result<Vec<u8>> {
    let Some(pipe) = pipe else {
        return Ok(Vec::new());
    };
    let mut kept = Vec::new();
    (&mut *pipe).take(OUTPUT_LIMIT).read_to_end(&mut kept).await?;
    tokio::io::copy(pipe, &mut tokio::io::sink()).await?;
    Ok(kept)
}
