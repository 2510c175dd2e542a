//! `/projects/{project}/settings/triggers`: the ledger of every request to the project's hook URLs. "Nothing happened" has
//! its answer here.

use askama::Template;
use axum::{Router, extract::Path, response::Response, routing::get};
use grapnel_proto::hooks::v1::{Hook, ListHooksRequest, ListTriggersRequest, Trigger, TriggerDecision};
use http::StatusCode;

use super::section::{Nav, Opened, Section};
use crate::{
    dashboard::{
        components::{Empty, Moment, Pager},
        forms::{Asked, Fields},
        links,
        page::{self, Frame},
        page_error::PageError,
        session::SignedIn,
    },
    hooks_client::answered_to_people as answered,
    server::Interface,
};

/// How many triggers a page shows.
const PAGE: i32 = 50;

/// What a trigger came to: in addresses, to people, and what it means.
const DECISIONS: [(TriggerDecision, &str, &str, &str); 9] = [
    (TriggerDecision::Accepted, "accepted", "Accepted", "A deployment was made for it."),
    (TriggerDecision::Merged, "merged", "Merged", "A deployment that had not begun answers it too."),
    (TriggerDecision::Replayed, "replayed", "Replayed", "It was answered before, and so again."),
    (
        TriggerDecision::PrefetchIgnored,
        "prefetch",
        "Looked ahead",
        "A browser or a chat looked ahead of a person: nothing was deployed.",
    ),
    (
        TriggerDecision::RateLimited,
        "limited",
        "Too many",
        "There were too many, and nothing waited that could answer it too.",
    ),
    (TriggerDecision::Paused, "paused", "Paused", "The hook was paused."),
    (TriggerDecision::Revoked, "revoked", "Revoked", "The URL was revoked or replaced."),
    (TriggerDecision::UnknownToken, "unknown", "Unknown URL", "The project has no hook with this URL."),
    (TriggerDecision::Refused, "refused", "Refused", "It asked for what the hook does not do."),
];

/// The routes.
pub fn routes() -> Router<Interface> {
    Router::new().route("/projects/{project}/settings/triggers", get(show))
}

#[derive(Template)]
#[template(path = "settings/triggers.html")]
struct TriggersPage {
    frame: Frame,
    nav: Nav,
    here: String,
    hooks: Vec<Choice>,
    decisions: Vec<Choice>,
    rows: Vec<Row>,
    empty: Empty,
    pager: Pager,
}

/// One choice of a filter.
struct Choice {
    value: String,
    called: String,
    chosen: bool,
}

/// One request.
struct Row {
    id: String,
    at: Option<Moment>,
    decision: &'static str,
    why: String,
    hook: Option<Link>,
    request: String,
    from: String,
    agent: String,
    title: String,
    size: String,
    deployment: Option<Link>,
}

struct Link {
    to: String,
    text: String,
}

/// `GET /projects/{project}/settings/triggers`
async fn show(
    signed_in: SignedIn,
    Path(project): Path<String>,
    Asked(asked): Asked,
) -> Result<Response, PageError> {
    let opened = Opened::by(signed_in, &project, Section::Triggers).await?;
    let hooks = hooks(&opened).await?;
    let decision = DECISIONS.iter().find(|(_, word, ..)| *word == asked.get("decision"));
    let request = ListTriggersRequest {
        project: opened.project.id.clone(),
        hook_id: asked.get("hook").to_owned(),
        decision: decision.map_or(0, |(decision, ..)| (*decision).into()),
        page_size: PAGE,
        page_token: asked.get("page").to_owned(),
        ..Default::default()
    };
    let answer = answered(opened.signed_in.caller.hooks().list_triggers(request)).await?;
    let page = TriggersPage {
        frame: opened.frame(&asked),
        nav: opened.nav(),
        here: opened.link(),
        hooks: hook_choices(&hooks, asked.get("hook")),
        decisions: decision_choices(asked.get("decision")),
        rows: answer.triggers.iter().map(|trigger| row(&opened, &hooks, trigger)).collect(),
        empty: nothing(&opened, &asked),
        pager: pager(&opened, &asked, &answer.next_page_token),
    };
    Ok(page::shown(StatusCode::OK, &page))
}

async fn hooks(opened: &Opened) -> Result<Vec<Hook>, PageError> {
    let request =
        ListHooksRequest { project: opened.project.id.clone(), page_size: 200, ..Default::default() };
    Ok(answered(opened.signed_in.caller.hooks().list_hooks(request)).await?.hooks)
}

fn row(opened: &Opened, hooks: &[Hook], trigger: &Trigger) -> Row {
    let decision = DECISIONS.iter().find(|(decision, ..)| *decision == trigger.decision());
    let (called, means) = decision.map_or(("Not known", ""), |(_, _, called, means)| (*called, *means));
    let why = if trigger.reason.is_empty() { means } else { &trigger.reason };
    let hook = hooks.iter().find(|hook| hook.id == trigger.hook_id);
    let hooks_link = || links::settings_item(opened.key(), Section::Hooks.word(), &trigger.hook_id);
    let revoked = || Link { to: String::new(), text: "a revoked hook".to_owned() };
    let hook = match hook {
        Some(hook) => Some(Link { to: hooks_link(), text: hook.name.clone() }),
        None => (!trigger.hook_id.is_empty()).then(revoked),
    };
    let deployment = (!trigger.deployment_id.is_empty()).then(|| Link {
        to: links::deployment(opened.key(), &trigger.deployment_id),
        text: trigger.deployment_id.clone(),
    });
    Row {
        id: trigger.id.clone(),
        at: Moment::of(trigger.at.as_ref(), opened.signed_in.now),
        decision: called,
        why: why.to_owned(),
        hook,
        request: trigger.method.clone(),
        from: trigger.client_address.clone(),
        agent: trigger.user_agent.clone(),
        title: trigger.title.clone(),
        size: size(trigger.body_bytes),
        deployment,
    }
}

/// Says how large something is.
pub fn size(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if bytes < 1_024 {
        return format!("{bytes} B");
    }
    #[expect(clippy::cast_precision_loss, reason = "it is told to one digit")]
    let mut amount = bytes as f64 / 1_024.0;
    let mut unit = 0;
    while amount >= 1_024.0 && unit + 1 < UNITS.len() {
        amount /= 1_024.0;
        unit += 1;
    }
    format!("{amount:.1} {}", UNITS[unit])
}

fn hook_choices(hooks: &[Hook], chosen: &str) -> Vec<Choice> {
    let choice =
        |hook: &Hook| Choice { value: hook.id.clone(), called: hook.name.clone(), chosen: hook.id == chosen };
    let mut choices: Vec<_> = hooks.iter().map(choice).collect();
    if !chosen.is_empty() && choices.iter().all(|choice| !choice.chosen) {
        choices.push(Choice { value: chosen.to_owned(), called: chosen.to_owned(), chosen: true });
    }
    choices
}

fn decision_choices(chosen: &str) -> Vec<Choice> {
    let choice = |(_, word, called, _): &(TriggerDecision, &str, &str, &str)| Choice {
        value: (*word).to_owned(),
        called: (*called).to_owned(),
        chosen: *word == chosen,
    };
    DECISIONS.iter().map(choice).collect()
}

fn nothing(opened: &Opened, asked: &Fields) -> Empty {
    if !asked.get("hook").is_empty() || !asked.get("decision").is_empty() {
        let text = "No request is like that.".to_owned();
        return Empty { title: "Nothing found", text, action: Some((opened.link(), "Show all requests")) };
    }
    let text =
        "Every request to a hook URL of this project is kept here, with what came of it and why.".to_owned();
    let hooks = links::settings_section(opened.key(), Section::Hooks.word());
    Empty { title: "No request yet", text, action: Some((hooks, "Show the deploy hooks")) }
}

fn pager(opened: &Opened, asked: &Fields, next: &str) -> Pager {
    let (hook, decision) = (asked.get("hook"), asked.get("decision"));
    let page = |token: &str| {
        links::with_query(&opened.link(), &[("hook", hook), ("decision", decision), ("page", token)])
    };
    Pager {
        first: (!asked.get("page").is_empty()).then(|| page("")),
        next: (!next.is_empty()).then(|| page(next)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_is_told_in_the_unit_that_fits() {
        let told = [0, 1_023, 1_024, 1_536, 5 << 20, 3 << 30].map(size);
        assert_eq!(told, ["0 B", "1023 B", "1.0 KiB", "1.5 KiB", "5.0 MiB", "3.0 GiB"]);
    }

    #[test]
    fn every_decision_has_its_words() {
        for number in 1..=9 {
            let decision = TriggerDecision::try_from(number).unwrap();
            assert!(DECISIONS.iter().any(|(known, ..)| *known == decision), "{decision:?}");
        }
        assert!(TriggerDecision::try_from(10).is_err(), "a new one wants words");
    }
}
