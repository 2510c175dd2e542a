//! A new hook. Its URL is shown in the answer to the form, and never again.

use askama::Template;
use axum::{extract::Path, response::Response};
use grapnel_domain::{Reason, scope::Scope};
use grapnel_proto::hooks::v1::{CreateHookRequest, Hook};

use super::{
    list::{Limit, limit},
    options::{Branches, Inputs, Options},
};
use crate::{
    dashboard::{
        forms::{Asked, Fields, Posted},
        page::{self, Frame},
        page_error::PageError,
        session::SignedIn,
        settings::{
            form::{Alert, Form},
            once::{self, Once},
            section::{Nav, Opened, Section},
        },
    },
    hooks_client::answered_to_people as answered,
};

#[derive(Template)]
#[template(path = "settings/hooks/new.html")]
struct NewPage {
    frame: Frame,
    nav: Nav,
    alert: Alert,
    /// Whether there is a hook of the name already.
    taken: bool,
    limit: Limit,
    inputs: Inputs,
    create: String,
    list: String,
    type_branch: String,
}

/// `GET /projects/{project}/settings/hooks/new`
pub async fn begin(
    signed_in: SignedIn,
    Path(project): Path<String>,
    Asked(asked): Asked,
) -> Result<Response, PageError> {
    let opened = Opened::to(Scope::Write, signed_in, &project, Section::Hooks).await?;
    let typed = asked.checked("typed");
    let branch = if typed { "" } else { opened.project.production_branch.as_str() }.to_owned();
    show(&opened, Form::default(), &branch, false).await
}

/// `POST /projects/{project}/settings/hooks/new`: the one answer that has the URL. Sent again it makes no second hook, since
/// the name is taken by then.
pub async fn create(
    Path(project): Path<String>,
    Posted { signed_in, fields }: Posted,
) -> Result<Response, PageError> {
    let opened = Opened::to(Scope::Write, signed_in, &project, Section::Hooks).await?;
    let branch = fields.get("branch").to_owned();
    let options = match Options::read(&fields) {
        Ok(options) => options,
        Err((field, what)) => return show(&opened, Form::wrong(fields, field, what), &branch, false).await,
    };
    let request = request(&opened, options);
    match answered(opened.signed_in.caller.hooks().create_hook(request)).await {
        Ok(created) => Ok(created_page(&opened, &created.hook.unwrap_or_default(), created.url)),
        Err(error) => {
            let taken = error.reason == Reason::HookNameTaken;
            show(&opened, Form::refused(fields, error)?, &branch, taken).await
        }
    }
}

fn request(opened: &Opened, options: Options) -> CreateHookRequest {
    let Options { name, branch, build_cache, quiet_period_ms, max_wait_ms, methods } = options;
    CreateHookRequest {
        project: opened.project.id.clone(),
        name,
        branch,
        build_cache: Some(build_cache),
        quiet_period_ms,
        max_wait_ms,
        methods,
        created_at: None,
    }
}

async fn show(opened: &Opened, form: Form, branch: &str, taken: bool) -> Result<Response, PageError> {
    let branches = Branches::of(opened).await;
    let new = Hook {
        build_cache: true,
        max_wait_ms: 900_000,
        methods: vec!["GET".to_owned(), "POST".to_owned()],
        ..Default::default()
    };
    let page = NewPage {
        frame: opened.frame_titled("New deploy hook", &Fields::default()),
        nav: opened.nav(),
        alert: form.alert(),
        taken,
        limit: limit(opened).await?,
        inputs: Inputs::of(&form, &new, &branches, branch),
        create: opened.link_to("new"),
        list: opened.link(),
        type_branch: crate::dashboard::links::with_query(&opened.link_to("new"), &[("typed", "1")]),
    };
    Ok(page::shown(form.status(), &page))
}

fn created_page(opened: &Opened, hook: &Hook, url: String) -> Response {
    let text = vec![
        format!("Whoever requests it deploys the branch “{}”: it is a secret, like a password.", hook.branch),
        "Where it gets lost, rotate the hook: it gets a new URL.".to_owned(),
    ];
    let once = Once {
        title: format!("The hook “{}” is created", hook.name),
        what: "the URL of the hook",
        example: Some(example(hook, &url)),
        secret: url,
        text,
        on: (opened.link(), "Show all deploy hooks"),
    };
    once::shown(opened, once)
}

/// Returns a command that requests the URL, by a method that the hook takes.
pub fn example(hook: &Hook, url: &str) -> (String, &'static str) {
    let posts = hook.methods.is_empty() || hook.methods.iter().any(|method| method == "POST");
    let command = if posts { format!("curl -X POST '{url}'") } else { format!("curl '{url}'") };
    (command, "Try it")
}

impl NewPage {
    fn status_note(&self) -> &'static str {
        "If you have just made it and loaded the page again: it is there. Its URL is not shown a second time; rotate the \
         hook for a new one."
    }
}
