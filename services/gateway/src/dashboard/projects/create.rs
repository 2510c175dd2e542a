//! `/projects/new`: a project in two steps. First its repository, which is looked into; then its name and branch.

use std::time::Duration;

use askama::Template;
use axum::response::{IntoResponse as _, Redirect, Response};
use grapnel_domain::{Error, Reason, name::ProjectName, scope::Scope};
use grapnel_proto::hooks::v1::{
    BuildSettings, CreateProjectRequest, InspectRepositoryRequest, InspectRepositoryResponse,
};
use http::StatusCode;

use crate::{
    dashboard::{
        forms::{Fields, Posted, Problems},
        links, notice,
        page::{self, Frame},
        page_error::PageError,
        session::SignedIn,
    },
    error::status_of,
    hooks_client::{answered_to_people as answered, answered_within},
};

/// How long a repository may take to tell its branches. The executor gives up before.
const LOOK: Duration = Duration::from_secs(75);

/// The first step.
#[derive(Template)]
#[template(path = "projects/new.html")]
struct RepositoryPage {
    frame: Frame,
    repository: String,
    problems: Problems,
    /// Whether it may be gone on with a repository that could not be looked into.
    may_go_on: bool,
}

/// The second step.
#[derive(Template)]
#[template(path = "projects/new_details.html")]
struct DetailsPage {
    frame: Frame,
    repository: String,
    name: String,
    branch: String,
    root_directory: String,
    /// The repository's branches; none where it has none, or was not looked into.
    branches: Vec<String>,
    /// Whether it was looked into.
    checked: bool,
    /// Whether it has more branches than these.
    truncated: bool,
    problems: Problems,
}

/// `GET /projects/new`
pub async fn begin(signed_in: SignedIn) -> Result<Response, PageError> {
    signed_in.needs(Scope::Write)?;
    Ok(ask_for_repository(&signed_in, "", None))
}

/// `POST /projects/new`: looks into the repository.
pub async fn look(Posted { signed_in, fields }: Posted) -> Result<Response, PageError> {
    signed_in.needs(Scope::Write)?;
    let repository = fields.get("repository");
    if repository.is_empty() {
        let missing =
            Error::invalid_field("repository_url", "is missing: type the address that git clones from");
        return Ok(ask_for_repository(&signed_in, repository, Some(&missing)));
    }
    let details = DetailsPage {
        frame: Frame::of(&signed_in, "New project"),
        repository: repository.to_owned(),
        name: suggested_name(repository),
        branch: "main".to_owned(),
        root_directory: String::new(),
        branches: Vec::new(),
        checked: false,
        truncated: false,
        problems: Problems::default(),
    };
    if fields.checked("unchecked") {
        return Ok(page::shown(StatusCode::OK, &details));
    }
    let request = InspectRepositoryRequest { project: String::new(), repository_url: repository.to_owned() };
    match answered_within(LOOK, signed_in.caller.repositories().inspect_repository(request)).await {
        Ok(found) => Ok(page::shown(StatusCode::OK, &details.with(found))),
        Err(error) if is_for_the_form(&error) => Ok(ask_for_repository(&signed_in, repository, Some(&error))),
        Err(error) => Err(error.into()),
    }
}

/// `POST /projects/new/create`
pub async fn create(Posted { signed_in, fields }: Posted) -> Result<Response, PageError> {
    signed_in.needs(Scope::Write)?;
    let root_directory = Some(fields.get("root_directory")).filter(|path| !path.is_empty());
    let request = CreateProjectRequest {
        name: fields.get("name").to_owned(),
        repository_url: fields.get("repository").to_owned(),
        production_branch: fields.get("branch").to_owned(),
        settings: root_directory
            .map(|path| BuildSettings { root_directory: Some(path.to_owned()), ..Default::default() }),
    };
    match answered(signed_in.caller.hooks().create_project(request)).await {
        Ok(created) => {
            let project = created.project.unwrap_or_default();
            let address = links::project(links::key_of(&project));
            let created = links::with_query(&address, &[(notice::PARAMETER, "project-created")]);
            Ok(Redirect::to(&created).into_response())
        }
        Err(error) if is_for_the_form(&error) => {
            let details = as_typed(&signed_in, &fields, &error);
            Ok(page::shown(status_of(error.reason), &details))
        }
        Err(error) => Err(error.into()),
    }
}

/// Tells whether an error is something that whoever fills in the form can do something about.
fn is_for_the_form(error: &Error) -> bool {
    matches!(
        error.reason,
        Reason::InvalidRequest
            | Reason::ProjectNameTaken
            | Reason::RepositoryUnreadable
            | Reason::ExecutorUnavailable
            | Reason::HostUnreachable
            | Reason::HooksUnavailable
    )
}

fn ask_for_repository(signed_in: &SignedIn, repository: &str, error: Option<&Error>) -> Response {
    let status = error.map_or(StatusCode::OK, |error| status_of(error.reason));
    let problems = error.map(|error| beside_fields(error, "repository_url")).unwrap_or_default();
    let unreached = [Reason::RepositoryUnreadable, Reason::ExecutorUnavailable, Reason::HostUnreachable];
    let step = RepositoryPage {
        frame: Frame::of(signed_in, "New project"),
        repository: repository.to_owned(),
        problems,
        may_go_on: error.is_some_and(|error| unreached.contains(&error.reason)),
    };
    page::shown(status, &step)
}

/// Puts what concerns a thing as a whole beside the field that names it.
fn beside_fields(error: &Error, field: &str) -> Problems {
    match error.reason {
        Reason::RepositoryUnreadable | Reason::ProjectNameTaken => {
            Problems::default().with(field, &error.message)
        }
        _ => Problems::from(error),
    }
}

fn as_typed(signed_in: &SignedIn, fields: &Fields, error: &Error) -> DetailsPage {
    let text = |name: &str| fields.get(name).to_owned();
    DetailsPage {
        frame: Frame::of(signed_in, "New project"),
        repository: text("repository"),
        name: text("name"),
        branch: text("branch"),
        root_directory: text("root_directory"),
        branches: fields
            .get("branches")
            .split(' ')
            .filter(|name| !name.is_empty())
            .map(str::to_owned)
            .collect(),
        checked: fields.checked("checked"),
        truncated: fields.checked("truncated"),
        problems: beside_fields(error, "name"),
    }
}

impl DetailsPage {
    /// Adds what was found in the repository.
    fn with(self, found: InspectRepositoryResponse) -> Self {
        let branches: Vec<_> = found.branches.into_iter().map(|branch| branch.name).collect();
        let likely = [found.default_branch, "main".to_owned(), "master".to_owned()];
        let branch = likely.into_iter().find(|name| branches.contains(name));
        let branch = branch.or_else(|| branches.first().cloned()).unwrap_or(self.branch);
        Self { branch, branches, checked: true, truncated: found.truncated, ..self }
    }

    /// The branches in one field: git allows no space in them (git-check-ref-format).
    fn all_branches(&self) -> String {
        self.branches.join(" ")
    }

    /// Whether one of the branches is to be chosen, rather than typed.
    fn is_choice(&self) -> bool {
        !self.truncated && self.branches.contains(&self.branch)
    }
}

/// Makes a project's name of the last part of a repository's address; empty where nothing of it fits.
fn suggested_name(repository: &str) -> String {
    let last = repository.trim_end_matches('/').rsplit(['/', ':']).next().unwrap_or_default();
    let plain = last.trim_end_matches(".git").chars().map(|c| match c {
        c if c.is_ascii_alphanumeric() => c.to_ascii_lowercase(),
        _ => '-',
    });
    let mut name = String::new();
    for c in plain {
        if c != '-' || !name.ends_with('-') {
            name.push(c);
        }
    }
    let name: String = name.trim_matches('-').chars().take(ProjectName::LIMIT).collect();
    let name = name.trim_end_matches('-');
    if name.parse::<ProjectName>().is_ok() { name.to_owned() } else { String::new() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_suggested_where_the_address_has_one() {
        for (repository, name) in [
            ("https://git.example/team/My_Site.git", "my-site"),
            ("git@git.example:team/site.git/", "site"),
            ("https://git.example/a..b--c", "a-b-c"),
            ("https://git.example/---", ""),
            ("https://git.example/<script>", "script"),
            ("", ""),
        ] {
            assert_eq!(suggested_name(repository), name, "{repository}");
        }
        let long = format!("https://git.example/{}", "x-".repeat(100));
        assert!(suggested_name(&long).parse::<ProjectName>().is_ok());
    }
}
