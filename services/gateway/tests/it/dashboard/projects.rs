//! The list of projects.

use std::sync::Arc;

use futures_util::{StreamExt as _, stream};
use grapnel_domain::{Error, Reason};
use grapnel_proto::hooks::v1::{
    CancelReason, Cancellation, DeploymentState, GetProjectRequest, GetProjectResponse, ListProjectsRequest,
    ListProjectsResponse, WatchDeploymentsRequest, WatchDeploymentsResponse,
    watch_deployments_response::Change,
};

use tokio::sync::Notify;

use super::{deployment, have, no_projects, project};
use crate::support::Served;

#[tokio::test]
async fn a_project_is_shown_with_how_it_stands() {
    let served = Served::start().await;
    let states = [
        ("ready", DeploymentState::Ready, "Ready"),
        ("failed", DeploymentState::Error, "Failed"),
        ("busy", DeploymentState::Building, "Building"),
        ("new", DeploymentState::Pending, "Pending"),
    ];
    let projects = states.iter().map(|(name, ..)| project(name)).chain([project("idle")]).collect();
    let latest = states.iter().map(|(name, state, _)| deployment(name, "1", *state)).collect();
    have(&served.hooks, projects, latest);
    let mut browser = served.signed_in(&["read"]).await;
    let page = browser.get("/projects").await;
    assert_eq!(page.texts("tbody th"), ["ready", "failed", "busy", "new", "idle"]);
    let badges = page.texts("tbody .state");
    assert_eq!(badges, states.map(|(_, _, word)| word));
    let links = page.attributes("tbody th a", "href");
    assert_eq!(links[0], "/projects/ready");
    assert_eq!(links[3], "/projects/prj_new", "a project called `new` is no page to make one");
    assert_eq!(
        page.attributes("tbody tr:first-child td:last-child a", "href"),
        ["http://ready.localhost:7380/"]
    );
    assert_eq!(page.texts("tbody tr:first-child td code"), ["main"]);
    assert_eq!(page.attributes("tbody tr:first-child time", "datetime"), ["2026-01-01T00:00:00Z"]);
    assert!(page.texts("tbody tr:last-child")[0].contains("Not deployed yet"));
    assert!(page.texts(".button.main").is_empty(), "who may not make a project is not asked to");
}

#[tokio::test]
async fn a_list_is_searched_and_paged_and_says_what_an_empty_one_means() {
    let served = Served::start().await;
    served.hooks.answer("HookService/ListProjects", |asked: ListProjectsRequest| {
        let projects = match (asked.search.as_str(), asked.page_token.as_str()) {
            ("si&", "") => vec![project("site")],
            ("si&", "2=") => vec![project("sight")],
            _ => Vec::new(),
        };
        let next = if asked.page_token.is_empty() && !projects.is_empty() { "2=" } else { "" };
        Ok(ListProjectsResponse { projects, next_page_token: next.into(), ..Default::default() })
    });
    let mut browser = served.signed_in(&["write"]).await;
    let page = browser.get("/projects?search=si%26").await;
    assert_eq!(page.attributes("#search", "value"), ["si&"]);
    let next = page.attributes("a[rel=next]", "href").remove(0);
    let page = browser.get(&next).await;
    assert_eq!(page.texts("tbody th"), ["sight"]);
    assert_eq!(page.attributes("[data-live]", "data-live"), ["/projects/events?search=si%26&page=2%3D"]);
    assert_eq!(page.attributes("a[rel=first]", "href"), ["/projects?search=si%26"]);
    assert!(browser.get("/projects?search=none").await.texts(".empty")[0].contains("Nothing found"));
    let page = browser.get("/projects").await;
    assert_eq!(page.attributes(".empty a", "href"), ["/projects/new"]);
}

#[tokio::test]
async fn what_goes_wrong_is_a_page_that_says_what_to_do() {
    let served = Served::start().await;
    let mut browser = served.signed_in(&["write"]).await;
    for (reason, status, says) in [
        (Reason::InvalidPageToken, 400, "first page"),
        (Reason::StoreUnavailable, 503, "Try again"),
        (Reason::RateLimited, 429, "Wait a minute"),
        (Reason::Internal, 500, "broken"),
    ] {
        served.hooks.answer("HookService/ListProjects", move |_: ListProjectsRequest| {
            Err::<ListProjectsResponse, _>(Error::new(reason, "something happened"))
        });
        let page = browser.get("/projects").await;
        assert_eq!(page.status, status, "{reason}");
        assert!(page.text.contains(says), "{reason}: {}", page.text);
        assert_eq!(page.texts("h1").len(), 1);
        assert_eq!(page.headers.contains_key("retry-after"), matches!(status, 429 | 503));
    }
    let mut reader = served.signed_in(&["read"]).await;
    let page = reader.get("/projects/new").await;
    assert_eq!(page.status, 403);
    assert!(page.text.contains("“write”"), "{}", page.text);
    for path in ["/nowhere", "/projects/site/nowhere/at/all"] {
        let page = browser.get(path).await;
        assert_eq!((page.status, page.texts("h1").remove(0).as_str()), (404, "Not found"));
    }
    let program = browser.get("/v1/nowhere").await;
    assert_eq!(
        (program.status, program.headers["content-type"].to_str().unwrap()),
        (404, "application/json")
    );
}

#[tokio::test]
async fn what_changes_is_told_after_all_that_the_page_shows() {
    let served = Served::start().await;
    have(&served.hooks, vec![project("site")], vec![deployment("site", "1", DeploymentState::Queued)]);
    served.hooks.answer("HookService/GetProject", |asked: GetProjectRequest| {
        Ok(GetProjectResponse { project: Some(project(asked.project.trim_start_matches("prj_"))) })
    });
    served.hooks.stream("HookService/WatchDeployments", |_: WatchDeploymentsRequest| {
        let told = [
            deployment("site", "0", DeploymentState::Ready),
            deployment("site", "1", DeploymentState::Building),
            deployment("zebra", "2", DeploymentState::Pending),
        ];
        let told = told.map(|it| Ok(WatchDeploymentsResponse { change: Some(Change::Deployment(it)) }));
        Ok(stream::iter(told).boxed())
    });
    let browser = served.signed_in(&["read"]).await;
    let answer = browser.stream("/projects/events").await;
    assert_eq!(answer.headers()["content-type"], "text/event-stream");
    let text = answer.text().await.unwrap();
    assert!(text.starts_with("event: all\ndata: [\"prj_site\"]\n"), "{text}");
    let told: Vec<(String, String)> = text
        .lines()
        .filter_map(|line| line.strip_prefix("data: "))
        .skip(1)
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
        .map(|it| (it["id"].as_str().unwrap().to_owned(), it["html"].as_str().unwrap().to_owned()))
        .collect();
    let states: Vec<_> = told
        .iter()
        .map(|(id, html)| {
            let state =
                ["Queued", "Building", "Pending", "Ready"].into_iter().find(|it| html.contains(it)).unwrap();
            (id.as_str(), state)
        })
        .collect();
    assert_eq!(
        states,
        [("prj_site", "Queued"), ("prj_site", "Building"), ("prj_zebra", "Pending")],
        "an older deployment says nothing of how a project stands, and a new project comes in"
    );
}

#[tokio::test]
async fn a_project_that_is_deleted_goes_from_the_page_when_its_deployments_end() {
    let served = Served::start().await;
    let listed = Arc::new(Notify::new());
    let (first, hooks) = (listed.clone(), served.hooks.clone());
    served.hooks.answer("HookService/ListProjects", move |_: ListProjectsRequest| {
        have(&hooks, vec![project("other")], Vec::new());
        first.notify_one();
        Ok(ListProjectsResponse { projects: vec![project("site"), project("other")], ..Default::default() })
    });
    served.hooks.stream("HookService/WatchDeployments", move |_: WatchDeploymentsRequest| {
        let listed = listed.clone();
        let told = async move {
            listed.notified().await;
            let mut ended = deployment("site", "1", DeploymentState::Canceled);
            let reason = CancelReason::ProjectDeleted.into();
            ended.cancellation = Some(Cancellation { reason, ..Default::default() });
            Ok(WatchDeploymentsResponse { change: Some(Change::Deployment(ended)) })
        };
        Ok(stream::once(told).boxed())
    });
    let browser = served.signed_in(&["read"]).await;
    let text = browser.stream("/projects/events").await.text().await.unwrap();
    assert!(text.contains(r#"{"id":"prj_site","html":null}"#), "{text}");
    assert_eq!(text.matches(r#"{"id":"prj_other""#).count(), 2, "what stays is told once more");
}

#[tokio::test]
async fn s6_what_is_told_live_ends_when_its_key_is_revoked() {
    let served = Served::start().await;
    no_projects(&served);
    served.hooks.stream("HookService/WatchDeployments", |_: WatchDeploymentsRequest| {
        Ok(stream::pending::<Result<WatchDeploymentsResponse, _>>().boxed())
    });
    let browser = served.signed_in(&["read"]).await;
    let answer = browser.stream("/projects/events").await;
    served.hooks.revoke_all();
    let text =
        tokio::time::timeout(std::time::Duration::from_secs(60), answer.text()).await.unwrap().unwrap();
    assert!(text.contains("event: ended"), "{text}");
}

#[tokio::test]
async fn what_is_told_live_ends_when_the_gateway_stops() {
    let served = Served::start().await;
    no_projects(&served);
    served.hooks.stream("HookService/WatchDeployments", |_: WatchDeploymentsRequest| {
        Ok(stream::pending::<Result<WatchDeploymentsResponse, _>>().boxed())
    });
    let browser = served.signed_in(&["read"]).await;
    let answer = browser.stream("/projects/events").await;
    served.stop();
    let text =
        tokio::time::timeout(std::time::Duration::from_secs(60), answer.text()).await.unwrap().unwrap();
    assert!(!text.contains("ended"), "its session goes on: {text}");
}
