//! The StatusService over gRPC.

use grapnel_domain::{Reason, scope::Scope};
use grapnel_hooks::store::projects::ProjectRef;
use grapnel_proto::{
    error::from_status,
    hooks::v1::{
        CommitStatusMode, CommitStatuses, GetCommitStatusesRequest, GetCommitStatusesResponse, GitHost,
        SetCommitStatusesRequest, SetCommitStatusesResponse, StatusTokenSource,
    },
};
use prost::Message as _;
use tonic::Status;

use super::{TOKEN, new_project};
use crate::support::Service;

async fn set(
    service: &Service,
    key: &str,
    request: SetCommitStatusesRequest,
) -> Result<CommitStatuses, Status> {
    let path = "/grapnel.hooks.v1.StatusService/SetCommitStatuses";
    let answer = service.call(path, Some(key), &request.encode_to_vec()).await?;
    assert!(!String::from_utf8_lossy(&answer).contains(TOKEN), "an answer repeats a token");
    Ok(SetCommitStatusesResponse::decode(answer).unwrap().commit_statuses.unwrap())
}

#[tokio::test]
async fn what_is_wrong_with_a_setting_is_named_field_by_field() {
    let service = Service::start().await;
    let key = format!("Bearer {}", service.key(&service.team, &[Scope::Read, Scope::Write]).await);
    let ProjectRef::Id(project) = &service.project else { panic!("it is named by its id") };
    let request =
        |mode: CommitStatusMode, host: GitHost, api_base: &str, token: &str| SetCommitStatusesRequest {
            project: project.to_string(),
            mode: mode.into(),
            host: host.into(),
            api_base: api_base.into(),
            token: token.into(),
        };
    use CommitStatusMode::{Automatic, ByHand, Off, Unspecified as NoMode};
    use GitHost::{Gitea, Unspecified as NoHost};
    for (wrong, fields) in [
        (request(NoMode, NoHost, "", ""), &["mode"][..]),
        (request(Off, Gitea, "", TOKEN), &["host", "token"]),
        (request(Automatic, Gitea, "https://e.org", ""), &["host", "api_base"]),
        (request(Automatic, NoHost, "", TOKEN), &["token"]),
        (request(ByHand, NoHost, "e.org", TOKEN), &["host", "api_base"]),
        (request(ByHand, Gitea, "https://u:p@e.org", TOKEN), &["api_base"]),
        (request(ByHand, Gitea, "https://e.org/api/v1", ""), &["token"]),
        (request(ByHand, Gitea, "https://e.org/api/v1", "two words"), &["token"]),
        (SetCommitStatusesRequest { host: 99, ..request(ByHand, Gitea, "https://e.org", TOKEN) }, &["host"]),
    ] {
        let refused = set(&service, &key, wrong.clone()).await.expect_err(&format!("{wrong:?}"));
        let error = from_status(&refused, Reason::Internal);
        let named: Vec<_> = error.violations.iter().map(|violation| violation.field.as_str()).collect();
        assert_eq!(named, fields, "{wrong:?}: {refused:?}");
        assert!(!format!("{refused:?}").contains(TOKEN), "a refusal repeats a token");
    }
}

#[tokio::test]
async fn a_setting_is_answered_as_it_is_read_and_without_its_token() {
    let service = Service::start().await;
    let key = format!("Bearer {}", service.key(&service.team, &[Scope::Read, Scope::Write]).await);
    let repository = "https://git.example.org/team/site.git";
    let project = new_project(&service.app, &service.team, "harbour", repository).await.to_string();
    let answered = set(
        &service,
        &key,
        SetCommitStatusesRequest {
            project: project.clone(),
            mode: CommitStatusMode::ByHand.into(),
            host: GitHost::Gitlab.into(),
            api_base: "https://git.example.org/api/v4/".into(),
            token: TOKEN.into(),
        },
    );
    let answered = answered.await.unwrap();
    let path = "/grapnel.hooks.v1.StatusService/GetCommitStatuses";
    let read = service.call(path, Some(&key), &GetCommitStatusesRequest { project }.encode_to_vec()).await;
    let read = GetCommitStatusesResponse::decode(read.unwrap()).unwrap().commit_statuses.unwrap();
    assert_eq!(answered, read);
    let expected = CommitStatuses {
        mode: CommitStatusMode::ByHand.into(),
        host: GitHost::Gitlab.into(),
        api_base: "https://git.example.org/api/v4".into(),
        repository: "team/site".into(),
        token_source: StatusTokenSource::Given.into(),
        token_last_four: "ter2".into(),
        silent_because: String::new(),
    };
    assert_eq!(read, expected);
}
