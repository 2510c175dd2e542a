//! Signing in and out.

use grapnel_proto::hooks::v1::{ListProjectsRequest, ListProjectsResponse};

use crate::support::Served;

pub fn no_projects(served: &Served) {
    served
        .hooks
        .answer("HookService/ListProjects", |_: ListProjectsRequest| Ok(ListProjectsResponse::default()));
}

#[tokio::test]
async fn whoever_is_not_signed_in_is_led_to_sign_in_and_back() {
    let served = Served::start().await;
    no_projects(&served);
    let mut browser = served.browser();
    let led = browser.get("/projects?search=site").await;
    assert_eq!((led.status, led.location.as_deref()), (303, Some("/login?next=%2Fprojects%3Fsearch%3Dsite")));
    let key = served.hooks.key(&["read"]);
    let login = led.location.unwrap();
    let back = browser.submit(&login, "/login", &[("key", &key)]).await;
    assert_eq!(back.location.as_deref(), Some("/projects?search=site"));
    let page = browser.get("/projects?search=site").await;
    assert_eq!((page.status, page.texts("h1")), (200, vec!["Projects".to_owned()]));
    assert!(page.texts(".team")[0].contains("Harbour"));
    assert_eq!(browser.get("/").await.location.as_deref(), Some("/projects"));
    assert_eq!(browser.get("/login?next=/projects/site").await.location.as_deref(), Some("/projects/site"));
}

#[tokio::test]
async fn what_is_no_key_opens_nothing_and_is_not_repeated() {
    let served = Served::start().await;
    let mut browser = served.browser();
    let unknown = grapnel_domain::secret_token::ApiKey::generate(&mut rand::rng());
    for (key, status) in [("", 422), ("gra_short", 422), ("<script>", 422), (unknown.expose(), 401)] {
        let page = browser.post("/login", &[("key", key), ("next", "/projects/site")]).await;
        assert_eq!(page.status, status);
        assert_eq!(page.texts("[role=alert]").len(), 1);
        assert!(key.is_empty() || !page.text.contains(key));
        assert_eq!(page.attributes("input[name=next]", "value"), ["/projects/site"]);
    }
    assert!(browser.cookies.is_empty());
    assert_eq!(served.hooks.sessions(), 0);
}
