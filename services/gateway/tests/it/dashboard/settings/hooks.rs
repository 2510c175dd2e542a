//! Deploy hooks.

use std::sync::{Arc, Mutex};

use grapnel_domain::{Error, Reason};
use grapnel_proto::hooks::v1::*;

use super::{have_everything, hook, limits};
use crate::support::{Page, Served};

const LIST: &str = "/projects/site/settings/hooks";
const NEW: &str = "/projects/site/settings/hooks/new";
const ONE: &str = "/projects/site/settings/hooks/hook_1";
const URL: &str = "http://127.0.0.1:7300/v1/integrations/deploy/prj_site/grh_SECRETsecret";

/// A service that makes a hook once: the second of its name is refused.
fn makes_one(served: &Served) -> Arc<Mutex<Vec<CreateHookRequest>>> {
    let made = Arc::new(Mutex::new(Vec::new()));
    let kept = made.clone();
    served.hooks.answer("HookService/CreateHook", move |request: CreateHookRequest| {
        let mut made = kept.lock().unwrap();
        made.push(request.clone());
        if made.len() > 1 {
            return Err(Error::new(Reason::HookNameTaken, "the project has another hook called `cms`"));
        }
        let hook =
            Hook { name: request.name, branch: request.branch, methods: request.methods, ..hook("cms") };
        Ok(CreateHookResponse { hook: Some(hook), url: URL.into() })
    });
    made
}

fn shows_no_url(page: &Page) {
    assert!(!page.text.contains("grh_"), "{}", page.text);
}

#[tokio::test]
async fn the_url_of_a_hook_is_shown_once_and_a_form_sent_twice_makes_one_hook() {
    let served = Served::start().await;
    have_everything(&served.hooks, "main");
    let made = makes_one(&served);
    let mut browser = served.signed_in(&["write"]).await;
    let form = browser.get(NEW).await;
    assert_eq!(form.texts("#branch option"), ["preview", "main"], "the repository's branches");
    assert_eq!(form.attributes("#branch option[selected]", "value"), ["main"]);
    let fields = [
        ("name", "cms"),
        ("branch", "main"),
        ("methods", "POST"),
        ("build_cache", "1"),
        ("quiet_period_ms", "1.5"),
    ];
    let page = browser.submit_on(&form, NEW, &fields).await;
    assert_eq!((page.status, page.location.as_deref()), (200, None), "{}", page.text);
    assert_eq!(page.headers["cache-control"], "no-store");
    assert_eq!(page.texts("code[data-copied]"), [URL.to_owned(), format!("curl -X POST '{URL}'")]);
    assert!(page.texts("[role=status]")[0].contains("not shown again"));
    let request = made.lock().unwrap()[0].clone();
    assert_eq!(
        (request.branch.as_str(), request.quiet_period_ms, request.build_cache),
        ("main", 1_500, Some(true))
    );

    let again = browser.submit_on(&form, NEW, &fields).await;
    assert_eq!(again.status, 409);
    shows_no_url(&again);
    assert!(again.texts("#name-problem")[0].contains("another hook called"));
    assert!(again.texts("#hook-there")[0].contains("not shown a second time"));
    assert_eq!(again.attributes("#name", "value"), ["cms"], "what was typed is kept");
    for page in [LIST, NEW, ONE, "/projects/site/settings/triggers"] {
        shows_no_url(&browser.get(page).await);
    }
}

#[tokio::test]
async fn a_rotation_names_the_token_that_it_replaces_and_a_second_one_does_nothing() {
    let served = Served::start().await;
    have_everything(&served.hooks, "main");
    let asked = Arc::new(Mutex::new(Vec::new()));
    let kept = asked.clone();
    served.hooks.answer("HookService/RotateHookToken", move |request: RotateHookTokenRequest| {
        let mut asked = kept.lock().unwrap();
        asked.push((request.expected_token_id, request.grace_seconds));
        if asked.len() > 1 {
            return Err(Error::new(Reason::TokenReplaced, "the token is not the current one"));
        }
        Ok(RotateHookTokenResponse { hook: Some(hook("cms")), url: URL.into() })
    });
    let mut browser = served.signed_in(&["write"]).await;
    let shown = browser.get(ONE).await;
    let tokens = shown.texts("dd .token");
    assert!(
        tokens[0].contains("…nEw1") && tokens[1].contains("…oLd9") && tokens[1].contains("stops"),
        "{tokens:?}"
    );
    let to = format!("{ONE}/rotate");
    let page = browser.submit_on(&shown, &to, &[("grace_seconds", "3600")]).await;
    assert_eq!((page.status, page.texts("code[data-copied]")[0].as_str()), (200, URL));
    assert!(page.text.contains("…oLd9 works until 2026-01-02 00:00 UTC"), "{}", page.text);
    let again = browser.submit_on(&shown, &to, &[("grace_seconds", "3600")]).await;
    assert_eq!(again.status, 409);
    assert!(again.texts("[role=alert]")[0].contains("replaced already"), "{}", again.text);
    shows_no_url(&again);
    let both = asked.lock().unwrap().clone();
    assert_eq!(both, [("tok_new".to_owned(), Some(3_600)), ("tok_new".to_owned(), Some(3_600))]);
    // A form that names no token does not rotate whatever is current.
    assert_eq!(browser.submit_on(&shown, &to, &[("expected_token_id", "")]).await.status, 400);
    assert_eq!(asked.lock().unwrap().len(), 2);
    assert_eq!(browser.get(&to).await.location.as_deref(), Some(LIST), "a browser that comes back");
}

#[tokio::test]
async fn a_limit_that_is_reached_says_what_to_do() {
    let served = Served::start().await;
    have_everything(&served.hooks, "main");
    let mut browser = served.signed_in(&["write"]).await;
    let page = browser.get(LIST).await;
    assert_eq!(
        (page.texts("#hooks-used"), page.texts("#hooks-limit").len()),
        (vec!["3 of 5 used".into()], 0)
    );
    assert!(page.attributes("a", "href").contains(&NEW.to_owned()));
    limits(&served.hooks, 5);
    let page = browser.get(LIST).await;
    assert!(page.texts("#hooks-limit")[0].contains("Revoke one"), "{}", page.text);
    assert!(!page.attributes("a", "href").contains(&NEW.to_owned()));
    served.hooks.answer("HookService/CreateHook", |_: CreateHookRequest| {
        Err::<CreateHookResponse, _>(Error::new(Reason::HookLimitReached, "the project has 5 of 5 hooks"))
    });
    let page = browser.submit(NEW, NEW, &[("name", "cms"), ("branch", "main"), ("methods", "POST")]).await;
    assert_eq!(page.status, 409);
    assert!(page.texts("[role=alert]")[0].contains("5 of 5"));
}

#[tokio::test]
async fn a_branch_is_typed_where_the_repository_does_not_tell_them() {
    let served = Served::start().await;
    have_everything(&served.hooks, "main");
    served.hooks.answer("RepositoryService/InspectRepository", |_: InspectRepositoryRequest| {
        Err::<InspectRepositoryResponse, _>(Error::new(
            Reason::RepositoryUnreadable,
            "git asks for a password",
        ))
    });
    let mut browser = served.signed_in(&["write"]).await;
    let page = browser.get(NEW).await;
    assert_eq!(page.attributes("input#branch", "value"), ["main"]);
    assert_eq!(page.attributes("#branch-known option", "value"), ["main"]);
    assert!(page.texts("#branches-note")[0].contains("git asks for a password"));
}

#[tokio::test]
async fn a_hook_is_paused_and_revoked_and_one_of_another_project_is_not_found() {
    let served = Served::start().await;
    have_everything(&served.hooks, "main");
    served.hooks.answer("HookService/UpdateHook", |request: UpdateHookRequest| {
        assert_eq!(request.update_mask.unwrap().paths, ["paused"]);
        assert!(request.changes.unwrap().paused);
        Ok(UpdateHookResponse::default())
    });
    served.hooks.answer("HookService/RevokeHook", |request: RevokeHookRequest| {
        assert_eq!(request.hook_id, "hook_1");
        Ok(RevokeHookResponse {})
    });
    let mut browser = served.signed_in(&["write"]).await;
    let paused = browser.submit(LIST, &format!("{ONE}/pause"), &[]).await;
    assert_eq!(paused.location.as_deref(), Some("/projects/site/settings/hooks?did=hook-paused"));
    assert!(browser.get(&paused.location.unwrap()).await.texts("[role=status]")[0].contains("paused"));
    let revoked = browser.submit(LIST, &format!("{ONE}/revoke"), &[]).await;
    assert_eq!(revoked.location.as_deref(), Some("/projects/site/settings/hooks?did=hook-revoked"));
    served.hooks.answer("HookService/GetHook", |_: GetHookRequest| {
        let hook = Hook { project_id: "prj_other".into(), ..hook("cms") };
        Ok(GetHookResponse { hook: Some(hook) })
    });
    assert_eq!(browser.get(ONE).await.status, 404);
}
