//! What is tried against sessions and pages.

use crate::{dashboard::sign_in::no_projects, support::Served};

#[tokio::test]
async fn s3_no_page_can_be_framed_or_run_what_is_not_ours() {
    let served = Served::start().await;
    no_projects(&served);
    let mut browser = served.signed_in(&["read"]).await;
    for path in ["/projects", "/login", "/", "/nowhere", "/logout"] {
        let page = browser.get(path).await;
        let policy = page.headers["content-security-policy"].to_str().unwrap();
        for part in [
            "default-src 'none'",
            "frame-ancestors 'none'",
            "form-action 'self'",
            "base-uri 'none'",
            "script-src 'self'",
        ] {
            assert!(policy.contains(part), "{path}: {policy}");
        }
        assert!(!policy.contains("unsafe"));
        for (name, value) in [
            ("x-frame-options", "DENY"),
            ("x-content-type-options", "nosniff"),
            ("referrer-policy", "same-origin"),
            ("cache-control", "no-store"),
            ("cross-origin-opener-policy", "same-origin"),
        ] {
            assert_eq!(page.headers[name], value, "{path}");
        }
        assert_eq!(page.attributes("script:not([src])", "type"), Vec::<String>::new());
        assert_eq!(page.attributes("[style], style", "style"), Vec::<String>::new());
    }
}
