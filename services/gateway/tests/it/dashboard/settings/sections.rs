//! What stands beside the hooks.

use grapnel_domain::{Error, FieldViolation, Reason};
use grapnel_proto::hooks::v1::*;

use super::{PAGES, have_everything};
use crate::support::Served;

#[tokio::test]
async fn every_section_is_reached_and_says_where_one_is() {
    let served = Served::start().await;
    have_everything(&served.hooks, "word");
    let mut browser = served.signed_in(&["admin"]).await;
    let led = browser.get("/projects/site/settings").await;
    assert_eq!(led.location.as_deref(), Some("/projects/site/settings/general"));
    let general = browser.get("/projects/site/settings/general").await;
    for section in general.attributes(".settings-nav a", "href") {
        assert!(PAGES.contains(&section.as_str()), "{section}");
        let page = browser.get(&section).await;
        assert_eq!(page.attributes(".settings-nav a[aria-current=page]", "href"), [section.clone()]);
        assert_eq!(page.texts("h1").len(), 1, "{section}");
        let ids = page.attributes("[id]", "id");
        let mut once = ids.clone();
        once.sort();
        once.dedup();
        assert_eq!(ids.len(), once.len(), "an id stands twice in {section}: {ids:?}");
    }
}

#[tokio::test]
async fn a_secret_is_not_shown_again_even_where_its_form_is_refused() {
    let served = Served::start().await;
    have_everything(&served.hooks, "word");
    served.hooks.answer("VariableService/SetVariables", |_: SetVariablesRequest| {
        let wrong =
            FieldViolation { field: "variables[0].name".into(), description: "must not be `PATH`".into() };
        Err::<SetVariablesResponse, _>(Error::invalid(vec![wrong]))
    });
    served.hooks.answer("CredentialService/CreateCredential", |_: CreateCredentialRequest| {
        Err::<CreateCredentialResponse, _>(Error::new(
            Reason::CredentialExists,
            "there is one for the origin",
        ))
    });
    served.hooks.answer("StatusService/SetCommitStatuses", |_: SetCommitStatusesRequest| {
        Err::<SetCommitStatusesResponse, _>(Error::invalid_field("token", "must be another"))
    });
    let mut browser = served.signed_in(&["admin"]).await;
    let variables = "/projects/site/settings/variables";
    let typed = [("name", "PATH"), ("value", "hunter2"), ("branches", "main")];
    let page = browser.submit(variables, variables, &typed).await;
    assert_eq!((page.status, page.texts("#name-problem")), (400, vec!["Must not be `PATH`.".to_owned()]));
    assert!(page.texts("textarea")[0].contains("hunter2"), "what is no secret is kept");
    assert_eq!(page.attributes("#branches", "value"), ["main"]);
    let [name, value, branches] = typed;
    let page = browser.submit(variables, variables, &[name, value, branches, ("secret", "1")]).await;
    assert!(page.status == 400 && !page.text.contains("hunter2"), "{}", page.text);
    let credentials = "/projects/site/settings/credentials";
    for (form, field) in [("token", "token.token"), ("ssh-key", "ssh_key.private_key")] {
        let fields = [("origin", "https://git.example"), (field, "hunter2")];
        let page = browser.submit(credentials, &format!("{credentials}/{form}"), &fields).await;
        assert_eq!(page.status, 409, "{}", page.text);
        assert!(!page.text.contains("hunter2") && page.text.contains("There is one for the origin."));
    }
    let statuses = "/projects/site/settings/commit-statuses";
    let page = browser.submit(statuses, statuses, &[("mode", "automatic"), ("token", "hunter2")]).await;
    assert_eq!((page.status, page.texts("#token-problem").len()), (400, 1));
    assert!(!page.text.contains("hunter2"));
}

#[tokio::test]
async fn a_project_is_deleted_only_with_its_name_typed() {
    let served = Served::start().await;
    have_everything(&served.hooks, "word");
    served.hooks.answer("HookService/DeleteProject", |request: DeleteProjectRequest| {
        assert_eq!(request.project, "prj_site");
        Ok(DeleteProjectResponse {})
    });
    let mut browser = served.signed_in(&["write"]).await;
    let (general, delete) = ("/projects/site/settings/general", "/projects/site/settings/general/delete");
    let page = browser.submit(general, delete, &[("confirmed", "sit")]).await;
    assert_eq!((page.status, page.texts("#delete-confirmed-problem").len()), (400, 1));
    let page = browser.submit(general, delete, &[("confirmed", "site")]).await;
    assert_eq!(page.location.as_deref(), Some("/projects?did=project-deleted"));
}

#[tokio::test]
async fn a_change_of_the_build_names_what_it_changes_and_leaves_root_to_admins() {
    let served = Served::start().await;
    have_everything(&served.hooks, "word");
    served.hooks.answer("HookService/UpdateProject", |request: UpdateProjectRequest| {
        let (paths, changes) = (request.update_mask.unwrap().paths, request.changes.unwrap());
        assert!(!paths.contains(&"settings.run_as_root".to_owned()), "{paths:?}");
        assert!(paths.iter().all(|path| path.starts_with("settings.")));
        assert_eq!(changes.settings.unwrap().build_command.as_deref(), Some("make"));
        Ok(UpdateProjectResponse { project: Some(super::super::project("site")) })
    });
    let mut browser = served.signed_in(&["write"]).await;
    let fields = [("settings.build_command", "make"), ("settings.run_as_root", "1")];
    let build = "/projects/site/settings/general/build";
    let page = browser.submit("/projects/site/settings/general", build, &fields).await;
    assert_eq!(
        page.location.as_deref(),
        Some("/projects/site/settings/general?did=project-saved"),
        "{}",
        page.text
    );
}

#[tokio::test]
async fn the_ledger_says_why_and_is_filtered() {
    let served = Served::start().await;
    have_everything(&served.hooks, "word");
    let mut browser = served.signed_in(&["read"]).await;
    let page = browser.get("/projects/site/settings/triggers?hook=hook_1&decision=refused").await;
    assert!(page.texts("tbody th")[0].starts_with("Refused"));
    assert!(page.texts(".why")[0].contains("word") && page.text.contains("2.0 KiB"));
    let next = page.attributes("a[rel=next]", "href");
    assert_eq!(next, ["/projects/site/settings/triggers?hook=hook_1&decision=refused&page=more"]);
    assert_eq!(page.attributes("#hook option[selected]", "value"), ["hook_1"]);
}

#[tokio::test]
async fn caches_of_an_executor_that_is_away_are_not_said_to_be_none() {
    let served = Served::start().await;
    have_everything(&served.hooks, "word");
    served.hooks.answer("HookService/ListCaches", |_: ListCachesRequest| {
        Err::<ListCachesResponse, _>(Error::new(Reason::ExecutorUnavailable, "the executor does not answer"))
    });
    let mut browser = served.signed_in(&["read"]).await;
    let page = browser.get("/projects/site/settings/caches").await;
    assert_eq!((page.status, page.texts(".empty").len(), page.texts("[role=alert]").len()), (503, 0, 1));
}
