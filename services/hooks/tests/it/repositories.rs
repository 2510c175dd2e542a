//! Repositories that are looked into, by way of an executor that plays what it is told.

use std::time::Duration;

use grapnel_domain::{Reason, RepositoryUrl, SecretText, scope::Scope};
use grapnel_hooks::{
    app::{AllExecutors, Inspected, NewCredential, NewSecret},
    dispatch::ExecutorAddress,
    executors::Reachable,
    store::projects::ProjectRef,
};
use grapnel_proto::{
    error::from_status,
    executor::v1::{
        Branches, ListBranchesRequest, list_branches_response::Result as Told, source_credential,
    },
    hooks::v1::{Branch, Failure, InspectRepositoryRequest},
};
use grapnel_runtime::CancellationToken;
use prost::Message as _;
use tonic::{Code, Status};

use crate::{
    scripted::{COMMIT, House},
    support::{Service, new_project},
};

/// A house whose use cases ask its executor.
async fn asking(answers: impl IntoIterator<Item = Result<Told, Status>>) -> House {
    let mut house = House::alone().await;
    house.executor.lock().branches = answers.into_iter().collect();
    let address = ExecutorAddress::Url(house.url.clone());
    let fleet = house.dispatch_to(vec![address], "one", house.stopping.child_token());
    fleet.wait_for("scripted", Duration::from_secs(30)).await.unwrap();
    house.app.executors = AllExecutors::new(Reachable(fleet));
    house
}

fn address(url: &str) -> Inspected {
    Inspected::Url(RepositoryUrl::parse(url).unwrap())
}

async fn keep_token(house: &House, project: Option<&ProjectRef>, token: &str) {
    let new = NewCredential {
        project: project.cloned(),
        origin: Some("https://example.org".parse().unwrap()),
        secret: NewSecret::Token { user: "git".into(), token: SecretText::new(token) },
        in_clear: false,
    };
    house.app.create_credential(house.team.id, new).await.unwrap();
}

fn tokens(asked: &ListBranchesRequest) -> Vec<&str> {
    let credentials = asked.access.iter().flat_map(|access| &access.credentials);
    credentials
        .filter_map(|credential| match &credential.secret {
            Some(source_credential::Secret::Token(token)) => Some(token.token.as_str()),
            Some(source_credential::Secret::SshKey(_)) | None => None,
        })
        .collect()
}

#[tokio::test]
async fn a_project_is_asked_with_its_own_credentials_and_an_address_with_the_teams_alone() {
    let told = Branches {
        default_branch: "main".into(),
        branches: vec![Branch { name: "main".into(), commit: COMMIT.into() }],
        truncated: true,
    };
    let house = asking([Ok(Told::Branches(told.clone())), Ok(Told::Branches(told))]).await;
    let (app, team) = (&house.app, house.team.id);
    keep_token(&house, None, "the-teams").await;
    keep_token(&house, Some(&house.project), "the-projects").await;
    let other = new_project(app, team, "other").await;
    keep_token(&house, Some(&other), "another-projects").await;

    let found = app.inspect_repository(team, Inspected::Project(house.project.clone())).await.unwrap();
    assert_eq!(found.default_branch.unwrap().as_str(), "main");
    assert_eq!((found.branches.len(), found.branches[0].commit.as_str(), found.truncated), (1, COMMIT, true));
    app.inspect_repository(team, address("https://example.org/more.git")).await.unwrap();

    let asked = house.executor.lock().inspected.clone();
    assert_eq!(asked[0].repository_url, "https://example.org/site.git");
    assert_eq!(tokens(&asked[0]), ["the-projects", "the-teams"], "its own comes first");
    assert_eq!(asked[1].repository_url, "https://example.org/more.git");
    assert_eq!(tokens(&asked[1]), ["the-teams"]);
}

#[tokio::test]
async fn what_is_wrong_with_a_repository_is_told_and_so_is_that_nobody_can_be_asked() {
    let failure = Failure {
        code: "REPOSITORY_ACCESS_DENIED".into(),
        message: "it wants a credential".into(),
        ..Failure::default()
    };
    let house = asking([Ok(Told::Failure(failure)), Err(Status::unavailable("it is away"))]).await;
    let ask = async || {
        let inspected = address("https://example.org/more.git");
        house.app.inspect_repository(house.team.id, inspected).await.unwrap_err()
    };
    let refused = ask().await;
    assert_eq!(
        (refused.reason, refused.message.as_str()),
        (Reason::RepositoryUnreadable, "it wants a credential")
    );
    assert_eq!(refused.facts["failure"], "REPOSITORY_ACCESS_DENIED");
    assert_eq!(ask().await.reason, Reason::ExecutorUnavailable);

    let mut alone = House::alone().await;
    let fleet = alone.dispatch_to(Vec::new(), "one", CancellationToken::new());
    alone.app.executors = AllExecutors::new(Reachable(fleet));
    let project = Inspected::Project(alone.project.clone());
    let nobody = alone.app.inspect_repository(alone.team.id, project).await.unwrap_err();
    assert_eq!(nobody.reason, Reason::ExecutorUnavailable);
}

#[tokio::test]
async fn either_a_project_or_an_address_that_may_be_one_is_looked_into() {
    let service = Service::start().await;
    let key = format!("Bearer {}", service.key(&service.team, &[Scope::Write]).await);
    let ask = async |project: &str, url: &str| {
        let request = InspectRepositoryRequest { project: project.into(), repository_url: url.into() };
        let path = "/grapnel.hooks.v1.RepositoryService/InspectRepository";
        service.call(path, Some(&key), &request.encode_to_vec()).await
    };
    ask("site", "").await.unwrap();
    ask("", "git@example.org:x.git").await.unwrap();
    for (project, url) in [
        ("", ""),
        ("site", "https://example.org/x.git"),
        ("", "ext::sh -c id"),
        ("", "--upload-pack=id"),
        ("", "ssh://-oProxyCommand=id/x"),
        ("", "https://me:secret@example.org/x.git"),
        ("", "http://169.254.169.254/latest"),
        ("", "https://example.org/a\tb"),
    ] {
        let refused = ask(project, url).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{project} {url}");
        let refused = from_status(&refused, Reason::Internal);
        assert_eq!(refused.violations[0].field, "repository_url", "{project} {url}");
        assert!(!format!("{refused:?}").contains("secret@"), "{refused:?}");
    }
    assert_eq!(ask("nothing", "").await.unwrap_err().code(), Code::NotFound);
}
