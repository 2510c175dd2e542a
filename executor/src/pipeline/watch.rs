//! Watches what a build writes to disk.

use std::{path::PathBuf, time::Duration};

use grapnel_domain::failure::{Failure, FailureCode};
use tokio::time::Instant;

use crate::disk;

/// How often to ask how much room is left, which costs nothing.
const EVERY: Duration = Duration::from_millis(250);

/// How long to rest between two looks at the files, compared with how long looking takes, while room is left as before.
const REST: u32 = 3;

/// What has to stay free for everybody else on the file system.
const RESERVE: u64 = 512 << 20;

/// Returns when the directories together pass the limit, or the disk runs out of room.
///
/// To look at every file takes long in a large workspace. The room that is left on the file system says at once when
/// the limit may have been passed; only then, and now and then, are the files looked at.
pub async fn too_much_on_disk(directories: Vec<PathBuf>, limit: u64) -> Failure {
    let room = || directories.first().and_then(|directory| disk::free(directory)).unwrap_or(u64::MAX);
    loop {
        let began = Instant::now();
        let before = room();
        let mut bytes = 0;
        for directory in &directories {
            match disk::usage(directory).await {
                Ok(used) => bytes += used,
                // Of the executor itself, and perhaps soon over.
                Err(error) if error.raw_os_error().is_some() => {
                    tracing::warn!(%error, "what a build wrote cannot be counted now");
                }
                Err(error) => {
                    return over_the_limit(&format!("what the build wrote cannot be counted: {error}"));
                }
            }
        }
        if bytes > limit {
            return over_the_limit(&format!(
                "the build wrote more to disk than the {limit} bytes that are allowed"
            ));
        }
        let rest = Instant::now() + Duration::from_secs(1).max(began.elapsed() * REST);
        let left = limit - bytes;
        while Instant::now() < rest && before.saturating_sub(room()) <= left {
            if room() < RESERVE {
                return Failure::new(FailureCode::ExecutorDiskFull, "the executor's disk is full");
            }
            tokio::time::sleep(EVERY).await;
        }
    }
}

fn over_the_limit(message: &str) -> Failure {
    Failure::new(FailureCode::DiskLimit, message)
}
