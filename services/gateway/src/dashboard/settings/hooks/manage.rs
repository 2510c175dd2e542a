//! One hook: its tokens, a new URL for it, and its options.

use askama::Template;
use axum::{extract::Path, response::Response};
use grapnel_domain::{Error, Reason, scope::Scope};
use grapnel_proto::hooks::v1::{Hook, HookChanges, RotateHookTokenRequest, UpdateHookRequest};
use prost_types::FieldMask;

use super::{
    create::example,
    hook_of,
    list::{Token, actions, tokens},
    options::{Branches, Inputs, Options},
};
use crate::{
    dashboard::{
        components::{Action, Moment},
        forms::{Asked, Fields, Posted},
        links,
        page::{self, Frame},
        page_error::PageError,
        session::SignedIn,
        settings::{
            done,
            form::{Alert, Form},
            input::Input,
            once::{self, Once},
            section::{Lacking, Nav, Opened, Section},
        },
    },
    hooks_client::answered_to_people as answered,
};

/// For how long the URL that is replaced works on: seconds, and what that is called.
const GRACES: [(&str, &str); 5] = [
    ("86400", "for a day"),
    ("3600", "for an hour"),
    ("604800", "for a week"),
    ("2592000", "for 30 days"),
    ("0", "not at all: it stops at once"),
];

#[derive(Template)]
#[template(path = "settings/hooks/manage.html")]
struct HookPage {
    frame: Frame,
    nav: Nav,
    lacking: Option<Lacking>,
    name: String,
    id: String,
    branch: String,
    paused: bool,
    tokens: Vec<Token>,
    current: String,
    created: Option<Moment>,
    last: Option<Moment>,
    count: u64,
    ledger: String,
    list: String,
    alert: Alert,
    inputs: Option<Inputs>,
    save: String,
    rotate_alert: Alert,
    grace: Input,
    rotate: String,
    actions: Vec<Action>,
    type_branch: String,
}

/// The forms of the page.
#[derive(Default)]
struct Forms {
    options: Form,
    rotation: Form,
    branch: Option<String>,
}

/// `GET …/hooks/{hook}`
pub async fn show(
    signed_in: SignedIn,
    Path((project, hook)): Path<(String, String)>,
    Asked(asked): Asked,
) -> Result<Response, PageError> {
    let opened = Opened::by(signed_in, &project, Section::Hooks).await?;
    let hook = hook_of(&opened, &hook).await?;
    let branch = asked.checked("typed").then(String::new);
    page_of(&opened, &hook, Forms { branch, ..Forms::default() }, &asked).await
}

/// `POST …/hooks/{hook}`: changes its options.
pub async fn save(
    Path((project, hook)): Path<(String, String)>,
    Posted { signed_in, fields }: Posted,
) -> Result<Response, PageError> {
    let opened = Opened::to(Scope::Write, signed_in, &project, Section::Hooks).await?;
    let hook = hook_of(&opened, &hook).await?;
    let branch = Some(fields.get("branch").to_owned());
    let refused = match Options::read(&fields) {
        Ok(options) => match change(&opened, &hook, options).await {
            Ok(()) => return Ok(done(&opened.link_to(&hook.id), "hook-saved")),
            Err(error) => Form::refused(fields, error)?,
        },
        Err((field, what)) => Form::wrong(fields, field, what),
    };
    let forms = Forms { options: refused, branch, ..Forms::default() };
    page_of(&opened, &hook, forms, &Fields::default()).await
}

async fn change(opened: &Opened, hook: &Hook, options: Options) -> Result<(), Error> {
    let mut paths = vec!["name", "branch", "build_cache", "quiet_period_ms", "methods"];
    if options.max_wait_ms.is_some() {
        paths.push("max_wait_ms");
    }
    let changes = HookChanges {
        name: options.name,
        branch: options.branch,
        paused: false,
        build_cache: options.build_cache,
        quiet_period_ms: options.quiet_period_ms,
        max_wait_ms: options.max_wait_ms.unwrap_or_default(),
        methods: options.methods,
    };
    let request = UpdateHookRequest {
        hook_id: hook.id.clone(),
        changes: Some(changes),
        update_mask: Some(FieldMask { paths: paths.into_iter().map(str::to_owned).collect() }),
    };
    answered(opened.signed_in.caller.hooks().update_hook(request)).await.map(|_| ())
}

/// `POST …/hooks/{hook}/rotate`: the one answer that has the new URL. It names the token that it replaces, so that a form
/// that is sent twice rotates once.
pub async fn rotate(
    Path((project, hook)): Path<(String, String)>,
    Posted { signed_in, fields }: Posted,
) -> Result<Response, PageError> {
    let opened = Opened::to(Scope::Write, signed_in, &project, Section::Hooks).await?;
    let hook = hook_of(&opened, &hook).await?;
    let request = RotateHookTokenRequest {
        hook_id: hook.id.clone(),
        grace_seconds: fields.get("grace_seconds").parse().ok(),
        expected_token_id: fields.get("expected_token_id").to_owned(),
    };
    if request.expected_token_id.is_empty() {
        return Err(PageError::unreadable());
    }
    match answered(opened.signed_in.caller.hooks().rotate_hook_token(request)).await {
        Ok(rotated) => Ok(rotated_page(&opened, &rotated.hook.unwrap_or(hook), rotated.url)),
        Err(mut error) => {
            if error.reason == Reason::TokenReplaced {
                error.message = "this URL was replaced already, by somebody else or because the form was sent twice, so \
                                 nothing was done. A new URL is shown only once: rotate again if nobody has copied it"
                    .to_owned();
            }
            let forms = Forms { rotation: Form::refused(fields, error)?, ..Forms::default() };
            page_of(&opened, &hook, forms, &Fields::default()).await
        }
    }
}

fn rotated_page(opened: &Opened, hook: &Hook, url: String) -> Response {
    let old = hook.tokens.iter().find_map(|token| token.expires_at.as_ref().map(|end| (token, end)));
    let until = old.and_then(|(token, end)| {
        let end = grapnel_proto::convert::time::datetime(Some(end))?;
        Some(format!(
            "The URL that ends in …{} works until {} UTC.",
            token.last_four,
            end.format("%Y-%m-%d %H:%M")
        ))
    });
    let once = Once {
        title: format!("The hook “{}” has a new URL", hook.name),
        what: "the new URL of the hook",
        example: Some(example(hook, &url)),
        secret: url,
        text: vec![
            until.unwrap_or_else(|| "The old URL does not work any more.".to_owned()),
            "Give the new one to whatever calls the hook.".to_owned(),
        ],
        on: (opened.link_to(&hook.id), "Go to the hook"),
    };
    once::shown(opened, once)
}

async fn page_of(opened: &Opened, hook: &Hook, forms: Forms, asked: &Fields) -> Result<Response, PageError> {
    let may = opened.signed_in.may(Scope::Write);
    let inputs = if may {
        let branch = forms.branch.as_deref().unwrap_or(&hook.branch);
        Some(Inputs::of(&forms.options, hook, &Branches::of(opened).await, branch))
    } else {
        None
    };
    let now = opened.signed_in.now;
    let ledger = links::settings_section(opened.key(), Section::Triggers.word());
    let graces = GRACES.map(|(seconds, called)| (seconds.to_owned(), called.to_owned())).into();
    let page = HookPage {
        frame: opened.frame_titled(format!("{} – Deploy hook", hook.name), asked),
        nav: opened.nav(),
        lacking: opened.lacking(Scope::Write),
        name: hook.name.clone(),
        id: hook.id.clone(),
        branch: hook.branch.clone(),
        paused: hook.paused,
        tokens: tokens(&hook.tokens, now),
        current: hook.tokens.first().map(|token| token.id.clone()).unwrap_or_default(),
        created: Moment::of(hook.created_at.as_ref(), now),
        last: Moment::of(hook.last_triggered_at.as_ref(), now),
        count: hook.trigger_count,
        ledger: links::with_query(&ledger, &[("hook", &hook.id)]),
        list: opened.link(),
        alert: forms.options.alert(),
        inputs,
        save: opened.link_to(&hook.id),
        rotate_alert: forms.rotation.alert(),
        grace: forms
            .rotation
            .choice("grace_seconds", "The URL that works now works on", "86400", graces)
            .required(),
        rotate: opened.link_to_do(&hook.id, "rotate"),
        actions: if may { actions(opened, hook) } else { Vec::new() },
        type_branch: links::with_query(&opened.link_to(&hook.id), &[("typed", "1")]),
    };
    let status = if forms.rotation.is_refused() { forms.rotation.status() } else { forms.options.status() };
    Ok(page::shown(status, &page))
}
