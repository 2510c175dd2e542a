//! `/projects/{project}/settings/general`: the project itself, how it is built, and its end.

use askama::Template;
use axum::{
    Router,
    extract::Path,
    response::Response,
    routing::{get, post},
};
use grapnel_domain::{Error, scope::Scope};
use grapnel_proto::hooks::v1::{DeleteProjectRequest, Project, ProjectChanges, UpdateProjectRequest};
use prost_types::FieldMask;

use super::{
    back, build_settings, done,
    form::{Alert, Form},
    input::Input,
    section::{Lacking, Nav, Opened, Section},
};
use crate::{
    dashboard::{
        components::Moment,
        forms::{Asked, Fields, Posted},
        links,
        page::{self, Frame},
        page_error::PageError,
        session::SignedIn,
    },
    hooks_client::answered_to_people as answered,
    server::Interface,
};

/// The routes.
pub fn routes() -> Router<Interface> {
    let again = |Path(project): Path<String>| back(Section::General, project);
    Router::new()
        .route("/projects/{project}/settings/general", get(show).post(save))
        .route("/projects/{project}/settings/general/build", post(save_build).get(again))
        .route("/projects/{project}/settings/general/delete", post(delete).get(again))
}

#[derive(Template)]
#[template(path = "settings/general.html")]
struct GeneralPage {
    frame: Frame,
    nav: Nav,
    lacking: Option<Lacking>,
    id: String,
    name: String,
    repository: String,
    branch: String,
    created: Option<Moment>,
    settings: Vec<(&'static str, String)>,
    alert: Alert,
    inputs: [Input; 3],
    save: String,
    build_alert: Alert,
    build: build_settings::Inputs,
    save_build: String,
    delete_alert: Alert,
    confirm: Input,
    delete: String,
}

/// The forms of the page.
#[derive(Default)]
struct Forms {
    project: Form,
    build: Form,
    deletion: Form,
}

/// `GET /projects/{project}/settings/general`
async fn show(
    signed_in: SignedIn,
    Path(project): Path<String>,
    Asked(asked): Asked,
) -> Result<Response, PageError> {
    let opened = Opened::by(signed_in, &project, Section::General).await?;
    Ok(page_of(&opened, Forms::default(), &asked))
}

/// `POST /projects/{project}/settings/general`: name, repository, production branch.
async fn save(
    Path(project): Path<String>,
    Posted { signed_in, fields }: Posted,
) -> Result<Response, PageError> {
    let opened = Opened::to(Scope::Write, signed_in, &project, Section::General).await?;
    let changes = ProjectChanges {
        name: fields.get("name").to_owned(),
        repository_url: fields.get("repository_url").to_owned(),
        production_branch: fields.get("production_branch").to_owned(),
        settings: None,
    };
    let paths = ["name", "repository_url", "production_branch"];
    match update(&opened, changes, &paths).await {
        Ok(changed) => Ok(saved(&changed)),
        Err(error) => {
            let project = Form::refused(fields, error)?;
            Ok(page_of(&opened, Forms { project, ..Forms::default() }, &Fields::default()))
        }
    }
}

/// `POST /projects/{project}/settings/general/build`
async fn save_build(
    Path(project): Path<String>,
    Posted { signed_in, fields }: Posted,
) -> Result<Response, PageError> {
    let opened = Opened::to(Scope::Write, signed_in, &project, Section::General).await?;
    let refused = match build_settings::read(&fields) {
        Ok(settings) => {
            let changes = ProjectChanges { settings: Some(settings), ..Default::default() };
            let paths = build_settings::paths(opened.signed_in.may(Scope::Admin));
            match update(&opened, changes, &paths).await {
                Ok(changed) => return Ok(saved(&changed)),
                Err(error) => Form::refused(fields, error)?,
            }
        }
        Err((field, what)) => Form::wrong(fields, field, what),
    };
    Ok(page_of(&opened, Forms { build: refused, ..Forms::default() }, &Fields::default()))
}

async fn update(opened: &Opened, changes: ProjectChanges, paths: &[&str]) -> Result<Project, Error> {
    let request = UpdateProjectRequest {
        project: opened.project.id.clone(),
        changes: Some(changes),
        update_mask: Some(FieldMask { paths: paths.iter().map(ToString::to_string).collect() }),
    };
    let answer = answered(opened.signed_in.caller.hooks().update_project(request)).await?;
    answer.project.ok_or_else(|| Error::internal("the hooks service answered no project"))
}

/// Leads back to the page, whose address changes with the project's name.
fn saved(project: &Project) -> Response {
    let page = links::settings_section(links::key_of(project), Section::General.word());
    done(&page, "project-saved")
}

/// `POST /projects/{project}/settings/general/delete`: with the name typed, since it cannot be undone.
async fn delete(
    Path(project): Path<String>,
    Posted { signed_in, fields }: Posted,
) -> Result<Response, PageError> {
    let opened = Opened::to(Scope::Write, signed_in, &project, Section::General).await?;
    if fields.get("confirmed") != opened.project.name {
        let what = "is not the project's name, so nothing was deleted";
        let deletion = Form::wrong(fields, "confirmed", what);
        return Ok(page_of(&opened, Forms { deletion, ..Forms::default() }, &Fields::default()));
    }
    let request = DeleteProjectRequest { project: opened.project.id.clone() };
    match answered(opened.signed_in.caller.hooks().delete_project(request)).await {
        Ok(_) => Ok(done(&links::projects(), "project-deleted")),
        Err(error) => {
            let deletion = Form::refused(fields, error)?;
            Ok(page_of(&opened, Forms { deletion, ..Forms::default() }, &Fields::default()))
        }
    }
}

fn page_of(opened: &Opened, forms: Forms, asked: &Fields) -> Response {
    let project = &opened.project;
    let Forms { project: form, build, deletion } = forms;
    let deletion = deletion.called("delete");
    let statuses = [form.status(), build.status(), deletion.status()];
    let status = statuses.into_iter().find(|status| !status.is_success()).unwrap_or_default();
    let settings = project.settings.clone().unwrap_or_default();
    let page = GeneralPage {
        frame: opened.frame(asked),
        nav: opened.nav(),
        lacking: opened.lacking(Scope::Write),
        id: project.id.clone(),
        name: project.name.clone(),
        repository: project.repository_url.clone(),
        branch: project.production_branch.clone(),
        created: Moment::of(project.created_at.as_ref(), opened.signed_in.now),
        settings: build_settings::facts(&settings),
        alert: form.alert(),
        inputs: inputs(&form, project),
        save: opened.link(),
        build_alert: build.alert(),
        build: build_settings::Inputs::of(&build, &settings, opened.signed_in.may(Scope::Admin)),
        save_build: opened.link_to("build"),
        delete_alert: deletion.alert(),
        confirm: deletion.text("confirmed", "The project's name", "").required().limit(100),
        delete: opened.link_to("delete"),
    };
    page::shown(status, &page)
}

fn inputs(form: &Form, project: &Project) -> [Input; 3] {
    [
        form.text("name", "Name", &project.name).required().limit(40).hint(
            "The beginning of the site's address: another name is another address, and the old one ends.",
        ),
        form.text("repository_url", "Repository", &project.repository_url)
            .required()
            .limit(2_000)
            .hint("The address that git clones from: https or ssh."),
        form.text("production_branch", "Production branch", &project.production_branch)
            .required()
            .limit(255)
            .hint("Its newest deployment that is ready is served at the project's address."),
    ]
}
