//! What a database needs while it is used.

use std::{path::PathBuf, time::Duration};

use grapnel_runtime::CancellationToken;
use sea_orm::{ConnectionTrait as _, DatabaseConnection, DbErr, Statement};

use super::{Store, StoreError};

/// How often SQLite's write-ahead log is looked at.
const LOOK: Duration = Duration::from_secs(60);

/// From how many bytes on the log is emptied where nobody is in the way.
const EMPTIED_FROM: u64 = 16 << 20;

/// From how many bytes on somebody reads for too long.
const TOO_LONG: u64 = 512 << 20;

impl Store {
    /// Keeps SQLite's write-ahead log short, until it is stopped. What is read while it grows keeps it from shrinking, so a log
    /// that does not shrink is told of. PostgreSQL sees to itself.
    pub async fn keep_log_short(self, stopping: CancellationToken) {
        if self.is_shared() {
            return;
        }
        let shorten = async {
            loop {
                tokio::time::sleep(LOOK).await;
                if let Err(error) = self.shorten_log(EMPTIED_FROM).await {
                    tracing::warn!(%error, "the write-ahead log of the database cannot be shortened now");
                }
            }
        };
        stopping.run_until_cancelled(async { tokio::join!(shorten, self.bring_log_home()) }).await;
    }

    /// Brings the log home beside the writer, again and again while it grows: what a burst writes has not to be waited for by
    /// who comes next. Only the writer can begin the log anew, and finds little left to do.
    async fn bring_log_home(&self) {
        loop {
            self.wakeups.wait_for_log().await;
            if let Err(error) = checkpoint(&self.reader, "PASSIVE").await {
                tracing::debug!(%error, "the write-ahead log is brought home later");
            }
        }
    }

    /// Empties SQLite's write-ahead log where it has at least so many bytes and nobody reads from it; returns how long it is
    /// then.
    ///
    /// # Errors
    /// The database fails.
    pub async fn shorten_log(&self, from: u64) -> Result<u64, StoreError> {
        let Some(log) = self.log() else {
            return Ok(0);
        };
        let length = || std::fs::metadata(&log).map_or(0, |found| found.len());
        if length() < from {
            return Ok(length());
        }
        // This one waits for nobody and tells how much of the log could be brought home: busy, pages in it, pages done.
        if checkpoint(&self.writer, "PASSIVE").await? {
            checkpoint(&self.writer, "TRUNCATE").await?;
        }
        if length() >= TOO_LONG {
            tracing::warn!(
                log = %log.display(),
                bytes = length(),
                "the write-ahead log of the database does not shrink: somebody reads from it without an end"
            );
        }
        Ok(length())
    }

    /// Where SQLite's write-ahead log is.
    pub(super) fn log(&self) -> Option<PathBuf> {
        self.file.as_ref().map(|file| {
            let mut log = file.clone().into_os_string();
            log.push("-wal");
            log.into()
        })
    }
}

/// Brings the log home; returns whether all of it is.
async fn checkpoint(by: &DatabaseConnection, how: &str) -> Result<bool, DbErr> {
    let pragma = format!("PRAGMA wal_checkpoint({how})");
    let answer = by.query_one_raw(Statement::from_string(by.get_database_backend(), pragma)).await?;
    let answer = answer.ok_or_else(|| DbErr::RecordNotFound("the checkpoint".to_owned()))?;
    let (busy, pages, done): (i32, i32, i32) =
        (answer.try_get_by_index(0)?, answer.try_get_by_index(1)?, answer.try_get_by_index(2)?);
    Ok(busy == 0 && pages == done)
}
