//! Who is asked in turn: Grapnel over both databases, what one would use instead, and the floors.

use std::{fmt, fs, process::Command, time::Duration};

use anyhow::Result;
use serde_json::json;
use tempfile::TempDir;

use super::{
    floor::Floor,
    hooked::{Hooked, Loaded},
};
use crate::{
    database::{Databases, Kind},
    load::{Answered, Load},
    process::{Server, beside, free_address},
};

/// How many hooks adnanh/webhook has: as many as Grapnel.
const HOOKS: usize = 100;

/// One of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    /// `grapnel up`.
    Grapnel(Kind),
    /// adnanh/webhook, which runs a command and stores nothing.
    Webhook,
    /// A handler in the same framework that answers a constant.
    Constant,
    /// The same rows by the database's own client.
    Floor(Kind),
}

impl Subject {
    /// All, in the order of their turns.
    pub const ALL: [Self; 6] = [
        Self::Grapnel(Kind::Sqlite),
        Self::Grapnel(Kind::Postgres),
        Self::Webhook,
        Self::Constant,
        Self::Floor(Kind::Sqlite),
        Self::Floor(Kind::Postgres),
    ];
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Grapnel(kind) => write!(f, "grapnel, {kind}"),
            Self::Webhook => f.write_str("webhook"),
            Self::Constant => f.write_str("axum, a constant"),
            Self::Floor(Kind::Sqlite) => f.write_str("inserts, sqlite3"),
            Self::Floor(Kind::Postgres) => f.write_str("inserts, pgbench"),
        }
    }
}

/// What one of them came to once.
#[derive(Clone, Copy, Debug)]
pub struct Outcome {
    /// How it answered.
    pub answered: Answered,
    /// What it used, where it is Grapnel.
    pub loaded: Option<Loaded>,
}

/// All of them, ready.
#[derive(Debug)]
pub struct Subjects {
    hooked: [Hooked; 2],
    floors: [Floor; 2],
    constant: (String, Server),
    webhooks: Webhooks,
    // Behind those that are connected to them.
    _databases: Databases,
}

impl Subjects {
    /// Starts them.
    ///
    /// # Errors
    /// One of them is not there.
    pub async fn start() -> Result<Self> {
        let databases = Databases::start().await?;
        let hooked = [
            Hooked::start(databases.make(Kind::Sqlite, "triggers")?).await?,
            Hooked::start(databases.make(Kind::Postgres, "triggers")?).await?,
        ];
        let floors = [floor(&databases, Kind::Sqlite).await?, floor(&databases, Kind::Postgres).await?];
        let address = free_address();
        let server = Server::start(Command::new(beside("constant")?).arg(&address), &address).await?;
        Ok(Self {
            hooked,
            floors,
            constant: (address, server),
            webhooks: Webhooks::write()?,
            _databases: databases,
        })
    }

    /// Asks one of them for a while.
    ///
    /// # Errors
    /// It does not answer all, or has not stored what it answered.
    pub async fn ask(&self, subject: Subject, connections: usize, lasting: Duration) -> Result<Outcome> {
        let [sqlite, postgres] = &self.hooked;
        let [floor_sqlite, floor_postgres] = &self.floors;
        let only = |answered| Outcome { answered, loaded: None };
        let of_ours = |loaded: Loaded| Outcome { answered: loaded.answered, loaded: Some(loaded) };
        Ok(match subject {
            Subject::Grapnel(Kind::Sqlite) => of_ours(sqlite.load(connections, lasting).await?),
            Subject::Grapnel(Kind::Postgres) => of_ours(postgres.load(connections, lasting).await?),
            Subject::Webhook => only(self.webhooks.ask(connections, lasting).await?),
            Subject::Constant => {
                let (server, _) = &self.constant;
                // The very requests that Grapnel gets.
                only(post(server, sqlite.paths(), connections, lasting)?)
            }
            Subject::Floor(Kind::Sqlite) => only(floor_sqlite.run(connections, lasting)?),
            Subject::Floor(Kind::Postgres) => only(floor_postgres.run(connections, lasting)?),
        })
    }
}

/// A database as Grapnel makes it, with nobody over it any more.
async fn floor(databases: &Databases, kind: Kind) -> Result<Floor> {
    let mut hooked = Hooked::start(databases.make(kind, "floor")?).await?;
    hooked.stop();
    Floor::beneath(hooked.database().clone())
}

fn post(server: &str, paths: &[String], connections: usize, lasting: Duration) -> Result<Answered> {
    Load { server, method: "POST", paths, connections, lasting, host: None }.run()
}

/// The file of adnanh/webhook's hooks.
#[derive(Debug)]
struct Webhooks {
    directory: TempDir,
}

impl Webhooks {
    fn write() -> Result<Self> {
        let directory = tempfile::tempdir()?;
        let hook = |number: usize| json!({"id": format!("hook-{number}"), "execute-command": "/bin/true"});
        let hooks: Vec<_> = (0..HOOKS).map(hook).collect();
        fs::write(directory.path().join("hooks.json"), serde_json::to_vec(&hooks)?)?;
        Ok(Self { directory })
    }

    /// A process for each load: it answers before its commands have run, and those that are left over go with it.
    async fn ask(&self, connections: usize, lasting: Duration) -> Result<Answered> {
        let address = free_address();
        let port = address.rsplit(':').next().unwrap_or_default();
        let mut webhook = Command::new("webhook");
        webhook.arg("-hooks").arg(self.directory.path().join("hooks.json"));
        webhook.args(["-ip", "127.0.0.1", "-port", port]);
        let server = Server::start(&mut webhook, &address).await?;
        let paths: Vec<_> = (0..HOOKS).map(|number| format!("/hooks/hook-{number}")).collect();
        let answered = post(&address, &paths, connections, lasting);
        drop(server);
        answered
    }
}
