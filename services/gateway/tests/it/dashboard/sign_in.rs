//! Signing in and out.

use grapnel_domain::{Error, Reason, secret_token::ApiKey};
use grapnel_proto::hooks::v1::{CreateSessionRequest, CreateSessionResponse};

use super::no_projects;
use crate::support::Served;

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
    let unknown = ApiKey::generate(&mut rand::rng());
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

#[tokio::test]
async fn whoever_signs_out_is_told_so() {
    let served = Served::start().await;
    no_projects(&served);
    let mut browser = served.signed_in(&["read"]).await;
    let out = browser.submit("/projects", "/logout", &[]).await;
    assert_eq!((out.status, out.location.as_deref()), (303, Some("/login?did=signed-out")));
    let page = browser.get("/login?did=signed-out").await;
    assert_eq!(page.texts("[role=status]"), ["You are signed out."]);
    assert!(browser.cookies.is_empty());
}

#[tokio::test]
async fn a_service_that_is_away_keeps_the_form_and_says_so() {
    let served = Served::start().await;
    let key = served.hooks.key(&["read"]);
    served.hooks.answer("SessionService/CreateSession", |_: CreateSessionRequest| {
        Err::<CreateSessionResponse, _>(Error::new(Reason::StoreUnavailable, "the database does not answer"))
    });
    let page = served.browser().post("/login", &[("key", &key), ("next", "/projects/site")]).await;
    assert_eq!(page.status, 503);
    assert!(page.texts("[role=alert]")[0].contains("Try again"), "{}", page.text);
    assert_eq!(page.attributes("input[name=next]", "value"), ["/projects/site"]);
}

#[tokio::test]
async fn s5_nobody_is_led_away_after_signing_in() {
    let served = Served::start().await;
    let key = served.hooks.key(&["read"]);
    for next in [
        "https://evil.example/",
        "//evil.example",
        "/\\evil.example",
        "/%2fevil.example",
        "javascript:alert(1)",
    ] {
        let mut browser = served.browser();
        let page = browser.post("/login", &[("key", &key), ("next", next)]).await;
        assert_eq!(page.location.as_deref(), Some("/projects"), "{next}");
        let query = form_urlencoded::Serializer::new(String::new()).append_pair("next", next).finish();
        let page = browser.get(&format!("/login?{query}")).await;
        assert_eq!(page.location.as_deref(), Some("/projects"), "{next}");
    }
}
