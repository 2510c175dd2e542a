//! `grapnel backup` and `grapnel restore`: the embedded database as one file. For the operator, on the machine itself: they
//! read the settings of the services and open the database, not a connection.

use std::{path::Path, process::ExitCode};

use grapnel_hooks::{
    DatabaseConfig,
    backup::{BackupError, Contents, Restored, backup, restore},
    sealing::Sealer,
};
use grapnel_runtime::Clock;
use serde_json::json;

use crate::{
    args::{Cli, Command, Format},
    exit::Failure,
    out,
};

/// Where it is written what belongs together.
const DOCS: &str = "docs/backup.md says more.";

/// Runs either command.
pub fn run(cli: &Cli, matches: &clap::ArgMatches) -> Result<ExitCode, Failure> {
    let mut settings = crate::serve::load(cli, matches);
    let database = DatabaseConfig::read(&mut settings);
    settings.finish().map_err(|error| Failure::usage(error.to_string()))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    match &cli.command {
        Command::Restore { file } => {
            let restored = runtime.block_on(restore(file, &database.url, Clock::system().now()));
            let restored = restored.map_err(|error| refused(&error))?;
            let missing = missing_keys(&database.secret_key_file, &restored.contents);
            out::text(&match cli.output {
                Format::Json => as_json(&restored.contents, |document| {
                    document["database"] = json!(restored.database);
                    document["kept"] = json!(restored.kept);
                    document["missingKeys"] = json!(missing);
                }),
                Format::Table => after_restore(&restored, &database.secret_key_file, &missing),
            })?;
        }
        Command::Backup { file, force } => {
            let taken = runtime.block_on(backup(&database.url, file, *force, Clock::system().now()));
            let contents = taken.map_err(|error| refused(&error))?;
            out::text(&match cli.output {
                Format::Json => as_json(&contents, |document| document["file"] = json!(file)),
                Format::Table => after_backup(file, &contents),
            })?;
        }
        _ => return Err(Failure::usage("this is no command of backups")),
    }
    Ok(ExitCode::SUCCESS)
}

fn after_backup(file: &Path, contents: &Contents) -> String {
    format!(
        "backup         {}\n{}\
         Not in it: secret.key, without which its secrets do not open, and which is to be kept apart;\n\
         admin.key, of which it has the hash; the artifacts of deployments. {DOCS}\n",
        file.display(),
        facts(contents)
    )
}

fn after_restore(restored: &Restored, key_file: &Path, missing: &[String]) -> String {
    let kept = match &restored.kept {
        Some(kept) => format!("kept           {} (what was there before)\n", kept.display()),
        None => String::new(),
    };
    format!(
        "restored       {}\n{}{kept}{}\
         Not in it: artifacts. READY deployments whose artifact is not beside the executors are\n\
         named in the log after the start. {DOCS}\n",
        restored.database.display(),
        facts(&restored.contents),
        warning(key_file, missing)
    )
}

fn facts(contents: &Contents) -> String {
    let Contents { taken_at, schema, projects, hooks, deployments, unfinished, newest_deployment_at, .. } =
        contents;
    let taken_at = taken_at.as_deref().unwrap_or("unknown: it was not made by `grapnel backup`");
    let newest = match newest_deployment_at {
        Some(newest) => format!("newest         {newest}\n"),
        None => String::new(),
    };
    format!(
        "taken at       {taken_at}\n\
         projects       {projects}\n\
         hooks          {hooks}\n\
         deployments    {deployments}, {unfinished} of them not ended\n\
         {newest}schema         {schema}\n"
    )
}

fn as_json(contents: &Contents, add: impl FnOnce(&mut serde_json::Value)) -> String {
    let mut document = json!({
        "takenAt": contents.taken_at,
        "schema": contents.schema,
        "projects": contents.projects,
        "hooks": contents.hooks,
        "deployments": contents.deployments,
        "unfinished": contents.unfinished,
        "newestDeploymentAt": contents.newest_deployment_at,
        "sealingKeys": contents.sealing_keys,
    });
    add(&mut document);
    format!("{document:#}\n")
}

/// Returns the keys under which secrets are sealed and that the key file lacks.
fn missing_keys(file: &Path, contents: &Contents) -> Vec<String> {
    let known = Sealer::open(file.to_owned(), false).map(|sealer| sealer.key_ids()).unwrap_or_default();
    contents.sealing_keys.iter().filter(|key| !known.contains(key)).cloned().collect()
}

fn warning(file: &Path, missing: &[String]) -> String {
    if missing.is_empty() {
        return String::new();
    }
    format!(
        "warning        its secrets are sealed under {}, which {} does not have:\n               \
         put the file back from where it is kept before the start\n",
        missing.join(", "),
        file.display()
    )
}

fn refused(error: &BackupError) -> Failure {
    let failure = Failure::failed(error.to_string());
    match error {
        BackupError::Exists(_) => failure.hint("Name another file, or take its place with --force."),
        BackupError::NotEmbedded => failure.hint(DOCS),
        BackupError::NoDatabase(_) => failure
            .hint("GRAPNEL_DATA_DIR or GRAPNEL_DATABASE_URL says where it is; `grapnel doctor` shows it."),
        _ => failure,
    }
}
