//! When sandboxes are started ahead of their builds: while there is a free slot, so that no build waits for one.

use std::time::Duration;

use grapnel_domain::build::{AttemptId, BuildSpec};
use grapnel_runtime::Clock;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::occupancy::Occupancy;
use crate::pipeline::{Pipeline, ahead::Staged};

/// How long is waited after a build: its end has to be told and stored first, and another one may follow at once.
const PAUSE: Duration = Duration::from_millis(200);

/// Makes ready what the shelf wants, one after the other, until it is stopped or the executor drains. Then it removes what
/// there is.
pub async fn keep_ready(pipeline: Pipeline, occupancy: Occupancy, clock: Clock, stop: CancellationToken) {
    let shelf = pipeline.shelf.clone();
    let mut slots = occupancy.watch();
    loop {
        throw_away(&pipeline, shelf.expired());
        let now = *slots.borrow_and_update();
        if stop.is_cancelled() || now.draining {
            break;
        }
        let may_begin = now.taken < now.all && !now.cordoned && shelf.is_wanting();
        tokio::select! {
            () = stop.cancelled() => {}
            () = tokio::time::sleep(PAUSE), if may_begin => {
                let still = occupancy.slots();
                if still.taken < still.all && !still.cordoned && let Some(spec) = shelf.begin() {
                    make(&pipeline, spec, &clock, &stop).await;
                }
            }
            _ = slots.changed() => {}
            () = shelf.changed() => {}
            () = until(shelf.next_expiry()) => {}
        }
    }
    throw_away(&pipeline, shelf.close());
}

async fn make(pipeline: &Pipeline, spec: BuildSpec, clock: &Clock, stop: &CancellationToken) {
    let id = AttemptId { deployment: clock.new_id(), attempt: AttemptId::AHEAD };
    let made = pipeline.stage_ahead(BuildSpec { id, ..spec.clone() }, clock, stop).await;
    throw_away(pipeline, pipeline.shelf.put(&spec, made));
}

fn throw_away(pipeline: &Pipeline, staged: impl IntoIterator<Item = Staged>) {
    for staged in staged {
        pipeline.throw_away(staged);
    }
}

async fn until(then: Option<Instant>) {
    match then {
        Some(then) => tokio::time::sleep_until(then).await,
        None => std::future::pending().await,
    }
}
