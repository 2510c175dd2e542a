//! What Grapnel promises, held against what it did.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use grapnel_proto::hooks::v1::{
    Deployment, DeploymentState, ListDeploymentsRequest, WatchDeploymentRequest, deployment_event::Event,
};
use tokio::time::timeout;

use super::installation::{Installation, LINES};

/// How long the last deployment may take to end when everything is back.
const SETTLED: Duration = Duration::from_secs(180);

/// What came of a case.
#[derive(Debug, Default)]
pub struct Verdict {
    /// Triggers that were answered with 200.
    pub triggers: usize,
    /// The deployments that they were answered with.
    pub deployments: usize,
    /// How many of these are READY.
    pub ready: usize,
    /// How many failed.
    pub error: usize,
    /// How many were canceled: superseded, that is.
    pub canceled: usize,
    /// Why those that failed did, and how many.
    pub failures: BTreeMap<String, usize>,
    /// What was lost: deployments without an end, artifacts, log lines.
    pub lost: Vec<String>,
    /// What happened twice, or went back.
    pub doubled: Vec<String>,
    /// What is left in the engine or on disk.
    pub left_over: Vec<String>,
}

impl Verdict {
    /// Tells whether everything is as promised.
    pub fn holds(&self) -> bool {
        self.deployments > 0 && self.lost.is_empty() && self.doubled.is_empty() && self.left_over.is_empty()
    }
}

/// Waits until everything has ended, and judges.
///
/// # Panics
/// The installation does not answer.
pub async fn of(installation: &Installation, answered: &[String]) -> Verdict {
    let ids: BTreeSet<_> = answered.iter().cloned().collect();
    let mut verdict = Verdict { triggers: answered.len(), deployments: ids.len(), ..Verdict::default() };
    let begun = Instant::now();
    for id in ids {
        // One that does not end keeps no other from being judged.
        let left = SETTLED.saturating_sub(begun.elapsed()).max(Duration::from_secs(2));
        match timeout(left, history(installation, &id)).await {
            Ok(history) => verdict.judge(installation, &id, &history).await,
            Err(_) => verdict.lost.push(format!("{id} does not end")),
        }
    }
    for project in installation.projects() {
        verdict.judge_address(&deployments(installation, project).await);
    }
    verdict.left_over.extend(installation.left_over().await);
    verdict
}

/// Reads a deployment's whole history; asks again where the service was away.
async fn history(installation: &Installation, id: &str) -> Vec<(u64, u32, Event)> {
    loop {
        let request =
            WatchDeploymentRequest { deployment_id: id.to_owned(), after_position: 0, ..Default::default() };
        if let Ok(stream) = installation.client().watch_deployment(request).await {
            let (mut stream, mut history) = (stream.into_inner(), Vec::new());
            while let Ok(Some(message)) = stream.message().await {
                let event = message.event.expect("an event is in it");
                history.push((event.position, event.attempt, event.event.expect("of a kind")));
            }
            if history.last().is_some_and(|(_, _, event)| is_final(event)) {
                return history;
            }
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

fn state_of(event: &Event) -> Option<DeploymentState> {
    match event {
        Event::StateChanged(change) => Some(change.state()),
        _ => None,
    }
}

/// Returns why a deployment failed.
fn why(history: &[(u64, u32, Event)]) -> String {
    let failure = history.last().and_then(|(_, _, event)| match event {
        Event::StateChanged(change) => change.failure.clone(),
        _ => None,
    });
    failure.map_or_else(
        || "nobody says why".to_owned(),
        |failure| format!("{}: {}", failure.code, failure.message),
    )
}

fn is_final(event: &Event) -> bool {
    matches!(
        state_of(event),
        Some(DeploymentState::Ready | DeploymentState::Error | DeploymentState::Canceled)
    )
}

impl Verdict {
    async fn judge(&mut self, installation: &Installation, id: &str, history: &[(u64, u32, Event)]) {
        if !history.iter().map(|(position, _, _)| *position).eq(1..=history.len() as u64) {
            self.lost.push(format!("{id}: its history has a gap or repeats"));
        }
        let ends = history.iter().filter(|(_, _, event)| is_final(event)).count();
        if ends != 1 {
            self.doubled.push(format!("{id} has {ends} final states"));
        }
        match history.last().and_then(|(_, _, event)| state_of(event)) {
            Some(DeploymentState::Ready) => {
                self.ready += 1;
                self.judge_log(id, history);
                if !installation.serves(id).await {
                    self.lost.push(format!("{id} is READY and is not served"));
                }
            }
            Some(DeploymentState::Error) => {
                self.error += 1;
                *self.failures.entry(why(history)).or_default() += 1;
            }
            _ => self.canceled += 1,
        }
    }

    /// Every line of a READY deployment's last attempt is there, once and in its place.
    fn judge_log(&mut self, id: &str, history: &[(u64, u32, Event)]) {
        let attempt = history.iter().map(|(_, attempt, _)| *attempt).max().unwrap_or_default();
        let mut told: Vec<u32> = Vec::new();
        for (_, _, event) in history.iter().filter(|(_, of, _)| *of == attempt) {
            if let Event::Log(log) = event {
                let numbers =
                    log.lines.iter().filter_map(|line| line.text.strip_prefix("line ")?.parse::<u32>().ok());
                told.extend(numbers);
            }
        }
        if !told.iter().copied().eq(1..=LINES) {
            let repeats = told.len() > LINES as usize;
            let what = if repeats { &mut self.doubled } else { &mut self.lost };
            what.push(format!("{id}, attempt {attempt}: its log has the lines {told:?}"));
        }
    }

    /// A project's address serves its newest READY deployment, and no other counts as served.
    fn judge_address(&mut self, deployments: &[Deployment]) {
        let newest = deployments.iter().find(|it| it.state() == DeploymentState::Ready);
        for deployment in deployments.iter().filter(|it| it.promoted) {
            if Some(&deployment.id) != newest.map(|newest| &newest.id) {
                self.doubled.push(format!("the address serves {}, which is not the newest", deployment.id));
            }
        }
        if let Some(newest) = newest.filter(|newest| !newest.promoted) {
            self.lost.push(format!("{} is the newest and its address serves another", newest.id));
        }
    }
}

/// Lists all deployments of a project, the newest first.
async fn deployments(installation: &Installation, project: &str) -> Vec<Deployment> {
    let (mut all, mut page_token) = (Vec::new(), String::new());
    loop {
        let request = ListDeploymentsRequest {
            project: project.to_owned(),
            page_size: 100,
            page_token: std::mem::take(&mut page_token),
            ..Default::default()
        };
        let answer = installation.client().list_deployments(request).await.expect("it answers").into_inner();
        all.extend(answer.deployments);
        if answer.next_page_token.is_empty() {
            return all;
        }
        page_token = answer.next_page_token;
    }
}
