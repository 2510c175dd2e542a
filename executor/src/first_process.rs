//! The first process of a sandbox, taken hold of from outside.
//!
//! With it the kernel ends all that runs in its PID namespace, and it is not over before those are. So to kill it, and to see it
//! end, says at once what an engine says when it comes to it: nothing of the build runs any more.

use std::{fs, os::fd::OwnedFd};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal},
};
use tokio::net::UnixStream;

/// How long a killed process may take to end: one that waits for a disk does not hear.
const ENDS: Timespec = Timespec { tv_sec: 5, tv_nsec: 0 };

/// A process that is the first of its PID namespace.
#[derive(Debug)]
pub struct FirstProcess(OwnedFd);

impl FirstProcess {
    /// Takes hold of whoever is at the other end of a connection. None where that is not to be seen from here, or is not the
    /// first process of one namespace below ours: a build could be behind it that goes on without it.
    pub fn behind(connection: &UnixStream) -> Option<Self> {
        let pid = connection.peer_cred().ok()?.pid().filter(|pid| *pid > 1)?;
        let held = pidfd_open(Pid::from_raw(pid)?, PidfdFlags::empty()).ok()?;
        let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        if !is_first_of_its_own(&status) {
            return None;
        }
        // What was read is of the process that is held: it has not ended, so nobody else has its number.
        pidfd_send_signal(&held, Signal::CONT).ok()?;
        Some(Self(held))
    }

    /// Kills it. Tells whether it is over, and with it all that ran beside it.
    pub async fn kill(&self) -> bool {
        match pidfd_send_signal(&self.0, Signal::KILL) {
            Ok(()) => self.is_over_soon().await,
            Err(rustix::io::Errno::SRCH) => true,
            Err(_) => false,
        }
    }

    async fn is_over_soon(&self) -> bool {
        let Ok(held) = self.0.try_clone() else { return false };
        let ended = move || poll(&mut [PollFd::new(&held, PollFlags::IN)], Some(&ENDS));
        matches!(tokio::task::spawn_blocking(ended).await, Ok(Ok(1)))
    }
}

/// Tells whether a process's status says that it has two numbers: one here, and 1 in a namespace of its own.
fn is_first_of_its_own(status: &str) -> bool {
    let numbers = status.lines().find_map(|line| line.strip_prefix("NSpid:"));
    let numbers: Vec<_> = numbers.into_iter().flat_map(str::split_whitespace).collect();
    matches!(numbers[..], [_, "1"])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_first_process_of_one_namespace_below_ours_is_taken_for_a_sandbox() {
        for (status, is_first) in [
            ("Name:\tgrapnel-run\nNSpid:\t4711\t1\nSeccomp:\t2\n", true),
            ("NSpid:\t4711\n", false),
            ("NSpid:\t4711\t7\n", false),
            // A namespace that a build has made in its own.
            ("NSpid:\t4711\t7\t1\n", false),
            ("Name:\tNSpid:\t1\t1\n", false),
            ("", false),
        ] {
            assert_eq!(is_first_of_its_own(status), is_first, "{status}");
        }
    }

    #[tokio::test]
    async fn a_process_of_our_own_namespace_is_left_alone() {
        let (one, _other) = UnixStream::pair().unwrap();
        assert!(FirstProcess::behind(&one).is_none());
    }
}
