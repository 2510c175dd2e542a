//! A sandbox on its way, which its engine is asked for again for as long as it has no place for it.

use std::{path::PathBuf, sync::Arc, time::Duration};

use grapnel_domain::event::Step;
use tokio::{sync::watch, task::JoinHandle, time::Instant};
use tokio_util::sync::CancellationToken;

use super::{recorder::Recorder, sandbox::RunningSandbox};
use crate::engine::{Engine, EngineError, Sandbox};

/// How long it is waited for an engine that has no place for a sandbox, and how often it is asked again.
const PLACE: Duration = Duration::from_secs(600);
const PLACE_AGAIN: Duration = Duration::from_secs(1);

/// A sandbox that is being started, which goes on when this is dropped.
pub struct Starting {
    task: JoinHandle<Result<RunningSandbox, EngineError>>,
    /// Why there is no place for it.
    waits: watch::Receiver<String>,
}

impl Starting {
    /// Begins to start a sandbox with its socket in the directory `link`. It is not asked for again once it is given up.
    pub fn begin(
        engine: Arc<dyn Engine>,
        wanted: Sandbox,
        link: PathBuf,
        given_up: CancellationToken,
    ) -> Self {
        let (tell, waits) = watch::channel(String::new());
        let task = tokio::spawn(async move {
            let begun = Instant::now();
            loop {
                match RunningSandbox::start(engine.clone(), &wanted, &link).await {
                    Err(EngineError::NoPlace(why)) if begun.elapsed() < PLACE => {
                        tell.send_if_modified(|told| {
                            let is_new = *told != why;
                            told.clone_from(&why);
                            is_new
                        });
                        tokio::select! {
                            () = given_up.cancelled() => return Err(EngineError::NoPlace(why)),
                            () = tokio::time::sleep(PLACE_AGAIN) => {}
                        }
                    }
                    started => return started,
                }
            }
        });
        Self { task, waits }
    }

    /// Waits until it has started, and says in the log of a step what is in the way.
    ///
    /// # Errors
    /// The engine refuses, or has had no place for too long; nothing is left behind then.
    pub async fn started(&mut self, step: Step, recorder: &Recorder) -> Result<RunningSandbox, EngineError> {
        loop {
            tokio::select! {
                started = &mut self.task => return started.unwrap_or_else(|error| broken_off(&error)),
                Ok(()) = self.waits.changed() => {
                    let why = self.waits.borrow_and_update().clone();
                    recorder.say(step, format!("the sandbox waits: {why}")).await;
                }
            }
        }
    }

    /// Waits for what came of it, for whoever cleans up.
    pub async fn ended(self) -> Option<RunningSandbox> {
        self.task.await.ok()?.ok()
    }
}

fn broken_off(error: &tokio::task::JoinError) -> Result<RunningSandbox, EngineError> {
    Err(EngineError::Refused(format!("the start of the sandbox broke off: {error}")))
}
