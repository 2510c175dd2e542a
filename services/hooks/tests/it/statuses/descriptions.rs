//! What is sent, against what git hosts publish of their interfaces.
//!
//! GitHub's and Forgejo's own descriptions are served by prism, which refuses what they do not describe. GitLab and
//! Bitbucket publish none in any registry of packages; what they document is written down here, with its address.

use std::{
    path::PathBuf,
    process::{Command, Stdio},
    time::Duration,
};

use chrono::{DateTime, Utc};
use grapnel_domain::{
    SecretText,
    commit_status::{GitHost as Kind, Report, ReportState},
};
use grapnel_hooks::{
    model::StatusDestination,
    outbound::{
        http::{HttpClient, Reach},
        statuses::{Statement, request},
    },
};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, BufReader};

use super::*;

/// A name and a description that are longer than any host takes.
fn long() -> (String, String) {
    (format!("grapnel/{}/{}", "x".repeat(40), "ü".repeat(100)), "`make` ended early. ".repeat(30))
}

fn statement<T>(
    destination: &StatusDestination,
    state: ReportState,
    with: impl FnOnce(&Statement<'_>) -> T,
) -> T {
    let (context, description) = long();
    with(&Statement {
        destination,
        commit: &commit(7),
        context: &context,
        report: &Report { state, description },
        page: "https://deploy.example.org/v1/status/dpl_1/aa",
    })
}

fn destination(host: Kind, api_base: &str) -> StatusDestination {
    StatusDestination {
        host,
        api_base: api_base.parse().unwrap(),
        repository: "team/site".into(),
        token: SecretText::new(TOKEN),
    }
}

#[expect(clippy::disallowed_methods, reason = "tests are told by their environment where prism is")]
fn tools() -> PathBuf {
    let variable = "GRAPNEL_TEST_PRISM";
    std::env::var(variable).unwrap_or_else(|_| panic!("{variable} is not set; `make test` sets it")).into()
}

/// Serves a description, and refuses what it does not describe.
async fn prism(description: &str) -> (tokio::process::Child, String) {
    let mut command = Command::new(tools().join("prism"));
    command.args(["mock", "--host", "127.0.0.1", "--port", "0"]).arg(tools().join(description));
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    let mut prism = tokio::process::Command::from(command).kill_on_drop(true).spawn().unwrap();
    let mut lines = BufReader::new(prism.stdout.take().unwrap()).lines();
    let address = async {
        while let Some(line) = lines.next_line().await.unwrap() {
            if let Some((_, address)) = line.split_once("Prism is listening on ") {
                return address.trim().to_owned();
            }
        }
        panic!("prism did not start");
    };
    let address = tokio::time::timeout(Duration::from_secs(60), address).await.expect("prism is not ready");
    // It goes on writing, and must not have to wait for a reader.
    tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
    (prism, address)
}

async fn is_as_described(host: Kind, description: &str) {
    let (_prism, address) = prism(description).await;
    let client = HttpClient::new(Reach { allowed: vec!["127.0.0.0/8".parse().unwrap()] }, None).unwrap();
    let destination = destination(host, &address);
    let now: DateTime<Utc> = "2026-01-01T00:00:00Z".parse().unwrap();
    for state in ReportState::ALL {
        let sent = statement(&destination, state, |it| request(it).unwrap());
        let answer = client.post(&sent.url, sent.headers.clone(), sent.body, now).await.unwrap();
        assert_eq!(answer.status, 201, "{state}: {}", answer.body);
        let wrong = json!({ "state": 7, "target_url": true }).to_string().into_bytes();
        let refused = client.post(&sent.url, sent.headers, wrong, now).await.unwrap();
        assert!(matches!(refused.status, 400 | 422), "prism takes anything: {}", refused.body);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn github_is_sent_what_its_own_description_wants() {
    is_as_described(Kind::GitHub, "github.json").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn gitea_is_sent_what_forgejos_own_description_wants() {
    is_as_described(Kind::Gitea, "forgejo.json").await;
}

/// What a documented interface takes: the address, and each field with the most characters that it has.
struct Documented {
    address: String,
    fields: &'static [(&'static str, usize)],
    states: &'static [&'static str],
}

fn holds_to(host: Kind, api_base: &str, documented: &Documented) {
    let destination = destination(host, api_base);
    for state in ReportState::ALL {
        let sent = statement(&destination, state, |it| request(it).unwrap());
        assert_eq!(sent.url.as_str(), documented.address);
        let body: Value = serde_json::from_slice(&sent.body).unwrap();
        let body = body.as_object().unwrap();
        let mut names: Vec<_> = body.keys().map(String::as_str).collect();
        let mut known: Vec<_> = documented.fields.iter().map(|(name, _)| *name).collect();
        names.sort_unstable();
        known.sort_unstable();
        assert_eq!(names, known);
        for (name, most) in documented.fields {
            let text = body[*name].as_str().unwrap();
            assert!(!text.is_empty() && text.chars().count() <= *most, "{name} is {text:?}");
        }
        let state = body["state"].as_str().unwrap();
        assert!(documented.states.contains(&state), "{state} is none of {:?}", documented.states);
    }
}

/// As <https://docs.gitlab.com/api/commits/#set-commit-pipeline-status> has it; the lengths are those of its database.
#[test]
fn gitlab_is_sent_what_its_documentation_names() {
    holds_to(
        Kind::GitLab,
        "https://gitlab.com/api/v4",
        &Documented {
            address: format!("https://gitlab.com/api/v4/projects/team%2Fsite/statuses/{}", commit(7)),
            fields: &[("state", 16), ("name", 255), ("description", 255), ("target_url", 255)],
            states: &["pending", "running", "success", "failed", "canceled", "skipped"],
        },
    );
}

/// As <https://developer.atlassian.com/cloud/bitbucket/rest/api-group-commit-statuses/> has it. A URL is required, and a
/// key of more than 40 characters is refused.
#[test]
fn bitbucket_is_sent_what_its_documentation_names() {
    holds_to(
        Kind::Bitbucket,
        "https://api.bitbucket.org/2.0",
        &Documented {
            address: format!(
                "https://api.bitbucket.org/2.0/repositories/team/site/commit/{}/statuses/build",
                commit(7)
            ),
            fields: &[("state", 16), ("key", 40), ("name", 255), ("description", 255), ("url", 512)],
            states: &["SUCCESSFUL", "FAILED", "INPROGRESS", "STOPPED"],
        },
    );
}
