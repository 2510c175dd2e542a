//! Endpoints hear of real builds, from the real binary.

use std::process::Output;

use grapnel_e2e::{Grapnel, Received, Receiver, Reply, Repository, Setup};
use grapnel_proto::hooks::v1::{CreateProjectRequest, DeploymentState};
use serde_json::Value;

fn json(output: &Output) -> Value {
    let told = String::from_utf8_lossy(&output.stderr);
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{told}"))
}

fn kinds(received: &[Received]) -> Vec<String> {
    received.iter().map(Received::kind).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_endpoint_hears_of_real_builds_signed_and_in_order_and_the_ledger_shows_it() {
    let grapnel = Grapnel::start(Setup::default().set("OUTBOUND_ALLOW", "127.0.0.0/8")).await;
    let receiver = Receiver::start().await;
    let site = Repository::with(&grapnel.repositories().join("site"), &[("index.html", "hi")]);
    let request =
        CreateProjectRequest { name: "site".into(), repository_url: site.path(), ..Default::default() };
    let (project, url) = grapnel.project(request).await;
    let cli =
        |arguments: &[&str]| json(&grapnel.cli(&[&["--output", "json", "endpoint"], arguments].concat()));
    let made = cli(&["create", &receiver.url(), "--project", "site"]);
    let (id, secret) = (made["endpoint"]["id"].as_str().unwrap(), made["secret"].as_str().unwrap());

    let ready = grapnel.trigger(&url).await;
    grapnel.ready(&ready).await;
    let heard = receiver.until(3).await;
    assert_eq!(kinds(&heard), ["deployment.queued", "deployment.building", "deployment.ready"]);
    for one in &heard {
        let told = one.verify(secret).unwrap();
        assert_eq!(told["data"]["deployment"]["id"], ready.as_str());
        assert_eq!(told["data"]["deployment"]["project"]["id"], project.id);
    }
    let deployment = &heard[2].json()["data"]["deployment"];
    assert_eq!(deployment["hook"]["name"], "cms");
    assert_eq!(
        (deployment["promoted"].as_bool(), deployment["triggerCount"].as_u64()),
        (Some(true), Some(1))
    );
    let address = deployment["siteUrl"].as_str().unwrap();
    assert_eq!(address, grapnel.deployment(&ready).await.site_url);

    site.write("package.json", "{\"scripts\":{\"build\":\"exit 3\"}}");
    site.commit("Break it");
    let failing = grapnel.trigger(&url).await;
    assert_eq!(grapnel.ended(&failing).await.state(), DeploymentState::Error);
    let error = receiver.until(6).await.remove(5);
    error.verify(secret).unwrap();
    assert_eq!(error.kind(), "deployment.error");
    assert_eq!(error.json()["data"]["deployment"]["reason"]["code"], "BUILD_FAILED");
    assert_eq!(error.json()["data"]["deployment"]["commitMessage"], "Break it");

    let events = cli(&["events", id, "--deployment", &failing])["events"].clone();
    let events = events.as_array().unwrap();
    let types: Vec<_> = events.iter().map(|event| event["type"].as_str().unwrap()).collect();
    assert_eq!(types, ["deployment.error", "deployment.building", "deployment.queued"]);
    let event = events[0]["id"].as_str().unwrap();
    assert_eq!(
        (event, events[0]["body"].as_str().unwrap()),
        (error.header("webhook-id"), error.body.as_str())
    );

    receiver.reply(Reply::status(202).body("again?"));
    assert_eq!(cli(&["resend", event])["state"], "EVENT_STATE_WAITING");
    let again = receiver.until(7).await.remove(6);
    again.verify(secret).unwrap();
    assert_eq!((again.header("webhook-id"), &again.body), (event, &error.body));
    let tries = loop {
        let tries = cli(&["deliveries", event])["deliveries"].as_array().unwrap().clone();
        if tries.len() == 2 {
            break tries;
        }
    };
    assert_eq!((&tries[0]["status"], &tries[0]["answer"]), (&Value::from(202), &Value::from("again?")));
    assert!(!grapnel.log().contains(&secret[6..]), "a secret is logged");
    let shown = grapnel.cli(&["endpoint", "show", id]);
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    assert!(shown.contains("active") && !shown.contains(&secret[6..20]), "{shown}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn endpoints_are_kept_from_the_command_line() {
    let grapnel = Grapnel::start(Setup::default()).await;
    let receiver = Receiver::start().await;
    let said = |arguments: &[&str]| {
        let output = grapnel.cli(&[&["endpoint"], arguments].concat());
        let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        (output.status.code().unwrap(), text)
    };
    assert!(said(&["list"]).1.contains("no endpoints yet"));
    for wrong in ["ftp://example.org/", "http://169.254.169.254/", "https://u:p@example.org/"] {
        let (code, text) = said(&["create", wrong]);
        assert!(code == 1 && text.contains("`url` must"), "{text}");
    }
    let (code, text) = said(&["create", "https://example.org/", "--events", "deployment.pending"]);
    assert!(code == 2 && text.contains("deployment.queued, deployment.building"), "{text}");
    let key = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";
    let file = grapnel.data().join("own.secret");
    std::fs::write(&file, format!("{key}\n")).unwrap();
    let (code, text) = said(&["create", &receiver.url(), "--secret-file", file.to_str().unwrap()]);
    assert!(code == 0 && text.starts_with(key), "{text}");
    let listed = json(&grapnel.cli(&["endpoint", "list", "--output", "json"]));
    let id = listed["endpoints"][0]["id"].as_str().unwrap();
    assert!(!listed.to_string().contains(&key[6..]));
    let address = receiver.url() + "?of=us";
    let changes = ["--events", "deployment.ready", "--description", "for us", "--address", &address];
    let (_, text) = said(&[&["update", id][..], &changes].concat());
    assert!(["deployment.ready", "for us", "?of=us"].iter().all(|it| text.contains(it)), "{text}");
    assert_eq!(said(&["update", id]).0, 2);
    let (_, text) = said(&["rotate", id, "--grace", "60"]);
    assert!(text.starts_with("whsec_") && !text.contains(key), "{text}");
    assert!(said(&["show", id]).1.contains("signs until"));

    // Nobody has opened loopback, so that the try fails and says why.
    assert_eq!(said(&["test", id]).0, 0);
    let tried = loop {
        let (_, text) = said(&["deliveries", id]);
        if !text.contains("nothing was tried yet") {
            break text;
        }
    };
    assert!(tried.contains("ADDRESS_REFUSED"), "{tried}");
    assert_eq!(receiver.received(), []);
    assert!(said(&["events", id, "--state", "waiting"]).1.contains("endpoint.test"));
    assert!(said(&["disable", id]).1.contains("disabled (user)"));
    assert!(said(&["events", id]).1.contains("DROPPED"));
    let (code, text) = said(&["test", id]);
    assert!(code == 1 && text.contains("disabled"), "{text}");
    assert!(said(&["enable", id]).1.contains("active"));
    assert_eq!(said(&["delete", id]).0, 0);
    assert_eq!(said(&["show", id]).0, 1);
    assert!(!grapnel.log().contains(&key[6..]), "a secret is logged");
}
