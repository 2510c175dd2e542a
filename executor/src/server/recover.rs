//! What becomes of the attempts that ran when the executor's last process ended.

use std::sync::Arc;

use grapnel_artifacts::ArtifactStore;
use grapnel_domain::{
    event::{BuildEvent, Outcome, Step},
    failure::{Failure, FailureCode},
};
use grapnel_runtime::Clock;

use super::{
    attempt::{Attempt, Dormant, Keeper},
    journal::{Found, Journals},
};
use crate::{
    engine::Inventory,
    link::Link,
    pipeline::{
        Left, Pipeline, Wishes,
        recorder::{Progress, Record, What},
        stage::Stage,
    },
};

/// Takes an attempt up from its journal. One whose sandbox is among what the engine holds, or may be because that does not
/// answer, waits for somebody who says what it is given; another one that has no end gets it now.
pub async fn attempt(
    found: Found,
    journals: &Journals,
    pipeline: &Pipeline,
    clock: &Clock,
    wishes: Wishes,
    inventory: Option<&Inventory>,
) -> Arc<Attempt> {
    let Found { id, journal, places, events, stage, progress, written_at, finished } = found;
    let attempt = Arc::new(Attempt::new(id, journals.path_of(id), places, wishes));
    if finished {
        attempt.mark_ended(written_at);
        return attempt;
    }
    let keeper = Keeper::new(attempt.clone(), Ok(journal));
    let published = published(&attempt, &events, &*pipeline.artifacts).await;
    let left = if published.is_none() { left(&attempt, stage, progress, pipeline, inventory) } else { None };
    if let Some(left) = left {
        tracing::info!(attempt = %id, "a build goes on when it is asked for again");
        let step = open_step(&events).unwrap_or(Step::Install);
        attempt.lay_down(Dormant { left, step, keeper });
        return attempt;
    }
    let outcome = published.unwrap_or_else(|| lost(&events));
    tracing::warn!(attempt = %id, ?outcome, "an attempt that ran when the last process ended is over");
    end(keeper, &events, clock, outcome).await;
    attempt
}

/// Writes down how an attempt ended, and with it the step that was under way.
async fn end(mut keeper: Keeper, events: &[BuildEvent], clock: &Clock, outcome: Outcome) {
    if let Some(step) = open_step(events) {
        let exit_code = matches!(outcome, Outcome::Ready { .. }).then_some(0);
        let what = What::Event(BuildEvent::StepFinished { step, at: clock.now(), exit_code });
        keeper.keep(Record { what, progress: Progress::default() }).await;
    }
    keeper.finish(clock.now(), outcome).await;
}

/// Returns what a build can be gone on with: its sandbox is not known to be gone, the machine has not gone down, and its line is
/// ours.
fn left(
    attempt: &Attempt,
    stage: Option<Stage>,
    progress: Progress,
    pipeline: &Pipeline,
    inventory: Option<&Inventory>,
) -> Option<Left> {
    let mut stage = stage.filter(|stage| stage.began.is_of_this_boot())?;
    let is_there = |held: &Inventory| held.sandboxes.iter().any(|(id, _)| *id == stage.sandbox);
    if !inventory.is_none_or(is_there) {
        return None;
    }
    let workspace = pipeline.workspace_of(attempt.id, &stage);
    let steps = progress.exits.len() as u64;
    match Link::listen_again(&workspace.link(), progress.position.frame, steps) {
        Ok(link) => {
            stage.cache = pipeline.caches.adopt(stage.cache);
            Some(Left { stage, progress, link, workspace })
        }
        Err(error) => {
            tracing::warn!(attempt = %attempt.id, %error, "the line to a sandbox cannot be taken up");
            None
        }
    }
}

/// Says that an attempt is READY of which only the end was missing.
///
/// It had come to its output and the artifact stands. That appears whole, at once, when all that a build may fail by
/// is behind it. To publish again would change nothing and return what stands, so this is what another attempt would come
/// to as well.
async fn published(
    attempt: &Attempt,
    events: &[BuildEvent],
    artifacts: &dyn ArtifactStore,
) -> Option<Outcome> {
    let began = |event: &BuildEvent| matches!(event, BuildEvent::StepStarted { step: Step::Output, .. });
    if !events.iter().any(began) {
        return None;
    }
    let manifest = artifacts.open(attempt.id.deployment).await.ok()?;
    Some(Outcome::Ready { files: manifest.files.len() as u64, bytes: manifest.bytes() })
}

/// Says that nobody can go on with an attempt: the next one begins at once.
fn lost(events: &[BuildEvent]) -> Outcome {
    let place = open_step(events).map_or_else(String::new, |step| format!(", in its step `{step}`"));
    let message = format!("the executor's process ended while the attempt ran{place}");
    Outcome::Failed { failure: Failure::new(FailureCode::ExecutorLost, message) }
}

/// Returns the step that has begun and not ended.
fn open_step(events: &[BuildEvent]) -> Option<Step> {
    events.iter().rev().find_map(|event| match event {
        BuildEvent::StepStarted { step, .. } => Some(Some(*step)),
        BuildEvent::StepFinished { .. } => Some(None),
        _ => None,
    })?
}
