//! What is tried against pages.

use futures_util::{StreamExt as _, stream};
use grapnel_domain::{Error, Reason};
use grapnel_proto::hooks::v1::{
    Branch, DeploymentState, InspectRepositoryRequest, InspectRepositoryResponse, ListProjectsRequest,
    ListProjectsResponse, WatchDeploymentsRequest, WatchDeploymentsResponse,
    watch_deployments_response::Change,
};

use super::{HARMFUL, deployment, have, no_projects, project};
use crate::support::{Page, Served};

#[tokio::test]
async fn s3_no_page_can_be_framed_or_run_what_is_not_ours() {
    let served = Served::start().await;
    no_projects(&served);
    let mut browser = served.signed_in(&["write"]).await;
    for path in ["/projects", "/projects/new", "/login", "/", "/nowhere", "/logout", "/projects/x/nowhere"] {
        let page = browser.get(path).await;
        let policy = page.headers["content-security-policy"].to_str().unwrap();
        for part in [
            "default-src 'none'",
            "frame-ancestors 'none'",
            "form-action 'self'",
            "base-uri 'none'",
            "script-src 'self'",
        ] {
            assert!(policy.contains(part), "{path}: {policy}");
        }
        assert!(!policy.contains("unsafe"));
        for (name, value) in [
            ("x-frame-options", "DENY"),
            ("x-content-type-options", "nosniff"),
            ("referrer-policy", "same-origin"),
            ("cache-control", "no-store"),
            ("cross-origin-opener-policy", "same-origin"),
        ] {
            assert_eq!(page.headers[name], value, "{path}");
        }
        only_ours_runs(&page);
    }
}

/// Nothing in a page runs but scripts of ours, and nothing of it comes from elsewhere.
fn only_ours_runs(page: &Page) {
    let none = Vec::<String>::new();
    assert_eq!(page.texts("script:not([src])"), none);
    assert_eq!(page.texts("style, [style]"), none);
    for attribute in ["onerror", "onclick", "onload", "onmouseover", "srcdoc"] {
        assert_eq!(page.attributes(&format!("[{attribute}]"), attribute), none, "{}", page.text);
    }
    for (selector, attribute) in [("script", "src"), ("link", "href"), ("form", "action"), ("img", "src")] {
        for address in page.attributes(selector, attribute) {
            assert!(address.starts_with('/') && !address.starts_with("//"), "{selector}: {address}");
        }
    }
}

#[tokio::test]
async fn s4_what_others_have_named_is_text_in_every_page() {
    let served = Served::start().await;
    let mut evil = project("site");
    evil.name = HARMFUL.into();
    evil.production_branch = HARMFUL.into();
    evil.site_url = "javascript:alert(1)".into();
    let mut latest = deployment("site", "1", DeploymentState::Ready);
    latest.commit_message = HARMFUL.into();
    latest.id = HARMFUL.into();
    have(&served.hooks, vec![evil], vec![latest]);
    let key = served.hooks.key(&["write"]);
    served.hooks.describe(&key, |session| {
        session.team_name = HARMFUL.into();
        session.key_name = HARMFUL.into();
    });
    let mut browser = served.browser();
    browser.post("/login", &[("key", &key)]).await;
    let query = form_urlencoded::Serializer::new(String::new())
        .append_pair("search", HARMFUL)
        .append_pair("page", HARMFUL)
        .append_pair("did", HARMFUL)
        .finish();
    let page = browser.get(&format!("/projects?{query}")).await;
    assert_eq!(page.status, 200);
    is_harmless(&page);
    assert_eq!(page.texts("tbody th"), [HARMFUL], "it is shown as it is");
    assert!(!page.text.contains("javascript:"), "an address that is none is not linked to");

    served.hooks.answer("RepositoryService/InspectRepository", |_: InspectRepositoryRequest| {
        let branches = vec![Branch { name: HARMFUL.into(), commit: HARMFUL.into() }];
        Ok(InspectRepositoryResponse { default_branch: HARMFUL.into(), branches, truncated: false })
    });
    is_harmless(&browser.submit("/projects/new", "/projects/new", &[("repository", HARMFUL)]).await);
    served.hooks.answer("RepositoryService/InspectRepository", |_: InspectRepositoryRequest| {
        Err::<InspectRepositoryResponse, _>(Error::new(Reason::RepositoryUnreadable, HARMFUL))
    });
    is_harmless(&browser.submit("/projects/new", "/projects/new", &[("repository", HARMFUL)]).await);
    served.hooks.answer("HookService/ListProjects", |_: ListProjectsRequest| {
        Err::<ListProjectsResponse, _>(Error::new(Reason::ProjectNotFound, HARMFUL))
    });
    let page = browser.get("/projects").await;
    assert_eq!(page.status, 404);
    is_harmless(&page);
}

fn is_harmless(page: &Page) {
    only_ours_runs(page);
    assert!(!page.text.contains("<img") && !page.text.contains("<script>"), "{}", page.text);
    assert_eq!(page.texts("title").len(), 1);
}

#[tokio::test]
async fn s4_what_others_have_named_is_text_in_what_is_told_live() {
    let served = Served::start().await;
    have(&served.hooks, vec![project("site")], Vec::new());
    served.hooks.stream("HookService/WatchDeployments", |_: WatchDeploymentsRequest| {
        let mut evil = deployment("site", "1", DeploymentState::Building);
        evil.commit_message = format!("{HARMFUL}\n\nevent: ended\ndata: x");
        let told = WatchDeploymentsResponse { change: Some(Change::Deployment(evil)) };
        Ok(stream::once(async { Ok(told) }).chain(stream::pending()).boxed())
    });
    let browser = served.signed_in(&["read"]).await;
    let mut told = browser.stream("/projects/events").await;
    let mut text = String::new();
    while !text.contains("Building") {
        text += std::str::from_utf8(&told.chunk().await.unwrap().unwrap()).unwrap();
    }
    assert!(!text.contains("<img") && !text.contains("<script>"), "{text}");
    assert!(text.lines().all(|line| line != "event: ended"), "a line of text is no event: {text}");
    assert!(text.contains("&#60;img"));
}
