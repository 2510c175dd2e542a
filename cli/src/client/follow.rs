//! A deployment's history, read to where it is wanted, whatever happens to the line.

use std::{
    process::ExitCode,
    time::{Duration, Instant},
};

use grapnel_domain::{ErrorCode, Reason};
use grapnel_proto::{
    error::from_status,
    hooks::v1::{
        Deployment, DeploymentEvent, DeploymentState, ListDeploymentsRequest, WatchDeploymentRequest,
        deployment_event::Event,
    },
};
use tokio::time::{sleep, timeout};

use super::{
    Client, PAGE,
    progress::{Shown, Telling},
};
use crate::exit::Failure;

/// After how long without an event it is taken that none is on its way, and what there is is written.
const PAUSE: Duration = Duration::from_millis(20);

/// How often, in silence, it is looked how many wait before the deployment.
const LOOK: Duration = Duration::from_secs(2);

/// How long a service may stay away, since it was last heard of.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long to wait before the first new try, and at most before a further one.
const TRIES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));

/// Until when a history is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// What there is by now.
    Now,
    /// Until the deployment ends.
    End,
}

impl Client {
    /// Prints a deployment's history, with its state as the result where it was waited for.
    pub(super) async fn follow(&self, id: String, until: Until, shown: Shown) -> Result<ExitCode, Failure> {
        let deployment = self.read(id.clone()).await?;
        let mut place = Place::of(&deployment, until);
        let mut patience = Patience::new();
        let mut telling = Telling::start(&self.printer, shown, &deployment, until == Until::End);
        while !place.is_the_end() {
            if let Some(cut) = self.listen(&deployment, &mut place, &mut patience, &mut telling).await? {
                telling.flush()?;
                telling.reconnect();
                patience.wait(cut, &id).await?;
            }
        }
        telling.end()?;
        // It is told already how it ended: a service that has gone away since changes nothing of that.
        if self.printer.for_people()
            && let Ok(deployment) = self.read(id).await
        {
            self.show(&deployment)?;
        }
        let done = until == Until::Now || place.state == DeploymentState::Ready;
        Ok(if done { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    /// Tells what comes until the place is the end; returns why nothing more comes where that is not so.
    async fn listen(
        &self,
        deployment: &Deployment,
        place: &mut Place,
        patience: &mut Patience,
        telling: &mut Telling<'_>,
    ) -> Result<Option<Failure>, Failure> {
        let request = WatchDeploymentRequest {
            deployment_id: deployment.id.clone(),
            after_position: place.after,
            without_log: !telling.shows_log(),
            history_only: false,
        };
        let mut events = match self.hooks.clone().watch_deployment(request).await {
            Ok(answer) => answer.into_inner(),
            Err(status) => return self.cut(&status).map(Some),
        };
        let mut silence = PAUSE;
        while !place.is_the_end() {
            let Ok(message) = timeout(silence, events.message()).await else {
                if silence == LOOK {
                    patience.heard();
                }
                silence = LOOK;
                telling.flush()?;
                if telling.waits() {
                    telling.wait_behind(self.before(deployment).await);
                }
                continue;
            };
            silence = PAUSE;
            match message {
                Ok(Some(message)) => {
                    patience.heard();
                    if let Some(event) = message.event.filter(|event| place.pass(event)) {
                        telling.tell(&event)?;
                    }
                }
                // A service that stops ends its streams; the history goes on at the next one.
                Ok(None) => {
                    return Ok(Some(Failure::unreachable("the service told no more of the deployment")));
                }
                Err(status) => return self.cut(&status).map(Some),
            }
        }
        Ok(None)
    }

    /// Reads why a stream broke; what a new try does not mend is an error.
    fn cut(&self, status: &tonic::Status) -> Result<Failure, Failure> {
        let away = from_status(status, Reason::HooksUnavailable).code() == ErrorCode::Unavailable;
        let refusal = self.refusal(status);
        if away { Ok(refusal) } else { Err(refusal) }
    }

    /// Counts the team's deployments that have waited for a slot for longer. It is for the eye only, so it may fail.
    async fn before(&self, deployment: &Deployment) -> usize {
        let request = ListDeploymentsRequest {
            state: DeploymentState::Queued.into(),
            page_size: PAGE.cast_signed(),
            ..Default::default()
        };
        let Ok(answer) = self.hooks.clone().list_deployments(request).await else {
            return 0;
        };
        // Ids sort by time.
        answer.get_ref().deployments.iter().filter(|other| other.id < deployment.id).count()
    }
}

/// How far a history was read.
struct Place {
    /// The position of the last event that was told.
    after: u64,
    /// Where to stop, where that is known before.
    goal: Option<u64>,
    /// The state that the deployment is known to be in.
    state: DeploymentState,
    /// Whether its final state was told.
    ended: bool,
}

impl Place {
    fn of(deployment: &Deployment, until: Until) -> Self {
        let known = until == Until::Now || deployment.finished_at.is_some();
        let goal = known.then_some(deployment.last_position);
        Self { after: 0, goal, state: deployment.state(), ended: false }
    }

    fn is_the_end(&self) -> bool {
        self.ended || self.goal.is_some_and(|goal| self.after >= goal)
    }

    /// Goes on to an event; `false` where it was told already.
    fn pass(&mut self, event: &DeploymentEvent) -> bool {
        if event.position <= self.after {
            return false;
        }
        self.after = event.position;
        if let Some(Event::StateChanged(changed)) = &event.event {
            self.state = changed.state();
            self.ended = is_final(self.state);
        }
        true
    }
}

fn is_final(state: DeploymentState) -> bool {
    matches!(state, DeploymentState::Ready | DeploymentState::Error | DeploymentState::Canceled)
}

/// How long is waited for a service that has gone away.
struct Patience {
    heard: Instant,
    pause: Duration,
}

impl Patience {
    fn new() -> Self {
        Self { heard: Instant::now(), pause: TRIES.0 }
    }

    fn heard(&mut self) {
        *self = Self::new();
    }

    /// Waits before a new try, or gives up.
    async fn wait(&mut self, cut: Failure, id: &str) -> Result<(), Failure> {
        match self.next(Instant::now()) {
            Some(pause) => {
                sleep(pause).await;
                Ok(())
            }
            None => Err(cut.hint_first(&format!("`grapnel deployment logs --follow {id}` goes on."))),
        }
    }

    /// Returns how long to wait before a new try; `None` where it has been long enough.
    fn next(&mut self, now: Instant) -> Option<Duration> {
        let pause = self.pause;
        self.pause = (pause * 2).min(TRIES.1);
        (now.duration_since(self.heard) + pause <= PATIENCE).then_some(pause)
    }
}

#[cfg(test)]
mod tests {
    use grapnel_proto::hooks::v1::StateChanged;

    use super::*;

    fn event(position: u64, state: DeploymentState) -> DeploymentEvent {
        let changed = StateChanged { state: state.into(), ..Default::default() };
        DeploymentEvent { position, event: Some(Event::StateChanged(changed)), ..Default::default() }
    }

    #[test]
    fn no_event_is_told_twice_and_the_final_state_is_the_end() {
        let mut place = Place::of(&Deployment { last_position: 3, ..Default::default() }, Until::End);
        assert!(place.pass(&event(1, DeploymentState::Pending)));
        assert!(place.pass(&event(2, DeploymentState::Building)));
        assert!(!place.pass(&event(2, DeploymentState::Building)), "as after a cut");
        assert!(place.pass(&event(3, DeploymentState::Queued)), "its executor was lost");
        assert!(!place.is_the_end());
        assert!(place.pass(&event(4, DeploymentState::Canceled)));
        assert!(place.is_the_end());
        assert_eq!(place.state, DeploymentState::Canceled);
    }

    #[test]
    fn what_there_is_by_now_ends_at_the_last_event() {
        let mut place = Place::of(&Deployment { last_position: 2, ..Default::default() }, Until::Now);
        assert!(place.pass(&event(1, DeploymentState::Pending)));
        assert!(!place.is_the_end());
        assert!(place.pass(&event(2, DeploymentState::Queued)));
        assert!(place.is_the_end());
        assert!(Place::of(&Deployment::default(), Until::Now).is_the_end(), "there is nothing yet");
    }

    #[test]
    fn patience_has_an_end_and_begins_anew_with_every_word() {
        let mut patience = Patience::new();
        let begun = patience.heard;
        let mut now = begun;
        while let Some(pause) = patience.next(now) {
            assert!(pause <= TRIES.1);
            now += pause;
        }
        let waited = now.duration_since(begun);
        assert!(waited <= PATIENCE && waited + TRIES.1 >= PATIENCE, "{waited:?}");
        patience.heard();
        assert_eq!(patience.next(patience.heard), Some(TRIES.0));
    }
}
