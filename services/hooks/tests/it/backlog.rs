//! Many deployments that wait, on both databases.

use std::time::{Duration, Instant};

use grapnel_domain::id::DeploymentId;
use grapnel_hooks::store::Claim;
use grapnel_runtime::Clock;
use sea_orm::{ConnectOptions, ConnectionTrait as _, Database, TransactionTrait as _};

use crate::support::{app, new_project, on_both};

const MANY: usize = 10_000;

/// How long a claim may take with room for a busy machine: a join that a database plans badly takes 20 s and more.
const CLAIMED: Duration = Duration::from_secs(5);

/// Stores deployments like the one that there is.
async fn copy_deployment(url: &str, count: usize) {
    let clock = Clock::system();
    let mut options = ConnectOptions::new(url);
    options.max_connections(1);
    let database = Database::connect(options).await.unwrap();
    let transaction = database.begin().await.unwrap();
    let run = async |statement: &str| transaction.execute_unprepared(statement).await.unwrap();
    run("CREATE TEMP TABLE copied AS SELECT * FROM deployment").await;
    for _ in 0..count {
        let id: DeploymentId = clock.new_id();
        run(&format!("UPDATE copied SET id = '{id}'")).await;
        run("INSERT INTO deployment SELECT * FROM copied").await;
    }
    transaction.commit().await.unwrap();
    database.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f19_ten_thousand_deployments_wait_in_turns_and_hold_up_nobody() {
    on_both(async |url| {
        let (app, team, project) = app(&url).await;
        app.trigger_deployment(team.id, &project, None, true).await.unwrap();
        copy_deployment(&url, MANY).await;
        let small = new_project(&app, team.id, "small").await;
        let one = app.trigger_deployment(team.id, &small, None, true).await.unwrap().id;
        let (mut claimed, lease) = (Vec::new(), Duration::from_secs(3_600));
        for round in 0..3 {
            let begun = Instant::now();
            let more = app.store.claim(Claim::Pending, "one", lease, 8, app.clock.now()).await.unwrap();
            assert!(begun.elapsed() < CLAIMED, "it took {:?}", begun.elapsed());
            assert_eq!(more.len(), 8);
            let has_small = more.iter().any(|it| it.deployment.id == one);
            assert_eq!(has_small, round == 0, "the other project's first one is among the first");
            claimed.extend(more.into_iter().map(|it| it.deployment.id));
        }
        let mut different = claimed.clone();
        different.sort_unstable();
        different.dedup();
        assert_eq!(different.len(), claimed.len(), "none is claimed twice");
        for which in [Claim::Queued, Claim::Orphaned] {
            assert!(app.store.claim(which, "one", lease, 8, app.clock.now()).await.unwrap().is_empty());
        }
    })
    .await;
}
