//! `grapnel db`, as an operator runs it before a release's services start.

use std::{
    path::Path,
    process::{Command, Output},
};

use grapnel_e2e::{grapnel::binary, new_database, psql};
use serde_json::Value;

/// Runs a command with a data directory and, where there is one, a database's address.
fn operate(directory: &Path, database: Option<&str>, arguments: &[&str]) -> Output {
    let mut command = Command::new(binary());
    command.args(arguments).env("GRAPNEL_DATA_DIR", directory);
    for key in ["GRAPNEL_GATEWAY_KEY", "GRAPNEL_EXECUTOR_KEY"] {
        let made = Command::new(binary()).args(["key", "generate"]).output().unwrap();
        command.env(key, String::from_utf8(made.stdout).unwrap().trim());
    }
    command.envs(database.map(|url| ("GRAPNEL_DATABASE_URL", url))).output().unwrap()
}

fn schema(output: &Output) -> (Option<String>, usize, usize) {
    let text = String::from_utf8_lossy(&output.stdout);
    let told: Value = serde_json::from_str(&text).unwrap_or_else(|_| panic!("{output:?}"));
    let count = |name: &str| told[name].as_array().unwrap().len();
    (told["version"].as_str().map(str::to_owned), count("applied"), count("pending"))
}

fn comes_up_to_date(database: Option<&str>) {
    let directory = tempfile::tempdir().unwrap();
    let run = |command: &str| {
        let output = operate(directory.path(), database, &["db", command, "--output", "json"]);
        assert!(output.status.success(), "{output:?}");
        schema(&output)
    };
    let (none, applied, all) = run("status");
    assert_eq!((none, applied), (None, 0));
    assert!(all > 0);
    assert_eq!(run("status").2, all, "looking changes nothing");
    let (version, applied, pending) = run("migrate");
    assert_eq!((applied, pending), (all, 0));
    assert_eq!(run("migrate"), (version.clone(), all, 0), "again");
    assert_eq!(run("status"), (version, all, 0));
}

#[test]
fn an_embedded_database_comes_up_to_date_when_it_is_told_to() {
    comes_up_to_date(None);
}

#[test]
fn a_postgresql_comes_up_to_date_and_one_of_a_newer_release_is_left_alone() {
    let url = new_database(&format!("db-commands-{}", std::process::id()));
    comes_up_to_date(Some(&url));
    let newer = "INSERT INTO seaql_migrations VALUES ('m99991231_000001_later', 0)";
    assert!(psql().args([&url, "-qc", newer]).status().unwrap().success());
    let directory = tempfile::tempdir().unwrap();
    for arguments in [&["db", "status"][..], &["db", "migrate"], &["hooks"]] {
        let output = operate(directory.path(), Some(&url), arguments);
        let told =
            format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(!output.status.success(), "{arguments:?}: {told}");
        assert!(told.contains("m99991231_000001_later") || told.contains("newer"), "{arguments:?}: {told}");
    }
}
