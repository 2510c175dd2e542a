//! A project in two steps.

use grapnel_domain::{Error, Reason};
use grapnel_proto::hooks::v1::{
    Branch, CreateProjectRequest, CreateProjectResponse, InspectRepositoryRequest, InspectRepositoryResponse,
};

use super::project;
use crate::support::Served;

const REPOSITORY: &str = "https://git.example/team/My_Site.git";

/// Lets the repository have these branches.
fn has(served: &Served, default: &'static str, branches: &'static [&'static str], truncated: bool) {
    served.hooks.answer("RepositoryService/InspectRepository", move |asked: InspectRepositoryRequest| {
        assert_eq!(asked.repository_url, REPOSITORY);
        let branch = |name: &&str| Branch { name: (*name).into(), commit: "0".repeat(40) };
        let branches = branches.iter().map(branch).collect();
        Ok(InspectRepositoryResponse { default_branch: default.into(), branches, truncated })
    });
}

fn cannot_be_read(served: &Served, reason: Reason) {
    served.hooks.answer("RepositoryService/InspectRepository", move |_: InspectRepositoryRequest| {
        Err::<InspectRepositoryResponse, _>(Error::new(reason, "git says: repository not found"))
    });
}

#[tokio::test]
async fn a_repository_is_looked_into_and_a_project_made_of_it() {
    let served = Served::start().await;
    has(&served, "trunk", &["a", "trunk", "z"], false);
    served.hooks.answer("HookService/CreateProject", |asked: CreateProjectRequest| {
        assert_eq!((asked.repository_url.as_str(), asked.production_branch.as_str()), (REPOSITORY, "z"));
        assert_eq!(asked.settings.unwrap().root_directory.as_deref(), Some("apps/site"));
        Ok(CreateProjectResponse { project: Some(project(&asked.name)) })
    });
    let mut browser = served.signed_in(&["write"]).await;
    let second =
        browser.submit("/projects/new", "/projects/new", &[("repository", &format!(" {REPOSITORY} "))]).await;
    assert_eq!((second.status, second.attributes("#name", "value")), (200, vec!["my-site".to_owned()]));
    assert!(second.texts("[role=status]")[0].contains("3 branches"));
    assert_eq!(second.texts("#branch option"), ["a", "trunk", "z"]);
    assert_eq!(second.texts("#branch option[selected]"), ["trunk"]);
    let fields = [("name", "my-site"), ("branch", "z"), ("root_directory", "apps/site")];
    let made = browser.submit_on(&second, "/projects/new/create", &fields).await;
    assert_eq!((made.status, made.location.as_deref()), (303, Some("/projects/my-site?did=project-created")));
}

#[tokio::test]
async fn a_repository_that_cannot_be_read_leaves_what_was_typed_and_may_be_gone_on_with() {
    let served = Served::start().await;
    let mut browser = served.signed_in(&["write"]).await;
    for (reason, status) in [(Reason::RepositoryUnreadable, 409), (Reason::ExecutorUnavailable, 503)] {
        cannot_be_read(&served, reason);
        let page = browser.submit("/projects/new", "/projects/new", &[("repository", REPOSITORY)]).await;
        assert_eq!(page.status, status);
        assert_eq!(page.attributes("#repository", "value"), [REPOSITORY]);
        assert!(page.texts("[role=alert]")[0].contains("repository not found"), "{}", page.text);
        let fields = [("repository", REPOSITORY), ("unchecked", "1")];
        let second = browser.submit_on(&page, "/projects/new", &fields).await;
        assert_eq!(
            (second.status, second.attributes("input#branch", "value")),
            (200, vec!["main".to_owned()])
        );
        assert!(second.texts("[role=status]").is_empty(), "nobody has looked into it");
    }
    let missing = browser.submit("/projects/new", "/projects/new", &[("repository", "  ")]).await;
    assert_eq!((missing.status, missing.texts("#repository-problem").len()), (400, 1));
}

#[tokio::test]
async fn what_is_refused_is_said_beside_what_was_typed() {
    let served = Served::start().await;
    has(&served, "main", &["main", "next"], false);
    let mut browser = served.signed_in(&["write"]).await;
    let mut second = browser.submit("/projects/new", "/projects/new", &[("repository", REPOSITORY)]).await;
    for (error, status, problem) in [
        (Error::new(Reason::ProjectNameTaken, "another project has the name"), 409, "#name-problem"),
        (Error::invalid_field("name", "must consist of lower-case letters"), 400, "#name-problem"),
        (Error::invalid_field("settings.root_directory", "must stay inside"), 400, "#root-problem"),
        (Error::new(Reason::HooksUnavailable, "the hooks service does not answer"), 503, ".alert"),
    ] {
        let (reason, message, violations) = (error.reason, error.message, error.violations);
        served.hooks.answer("HookService/CreateProject", move |_: CreateProjectRequest| {
            let mut error = Error::new(reason, message.clone());
            error.violations = violations.clone();
            Err::<CreateProjectResponse, _>(error)
        });
        let fields = [("name", "Typed"), ("branch", "next"), ("root_directory", "../x")];
        second = browser.submit_on(&second, "/projects/new/create", &fields).await;
        assert_eq!((second.status, second.texts(problem).len()), (status, 1), "{}", second.text);
        assert_eq!(second.attributes("#name", "value"), ["Typed"]);
        assert_eq!(second.attributes("#root", "value"), ["../x"]);
        assert_eq!(second.texts("#branch option[selected]"), ["next"]);
        assert!(second.texts("[role=status]")[0].contains("2 branches"));
    }
    let back = browser.get("/projects/new/create").await;
    assert_eq!(back.location.as_deref(), Some("/projects/new"));
}

#[tokio::test]
async fn a_repository_without_branches_or_with_too_many_takes_a_typed_one() {
    let served = Served::start().await;
    let mut browser = served.signed_in(&["write"]).await;
    has(&served, "", &[], false);
    let page = browser.submit("/projects/new", "/projects/new", &[("repository", REPOSITORY)]).await;
    assert!(page.texts("[role=status]")[0].contains("empty"));
    assert_eq!(page.attributes("input#branch", "value"), ["main"]);
    has(&served, "trunk", &["a", "trunk"], true);
    let page = browser.submit("/projects/new", "/projects/new", &[("repository", REPOSITORY)]).await;
    assert_eq!(page.attributes("input#branch", "value"), ["trunk"]);
    assert_eq!(page.attributes("datalist option", "value"), ["a", "trunk"]);
}
