//! What stands above the log on a deployment's page: where it stands and why, its steps, where it came from, and what can be done
//! about it. The page is made with it, and gets it anew whenever something happens.

use askama::{Template, filters::HtmlSafe};
use grapnel_domain::{deployment::State, scope::Scope};
use grapnel_proto::hooks::v1::{
    Deployment, Fault, GetDeploymentRequest, ListTriggersRequest, Project, Trigger, TriggerDecision,
    WatchDeploymentRequest,
};

use super::{
    list,
    story::{self, StepRun, Story},
    view,
};
use crate::{
    caller::Caller,
    dashboard::{
        components::{Action, Moment, StateBadge, state_of, web_address},
        links,
        page_error::PageError,
        session::SignedIn,
    },
    hooks_client::answered_to_people as answered,
};

/// How many triggers are shown; the ledger has them all.
const TRIGGERS: i32 = 20;

/// The part of the page, ready to be written.
#[derive(Template)]
#[template(path = "deployments/summary.html")]
pub struct Summary {
    /// What the page is called.
    pub title: String,
    /// The deployment.
    pub deployment: Deployment,
    /// Its project.
    pub project: Project,
    /// The position up to which it tells the story.
    pub shown: u64,
    state: StateBadge,
    what: String,
    says: &'static str,
    fault: &'static str,
    why_canceled: Option<&'static str>,
    superseded_by: Option<String>,
    site_url: Option<String>,
    hook_link: Option<String>,
    waited: String,
    took: String,
    asked: Option<Moment>,
    finished: Option<Moment>,
    steps: Vec<StepView>,
    caches: Vec<String>,
    lost: Vec<String>,
    triggers: Vec<TriggerView>,
    more_triggers: bool,
    actions: Vec<Action>,
    output: Option<String>,
}

impl HtmlSafe for Summary {}

/// One step of the timeline. Where it stands is in thousandths of the whole.
struct StepView {
    name: &'static str,
    outcome: &'static str,
    exit_code: Option<i32>,
    took: String,
    x: i64,
    width: i64,
}

/// One trigger that the deployment answers.
struct TriggerView {
    at: Option<Moment>,
    from: String,
    agent: String,
    decision: &'static str,
    reason: String,
    title: String,
}

/// Reads all of it.
///
/// # Errors
/// There is no such deployment in the project, or the hooks service does not answer.
pub async fn read(signed_in: &SignedIn, project: &str, id: &str) -> Result<Summary, PageError> {
    let caller = &signed_in.caller;
    let (project, deployment, story, (triggers, more)) = tokio::try_join!(
        list::project(caller, project),
        deployment(caller, id),
        story_of(caller, id),
        triggers(caller, project, id),
    )?;
    if deployment.project_id != project.id {
        return Err(PageError::not_found());
    }
    Ok(Summary::of(signed_in, project, deployment, &story, &triggers, more))
}

async fn deployment(caller: &Caller, id: &str) -> Result<Deployment, PageError> {
    let request = GetDeploymentRequest { deployment_id: id.to_owned() };
    Ok(answered(caller.hooks().get_deployment(request)).await?.deployment.unwrap_or_default())
}

async fn story_of(caller: &Caller, id: &str) -> Result<Story, PageError> {
    let request = WatchDeploymentRequest {
        deployment_id: id.to_owned(),
        without_log: true,
        history_only: true,
        ..Default::default()
    };
    let mut events = answered(caller.hooks().watch_deployment(request)).await?;
    let mut story = Story::default();
    while let Some(message) = events.message().await? {
        if let Some(event) = message.event {
            story.tell(&event);
        }
    }
    Ok(story)
}

async fn triggers(caller: &Caller, project: &str, id: &str) -> Result<(Vec<Trigger>, bool), PageError> {
    let request = ListTriggersRequest {
        project: project.to_owned(),
        deployment_id: id.to_owned(),
        page_size: TRIGGERS,
        ..Default::default()
    };
    let answer = answered(caller.hooks().list_triggers(request)).await?;
    Ok((answer.triggers, !answer.next_page_token.is_empty()))
}

impl Summary {
    fn of(
        signed_in: &SignedIn,
        project: Project,
        it: Deployment,
        story: &Story,
        triggers: &[Trigger],
        more_triggers: bool,
    ) -> Self {
        let now = signed_in.now;
        let key = links::key_of(&project).to_owned();
        let state = state_of(&it);
        let superseding = it.cancellation.as_ref().map(|why| why.superseded_by.as_str());
        let what = view::what(&it);
        Self {
            title: format!("{}: {what}", word(state)),
            state: StateBadge::of(&it),
            says: says(&it, state, story),
            fault: match it.failure.as_ref().map(grapnel_proto::hooks::v1::Failure::fault) {
                Some(Fault::User) => {
                    "It is the repository's, its settings' or its build's: trying again changes nothing."
                }
                Some(Fault::Infrastructure) => "It is the installation's, and not the project's.",
                _ => "",
            },
            why_canceled: view::why_canceled(&it),
            superseded_by: superseding.filter(|id| !id.is_empty()).map(|id| links::deployment(&key, id)),
            site_url: web_address(&it.site_url).map(str::to_owned),
            hook_link: view::hook_of(&it).map(|_| links::settings_section(&key, "hooks")),
            waited: view::between(it.created_at.as_ref(), it.building_at.as_ref()),
            took: view::took(&it, now),
            asked: Moment::of(it.created_at.as_ref(), now),
            finished: Moment::of(it.finished_at.as_ref(), now),
            steps: timeline(&story.steps, now),
            caches: story.caches.iter().map(cache).collect(),
            lost: story
                .lost
                .iter()
                .map(|lost| format!("Attempt {} was lost: {}", lost.attempt, lost.message))
                .collect(),
            triggers: triggers.iter().map(|it| trigger(it, now)).collect(),
            more_triggers,
            output: it.artifact.as_ref().map(|artifact| {
                let files = if artifact.files == 1 { "file" } else { "files" };
                format!("{} {files}, {}", artifact.files, bytes(artifact.bytes))
            }),
            actions: actions(signed_in, &key, &it, state),
            what,
            project,
            shown: story.position,
            deployment: it,
        }
    }
}

fn word(state: State) -> &'static str {
    match state {
        State::Pending => "Pending",
        State::Queued => "Queued",
        State::Building => "Building",
        State::Ready => "Ready",
        State::Error => "Failed",
        State::Canceled => "Canceled",
    }
}

fn says(it: &Deployment, state: State, story: &Story) -> &'static str {
    match state {
        _ if it.cancel_requested && !state.is_final() => "It was asked to end.",
        State::Pending => "It is stored, and waits for its version to be found out.",
        State::Queued => "Its version is known. It waits for a slot of an executor.",
        State::Building => match story.running() {
            Some("source") => "Its commit is fetched and checked out.",
            Some("cache") => "Its build cache is put in place.",
            Some("install") => "Its dependencies are installed.",
            Some("output") => "Its output is checked and published.",
            _ => "It is built.",
        },
        State::Ready if it.artifact_removed_at.is_some() => {
            "It was published. Its files were removed since, as the installation's retention says."
        }
        State::Ready if it.promoted => "It is published, and its branch's address serves it.",
        State::Ready => "It is published.",
        State::Error => "It failed.",
        State::Canceled => "It was ended.",
    }
}

fn timeline(steps: &[StepRun], now: chrono::DateTime<chrono::Utc>) -> Vec<StepView> {
    let began = steps.iter().filter_map(|step| step.started).min().unwrap_or(now);
    let ended = steps.iter().map(|step| step.finished.unwrap_or(now)).max().unwrap_or(now);
    let whole = (ended - began).num_milliseconds().max(1);
    let shown = steps.iter().map(|step| {
        let start = step.started.unwrap_or(began);
        let end = step.finished.unwrap_or(now);
        let part = |milliseconds: i64| (milliseconds * 1_000 / whole).clamp(0, 1_000);
        let x = part((start - began).num_milliseconds()).min(990);
        StepView {
            name: step.name,
            outcome: step.outcome(),
            exit_code: step.exit_code.filter(|code| *code != 0),
            took: step.took().map_or_else(
                || view::duration((now - start).num_milliseconds()),
                |took| view::duration(i64::try_from(took.as_millis()).unwrap_or(i64::MAX)),
            ),
            width: part((end - start).num_milliseconds()).clamp(10, 1_000 - x),
            x,
        }
    });
    shown.collect()
}

fn cache(report: &grapnel_proto::hooks::v1::CacheReported) -> String {
    let mut text = format!("Cache {}", story::cache_words(report));
    if !report.detail.is_empty() {
        text += &format!(": {}", report.detail);
    }
    if report.layers > 0 {
        let layers = if report.layers == 1 { "layer" } else { "layers" };
        text += &format!(" ({} {layers}, {})", report.layers, bytes(report.bytes));
    }
    text
}

/// Says how much a number of bytes is, in units of 1,024.
fn bytes(count: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if count < 1_024 {
        return format!("{count} B");
    }
    let (mut tenths, mut unit) = (count.saturating_mul(10) / 1_024, 0);
    while tenths >= 10_240 && unit + 1 < UNITS.len() {
        tenths /= 1_024;
        unit += 1;
    }
    format!("{}.{} {}", tenths / 10, tenths % 10, UNITS[unit])
}

fn trigger(it: &Trigger, now: chrono::DateTime<chrono::Utc>) -> TriggerView {
    let from = match (it.method.as_str(), it.client_address.as_str()) {
        (method, "") => method.to_owned(),
        (method, address) => format!("{method} from {address}"),
    };
    TriggerView {
        at: Moment::of(it.at.as_ref(), now),
        from,
        agent: it.user_agent.clone(),
        decision: match it.decision() {
            TriggerDecision::Accepted => "accepted",
            TriggerDecision::Merged => "merged into it",
            TriggerDecision::Replayed => "the same trigger again",
            _ => "",
        },
        reason: it.reason.clone(),
        title: it.title.clone(),
    }
}

fn actions(signed_in: &SignedIn, key: &str, it: &Deployment, state: State) -> Vec<Action> {
    let action = |name: &'static str, label: &'static str, title: &str| Action {
        to: links::deployment_action(key, &it.id, name),
        csrf: signed_in.csrf.clone(),
        label,
        title: title.to_owned(),
        fields: Vec::new(),
        question: String::new(),
        grave: false,
    };
    let mut all = Vec::new();
    let (may_deploy, may_write) = (signed_in.may(Scope::Deploy), signed_in.may(Scope::Write));
    if may_deploy && !state.is_final() && !it.cancel_requested {
        all.push(Action { grave: true, ..action("cancel", "Cancel", "Cancel this deployment") });
    }
    let served = state == State::Ready && it.artifact_removed_at.is_none();
    if may_deploy && served && !it.promoted {
        let question = format!(
            "The address of the branch {} serves this deployment from now on. If a newer one is READY, the address stays with this one until the newest is promoted.",
            it.branch
        );
        all.push(Action { question, ..action("promote", "Promote", "Promote this deployment") });
    }
    if may_deploy && state.is_final() {
        all.push(action("redeploy", "Redeploy", "Deploy this commit again"));
        let fields = vec![("no-cache", "1".to_owned())];
        let title = "Deploy this commit again, without the build cache";
        all.push(Action { fields, ..action("redeploy", "Redeploy without cache", title) });
    }
    if may_write && state.is_final() && !it.promoted {
        let question =
            "The deployment, its log and its files are removed for good, and its address answers 410."
                .to_owned();
        all.push(Action { question, grave: true, ..action("delete", "Delete", "Delete this deployment") });
    }
    all
}

#[cfg(test)]
mod tests {
    use chrono::{DateTime, TimeDelta};

    use super::*;

    #[test]
    fn bytes_are_told_in_their_largest_unit() {
        for (count, told) in
            [(0, "0 B"), (1_023, "1023 B"), (1_536, "1.5 KiB"), (5 << 30, "5.0 GiB"), (3 << 42, "12.0 TiB")]
        {
            assert_eq!(bytes(count), told);
        }
    }

    #[test]
    fn steps_share_the_width_of_the_timeline() {
        let at = |seconds| Some(DateTime::UNIX_EPOCH + TimeDelta::seconds(seconds));
        let step = |name, started, finished| StepRun { name, started, finished, exit_code: Some(0) };
        let steps = [step("source", at(0), at(5)), step("build", at(5), None)];
        let shown = timeline(&steps, DateTime::UNIX_EPOCH + TimeDelta::seconds(10));
        let drawn: Vec<_> = shown.iter().map(|step| (step.x, step.width, step.took.as_str())).collect();
        assert_eq!(drawn, [(0, 500, "5.0 s"), (500, 500, "5.0 s")]);
    }
}
