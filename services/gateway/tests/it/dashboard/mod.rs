//! The dashboard's pages, as a browser without scripts has them.

mod attacks;
mod deployments;
mod forgery;
mod new_project;
mod projects;
mod sessions;
mod settings;
mod sign_in;

use grapnel_proto::hooks::v1::{
    Deployment, DeploymentState, ListProjectsRequest, ListProjectsResponse, Project,
};
use prost_types::Timestamp;

use crate::support::{FakeHooks, Served};

/// What does nothing where it is escaped.
const HARMFUL: &str = "\"'><img src=x onerror=alert(1)></title><script>alert(1)</script>{{7*7}}";

/// Makes a project of the team.
fn project(name: &str) -> Project {
    Project {
        id: format!("prj_{name}"),
        name: name.into(),
        repository_url: "https://git.example/team/site.git".into(),
        production_branch: "main".into(),
        site_url: format!("http://{name}.localhost:7380/"),
        ..Default::default()
    }
}

/// Makes a deployment of a project.
fn deployment(project: &str, id: &str, state: DeploymentState) -> Deployment {
    Deployment {
        id: format!("dpl_{id}"),
        project_id: format!("prj_{project}"),
        branch: "main".into(),
        commit_message: "Say hello".into(),
        state: state.into(),
        created_at: Some(Timestamp { seconds: 1_767_225_600, nanos: 0 }),
        ..Default::default()
    }
}

/// Lets the team have these projects.
fn have(hooks: &FakeHooks, projects: Vec<Project>, latest: Vec<Deployment>) {
    hooks.answer("HookService/ListProjects", move |_: ListProjectsRequest| {
        Ok(ListProjectsResponse {
            projects: projects.clone(),
            latest_deployments: latest.clone(),
            ..Default::default()
        })
    });
}

/// Lets the team have no project.
fn no_projects(served: &Served) {
    have(&served.hooks, Vec::new(), Vec::new());
}
