//! What is tried against sessions.

use super::no_projects;
use crate::support::Served;

#[tokio::test]
async fn s6_a_session_that_somebody_else_put_into_the_browser_is_not_signed_in_to() {
    let served = Served::start().await;
    no_projects(&served);
    let known = served.signed_in(&["read"]).await.cookies;
    let mut browser = served.browser();
    browser.cookies = known.clone();
    let key = served.hooks.key(&["admin"]);
    browser.post("/login", &[("key", &key)]).await;
    assert_ne!(browser.cookies, known, "signing in makes a session that was not there before");
    assert_eq!(served.hooks.sessions(), 1, "and ends the one that was");
    let mut other = served.browser();
    other.cookies = known;
    assert_eq!(other.get("/projects").await.status, 303);
    // One that the service has not made is none, whoever made it up.
    other.cookies = [("grapnel".to_owned(), "grs_fixed".to_owned())].into();
    assert_eq!(other.get("/projects").await.status, 303);
    other.cookies = [("grapnel".to_owned(), key)].into();
    assert_eq!(other.get("/projects").await.status, 303, "a key in a cookie is no session");
}

#[tokio::test]
async fn s6_a_session_that_was_signed_out_is_over_wherever_its_cookie_is() {
    let served = Served::start().await;
    no_projects(&served);
    let mut browser = served.signed_in(&["read"]).await;
    let kept = browser.cookies.clone();
    let page = browser.get("/projects").await;
    browser.submit_on(&page, "/logout", &[]).await;
    browser.cookies = kept;
    let replayed = browser.get("/projects").await;
    assert_eq!((replayed.status, replayed.location.as_deref()), (303, Some("/login")));
    let form = browser.submit_on(&page, "/logout", &[]).await;
    assert_eq!(
        (form.status, form.location.as_deref()),
        (303, Some("/login")),
        "nor do its forms do anything"
    );
}

#[tokio::test]
async fn s6_a_session_ends_with_its_key() {
    let served = Served::start().await;
    no_projects(&served);
    let mut browser = served.signed_in(&["read"]).await;
    assert_eq!(browser.get("/projects").await.status, 200);
    served.hooks.revoke_all();
    let led = browser.get("/projects/new").await;
    assert_eq!((led.status, led.location.as_deref()), (303, Some("/login?next=%2Fprojects%2Fnew")));
    assert!(browser.cookies.is_empty(), "the browser is to forget it");
}

#[tokio::test]
async fn s3_what_a_session_shows_is_kept_from_scripts_and_from_clear_text() {
    for (public_url, expected) in [
        (None, "grapnel=grs_"),
        (Some("http://grapnel.example"), "grapnel=grs_"),
        (Some("https://grapnel.example"), "__Host-grapnel=grs_"),
    ] {
        let served = Served::at(public_url).await;
        no_projects(&served);
        let key = served.hooks.key(&["read"]);
        let mut browser = served.browser();
        let page = browser.post("/login", &[("key", &key)]).await;
        let cookie = page.headers["set-cookie"].to_str().unwrap();
        assert!(cookie.starts_with(expected), "{cookie}");
        for part in ["; HttpOnly", "; SameSite=Lax", "; Path=/", "; Max-Age="] {
            assert!(cookie.contains(part), "{cookie}");
        }
        let secure = public_url.is_some_and(|url| url.starts_with("https"));
        assert_eq!(cookie.contains("; Secure"), secure, "{cookie}");
        assert!(!cookie.contains("Domain"), "no other host gets it: {cookie}");
        assert_eq!(browser.get("/projects").await.status, 200);
    }
}

#[tokio::test]
async fn s3_a_session_opens_no_interface_for_programs() {
    let served = Served::start().await;
    let browser = served.signed_in(&["admin"]).await;
    for path in [
        "/v1/deployments/dpl_01h455vb4pex5vsknk084sn02q",
        "/v1/deployments/dpl_01h455vb4pex5vsknk084sn02q/events",
    ] {
        browser.stream(path).await;
    }
    let asked = served.hooks.asked_as_nobody();
    assert!(asked.contains(&"HookService/GetDeployment".to_owned()), "{asked:?}");
    assert!(asked.contains(&"HookService/WatchDeployment".to_owned()), "{asked:?}");
}
