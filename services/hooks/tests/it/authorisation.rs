//! Who may do what: every method of every service, as the contracts list them.

mod addresses;
mod endpoints;
mod scopes;
mod sessions;
mod settings;
mod sources;

use grapnel_domain::{
    Reason, SecretText,
    id::KeyId,
    scope::Scope,
    secret_token::{ApiKey, SessionSecret},
};
use grapnel_hooks::app::{NewCredential, NewEndpoint, NewHook, NewSecret};
use grapnel_proto::{DESCRIPTORS, error::from_status, hooks::v1::*};
use prost::Message;
use prost_reflect::DescriptorPool;
use prost_types::FieldMask;
use sessions::of_sessions;
use tonic::{Code, Status};

use crate::support::Service;

/// What a caller needs for a method.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Needs {
    /// A team's key with this scope.
    Scope(Scope),
    /// A team's key with scope `deploy`, or a gateway.
    Trigger,
    /// A gateway.
    Gateway,
    /// Any team's key, and no session.
    Key,
    /// Any team's session, and no key.
    Session,
    /// Any team's key or session.
    Anybody,
}

use Needs::{Anybody, Gateway, Key, Session, Trigger};

const READ: Needs = Needs::Scope(Scope::Read);
const WRITE: Needs = Needs::Scope(Scope::Write);
const DEPLOY: Needs = Needs::Scope(Scope::Deploy);
const ADMIN: Needs = Needs::Scope(Scope::Admin);

/// One method: a request that works, and what a stranger with every right in another team gets for it.
struct Method {
    path: &'static str,
    needs: Needs,
    request: Vec<u8>,
    stranger: Code,
}

/// What the first team has.
#[derive(Clone)]
struct Things {
    project: String,
    hook: String,
    deployment: String,
    ready: String,
    key: KeyId,
    credential: String,
    endpoint: String,
    event: String,
}

impl Things {
    async fn of(service: &Service) -> Self {
        let ready = Self::ready(service).await;
        let Service { app, team, project, .. } = service;
        let new = NewHook::named("cms".parse().unwrap());
        let hook = app.create_hook(team.id, project, new).await.unwrap().hook;
        let deployment = app.trigger_deployment(team.id, project, None, true).await.unwrap();
        let (key, _) =
            app.create_key(team.id, "old".into(), [Scope::Read].into_iter().collect()).await.unwrap();
        let new = NewCredential {
            project: Some(project.clone()),
            origin: None,
            secret: NewSecret::Token { user: "git".into(), token: SecretText::new("hunter2hunter2") },
            in_clear: false,
        };
        let credential = app.create_credential(team.id, new).await.unwrap().id.to_string();
        let new = NewEndpoint {
            project: Some(project.clone()),
            url: "https://example.org/events".parse().unwrap(),
            types: Vec::new(),
            description: String::new(),
            secret: None,
        };
        let endpoint = app.create_endpoint(team.id, new).await.unwrap().endpoint;
        let event = app.send_test_event(team.id, endpoint.id).await.unwrap();
        Self {
            endpoint: endpoint.id.to_string(),
            event: event.id.to_string(),
            credential,
            project: hook.project_id.to_string(),
            hook: hook.id.to_string(),
            deployment: deployment.id.to_string(),
            ready,
            key: key.id,
        }
    }

    /// Lists every method, those that destroy last.
    fn methods(&self) -> Vec<Method> {
        let Self { project, hook, deployment, .. } = self;
        let (project, hook, deployment) = (|| project.clone(), || hook.clone(), || deployment.clone());
        let mask = |path: &str| Some(FieldMask { paths: vec![path.to_owned()] });
        let method = |path, needs, request: Vec<u8>, stranger| Method { path, needs, request, stranger };
        let new_project = CreateProjectRequest {
            name: "another".into(),
            repository_url: "https://example.org/x.git".into(),
            ..Default::default()
        };
        let change_project = UpdateProjectRequest {
            project: project(),
            changes: Some(ProjectChanges { production_branch: "next".into(), ..Default::default() }),
            update_mask: mask("production_branch"),
        };
        let change_hook = UpdateHookRequest {
            hook_id: hook(),
            changes: Some(HookChanges { paused: false, ..Default::default() }),
            update_mask: mask("paused"),
        };
        let new_hook = CreateHookRequest { project: project(), name: "second".into(), ..Default::default() };
        let trigger = TriggerHookRequest {
            target: Some(trigger_hook_request::Target::HookId(hook())),
            ..Default::default()
        };
        let deploy = TriggerDeploymentRequest { project: project(), ..Default::default() };
        let new_key = CreateKeyRequest { name: "new".into(), scopes: vec!["read".into()] };
        let revoke_key = RevokeKeyRequest { key_id: self.key.to_string() };
        let list_deployments = ListDeploymentsRequest { project: project(), ..Default::default() };
        let list_hooks = ListHooksRequest { project: project(), ..Default::default() };
        let list_triggers = ListTriggersRequest { project: project(), ..Default::default() };
        let status = ReadStatusRequest { deployment_id: deployment(), ..Default::default() };
        let watch =
            WatchDeploymentRequest { deployment_id: deployment(), after_position: 0, ..Default::default() };
        let watch_all = WatchDeploymentsRequest { project: project() };
        let site = ResolveSiteRequest { label: "site".into() };
        let none = Code::NotFound;
        let mut methods = self.of_endpoints();
        methods.extend(self.of_sources());
        methods.extend([
            method("HookService/CreateProject", WRITE, new_project.encode_to_vec(), Code::AlreadyExists),
            method(
                "HookService/GetProject",
                READ,
                GetProjectRequest { project: project() }.encode_to_vec(),
                none,
            ),
            method(
                "HookService/ListProjects",
                READ,
                ListProjectsRequest::default().encode_to_vec(),
                Code::Ok,
            ),
            method("HookService/UpdateProject", WRITE, change_project.encode_to_vec(), none),
            method("HookService/CreateHook", WRITE, new_hook.encode_to_vec(), none),
            method("HookService/GetHook", READ, GetHookRequest { hook_id: hook() }.encode_to_vec(), none),
            method("HookService/ListHooks", READ, list_hooks.encode_to_vec(), none),
            method("HookService/UpdateHook", WRITE, change_hook.encode_to_vec(), none),
            method(
                "HookService/RotateHookToken",
                WRITE,
                RotateHookTokenRequest { hook_id: hook(), grace_seconds: None, ..Default::default() }
                    .encode_to_vec(),
                none,
            ),
            method(
                "HookService/GetLimits",
                READ,
                GetLimitsRequest { project: project() }.encode_to_vec(),
                none,
            ),
            method("HookService/TriggerHook", Trigger, trigger.encode_to_vec(), none),
            method("HookService/ListTriggers", READ, list_triggers.encode_to_vec(), none),
            method("HookService/TriggerDeployment", DEPLOY, deploy.encode_to_vec(), none),
            method(
                "HookService/GetDeployment",
                READ,
                GetDeploymentRequest { deployment_id: deployment() }.encode_to_vec(),
                none,
            ),
            method("HookService/ListDeployments", READ, list_deployments.encode_to_vec(), none),
            method("HookService/WatchDeployment", READ, watch.encode_to_vec(), none),
            method("HookService/WatchDeployments", READ, watch_all.encode_to_vec(), none),
            method(
                "HookService/CancelDeployment",
                DEPLOY,
                CancelDeploymentRequest { deployment_id: deployment() }.encode_to_vec(),
                none,
            ),
        ]);
        methods.extend(self.of_addresses());
        methods.extend([
            method(
                "HookService/ListCaches",
                READ,
                ListCachesRequest { project: project() }.encode_to_vec(),
                none,
            ),
            method(
                "HookService/PurgeCache",
                WRITE,
                PurgeCacheRequest { project: project(), branch: String::new() }.encode_to_vec(),
                none,
            ),
            method("KeyService/CreateKey", ADMIN, new_key.encode_to_vec(), Code::Ok),
            method("KeyService/ListKeys", ADMIN, ListKeysRequest::default().encode_to_vec(), Code::Ok),
            method("KeyService/RevokeKey", ADMIN, revoke_key.encode_to_vec(), none),
            method("SiteService/ReadStatus", Gateway, status.encode_to_vec(), Code::PermissionDenied),
            method("SiteService/ResolveSite", Gateway, site.encode_to_vec(), Code::PermissionDenied),
            method(
                "HookService/RevokeHook",
                WRITE,
                RevokeHookRequest { hook_id: hook() }.encode_to_vec(),
                none,
            ),
            method(
                "HookService/DeleteProject",
                WRITE,
                DeleteProjectRequest { project: project() }.encode_to_vec(),
                none,
            ),
        ]);
        // Last: one session may stand for all calls.
        methods.extend(of_sessions());
        methods
    }

    fn ids(&self) -> [String; 8] {
        let Self { project, hook, deployment, ready, key, credential, endpoint, event } = self.clone();
        [project, hook, deployment, ready, key.to_string(), credential, endpoint, event]
    }
}

fn full(path: &str) -> String {
    format!("/grapnel.hooks.v1.{path}")
}

fn bearer(key: &str) -> String {
    format!("Bearer {key}")
}

#[tokio::test]
async fn the_table_lists_every_method_of_the_contracts() {
    let service = Service::start().await;
    let listed: Vec<_> = Things::of(&service).await.methods().iter().map(|it| full(it.path)).collect();
    let pool = DescriptorPool::decode(DESCRIPTORS).unwrap();
    for contract in pool.services().filter(|it| it.package_name() == "grapnel.hooks.v1") {
        for method in contract.methods() {
            let path = format!("/{}/{}", contract.full_name(), method.name());
            assert!(listed.contains(&path), "nobody says who may call {path}");
        }
    }
}

#[tokio::test]
async fn nobody_without_a_good_key_may_do_anything() {
    let service = Service::start().await;
    let things = Things::of(&service).await;
    let revoked = {
        let scopes = [Scope::Admin].into_iter().collect();
        let (key, secret) = service.app.create_key(service.team.id, "gone".into(), scopes).await.unwrap();
        service.key(&service.team, &[Scope::Admin]).await;
        service.app.revoke_key(service.team.id, key.id).await.unwrap();
        secret.expose().to_owned()
    };
    let unknown = ApiKey::generate(&mut rand::rng()).expose().to_owned();
    let good = service.key(&service.team, &[Scope::Admin]).await;
    let unknown_session = SessionSecret::generate(&mut rand::rng()).expose().to_owned();
    let signed_out = service.session(&good).await;
    service.call(&full("SessionService/DeleteSession"), Some(&bearer(&signed_out)), &[]).await.unwrap();
    for method in things.methods() {
        for (shown, reason) in [
            (None, Reason::KeyMissing),
            (Some(format!("Basic {good}")), Reason::KeyMissing),
            (Some(bearer("")), Reason::KeyInvalid),
            (Some(bearer("gra_nonsense")), Reason::KeyInvalid),
            (Some(bearer(&good[..good.len() - 1])), Reason::KeyInvalid),
            (Some(bearer(&format!("{good} {good}"))), Reason::KeyInvalid),
            (Some(bearer(&unknown)), Reason::KeyInvalid),
            (Some(bearer(&revoked)), Reason::KeyInvalid),
            (Some(bearer("grs_nonsense")), Reason::KeyInvalid),
            (Some(bearer(&good.replacen("gra_", "grs_", 1))), Reason::KeyInvalid),
            (Some(bearer(&unknown_session)), Reason::KeyInvalid),
            (Some(bearer(&signed_out)), Reason::KeyInvalid),
        ] {
            let refused = service.call(&full(method.path), shown.as_deref(), &method.request).await;
            let refused = refused.expect_err(method.path);
            assert_eq!(refused.code(), Code::Unauthenticated, "{}", method.path);
            let error = from_status(&refused, Reason::Internal);
            assert_eq!(error.reason, reason, "{} {shown:?}", method.path);
            assert!(!format!("{refused:?}").contains(&good[4..20]), "{}: a key is repeated", method.path);
        }
    }
}

#[tokio::test]
async fn what_another_team_has_is_not_there() {
    let service = Service::start().await;
    let things = Things::of(&service).await;
    let stranger = service.other_team().await;
    let key = bearer(&service.key(&stranger, &[Scope::Admin]).await);
    // A name is the installation's: it stands in the addresses of sites.
    let taken = CreateProjectRequest {
        name: "site".into(),
        repository_url: "https://example.org/x.git".into(),
        ..Default::default()
    };
    for mut method in things.methods() {
        if method.path.ends_with("CreateProject") {
            method.request = taken.encode_to_vec();
        }
        let answer = service.call(&full(method.path), Some(&key), &method.request).await;
        let code = answer.as_ref().map_or_else(Status::code, |_| Code::Ok);
        assert_eq!(code, method.stranger, "{}", method.path);
        let told = answer
            .map_or_else(|status| format!("{status:?}"), |bytes| String::from_utf8_lossy(&bytes).into());
        for id in things.ids() {
            assert!(!told.contains(&id), "{} tells a stranger of {id}", method.path);
        }
    }
    let Service { app, team, project, .. } = &service;
    let deployment = things.deployment.parse().unwrap();
    assert!(app.deployment(team.id, deployment).await.unwrap().cancel_requested.is_none());
    assert_eq!(app.limits(team.id, project).await.unwrap().2, 1, "the hook is still there");
}

#[tokio::test]
async fn ids_that_are_none_name_nothing_and_break_nothing() {
    let service = Service::start().await;
    let things = Things::of(&service).await;
    let key = bearer(&service.key(&service.team, &[Scope::Admin]).await);
    let long = "x".repeat(900_000);
    let texts = [
        "",
        "0",
        "'; DROP TABLE deployment; --",
        "a\0b",
        "../../x",
        "hook_00000000000000000000000000",
        "prj_zzzzzzzzzzzzzzzzzzzzzzzzzz",
        &things.project.to_uppercase(),
        "\u{202e}",
        &long,
    ];
    let others = things.ids().into_iter().filter(|id| *id != things.ready);
    for text in texts.iter().map(|&text| text.to_owned()).chain(others) {
        let wrong_type = |own: &str| if text == own { "-".to_owned() } else { text.clone() };
        let (hook, deployment) = (wrong_type(&things.hook), wrong_type(&things.deployment));
        let (project, id) = (wrong_type(&things.project), wrong_type(&things.key.to_string()));
        for (path, request) in [
            ("HookService/GetProject", GetProjectRequest { project: project.clone() }.encode_to_vec()),
            (
                "HookService/ListHooks",
                ListHooksRequest { project: project.clone(), ..Default::default() }.encode_to_vec(),
            ),
            (
                "HookService/WatchDeployments",
                WatchDeploymentsRequest {
                    project: if project.is_empty() { "-".into() } else { project.clone() },
                }
                .encode_to_vec(),
            ),
            ("HookService/GetHook", GetHookRequest { hook_id: hook.clone() }.encode_to_vec()),
            ("HookService/RevokeHook", RevokeHookRequest { hook_id: hook }.encode_to_vec()),
            (
                "HookService/GetDeployment",
                GetDeploymentRequest { deployment_id: deployment.clone() }.encode_to_vec(),
            ),
            (
                "HookService/WatchDeployment",
                WatchDeploymentRequest {
                    deployment_id: deployment,
                    after_position: u64::MAX,
                    ..Default::default()
                }
                .encode_to_vec(),
            ),
            ("KeyService/RevokeKey", RevokeKeyRequest { key_id: id }.encode_to_vec()),
            (
                "EndpointService/GetEndpoint",
                GetEndpointRequest { endpoint_id: wrong_type(&things.endpoint) }.encode_to_vec(),
            ),
            (
                "EndpointService/RedeliverEvent",
                RedeliverEventRequest { event_id: wrong_type(&things.event) }.encode_to_vec(),
            ),
        ] {
            let refused = service.call(&full(path), Some(&key), &request).await.expect_err(path);
            let expected = [Code::NotFound, Code::InvalidArgument];
            assert!(
                expected.contains(&refused.code()),
                "{path} {:?}: {refused:?}",
                &text[..text.len().min(40)]
            );
        }
    }
}

#[tokio::test]
async fn forged_page_tokens_and_those_of_other_lists_are_refused() {
    let service = Service::start().await;
    let things = Things::of(&service).await;
    let key = bearer(&service.key(&service.team, &[Scope::Admin]).await);
    let ask = async |path: &str, request: Vec<u8>| service.call(&full(path), Some(&key), &request).await;
    let keys =
        ask("KeyService/ListKeys", ListKeysRequest { page_size: 1, ..Default::default() }.encode_to_vec())
            .await;
    let other = ListKeysResponse::decode(keys.unwrap()).unwrap().next_page_token;
    assert!(!other.is_empty());
    for token in [other.as_str(), "AAAA", "%%%", &"A".repeat(100_000), "\0"] {
        let page_token = || token.to_owned();
        let project = || things.project.clone();
        for (path, request) in [
            (
                "HookService/ListProjects",
                ListProjectsRequest { page_token: page_token(), ..Default::default() }.encode_to_vec(),
            ),
            (
                "HookService/ListHooks",
                ListHooksRequest { project: project(), page_token: page_token(), ..Default::default() }
                    .encode_to_vec(),
            ),
            (
                "HookService/ListDeployments",
                ListDeploymentsRequest { project: project(), page_token: page_token(), ..Default::default() }
                    .encode_to_vec(),
            ),
        ] {
            let refused = ask(path, request).await.expect_err(path);
            assert_eq!(from_status(&refused, Reason::Internal).reason, Reason::InvalidPageToken, "{path}");
        }
    }
}

#[tokio::test]
async fn messages_that_are_too_large_torn_or_of_a_later_release_do_no_harm() {
    let service = Service::start().await;
    let things = Things::of(&service).await;
    let key = bearer(&service.key(&service.team, &[Scope::Admin]).await);
    let ask = async |path: &str, request: &[u8]| service.call(&full(path), Some(&key), request).await;
    let huge = GetProjectRequest { project: "x".repeat(2 << 20) }.encode_to_vec();
    let refused = ask("HookService/GetProject", &huge).await.unwrap_err();
    assert!(matches!(refused.code(), Code::OutOfRange | Code::ResourceExhausted), "{refused:?}");
    let torn = ask("HookService/GetProject", &[0x0a, 0xff]).await.unwrap_err();
    assert!(matches!(torn.code(), Code::Internal | Code::InvalidArgument), "{torn:?}");
    let state = ListDeploymentsRequest { project: things.project.clone(), state: 99, ..Default::default() };
    let refused = ask("HookService/ListDeployments", &state.encode_to_vec()).await.unwrap_err();
    assert_eq!(from_status(&refused, Reason::Internal).violations[0].field, "state");
    // A field that this release does not know.
    let mut later = GetProjectRequest { project: things.project.clone() }.encode_to_vec();
    later.extend([0xfa, 0x3e, 0x01, 0x78]);
    ask("HookService/GetProject", &later).await.unwrap();
    let nothing = ask("HookService/TriggerHook", &[]).await.unwrap_err();
    assert_eq!(from_status(&nothing, Reason::Internal).violations[0].field, "target");
    ask("HookService/GetProject", &GetProjectRequest { project: things.project }.encode_to_vec())
        .await
        .unwrap();
}

#[tokio::test]
async fn health_and_reflection_need_no_key_and_show_the_public_services_only() {
    let service = Service::start().await;
    service.call("/grpc.health.v1.Health/Check", None, &[]).await.unwrap();
    // ServerReflectionRequest { list_services: "" }, field 7.
    let listed = service
        .call("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", None, &[0x3a, 0x00])
        .await
        .unwrap();
    let listed = String::from_utf8_lossy(&listed).into_owned();
    for name in ["EndpointService", "HookService", "KeyService", "SessionService"] {
        assert!(listed.contains(&format!("grapnel.hooks.v1.{name}")), "{name}");
    }
    assert!(!listed.contains("SiteService") && !listed.contains("ExecutorService"), "{listed}");
}
