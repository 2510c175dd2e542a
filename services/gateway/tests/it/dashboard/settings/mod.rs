//! The settings pages.

mod attacks;
mod hooks;
mod keys;
mod sections;

use grapnel_proto::hooks::v1::*;
use prost_types::Timestamp;

use super::project;
use crate::support::{FakeHooks, Page};

/// Every form of the settings, and of the keys.
const FORMS: [&str; 31] = [
    "/projects/site/settings/general",
    "/projects/site/settings/general/build",
    "/projects/site/settings/general/delete",
    "/projects/site/settings/hooks/new",
    "/projects/site/settings/hooks/hook_1",
    "/projects/site/settings/hooks/hook_1/pause",
    "/projects/site/settings/hooks/hook_1/resume",
    "/projects/site/settings/hooks/hook_1/rotate",
    "/projects/site/settings/hooks/hook_1/revoke",
    "/projects/site/settings/variables",
    "/projects/site/settings/variables/delete",
    "/projects/site/settings/credentials/token",
    "/projects/site/settings/credentials/ssh-key",
    "/projects/site/settings/credentials/delete",
    "/projects/site/settings/credentials/scan",
    "/projects/site/settings/credentials/trust",
    "/projects/site/settings/credentials/distrust",
    "/projects/site/settings/endpoints",
    "/projects/site/settings/endpoints/ep_1/enable",
    "/projects/site/settings/endpoints/ep_1/disable",
    "/projects/site/settings/endpoints/ep_1/rotate",
    "/projects/site/settings/endpoints/ep_1/test",
    "/projects/site/settings/endpoints/ep_1/delete",
    "/projects/site/settings/endpoints/ep_1/redeliver",
    "/projects/site/settings/caches/purge",
    "/projects/site/settings/commit-statuses",
    "/keys",
    "/keys/revoke",
    // Not the settings', but on each page.
    "/logout",
    "/projects/new",
    "/projects/new/create",
];

/// Every page of the settings, and the keys.
const PAGES: [&str; 13] = [
    "/projects/site/settings/general",
    "/projects/site/settings/hooks",
    "/projects/site/settings/hooks/new",
    "/projects/site/settings/hooks/hook_1",
    "/projects/site/settings/triggers",
    "/projects/site/settings/variables",
    "/projects/site/settings/credentials",
    "/projects/site/settings/endpoints",
    "/projects/site/settings/endpoints/ep_1",
    "/projects/site/settings/addresses",
    "/projects/site/settings/caches",
    "/projects/site/settings/commit-statuses",
    "/keys",
];

fn at(seconds: i64) -> Option<Timestamp> {
    Some(Timestamp { seconds: 1_767_225_600 + seconds, nanos: 0 })
}

fn hook(name: &str) -> Hook {
    let token = |id: &str, last_four: &str| HookToken {
        id: id.into(),
        last_four: last_four.into(),
        created_at: at(0),
        ..Default::default()
    };
    let old =
        HookToken { expires_at: at(86_400), use_count: 7, last_used_at: at(60), ..token("tok_old", "oLd9") };
    Hook {
        id: "hook_1".into(),
        project_id: "prj_site".into(),
        name: name.into(),
        branch: "main".into(),
        build_cache: true,
        tokens: vec![token("tok_new", "nEw1"), old],
        created_at: at(0),
        methods: vec!["POST".into()],
        last_triggered_at: at(60),
        trigger_count: 12,
        ..Default::default()
    }
}

/// Lets the team have one of everything. What somebody has named is called `word`.
fn have_everything(hooks: &FakeHooks, word: &'static str) {
    have_project(hooks, word);
    have_what_is_beside_hooks(hooks, word);
}

fn have_project(hooks: &FakeHooks, word: &'static str) {
    hooks.answer("HookService/GetProject", move |_: GetProjectRequest| {
        let mut project = project("site");
        project.production_branch = word.into();
        project.repository_url = word.into();
        let text = || Some(word.to_owned());
        project.settings = Some(BuildSettings {
            root_directory: text(),
            install_command: text(),
            build_command: text(),
            cached_paths: Some(CachedPaths { paths: vec![word.into()] }),
            ..Default::default()
        });
        Ok(GetProjectResponse { project: Some(project) })
    });
    let named = move || Hook { branch: word.into(), ..hook(word) };
    hooks.answer("HookService/ListHooks", move |_: ListHooksRequest| {
        Ok(ListHooksResponse { hooks: vec![named()], ..Default::default() })
    });
    hooks.answer("HookService/GetHook", move |_: GetHookRequest| Ok(GetHookResponse { hook: Some(named()) }));
    limits(hooks, 3);
    hooks.answer("RepositoryService/InspectRepository", move |_: InspectRepositoryRequest| {
        let branch = |name: &str| Branch { name: name.into(), ..Default::default() };
        Ok(InspectRepositoryResponse {
            branches: vec![branch("preview"), branch(word)],
            ..Default::default()
        })
    });
    hooks.answer("HookService/ListTriggers", move |_: ListTriggersRequest| {
        let trigger = Trigger {
            id: "trg_1".into(),
            at: at(0),
            hook_id: "hook_1".into(),
            method: word.into(),
            client_address: word.into(),
            user_agent: word.into(),
            body_bytes: 2_048,
            title: word.into(),
            decision: TriggerDecision::Refused.into(),
            reason: word.into(),
            ..Default::default()
        };
        Ok(ListTriggersResponse { triggers: vec![trigger], next_page_token: "more".into() })
    });
}

fn limits(hooks: &FakeHooks, used: u32) {
    hooks.answer("HookService/GetLimits", move |_: GetLimitsRequest| {
        Ok(GetLimitsResponse { plan: "hobby".into(), hooks_limit: 5, hooks_used: used })
    });
}

fn have_what_is_beside_hooks(hooks: &FakeHooks, word: &'static str) {
    hooks.answer("VariableService/ListVariables", move |_: ListVariablesRequest| {
        let plain =
            Variable { name: word.into(), value: word.into(), branches: word.into(), ..Default::default() };
        let secret = Variable { name: "TOKEN".into(), secret: true, ..Default::default() };
        Ok(ListVariablesResponse { variables: vec![plain, secret] })
    });
    hooks.answer("CredentialService/ListCredentials", move |_: ListCredentialsRequest| {
        let credential = Credential {
            id: "cred_1".into(),
            origin: word.into(),
            user: word.into(),
            last_four: word.into(),
            public_key: word.into(),
            fingerprint: word.into(),
            ..Default::default()
        };
        Ok(ListCredentialsResponse { credentials: vec![credential] })
    });
    hooks.answer("CredentialService/ListTrustedHosts", move |_: ListTrustedHostsRequest| {
        let host =
            KnownHost { host: word.into(), port: 2_222, keys: vec![host_key(word)], ..Default::default() };
        Ok(ListTrustedHostsResponse { hosts: vec![host] })
    });
    let endpoint = move || Endpoint {
        id: "ep_1".into(),
        project_id: "prj_site".into(),
        url: word.into(),
        types: vec![word.into()],
        description: word.into(),
        secrets: vec![EndpointSecret { last_four: "sEc4".into(), ..Default::default() }],
        ..Default::default()
    };
    hooks.answer("EndpointService/ListEndpoints", move |_: ListEndpointsRequest| {
        Ok(ListEndpointsResponse { endpoints: vec![endpoint()], ..Default::default() })
    });
    hooks.answer("EndpointService/GetEndpoint", move |_: GetEndpointRequest| {
        Ok(GetEndpointResponse { endpoint: Some(endpoint()) })
    });
    hooks.answer("EndpointService/ListEvents", move |_: ListEventsRequest| {
        let event =
            Event { id: "evt_1".into(), r#type: word.into(), body: word.into(), ..Default::default() };
        Ok(ListEventsResponse { events: vec![event], ..Default::default() })
    });
    hooks.answer("EndpointService/ListDeliveries", move |_: ListDeliveriesRequest| {
        let delivery = Delivery { error: word.into(), answer: word.into(), ..Default::default() };
        Ok(ListDeliveriesResponse { deliveries: vec![delivery], ..Default::default() })
    });
    hooks.answer("AddressService/ListAddresses", move |_: ListAddressesRequest| {
        let address = Address { branch: word.into(), url: word.into(), held: true, ..Default::default() };
        Ok(ListAddressesResponse { addresses: vec![address], ..Default::default() })
    });
    hooks.answer("HookService/ListCaches", move |_: ListCachesRequest| {
        let cache = BuildCache {
            branch: word.into(),
            executor: word.into(),
            builder_image: word.into(),
            ..Default::default()
        };
        Ok(ListCachesResponse { caches: vec![cache] })
    });
    hooks.answer("StatusService/GetCommitStatuses", move |_: GetCommitStatusesRequest| {
        let statuses = CommitStatuses {
            silent_because: word.into(),
            api_base: word.into(),
            repository: word.into(),
            ..Default::default()
        };
        Ok(GetCommitStatusesResponse { commit_statuses: Some(statuses) })
    });
    hooks.answer("KeyService/ListKeys", move |_: ListKeysRequest| {
        let key = Key {
            id: "key_1".into(),
            name: word.into(),
            scopes: vec!["read".into()],
            last_four: "kEy4".into(),
            ..Default::default()
        };
        Ok(ListKeysResponse { keys: vec![key], ..Default::default() })
    });
}

fn host_key(word: &str) -> HostKey {
    HostKey { algorithm: "ssh-ed25519".into(), key: "AAAA".into(), fingerprint: word.into() }
}

/// What somebody has named is text in a page, and each of its links leads to us or to the web.
fn is_harmless(page: &Page) {
    assert!(!page.text.contains("<img") && !page.text.contains("<script>"), "{}", page.text);
    assert_eq!(page.texts("title").len(), 1);
    for address in page.attributes("a", "href") {
        assert!(
            address.starts_with('/') || address.starts_with('#') || address.starts_with("http"),
            "{address}"
        );
    }
}
