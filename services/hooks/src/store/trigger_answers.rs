//! Triggers that were stored are answered when what was stored is on the disk.
//!
//! PostgreSQL's commit says so by itself. SQLite's does with `synchronous = FULL`, and its one writer does nothing else until
//! the log is on the disk. So what stores triggers commits with the log written, and leaves it to a thread to bring it to the
//! disk and to answer all whose transactions it has, while the next ones are stored. A power cut may take what nobody was
//! answered for; others may have seen it for the moment that it was in the log alone.

use std::{
    fs::{self, File},
    io,
    os::unix::fs::{FileExt as _, MetadataExt as _},
    path::{Path, PathBuf},
    thread,
};

use tokio::sync::mpsc;

use super::{
    Store, StoreError,
    trigger_batches::{Waiting, answer_all, given_up},
    triggers::Triggered,
};

/// How many batches wait for the disk at most. Where it is slower than what is stored, that waits.
const BATCHES: usize = 16;

/// A batch that was stored, with what each of its triggers has come to.
type Batch = Vec<(Waiting, Option<Triggered>)>;

/// Where stored triggers are answered.
pub(super) struct Answers {
    /// What has to be brought to the disk first, where a commit has not done so.
    disk: Option<mpsc::Sender<Batch>>,
}

impl Answers {
    /// Begins to answer; ends when it is dropped and all were answered.
    pub fn begin(store: &Store) -> Result<Self, StoreError> {
        let Some(path) = store.log() else {
            return Ok(Self { disk: None });
        };
        let (disk, batches) = mpsc::channel(BATCHES);
        let (log, wakeups) = (Log::of(path), store.wakeups.clone());
        // What is in memory of a log that did not reach the disk can still be brought home, and then the log begins anew.
        let answering = move || answer_from_the_disk(log, batches, || wakeups.log());
        thread::Builder::new()
            .name("answers".to_owned())
            .spawn(answering)
            .map_err(|error| given_up(&format!("no thread can be started: {error}")))?;
        Ok(Self { disk: Some(disk) })
    }

    /// Answers a batch; waits only where many are to be answered.
    pub async fn answer(&self, batch: Batch) {
        match &self.disk {
            None => answer(batch),
            // It ends after this does.
            Some(disk) => drop(disk.send(batch).await),
        }
    }
}

fn answer(batch: Batch) {
    for (waiting, triggered) in batch {
        waiting.answer(Ok(triggered));
    }
}

/// Brings the log to the disk for all batches that are in it, and answers them.
fn answer_from_the_disk(mut log: Log, mut batches: mpsc::Receiver<Batch>, failed: impl Fn()) {
    while let Some(first) = batches.blocking_recv() {
        let mut stored = vec![first];
        stored.extend(std::iter::from_fn(|| batches.try_recv().ok()));
        match log.bring_to_disk() {
            Ok(()) => stored.into_iter().for_each(answer),
            Err(error) => {
                let error = format!("{}: it cannot be brought to the disk: {error}", log.path.display());
                let mut stored: Vec<_> = stored.into_iter().flatten().map(|(waiting, _)| waiting).collect();
                answer_all(&mut stored, given_up(&error));
                failed();
            }
        }
    }
}

/// SQLite's write-ahead log, beside its connections. They lock the database and the index of its log, and never the log itself, so
/// that it may be opened and closed here.
struct Log {
    path: PathBuf,
    /// The file that was found there last, and its number.
    known: Option<(File, u64)>,
    /// The run of the log that the disk has not taken whole.
    refused: Option<Run>,
}

/// What a log's header says of all frames that follow it: salts that SQLite changes whenever it begins at the front again,
/// after all of them were brought home. <https://www.sqlite.org/fileformat2.html#walformat>
type Run = [u8; 8];

/// Where in the header they are.
const RUN_AT: u64 = 16;

impl Log {
    fn of(path: PathBuf) -> Self {
        Self { path, known: None, refused: None }
    }

    /// Brings to the disk what the log holds by now.
    ///
    /// Where the kernel could not write a page once, it takes it for written from then on, and says of the file that all is
    /// well. So what the log holds is not on the disk after that, whatever is asked, until the log begins anew.
    fn bring_to_disk(&mut self) -> io::Result<()> {
        let number = match fs::metadata(&self.path) {
            Ok(found) => found.ino(),
            // SQLite removes it when all of it was brought home.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error),
        };
        let file = match self.known.take() {
            Some((file, known)) if known == number => file,
            _ => {
                File::open(self.path.parent().unwrap_or(Path::new(".")))?.sync_all()?;
                File::open(&self.path)?
            }
        };
        if self.refused.is_some() && self.refused == run(&file)? {
            return Err(io::Error::other(
                "the disk has refused it before, and the log has not begun anew since",
            ));
        }
        if let Err(error) = file.sync_data() {
            self.refused = run(&file)?;
            return Err(error);
        }
        self.refused = None;
        self.known = Some((file, number));
        Ok(())
    }
}

/// The run of a log; none where all was brought home and nothing has been written since.
fn run(log: &File) -> io::Result<Option<Run>> {
    let mut run = Run::default();
    match log.read_exact_at(&mut run, RUN_AT) {
        Ok(()) => Ok(Some(run)),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_that_was_replaced_is_found_again_and_one_that_is_gone_was_brought_home() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("grapnel.db-wal");
        let mut log = Log::of(path.clone());
        log.bring_to_disk().unwrap();
        assert!(log.known.is_none());
        let mut numbers = Vec::new();
        for _ in 0..2 {
            // Beside the old one, so that it gets another number.
            let new = directory.path().join("new");
            fs::write(&new, "frames").unwrap();
            fs::rename(&new, &path).unwrap();
            for _ in 0..2 {
                log.bring_to_disk().unwrap();
                let (_, number) = log.known.as_ref().unwrap();
                assert_eq!(*number, fs::metadata(&path).unwrap().ino());
                numbers.push(*number);
            }
        }
        numbers.dedup();
        assert_eq!(numbers.len(), 2);
    }

    #[test]
    fn what_the_disk_has_refused_once_is_not_believed_before_the_log_begins_anew() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("grapnel.db-wal");
        let (mut log, mut header) = (Log::of(path.clone()), [0; 32]);
        fs::write(&path, header).unwrap();
        log.bring_to_disk().unwrap();
        log.refused = Some(Run::default());
        for _ in 0..2 {
            let error = log.bring_to_disk().unwrap_err().to_string();
            assert!(error.contains("has not begun anew"), "{error}");
        }
        header[RUN_AT as usize] = 1;
        fs::write(&path, header).unwrap();
        for _ in 0..2 {
            log.bring_to_disk().unwrap();
        }
    }
}
