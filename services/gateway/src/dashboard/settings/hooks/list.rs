//! The list: each hook with its branch, its tokens, and when it was used.

use askama::{Template, filters::HtmlSafe};
use axum::{extract::Path, response::Response};
use chrono::{DateTime, Utc};
use grapnel_domain::scope::Scope;
use grapnel_proto::hooks::v1::{GetLimitsRequest, GetLimitsResponse, Hook, HookToken, ListHooksRequest};
use http::StatusCode;

use crate::{
    dashboard::{
        components::{Action, Empty, Moment, Pager},
        forms::Asked,
        links,
        page::{self, Frame},
        page_error::PageError,
        session::SignedIn,
        settings::section::{Lacking, Nav, Opened, Section},
    },
    hooks_client::answered_to_people as answered,
};

/// How many hooks a page shows.
const PAGE: i32 = 50;

#[derive(Template)]
#[template(path = "settings/hooks/list.html")]
struct ListPage {
    frame: Frame,
    nav: Nav,
    rows: Vec<Row>,
    limit: Limit,
    lacking: Option<Lacking>,
    create: String,
    triggers: String,
    empty: Empty,
    pager: Pager,
}

/// One hook.
struct Row {
    name: String,
    link: String,
    branch: String,
    paused: bool,
    tokens: Vec<Token>,
    last: Option<Moment>,
    count: u64,
    ledger: String,
    actions: Vec<Action>,
}

/// A token, as far as it is known.
#[derive(Template)]
#[template(path = "settings/hooks/token.html")]
pub struct Token {
    last_four: String,
    /// When it stops working; `None` for the current one.
    until: Option<Moment>,
    used: Option<Moment>,
    count: u64,
}

impl HtmlSafe for Token {}

/// How many hooks there may be and are.
pub struct Limit {
    most: u32,
    used: u32,
    plan: String,
}

/// `GET /projects/{project}/settings/hooks`
pub async fn show(
    signed_in: SignedIn,
    Path(project): Path<String>,
    Asked(asked): Asked,
) -> Result<Response, PageError> {
    let opened = Opened::by(signed_in, &project, Section::Hooks).await?;
    let request = ListHooksRequest {
        project: opened.project.id.clone(),
        page_size: PAGE,
        page_token: asked.get("page").to_owned(),
    };
    let answer = answered(opened.signed_in.caller.hooks().list_hooks(request)).await?;
    let more = |token: &str| links::with_query(&opened.link(), &[("page", token)]);
    let list = ListPage {
        frame: opened.frame(&asked),
        nav: opened.nav(),
        rows: answer.hooks.iter().map(|hook| row(&opened, hook)).collect(),
        limit: limit(&opened).await?,
        lacking: opened.lacking(Scope::Write),
        create: opened.link_to("new"),
        triggers: links::settings_section(opened.key(), Section::Triggers.word()),
        empty: nothing(&opened),
        pager: Pager {
            first: (!asked.get("page").is_empty()).then(|| more("")),
            next: (!answer.next_page_token.is_empty()).then(|| more(&answer.next_page_token)),
        },
    };
    Ok(page::shown(StatusCode::OK, &list))
}

fn row(opened: &Opened, hook: &Hook) -> Row {
    let now = opened.signed_in.now;
    let ledger = links::settings_section(opened.key(), Section::Triggers.word());
    Row {
        name: hook.name.clone(),
        link: opened.link_to(&hook.id),
        branch: hook.branch.clone(),
        paused: hook.paused,
        tokens: tokens(&hook.tokens, now),
        last: Moment::of(hook.last_triggered_at.as_ref(), now),
        count: hook.trigger_count,
        ledger: links::with_query(&ledger, &[("hook", &hook.id)]),
        actions: if opened.signed_in.may(Scope::Write) { actions(opened, hook) } else { Vec::new() },
    }
}

/// Says which tokens work.
pub fn tokens(tokens: &[HookToken], now: DateTime<Utc>) -> Vec<Token> {
    let token = |token: &HookToken| Token {
        last_four: token.last_four.clone(),
        until: Moment::of(token.expires_at.as_ref(), now),
        used: Moment::of(token.last_used_at.as_ref(), now),
        count: token.use_count,
    };
    tokens.iter().map(token).collect()
}

/// What can be done to a hook with one button.
pub fn actions(opened: &Opened, hook: &Hook) -> Vec<Action> {
    let name = &hook.name;
    let action = |word: &str, label: &'static str, title: String| Action {
        to: opened.link_to_do(&hook.id, word),
        csrf: opened.signed_in.csrf.clone(),
        label,
        title,
        fields: Vec::new(),
        question: String::new(),
        grave: false,
    };
    let switch = if hook.paused {
        action("resume", "Resume", format!("Resume the hook “{name}”"))
    } else {
        action("pause", "Pause", format!("Pause the hook “{name}”"))
    };
    let question = format!(
        "Revoke the hook “{name}” for good? Its URL answers 410 from then on, and its deployments that wait end. Whatever \
         calls it has to be given another URL."
    );
    let revoke = action("revoke", "Revoke", format!("Revoke the hook “{name}”"));
    vec![switch, Action { question, grave: true, ..revoke }]
}

/// Asks how many hooks the project may have.
pub async fn limit(opened: &Opened) -> Result<Limit, PageError> {
    let request = GetLimitsRequest { project: opened.project.id.clone() };
    let answer = answered(opened.signed_in.caller.hooks().get_limits(request)).await?;
    let GetLimitsResponse { plan, hooks_limit, hooks_used } = answer;
    Ok(Limit { most: hooks_limit, used: hooks_used, plan })
}

impl Limit {
    /// Tells whether there may be no more.
    pub fn is_reached(&self) -> bool {
        self.used >= self.most
    }

    /// Says it: `3 of 5 used`.
    pub fn said(&self) -> String {
        format!("{} of {} used", self.used, self.most)
    }

    /// Says what can be done where it is reached.
    pub fn advice(&self) -> String {
        format!(
            "The plan “{}” allows {} hooks in a project, and there are as many. Revoke one that is not used any more: “last \
             used” tells which. Several callers may share one hook; who runs this installation can raise the limit.",
            self.plan, self.most
        )
    }
}

fn nothing(opened: &Opened) -> Empty {
    let text = "A deploy hook is a secret URL: whoever requests it deploys one branch. Give it to a CMS, a cron job, or curl.";
    let may = opened.signed_in.may(Scope::Write);
    let action = may.then(|| (opened.link_to("new"), "Create a hook"));
    Empty { title: "No deploy hook yet", text: text.to_owned(), action }
}
