//! The same command in the same container, by Docker's own client.

use std::{
    io::{BufRead as _, BufReader},
    process::{Child, Stdio},
    time::Instant,
};

use anyhow::{Context as _, Result, ensure};

use super::lines::{Seen, command};
use crate::container::{IMAGE, docker};

/// Runs the command in a container whose log the engine keeps, and follows that log.
pub fn docker_logs(lines: usize) -> Result<(Instant, Instant)> {
    let made = docker(&["run", "--detach"]).args([IMAGE, "sh", "-c", &command(lines, 0)]).output()?;
    ensure!(made.status.success(), "docker run failed: {}", String::from_utf8_lossy(&made.stderr));
    let id = String::from_utf8(made.stdout)?.trim().to_owned();
    let mut follow = std::process::Command::new("docker");
    let seen = see(follow.args(["logs", "--follow", &id]).stdout(Stdio::piped()).spawn()?, lines);
    let removed = std::process::Command::new("docker").args(["rm", "--force", &id]).output()?;
    ensure!(removed.status.success(), "the container cannot be removed");
    seen
}

/// Runs the command in a container and reads what the client passes on.
pub fn docker_run(lines: usize) -> Result<(Instant, Instant)> {
    let mut run = docker(&["run", "--rm", "--log-driver=none"]);
    see(run.args([IMAGE, "sh", "-c", &command(lines, 0)]).stdout(Stdio::piped()).spawn()?, lines)
}

fn see(mut child: Child, lines: usize) -> Result<(Instant, Instant)> {
    let mut seen = Seen::default();
    let mut reader = BufReader::with_capacity(1 << 16, child.stdout.take().context("it is piped")?);
    let mut line = String::new();
    while reader.read_line(&mut line)? > 0 {
        seen.take(line.trim_end_matches('\n'))?;
        line.clear();
    }
    ensure!(child.wait()?.success(), "Docker's client failed");
    seen.all(lines)
}
