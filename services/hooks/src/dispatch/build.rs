//! QUEUED and BUILDING: an attempt on an executor, from its start to what came of it.

use std::time::Duration;

use grapnel_domain::{
    Error, Reason,
    build::BuildSpec,
    deployment::State,
    event::{BuildEvent, Outcome},
    failure::{Failure, FailureCode},
};
use grapnel_proto::{convert::event::build_event_from_wire, executor::v1::TriggerDeployResponse};
use grapnel_runtime::CancellationToken;
use tokio::time::{Instant, timeout};
use tonic::Streaming;

use super::{Dispatcher, Executor};
use crate::{
    inputs::InputError,
    store::{Claimed, StoreError},
};

/// How many events are stored with one transaction.
const BATCH: usize = 256;

/// Why an attempt is not followed any more.
enum Stop {
    /// The deployment is in other hands, or has ended: nothing of it is ours.
    Fenced,
    /// The process stops: whoever comes next goes on.
    Stopping,
    /// No executor has taken the attempt: it is tried again.
    NotTaken,
    /// The store fails: the lease runs out, and whoever has it then goes on.
    Store(StoreError),
}

impl From<StoreError> for Stop {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Fenced | StoreError::Illegal(_) => Self::Fenced,
            other => Self::Store(other),
        }
    }
}

impl Dispatcher {
    /// Follows one attempt to its end, on this executor or, where it has begun already, on the one that runs it. `end` is
    /// cancelled when somebody asks for its end.
    pub(super) async fn build(
        &self,
        mut claimed: Claimed,
        mut executor: Option<Executor>,
        end: CancellationToken,
    ) {
        let id = claimed.deployment.id;
        let outcome = tokio::select! {
            outcome = self.run_attempt(&mut claimed, &mut executor, &end) => outcome,
            () = self.keep_lease(id) => Err(Stop::Fenced),
            () = self.stopping.cancelled() => Err(Stop::Stopping),
        };
        let stop = match outcome {
            Ok(outcome) => match self.finish(&claimed.spec, outcome).await {
                Ok(()) => return,
                Err(stop) => stop,
            },
            Err(stop) => stop,
        };
        match stop {
            Stop::Fenced => {
                // Whoever has it now runs another attempt, or none: this one has to end.
                if let Some(executor) = executor
                    && let Err(error) = executor.cancel(claimed.spec.id).await
                {
                    tracing::warn!(deployment.id = %id, %error, "an attempt that is not wanted cannot be ended");
                }
            }
            Stop::Stopping => self.release(id, Duration::ZERO).await,
            Stop::NotTaken => self.release(id, self.patience.again).await,
            Stop::Store(error) => tracing::warn!(deployment.id = %id, %error, "a build cannot be followed"),
        }
    }

    async fn finish(&self, spec: &BuildSpec, outcome: Outcome) -> Result<(), Stop> {
        let finished = self.store.finished(spec.id, &self.owner, outcome, self.clock.now()).await?;
        let id = finished.id;
        tracing::info!(deployment.id = %id, state = %finished.state, promoted = finished.promoted, "an attempt ended");
        Ok(())
    }

    /// Finds out where the build is to run, gives it what it needs, and follows it.
    async fn run_attempt(
        &self,
        claimed: &mut Claimed,
        executor: &mut Option<Executor>,
        end: &CancellationToken,
    ) -> Result<Outcome, Stop> {
        let begun = claimed.deployment.state == State::Building;
        if executor.is_none() && begun {
            *executor = self.where_it_runs(claimed).await;
        }
        let executor = match executor {
            Some(executor) => &*executor,
            None if begun => return Ok(lost("it did not come back")),
            None => return Err(Stop::NotTaken),
        };
        let Err(error) = self.fill(claimed).await else {
            return self.follow(claimed, executor, end).await;
        };
        let Some(failure) = error.failure() else {
            tracing::warn!(deployment.id = %claimed.deployment.id, %error, "what a build needs cannot be read; it is tried again");
            return Err(Stop::NotTaken);
        };
        if claimed.deployment.state == State::Building {
            // Whatever of it runs still is not followed any more.
            let _ = executor.cancel(claimed.spec.id).await;
        } else {
            self.store.started(claimed.spec.id, &self.owner, self.clock.now()).await?;
        }
        Ok(Outcome::Failed { failure })
    }

    /// Waits for the executor of an attempt that has begun, for as long as one that went away is waited for.
    async fn where_it_runs(&self, claimed: &Claimed) -> Option<Executor> {
        self.fleet.wait_for(claimed.deployment.executor.as_deref()?, self.patience.lost).await
    }

    async fn fill(&self, claimed: &mut Claimed) -> Result<(), InputError> {
        let (team, spec) = (claimed.deployment.team_id, &mut claimed.spec);
        spec.variables = self.inputs.variables(team, spec.project_id, &spec.branch).await?;
        spec.access = self.inputs.access(team, spec.project_id).await?;
        Ok(())
    }

    async fn follow(
        &self,
        claimed: &Claimed,
        executor: &Executor,
        end: &CancellationToken,
    ) -> Result<Outcome, Stop> {
        let spec = &claimed.spec;
        let mut building = claimed.deployment.state == State::Building;
        let mut seen = if building { self.store.last_sequence(spec.id).await? } else { 0 };
        if !building {
            // Before it can have begun: whoever takes over asks there first.
            self.store.assigned(spec.id.deployment, &self.owner, &executor.info().name).await?;
        }
        let mut away_since = None;
        loop {
            match executor.trigger(spec, seen).await {
                Ok(mut events) => {
                    if !building {
                        self.store.started(spec.id, &self.owner, self.clock.now()).await?;
                        building = true;
                    }
                    let before = seen;
                    if let Some(outcome) = self.listen(spec, executor, &mut events, &mut seen, end).await? {
                        return Ok(outcome);
                    }
                    if seen > before {
                        away_since = None;
                    }
                }
                Err(error) if error.reason == Reason::AttemptNotFound => {
                    return Ok(lost("it lost the attempt"));
                }
                Err(_) if !building => return Err(Stop::NotTaken),
                Err(error) if is_final(&error) => return Ok(lost(&error.message)),
                Err(error) => tracing::debug!(attempt = %spec.id, %error, "the executor is looked for again"),
            }
            let since = *away_since.get_or_insert_with(Instant::now);
            if since.elapsed() > self.patience.lost {
                let seconds = self.patience.lost.as_secs();
                return Ok(lost(&format!("it did not answer for {seconds} s")));
            }
            tokio::time::sleep(self.patience.again).await;
        }
    }

    /// Stores what a stream tells until it breaks, which is `None`, or until the attempt has ended.
    async fn listen(
        &self,
        spec: &BuildSpec,
        executor: &Executor,
        events: &mut Streaming<TriggerDeployResponse>,
        seen: &mut u64,
        end: &CancellationToken,
    ) -> Result<Option<Outcome>, Stop> {
        let mut asked = false;
        loop {
            let message = tokio::select! {
                () = end.cancelled(), if !asked => {
                    asked = true;
                    // The stream tells the end when the sandbox is gone; this call only asks.
                    let (executor, spec) = (executor.clone(), spec.clone());
                    self.tasks.spawn(async move {
                        if let Err(error) = executor.cancel(spec.id).await {
                            tracing::warn!(attempt = %spec.id, %error, "a build that was asked to end cannot be ended");
                        }
                    });
                    continue;
                }
                message = timeout(self.patience.silence, events.message()) => message,
            };
            let Ok(Ok(Some(first))) = message else {
                return Ok(None);
            };
            let batch = self.batch(first, events, seen).await;
            if !batch.events.is_empty() {
                self.store.append_build_events(spec.id, &self.owner, batch.events, self.clock.now()).await?;
            }
            if let Some(outcome) = batch.outcome {
                return Ok(Some(outcome));
            }
            if batch.broken {
                return Ok(None);
            }
        }
    }

    /// Takes what has arrived together: one line is stored at once, thousands in few transactions.
    async fn batch(
        &self,
        first: TriggerDeployResponse,
        stream: &mut Streaming<TriggerDeployResponse>,
        seen: &mut u64,
    ) -> Batch {
        let mut batch = Batch::default();
        let mut next = Some(first);
        while let Some(message) = next.take() {
            match build_event_from_wire(message) {
                Ok(None) => {}
                Ok(Some((sequence, _))) if sequence <= *seen => {}
                Ok(Some((sequence, _))) if sequence != *seen + 1 => batch.broken = true,
                Ok(Some((_, BuildEvent::Finished { outcome, .. }))) => batch.outcome = Some(outcome),
                Ok(Some((sequence, event))) => {
                    *seen = sequence;
                    batch.events.push((sequence, event));
                }
                Err(error) => {
                    tracing::error!(%error, "an executor sent what cannot be read");
                    batch.broken = true;
                }
            }
            let more = batch.outcome.is_none() && !batch.broken && batch.events.len() < BATCH;
            if more {
                // Ready messages only: nothing waits here.
                next = match futures_util::FutureExt::now_or_never(stream.message()) {
                    Some(Ok(message)) => message,
                    Some(Err(_)) => {
                        batch.broken = true;
                        None
                    }
                    None => None,
                };
            }
        }
        batch
    }
}

#[derive(Default)]
struct Batch {
    events: Vec<(u64, BuildEvent)>,
    outcome: Option<Outcome>,
    broken: bool,
}

fn lost(why: &str) -> Outcome {
    Outcome::Failed {
        failure: Failure::new(FailureCode::ExecutorLost, format!("the executor was lost: {why}")),
    }
}

/// Tells refusals that another try would not change.
fn is_final(error: &Error) -> bool {
    matches!(
        error.reason,
        Reason::InvalidRequest | Reason::KeyInvalid | Reason::KeyMissing | Reason::Internal
    )
}
