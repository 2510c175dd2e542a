//! The databases in which Grapnel keeps things, as a measurement makes, fills and counts them.

use std::{fmt, fs, path::PathBuf, process::Command};

use anyhow::{Context as _, Result, ensure};
use grapnel_e2e::OwnPostgres;
use tempfile::TempDir;

/// Where things can be kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A file.
    Sqlite,
    /// A server.
    Postgres,
}

impl Kind {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Sqlite, Self::Postgres];
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sqlite => "SQLite",
            Self::Postgres => "PostgreSQL",
        })
    }
}

/// A directory of files, and a server, of the measurement's own. They go when it is dropped.
#[derive(Debug)]
pub struct Databases {
    directory: TempDir,
    server: OwnPostgres,
}

/// One of them.
#[derive(Clone, Debug)]
pub enum Database {
    /// Its file.
    Sqlite(PathBuf),
    /// Its address.
    Postgres(String),
}

/// What is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stored {
    /// Rows of the ledger.
    pub triggers: u64,
    /// Deployments.
    pub deployments: u64,
    /// Hooks.
    pub hooks: u64,
}

impl Databases {
    /// Makes the directory and starts the server. It writes to the disk what it has to, as it is set up by default.
    ///
    /// # Errors
    /// No directory can be made.
    pub async fn start() -> Result<Self> {
        let directory = tempfile::Builder::new().prefix("grapnel-bench-").tempdir()?;
        Ok(Self { directory, server: OwnPostgres::start(&["max_connections=400"]).await })
    }

    /// Makes an empty one.
    ///
    /// # Errors
    /// There is one of that name.
    pub fn make(&self, kind: Kind, name: &str) -> Result<Database> {
        let database = self.named(kind, name);
        if kind == Kind::Postgres {
            self.server_runs(&format!("CREATE DATABASE {name}"))?;
        }
        Ok(database)
    }

    /// Puts a copy of one in the place of another. Nobody may be connected to either.
    ///
    /// # Errors
    /// Somebody is, or the disk is full.
    pub fn copy(&self, kind: Kind, from: &str, to: &str) -> Result<()> {
        match (self.named(kind, from), self.named(kind, to)) {
            (Database::Sqlite(from), Database::Sqlite(to)) => {
                for left in ["-wal", "-shm"] {
                    let _ = fs::remove_file(format!("{}{left}", to.display()));
                }
                fs::copy(from, to).context("the database cannot be copied")?;
            }
            _ => {
                self.server_runs(&format!("DROP DATABASE IF EXISTS {to} WITH (FORCE)"))?;
                self.server_runs(&format!("CREATE DATABASE {to} TEMPLATE {from}"))?;
            }
        }
        Ok(())
    }

    fn named(&self, kind: Kind, name: &str) -> Database {
        match kind {
            Kind::Sqlite => Database::Sqlite(self.directory.path().join(format!("{name}.db"))),
            Kind::Postgres => {
                let url = self.server.url();
                let server = url.rsplit_once('/').map_or(url.as_str(), |(server, _)| server);
                Database::Postgres(format!("{server}/{name}"))
            }
        }
    }

    fn server_runs(&self, statement: &str) -> Result<String> {
        Database::Postgres(self.server.url()).run(statement)
    }
}

impl Database {
    /// Returns its address, as the setting `database_url` takes it.
    pub fn url(&self) -> String {
        match self {
            Self::Sqlite(file) => format!("sqlite://{}", file.display()),
            Self::Postgres(url) => url.clone(),
        }
    }

    /// Returns which of the two it is.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Sqlite(_) => Kind::Sqlite,
            Self::Postgres(_) => Kind::Postgres,
        }
    }

    /// Runs statements by the database's own client, and returns the rows with `|` between their fields.
    ///
    /// # Errors
    /// The client is missing, or the statement is wrong.
    pub fn run(&self, statements: &str) -> Result<String> {
        let mut client = match self {
            Self::Sqlite(file) => {
                let mut client = Command::new("sqlite3");
                client.args(["-batch", "-cmd", ".timeout 10000"]).arg(file);
                client
            }
            Self::Postgres(url) => {
                let mut client = grapnel_e2e::psql();
                client.arg(url).args(["-qAtXc"]);
                client
            }
        };
        let output = client.arg(statements).output().context("the database's client cannot be started")?;
        ensure!(output.status.success(), "{statements}: {}", String::from_utf8_lossy(&output.stderr));
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }

    /// Counts what is stored.
    ///
    /// # Errors
    /// It has no such tables.
    pub fn stored(&self) -> Result<Stored> {
        let counted = self.run(
            "SELECT (SELECT count(*) FROM trigger), (SELECT count(*) FROM deployment), (SELECT count(*) FROM hook)",
        )?;
        stored(&counted).with_context(|| format!("`{counted}` are no counts"))
    }

    /// Moves what stands in the log of writes into the database's own files and counts its rows, as it is done by and by.
    ///
    /// # Errors
    /// Somebody is in the way.
    pub fn settle(&self) -> Result<()> {
        let statement = match self {
            Self::Sqlite(_) => "PRAGMA wal_checkpoint(TRUNCATE)",
            Self::Postgres(_) => "VACUUM (ANALYZE)",
        };
        self.run(statement)?;
        if let Self::Postgres(_) = self {
            self.run("CHECKPOINT")?;
        }
        Ok(())
    }
}

fn stored(counted: &str) -> Option<Stored> {
    let counts: Vec<u64> = counted.split('|').map(str::parse).collect::<Result<_, _>>().ok()?;
    let [triggers, deployments, hooks] = counts[..] else { return None };
    Some(Stored { triggers, deployments, hooks })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_read() {
        assert_eq!(stored("3|2|1"), Some(Stored { triggers: 3, deployments: 2, hooks: 1 }));
        assert_eq!(stored("3|2"), None);
    }
}
