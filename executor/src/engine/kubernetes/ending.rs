//! Ending pods.

use std::time::Duration;

use kube::api::DeleteParams;
use tokio::time::{Instant, timeout};

use super::{
    KubernetesEngine, answered,
    ended::Ended,
    error::{status, translate},
    labels_of, said,
    watching::Watching,
};
use crate::engine::{EngineError, Exit, SandboxId};

/// How long an API server that is away is asked again for what has to be done, and how often.
const PATIENCE: Duration = Duration::from_secs(120);
const AGAIN: Duration = Duration::from_millis(500);

/// How long the kubelet may take to end a pod that it is told to, beyond the pod's grace: one that has missed something of a pod
/// looks at it again after a minute (`syncFrequency`).
const ENDS: Duration = Duration::from_secs(90);

/// After which time, beyond its grace, it is known of a pod that was told to end that it will not be said to run any more: a
/// kubelet says so a second after its first process has begun, and kills it within two.
const SILENT: Duration = Duration::from_secs(3);

impl KubernetesEngine {
    /// Ends a pod and waits until its kubelet says that nothing of it runs any more. Returns how it ended, unless it was gone
    /// already.
    pub(super) async fn end(&self, id: &SandboxId, grace: Duration) -> Result<Option<Ended>, EngineError> {
        let mut watching = Watching::of(self.pods().await?, id);
        let Some(mut last) = watching.next().await else { return Ok(None) };
        if said::may_have_begun(&last) {
            // The least that makes the kubelet say when it is done: with none at all the pod is forgotten at once.
            let grace = grace.max(Duration::from_secs(1));
            self.delete(id, grace).await?;
            let silent_until = Instant::now() + grace + SILENT;
            let ended = async {
                while watching.exit(&last).is_none() {
                    tokio::select! {
                        next = watching.next() => match next {
                            Some(pod) => last = pod,
                            None => break,
                        },
                        () = tokio::time::sleep_until(silent_until), if !watching.has_run() => break,
                    }
                }
            };
            if timeout(grace + ENDS, ended).await.is_err() {
                let message =
                    format!("the kubelet of `{}` does not end the pod `{}`", self.config.node, id.0);
                return Err(EngineError::Unavailable(message));
            }
        }
        // Nothing of a build runs in it. What its kubelet has to clean up needs no pod, and can take it a minute.
        self.delete(id, Duration::ZERO).await?;
        let exit = watching.exit(&last).unwrap_or_else(|| Exit::with(said::KILLED));
        Ok(Some(Ended { exit, labels: labels_of(&last) }))
    }

    /// Tells the cluster to end a pod, again for as long as nobody answers.
    pub(super) async fn delete(&self, id: &SandboxId, grace: Duration) -> Result<(), EngineError> {
        let begun = Instant::now();
        loop {
            match self.try_to_delete(id, grace).await {
                Err(EngineError::Unavailable(why)) if begun.elapsed() < PATIENCE => {
                    tracing::debug!(sandbox = id.0, why, "the cluster is asked again to end a pod");
                    tokio::time::sleep(AGAIN).await;
                }
                done => return done,
            }
        }
    }

    async fn try_to_delete(&self, id: &SandboxId, grace: Duration) -> Result<(), EngineError> {
        let how = DeleteParams::default().grace_period(u32::try_from(grace.as_secs()).unwrap_or(u32::MAX));
        let pods = self.pods().await?;
        match answered(pods.delete(&id.0, &how)).await? {
            Ok(_) => Ok(()),
            Err(error) if status(&error) == Some(404) => Ok(()),
            Err(error) => Err(translate(&error, &id.0)),
        }
    }
}
