//! Deployments and the addresses that serve them, for people.

use std::collections::HashMap;

use grapnel_proto::hooks::v1::{Address, CommitStatus, Deployment, DeploymentState, Fault};

use super::{Printer, count, printable};
use crate::terminal::Colour;

impl Printer {
    /// Shows deployments; `projects` are the names of theirs by id, where they are of several.
    pub fn deployments(
        &self,
        deployments: &[Deployment],
        projects: Option<&HashMap<String, String>>,
    ) -> String {
        let rows = deployments.iter().map(|it| {
            let commit = it.commit.get(..12).unwrap_or_default().to_owned();
            let by = if it.hook_name.is_empty() { "key".to_owned() } else { it.hook_name.clone() };
            let mut row = vec![it.id.clone(), state(it)];
            row.extend(projects.map(|names| names.get(&it.project_id).unwrap_or(&it.project_id).clone()));
            row.extend([it.branch.clone(), commit, by, self.ago(it.created_at.as_ref())]);
            row
        });
        let head: &[&str] = match projects {
            Some(_) => &["ID", "STATE", "PROJECT", "BRANCH", "COMMIT", "BY", "CREATED"],
            None => &["ID", "STATE", "BRANCH", "COMMIT", "BY", "CREATED"],
        };
        self.table(head, rows, "there are none; `grapnel trigger` and `grapnel deploy` make deployments")
    }

    /// Shows addresses.
    pub fn addresses(&self, addresses: &[Address]) -> String {
        let rows = addresses.iter().map(|it| {
            let held = if it.held { "held" } else { "newest" };
            let url = if it.project_url.is_empty() { &it.url } else { &it.project_url };
            vec![
                it.branch.clone(),
                it.deployment_id.clone(),
                held.to_owned(),
                url.clone(),
                self.ago(it.updated_at.as_ref()),
            ]
        });
        self.table(
            &["BRANCH", "SERVES", "WHICH", "URL", "SINCE"],
            rows,
            "nothing is served yet; a branch has an address with its first READY deployment",
        )
    }

    /// Shows one deployment.
    pub fn deployment(&self, it: &Deployment) -> String {
        let mut fields = vec![
            ("deployment", it.id.clone()),
            ("state", state(it)),
            ("branch", it.branch.clone()),
            ("commit", format!("{} {}", it.commit.get(..12).unwrap_or_default(), it.commit_message)),
            ("created", self.ago(it.created_at.as_ref())),
        ];
        if !it.hook_name.is_empty() {
            fields.push(("hook", it.hook_name.clone()));
        }
        if !it.title.is_empty() {
            fields.push(("title", it.title.clone()));
        }
        if it.trigger_count > 1 {
            fields.push(("answers", count(it.trigger_count.into(), "trigger")));
        }
        if !it.executor.is_empty() {
            fields.push(("executor", it.executor.clone()));
        }
        if let Some(by) = it.cancellation.as_ref().map(|it| &it.superseded_by).filter(|by| !by.is_empty()) {
            fields.push(("superseded by", by.clone()));
        }
        if let Some(failure) = &it.failure {
            let fault = if failure.fault() == Fault::User { "USER" } else { "INFRASTRUCTURE" };
            fields.push(("failure", format!("{} ({fault}): {}", failure.code, failure.message)));
        }
        if it.promoted {
            fields.push(("served", "by its branch's address".to_owned()));
        }
        if let Some(artifact) = &it.artifact {
            let size = format!("{}, {} bytes", count(artifact.files, "file"), artifact.bytes);
            match &it.artifact_removed_at {
                Some(at) => fields.push(("artifact", format!("{size}, removed {}", self.ago(Some(at))))),
                None => fields.extend([("artifact", size), ("site", it.site_url.clone())]),
            }
        }
        if let Some(at) = &it.log_removed_at {
            fields.push(("log", format!("removed {}", self.ago(Some(at)))));
        }
        if let Some(status) = &it.commit_status {
            fields.push(("status", commit_status(status)));
        }
        self.fields(&fields)
    }
}

/// Tells in one line what a git host is told of a deployment, and how far that has come.
fn commit_status(it: &CommitStatus) -> String {
    let state = it.state().as_str_name().trim_start_matches("COMMIT_STATE_").to_lowercase();
    let tries = count(it.tries.into(), "attempt");
    let how = if it.delivered {
        "told".to_owned()
    } else if it.overtaken {
        "a newer deployment of the commit speaks instead".to_owned()
    } else if it.gave_up {
        format!("given up: {}", printable(&it.last_error))
    } else if it.last_error.is_empty() {
        "not told yet".to_owned()
    } else {
        format!("not told after {tries}, tried again: {}", printable(&it.last_error))
    };
    format!("{} {state} \"{}\" ({how})", printable(&it.context), printable(&it.description))
}

/// Returns a state's short name, with what belongs to it.
fn state(deployment: &Deployment) -> String {
    let name = state_name(deployment.state());
    match (&deployment.failure, &deployment.cancellation) {
        (Some(failure), _) if deployment.state() == DeploymentState::Error => {
            format!("{name} {}", failure.code)
        }
        (_, Some(cancellation)) => format!("{name} {}", reason(cancellation.reason().as_str_name())),
        _ => name.to_owned(),
    }
}

/// Returns the colour of a state.
pub fn colour_of_state(state: DeploymentState) -> Option<Colour> {
    super::colour_of(state_name(state))
}

/// Returns a state's short name.
pub fn state_name(state: DeploymentState) -> &'static str {
    state.as_str_name().trim_start_matches("DEPLOYMENT_STATE_")
}

fn reason(name: &str) -> &str {
    name.trim_start_matches("CANCEL_REASON_")
}
