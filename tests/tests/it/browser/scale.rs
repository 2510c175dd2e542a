//! Much to look at. The figures are printed; the bounds leave room for a development build on a machine that does other things.

use futures_util::{StreamExt as _, stream};
use grapnel_e2e::{Browser, Grapnel, Repository, Setup};
use grapnel_proto::hooks::v1::{
    BuildSettings, CreateHookRequest, CreateProjectRequest, TriggerHookRequest, trigger_hook_request::Target,
};
use serde_json::json;

const DEPLOYMENTS: usize = 10_000;

/// A day, in milliseconds: as long as nothing is to begin.
const DAY: u32 = 86_400_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_deployments_and_a_hundred_thousand_lines_stay_usable() {
    let setup = Setup::default().set("RATE_LIMIT_HOOK", "10000000").set("RATE_LIMIT_ADDRESS", "10000000");
    let grapnel = Grapnel::start(setup).await;
    let site = Repository::with(&grapnel.repositories().join("site"), &[("index.html", "hi")]);
    let deployment = long_log(&grapnel, &site).await;
    many_deployments(&grapnel, &site).await;
    let config = json!({ "url": grapnel.url("/"), "key": grapnel.key(), "deployment": deployment });
    let told = Browser::of(&grapnel).play("scale", config).await;
    println!("milliseconds, and megabytes of the browser's own: {told}");
    let figure = |name: &str| told[name].as_u64().unwrap();
    assert!(figure("megabytes") < 200, "{told}");
    for page in ["list", "filtered", "none", "page"] {
        assert!(figure(page) < 5_000, "the first byte of {page}: {told}");
    }
}

/// Builds what prints a hundred thousand lines, and returns the deployment's id.
async fn long_log(grapnel: &Grapnel, site: &Repository) -> String {
    let settings =
        BuildSettings { install_command: Some("seq -f 'boat %.0f' 100000".into()), ..Default::default() };
    let request = CreateProjectRequest {
        name: "long".into(),
        repository_url: site.path(),
        settings: Some(settings),
        ..Default::default()
    };
    let (_, url) = grapnel.project(request).await;
    grapnel.ready(&grapnel.trigger(&url).await).await.id
}

/// Asks again and again for what waits: each deployment takes the place of the one before.
async fn many_deployments(grapnel: &Grapnel, site: &Repository) {
    let request =
        CreateProjectRequest { name: "fleet".into(), repository_url: site.path(), ..Default::default() };
    let mut client = grapnel.client();
    let project = client.create_project(request).await.unwrap().into_inner().project.unwrap();
    let hook = CreateHookRequest {
        project: project.id,
        name: "burst".into(),
        quiet_period_ms: DAY,
        max_wait_ms: Some(DAY),
        ..Default::default()
    };
    let hook = client.create_hook(hook).await.unwrap().into_inner().hook.unwrap();
    let triggered = stream::iter(0..DEPLOYMENTS).map(|_| {
        let mut client = client.clone();
        let target = Some(Target::HookId(hook.id.clone()));
        async move { client.trigger_hook(TriggerHookRequest { target, ..Default::default() }).await }
    });
    let mut triggered = triggered.buffer_unordered(64);
    while let Some(answer) = triggered.next().await {
        answer.unwrap();
    }
}
