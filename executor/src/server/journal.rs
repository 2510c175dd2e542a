//! The journal of an attempt: what has happened in it, written down before anybody is told.
//!
//! One file for each attempt, `<deployment>-<attempt>`, to which is only ever added. It begins with [`HEAD`], which names
//! the form, and goes on with records: the length of the payload (4 bytes), the CRC-32 of kind and payload (4), the kind
//! (1), the payload as JSON. Integers are little-endian. A record that is cut or does not match its checksum is where the
//! file ends: what wrote it died in the middle of it.
//!
//! What was written outlives the process, however that ends. It is brought to the disk when the attempt ends, before
//! anybody is told so, and not with each record: a machine that goes down ends its sandboxes too, so that all it can cost
//! is the last seconds of the log of an attempt that is lost anyway.
//!
//! Events come masked; of a build's variables and credentials nothing is written here.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, ErrorKind, Read as _, Seek as _, SeekFrom, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use chrono::{DateTime, Utc};
use grapnel_domain::{build::AttemptId, event::BuildEvent};
use grapnel_runtime::crash_point;
use serde::{Deserialize, Serialize, de::IgnoredAny};

use crate::pipeline::{
    recorder::{Progress, Record, What},
    stage::Stage,
};

/// How a journal of this form begins: a name and a version.
const HEAD: &[u8; 8] = b"grapjnl\x01";

/// Bytes of a record before its payload.
const RECORD: usize = 9;

/// The longest payload that is read. Events are far shorter.
const LONGEST: u32 = 16 << 20;

/// What a record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum Kind {
    /// Something happened.
    Event = 1,
    /// The attempt ended: the last record.
    Finished = 2,
    /// The build has come further.
    Progress = 3,
    /// The sandbox stands.
    Stage = 4,
}

impl Kind {
    fn from_byte(byte: u8) -> Option<Self> {
        [Self::Event, Self::Finished, Self::Progress, Self::Stage]
            .into_iter()
            .find(|kind| *kind as u8 == byte)
    }
}

/// The payload of a record: what happened, and how far the build has come by it.
#[derive(Serialize, Deserialize)]
struct Entry<What, Progress> {
    what: What,
    progress: Progress,
}

/// A journal that is being written.
#[derive(Debug)]
pub struct Journal {
    file: File,
    end: u64,
}

/// A journal as an executor finds it that starts.
#[derive(Debug)]
pub struct Found {
    /// The attempt.
    pub id: AttemptId,
    /// The journal, to go on with.
    pub journal: Journal,
    /// Where its events begin, in order.
    pub places: Vec<u64>,
    /// Its events, where it has no end.
    pub events: Vec<BuildEvent>,
    /// What its build can be gone on with, where it has no end.
    pub stage: Option<Stage>,
    /// How far that has come.
    pub progress: Progress,
    /// When it was written to last.
    pub written_at: DateTime<Utc>,
    /// Whether it says how the attempt ended.
    pub finished: bool,
}

/// The directory of an executor's journals.
#[derive(Clone, Debug)]
pub struct Journals {
    directory: PathBuf,
}

impl Journals {
    /// Takes the directory, and makes it.
    ///
    /// # Errors
    /// The disk fails.
    pub fn open(directory: PathBuf) -> io::Result<Self> {
        fs::create_dir_all(&directory)?;
        Ok(Self { directory })
    }

    /// Returns where the journal of an attempt is.
    pub fn path_of(&self, id: AttemptId) -> PathBuf {
        self.directory.join(id.to_string())
    }

    /// Begins the journal of an attempt.
    ///
    /// # Errors
    /// There is one already, or the disk fails.
    pub fn create(&self, id: AttemptId) -> io::Result<Journal> {
        let path = self.path_of(id);
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
        if let Err(error) = file.write_all(HEAD) {
            let _ = fs::remove_file(&path);
            return Err(error);
        }
        crash_point("journal.begun");
        Ok(Journal { file, end: HEAD.len() as u64 })
    }

    /// Removes the journal of an attempt.
    pub fn remove(&self, id: AttemptId) {
        let path = self.path_of(id);
        if let Err(error) = fs::remove_file(&path)
            && error.kind() != ErrorKind::NotFound
        {
            tracing::warn!(path = %path.display(), %error, "a journal that is not needed any more cannot be removed");
        }
    }

    /// Reads all journals. Each is cut off where its last whole record ends.
    ///
    /// # Errors
    /// The directory cannot be read. A journal that cannot be is told of, and counts as one without any event: its
    /// attempt is known, and nothing else of it.
    pub fn found(&self) -> io::Result<Vec<Found>> {
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.directory)? {
            let path = entry?.path();
            let Some(id) = path.file_name().and_then(|name| name.to_str()?.parse().ok()) else {
                tracing::warn!(path = %path.display(), "what is no journal is left alone");
                continue;
            };
            match read(id, &path) {
                Ok(journal) => found.push(journal),
                Err(error) => tracing::error!(%error, path = %path.display(), "a journal cannot be read"),
            }
        }
        Ok(found)
    }
}

impl Journal {
    /// Writes a record, and returns where it begins if it is an event. Where that fails nothing of it stays.
    ///
    /// # Errors
    /// The disk is full or fails.
    pub fn append(&mut self, Record { what, progress }: &Record) -> io::Result<Option<u64>> {
        match what {
            What::Event(event) => {
                let place = self.write(Kind::Event, event, progress)?;
                crash_point("journal.event");
                Ok(Some(place))
            }
            What::Stage(stage) => {
                self.write(Kind::Stage, stage, progress)?;
                crash_point("journal.stage");
                Ok(None)
            }
            What::Nothing => self.write(Kind::Progress, &(), progress).map(|_| None),
            What::Awaited(_) => Ok(None),
        }
    }

    /// Writes the last event, and brings everything to the disk.
    ///
    /// # Errors
    /// As [`Journal::append`].
    pub fn finish(&mut self, event: &BuildEvent) -> io::Result<u64> {
        let begins = self.write(Kind::Finished, event, &())?;
        self.sync()?;
        crash_point("journal.finished");
        Ok(begins)
    }

    /// Brings everything to the disk.
    ///
    /// # Errors
    /// The disk fails.
    pub fn sync(&self) -> io::Result<()> {
        self.file.sync_all()
    }

    fn write(&mut self, kind: Kind, what: &impl Serialize, progress: &impl Serialize) -> io::Result<u64> {
        let mut record = vec![0; RECORD];
        serde_json::to_writer(&mut record, &Entry { what, progress })?;
        let length = u32::try_from(record.len() - RECORD).map_err(io::Error::other)?;
        record[8] = kind as u8;
        let checksum = crc32fast::hash(&record[8..]);
        record[..4].copy_from_slice(&length.to_le_bytes());
        record[4..8].copy_from_slice(&checksum.to_le_bytes());
        let begins = self.end;
        if let Err(error) = self.file.write_all(&record) {
            // Half a record would hide all that come after it.
            self.file.set_len(begins)?;
            self.file.seek(SeekFrom::Start(begins))?;
            return Err(error);
        }
        self.end += record.len() as u64;
        Ok(begins)
    }
}

/// Reads up to `count` events of a journal from the place where one of them begins.
///
/// # Errors
/// The journal is not there any more, or is not what was written.
pub fn events(path: &Path, from: u64, count: usize) -> io::Result<Vec<BuildEvent>> {
    let mut file = File::open(path)?;
    file.seek(SeekFrom::Start(from))?;
    let mut file = io::BufReader::new(file);
    let mut events = Vec::with_capacity(count);
    while events.len() < count {
        match record(&mut file)? {
            Some((Kind::Event | Kind::Finished, payload)) => {
                let entry: Entry<BuildEvent, IgnoredAny> = serde_json::from_slice(&payload)?;
                events.push(entry.what);
            }
            Some((Kind::Progress | Kind::Stage, _)) => {}
            None => return Err(ErrorKind::InvalidData.into()),
        }
    }
    Ok(events)
}

/// Reads a whole record; `None` where there is none any more.
fn record(from: &mut impl io::Read) -> io::Result<Option<(Kind, Vec<u8>)>> {
    let mut head = [0; RECORD];
    let whole = |read: io::Result<()>| match read {
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(false),
        read => read.map(|()| true),
    };
    if !whole(from.read_exact(&mut head))? {
        return Ok(None);
    }
    let [l0, l1, l2, l3, c0, c1, c2, c3, kind] = head;
    let length = u32::from_le_bytes([l0, l1, l2, l3]);
    if length > LONGEST {
        return Ok(None);
    }
    let mut payload = vec![0; length as usize + 1];
    payload[0] = kind;
    if !whole(from.read_exact(&mut payload[1..]))? {
        return Ok(None);
    }
    let matches = crc32fast::hash(&payload) == u32::from_le_bytes([c0, c1, c2, c3]);
    payload.remove(0);
    Ok(Kind::from_byte(kind).filter(|_| matches).map(|kind| (kind, payload)))
}

/// Reads a journal that another process has written, and cuts off what it did not finish.
fn read(id: AttemptId, path: &Path) -> io::Result<Found> {
    let mut file = OpenOptions::new().read(true).write(true).open(path)?;
    let meta = file.metadata()?;
    let written_at = meta.modified()?.into();
    let mut head = Vec::new();
    (&mut file).take(HEAD.len() as u64).read_to_end(&mut head)?;
    let (mut places, mut records) = (Vec::new(), Vec::new());
    let mut end = HEAD.len() as u64;
    if head == HEAD {
        let mut reader = io::BufReader::new(&mut file);
        while let Some((kind, payload)) = record(&mut reader)? {
            if matches!(kind, Kind::Event | Kind::Finished) {
                places.push(end);
            }
            end += (RECORD + payload.len()) as u64;
            records.push((kind, payload));
        }
    } else {
        tracing::warn!(path = %path.display(), "a journal of another form says nothing of its attempt");
        file.set_len(0)?;
        file.seek(SeekFrom::Start(0))?;
        file.write_all(HEAD)?;
    }
    if meta.len() > end {
        tracing::warn!(path = %path.display(), bytes = meta.len() - end, "the torn end of a journal is cut off");
        file.set_len(end)?;
    }
    file.seek(SeekFrom::Start(end))?;
    let finished = records.last().is_some_and(|(kind, _)| *kind == Kind::Finished);
    let mut found = Found {
        id,
        journal: Journal { file, end },
        places,
        events: Vec::new(),
        stage: None,
        progress: Progress::default(),
        written_at,
        finished,
    };
    // Of an attempt that has ended nothing is needed but where its events are.
    for (kind, payload) in records.into_iter().filter(|_| !finished) {
        found.take(kind, &payload)?;
    }
    Ok(found)
}

impl Found {
    fn take(&mut self, kind: Kind, payload: &[u8]) -> io::Result<()> {
        match kind {
            Kind::Event => {
                let entry: Entry<BuildEvent, Progress> = serde_json::from_slice(payload)?;
                self.events.push(entry.what);
                self.progress = entry.progress;
            }
            Kind::Stage => {
                let entry: Entry<Stage, Progress> = serde_json::from_slice(payload)?;
                self.stage = Some(entry.what);
                self.progress = entry.progress;
            }
            Kind::Progress => {
                let entry: Entry<(), Progress> = serde_json::from_slice(payload)?;
                self.progress = entry.progress;
            }
            Kind::Finished => {}
        }
        Ok(())
    }
}
