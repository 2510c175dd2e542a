//! The team's keys.

use grapnel_proto::hooks::v1::{CreateKeyRequest, CreateKeyResponse, Key};

use super::have_everything;
use crate::support::Served;

#[tokio::test]
async fn a_key_is_shown_once_and_has_the_scopes_that_were_chosen() {
    let served = Served::start().await;
    have_everything(&served.hooks, "word");
    served.hooks.answer("KeyService/CreateKey", |request: CreateKeyRequest| {
        assert_eq!(request.scopes, ["deploy"]);
        Ok(CreateKeyResponse {
            key: Some(Key { name: request.name, ..Default::default() }),
            secret: "gra_SECRET".into(),
        })
    });
    let mut browser = served.signed_in(&["admin"]).await;
    let page = browser.submit("/keys", "/keys", &[("name", "ci"), ("scopes", "deploy")]).await;
    assert_eq!((page.status, page.texts("code[data-copied]")), (200, vec!["gra_SECRET".to_owned()]));
    assert_eq!(page.headers["cache-control"], "no-store");
    let page = browser.get("/keys").await;
    assert!(!page.text.contains("SECRET") && page.text.contains("…kEy4"));
    let page = browser.submit("/keys", "/keys", &[("name", "ci")]).await;
    assert_eq!((page.status, page.texts("#scopes-said").len()), (400, 1), "{}", page.text);
    assert_eq!(page.attributes("#name", "value"), ["ci"]);
}
