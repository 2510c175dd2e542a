//! `grapnel db`: the schema of the settings' database, for operators. It asks no service.

use std::process::ExitCode;

use chrono::{DateTime, SecondsFormat};
use clap::Subcommand;
use grapnel_hooks::store::{DatabaseSchema, database_schema, migrate_database};
use grapnel_runtime::settings::shared;
use serde_json::json;

use crate::{
    args::{Cli, Format},
    exit::Failure,
    out, serve,
};

#[derive(Subcommand, Clone, Copy, Debug)]
pub enum DbCommand {
    /// Bring the schema up to date, as services do when they start.
    Migrate,
    /// Show which migrations the database has, and which it lacks. Fails where a newer release has been there.
    Status,
}

/// Does it and shows the schema.
pub fn run(cli: &Cli, command: DbCommand, matches: &clap::ArgMatches) -> Result<ExitCode, Failure> {
    let mut settings = serve::load(cli, matches);
    let data_dir = shared::data_dir(&mut settings);
    let url: Option<String> = settings.get("database_url");
    let url = url.unwrap_or_else(|| format!("sqlite://{}", data_dir.join("grapnel.db").display()));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let found = runtime.block_on(async {
        match command {
            DbCommand::Migrate => migrate_database(&url).await,
            DbCommand::Status => database_schema(&url).await,
        }
    })?;
    match cli.output {
        Format::Json => out::line(&serde_json::to_string_pretty(&as_json(&found))?)?,
        Format::Table => out::text(&for_people(&found))?,
    }
    if found.schema.unknown.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    Err(Failure::failed("the database's schema is newer than this release")
        .hint("Start the release that made it or a later one, or restore the backup from before it."))
}

fn as_json(found: &DatabaseSchema) -> serde_json::Value {
    let applied =
        found.schema.applied.iter().map(|(name, at)| json!({ "name": name, "appliedAt": time(*at) }));
    json!({
        "database": found.address,
        "version": found.schema.applied.last().map(|(name, _)| name),
        "applied": applied.collect::<Vec<_>>(),
        "pending": found.schema.pending,
        "unknown": found.schema.unknown,
    })
}

fn for_people(found: &DatabaseSchema) -> String {
    let schema = &found.schema;
    let version = schema.applied.last().map_or("none", |(name, _)| name);
    let mut lines = vec![format!("database  {}", found.address), format!("version   {version}")];
    for (name, at) in &schema.applied {
        let word = if schema.unknown.contains(name) { "unknown" } else { "applied" };
        lines.push(format!("{word}   {name}  {}", time(*at)));
    }
    lines.extend(schema.pending.iter().map(|name| format!("pending   {name}")));
    lines.join("\n") + "\n"
}

fn time(seconds: i64) -> String {
    DateTime::from_timestamp(seconds, 0).unwrap_or_default().to_rfc3339_opts(SecondsFormat::Secs, true)
}
