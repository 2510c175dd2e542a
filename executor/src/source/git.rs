//! The git program, so that nothing but git itself decides what it does.
//!
//! A clean environment, no prompts, no configuration but what stands here, only the transports that the one call
//! needs, never a shell, addresses and names after `--end-of-options`, a time limit, and the whole process group
//! killed when it is over.

use std::{
    ffi::{OsStr, OsString},
    io,
    path::{Path, PathBuf},
    process::{Output, Stdio},
    time::Duration,
};

use tokio::{io::AsyncReadExt as _, process::Command, time::timeout};
use tokio_util::sync::CancellationToken;

/// The most bytes that are kept of what git prints.
const OUTPUT_LIMIT: u64 = 1 << 20;

/// How long a killed call may take to be gone.
const GONE: Duration = Duration::from_secs(5);

/// The settings of calls by path, in the home directory. There alone do git's helpers see `safe.directory`.
const FILES_CONFIG: &str = "files.gitconfig";

/// What git is told at every call. The source of each: git-config(1).
const CONFIG: &[&str] = &[
    // Nothing of a repository is ever run.
    "core.hooksPath=/dev/null",
    "core.fsmonitor=false",
    "core.symlinks=true",
    // Names that other file systems would take for `.git`.
    "core.protectHFS=true",
    "core.protectNTFS=true",
    "fetch.fsckObjects=true",
    "transfer.fsckObjects=true",
    // Oddities that old tools wrote into many a good repository's history.
    "fetch.fsck.badTimezone=ignore",
    "fetch.fsck.missingSpaceBeforeDate=ignore",
    "fetch.fsck.zeroPaddedFilemode=ignore",
    "submodule.recurse=false",
    "credential.helper=",
    "http.followRedirects=initial",
    "http.lowSpeedLimit=1000",
    "http.lowSpeedTime=30",
    "gc.auto=0",
    "maintenance.auto=false",
    "safe.directory=*",
    "advice.detachedHead=false",
    "init.defaultBranch=main",
    "protocol.allow=never",
];

/// How git may reach a repository.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Not at all.
    Nothing,
    /// Over https, http and ssh; the first two by way of the SOCKS5 proxy on this port of 127.0.0.1.
    Network(u16),
    /// By path: an allowed directory, or a mirror of ours. Whose it is does not matter then.
    Files,
}

/// The git program with a home of its own.
#[derive(Clone, Debug)]
pub struct Git {
    home: PathBuf,
    ca_bundle: Option<PathBuf>,
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
pub enum GitError {
    /// It took too long.
    TimedOut,
    /// It was ended early.
    Canceled,
    /// The program cannot be run.
    Program(io::Error),
}

impl Git {
    /// Prepares the program. `home` is a directory of its own.
    ///
    /// # Errors
    /// The directory cannot be written.
    pub fn prepare(home: PathBuf, ca_bundle: Option<PathBuf>) -> io::Result<Self> {
        std::fs::create_dir_all(&home)?;
        std::fs::write(home.join(FILES_CONFIG), "[safe]\n\tdirectory = *\n")?;
        Ok(Self { home, ca_bundle })
    }

    /// Runs git in `directory` and returns what it printed and how it exited.
    ///
    /// A call that the bounds end is gone when this returns. Dropping the future kills the call, and waits for
    /// nothing.
    ///
    /// # Errors
    /// The call was ended, or there is no git.
    pub async fn run<A: AsRef<OsStr>>(
        &self,
        directory: &Path,
        reach: Reach,
        arguments: impl IntoIterator<Item = A>,
        bounds: &Bounds,
    ) -> Result<Output, GitError> {
        let mut child = self.command(directory, reach, arguments).spawn().map_err(GitError::Program)?;
        let mut group = Group(child.id());
        let mut stdout = child.stdout.take();
        let mut stderr = child.stderr.take();
        let whole = async {
            let (out, err) = tokio::join!(read(&mut stdout), read(&mut stderr));
            let status = child.wait().await?;
            Ok(Output { status, stdout: out?, stderr: err? })
        };
        let ended = tokio::select! {
            output = whole => output.map_err(GitError::Program),
            () = bounds.cancel.cancelled() => Err(GitError::Canceled),
            () = tokio::time::sleep(bounds.timeout) => Err(GitError::TimedOut),
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

    fn command<A: AsRef<OsStr>>(
        &self,
        directory: &Path,
        reach: Reach,
        arguments: impl IntoIterator<Item = A>,
    ) -> Command {
        let (allowed, transports): (&str, &[&str]) = match reach {
            Reach::Nothing => ("none", &[]),
            Reach::Network(_) => ("https:http:ssh", &["https", "http", "ssh"]),
            Reach::Files => ("file", &["file"]),
        };
        let mut command = Command::new("git");
        command.env_clear().envs(self.environment(reach, allowed)).current_dir(directory);
        for setting in CONFIG {
            command.arg("-c").arg(setting);
        }
        for transport in transports {
            command.arg("-c").arg(format!("protocol.{transport}.allow=always"));
        }
        if let Reach::Network(port) = reach {
            // The `h` lets the proxy resolve names.
            command.arg("-c").arg(format!("http.proxy=socks5h://127.0.0.1:{port}"));
        }
        command.args(arguments);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.process_group(0).kill_on_drop(true);
        command
    }

    fn environment(&self, reach: Reach, allowed: &str) -> Vec<(&'static str, OsString)> {
        let global = match reach {
            Reach::Files => self.home.join(FILES_CONFIG),
            Reach::Nothing | Reach::Network(_) => "/dev/null".into(),
        };
        let mut environment: Vec<(&'static str, OsString)> = vec![
            ("PATH", "/usr/local/bin:/usr/bin:/bin".into()),
            ("HOME", self.home.clone().into()),
            ("LANG", "C.UTF-8".into()),
            ("LC_ALL", "C".into()),
            ("GIT_TERMINAL_PROMPT", "0".into()),
            ("GIT_ASKPASS", "true".into()),
            ("GIT_CONFIG_NOSYSTEM", "1".into()),
            ("GIT_CONFIG_GLOBAL", global.into()),
            ("GIT_ALLOW_PROTOCOL", allowed.into()),
            ("GIT_SSH_COMMAND", self.ssh().into()),
            ("GIT_OPTIONAL_LOCKS", "0".into()),
        ];
        if let Some(bundle) = &self.ca_bundle {
            environment.push(("GIT_SSL_CAINFO", bundle.clone().into()));
        }
        environment
    }

    /// Returns the one text here that a shell reads, since git gives it to one: the path in it is quoted, for the
    /// shell and for ssh. The keys and the agent of whoever runs the executor are not for everybody's projects.
    fn ssh(&self) -> String {
        let known_hosts = format!("\"{}\"", self.home.join("known_hosts").display()).replace('\'', r"'\''");
        format!(
            "ssh -F/dev/null -oBatchMode=yes -oStrictHostKeyChecking=yes -oUserKnownHostsFile='{known_hosts}' \
             -oIdentitiesOnly=yes -oIdentityFile=none -oIdentityAgent=none -oConnectTimeout=30"
        )
    }
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

/// Reads to the end, so that git never waits for us, and keeps the first part.
async fn read(pipe: &mut Option<impl tokio::io::AsyncRead + Unpin>) -> io::Result<Vec<u8>> {
    let Some(pipe) = pipe else {
        return Ok(Vec::new());
    };
    let mut kept = Vec::new();
    (&mut *pipe).take(OUTPUT_LIMIT).read_to_end(&mut kept).await?;
    tokio::io::copy(pipe, &mut tokio::io::sink()).await?;
    Ok(kept)
}
