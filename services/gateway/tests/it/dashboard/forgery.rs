//! Forms that no page of ours has sent.

use super::no_projects;
use crate::support::Served;

#[tokio::test]
async fn s3_a_form_of_another_origin_does_nothing() {
    let served = Served::at(Some("http://grapnel.example:8443/base")).await;
    no_projects(&served);
    let mut browser = served.signed_in(&["admin"]).await;
    let token = browser.get("/projects").await.attributes("input[name=csrf]", "value").remove(0);
    let site = served.url.replace("http://", "http://site.");
    let other_port = "http://127.0.0.1:7380";
    for headers in [
        &[("origin", site.as_str())][..],
        &[("origin", other_port)],
        &[("origin", "null")],
        &[("origin", "")],
        &[("origin", "http://grapnel.example")],
        &[("origin", "http://grapnel.example:84")],
        &[("sec-fetch-site", "same-site")],
        &[("sec-fetch-site", "cross-site")],
        &[("origin", served.url.as_str()), ("sec-fetch-site", "cross-site")],
    ] {
        // Even with the token, which no other origin can read.
        let page = browser.post_as("/logout", &[("csrf", &token)], headers).await;
        assert_eq!(page.status, 403, "{headers:?}");
        let page = browser.post_as("/login", &[("key", "gra_x")], headers).await;
        assert_eq!(page.status, 403, "nobody is signed in by another origin: {headers:?}");
    }
    assert_eq!(served.hooks.sessions(), 1);
    // As the people know the gateway, whatever a proxy made of `Host`.
    let page =
        browser.post_as("/logout", &[("csrf", &token)], &[("origin", "http://grapnel.example:8443")]).await;
    assert_eq!(page.status, 303);
}

#[tokio::test]
async fn s3_a_form_without_the_token_of_its_session_does_nothing() {
    let served = Served::start().await;
    no_projects(&served);
    let mut browser = served.signed_in(&["admin"]).await;
    let mut other = served.signed_in(&["admin"]).await;
    let others = other.get("/projects").await.attributes("input[name=csrf]", "value").remove(0);
    let own = browser.get("/projects").await.attributes("input[name=csrf]", "value").remove(0);
    let shorter = &own[..own.len() - 1];
    for token in ["", "x", &others, shorter, &own.to_uppercase()] {
        let page = browser.post("/logout", &[("csrf", token)]).await;
        assert_eq!(page.status, 403, "{token}");
        assert!(page.text.contains("reload the page"), "{}", page.text);
    }
    assert_eq!(browser.post("/logout", &[]).await.status, 403);
    // The first counts: one more does not help.
    assert_eq!(browser.post("/logout", &[("csrf", "x"), ("csrf", &own)]).await.status, 403);
    assert_eq!(served.hooks.sessions(), 2);
    assert_eq!(browser.post("/logout", &[("csrf", &own)]).await.status, 303);
}

#[tokio::test]
async fn s3_a_form_is_of_one_kind_and_of_bounded_size() {
    let served = Served::start().await;
    let mut browser = served.signed_in(&["admin"]).await;
    let large = "x".repeat((1 << 20) + 1);
    assert_eq!(browser.post("/logout", &[("csrf", &large)]).await.status, 413);
    for kind in ["text/plain", "multipart/form-data; boundary=x", "application/json", ""] {
        let page = browser.post_as("/logout", &[("csrf", "x")], &[("content-type", kind)]).await;
        assert_eq!(page.status, 400, "{kind}");
    }
    assert_eq!(browser.get("/logout").await.status, 405, "a link signs nobody out");
    assert_eq!(served.hooks.sessions(), 1);
}
