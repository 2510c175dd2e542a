//! `/keys`: the team's API keys. All of it takes the scope `admin`.

use askama::Template;
use axum::{
    Router,
    response::{Redirect, Response},
    routing::{get, post},
};
use grapnel_domain::scope::Scope;
use grapnel_proto::hooks::v1::{CreateKeyRequest, Key, ListKeysRequest, RevokeKeyRequest};

use super::{
    done,
    form::{Alert, Form},
    input::Input,
    once::{self, Once},
    section::Lacking,
};
use crate::{
    dashboard::{
        components::{Action, Moment, Pager},
        forms::{Asked, Fields, Posted},
        links,
        page::{self, Frame},
        page_error::PageError,
        session::SignedIn,
    },
    hooks_client::answered_to_people as answered,
    server::Interface,
};

/// How many keys a page shows.
const PAGE: i32 = 50;

const SCOPES: [(&str, &str); 4] = [
    ("read", "read: see projects, hooks, deployments and their logs"),
    ("write", "write: create and change projects, hooks and what belongs to them"),
    ("deploy", "deploy: deploy, cancel, promote"),
    ("admin", "admin: everything, keys included"),
];

/// The routes.
pub fn routes() -> Router<Interface> {
    let again = || async { Redirect::to(&links::keys()) };
    Router::new().route("/keys", get(show).post(create)).route("/keys/revoke", post(revoke).get(again))
}

#[derive(Template)]
#[template(path = "settings/keys.html")]
struct KeysPage {
    frame: Frame,
    lacking: Option<Lacking>,
    rows: Vec<Row>,
    alert: Alert,
    name: Input,
    scopes: [Input; 4],
    scopes_problem: String,
    create: String,
    pager: Pager,
}

/// One key.
struct Row {
    name: String,
    last_four: String,
    scopes: String,
    created: Option<Moment>,
    /// Whether this session was opened with it.
    own: bool,
    revoke: Action,
}

/// `GET /keys`
async fn show(signed_in: SignedIn, Asked(asked): Asked) -> Result<Response, PageError> {
    page_of(&signed_in, &Form::default(), &asked).await
}

/// `POST /keys`: the one answer that has the key.
async fn create(Posted { signed_in, fields }: Posted) -> Result<Response, PageError> {
    signed_in.needs(Scope::Admin)?;
    let scopes: Vec<_> = fields.all("scopes").map(str::to_owned).collect();
    if scopes.is_empty() {
        let form = Form::wrong(fields, "scopes", "must be at least one");
        return page_of(&signed_in, &form, &Fields::default()).await;
    }
    let request = CreateKeyRequest { name: fields.get("name").to_owned(), scopes };
    match answered(signed_in.caller.keys().create_key(request)).await {
        Ok(created) => {
            let name = created.key.unwrap_or_default().name;
            let text = vec![
                "Whoever has it may do what its scopes say. Give it to one program or person only."
                    .to_owned(),
            ];
            let once = Once {
                title: format!("The key “{name}” is created"),
                what: "the key",
                secret: created.secret,
                text,
                example: None,
                on: (links::keys(), "Show all keys"),
            };
            Ok(once::shown_to_team(&signed_in, once))
        }
        Err(error) => page_of(&signed_in, &Form::refused(fields, error)?, &Fields::default()).await,
    }
}

/// `POST /keys/revoke`
async fn revoke(Posted { signed_in, fields }: Posted) -> Result<Response, PageError> {
    signed_in.needs(Scope::Admin)?;
    let request = RevokeKeyRequest { key_id: fields.get("key").to_owned() };
    match answered(signed_in.caller.keys().revoke_key(request)).await {
        Ok(_) => Ok(done(&links::keys(), "key-revoked")),
        Err(error) => {
            let form = Form::refused(fields, error)?;
            page_of(&signed_in, &form, &Fields::default()).await
        }
    }
}

async fn page_of(signed_in: &SignedIn, form: &Form, asked: &Fields) -> Result<Response, PageError> {
    let lacking = Lacking::of(signed_in, Scope::Admin);
    let answer = if lacking.is_none() {
        let request = ListKeysRequest { page_size: PAGE, page_token: asked.get("page").to_owned() };
        answered(signed_in.caller.keys().list_keys(request)).await?
    } else {
        Default::default()
    };
    let more = |token: &str| links::with_query(&links::keys(), &[("page", token)]);
    let page = KeysPage {
        frame: Frame::of(signed_in, "API keys").of_keys().after(asked),
        lacking,
        rows: answer.keys.iter().map(|key| row(signed_in, key)).collect(),
        alert: form.alert(),
        name: form
            .text("name", "Name", "")
            .required()
            .limit(100)
            .hint("What it is for, such as the program that has it."),
        scopes: SCOPES.map(|(scope, says)| form.check_of("scopes", scope, says, scope == "read")),
        scopes_problem: form.problem("scopes").to_owned(),
        create: links::keys(),
        pager: Pager {
            first: (!asked.get("page").is_empty()).then(|| more("")),
            next: (!answer.next_page_token.is_empty()).then(|| more(&answer.next_page_token)),
        },
    };
    Ok(page::shown(form.status(), &page))
}

fn row(signed_in: &SignedIn, key: &Key) -> Row {
    let own = key.id == signed_in.session.key_id;
    let name = &key.name;
    let question = if own {
        format!("Revoke the key “{name}” for good? You are signed in with it: your session ends with it.")
    } else {
        format!("Revoke the key “{name}” for good? Whatever uses it is refused from then on.")
    };
    Row {
        name: name.clone(),
        last_four: key.last_four.clone(),
        scopes: key.scopes.join(", "),
        created: Moment::of(key.created_at.as_ref(), signed_in.now),
        own,
        revoke: Action {
            to: links::revoke_key(),
            csrf: signed_in.csrf.clone(),
            label: "Revoke",
            title: format!("Revoke the key “{name}” (…{})", key.last_four),
            fields: vec![("key", key.id.clone())],
            question,
            grave: true,
        },
    }
}
