//! The body of an event.

use chrono::{DateTime, SecondsFormat, Utc};
use grapnel_domain::{deployment::State, endpoint::EventType, id::DeploymentId};
use serde::Serialize;

use crate::model::EventFacts;

/// The form that Standard Webhooks 1.0.0 recommends ("Payload structure").
#[derive(Serialize)]
struct Body {
    #[serde(rename = "type")]
    kind: &'static str,
    timestamp: String,
    data: EventFacts,
}

/// Writes the body of an event that happened at `at`. `site` tells the address of a deployment that has an artifact.
pub fn body(
    kind: EventType,
    at: DateTime<Utc>,
    mut facts: EventFacts,
    site: &dyn Fn(DeploymentId) -> String,
) -> String {
    if let EventFacts::Deployment(deployment) = &mut facts
        && deployment.state == State::Ready.as_str()
    {
        deployment.site_url = Some(site(deployment.id));
    }
    let timestamp = at.to_rfc3339_opts(SecondsFormat::Micros, true);
    let body = Body { kind: kind.as_str(), timestamp, data: facts };
    serde_json::to_string(&body).unwrap_or_else(|error| unreachable!("every field has JSON: {error}"))
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::model::{DeploymentFacts, Named};

    const PAGE: &str = include_str!("../../../../../docs/events.md");

    fn named(kind: &str, name: &str) -> Named {
        Named { id: format!("{kind}_01h455vb4pex5vsknk084sn02q"), name: name.into() }
    }

    #[test]
    fn the_body_is_the_one_that_the_page_shows() {
        let shown = PAGE.split("## Body\n").nth(1).unwrap().split("\n`timestamp`").next().unwrap();
        let shown: Value = serde_json::from_str(shown).unwrap();
        let facts = DeploymentFacts {
            id: "dpl_01h455vb4pex5vsknk084sn02q".parse().unwrap(),
            project: named("prj", "harbour"),
            hook: Some(named("hook", "Contentful")),
            branch: "main".into(),
            commit: Some("4f0c2a9d5b1e8c7a6f3d2b1a0c9e8f7d6b5a4c3d".into()),
            commit_message: "Open the harbour".into(),
            state: "READY".into(),
            reason: None,
            attempt: 1,
            trigger_count: 3,
            title: "Spring issue".into(),
            created_at: "2026-01-01T00:00:00.000000Z".into(),
            queued_at: Some("2026-01-01T00:00:01.000000Z".into()),
            building_at: Some("2026-01-01T00:00:01.500000Z".into()),
            finished_at: Some("2026-01-01T00:00:41.000000Z".into()),
            site_url: None,
            promoted: true,
        };
        let at = "2026-01-01T00:00:41Z".parse().unwrap();
        let site = |id| format!("https://{id}.sites.example.org/");
        let written =
            body(EventType::DeploymentReady, at, EventFacts::Deployment(Box::new(facts.clone())), &site);
        assert_eq!(serde_json::from_str::<Value>(&written).unwrap(), shown);
        // Whatever is no site has no address.
        let facts = DeploymentFacts { state: "ERROR".into(), ..facts };
        let written = body(EventType::DeploymentError, at, EventFacts::Deployment(Box::new(facts)), &site);
        assert!(written.contains(r#""siteUrl":null"#), "{written}");
    }
}
