//! A `grapnel up` with hooks that are requested as fast as it answers.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use grapnel_e2e::{Grapnel, Repository, Setup};
use grapnel_proto::hooks::v1::{CreateHookRequest, CreateProjectRequest};

use crate::{
    database::{Database, Stored},
    load::{Answered, Load},
    usage::Usage,
};

const PROJECTS: usize = 10;
const HOOKS_OF_EACH: usize = 10;

/// Longer than any measurement: what is triggered waits for a further trigger, and nothing is built beside.
const QUIET: Duration = Duration::from_secs(12 * 60 * 60);

/// Triggers a minute, of a hook and of an address: more than come.
const PLENTY: &str = "1000000000";

/// What is stored is kept: what goes because it is old is no load's.
const YEARS: &str = "3650d";

/// How long what is still on its way when a load ends may take to be stored.
const SETTLED: Duration = Duration::from_secs(20);

/// Grapnel over a database, with a hundred hooks.
#[derive(Debug)]
pub struct Hooked {
    grapnel: Grapnel,
    database: Database,
    server: String,
    paths: Vec<String>,
}

/// What a load came to.
#[derive(Clone, Copy, Debug)]
pub struct Loaded {
    /// How it was answered.
    pub answered: Answered,
    /// What the process has used of one core, from 0 to as many as there are.
    pub cores: f64,
    /// The processor's time for each answer, in microseconds.
    pub microseconds: f64,
    /// Resident memory at the end, in MiB.
    pub resident_mib: f64,
}

impl Hooked {
    /// Starts it over an empty database, makes the hooks, and requests each of them once.
    ///
    /// # Errors
    /// It refuses.
    pub async fn start(database: Database) -> Result<Self> {
        let hooked = Self::make(database).await?;
        hooked.warm_up().await?;
        Ok(hooked)
    }

    /// Starts it over an empty database and makes the hooks, which nobody requests.
    ///
    /// # Errors
    /// It refuses.
    pub async fn make(database: Database) -> Result<Self> {
        let kept = ["TRIGGERS_RETENTION", "RETENTION_DEPLOYMENTS", "RETENTION_LOGS", "RETENTION_ARTIFACTS"];
        let setup = kept.iter().fold(Setup::default(), |setup, what| setup.set(what, YEARS));
        let setup = setup
            .embedded()
            .set("DATABASE_URL", &database.url())
            .set("LIMITS_HOBBY", &HOOKS_OF_EACH.to_string())
            .set("RATE_LIMIT_HOOK", PLENTY)
            .set("RATE_LIMIT_ADDRESS", PLENTY);
        let grapnel = Grapnel::start(setup).await;
        let site = Repository::with(&grapnel.repositories().join("site"), &[("index.html", "hello")]);
        let mut paths = Vec::new();
        for project in 0..PROJECTS {
            paths.extend(hooks(&grapnel, &format!("site{project}"), &site, HOOKS_OF_EACH).await?);
        }
        let server = grapnel.url("").trim_start_matches("http://").to_owned();
        Ok(Self { grapnel, database, server, paths })
    }

    /// Ends the process.
    pub fn stop(&mut self) {
        self.grapnel.stop();
    }

    /// Starts it again over what its database has by now, and requests each hook once.
    ///
    /// # Errors
    /// It does not answer.
    pub async fn start_again(&mut self) -> Result<()> {
        self.grapnel.start_again().await;
        self.warm_up().await
    }

    /// Requests each hook once: connections are open then, and statements known.
    async fn warm_up(&self) -> Result<()> {
        let client = grapnel_e2e::http_client();
        for path in &self.paths {
            let answer = client.post(self.grapnel.url(path)).send().await?;
            ensure!(answer.status() == 200, "{path} is answered {}", answer.status());
        }
        Ok(())
    }

    /// Returns the paths of the hooks' URLs.
    pub fn paths(&self) -> &[String] {
        &self.paths
    }

    /// Returns its database.
    pub fn database(&self) -> &Database {
        &self.database
    }

    /// Requests the hooks in turn, and counts then whether what was answered is stored.
    ///
    /// # Errors
    /// A request is answered with anything but success, or something that was answered is not stored, or more than was asked for.
    pub async fn load(&self, connections: usize, lasting: Duration) -> Result<Loaded> {
        let before = self.settled(self.database.stored()?).await?;
        let (begun, used) = (Instant::now(), Usage::of(self.grapnel.pid())?);
        let load = Load {
            server: &self.server,
            method: "POST",
            paths: &self.paths,
            connections,
            lasting,
            host: None,
        };
        let answered = load.run()?;
        let using = Usage::of(self.grapnel.pid())?;
        let cpu = (using.cpu - used.cpu).as_secs_f64();
        let cores = cpu / begun.elapsed().as_secs_f64();
        let after = self.settled(self.database.stored()?).await?;
        check(before, after, answered.answers, connections)?;
        Ok(Loaded {
            answered,
            cores,
            microseconds: cpu / answered.answers as f64 * 1e6,
            resident_mib: using.resident_mib,
        })
    }

    /// Counts until nothing is stored any more: a client that has ended does not undo what it asked for last.
    async fn settled(&self, mut last: Stored) -> Result<Stored> {
        let begun = Instant::now();
        loop {
            tokio::time::sleep(Duration::from_millis(50)).await;
            let now = self.database.stored()?;
            if now == last {
                return Ok(now);
            }
            ensure!(begun.elapsed() < SETTLED, "triggers are stored that nobody asks for");
            last = now;
        }
    }
}

/// Holds what is stored against what was answered: each answer has its row and its deployment, and beyond that there is at
/// most what each connection asked for last.
fn check(before: Stored, after: Stored, answers: u64, connections: usize) -> Result<()> {
    let most = answers + connections as u64;
    for (what, was, is) in [
        ("rows of the ledger", before.triggers, after.triggers),
        ("deployments", before.deployments, after.deployments),
    ] {
        let grown = is.checked_sub(was).with_context(|| format!("{what} are gone"))?;
        ensure!(
            (answers..=most).contains(&grown),
            "{answers} answers over {connections} connections, and {grown} {what}"
        );
    }
    Ok(())
}

/// Makes a project with hooks, and returns the paths of their URLs.
///
/// # Errors
/// The service refuses.
pub async fn hooks(grapnel: &Grapnel, project: &str, site: &Repository, count: usize) -> Result<Vec<String>> {
    let mut client = grapnel.client();
    let request =
        CreateProjectRequest { name: project.to_owned(), repository_url: site.path(), ..Default::default() };
    client.create_project(request).await?;
    let quiet = u32::try_from(QUIET.as_millis())?;
    let mut paths = Vec::new();
    for number in 0..count {
        let hook = CreateHookRequest {
            project: project.to_owned(),
            name: format!("hook {number}"),
            quiet_period_ms: quiet,
            max_wait_ms: Some(2 * quiet),
            ..Default::default()
        };
        let url = client.create_hook(hook).await?.into_inner().url;
        let path = url.strip_prefix(&grapnel.url("")).context("the URL is another server's")?;
        paths.push(path.to_owned());
    }
    Ok(paths)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored(rows: u64) -> Stored {
        Stored { triggers: rows, deployments: rows, hooks: 1 }
    }

    #[test]
    fn what_is_answered_has_to_be_stored() {
        assert!(check(stored(5), stored(15), 10, 4).is_ok(), "each answer is stored");
        assert!(check(stored(5), stored(19), 10, 4).is_ok(), "nobody heard the last answers");
        assert!(check(stored(5), stored(14), 10, 4).is_err(), "one was lost");
        assert!(check(stored(5), stored(20), 10, 4).is_err(), "one was stored twice");
        assert!(check(stored(5), stored(4), 0, 4).is_err(), "one has gone");
        let undecided = Stored { deployments: 14, ..stored(15) };
        assert!(check(stored(5), undecided, 10, 4).is_err(), "one deploys nothing");
    }
}
