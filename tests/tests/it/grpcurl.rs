//! The session of README: grpcurl knows the services by reflection alone.

use std::process::Command;

use grapnel_e2e::{Grapnel, Repository, Setup, told};
use serde_json::{Value, json};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn grpcurl_creates_triggers_and_watches_by_reflection_alone() {
    let grapnel = Grapnel::start(Setup::default()).await;
    let site = Repository::with(&grapnel.repositories().join("site"), &[("index.html", "hi")]);
    let call = |method: &str, message: Value| {
        let output = Command::new(told("GRAPNEL_TEST_GRPCURL"))
            .args(["-plaintext", "-H", &format!("authorization: Bearer {}", grapnel.key())])
            .args([
                "-d",
                &message.to_string(),
                &grapnel.grpc(),
                &format!("grapnel.hooks.v1.HookService/{method}"),
            ])
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let listed =
        Command::new(told("GRAPNEL_TEST_GRPCURL")).args(["-plaintext", &grapnel.grpc(), "list"]).output();
    let listed = String::from_utf8(listed.unwrap().stdout).unwrap();
    assert!(
        listed.contains("grapnel.hooks.v1.HookService") && listed.contains("grapnel.hooks.v1.KeyService")
    );
    assert!(!listed.contains("SiteService"), "reflection shows the public services only: {listed}");

    call("CreateProject", json!({ "name": "site", "repositoryUrl": site.path() }));
    let hook: Value =
        serde_json::from_str(&call("CreateHook", json!({ "project": "site", "name": "cms" }))).unwrap();
    let triggered = call("TriggerHook", json!({ "hookId": hook["hook"]["id"] }));
    let triggered: Value = serde_json::from_str(&triggered).unwrap();
    let watched = call("WatchDeployment", json!({ "deploymentId": triggered["deployment"]["id"] }));
    assert!(watched.contains("DEPLOYMENT_STATE_READY"), "{watched}");
    grapnel.nothing_is_left().await;
}
