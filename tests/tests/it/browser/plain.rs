//! The dashboard for people without a mouse, and for browsers without scripts.

use grapnel_e2e::{Browser, Grapnel, Setup};
use grapnel_proto::hooks::v1::CreateProjectRequest;
use serde_json::json;

use super::walk::site;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_can_be_done_by_keyboard_and_read_without_scripts() {
    let grapnel = Grapnel::start(Setup::default()).await;
    let repository = site(&grapnel);
    let request = CreateProjectRequest {
        name: "harbour".into(),
        repository_url: repository.path(),
        ..Default::default()
    };
    grapnel.client().create_project(request).await.unwrap();
    let config = json!({ "url": grapnel.url("/"), "key": grapnel.key() });
    Browser::of(&grapnel).play("plain", config).await;
    grapnel.nothing_is_left().await;
}
