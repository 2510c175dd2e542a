//! Databases that go away, are full, can only be read, or do not answer.

use std::time::{Duration, Instant};

use grapnel_domain::{Error, Reason, deployment::State};
use grapnel_e2e::{OwnPostgres, SmallDisk};
use grapnel_hooks::{
    app::{Answered, App, Brought, NewHook, TriggerTarget},
    model::{Hook, Team},
    store::{Connecting, Hearing, Store, why_away},
};
use grapnel_runtime::CancellationToken;
use sea_orm::{ConnectionTrait as _, Database, TransactionTrait as _};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional},
    net::{TcpListener, TcpStream},
};

use crate::support::{app, new_postgres_database};

/// What a caller waits for at most, with room for a machine that is busy.
const BOUND: Duration = Duration::from_secs(20);

const IMPATIENT: Connecting = Connecting {
    connections: 4,
    patience: Duration::from_secs(1),
    statement_timeout: Duration::from_secs(5),
};

/// An app with a hook whose store is opened within limits.
async fn with_hook(url: &str) -> (App, Team, Hook) {
    let (mut app, team, project) = app(url).await;
    app.store = Store::open_with(url, IMPATIENT).await.unwrap();
    let hook = app.create_hook(team.id, &project, NewHook::named("cms".parse().unwrap())).await.unwrap().hook;
    (app, team, hook)
}

async fn trigger(app: &App, team: &Team, hook: &Hook) -> Result<Answered, Error> {
    let target = TriggerTarget::Hook { team: team.id, hook: hook.id };
    app.trigger_hook(target, Brought::default()).await
}

async fn is_told_to_come_back(app: &App, team: &Team, hook: &Hook) -> String {
    let begun = Instant::now();
    let error = trigger(app, team, hook).await.unwrap_err();
    assert_eq!(error.reason, Reason::StoreUnavailable, "{error}");
    assert!(begun.elapsed() < BOUND, "it hung for {:?}", begun.elapsed());
    error.message
}

async fn until_it_works(app: &App, team: &Team, hook: &Hook) -> Answered {
    let begun = Instant::now();
    loop {
        match trigger(app, team, hook).await {
            Ok(answered) => return answered,
            Err(error) => assert!(begun.elapsed() < Duration::from_secs(60), "{error}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_postgresql_is_killed_callers_are_told_to_come_back_and_then_all_works_again() {
    let mut postgres = OwnPostgres::start(&[]).await;
    let (app, team, hook) = with_hook(&postgres.url()).await;
    let stopping = CancellationToken::new();
    let hearing = Hearing { longest: Duration::from_millis(500), ..Hearing::default() };
    tokio::spawn(app.store.clone().listen(hearing, stopping.child_token()));
    let Answered::Job(before, _) = trigger(&app, &team, &hook).await.unwrap() else { panic!("ignored") };
    for _ in 0..2 {
        postgres.kill();
        let told = is_told_to_come_back(&app, &team, &hook).await;
        assert!(told.starts_with("the database does not answer"), "{told}");
        assert!(why_away(&postgres.url()).await.is_some());
        postgres.run().await;
        until_it_works(&app, &team, &hook).await;
    }
    let before = app.deployment(team.id, before.id).await.unwrap();
    assert_eq!(before.state, State::Canceled, "what was answered is stored, and was superseded since");
    let begun = Instant::now();
    while !app.store.hears_others() {
        assert!(begun.elapsed() < Duration::from_secs(30), "it never hears again");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    stopping.cancel();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_postgresql_that_is_frozen_keeps_no_caller_for_long() {
    let postgres = OwnPostgres::start(&[]).await;
    let (app, team, hook) = with_hook(&postgres.url()).await;
    trigger(&app, &team, &hook).await.unwrap();
    postgres.freeze(true);
    is_told_to_come_back(&app, &team, &hook).await;
    postgres.freeze(false);
    until_it_works(&app, &team, &hook).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_postgresql_without_a_free_connection_is_said_to_be_that() {
    let postgres = OwnPostgres::start(&["max_connections=8", "superuser_reserved_connections=0"]).await;
    let (app, team, hook) = with_hook(&postgres.url()).await;
    app.store.clone().close().await.unwrap();
    let mut app = app;
    app.store = Store::open_with(&postgres.url(), IMPATIENT).await.unwrap();
    // Its own connections are taken from it, and all others by somebody else.
    let admin = Database::connect(postgres.url()).await.unwrap();
    let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'grapnel'";
    admin.execute_unprepared(end).await.unwrap();
    let mut others = vec![admin];
    let mut options = sea_orm::ConnectOptions::new(postgres.url());
    options.max_connections(1).acquire_timeout(Duration::from_millis(300));
    while let Ok(other) = Database::connect(options.clone()).await {
        others.push(other);
    }
    is_told_to_come_back(&app, &team, &hook).await;
    let why = why_away(&postgres.url()).await.unwrap();
    assert!(why.contains("too many clients"), "{why}");
    drop(others);
    until_it_works(&app, &team, &hook).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_postgresql_that_can_only_be_read_is_said_to_be_that() {
    let url = new_postgres_database().await;
    let (app, team, hook) = with_hook(&url).await;
    let admin = Database::connect(&url).await.unwrap();
    let name = url.rsplit('/').next().unwrap();
    let read_only = async |on: &str| {
        let set = format!("ALTER DATABASE {name} SET default_transaction_read_only = {on}");
        admin.execute_unprepared(&format!("SET default_transaction_read_only = off; {set}")).await.unwrap();
        let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'grapnel' AND datname = current_database()";
        admin.execute_unprepared(end).await.unwrap();
    };
    read_only("on").await;
    let told = is_told_to_come_back(&app, &team, &hook).await;
    assert!(told.starts_with("the database can only be read"), "{told}");
    let found = app
        .list_deployments(
            team.id,
            &grapnel_hooks::store::projects::ProjectRef::Id(hook.project_id),
            Default::default(),
            None,
            1,
        )
        .await;
    assert!(found.is_ok(), "it can be read");
    read_only("off").await;
    until_it_works(&app, &team, &hook).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transaction_that_the_database_ends_for_anothers_sake_is_run_again() {
    let url = new_postgres_database().await;
    let (app, team, hook) = with_hook(&url).await;
    let Answered::Job(job, _) = trigger(&app, &team, &hook).await.unwrap() else { panic!("ignored") };
    let other = Database::connect(&url).await.unwrap();
    let transaction = other.begin().await.unwrap();
    let lock = format!("SELECT id FROM deployment WHERE id = '{}' FOR UPDATE", job.id);
    transaction.execute_unprepared(&lock).await.unwrap();
    let revoking = tokio::spawn({
        let (app, team, hook) = (app.clone(), team.id, hook.id);
        async move { app.revoke_hook(team, hook).await }
    });
    let waiting = "SELECT 1 FROM pg_stat_activity WHERE application_name = 'grapnel' AND datname = current_database() AND wait_event_type = 'Lock'";
    let waiting = || sea_orm::Statement::from_string(sea_orm::DbBackend::Postgres, waiting);
    let begun = Instant::now();
    while other.query_one_raw(waiting()).await.unwrap().is_none() {
        assert!(begun.elapsed() < Duration::from_secs(30), "nobody waits");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    // Each waits for the other now, and the one that has waited longer is ended.
    let touch = format!("UPDATE hook SET paused = paused WHERE id = '{}'", hook.id);
    transaction.execute_unprepared(&touch).await.expect("the test's own was ended");
    transaction.commit().await.unwrap();
    revoking.await.unwrap().unwrap();
    assert_eq!(app.deployment(team.id, job.id).await.unwrap().state, State::Canceled);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_log_of_an_sqlite_database_is_emptied_as_soon_as_nobody_reads_from_it() {
    let directory = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}/grapnel.db", directory.path().display());
    let (app, team, hook) = with_hook(&url).await;
    let reader = Database::connect(&url).await.unwrap();
    let reading = reader.begin().await.unwrap();
    reading.execute_unprepared("SELECT count(*) FROM hook").await.unwrap();
    let page = sea_orm::Statement::from_string(sea_orm::DbBackend::Sqlite, "SELECT count(*) FROM hook");
    reading.query_one_raw(page).await.unwrap();
    for _ in 0..20 {
        trigger(&app, &team, &hook).await.unwrap();
    }
    let begun = Instant::now();
    let kept = app.store.shorten_log(0).await.unwrap();
    assert!(kept > 0, "somebody reads from it");
    assert!(begun.elapsed() < Duration::from_secs(5), "it waited for the reader: {:?}", begun.elapsed());
    trigger(&app, &team, &hook).await.unwrap();
    reading.rollback().await.unwrap();
    assert_eq!(app.store.shorten_log(0).await.unwrap(), 0);
    assert_eq!(app.store.shorten_log(u64::MAX).await.unwrap(), 0);
}

/// Listens before a PostgreSQL, and refuses the first connections as one does that recovers from a crash.
async fn recovering(url: &str, refusals: usize) -> String {
    let (rest, server) = url.split_once('@').unwrap();
    let (server, database) = server.split_once('/').unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let front = format!("{rest}@{}/{database}", listener.local_addr().unwrap());
    let server = server.to_owned();
    tokio::spawn(async move {
        for n in 0.. {
            let (mut client, _) = listener.accept().await.unwrap();
            let server = server.clone();
            tokio::spawn(async move {
                if n >= refusals {
                    let mut server = TcpStream::connect(server).await.unwrap();
                    let _ = copy_bidirectional(&mut client, &mut server).await;
                    return;
                }
                // The first message asks for TLS, which is refused, and the second to be let in.
                let mut asked = [0; 8];
                client.read_exact(&mut asked).await.unwrap();
                if asked == [0, 0, 0, 8, 4, 210, 22, 47] {
                    client.write_all(b"N").await.unwrap();
                }
                let said = b"SFATAL\0C57P03\0Mthe database system is starting up\0\0";
                let mut refused = b"E".to_vec();
                refused.extend(u32::try_from(said.len() + 4).unwrap().to_be_bytes());
                refused.extend(said);
                client.write_all(&refused).await.unwrap();
                let _ = client.read(&mut [0; 1024]).await;
            });
        }
    });
    front
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_postgresql_that_recovers_is_waited_for() {
    let url = recovering(&new_postgres_database().await, 3).await;
    let (app, team, hook) = with_hook(&url).await;
    trigger(&app, &team, &hook).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f13_a_full_disk_is_told_as_that_loses_nothing_and_with_room_again_all_works() {
    let directory = tempfile::tempdir().unwrap();
    let disk = SmallDisk::at(directory.path(), 3 << 20);
    let url = format!("sqlite://{}/grapnel.db", directory.path().display());
    let (app, team, hook) = with_hook(&url).await;
    let ask = async || {
        let target = TriggerTarget::Hook { team: team.id, hook: hook.id };
        let brought = Brought { body: vec![b'x'; 40 * 1024], ..Brought::default() };
        app.trigger_hook(target, brought).await
    };
    let mut answered = Vec::new();
    let full = loop {
        match ask().await {
            Ok(Answered::Job(job, _)) => answered.push(job.id),
            Ok(Answered::Ignored) => panic!("it was ignored"),
            Err(error) => break error,
        }
        assert!(answered.len() < 1_000, "the disk is never full");
    };
    assert_eq!(full.reason, Reason::StoreUnavailable);
    assert!(full.message.starts_with("the database has no room left on its disk"), "{}", full.message);
    // A second one, on the connection of the first: what comes after them is to be committed, and seen by others.
    assert_eq!(ask().await.err().map(|error| error.reason), Some(Reason::StoreUnavailable));
    disk.grow_to(64 << 20);
    let Answered::Job(last, _) = until_it_works(&app, &team, &hook).await else { panic!("ignored") };
    answered.push(last.id);
    for id in answered {
        let deployment = app.deployment(team.id, id).await.unwrap();
        let superseded = deployment.id != last.id;
        assert_eq!(deployment.state, if superseded { State::Canceled } else { State::Pending });
    }
}
