//! A deployment's events over HTTP.

use std::time::Duration;

use grapnel_e2e::{Grapnel, Repository, Setup, http_client};
use grapnel_proto::hooks::v1::{BuildSettings, CreateProjectRequest};
use reqwest::Response;

/// One server-sent event.
#[derive(Clone, Debug, PartialEq)]
struct Event {
    id: Option<u64>,
    kind: String,
    data: serde_json::Value,
}

/// Reads events until one is as it should be, and returns them all.
async fn read_until(
    response: &mut Response,
    buffer: &mut String,
    wanted: impl Fn(&Event) -> bool,
) -> Vec<Event> {
    let mut events = Vec::new();
    loop {
        while let Some((text, rest)) = buffer.split_once("\n\n") {
            let event = parse(text);
            *buffer = rest.to_owned();
            let Some(event) = event else { continue };
            let last = wanted(&event);
            events.push(event);
            if last {
                return events;
            }
        }
        let chunk = tokio::time::timeout(Duration::from_secs(30), response.chunk()).await.unwrap().unwrap();
        buffer.push_str(std::str::from_utf8(&chunk.expect("the stream goes on")).unwrap());
    }
}

fn parse(text: &str) -> Option<Event> {
    let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
    let data = serde_json::from_str(field("data")?).unwrap();
    Some(Event { id: field("id").map(|id| id.parse().unwrap()), kind: field("event")?.to_owned(), data })
}

fn printed(events: &[Event]) -> Vec<String> {
    let lines = events
        .iter()
        .filter(|event| event.kind == "log")
        .flat_map(|event| event.data["log"]["lines"].as_array().unwrap());
    lines
        .map(|line| line["text"].as_str().unwrap().to_owned())
        .filter(|text| text.starts_with("tick"))
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_come_live_and_who_comes_back_gets_what_was_missed() {
    let grapnel = Grapnel::start(Setup::default()).await;
    let site = Repository::with(&grapnel.repositories().join("site"), &[("index.html", "hi")]);
    let settings = BuildSettings {
        build_command: Some("for i in 1 2 3 4 5 6 7 8; do echo tick $i; sleep 0.2; done".into()),
        output_directory: Some(".".into()),
        ..Default::default()
    };
    let request = CreateProjectRequest {
        name: "site".into(),
        repository_url: site.path(),
        settings: Some(settings),
        ..Default::default()
    };
    let (_, url) = grapnel.project(request).await;
    let id = grapnel.trigger(&url).await;
    let address = grapnel.url(&format!("/v1/deployments/{id}/events"));
    let open = async |last: Option<u64>| {
        let mut request = http_client().get(&address).bearer_auth(grapnel.key());
        if let Some(last) = last {
            request = request.header("last-event-id", last.to_string());
        }
        let response = request.send().await.unwrap();
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        response
    };

    let mut stream = open(None).await;
    let mut before = read_until(&mut stream, &mut String::new(), |event| {
        event.kind == "log" && event.data.to_string().contains("tick 3")
    })
    .await;
    drop(stream);
    let last = before.iter().filter_map(|event| event.id).max();
    let mut stream = open(last).await;
    let after = read_until(&mut stream, &mut String::new(), |event| event.kind == "end").await;
    assert!(stream.chunk().await.unwrap().is_none(), "nothing comes after the end");
    before.extend(after);
    let ticks: Vec<_> = (1..=8).map(|n| format!("tick {n}")).collect();
    assert_eq!(printed(&before), ticks);
    let ids: Vec<_> = before.iter().filter_map(|event| event.id).collect();
    assert!(ids.iter().copied().eq(1..=ids.len() as u64), "{ids:?}");
    let states: Vec<_> = before
        .iter()
        .filter(|event| event.kind == "state")
        .map(|event| &event.data["stateChanged"]["state"])
        .collect();
    assert_eq!(
        states,
        [
            "DEPLOYMENT_STATE_PENDING",
            "DEPLOYMENT_STATE_QUEUED",
            "DEPLOYMENT_STATE_BUILDING",
            "DEPLOYMENT_STATE_READY"
        ]
    );

    let whole = read_until(&mut open(None).await, &mut String::new(), |event| event.kind == "end").await;
    assert_eq!(whole, before, "the log that was shown is the log that is stored");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deployments_are_shown_to_who_may_read_them() {
    let grapnel = Grapnel::start(Setup::default()).await;
    let site = Repository::with(&grapnel.repositories().join("site"), &[("index.html", "hi")]);
    let (project, url) = grapnel
        .project(CreateProjectRequest {
            name: "site".into(),
            repository_url: site.path(),
            ..Default::default()
        })
        .await;
    let id = grapnel.trigger(&url).await;
    grapnel.ready(&id).await;
    let key = |scope: &str| {
        let output = grapnel.cli(&["key", "create", scope, "--scopes", scope, "--output", "json"]);
        let answer: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        answer["secret"].as_str().unwrap().to_owned()
    };
    let (reader, deployer) = (key("read"), key("deploy"));
    let ask = async |path: String, key: Option<&str>| {
        let mut request = http_client().get(grapnel.url(&path));
        if let Some(key) = key {
            request = request.bearer_auth(key);
        }
        let answer = request.send().await.unwrap();
        (answer.status().as_u16(), answer.json::<serde_json::Value>().await.unwrap())
    };
    let (status, shown) = ask(format!("/v1/deployments/{id}"), Some(&reader)).await;
    assert_eq!((status, shown["state"].as_str()), (200, Some("DEPLOYMENT_STATE_READY")), "{shown}");
    for path in [format!("/v1/deployments/{id}"), format!("/v1/deployments/{id}/events")] {
        for (key, status, code) in [
            (None, 401, "unauthorized"),
            (Some("gra_nonsense"), 401, "unauthorized"),
            (Some(deployer.as_str()), 403, "forbidden"),
        ] {
            let (answered, error) = ask(path.clone(), key).await;
            assert_eq!((answered, error["error"]["code"].as_str()), (status, Some(code)), "{path}");
        }
    }
    for unknown in ["dpl_01h455vb4pex5vsknk084sn02q", &project.id, "x", "%00"] {
        let (status, error) = ask(format!("/v1/deployments/{unknown}"), Some(&reader)).await;
        assert_eq!((status, error["error"]["code"].as_str()), (404, Some("not_found")), "{unknown}");
    }
}
