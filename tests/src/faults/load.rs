//! A steady load of triggers, and what was answered.

use std::{
    ops::Range,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use grapnel_runtime::{CancellationToken, TaskTracker};
use rand::RngExt as _;

/// How many seconds are between two requests of a hook where nothing else is said.
const EVERY: Range<f64> = 0.3..3.0;

/// How long a caller waits for an answer, as a CMS does.
const PATIENCE: Duration = Duration::from_secs(5);

/// Requests hooks until it is stopped.
#[derive(Debug)]
pub struct Load {
    answered: Arc<Mutex<Vec<String>>>,
    stopping: CancellationToken,
    tasks: TaskTracker,
}

impl Load {
    /// Begins with these URLs, so often that some builds are superseded by the next trigger, and some are not.
    pub fn start(urls: Vec<String>) -> Self {
        Self::every(EVERY, urls)
    }

    /// Begins with these URLs, with a pause of so many seconds between two requests of each.
    pub fn every(pause: Range<f64>, urls: Vec<String>) -> Self {
        let load =
            Self { answered: Arc::default(), stopping: CancellationToken::new(), tasks: TaskTracker::new() };
        for url in urls {
            load.tasks.spawn(request(url, pause.clone(), load.answered.clone(), load.stopping.clone()));
        }
        load.tasks.close();
        load
    }

    /// Returns how many triggers were answered with 200.
    pub fn answered(&self) -> usize {
        self.answered.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Returns the deployment of the last of them.
    pub fn last(&self) -> Option<String> {
        self.answered.lock().unwrap_or_else(PoisonError::into_inner).last().cloned()
    }

    /// Stops, and returns the deployment of each trigger that was answered with 200, in no order.
    pub async fn stop(self) -> Vec<String> {
        self.stopping.cancel();
        self.tasks.wait().await;
        std::mem::take(&mut *self.answered.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

async fn request(
    url: String,
    pause: Range<f64>,
    answered: Arc<Mutex<Vec<String>>>,
    stopping: CancellationToken,
) {
    let client = crate::http().timeout(PATIENCE).build().expect("a client can be made");
    while !stopping.is_cancelled() {
        if let Some(id) = post(&client, &url).await {
            answered.lock().unwrap_or_else(PoisonError::into_inner).push(id);
        }
        let rest = Duration::from_secs_f64(rand::rng().random_range(pause.clone()));
        stopping.run_until_cancelled(tokio::time::sleep(rest)).await;
    }
}

/// Requests a URL; nothing where it was not answered, or not with a job.
async fn post(client: &reqwest::Client, url: &str) -> Option<String> {
    let answer = client.post(url).send().await.ok()?;
    if answer.status() != 200 {
        return None;
    }
    let answer: serde_json::Value = answer.json().await.ok()?;
    answer["job"]["id"].as_str().map(str::to_owned)
}
