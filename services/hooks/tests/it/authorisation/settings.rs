//! Settings of a project that take more than to change it.

use grapnel_domain::scope::Scope;
use grapnel_proto::hooks::v1::*;
use prost::Message;
use prost_types::FieldMask;
use tonic::Code;

use super::{Things, bearer, full};
use crate::support::Service;

#[tokio::test]
async fn root_in_the_sandbox_is_for_an_admin_to_allow() {
    let service = Service::start().await;
    let things = Things::of(&service).await;
    let root = || Some(BuildSettings { run_as_root: true, ..Default::default() });
    let create = CreateProjectRequest {
        name: "root".into(),
        repository_url: "https://example.org/x.git".into(),
        settings: root(),
        ..Default::default()
    };
    let update = UpdateProjectRequest {
        project: things.project.clone(),
        changes: Some(ProjectChanges { settings: root(), ..Default::default() }),
        update_mask: Some(FieldMask { paths: vec!["settings.run_as_root".into()] }),
    };
    let calls = [
        ("HookService/UpdateProject", update.encode_to_vec()),
        ("HookService/CreateProject", create.encode_to_vec()),
    ];
    for (scope, expected) in [(Scope::Write, Code::PermissionDenied), (Scope::Admin, Code::Ok)] {
        let key = bearer(&service.key(&service.team, &[scope]).await);
        for (path, request) in &calls {
            let answer = service.call(&full(path), Some(&key), request).await;
            assert_eq!(answer.map_or_else(|status| status.code(), |_| Code::Ok), expected, "{path} {scope}");
        }
    }
}
