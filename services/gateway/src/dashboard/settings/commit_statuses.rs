//! `/projects/{project}/settings/statuses`: what the git host is told about the project's commits.

use askama::Template;
use axum::{Router, extract::Path, response::Response, routing::get};
use grapnel_domain::scope::Scope;
use grapnel_proto::hooks::v1::{
    CommitStatusMode, CommitStatuses, GetCommitStatusesRequest, GitHost, SetCommitStatusesRequest,
    StatusTokenSource,
};

use super::{
    done,
    form::{Alert, Form},
    input::Input,
    section::{Lacking, Nav, Opened, Section},
};
use crate::{
    dashboard::{
        forms::{Asked, Fields, Posted},
        page::{self, Frame},
        page_error::{PageError, sentence},
        session::SignedIn,
    },
    hooks_client::answered_to_people as answered,
    server::Interface,
};

const MODES: [(CommitStatusMode, &str, &str); 3] = [
    (CommitStatusMode::Automatic, "automatic", "Automatic: by the repository's address"),
    (CommitStatusMode::ByHand, "by-hand", "By hand: the host and the address below"),
    (CommitStatusMode::Off, "off", "Off: nothing is told"),
];

const HOSTS: [(GitHost, &str, &str); 4] = [
    (GitHost::Github, "github", "GitHub, GitHub Enterprise"),
    (GitHost::Gitlab, "gitlab", "GitLab"),
    (GitHost::Gitea, "gitea", "Gitea, Forgejo"),
    (GitHost::Bitbucket, "bitbucket", "Bitbucket Cloud"),
];

/// The routes.
pub fn routes() -> Router<Interface> {
    Router::new().route("/projects/{project}/settings/statuses", get(show).post(save))
}

#[derive(Template)]
#[template(path = "settings/commit_statuses.html")]
struct StatusesPage {
    frame: Frame,
    nav: Nav,
    lacking: Option<Lacking>,
    /// What is told and where, or why nothing is.
    told: String,
    token: String,
    repository: String,
    api_base: String,
    alert: Alert,
    inputs: [Input; 4],
    save: String,
}

/// `GET /projects/{project}/settings/statuses`
async fn show(
    signed_in: SignedIn,
    Path(project): Path<String>,
    Asked(asked): Asked,
) -> Result<Response, PageError> {
    let opened = Opened::by(signed_in, &project, Section::CommitStatuses).await?;
    page_of(&opened, &Form::default(), &asked).await
}

/// `POST /projects/{project}/settings/statuses`
async fn save(
    Path(project): Path<String>,
    Posted { signed_in, fields }: Posted,
) -> Result<Response, PageError> {
    let opened = Opened::to(Scope::Write, signed_in, &project, Section::CommitStatuses).await?;
    let mode = MODES.iter().find(|(_, word, _)| *word == fields.get("mode")).map(|(mode, ..)| *mode);
    let by_hand = mode == Some(CommitStatusMode::ByHand);
    let host = HOSTS.iter().find(|(_, word, _)| by_hand && *word == fields.get("host"));
    let request = SetCommitStatusesRequest {
        project: opened.project.id.clone(),
        mode: mode.unwrap_or_default().into(),
        host: host.map_or(0, |(host, ..)| (*host).into()),
        api_base: if by_hand { fields.get("api_base").to_owned() } else { String::new() },
        token: fields.get("token").to_owned(),
    };
    match answered(opened.signed_in.caller.statuses().set_commit_statuses(request)).await {
        Ok(_) => Ok(done(&opened.link(), "statuses-saved")),
        Err(error) => page_of(&opened, &Form::refused(fields, error)?, &Fields::default()).await,
    }
}

async fn page_of(opened: &Opened, form: &Form, asked: &Fields) -> Result<Response, PageError> {
    let request = GetCommitStatusesRequest { project: opened.project.id.clone() };
    let answer = answered(opened.signed_in.caller.statuses().get_commit_statuses(request)).await?;
    let statuses = answer.commit_statuses.unwrap_or_default();
    let page = StatusesPage {
        frame: opened.frame(asked),
        nav: opened.nav(),
        lacking: opened.lacking(Scope::Write),
        told: told(&statuses),
        token: token(&statuses),
        repository: statuses.repository.clone(),
        api_base: statuses.api_base.clone(),
        alert: form.alert(),
        inputs: inputs(form, &statuses),
        save: opened.link(),
    };
    Ok(page::shown(form.status(), &page))
}

fn told(statuses: &CommitStatuses) -> String {
    if !statuses.silent_because.is_empty() {
        return format!("Nothing is told. {}", sentence(&statuses.silent_because));
    }
    let host = HOSTS.iter().find(|(host, ..)| *host == statuses.host());
    let host = host.map_or("the git host", |(_, _, called)| *called);
    format!("{host} is told of each commit whether its deployment waits, is ready, or failed.")
}

fn token(statuses: &CommitStatuses) -> String {
    match statuses.token_source() {
        StatusTokenSource::Unspecified => "None".to_owned(),
        StatusTokenSource::Given if statuses.token_last_four.is_empty() => "Given here".to_owned(),
        StatusTokenSource::Given => format!("Given here, ends in …{}", statuses.token_last_four),
        StatusTokenSource::Credential => "The credential for the repository's host".to_owned(),
    }
}

fn inputs(form: &Form, statuses: &CommitStatuses) -> [Input; 4] {
    let mode =
        MODES.iter().find(|(mode, ..)| *mode == statuses.mode()).map_or("automatic", |(_, word, _)| word);
    let host = HOSTS.iter().find(|(host, ..)| *host == statuses.host()).map_or("github", |(_, word, _)| word);
    let modes = MODES.map(|(_, word, called)| (word.to_owned(), called.to_owned())).into();
    let hosts = HOSTS.map(|(_, word, called)| (word.to_owned(), called.to_owned())).into();
    [
        form.choice("mode", "What is told", mode, modes).required(),
        form.choice("host", "Host", host, hosts).hint("Counts when it is set by hand."),
        form.text("api_base", "Address of its interface", &statuses.api_base)
            .limit(2_000)
            .hint("Such as https://git.example.org/api/v1. Counts when it is set by hand."),
        form.secret("token", "Token")
            .limit(4_096)
            .hint("What opens the interface. It is sealed and never shown again; nothing typed keeps the one that is there."),
    ]
}
