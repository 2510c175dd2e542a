//! The rules that the database enforces, on SQLite and on PostgreSQL.

use std::time::Duration;

use grapnel_domain::{Reason, event::Outcome};
use grapnel_hooks::{
    app::NewHook,
    store::{Claim, Store, StoreError, projects::ProjectRef},
};
use sea_orm::Database;
use sea_orm_migration::MigratorTrait as _;

use crate::support::{app, new_project, on_both};

const LEASE: Duration = Duration::from_secs(30);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_creates_at_once_make_exactly_five_hooks() {
    on_both(async |url| {
        let (app, team, project) = app(&url).await;
        let create = |n: u32| {
            let (app, project, team) = (app.clone(), project.clone(), team.id);
            let new = NewHook::named(format!("hook {n}").parse().unwrap());
            tokio::spawn(async move { app.create_hook(team, &project, new).await.map(drop) })
        };
        let mut made = 0;
        for create in (0..100).map(create).collect::<Vec<_>>() {
            match create.await.unwrap() {
                Ok(()) => made += 1,
                Err(error) => {
                    assert_eq!(error.reason, Reason::HookLimitReached, "{error}");
                    assert_eq!((error.facts["limit"].as_str(), error.facts["used"].as_str()), ("5", "5"));
                }
            }
        }
        assert_eq!((made, app.limits(team.id, &project).await.unwrap().2), (5, 5));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn migrations_run_up_by_many_at_once_and_down_and_up_again() {
    on_both(async |url| {
        let open = |_| {
            let url = url.clone();
            tokio::spawn(async move { Store::open(&url).await.map(drop) })
        };
        for opened in (0..4).map(open).collect::<Vec<_>>() {
            opened.await.unwrap().unwrap();
        }
        let database = Database::connect(&url).await.unwrap();
        grapnel_migrations::Migrator::down(&database, None).await.unwrap();
        grapnel_migrations::Migrator::up(&database, None).await.unwrap();
        app(&url).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_claimers_never_get_the_same_deployment_and_only_the_holder_changes_it() {
    on_both(async |url| {
        let (app, team, project) = app(&url).await;
        for _ in 0..20 {
            app.trigger_deployment(team.id, &project, None, true).await.unwrap();
        }
        let now = app.clock.now();
        let claim = async |owner: &str| app.store.claim(Claim::Pending, owner, LEASE, 15, now).await.unwrap();
        let (one, two) = tokio::join!(claim("one"), claim("two"));
        let mut ids: Vec<_> = one.iter().chain(&two).map(|claimed| claimed.deployment.id).collect();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), one.len() + two.len(), "one deployment was claimed twice");
        let (id, holder) = (one[0].deployment.id, "one");
        let stranger = app.store.resolved(id, "stranger", "c", "", now).await;
        assert!(matches!(stranger, Err(StoreError::Fenced)), "{stranger:?}");
        app.store.resolved(id, holder, "c", "", now).await.unwrap();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn projects_take_turns_however_many_one_of_them_has_waiting() {
    on_both(async |url| {
        let (app, team, large) = app(&url).await;
        let small = new_project(&app, team.id, "small").await;
        let deploy = async |project: &ProjectRef| {
            app.trigger_deployment(team.id, project, None, true).await.unwrap().id
        };
        let mut many = Vec::new();
        for _ in 0..8 {
            many.push(deploy(&large).await);
        }
        let few = [deploy(&small).await, deploy(&small).await];
        let now = app.clock.now();
        let claim = async |which, limit| -> Vec<_> {
            let claimed = app.store.claim(which, "one", LEASE, limit, now).await.unwrap();
            claimed.into_iter().map(|claimed| claimed.spec.id).collect()
        };
        let pending = claim(Claim::Pending, 4).await;
        let ids: Vec<_> = pending.iter().map(|id| id.deployment).collect();
        assert_eq!(ids, [many[0], few[0], many[1], few[1]]);
        for id in ids.into_iter().chain(claim(Claim::Pending, 10).await.iter().map(|id| id.deployment)) {
            app.store.resolved(id, "one", &"0".repeat(40), "", now).await.unwrap();
        }
        // What is being built counts: two of the large project's run, so both of the other's come first.
        for id in claim(Claim::Queued, 1).await.into_iter().chain(claim(Claim::Queued, 2).await) {
            app.store.started(id, "one", now).await.unwrap();
        }
        let building = app.store.claim(Claim::Queued, "one", LEASE, 2, now).await.unwrap();
        let ids: Vec<_> = building.iter().map(|claimed| claimed.deployment.id).collect();
        assert!(ids.contains(&few[1]), "{ids:?} of {few:?}");
        assert_eq!(claim(Claim::Queued, 20).await.len(), 5);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_address_never_goes_back_to_an_older_deployment() {
    on_both(async |url| {
        let (app, team, project) = app(&url).await;
        let older = app.trigger_deployment(team.id, &project, None, true).await.unwrap().id;
        let newer = app.trigger_deployment(team.id, &project, None, true).await.unwrap().id;
        let (store, owner, now) = (&app.store, "one", app.clock.now());
        for claimed in store.claim(Claim::Pending, owner, LEASE, 2, now).await.unwrap() {
            store.resolved(claimed.deployment.id, owner, &"0".repeat(40), "", now).await.unwrap();
        }
        let claimed = store.claim(Claim::Queued, owner, LEASE, 2, now).await.unwrap();
        for claimed in &claimed {
            store.started(claimed.spec.id, owner, now).await.unwrap();
        }
        let mut promoted = Vec::new();
        // The newer one is ready first.
        for claimed in claimed.iter().rev() {
            let ready = Outcome::Ready { files: 1, bytes: 1 };
            promoted.push(store.finished(claimed.spec.id, owner, ready, now).await.unwrap().promoted);
        }
        assert_eq!(promoted, [true, false]);
        assert_eq!(app.resolve_site("site").await.unwrap().0, newer);
        assert!(!app.deployment(team.id, older).await.unwrap().promoted);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 8)]
async fn a_database_file_is_opened_and_closed_by_many_at_once() {
    for _ in 0..20 {
        let directory = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}", directory.path().join("grapnel.db").display());
        let open = |_| {
            let url = url.clone();
            tokio::spawn(async move { Store::open(&url).await.unwrap().close().await.unwrap() })
        };
        for opened in (0..8).map(open).collect::<Vec<_>>() {
            opened.await.unwrap();
        }
    }
}
