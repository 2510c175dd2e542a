//! `/projects/{project}/settings/credentials`: what git needs for the project's repository.

mod hosts;

use askama::Template;
use axum::{
    Router,
    extract::Path,
    response::Response,
    routing::{get, post},
};
use grapnel_domain::{Error, scope::Scope};
use grapnel_proto::hooks::v1::{
    CreateCredentialRequest, Credential, CredentialKind, DeleteCredentialRequest, ListCredentialsRequest,
    SshKeyCredential, TokenCredential, create_credential_request::Secret,
};

use super::{
    back, done,
    form::{Alert, Form},
    input::Input,
    section::{Lacking, Nav, Opened, Section},
};
use crate::{
    dashboard::{
        components::{Action, Copyable, Empty, Moment},
        forms::{Asked, Fields, Posted},
        page::{self, Frame},
        page_error::PageError,
        session::SignedIn,
    },
    hooks_client::answered_to_people as answered,
    server::Interface,
};

/// The routes.
pub fn routes() -> Router<Interface> {
    let again = |Path(project): Path<String>| back(Section::Credentials, project);
    Router::new()
        .route("/projects/{project}/settings/credentials", get(show))
        .route("/projects/{project}/settings/credentials/token", post(create_token).get(again))
        .route("/projects/{project}/settings/credentials/ssh-key", post(create_ssh_key).get(again))
        .route("/projects/{project}/settings/credentials/delete", post(delete).get(again))
        .route("/projects/{project}/settings/credentials/scan", post(hosts::scan).get(again))
        .route("/projects/{project}/settings/credentials/trust", post(hosts::trust).get(again))
        .route("/projects/{project}/settings/credentials/distrust", post(hosts::distrust).get(again))
}

#[derive(Template)]
#[template(path = "settings/credentials.html")]
struct CredentialsPage {
    frame: Frame,
    nav: Nav,
    lacking: Option<Lacking>,
    rows: Vec<Row>,
    empty: Empty,
    token_alert: Alert,
    token_inputs: Vec<Input>,
    create_token: String,
    key_alert: Alert,
    key_inputs: Vec<Input>,
    create_key: String,
    hosts: Vec<hosts::Row>,
    scan_alert: Alert,
    scan_inputs: [Input; 2],
    scan: String,
}

/// One credential.
struct Row {
    origin: String,
    kind: &'static str,
    whose: &'static str,
    /// How a token is told from others.
    hint: String,
    public_key: Option<Copyable>,
    fingerprint: String,
    created: Option<Moment>,
    delete: Option<Action>,
}

/// The forms of the page.
#[derive(Default)]
struct Forms {
    token: Form,
    key: Form,
    scan: Form,
}

/// `GET /projects/{project}/settings/credentials`
async fn show(
    signed_in: SignedIn,
    Path(project): Path<String>,
    Asked(asked): Asked,
) -> Result<Response, PageError> {
    let opened = Opened::by(signed_in, &project, Section::Credentials).await?;
    page_of(&opened, Forms::default(), &asked).await
}

/// `POST …/credentials/token`
async fn create_token(
    Path(project): Path<String>,
    Posted { signed_in, fields }: Posted,
) -> Result<Response, PageError> {
    let opened = open_to_create(signed_in, &project, &fields).await?;
    let token = fields.get("token.token").to_owned();
    let secret = Secret::Token(TokenCredential { user: fields.get("token.user").to_owned(), token });
    match create(&opened, &fields, secret).await {
        Ok(()) => Ok(done(&opened.link(), "credential-created")),
        Err(error) => {
            let forms = Forms { token: Form::refused(fields, error)?, ..Forms::default() };
            page_of(&opened, forms, &Fields::default()).await
        }
    }
}

/// `POST …/credentials/ssh-key`
async fn create_ssh_key(
    Path(project): Path<String>,
    Posted { signed_in, fields }: Posted,
) -> Result<Response, PageError> {
    let opened = open_to_create(signed_in, &project, &fields).await?;
    // Browsers send the ends of lines as CR LF, and OpenSSH wants LF.
    let private_key = fields.exact("ssh_key.private_key").replace("\r\n", "\n");
    match create(&opened, &fields, Secret::SshKey(SshKeyCredential { private_key })).await {
        Ok(()) => Ok(done(&opened.link(), "credential-created")),
        Err(error) => {
            let forms = Forms { key: Form::refused(fields, error)?, ..Forms::default() };
            page_of(&opened, forms, &Fields::default()).await
        }
    }
}

async fn open_to_create(signed_in: SignedIn, project: &str, fields: &Fields) -> Result<Opened, PageError> {
    let scope = if fields.checked("team") { Scope::Admin } else { Scope::Write };
    Opened::to(scope, signed_in, project, Section::Credentials).await
}

async fn create(opened: &Opened, fields: &Fields, secret: Secret) -> Result<(), Error> {
    let project = if fields.checked("team") { String::new() } else { opened.project.id.clone() };
    let request = CreateCredentialRequest {
        project,
        origin: fields.get("origin").to_owned(),
        secret: Some(secret),
        allow_clear_text: fields.checked("allow_clear_text"),
    };
    answered(opened.signed_in.caller.credentials().create_credential(request)).await.map(|_| ())
}

/// `POST …/credentials/delete`
async fn delete(
    Path(project): Path<String>,
    Posted { signed_in, fields }: Posted,
) -> Result<Response, PageError> {
    let opened = Opened::to(Scope::Write, signed_in, &project, Section::Credentials).await?;
    let request = DeleteCredentialRequest { credential_id: fields.get("credential").to_owned() };
    answered(opened.signed_in.caller.credentials().delete_credential(request)).await?;
    Ok(done(&opened.link(), "credential-deleted"))
}

async fn page_of(opened: &Opened, forms: Forms, asked: &Fields) -> Result<Response, PageError> {
    let request = ListCredentialsRequest { project: opened.project.id.clone() };
    let answer = answered(opened.signed_in.caller.credentials().list_credentials(request)).await?;
    let Forms { token, key, scan } = forms;
    let (token, key, scan) = (token.called("token-form"), key.called("key-form"), scan.called("scan-form"));
    let statuses = [token.status(), key.status(), scan.status()];
    let status = statuses.into_iter().find(|status| !status.is_success()).unwrap_or_default();
    let empty = Empty {
        title: "No credential",
        text: "A repository that everybody can read takes none.".to_owned(),
        action: None,
    };
    let page = CredentialsPage {
        frame: opened.frame(asked).with_script("copy.js"),
        nav: opened.nav(),
        lacking: opened.lacking(Scope::Write),
        rows: answer.credentials.iter().map(|credential| row(opened, credential)).collect(),
        empty,
        token_alert: token.alert(),
        token_inputs: token_inputs(opened, &token),
        create_token: opened.link_to("token"),
        key_alert: key.alert(),
        key_inputs: key_inputs(opened, &key),
        create_key: opened.link_to("ssh-key"),
        hosts: hosts::rows(opened).await?,
        scan_alert: scan.alert(),
        scan_inputs: hosts::inputs(&scan),
        scan: opened.link_to("scan"),
    };
    Ok(page::shown(status, &page))
}

fn token_inputs(opened: &Opened, form: &Form) -> Vec<Input> {
    let mut inputs = vec![
        form.text("origin", "Origin", "").limit(2_000).hint(
            "Where it is shown and nowhere else, such as https://github.com. Nothing: the repository’s.",
        ),
        form.text("token.user", "User", "").limit(256).hint("Many hosts take any. Nothing: git."),
        form.secret("token.token", "Token").required().hint("Sealed, and never shown again."),
        form.check(
            "allow_clear_text",
            "Show it over http too, where everybody on the way can read it",
            false,
        ),
    ];
    inputs.extend(team_input(opened, form));
    inputs
}

fn key_inputs(opened: &Opened, form: &Form) -> Vec<Input> {
    let mut inputs = vec![
        form.text("origin", "Origin", "")
            .limit(2_000)
            .hint("Such as ssh://git.example.org:2222. Nothing: the repository’s."),
        form.secret_area("ssh_key.private_key", "Private key")
            .hint("In the form of OpenSSH, without a passphrase. Nothing: a new key is made, whose public half is shown here."),
    ];
    inputs.extend(team_input(opened, form));
    inputs
}

fn team_input(opened: &Opened, form: &Form) -> Option<Input> {
    let input = || form.check("team", "For every repository of the team at this origin", false);
    opened.signed_in.may(Scope::Admin).then(input)
}

fn row(opened: &Opened, credential: &Credential) -> Row {
    let Credential { id, project_id, origin, user, last_four, public_key, fingerprint, .. } = credential;
    let team = project_id.is_empty();
    let kind = if credential.kind() == CredentialKind::SshKey { "SSH key" } else { "Token" };
    let may = opened.signed_in.may(if team { Scope::Admin } else { Scope::Write });
    let delete = || Action {
        to: opened.link_to("delete"),
        csrf: opened.signed_in.csrf.clone(),
        label: "Remove",
        title: format!("Remove the {kind} for {origin}"),
        fields: vec![("credential", id.clone())],
        question: format!(
            "Remove the {kind} for {origin}? What is fetched with it cannot be fetched any more."
        ),
        grave: true,
    };
    let public_key = (!public_key.is_empty()).then(|| public_key.clone());
    Row {
        origin: origin.clone(),
        kind,
        whose: if team { "Team" } else { "Project" },
        hint: if last_four.is_empty() { String::new() } else { format!("{user}, …{last_four}") },
        public_key: public_key.map(|text| Copyable { text, what: "the public key" }),
        fingerprint: fingerprint.clone(),
        created: Moment::of(credential.created_at.as_ref(), opened.signed_in.now),
        delete: may.then(delete),
    }
}
