//! Watches what a build writes to disk.

use std::{path::PathBuf, time::Duration};

use grapnel_domain::failure::{Failure, FailureCode};
use tokio::time::Instant;

use crate::disk;

/// How often to look at least, and how long to rest compared with how long looking takes.
const EVERY: Duration = Duration::from_secs(1);
const REST: u32 = 5;

/// What has to stay free for everybody else on the file system.
const RESERVE: u64 = 512 << 20;

/// Returns when the directories together pass the limit, or the disk runs out of room.
pub async fn too_much_on_disk(directories: Vec<PathBuf>, limit: u64) -> Failure {
    loop {
        let began = Instant::now();
        let mut bytes = 0;
        for directory in &directories {
            bytes += disk::usage(directory).await;
        }
        if bytes > limit {
            let message = format!("the build wrote more to disk than the {limit} bytes that are allowed");
            return Failure::new(FailureCode::DiskLimit, message);
        }
        if directories.first().and_then(|directory| disk::free(directory)).is_some_and(|free| free < RESERVE)
        {
            return Failure::new(FailureCode::ExecutorDiskFull, "the executor's disk is full");
        }
        tokio::time::sleep(EVERY.max(began.elapsed() * REST)).await;
    }
}
