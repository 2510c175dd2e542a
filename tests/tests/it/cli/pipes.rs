//! What is read by programs: pipes that are closed, devices that are full.

use std::{
    fs::OpenOptions,
    process::{Command, Output, Stdio},
};

use grapnel_e2e::{Grapnel, Repository, Setup, grapnel::binary};
use grapnel_proto::hooks::v1::{BuildSettings, CreateProjectRequest};

/// Runs a command whose reader has gone away before the first word.
fn unheard(command: &mut Command) -> Output {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    command.stdin(Stdio::null()).stdout(writer).output().unwrap()
}

fn is_quiet(output: &Output, what: &str) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{what}: {} {said}", output.status);
    assert!(said.is_empty(), "{what}: {said}");
}

#[test]
fn a_reader_that_goes_away_ends_a_command_without_a_word() {
    let directory = tempfile::tempdir().unwrap();
    for arguments in [
        &["settings"][..],
        &["completions", "bash"],
        &["man"],
        &["--help"],
        &["key", "generate"],
        &["db", "migrate"],
        &["db", "status"],
        &["db", "status", "--output", "json"],
    ] {
        let mut command = Command::new(binary());
        command.args(arguments).env("GRAPNEL_DATA_DIR", directory.path());
        is_quiet(&unheard(&mut command), &arguments.join(" "));
    }
    // Whatever doctor finds, it does not fall over it.
    let mut doctor = Command::new(binary());
    let output = unheard(doctor.arg("doctor").env("GRAPNEL_DATA_DIR", directory.path()));
    is_quiet(&output, "doctor");
}

#[test]
fn nobody_who_hears_of_a_failure_changes_its_exit_code() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut command = Command::new(binary());
    command.args(["project", "list"]).env("GRAPNEL_URL", "http://127.0.0.1:1").env("GRAPNEL_KEY", "nonsense");
    let status = command.stdout(Stdio::null()).stderr(writer).status().unwrap();
    assert_eq!(status.code(), Some(1));
}

#[test]
fn what_cannot_be_written_is_a_failure() {
    let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
    let output = Command::new(binary()).arg("settings").stdout(full).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("standard output cannot be written"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_thousand_lines_come_whole_and_as_far_as_they_are_read() {
    let grapnel = Grapnel::start(Setup::default()).await;
    let site = Repository::with(&grapnel.repositories().join("site"), &[("index.html", "hi")]);
    let settings = BuildSettings {
        build_command: Some("seq 1 100000".into()),
        output_directory: Some(".".into()),
        ..Default::default()
    };
    let request = CreateProjectRequest {
        name: "site".into(),
        repository_url: site.path(),
        settings: Some(settings),
        ..Default::default()
    };
    let (_, url) = grapnel.project(request).await;
    let id = grapnel.trigger(&url).await;
    grapnel.ready(&id).await;

    for follow in [&[][..], &["--follow"]] {
        let output = grapnel.cli(&[&["deployment", "logs", &id], follow].concat());
        let log = String::from_utf8(output.stdout).unwrap();
        let lines = log.lines().filter_map(|line| line.parse::<u32>().ok());
        assert!(lines.eq(1..=100_000), "{follow:?}: not every line, in order, once");
        assert!(output.status.success());
    }
    for arguments in [
        &["deployment", "logs", &id][..],
        &["deployment", "logs", "--follow", &id],
        &["deployment", "logs", &id, "--output", "json"],
        &["deployment", "list", "site"],
        &["deployment", "show", &id],
        &["project", "list", "--output", "json"],
        &["deploy", "site", "--wait"],
    ] {
        is_quiet(&unheard(&mut grapnel.command(arguments)), &arguments.join(" "));
    }
    let first = "set -o pipefail; \"$0\" deployment logs \"$1\" | head -1";
    let mut shell = Command::new("bash");
    shell.args(["-c", first]).arg(binary()).arg(&id);
    shell.env("GRAPNEL_URL", format!("http://{}", grapnel.grpc())).env("GRAPNEL_KEY", grapnel.key());
    let output = shell.output().unwrap();
    is_quiet(&output, "head");
    assert_eq!(output.stdout, b"[PENDING]\n");
}
