//! The floor beneath a trigger: the rows of one, inserted by the database's own client with nothing before or after.

use std::{
    fs,
    io::{BufWriter, Write as _},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};

use crate::{
    database::Database,
    load::{Answered, percentile},
};

/// A hook, by what its rows refer to.
#[derive(Debug)]
struct Hook {
    team: String,
    project: String,
    id: String,
}

/// Inserts the rows of a deployment that waits, of its event and of the ledger into a database that Grapnel has made.
#[derive(Debug)]
pub struct Floor {
    database: Database,
    hooks: Vec<Hook>,
}

impl Floor {
    /// Takes a database whose Grapnel has ended.
    ///
    /// # Errors
    /// It has no hooks.
    pub fn beneath(database: Database) -> Result<Self> {
        let listed = database.run("SELECT team_id, project_id, id FROM hook")?;
        let hook = |line: &str| {
            let mut fields = line.split('|').map(str::to_owned);
            Some(Hook { team: fields.next()?, project: fields.next()?, id: fields.next()? })
        };
        let hooks: Vec<_> = listed.lines().map(hook).collect::<Option<_>>().context("hooks")?;
        ensure!(!hooks.is_empty(), "there are no hooks");
        Ok(Self { database, hooks })
    }

    /// Inserts for a while. PostgreSQL has so many clients, each with a transaction for every trigger; SQLite has its one
    /// writer, with so many triggers in each transaction.
    ///
    /// # Errors
    /// A statement fails, or something that was committed is not there.
    pub fn run(&self, connections: usize, lasting: Duration) -> Result<Answered> {
        let before = self.database.stored()?;
        let answered = match &self.database {
            Database::Sqlite(file) => self.sqlite(file, connections, lasting)?,
            Database::Postgres(url) => self.pgbench(url, connections, lasting)?,
        };
        let grown = self.database.stored()?.deployments - before.deployments;
        ensure!(grown == answered.answers, "{} were committed, and {grown} are there", answered.answers);
        Ok(answered)
    }

    fn sqlite(&self, file: &Path, in_each: usize, lasting: Duration) -> Result<Answered> {
        let mut after = self.database.stored()?.deployments;
        let mut sqlite3 = Command::new("sqlite3");
        let mut shell =
            sqlite3.arg("-batch").arg(file).stdin(Stdio::piped()).stdout(Stdio::null()).spawn()?;
        let mut script = BufWriter::new(shell.stdin.take().context("it reads no script")?);
        let (begun, mut answers) = (Instant::now(), 0);
        writeln!(script, "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON;")?;
        let mut hooks = self.hooks.iter().cycle();
        while begun.elapsed() < lasting {
            writeln!(script, "BEGIN IMMEDIATE;")?;
            for hook in hooks.by_ref().take(in_each) {
                after += 1;
                answers += 1;
                script.write_all(for_sqlite(hook, after).as_bytes())?;
            }
            writeln!(script, "COMMIT;")?;
        }
        script.flush()?;
        drop(script);
        ensure!(shell.wait()?.success(), "sqlite3 failed");
        // How long each of them took is known to nobody.
        Ok(Answered { answers, rate: answers as f64 / begun.elapsed().as_secs_f64(), p50: 0.0, p99: 0.0 })
    }

    fn pgbench(&self, url: &str, clients: usize, lasting: Duration) -> Result<Answered> {
        self.database.run("CREATE SEQUENCE IF NOT EXISTS floor")?;
        let directory = tempfile::tempdir()?;
        let mut pgbench = Command::new(pgbench());
        pgbench.args(["--no-vacuum", "--protocol", "prepared", "--log", "--log-prefix"]);
        pgbench.arg(directory.path().join("log"));
        pgbench.args(["--client", &clients.to_string(), "--time", &lasting.as_secs().max(1).to_string()]);
        let script = directory.path().join("script.sql");
        fs::write(&script, for_postgres(&self.hooks))?;
        pgbench.arg("--file").arg(script);
        let output = pgbench.arg(url).output().context("pgbench cannot be started")?;
        ensure!(output.status.success(), "pgbench failed: {}", String::from_utf8_lossy(&output.stderr));
        let mut took = Vec::new();
        for entry in fs::read_dir(directory.path())? {
            let file = entry?.path();
            if file.extension().is_none_or(|ending| ending != "sql") {
                took.extend(microseconds(&fs::read_to_string(file)?));
            }
        }
        let rate = rate(&String::from_utf8_lossy(&output.stdout)).context("pgbench tells no rate")?;
        let within = |share| percentile(&took, share) / 1e3;
        Ok(Answered { answers: took.len() as u64, rate, p50: within(0.5), p99: within(0.99) })
    }
}

/// pgbench stands beside psql, which Debian does not have on the path in its newest version.
fn pgbench() -> PathBuf {
    let beside = Path::new(grapnel_e2e::psql().get_program()).with_file_name("pgbench");
    if beside.is_file() { beside } else { PathBuf::from("pgbench") }
}

const DEPLOYMENT: &str = "INSERT INTO deployment (id, team_id, project_id, hook_id, hook_name, branch, commit_message, \
state, revision, attempt, resolve_attempts, not_before, use_cache, trigger_count, last_position, created_at, waiting_since)";
const EVENT: &str = "INSERT INTO deployment_event (deployment_id, position, payload, at)";
const LEDGER: &str = "INSERT INTO trigger (id, team_id, project_id, hook_id, method, client_address, user_agent, body_bytes, \
body_digest, title, decision, reason, deployment_id, at)";
/// With spaces: to pgbench a word behind a colon is a variable.
const PAYLOAD: &str = r#"'{"what": "state", "state": "PENDING", "failure": null, "canceled": null}'"#;

/// One statement, and so one transaction and one way there and back. The hook is one of all, by its number.
fn for_postgres(hooks: &[Hook]) -> String {
    let team = hooks.first().map_or("", |hook| &hook.team);
    let one_of = |id: fn(&Hook) -> &String| {
        let ids: Vec<_> = hooks.iter().map(|hook| format!("'{}'", id(hook))).collect();
        format!("(ARRAY[{}])[:number::integer]", ids.join(","))
    };
    let (project, hook) = (one_of(|hook| &hook.project), one_of(|hook| &hook.id));
    format!(
        "\\set number random(1, {})\n\
WITH begun AS ({DEPLOYMENT} VALUES ('dpl_' || lpad(nextval('floor')::text, 26, '0'), '{team}', {project}, {hook}, 'hook', 'main', \
'', 'PENDING', 1, 0, 0, now(), true, 1, 1, now(), now()) RETURNING id, project_id, hook_id, created_at), \
told AS ({EVENT} SELECT id, 1, {PAYLOAD}, created_at FROM begun) \
{LEDGER} SELECT replace(id, 'dpl', 'trg'), '{team}', project_id, hook_id, 'POST', '127.0.0.1', '', 0, '', '', 'ACCEPTED', '', id, \
created_at FROM begun;\n",
        hooks.len()
    )
}

/// Three statements, which the shell has nowhere to send.
fn for_sqlite(Hook { team, project, id }: &Hook, number: u64) -> String {
    let now = "'2026-11-24T12:00:00.000000+00:00'";
    format!(
        "{DEPLOYMENT} VALUES ('dpl_{number:026}', '{team}', '{project}', '{id}', 'hook', 'main', '', 'PENDING', 1, 0, 0, {now}, \
true, 1, 1, {now}, {now});\n\
{EVENT} VALUES ('dpl_{number:026}', 1, {PAYLOAD}, {now});\n\
{LEDGER} VALUES ('trg_{number:026}', '{team}', '{project}', '{id}', 'POST', '127.0.0.1', '', 0, '', '', 'ACCEPTED', '', \
'dpl_{number:026}', {now});\n"
    )
}

/// Reads what each transaction took out of pgbench's log: the third field of each line.
fn microseconds(log: &str) -> impl Iterator<Item = f64> {
    log.lines().filter_map(|line| line.split_whitespace().nth(2)?.parse().ok())
}

/// Reads the transactions a second out of what pgbench says.
fn rate(said: &str) -> Option<f64> {
    said.lines().find_map(|line| line.strip_prefix("tps = ")?.split_whitespace().next()?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_pgbench_tells_is_read() {
        let said = "latency average = 5.012 ms\ninitial connection time = 61.812 ms\ntps = 12770.103212 (without initial connection time)\n";
        assert_eq!(rate(said), Some(12_770.103_212));
        assert_eq!(rate("pgbench: error"), None);
        let log = "0 1 4821 0 1795900505 233123\n1 1 512 3 1795900505 233950\n";
        assert_eq!(microseconds(log).collect::<Vec<_>>(), [4821.0, 512.0]);
    }
}
