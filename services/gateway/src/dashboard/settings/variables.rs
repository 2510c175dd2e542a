//! `/projects/{project}/settings/variables`: the environment variables of the project's builds.

use askama::Template;
use axum::{
    Router,
    extract::Path,
    response::Response,
    routing::{get, post},
};
use grapnel_domain::scope::Scope;
use grapnel_proto::hooks::v1::{
    DeleteVariableRequest, ListVariablesRequest, SetVariablesRequest, Variable, VariableValue,
};

use super::{
    back, done,
    form::{Alert, Form},
    input::Input,
    section::{Lacking, Nav, Opened, Section},
};
use crate::{
    dashboard::{
        components::{Action, Empty, Moment},
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
    let again = |Path(project): Path<String>| back(Section::Variables, project);
    Router::new()
        .route("/projects/{project}/settings/variables", get(show).post(set))
        .route("/projects/{project}/settings/variables/delete", post(delete).get(again))
}

#[derive(Template)]
#[template(path = "settings/variables.html")]
struct VariablesPage {
    frame: Frame,
    nav: Nav,
    lacking: Option<Lacking>,
    rows: Vec<Row>,
    empty: Empty,
    alert: Alert,
    inputs: [Input; 4],
    set: String,
}

/// One variable.
struct Row {
    name: String,
    /// `None` for a secret.
    value: Option<String>,
    branches: String,
    at: Option<Moment>,
    edit: String,
    delete: Action,
}

/// `GET /projects/{project}/settings/variables`
async fn show(
    signed_in: SignedIn,
    Path(project): Path<String>,
    Asked(asked): Asked,
) -> Result<Response, PageError> {
    let opened = Opened::by(signed_in, &project, Section::Variables).await?;
    page_of(&opened, &Form::default(), &asked).await
}

/// `POST /projects/{project}/settings/variables`
async fn set(
    Path(project): Path<String>,
    Posted { signed_in, fields }: Posted,
) -> Result<Response, PageError> {
    let opened = Opened::to(Scope::Write, signed_in, &project, Section::Variables).await?;
    let variable = VariableValue {
        name: fields.get("name").to_owned(),
        // Browsers send the ends of lines as CR LF; a build wants them as they were typed.
        value: fields.exact("value").replace("\r\n", "\n"),
        secret: fields.checked("secret"),
        branches: fields.get("branches").to_owned(),
    };
    let request = SetVariablesRequest { project: opened.project.id.clone(), variables: vec![variable] };
    match answered(opened.signed_in.caller.variables().set_variables(request)).await {
        Ok(_) => Ok(done(&opened.link(), "variable-set")),
        Err(error) => page_of(&opened, &Form::refused(fields, error)?, &Fields::default()).await,
    }
}

/// `POST /projects/{project}/settings/variables/delete`
async fn delete(
    Path(project): Path<String>,
    Posted { signed_in, fields }: Posted,
) -> Result<Response, PageError> {
    let opened = Opened::to(Scope::Write, signed_in, &project, Section::Variables).await?;
    let request = DeleteVariableRequest {
        project: opened.project.id.clone(),
        name: fields.get("name").to_owned(),
        branches: fields.get("branches").to_owned(),
    };
    answered(opened.signed_in.caller.variables().delete_variable(request)).await?;
    Ok(done(&opened.link(), "variable-deleted"))
}

async fn page_of(opened: &Opened, form: &Form, asked: &Fields) -> Result<Response, PageError> {
    let request = ListVariablesRequest { project: opened.project.id.clone() };
    let answer = answered(opened.signed_in.caller.variables().list_variables(request)).await?;
    let edited = answer.variables.iter().find(|it| {
        !form.is_refused() && it.name == asked.get("name") && it.branches == asked.get("branches")
    });
    let empty = Empty {
        title: "No variable yet",
        text:
            "Builds see the variables of their branch. A secret one is never shown again, and masked in logs."
                .to_owned(),
        action: None,
    };
    let page = VariablesPage {
        frame: opened.frame(asked),
        nav: opened.nav(),
        lacking: opened.lacking(Scope::Write),
        rows: answer.variables.iter().map(|variable| row(opened, variable)).collect(),
        empty,
        alert: form.alert(),
        inputs: inputs(form, edited),
        set: opened.link(),
    };
    Ok(page::shown(form.status(), &page))
}

fn inputs(form: &Form, edited: Option<&Variable>) -> [Input; 4] {
    let known = edited.cloned().unwrap_or_default();
    [
        form.text("name", "Name", &known.name)
            .required()
            .limit(128)
            .hint("A letter or _, then letters, digits and _. One that is there gets the new value."),
        value(form, &known),
        form.check("secret", "Secret", known.secret)
            .hint("Nobody sees the value again, and logs of builds mask it. It takes at least 4 characters."),
        form.text("branches", "Branches", &known.branches)
            .limit(255)
            .hint("A branch, or a pattern such as release/*. Nothing means all; the closest one counts."),
    ]
}

/// What was typed is kept, but where it is a secret.
fn value(form: &Form, known: &Variable) -> Input {
    let secret = form.is_refused() && form.was_checked("secret");
    let input =
        if secret { form.secret_area("value", "Value") } else { form.area("value", "Value", &known.value) };
    input.hint("Several lines are kept as they are.")
}

fn row(opened: &Opened, variable: &Variable) -> Row {
    let Variable { name, value, secret, branches, updated_at, .. } = variable;
    let wider = if branches.is_empty() { String::new() } else { format!(" for “{branches}”") };
    Row {
        name: name.clone(),
        value: (!secret).then(|| value.clone()),
        branches: branches.clone(),
        at: Moment::of(updated_at.as_ref(), opened.signed_in.now),
        edit: links::with_query(&opened.link(), &[("name", name), ("branches", branches)]) + "#variable-form",
        delete: Action {
            to: opened.link_to("delete"),
            csrf: opened.signed_in.csrf.clone(),
            label: "Remove",
            title: format!("Remove the variable {name}{wider}"),
            fields: vec![("name", name.clone()), ("branches", branches.clone())],
            question: format!("Remove {name}{wider}? Its value is gone then."),
            grave: true,
        },
    }
}
