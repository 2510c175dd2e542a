//! What an installation is put together of.

use std::fmt;

/// How an installation is put together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Where it keeps what it must not lose.
    pub database: Database,
    /// How many hooks services, executors and gateways there are. Where there are several of them, executors and gateways
    /// share no disk, and artifacts are in a bucket.
    pub of_each: usize,
    /// What it has beside that.
    pub extras: Vec<Extra>,
}

/// What an installation can have beside its processes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extra {
    /// Hooks services reach executors over lines that can be spoiled.
    Lines,
    /// Executors use an engine of the case's own.
    OwnEngine,
    /// Each process has a clock of its own, which can be set.
    Clocks,
    /// Artifacts are in a bucket.
    Bucket,
    /// A git host that hears of commits, and an endpoint that hears of events.
    Hearers,
    /// A place has a disk of its own, which can be full.
    SmallDisk(Place),
}

/// What can have a disk of its own, where there is one process of each kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// The database file.
    Database,
    /// The directories in which builds run.
    Workspaces,
    /// The published sites.
    Artifacts,
    /// What an executor has written down of its attempts.
    Journals,
}

/// Where an installation keeps what it must not lose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Database {
    /// A file.
    Sqlite,
    /// A server of the case's own.
    Postgres,
}

/// What can be killed, by number where there are several.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// A hooks service.
    Hooks(usize),
    /// A gateway.
    Gateway(usize),
    /// An executor.
    Executor(usize),
    /// The database server.
    Postgres,
    /// The container engine, where it is the case's own.
    Engine,
}

impl fmt::Display for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sqlite => "SQLite",
            Self::Postgres => "PostgreSQL",
        })
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hooks(0) => f.write_str("hooks"),
            Self::Hooks(n) => write!(f, "hooks-{n}"),
            Self::Gateway(0) => f.write_str("gateway"),
            Self::Gateway(n) => write!(f, "gateway-{n}"),
            Self::Executor(0) => f.write_str("executor"),
            Self::Executor(n) => write!(f, "executor-{n}"),
            Self::Postgres => f.write_str("PostgreSQL"),
            Self::Engine => f.write_str("dockerd"),
        }
    }
}

impl Shape {
    /// Tells whether it has something.
    pub fn has(&self, extra: Extra) -> bool {
        self.extras.contains(&extra)
    }

    /// Returns what has a disk of its own.
    pub fn small_disk(&self) -> Option<Place> {
        self.extras.iter().find_map(|extra| match extra {
            Extra::SmallDisk(place) => Some(*place),
            _ => None,
        })
    }

    /// Tells whether artifacts are in a bucket.
    pub fn has_bucket(&self) -> bool {
        self.of_each > 1 || self.has(Extra::Bucket)
    }
}

impl Place {
    /// Returns the directory's name in the data directory.
    pub fn directory(self) -> &'static str {
        match self {
            Self::Database => "database",
            Self::Workspaces => "workspaces",
            Self::Artifacts => "artifacts",
            Self::Journals => "journals",
        }
    }

    /// Returns how many bytes its disk has: enough for all that a case writes there.
    pub fn bytes(self) -> u64 {
        match self {
            Self::Database => 256 << 20,
            // Half a GiB is to stay free for others there.
            Self::Workspaces => 640 << 20,
            Self::Artifacts | Self::Journals => 64 << 20,
        }
    }
}
