//! `grapnel status`.

use std::{io::Read as _, path::Path, process::ExitCode};

use grapnel_domain::SecretText;
use grapnel_proto::hooks::v1::{
    CommitStatusMode, CommitStatuses, GetCommitStatusesRequest, GitHost, SetCommitStatusesRequest,
    StatusTokenSource,
};

use super::Client;
use crate::{
    args::{GitHostArg, StatusCommand},
    exit::Failure,
};

impl Client {
    pub(super) async fn status(&mut self, command: StatusCommand) -> Result<ExitCode, Failure> {
        let request = match command {
            StatusCommand::Show { project } => {
                let request = GetCommitStatusesRequest { project };
                let answer = self.answer(self.statuses.clone().get_commit_statuses(request)).await?;
                self.show_statuses(&answer.commit_statuses.unwrap_or_default())?;
                return Ok(ExitCode::SUCCESS);
            }
            StatusCommand::Set { project, host, api_base, token_file } => SetCommitStatusesRequest {
                project,
                mode: CommitStatusMode::ByHand.into(),
                host: to_wire(host).into(),
                api_base,
                token: token(token_file.as_deref())?,
            },
            StatusCommand::Off { project } => of_mode(project, CommitStatusMode::Off, String::new()),
            StatusCommand::Auto { project, token_file } => {
                of_mode(project, CommitStatusMode::Automatic, token(token_file.as_deref())?)
            }
        };
        let answer = self.answer(self.statuses.clone().set_commit_statuses(request)).await?;
        self.show_statuses(&answer.commit_statuses.unwrap_or_default())?;
        Ok(ExitCode::SUCCESS)
    }

    fn show_statuses(&self, it: &CommitStatuses) -> Result<(), Failure> {
        self.printer.message("grapnel.hooks.v1.CommitStatuses", it, |printer| {
            let mode = match it.mode() {
                CommitStatusMode::ByHand => "set by hand",
                CommitStatusMode::Off => "off",
                CommitStatusMode::Automatic | CommitStatusMode::Unspecified => "automatic",
            };
            let host = match it.host() {
                GitHost::Unspecified => "(unknown)".to_owned(),
                known => known.as_str_name().trim_start_matches("GIT_HOST_").to_lowercase(),
            };
            let token = match it.token_source() {
                StatusTokenSource::Unspecified => "(none)".to_owned(),
                StatusTokenSource::Given => format!("given, …{}", it.token_last_four),
                StatusTokenSource::Credential => "the credential for the repository's host".to_owned(),
            };
            let told = if it.silent_because.is_empty() {
                "yes".to_owned()
            } else {
                format!("no: {}", it.silent_because)
            };
            printer.fields(&[
                ("told", told),
                ("mode", mode.to_owned()),
                ("host", host),
                ("interface", it.api_base.clone()),
                ("repository", it.repository.clone()),
                ("token", token),
            ])
        })
    }
}

fn of_mode(project: String, mode: CommitStatusMode, token: String) -> SetCommitStatusesRequest {
    SetCommitStatusesRequest { project, mode: mode.into(), token, ..Default::default() }
}

fn to_wire(host: GitHostArg) -> GitHost {
    match host {
        GitHostArg::Github => GitHost::Github,
        GitHostArg::Gitlab => GitHost::Gitlab,
        GitHostArg::Gitea => GitHost::Gitea,
        GitHostArg::Bitbucket => GitHost::Bitbucket,
    }
}

/// Reads a token from a file or from standard input: on a command line everybody on the machine could read it.
fn token(file: Option<&Path>) -> Result<String, Failure> {
    let Some(file) = file else {
        return Ok(String::new());
    };
    let text = if file == Path::new("-") {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text)?;
        text
    } else {
        std::fs::read_to_string(file).map_err(|error| {
            Failure::failed(format!("the token file {} cannot be read: {error}", file.display()))
        })?
    };
    let text = SecretText::new(text);
    match text.expose().trim() {
        "" => Err(Failure::usage("the token file is empty")),
        token => Ok(token.to_owned()),
    }
}
