//! Watchers and updates over gRPC.

use std::{sync::Arc, time::Duration};

use grapnel_domain::{
    Reason,
    event::{BuildEvent, LogLine, Outcome, Step, Stream},
    id::DeploymentId,
    scope::Scope,
    secret_token::ApiKey,
};
use grapnel_hooks::{
    model::StoredEvent,
    store::{Claim, Claimed},
};
use grapnel_proto::{
    error::from_status,
    hooks::v1::{deployment_event::Event, hook_service_client::HookServiceClient, *},
};
use grapnel_runtime::grpc::Bearer;
use prost_types::FieldMask;
use tonic::{Status, codegen::InterceptedService, transport::Channel};

use crate::support::Service;

type Client = HookServiceClient<InterceptedService<Channel, Bearer>>;

const OWNER: &str = "watched";
const LEASE: Duration = Duration::from_secs(30);

async fn client(service: &Service) -> Client {
    let key = ApiKey::parse(&service.key(&service.team, &[Scope::Admin]).await).unwrap();
    HookServiceClient::with_interceptor(service.channel(), Bearer::new(&key))
}

/// A deployment that is being built by the test.
struct Building<'a> {
    service: &'a Service,
    claimed: Claimed,
    told: u64,
}

impl<'a> Building<'a> {
    async fn start(service: &'a Service) -> Self {
        let (app, now) = (&service.app, service.app.clock.now());
        app.trigger_deployment(service.team.id, &service.project, None, true).await.unwrap();
        let pending = app.store.claim(Claim::Pending, OWNER, LEASE, 1, now).await.unwrap();
        app.store.resolved(pending[0].deployment.id, OWNER, &"0".repeat(40), "", now).await.unwrap();
        let claimed = app.store.claim(Claim::Queued, OWNER, LEASE, 1, now).await.unwrap().remove(0);
        app.store.started(claimed.spec.id, OWNER, now).await.unwrap();
        Self { service, claimed, told: 0 }
    }

    fn id(&self) -> DeploymentId {
        self.claimed.deployment.id
    }

    async fn print(&mut self, lines: u64) {
        let now = self.service.app.clock.now();
        let events = (self.told + 1..=self.told + lines).map(|sequence| {
            let line = LogLine { stream: Stream::Stdout, at: now, text: sequence.to_string() };
            (sequence, BuildEvent::Log { step: Step::Build, lines: vec![line] })
        });
        let store = &self.service.app.store;
        store.append_build_events(self.claimed.spec.id, OWNER, events.collect(), now).await.unwrap();
        self.told += lines;
    }

    async fn finish(&self) {
        let now = self.service.app.clock.now();
        let ready = Outcome::Ready { files: 1, bytes: 1 };
        self.service.app.store.finished(self.claimed.spec.id, OWNER, ready, now).await.unwrap();
    }
}

/// Watches to the end and returns the positions and the printed lines.
async fn watch(
    mut client: Client,
    id: DeploymentId,
    after_position: u64,
) -> Result<(Vec<u64>, Vec<String>), Status> {
    let request =
        WatchDeploymentRequest { deployment_id: id.to_string(), after_position, ..Default::default() };
    let mut stream = client.watch_deployment(request).await?.into_inner();
    let (mut positions, mut lines) = (Vec::new(), Vec::new());
    while let Some(message) = stream.message().await? {
        let event = message.event.unwrap();
        positions.push(event.position);
        if let Some(Event::Log(log)) = event.event {
            lines.extend(log.lines.into_iter().map(|line| line.text));
        }
    }
    Ok((positions, lines))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn watchers_that_come_at_any_time_are_told_everything_once_and_in_order() {
    let service = Service::start().await;
    let mut building = Building::start(&service).await;
    let client = client(&service).await;
    let mut watchers = Vec::new();
    for round in 0..20 {
        watchers.push(tokio::spawn(watch(client.clone(), building.id(), 0)));
        building.print(1 + round * 13).await;
    }
    building.finish().await;
    watchers.push(tokio::spawn(watch(client.clone(), building.id(), 0)));
    let lines: Vec<_> = (1..=building.told).map(|n| n.to_string()).collect();
    // PENDING, QUEUED and BUILDING before the lines, READY after them.
    let positions: Vec<_> = (1..=building.told + 4).collect();
    for watcher in watchers {
        let (seen, printed) = watcher.await.unwrap().unwrap();
        assert_eq!((seen, printed), (positions.clone(), lines.clone()));
    }
    let (rest, _) = watch(client.clone(), building.id(), building.told).await.unwrap();
    assert_eq!(rest, positions[positions.len() - 4..], "who comes back is told the rest");
    let (beyond, _) = watch(client, building.id(), u64::MAX).await.unwrap();
    assert!(beyond.is_empty(), "and nothing when there is none");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watcher_that_never_reads_holds_nobody_up_and_one_that_leaves_is_forgotten() {
    let service = Service::start().await;
    let mut building = Building::start(&service).await;
    let mut client = client(&service).await;
    let request = || WatchDeploymentRequest {
        deployment_id: building.id().to_string(),
        after_position: 0,
        ..Default::default()
    };
    let mut idle = Vec::new();
    for _ in 0..50 {
        idle.push(client.watch_deployment(request()).await.unwrap());
    }
    drop(idle.split_off(25));
    for _ in 0..20 {
        building.print(200).await;
    }
    let reading = tokio::spawn(watch(client, building.id(), 0));
    building.finish().await;
    let (_, lines) = tokio::time::timeout(Duration::from_secs(20), reading).await.unwrap().unwrap().unwrap();
    assert_eq!(lines.len(), 4_000);
}

#[tokio::test]
async fn those_who_have_come_equally_far_read_together() {
    let service = Service::start().await;
    let mut building = Building::start(&service).await;
    // Behind PENDING, QUEUED and BUILDING, and more than is read at once.
    building.print(150).await;
    let history = service.app.store.history(building.id());
    let bell = history.bell();
    let after = async |position: u64| {
        let rung = *bell.borrow();
        history.after(position, rung).await.unwrap()
    };
    let (one, other) = tokio::join!(after(0), after(0));
    let positions: Vec<_> = one.events.iter().map(|event| event.position).collect();
    assert_eq!(positions, (1..=100).collect::<Vec<_>>());
    let same = |ones: &[Arc<StoredEvent>], others: &[Arc<StoredEvent>]| {
        ones.len() == others.len() && ones.iter().zip(others).all(|(one, other)| Arc::ptr_eq(one, other))
    };
    assert!(same(&one.events, &other.events), "they were read once");
    assert!(same(&after(40).await.events, &one.events[40..]), "and who comes a little later finds them");
    assert_eq!(after(100).await.events.len(), 53, "what was not read yet is");
    let nothing = after(153).await;
    assert_eq!((nothing.events.len(), nothing.last, nothing.ended), (0, 153, false));
    building.print(1).await;
    assert_eq!(after(153).await.events.len(), 1, "the bell has rung");
    building.finish().await;
    assert_eq!(after(154).await.events.len(), 1, "READY");
    assert!(after(155).await.ended);
    assert!(after(u64::MAX).await.events.is_empty(), "who has seen more than there is reads by itself");
}

#[tokio::test]
async fn an_update_changes_what_its_mask_names_and_nothing_else() {
    let service = Service::start().await;
    let mut client = client(&service).await;
    let mut update = async |paths: &[&str], changes: ProjectChanges| {
        let request = UpdateProjectRequest {
            project: "site".into(),
            changes: Some(changes),
            update_mask: Some(FieldMask { paths: paths.iter().map(|&path| path.to_owned()).collect() }),
        };
        client.update_project(request).await.map(|answer| answer.into_inner().project.unwrap())
    };
    let all = ProjectChanges {
        name: "renamed".into(),
        repository_url: "https://example.org/other.git".into(),
        production_branch: "next".into(),
        settings: Some(BuildSettings {
            build_command: Some("make".into()),
            output_directory: Some("out".into()),
            limits: Some(BuildLimits { timeout_seconds: Some(60), ..Default::default() }),
            ..Default::default()
        }),
    };
    let project =
        update(&["settings.build_command", "settings.limits.timeout_seconds"], all.clone()).await.unwrap();
    let settings = project.settings.unwrap();
    assert_eq!((project.name.as_str(), project.production_branch.as_str()), ("site", "main"));
    assert_eq!((settings.build_command.as_deref(), settings.output_directory), (Some("make"), None));
    let project = update(&["settings.build_command"], ProjectChanges::default()).await.unwrap();
    let settings = project.settings.unwrap();
    assert_eq!((settings.build_command, settings.limits.unwrap().timeout_seconds), (None, Some(60)));
    let project = update(&["production_branch", "repository_url"], all.clone()).await.unwrap();
    assert_eq!((project.name.as_str(), project.production_branch.as_str()), ("site", "next"));

    for (paths, field) in [
        (vec![], "update_mask"),
        (vec!["id"], "update_mask"),
        (vec!["settings.nonsense"], "update_mask"),
        (vec!["name", "created_at"], "update_mask"),
    ] {
        let refused = update(&paths, all.clone()).await.unwrap_err();
        assert_eq!(from_status(&refused, Reason::Internal).violations[0].field, field, "{paths:?}");
    }
    let wrong = ProjectChanges { name: "No Name".into(), repository_url: "nonsense".into(), ..all };
    let refused =
        from_status(&update(&["name", "repository_url"], wrong).await.unwrap_err(), Reason::Internal);
    let fields: Vec<_> = refused.violations.iter().map(|it| it.field.as_str()).collect();
    assert_eq!(fields, ["changes.name", "changes.repository_url"], "both are named at once");
    let project = client.get_project(GetProjectRequest { project: "site".into() }).await;
    assert_eq!(
        project.unwrap().into_inner().project.unwrap().name,
        "site",
        "a refused update changes nothing"
    );
}

#[tokio::test]
async fn lists_are_paged_through_with_nothing_left_out_and_nothing_twice() {
    let service = Service::start().await;
    let mut client = client(&service).await;
    let mut made = Vec::new();
    for _ in 0..23 {
        let deploy = TriggerDeploymentRequest { project: "site".into(), ..Default::default() };
        made.push(client.trigger_deployment(deploy).await.unwrap().into_inner().deployment.unwrap().id);
    }
    let (mut listed, mut page_token) = (Vec::new(), String::new());
    loop {
        let request =
            ListDeploymentsRequest { project: "site".into(), page_size: 5, page_token, ..Default::default() };
        let page = client.list_deployments(request).await.unwrap().into_inner();
        assert!(page.deployments.len() <= 5);
        listed.extend(page.deployments.into_iter().map(|deployment| deployment.id));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    listed.reverse();
    assert_eq!(listed, made, "the newest came first");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_wants_the_history_so_far_gets_it_with_or_without_the_log() {
    let service = Service::start().await;
    let mut building = Building::start(&service).await;
    building.print(5).await;
    let mut client = client(&service).await;
    let mut told = async |without_log: bool| {
        let request = WatchDeploymentRequest {
            deployment_id: building.id().to_string(),
            without_log,
            history_only: true,
            ..Default::default()
        };
        let mut stream = client.watch_deployment(request).await.unwrap().into_inner();
        let (mut all, mut logs) = (0, 0);
        // It ends while the build goes on.
        while let Some(message) = stream.message().await.unwrap() {
            all += 1;
            logs += u32::from(matches!(message.event.unwrap().event, Some(Event::Log(_))));
        }
        (all, logs)
    };
    // PENDING, QUEUED and BUILDING.
    assert_eq!(told(false).await, (3 + 5, 5));
    assert_eq!(told(true).await, (3, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_wants_no_log_is_told_what_comes_after_it() {
    let service = Service::start().await;
    let mut building = Building::start(&service).await;
    let mut client = client(&service).await;
    let request = WatchDeploymentRequest {
        deployment_id: building.id().to_string(),
        without_log: true,
        ..Default::default()
    };
    let mut stream = client.watch_deployment(request).await.unwrap().into_inner();
    for position in 1..=3 {
        assert_eq!(stream.message().await.unwrap().unwrap().event.unwrap().position, position);
    }
    building.print(20).await;
    building.finish().await;
    let last = stream.message().await.unwrap().unwrap().event.unwrap();
    assert!(matches!(last.event, Some(Event::StateChanged(_))), "{last:?}");
    assert!(stream.message().await.unwrap().is_none());
}
