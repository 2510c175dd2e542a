//! A project's deployments, each of them, and its log.

use futures_util::{StreamExt as _, stream};
use grapnel_domain::{Error, Reason};
use grapnel_proto::hooks::v1::{deployment_event::Event, *};
use prost_types::Timestamp;
use tonic::Status;

use crate::support::{Browser, Served};

const ID: &str = "dpl_01h455vb4pex5vsknk084sn02q";
const EVIL: &str = "</title><script>alert(1)</script><img src=x onerror=alert(2)>";

fn at(seconds: i64) -> Option<Timestamp> {
    Some(Timestamp { seconds: 1_700_000_000 + seconds, nanos: 0 })
}

fn project() -> Project {
    Project {
        id: "prj_01h455vb4pex5vsknk084sn02q".into(),
        name: "site".into(),
        production_branch: "main".into(),
        site_url: "http://site.localhost/".into(),
        ..Project::default()
    }
}

fn deployment(state: DeploymentState) -> Deployment {
    Deployment {
        id: ID.into(),
        project_id: project().id,
        hook_id: "hook_01h455vb4pex5vsknk084sn02q".into(),
        hook_name: format!("cms {EVIL}"),
        branch: format!("main{EVIL}"),
        commit: "0123456789abcdef0123456789abcdef01234567".into(),
        commit_message: format!("Begin {EVIL}"),
        state: state.into(),
        trigger_count: 3,
        build_cache: true,
        created_at: at(0),
        building_at: at(2),
        finished_at: at(12),
        last_position: 6,
        ..Deployment::default()
    }
}

fn log(position: u64, texts: &[&str]) -> DeploymentEvent {
    let lines = texts.iter().map(|text| LogLine {
        stream: LogStream::Stdout.into(),
        at: at(5),
        text: (*text).to_owned(),
    });
    let log = LogLines { step: Step::Build.into(), lines: lines.collect() };
    DeploymentEvent { position, at: at(5), attempt: 1, event: Some(Event::Log(log)) }
}

fn told(position: u64, event: Event) -> DeploymentEvent {
    DeploymentEvent { position, at: at(5), attempt: 1, event: Some(event) }
}

fn history() -> Vec<DeploymentEvent> {
    let ready = StateChanged { state: DeploymentState::Ready.into(), failure: None, cancellation: None };
    vec![
        told(1, Event::StepStarted(StepStarted { step: Step::Build.into(), at: at(2) })),
        log(2, &["\u{1b}[32mgreen\u{1b}[0m", EVIL]),
        log(3, &["last line"]),
        told(
            4,
            Event::StepFinished(StepFinished { step: Step::Build.into(), at: at(9), exit_code: Some(0) }),
        ),
        told(6, Event::StateChanged(ready)),
    ]
}

/// Says what pages of deployments ask for.
fn deployments(served: &Served, one: Deployment) {
    let hooks = &served.hooks;
    hooks.answer("HookService/GetProject", |_: GetProjectRequest| {
        Ok(GetProjectResponse { project: Some(project()) })
    });
    hooks.answer("HookService/ListHooks", |_: ListHooksRequest| Ok(ListHooksResponse::default()));
    hooks.answer("AddressService/ListAddresses", |_: ListAddressesRequest| {
        Ok(ListAddressesResponse::default())
    });
    let listed = one.clone();
    hooks.answer("HookService/ListDeployments", move |asked: ListDeploymentsRequest| {
        let wanted = asked.state == 0 || asked.state == listed.state;
        let deployments = if wanted { vec![listed.clone()] } else { Vec::new() };
        Ok(ListDeploymentsResponse { deployments, next_page_token: String::new() })
    });
    hooks.answer("HookService/GetDeployment", move |asked: GetDeploymentRequest| {
        if asked.deployment_id != ID {
            return Err(Error::new(Reason::DeploymentNotFound, "there is no such deployment"));
        }
        Ok(GetDeploymentResponse { deployment: Some(one.clone()) })
    });
    hooks.answer("HookService/ListTriggers", |_: ListTriggersRequest| {
        let trigger = Trigger {
            at: at(0),
            method: "POST".into(),
            client_address: "192.0.2.7".into(),
            user_agent: format!("agent {EVIL}"),
            decision: TriggerDecision::Accepted.into(),
            ..Trigger::default()
        };
        Ok(ListTriggersResponse { triggers: vec![trigger], next_page_token: String::new() })
    });
    hooks.stream("HookService/WatchDeployment", |asked: WatchDeploymentRequest| {
        let events = history().into_iter().filter(move |event| {
            let is_log = matches!(event.event, Some(Event::Log(_)));
            event.position > asked.after_position && !(asked.without_log && is_log)
        });
        let events = events.map(|event| Ok(WatchDeploymentResponse { event: Some(event) }));
        Ok(stream::iter(events.collect::<Vec<Result<_, Status>>>()).boxed())
    });
}

async fn signed_in(served: &Served) -> Browser {
    served.signed_in(&["read", "write", "deploy"]).await
}

#[tokio::test]
async fn s4_what_comes_from_elsewhere_is_text_on_the_pages_of_deployments() {
    let served = Served::start().await;
    let failure = Failure { code: "BUILD_FAILED".into(), message: EVIL.into(), ..Failure::default() };
    deployments(
        &served,
        Deployment { failure: Some(failure), title: EVIL.into(), ..deployment(DeploymentState::Error) },
    );
    let mut browser = signed_in(&served).await;
    for path in ["/projects/site".to_owned(), format!("/projects/site/deployments/{ID}")] {
        let page = browser.get(&path).await;
        assert_eq!(page.status, 200, "{}", page.text);
        assert_eq!(page.attributes("script:not([src])", "type"), Vec::<String>::new());
        assert_eq!(page.attributes("img", "src"), Vec::<String>::new());
        assert!(!page.text.contains("<script>alert"), "{}", page.text);
        assert!(page.text.contains("&#60;script&#62;alert(1)"), "{}", page.text);
    }
    let mut stream = browser.stream(&format!("/projects/site/deployments/{ID}/stream?shown=6")).await;
    let mut told = String::new();
    while let Some(chunk) = stream.chunk().await.unwrap() {
        told += std::str::from_utf8(&chunk).unwrap();
    }
    assert!(told.contains(r#"[1,"22:13:25","build","stdout",[["f2","green"]]]"#), "{told}");
    assert!(told.contains("id: 3.3"), "{told}");
    assert!(told.trim_end().ends_with("event: end\ndata: {}"), "{told}");
}

#[tokio::test]
async fn a_deployment_that_a_hook_started_is_marked_with_its_name() {
    let served = Served::start().await;
    deployments(&served, deployment(DeploymentState::Ready));
    let mut browser = signed_in(&served).await;
    let page = browser.get("/projects/site").await;
    assert!(page.texts(".tag.hook")[0].starts_with("Hook cms"), "{}", page.text);
    assert!(page.text.contains("answers 3 triggers"));
    let page = browser.get("/projects/site?state=ERROR").await;
    assert_eq!(page.texts("h2"), ["Nothing found"]);
    assert_eq!(page.attributes("select[name=state] option[selected]", "selected").len(), 1);
}

#[tokio::test]
async fn a_deployments_page_tells_its_steps_and_its_last_lines_without_scripts() {
    let served = Served::start().await;
    deployments(&served, deployment(DeploymentState::Ready));
    let mut browser = signed_in(&served).await;
    let page = browser.get(&format!("/projects/site/deployments/{ID}")).await;
    assert_eq!(page.texts(".steps tbody th"), ["build"]);
    assert_eq!(page.texts(".steps tbody .number"), ["7.0 s"]);
    let lines = page.texts(".line .text");
    assert_eq!((lines[0].as_str(), lines[2].as_str()), ("green", "last line"));
    assert!(page.text.contains("POST from 192.0.2.7, accepted"), "{}", page.text);
    let raw = browser.get(&format!("/projects/site/deployments/{ID}/log.txt")).await;
    assert_eq!(raw.headers["content-type"], "text/plain; charset=utf-8");
    assert_eq!(raw.headers["x-content-type-options"], "nosniff");
    assert!(raw.headers["content-disposition"].to_str().unwrap().starts_with("attachment"));
    assert!(raw.text.ends_with("last line\n"), "{}", raw.text);
}

#[tokio::test]
async fn what_is_offered_goes_by_the_state_and_by_the_keys_scopes() {
    let served = Served::start().await;
    let path = format!("/projects/site/deployments/{ID}");
    for (state, scopes, offered) in [
        (DeploymentState::Building, vec!["read", "deploy"], vec!["Cancel"]),
        (
            DeploymentState::Ready,
            vec!["read", "deploy", "write"],
            vec!["Promote", "Redeploy", "Redeploy without cache", "Delete"],
        ),
        (DeploymentState::Error, vec!["read", "deploy"], vec!["Redeploy", "Redeploy without cache"]),
        (DeploymentState::Ready, vec!["read"], vec![]),
    ] {
        deployments(&served, deployment(state));
        let mut browser = served.signed_in(&scopes).await;
        let page = browser.get(&path).await;
        assert_eq!(page.texts(".actions form button"), offered, "{state:?} {scopes:?}");
    }
}

#[tokio::test]
async fn every_form_needs_its_sessions_token() {
    let served = Served::start().await;
    deployments(&served, deployment(DeploymentState::Ready));
    let mut browser = signed_in(&served).await;
    for action in ["cancel", "redeploy", "promote", "delete"] {
        let page = browser.post(&format!("/projects/site/deployments/{ID}/{action}"), &[]).await;
        assert_eq!(page.status, 403, "{action}");
    }
    assert_eq!(browser.post("/projects/site/deploy", &[("branch", "main")]).await.status, 403);
    let changing = ["CancelDeployment", "TriggerDeployment", "PromoteDeployment", "DeleteDeployment"];
    let asked = served.hooks.asked();
    assert!(!asked.iter().any(|method| changing.iter().any(|one| method.ends_with(one))), "{asked:?}");
}

#[tokio::test]
async fn a_redeployment_is_of_the_same_commit() {
    let served = Served::start().await;
    deployments(&served, deployment(DeploymentState::Error));
    served.hooks.answer("HookService/TriggerDeployment", |asked: TriggerDeploymentRequest| {
        assert_eq!(asked.commit, "0123456789abcdef0123456789abcdef01234567");
        assert_eq!(asked.build_cache, Some(false));
        let deployment = Deployment { id: "dpl_new".into(), ..Deployment::default() };
        Ok(TriggerDeploymentResponse { deployment: Some(deployment) })
    });
    let mut browser = signed_in(&served).await;
    let page = format!("/projects/site/deployments/{ID}");
    let page = browser.submit(&page, &format!("{page}/redeploy"), &[("no-cache", "1")]).await;
    assert_eq!(
        (page.status, page.location.as_deref()),
        (303, Some("/projects/site/deployments/dpl_new?did=deployment-begun"))
    );
}

#[tokio::test]
async fn a_deployment_of_another_project_is_not_found() {
    let served = Served::start().await;
    deployments(&served, Deployment { project_id: "prj_other".into(), ..deployment(DeploymentState::Ready) });
    let mut browser = signed_in(&served).await;
    assert_eq!(browser.get(&format!("/projects/site/deployments/{ID}")).await.status, 404);
    assert_eq!(browser.get("/projects/site/deployments/dpl_none").await.status, 404);
}

#[tokio::test]
async fn the_list_is_told_what_it_shows_and_then_what_changes() {
    let served = Served::start().await;
    deployments(&served, deployment(DeploymentState::Building));
    served.hooks.stream("HookService/WatchDeployments", |_: WatchDeploymentsRequest| {
        let change = |change| Ok(WatchDeploymentsResponse { change: Some(change) });
        let ready = watch_deployments_response::Change::Deployment(deployment(DeploymentState::Ready));
        let gone = watch_deployments_response::Change::DeletedId("dpl_gone".into());
        Ok(stream::iter([change(ready), change(gone)]).boxed())
    });
    let browser = signed_in(&served).await;
    let mut events = browser.stream("/projects/site/events").await;
    let mut told = String::new();
    while let Some(chunk) = events.chunk().await.unwrap() {
        told += std::str::from_utf8(&chunk).unwrap();
    }
    let (building, ready) = (told.find("Building").unwrap(), told.find("Ready").unwrap());
    assert!(building < ready && told.contains(r#"{"id":"dpl_gone","html":null}"#), "{told}");
}
