//! What hostile builds and repositories try, for real, on the real engine. The names of the tests are those of
//! docs/security.md, which lists them all and what holds.

mod builds;
mod disk;
mod network;
mod repositories;

use grapnel_domain::{
    event::{BuildEvent, Outcome, Stream},
    failure::FailureCode,
};
use grapnel_executor::engine::docker::DockerEngine;

use crate::site::Site;

/// What came of an attack.
pub struct Came {
    pub outcome: Outcome,
    pub log: String,
    pub events: Vec<BuildEvent>,
}

impl Came {
    pub fn is_ready(&self) -> bool {
        matches!(self.outcome, Outcome::Ready { .. })
    }

    pub fn failed(&self) -> Option<(FailureCode, &str)> {
        match &self.outcome {
            Outcome::Failed { failure } => Some((failure.code, failure.message.as_str())),
            _ => None,
        }
    }

    pub fn says(&self, text: &str) {
        assert!(self.log.contains(text), "`{text}` is not in\n{}\n{:?}", self.log, self.outcome);
    }
}

/// What the build itself printed.
pub fn printed(events: &[BuildEvent]) -> String {
    let lines = events.iter().flat_map(|event| match event {
        BuildEvent::Log { lines, .. } => lines.clone(),
        _ => Vec::new(),
    });
    lines.filter(|line| line.stream != Stream::System).map(|line| line.text + "\n").collect()
}

impl Site<DockerEngine> {
    /// Runs a script as a build, and makes sure that nothing of it is left and that the next build is well.
    pub async fn attack(&self, script: &str) -> Came {
        let came = self.attacked(script).await;
        self.nothing_is_left().await;
        let next = self.attacked("true").await;
        assert!(next.is_ready(), "{:?}\n{}", next.outcome, next.log);
        came
    }

    pub async fn attacked(&self, script: &str) -> Came {
        let mut spec =
            self.running(&format!("cat > /tmp/attack <<'ATTACK'\n{script}\nATTACK\nbash /tmp/attack"));
        spec.settings.limits.timeout_seconds = Some(30);
        spec.settings.limits.memory_bytes = Some(256 << 20);
        spec.settings.limits.disk_bytes = Some(64 << 20);
        let (outcome, events) = self.build(&spec, |_, _| {}).await;
        Came { outcome, log: printed(&events), events }
    }
}
