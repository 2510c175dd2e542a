//! Fills an empty database with as many hooks and deployments as a busy installation has, and prints the paths of the hooks'
//! URLs, one a line. Nothing in it is so old that it would be removed, and nothing has an artifact any more.
//!
//! `cargo run --release --package grapnel-bench --bin fill -- sqlite:///tmp/grapnel.db 100000 1000000`
//!
//! Ten hooks have a project. Of twenty deployments fourteen were superseded, five are READY and one failed, each with its events
//! and its row of the ledger. The rows are made by the database itself, a thousand at a time, and indexes when all are there.

use anyhow::{Context as _, Result};
use chrono::{DateTime, TimeDelta, Utc};
use grapnel_domain::{
    BranchName,
    deployment::{CancelReason, State},
    event::{BuildEvent, DeploymentEvent, StateChange, Step},
    failure::{Failure, FailureCode},
    id::{DeploymentKind, HookKind, ProjectKind, TeamId, TokenKind, TriggerKind},
    plan::Plan,
    project::BuildSettings,
    secret_token::HookToken,
    site::BranchHash,
};
use grapnel_hooks::store::Store;
use grapnel_runtime::{Clock, clock::first_id_from};
use sea_orm::{
    ConnectOptions, ConnectionTrait as _, Database, DatabaseConnection, DbBackend, Statement, Value,
};

/// How many rows one statement makes. They are of one moment.
const AT_ONCE: u64 = 1_000;

/// For how long there were deployments.
const DAYS: i64 = 80;

/// How many hooks a project has.
const OF_PROJECT: u64 = 10;

/// Added to a number to make sixteen digits of it, which are the end of an id.
const DIGITS: u64 = 1_000_000_000_000_000;

#[tokio::main]
async fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [url, hooks, deployments] = arguments.as_slice() else {
        anyhow::bail!("the arguments are the database's URL, how many hooks, how many deployments");
    };
    let (hooks, deployments): (u64, u64) = (hooks.parse()?, deployments.parse()?);
    let clock = Clock::system();
    let store = Store::open(url).await?;
    let team = store.first_team(clock.new_id(), Plan::Hobby, clock.now()).await?.id;
    store.close().await?;
    let began = clock.now() - TimeDelta::days(DAYS);
    let fill = Fill { database: connect(url).await?, team, hooks, began, ids: Ids::at(began) };
    fill.projects_and_hooks().await?;
    let indexes = fill.drop_indexes().await?;
    for first in (0..deployments).step_by(usize::try_from(AT_ONCE)?) {
        let share = first as f64 / deployments as f64;
        let at = began + TimeDelta::seconds((share * (DAYS * 24 * 3_600 - 3_600) as f64) as i64);
        fill.deployments(first, AT_ONCE.min(deployments - first), at).await?;
    }
    for index in indexes {
        fill.run(&index, []).await?;
    }
    fill.addresses().await?;
    if fill.database.get_database_backend() == DbBackend::Postgres {
        fill.run("ANALYZE", []).await?;
    }
    fill.database.close().await?;
    Ok(())
}

/// Connects without what makes writing safe: a database that was not filled to its end is made anew.
async fn connect(url: &str) -> Result<DatabaseConnection> {
    let mut options = ConnectOptions::new(url);
    options.max_connections(1).sqlx_logging(false);
    let database = Database::connect(options).await?;
    let quick: &[&str] = match database.get_database_backend() {
        DbBackend::Postgres => &["SET synchronous_commit = off"],
        _ => &["PRAGMA synchronous = OFF", "PRAGMA cache_size = -262144"],
    };
    for statement in quick {
        database.execute_unprepared(statement).await?;
    }
    Ok(database)
}

/// How ids begin that were made at a time; sixteen digits follow.
struct Ids {
    project: String,
    hook: String,
    token: String,
    deployment: String,
    trigger: String,
}

impl Ids {
    fn at(at: DateTime<Utc>) -> Self {
        let begin = |mut id: String| {
            id.truncate(id.len() - 16);
            id
        };
        Self {
            project: begin(first_id_from::<ProjectKind>(at).to_string()),
            hook: begin(first_id_from::<HookKind>(at).to_string()),
            token: begin(first_id_from::<TokenKind>(at).to_string()),
            deployment: begin(first_id_from::<DeploymentKind>(at).to_string()),
            trigger: begin(first_id_from::<TriggerKind>(at).to_string()),
        }
    }
}

/// In SQL, the id that begins so and ends with a number.
fn id(begin: &str, number: &str) -> String {
    format!("'{begin}' || CAST({DIGITS} + {number} AS text)")
}

struct Fill {
    database: DatabaseConnection,
    team: TeamId,
    hooks: u64,
    began: DateTime<Utc>,
    /// Of projects, hooks and tokens, which were all made at the beginning.
    ids: Ids,
}

impl Fill {
    async fn run<const N: usize>(&self, sql: &str, values: [Value; N]) -> Result<()> {
        let statement = Statement::from_sql_and_values(self.database.get_database_backend(), sql, values);
        self.database.execute_raw(statement).await.with_context(|| sql.to_owned())?;
        Ok(())
    }

    /// Makes rows of the numbers from `first` on.
    async fn make<const N: usize>(
        &self,
        into: &str,
        first: u64,
        count: u64,
        select: &str,
        values: [Value; N],
    ) -> Result<()> {
        let end = first + count;
        let sql = format!(
            "INSERT INTO {into} WITH RECURSIVE numbers(n) AS (SELECT CAST({first} AS bigint) UNION ALL \
             SELECT n + 1 FROM numbers WHERE n + 1 < {end}) {select}"
        );
        self.run(&sql, values).await
    }

    async fn projects_and_hooks(&self) -> Result<()> {
        let (team, began) = (self.team.to_string(), self.began);
        let settings = serde_json::to_string(&BuildSettings::default())?;
        let project = id(&self.ids.project, "n");
        let into = "project (id, team_id, name, repository_url, production_branch, settings, created_at, updated_at)";
        let select = format!(
            "SELECT {project}, $1, 'filled-' || CAST(n AS text), 'https://example.org/site.git', 'main', $2, $3, $3 FROM numbers"
        );
        let projects = self.hooks.div_ceil(OF_PROJECT);
        self.make(into, 0, projects, &select, [team.clone().into(), settings.into(), began.into()]).await?;
        let (hook, project) = (id(&self.ids.hook, "n"), id(&self.ids.project, &format!("n / {OF_PROJECT}")));
        // They wait for a quiet day: nothing that is triggered here is built.
        let into = "hook (id, team_id, project_id, name, branch, paused, build_cache, created_at, updated_at, quiet_period_ms, max_wait_ms)";
        let select = format!(
            "SELECT {hook}, $1, {project}, 'hook-' || CAST(n AS text), 'main', FALSE, TRUE, $2, $2, 72000000, 82800000 FROM numbers"
        );
        self.make(into, 0, self.hooks, &select, [team.into(), began.into()]).await?;
        for first in (0..self.hooks).step_by(usize::try_from(AT_ONCE)?) {
            self.tokens(first, AT_ONCE.min(self.hooks - first)).await?;
        }
        Ok(())
    }

    async fn tokens(&self, first: u64, count: u64) -> Result<()> {
        let Ids { project, hook, token, .. } = &self.ids;
        let (mut rows, mut values) = (Vec::new(), Vec::<Value>::new());
        for n in first..first + count {
            let secret = HookToken::generate(&mut rand::rng());
            let number = DIGITS + n;
            println!("/v1/integrations/deploy/{project}{}/{}", DIGITS + n / OF_PROJECT, secret.expose());
            let place = values.len();
            rows.push(format!(
                "(${}, ${}, ${}, ${}, ${})",
                place + 1,
                place + 2,
                place + 3,
                place + 4,
                place + 5
            ));
            values.extend([
                format!("{token}{number}").into(),
                format!("{hook}{number}").into(),
                secret.hash().as_str().into(),
                secret.last_four().into(),
                self.began.into(),
            ]);
        }
        let sql = format!(
            "INSERT INTO hook_token (id, hook_id, hash, last_four, created_at) VALUES {}",
            rows.join(", ")
        );
        let backend = self.database.get_database_backend();
        self.database.execute_raw(Statement::from_sql_and_values(backend, sql, values)).await?;
        Ok(())
    }

    /// Makes deployments with their events and their rows of the ledger.
    async fn deployments(&self, first: u64, count: u64, at: DateTime<Utc>) -> Result<()> {
        let ids = Ids::at(at);
        let (own, next, trigger) =
            (id(&ids.deployment, "n"), id(&ids.deployment, "n + 1"), id(&ids.trigger, "n"));
        let hook_number = format!("((n * 7919) % {})", self.hooks);
        let hook = id(&self.ids.hook, &hook_number);
        let project = id(&self.ids.project, &format!("{hook_number} / {OF_PROJECT}"));
        let canceled = CancelReason::Superseded { by: first_id_from(at) };
        let by = first_id_from::<DeploymentKind>(at).to_string();
        let failure = Failure::new(FailureCode::BuildFailed, "the build command exited with code 1");
        let state = "CASE WHEN n % 20 < 14 THEN 'CANCELED' WHEN n % 20 < 19 THEN 'READY' ELSE 'ERROR' END";
        let (built, ready) = ("n % 20 >= 14", "n % 20 BETWEEN 14 AND 18");
        let into = "deployment (id, team_id, project_id, hook_id, hook_name, branch, commit_hash, commit_message, state, revision, \
                    attempt, resolve_attempts, not_before, use_cache, trigger_count, canceled, failure, artifact_files, \
                    artifact_bytes, artifact_removed_at, last_position, created_at, queued_at, building_at, finished_at, \
                    waiting_since)";
        let select = format!(
            "SELECT {own}, $1, {project}, {hook}, 'hook-' || CAST({hook_number} AS text), 'main', \
             CASE WHEN {built} THEN '000000000000000000000000' || CAST({DIGITS} + n AS text) END, \
             CASE WHEN {built} THEN 'Publish the news' ELSE '' END, {state}, 4, CASE WHEN {built} THEN 1 ELSE 0 END, 0, $2, TRUE, 1, \
             CASE WHEN NOT ({built}) THEN REPLACE($3, '{by}', {next}) END, CASE WHEN n % 20 = 19 THEN $4 END, \
             CASE WHEN {ready} THEN 120 END, CASE WHEN {ready} THEN 4000000 END, CASE WHEN {ready} THEN $2 END, \
             CASE WHEN {built} THEN 5 ELSE 2 END, $2, CASE WHEN {built} THEN $2 END, CASE WHEN {built} THEN $2 END, $2, $2 FROM numbers"
        );
        let values = [
            self.team.to_string().into(),
            at.into(),
            serde_json::to_string(&canceled)?.into(),
            serde_json::to_string(&failure)?.into(),
        ];
        self.make(into, first, count, &select, values).await?;
        let change = |state| StateChange { state, failure: None, canceled: None };
        let superseded = StateChange { canceled: Some(canceled), ..change(State::Canceled) };
        let failed = StateChange { failure: Some(failure), ..change(State::Error) };
        let log = DeploymentEvent::Build {
            attempt: 1,
            event: BuildEvent::Log { step: Step::Build, lines: Vec::new() },
        };
        let told = |change| serde_json::to_string(&DeploymentEvent::State(change));
        let row = |position: u64, payload: &str, which: &str| {
            format!(
                "SELECT {own}, {position}, CAST(NULL AS integer), CAST(NULL AS bigint), {payload}, $1 FROM numbers WHERE {which}"
            )
        };
        let rows = [
            row(1, "$2", "TRUE"),
            row(2, &format!("REPLACE($3, '{by}', {next})"), &format!("NOT ({built})")),
            row(2, "$4", built),
            row(3, "$5", built),
            format!("SELECT {own}, 4, 1, 1, $6, $1 FROM numbers WHERE {built}"),
            row(5, "$7", ready),
            row(5, "$8", "n % 20 = 19"),
        ];
        let values = [
            at.into(),
            told(change(State::Pending))?.into(),
            told(superseded)?.into(),
            told(change(State::Queued))?.into(),
            told(change(State::Building))?.into(),
            serde_json::to_string(&log)?.into(),
            told(change(State::Ready))?.into(),
            told(failed)?.into(),
        ];
        let into = "deployment_event (deployment_id, position, attempt, sequence, payload, at)";
        self.make(into, first, count, &rows.join(" UNION ALL "), values).await?;
        let token = id(&self.ids.token, &hook_number);
        let into = "trigger (id, team_id, project_id, hook_id, token_id, method, client_address, user_agent, body_bytes, body_digest, \
                    title, decision, reason, deployment_id, at)";
        let select = format!(
            "SELECT {trigger}, $1, {project}, {hook}, {token}, 'POST', '192.0.2.1', 'cms/1.0', 0, '', '', 'ACCEPTED', '', {own}, $2 FROM numbers"
        );
        self.make(into, first, count, &select, [self.team.to_string().into(), at.into()]).await
    }

    /// Lets each project's address serve its newest READY deployment.
    async fn addresses(&self) -> Result<()> {
        let branch = BranchName::parse("main").map_err(|error| anyhow::anyhow!("{error}"))?;
        let sql = "INSERT INTO branch_address (project_id, branch, deployment_id, updated_at, held, branch_hash) \
                   SELECT project_id, 'main', MAX(id), $1, FALSE, $2 FROM deployment WHERE state = 'READY' GROUP BY project_id";
        self.run(sql, [self.began.into(), BranchHash::of(&branch).as_str().into()]).await
    }

    /// Drops the indexes of what is filled, and returns what makes them again.
    async fn drop_indexes(&self) -> Result<Vec<String>> {
        let backend = self.database.get_database_backend();
        let tables = "('deployment', 'deployment_event', 'trigger')";
        let sql = match backend {
            DbBackend::Postgres => format!(
                "SELECT indexname::text, indexdef FROM pg_indexes WHERE schemaname = current_schema() AND tablename IN {tables} \
                 AND indexname NOT IN (SELECT conname FROM pg_constraint)"
            ),
            _ => format!(
                "SELECT name, sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL AND tbl_name IN {tables}"
            ),
        };
        let mut makes = Vec::new();
        for row in self.database.query_all_raw(Statement::from_string(backend, sql)).await? {
            let (name, make): (String, String) = (row.try_get_by_index(0)?, row.try_get_by_index(1)?);
            self.run(&format!("DROP INDEX \"{name}\""), []).await?;
            makes.push(make);
        }
        Ok(makes)
    }
}
