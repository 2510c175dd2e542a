//! What lists show: filters, pages, and what is said of many things at once.

use grapnel_domain::{
    BranchName, Reason,
    deployment::State,
    hook::token_is_live,
    id::{DeploymentId, TeamId},
    scope::Scope,
    secret_token::ApiKey,
    trigger::Decision,
};
use grapnel_hooks::{
    app::{App, Brought, NewHook, TriggerTarget},
    model::{Deployment, DeploymentRequest, Team},
    store::{
        deployments::DeploymentFilter,
        ledger::TriggerFilter,
        projects::{ProjectFilter, ProjectRef},
    },
};
use grapnel_proto::{
    convert::time::timestamp,
    error::from_status,
    hooks::v1::{hook_service_client::HookServiceClient, *},
};
use grapnel_runtime::{Clock, clock::first_id_from, grpc::Bearer};
use tonic::{codegen::InterceptedService, transport::Channel};

use crate::support::{self, Service, new_project, on_both};

type Client = HookServiceClient<InterceptedService<Channel, Bearer>>;

async fn client(service: &Service) -> Client {
    let key = ApiKey::parse(&service.key(&service.team, &[Scope::Admin]).await).unwrap();
    HookServiceClient::with_interceptor(service.channel(), Bearer::new(&key))
}

fn asked(branch: &str) -> DeploymentRequest {
    let branch = BranchName::parse(branch).ok();
    DeploymentRequest { branch, build_cache: true, commit: None, title: String::new() }
}

/// A team's things, with a clock that stands still until it is moved.
struct Lists {
    app: App,
    team: Team,
    project: ProjectRef,
}

impl Lists {
    async fn deploy(&self, project: &ProjectRef, branch: &str) -> DeploymentId {
        self.app.deploy(self.team.id, project, asked(branch)).await.unwrap().id
    }

    /// Lists all, by pages of two.
    async fn listed(&self, project: Option<&ProjectRef>, filter: DeploymentFilter) -> Vec<DeploymentId> {
        let (mut listed, mut after) = (Vec::new(), None);
        loop {
            let page =
                self.app.list_deployments(self.team.id, project, filter.clone(), after, 2).await.unwrap();
            listed.extend(page.items.iter().map(|it| it.id));
            after = listed.last().copied();
            if !page.more {
                return listed;
            }
        }
    }

    async fn projects(&self, filter: ProjectFilter) -> (Vec<String>, Vec<Deployment>) {
        let (page, newest) = self.app.list_projects(self.team.id, &filter, None, 100).await.unwrap();
        (page.items.iter().map(|it| it.name.to_string()).collect(), newest)
    }

    async fn end(&self, id: DeploymentId) {
        self.app.cancel_deployment(self.team.id, id).await.unwrap();
    }
}

/// Runs a test's body on both databases, with a function that moves the time on by a second.
async fn lists(body: impl AsyncFn(Lists, &dyn Fn())) {
    on_both(async |url| {
        let (clock, hand) = Clock::set_to("2026-01-01T00:00:00Z".parse().unwrap());
        let (app, team, project) = support::app_at(&url, clock).await;
        body(Lists { app, team, project }, &|| hand.advance(chrono::Duration::seconds(1))).await;
    })
    .await;
}

async fn stranger(app: &App) -> TeamId {
    let team = Team { id: app.clock.new_id(), plan: grapnel_domain::plan::Plan::Hobby };
    app.store.create_team(&team, "other", app.clock.now()).await.unwrap();
    team.id
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deployments_are_listed_by_branch_time_state_and_hook_and_for_the_whole_team() {
    lists(async |lists, a_second_passes| {
        let other = new_project(&lists.app, lists.team.id, "other").await;
        let (site, all) = (Some(&lists.project), DeploymentFilter::default());
        let mut made = Vec::new();
        for (project, branch) in [
            (&lists.project, "main"),
            (&other, "main"),
            (&lists.project, "next"),
            (&lists.project, "main"),
            (&other, "next"),
        ] {
            made.push(lists.deploy(project, branch).await);
            a_second_passes();
        }
        let [a, b, c, d, e] = made[..] else { unreachable!() };
        let until = |id: DeploymentId| {
            // Before the second at which it was made.
            let at = [a, b, c, d, e].iter().position(|it| *it == id).unwrap();
            let at = i64::try_from(at).unwrap();
            Some(
                "2026-01-01T00:00:00Z".parse::<chrono::DateTime<chrono::Utc>>().unwrap()
                    + chrono::Duration::seconds(at),
            )
        };
        let main = BranchName::parse("main").ok();
        lists.end(a).await;
        for (project, filter, expected) in [
            (None, all.clone(), vec![e, d, c, b, a]),
            (site, all.clone(), vec![d, c, a]),
            (site, DeploymentFilter { branch: main.clone(), ..all.clone() }, vec![d, a]),
            (None, DeploymentFilter { branch: main.clone(), ..all.clone() }, vec![d, b, a]),
            (site, DeploymentFilter { until: until(d), ..all.clone() }, vec![c, a]),
            (None, DeploymentFilter { until: until(d), branch: main.clone(), ..all.clone() }, vec![b, a]),
            (None, DeploymentFilter { until: until(a), ..all.clone() }, vec![]),
            (None, DeploymentFilter { state: Some(State::Canceled), ..all.clone() }, vec![a]),
            (site, DeploymentFilter { state: Some(State::Canceled), ..all.clone() }, vec![a]),
            (Some(&other), DeploymentFilter { state: Some(State::Canceled), ..all.clone() }, vec![]),
            (None, DeploymentFilter { state: Some(State::Pending), ..all.clone() }, vec![e, d, c, b]),
            (site, DeploymentFilter { state: Some(State::Pending), branch: main, ..all.clone() }, vec![d]),
        ] {
            assert_eq!(lists.listed(project, filter.clone()).await, expected, "{filter:?}");
        }
        let team = stranger(&lists.app).await;
        assert!(
            lists.app.list_deployments(team, None, all.clone(), None, 50).await.unwrap().items.is_empty()
        );
        lists.app.delete_project(lists.team.id, &other).await.unwrap();
        assert_eq!(
            lists.listed(None, all).await,
            [d, c, a],
            "what is left of a deleted project is not listed"
        );
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hooks_deployments_are_those_of_its_own_project_and_a_deployments_triggers_those_it_answers() {
    lists(async |lists, a_second_passes| {
        let Lists { app, team, project } = &lists;
        let other = new_project(app, team.id, "other").await;
        let new = NewHook::named("cms".parse().unwrap());
        let hook = app.create_hook(team.id, project, new).await.unwrap().hook.id;
        for _ in 0..3 {
            let target = TriggerTarget::Hook { team: team.id, hook };
            app.trigger_hook(target, Brought { method: "gRPC".into(), ..Brought::default() }).await.unwrap();
            a_second_passes();
        }
        lists.deploy(project, "main").await;
        let of_hook = DeploymentFilter { hook: Some(hook), ..DeploymentFilter::default() };
        let found = lists.listed(Some(project), of_hook.clone()).await;
        assert_eq!(found.len(), 3);
        assert_eq!(lists.listed(None, of_hook.clone()).await, found);
        assert!(lists.listed(Some(&other), of_hook).await.is_empty());

        let all = TriggerFilter::default();
        let listed = async |project: &ProjectRef, filter: TriggerFilter| {
            let page = app.list_triggers(team.id, project, filter, None, 100).await.unwrap();
            page.items.into_iter().map(|it| it.deployment.unwrap()).collect::<Vec<_>>()
        };
        let deployment = Some(found[1]);
        assert_eq!(listed(project, all).await, found);
        assert_eq!(listed(project, TriggerFilter { deployment, ..all }).await, [found[1]]);
        assert_eq!(listed(project, TriggerFilter { deployment, hook: Some(hook), ..all }).await, [found[1]]);
        let merged = TriggerFilter { deployment, decision: Some(Decision::Merged), ..all };
        assert!(listed(project, merged).await.is_empty());
        assert!(listed(&other, TriggerFilter { deployment, ..all }).await.is_empty(), "of its own project");
        let second = "2026-01-01T00:00:01Z".parse().ok();
        assert_eq!(listed(project, TriggerFilter { until: second, ..all }).await, [found[2]]);
        assert_eq!(listed(project, TriggerFilter { since: second, ..all }).await, found[..2]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn projects_are_searched_by_name_and_come_with_their_newest_deployments() {
    lists(async |lists, a_second_passes| {
        let (app, team) = (&lists.app, lists.team.id);
        assert_eq!(lists.projects(ProjectFilter::default()).await, (vec!["site".to_owned()], Vec::new()));
        a_second_passes();
        let blog = new_project(app, team, "blog-100").await;
        let docs = new_project(app, team, "docs").await;
        for project in [&blog, &lists.project, &blog, &lists.project] {
            lists.deploy(project, "main").await;
        }
        let last_of_blog = lists.deploy(&blog, "next").await;
        let last_of_site = lists.listed(Some(&lists.project), DeploymentFilter::default()).await[0];
        let (names, newest) = lists.projects(ProjectFilter::default()).await;
        assert_eq!(names, ["docs", "blog-100", "site"]);
        let newest: Vec<_> = newest.iter().map(|it| it.id).collect();
        assert_eq!(newest, [last_of_blog, last_of_site], "one has none");
        for (search, expected) in [
            ("o", vec!["docs", "blog-100"]),
            ("BLOG", vec!["blog-100"]),
            ("G-1", vec!["blog-100"]),
            ("%", vec![]),
            ("_", vec![]),
            ("s%e", vec![]),
            ("sit_", vec![]),
            ("\\", vec![]),
            ("'; DROP TABLE project; --", vec![]),
            ("site", vec!["site"]),
        ] {
            let filter = ProjectFilter { search: search.to_owned(), until: None };
            assert_eq!(lists.projects(filter).await.0, expected, "{search}");
        }
        let until = "2026-01-01T00:00:01Z".parse().ok();
        assert_eq!(lists.projects(ProjectFilter { search: String::new(), until }).await.0, ["site"]);
        app.delete_project(team, &docs).await.unwrap();
        assert_eq!(lists.projects(ProjectFilter::default()).await.0, ["blog-100", "site"]);
        let other = stranger(app).await;
        let (page, newest) = app.list_projects(other, &ProjectFilter::default(), None, 50).await.unwrap();
        assert!(page.items.is_empty() && newest.is_empty());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_that_was_set_back_hides_nothing_from_a_list_until_then() {
    on_both(async |url| {
        let (clock, hand) = Clock::set_to("2026-01-01T12:00:00Z".parse().unwrap());
        let (app, team, project) = support::app_at(&url, clock).await;
        // Ids go on from where the clock was.
        app.deploy(team.id, &project, asked("main")).await.unwrap();
        hand.advance(chrono::Duration::minutes(-50));
        let later = app.deploy(team.id, &project, asked("main")).await.unwrap();
        assert!(later.id > first_id_from("2026-01-01T11:59:59Z".parse().unwrap()));
        let until = Some(later.created_at + chrono::Duration::seconds(1));
        let filter = DeploymentFilter { until, ..DeploymentFilter::default() };
        let listed = app.list_deployments(team.id, &project, filter, None, 10).await.unwrap().items;
        assert_eq!(listed.iter().map(|it| it.id).collect::<Vec<_>>(), [later.id]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_who_replace_the_same_token_one_does_and_the_other_is_told() {
    lists(async |lists, _| {
        let Lists { app, team, project } = &lists;
        let new = NewHook::named("cms".parse().unwrap());
        let made = app.create_hook(team.id, project, new).await.unwrap().hook;
        let (hook, first) = (made.id, made.tokens[0].id);
        let rotating = (0..4).map(|_| {
            let (app, team) = (app.clone(), team.id);
            tokio::spawn(
                async move { app.rotate_token(team, hook, None, Some(first)).await.map(|it| it.hook) },
            )
        });
        let (mut done, mut refused) = (Vec::new(), 0);
        for rotated in rotating.collect::<Vec<_>>() {
            match rotated.await.unwrap() {
                Ok(hook) => done.push(hook),
                Err(error) => {
                    assert_eq!(error.reason, Reason::TokenReplaced);
                    refused += 1;
                }
            }
        }
        assert_eq!((done.len(), refused), (1, 3));
        let current = done[0].tokens[0].id;
        let there = app.hook(team.id, hook).await.unwrap().tokens;
        assert_eq!(
            there.iter().map(|it| it.id).collect::<Vec<_>>(),
            [current, first],
            "nothing else changed"
        );
        assert!(there.iter().all(|it| token_is_live(it.expires_at, app.clock.now())));
        let stale = app.rotate_token(team.id, hook, None, Some(first)).await.unwrap_err();
        assert_eq!(stale.reason, Reason::TokenReplaced);
        app.rotate_token(team.id, hook, None, Some(current)).await.unwrap();
        app.rotate_token(team.id, hook, None, None).await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_page_token_continues_the_list_that_gave_it_and_no_other() {
    let service = Service::start().await;
    let mut client = client(&service).await;
    for name in ["blog", "docs"] {
        new_project(&service.app, service.team.id, name).await;
    }
    for branch in ["main", "main", "next"] {
        service.app.deploy(service.team.id, &service.project, asked(branch)).await.unwrap();
    }
    let all = ListDeploymentsRequest { project: "site".into(), page_size: 1, ..Default::default() };
    let page = client.list_deployments(all.clone()).await.unwrap().into_inner();
    let page_token = page.next_page_token;
    let now = Some(timestamp(service.app.clock.now()));
    for other in [
        ListDeploymentsRequest { project: String::new(), ..all.clone() },
        ListDeploymentsRequest { branch: "main".into(), ..all.clone() },
        ListDeploymentsRequest { until: now, ..all.clone() },
        ListDeploymentsRequest { state: DeploymentState::Pending.into(), ..all.clone() },
    ] {
        let other = ListDeploymentsRequest { page_token: page_token.clone(), ..other };
        let refused = client.list_deployments(other).await.unwrap_err();
        assert_eq!(from_status(&refused, Reason::Internal).reason, Reason::InvalidPageToken);
    }
    let next = ListDeploymentsRequest { page_token, ..all };
    assert_eq!(client.list_deployments(next).await.unwrap().into_inner().deployments.len(), 1);

    let all = ListProjectsRequest { page_size: 1, search: "o".into(), ..Default::default() };
    let page = client.list_projects(all.clone()).await.unwrap().into_inner();
    let page_token = page.next_page_token;
    for other in [
        ListProjectsRequest { search: String::new(), ..all.clone() },
        ListProjectsRequest { until: now, ..all.clone() },
    ] {
        let other = ListProjectsRequest { page_token: page_token.clone(), ..other };
        let refused = client.list_projects(other).await.unwrap_err();
        assert_eq!(from_status(&refused, Reason::Internal).reason, Reason::InvalidPageToken);
    }
    let next = client.list_projects(ListProjectsRequest { page_token, ..all }).await.unwrap().into_inner();
    assert_eq!((next.projects.len(), next.next_page_token.as_str()), (1, ""));
}

#[tokio::test]
async fn a_key_deploys_a_commit_under_a_title_and_what_is_neither_is_named() {
    let service = Service::start().await;
    let mut client = client(&service).await;
    let deploy = TriggerDeploymentRequest { project: "site".into(), ..Default::default() };
    for commit in ["0".repeat(40), "f".repeat(64)] {
        let title = "ä".repeat(200);
        let request = TriggerDeploymentRequest { commit: commit.clone(), title, ..deploy.clone() };
        let made = client.trigger_deployment(request).await.unwrap().into_inner().deployment.unwrap();
        assert_eq!(made.title.chars().count(), 200);
        let stored = service.app.deployment(service.team.id, made.id.parse().unwrap()).await.unwrap();
        assert_eq!(stored.wanted_commit, Some(commit));
    }
    let request = TriggerDeploymentRequest { title: "a\nb\u{1b}[2J".into(), ..deploy.clone() };
    let made = client.trigger_deployment(request).await.unwrap().into_inner().deployment.unwrap();
    assert_eq!(made.title, "ab[2J", "it forges no lines");
    for (request, field) in [
        (TriggerDeploymentRequest { commit: "main".into(), ..deploy.clone() }, "commit"),
        (TriggerDeploymentRequest { commit: "0".repeat(39), ..deploy.clone() }, "commit"),
        (TriggerDeploymentRequest { commit: "A".repeat(40), ..deploy.clone() }, "commit"),
        (TriggerDeploymentRequest { title: "x".repeat(201), ..deploy.clone() }, "title"),
        (TriggerDeploymentRequest { branch: "--all".into(), ..deploy }, "branch"),
    ] {
        let refused = client.trigger_deployment(request).await.unwrap_err();
        assert_eq!(from_status(&refused, Reason::Internal).violations[0].field, field);
    }
    let expected_token_id = "tok_nonsense".to_owned();
    let hook_id = "hook_01h455vb4pex5vsknk084sn02q".to_owned();
    let rotate = RotateHookTokenRequest { hook_id, expected_token_id, ..Default::default() };
    let refused = client.rotate_hook_token(rotate).await.unwrap_err();
    assert_eq!(from_status(&refused, Reason::Internal).violations[0].field, "expected_token_id");
}
