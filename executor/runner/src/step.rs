//! Runs one step and leaves nothing of it behind.

use std::{
    fs,
    io::{self, Read},
    os::unix::process::CommandExt as _,
    process::{Command, Stdio},
    sync::Arc,
    thread,
    time::Duration,
};

use grapnel_run::{
    frame::{Kind, MAX_OUTPUT},
    message::{StepExit, StepRequest},
};
use rustix::process::{
    Pid, Signal, WaitOptions, WaitStatus, getpid, kill_process, kill_process_group, wait, waitpid,
};

use crate::outbox::Outbox;

/// What `sh` says when a command is not there; also ours when there is no `sh`.
const NOT_FOUND: i32 = 127;

/// How many times strays are looked for. A build that forks faster than it is killed stays until its sandbox ends.
const SWEEPS: u32 = 50;

/// Runs a step to its end, with its output and its exit as frames.
pub fn run(request: StepRequest, outbox: &Arc<Outbox>) {
    let before = cpu_ms();
    let mut exit = match start_and_wait(request, outbox) {
        Ok(exit) => exit,
        Err(error) => {
            outbox.push(Kind::Stderr, format!("the step cannot be started: {error}\n").into_bytes());
            StepExit { code: NOT_FOUND, ..StepExit::default() }
        }
    };
    exit.cpu_ms = cpu_ms().saturating_sub(before);
    exit.peak_memory = peak_memory();
    outbox.push(Kind::Exited, exit.encode());
}

fn start_and_wait(request: StepRequest, outbox: &Arc<Outbox>) -> io::Result<StepExit> {
    let mut child = Command::new("/bin/sh")
        .arg("-c")
        .arg(&request.command)
        .current_dir(&request.directory)
        .envs(request.environment)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn()?;
    let pid = Pid::from_child(&child);
    let readers = [
        child.stdout.take().map(|pipe| forward(pipe, Kind::Stdout, outbox.clone())),
        child.stderr.take().map(|pipe| forward(pipe, Kind::Stderr, outbox.clone())),
    ];
    let exit = reap_until(pid)?;
    // What the step left behind holds its pipes open. With it gone the readers come to their end by themselves,
    // and the last line is never lost, however short before the exit it was printed.
    kill_strays(pid);
    for reader in readers.into_iter().flatten() {
        let _ = reader.join();
    }
    Ok(exit)
}

fn forward(mut pipe: impl Read + Send + 'static, kind: Kind, outbox: Arc<Outbox>) -> thread::JoinHandle<()> {
    thread::spawn(move || {
        let mut buffer = vec![0; MAX_OUTPUT / 2];
        loop {
            match pipe.read(&mut buffer) {
                Ok(0) => return,
                Ok(length) => outbox.push(kind, buffer[..length].to_vec()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return,
            }
        }
    })
}

/// Waits for the step's own process, and reaps everything else that ends meanwhile: as the first process of a
/// sandbox the runner inherits all orphans.
fn reap_until(step: Pid) -> io::Result<StepExit> {
    loop {
        let ended = if is_first_process() {
            wait(WaitOptions::empty())
        } else {
            waitpid(Some(step), WaitOptions::empty())
        };
        match ended {
            Ok(Some((pid, status))) if pid == step => return Ok(exit_of(status)),
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

fn exit_of(status: WaitStatus) -> StepExit {
    let signal = status.terminating_signal().unwrap_or(0);
    let code = status.exit_status().unwrap_or(128 + signal);
    StepExit { code, signal, ..StepExit::default() }
}

fn kill_strays(step: Pid) {
    if !is_first_process() {
        let _ = kill_process_group(step, Signal::KILL);
        return;
    }
    for _ in 0..SWEEPS {
        let others = other_processes();
        if others.is_empty() {
            return;
        }
        for pid in others {
            let _ = kill_process(pid, Signal::KILL);
        }
        while let Ok(Some(_)) = wait(WaitOptions::NOHANG) {}
        pause(Duration::from_millis(2));
    }
}

fn other_processes() -> Vec<Pid> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter_map(Pid::from_raw)
        .filter(|pid| *pid != getpid())
        .collect()
}

fn is_first_process() -> bool {
    getpid() == Pid::INIT
}

#[expect(clippy::disallowed_methods, reason = "a program of threads has nothing else to wait with")]
pub fn pause(time: Duration) {
    thread::sleep(time);
}

/// CPU time of all children that were waited for: fields 16 and 17 of proc(5)'s stat, in ticks of 1/100 s.
fn cpu_ms() -> u64 {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let after_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    after_name.split_whitespace().skip(13).take(2).filter_map(|field| field.parse::<u64>().ok()).sum::<u64>()
        * 10
}

/// The highest memory use of the sandbox, from either version of the kernel's control groups.
fn peak_memory() -> u64 {
    ["/sys/fs/cgroup/memory.peak", "/sys/fs/cgroup/memory/memory.max_usage_in_bytes"]
        .iter()
        .find_map(|path| fs::read_to_string(path).ok()?.trim().parse().ok())
        .unwrap_or(0)
}
