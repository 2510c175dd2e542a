//! What is tried against the settings.

use super::{super::HARMFUL, FORMS, PAGES, have_everything, host_key, is_harmless};
use crate::support::Served;
use grapnel_domain::{Error, Reason};
use grapnel_proto::hooks::v1::{
    CreateHookRequest, CreateHookResponse, Hook, KnownHost, ScanHostRequest, ScanHostResponse,
};

#[tokio::test]
async fn s3_no_form_of_the_settings_does_anything_without_its_token() {
    let served = Served::start().await;
    let mut browser = served.signed_in(&["admin"]).await;
    for form in FORMS {
        assert_eq!(browser.post(form, &[]).await.status, 403, "{form}");
        assert_eq!(browser.post(form, &[("csrf", "x")]).await.status, 403, "{form}");
    }
    // And these are all: each form of each page is among them.
    have_everything(&served.hooks, "word");
    for page in PAGES {
        let shown = browser.get(page).await;
        assert_eq!(shown.status, 200, "{page}: {}", shown.text);
        for action in shown.attributes("form[method=post]", "action") {
            assert!(FORMS.contains(&action.as_str()), "{page} has a form that leads to {action}");
        }
        let forms = shown.attributes("form[method=post]", "action").len();
        assert_eq!(shown.attributes("form[method=post] input[name=csrf]", "value").len(), forms, "{page}");
    }
}

#[tokio::test]
async fn s4_what_others_have_named_is_text_in_every_page_of_the_settings() {
    let served = Served::start().await;
    have_everything(&served.hooks, HARMFUL);
    let mut browser = served.signed_in(&["admin"]).await;
    for page in PAGES {
        let shown = browser.get(page).await;
        assert_eq!(shown.status, 200, "{page}: {}", shown.text);
        is_harmless(&shown);
        assert!(shown.text.contains("&#60;img") || page.ends_with("/keys"), "{page} shows it as it is");
    }
    served.hooks.answer("CredentialService/ScanHost", |_: ScanHostRequest| {
        let found = KnownHost { host: HARMFUL.into(), keys: vec![host_key(HARMFUL)], ..Default::default() };
        Ok(ScanHostResponse { found: Some(found.clone()), trusted: None })
    });
    let credentials = "/projects/site/settings/credentials";
    is_harmless(&browser.submit(credentials, &format!("{credentials}/scan"), &[("host", HARMFUL)]).await);
    served.hooks.answer("HookService/CreateHook", |_: CreateHookRequest| {
        let hook = Hook { name: HARMFUL.into(), branch: HARMFUL.into(), ..Default::default() };
        Ok(CreateHookResponse { hook: Some(hook), url: HARMFUL.into() })
    });
    let new = "/projects/site/settings/hooks/new";
    let fields = [("name", HARMFUL), ("branch", HARMFUL), ("methods", "POST")];
    is_harmless(&browser.submit(new, new, &fields).await);
    served.hooks.answer("HookService/CreateHook", |_: CreateHookRequest| {
        Err::<CreateHookResponse, _>(Error::new(Reason::HookNameTaken, HARMFUL))
    });
    is_harmless(&browser.submit(new, new, &fields).await);
}

#[tokio::test]
async fn what_a_key_may_not_do_is_not_offered_and_says_which_scope_it_takes() {
    let served = Served::start().await;
    have_everything(&served.hooks, "word");
    let mut browser = served.signed_in(&["read"]).await;
    for page in PAGES {
        let shown = browser.get(page).await;
        if page.ends_with("/hooks/new") {
            assert_eq!(shown.status, 403);
            continue;
        }
        assert_eq!(shown.status, 200, "{page}: {}", shown.text);
        assert_eq!(shown.attributes("form[method=post]", "action"), ["/logout"], "{page}");
        let looks_only = page.ends_with("/triggers") || page.ends_with("/addresses");
        let scope = if page == "/keys" { "“admin”" } else { "“write”" };
        assert_eq!(shown.texts(".notice").iter().any(|text| text.contains(scope)), !looks_only, "{page}");
    }
    // Whoever sends the form all the same is refused before the service is asked.
    let token = browser.get("/keys").await.attributes("input[name=csrf]", "value").remove(0);
    for form in FORMS.iter().filter(|form| **form != "/logout") {
        let page = browser.post(form, &[("csrf", &token)]).await;
        assert_eq!(page.status, 403, "{form}: {}", page.text);
        assert!(page.text.contains("takes the scope"), "{form}: {}", page.text);
    }
}
