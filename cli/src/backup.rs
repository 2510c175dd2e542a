//! `grapnel backup` and `grapnel restore`: the embedded database as one file. For the operator, on the machine itself: they
//! read the settings of the services and open the database, not a connection.

use std::{path::Path, process::ExitCode};

use grapnel_hooks::{
    DatabaseConfig,
    backup::{BackupError, Contents, backup, restore},
    sealing::Sealer,
};
use grapnel_runtime::Clock;
use serde_json::json;

use crate::{
    args::{Cli, Command, Format},
    exit::Failure,
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
            match cli.output {
                Format::Json => print_json(&restored.contents, |document| {
                    document["database"] = json!(restored.database);
                    document["kept"] = json!(restored.kept);
                    document["missingKeys"] = json!(missing);
                }),
                Format::Table => {
                    println!("restored       {}", restored.database.display());
                    print(&restored.contents);
                    if let Some(kept) = &restored.kept {
                        println!("kept           {} (what was there before)", kept.display());
                    }
                    print_missing(&database.secret_key_file, &missing);
                    println!(
                        "Not in it: artifacts. READY deployments whose artifact is not beside the executors are"
                    );
                    println!("named in the log after the start. {DOCS}");
                }
            }
        }
        Command::Backup { file, force } => {
            let taken = runtime.block_on(backup(&database.url, file, *force, Clock::system().now()));
            let contents = taken.map_err(|error| refused(&error))?;
            match cli.output {
                Format::Json => print_json(&contents, |document| document["file"] = json!(file)),
                Format::Table => {
                    println!("backup         {}", file.display());
                    print(&contents);
                    println!(
                        "Not in it: secret.key, without which its secrets do not open, and which is to be kept apart;"
                    );
                    println!("admin.key, of which it has the hash; the artifacts of deployments. {DOCS}");
                }
            }
        }
        _ => return Err(Failure::usage("this is no command of backups")),
    }
    Ok(ExitCode::SUCCESS)
}

fn print(contents: &Contents) {
    let Contents { taken_at, schema, projects, hooks, deployments, unfinished, newest_deployment_at, .. } =
        contents;
    println!(
        "taken at       {}",
        taken_at.as_deref().unwrap_or("unknown: it was not made by `grapnel backup`")
    );
    println!("projects       {projects}");
    println!("hooks          {hooks}");
    println!("deployments    {deployments}, {unfinished} of them not ended");
    if let Some(newest) = newest_deployment_at {
        println!("newest         {newest}");
    }
    println!("schema         {schema}");
}

fn print_json(contents: &Contents, add: impl FnOnce(&mut serde_json::Value)) {
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
    println!("{document:#}");
}

/// Returns the keys under which secrets are sealed and that the key file lacks.
fn missing_keys(file: &Path, contents: &Contents) -> Vec<String> {
    let known = Sealer::open(file.to_owned(), false).map(|sealer| sealer.key_ids()).unwrap_or_default();
    contents.sealing_keys.iter().filter(|key| !known.contains(key)).cloned().collect()
}

fn print_missing(file: &Path, missing: &[String]) {
    if !missing.is_empty() {
        let keys = missing.join(", ");
        println!(
            "warning        its secrets are sealed under {keys}, which {} does not have:",
            file.display()
        );
        println!("               put the file back from where it is kept before the start");
    }
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
