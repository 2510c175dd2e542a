//! The schema of a database: brought up to date, looked at, and left alone where it is newer.

use std::time::{Duration, Instant};

use grapnel_hooks::store::{OpenError, Store, database_schema, migrate_database};
use grapnel_migrations::{LockError, Migrator, Schema};
use sea_orm::{ConnectionTrait as _, Database, TransactionTrait as _};
use sea_orm_migration::MigratorTrait as _;

use crate::support::{new_postgres_database, on_both};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_schema_is_looked_at_without_being_changed_and_brought_up_to_date_when_asked() {
    on_both(async |url| {
        let before = database_schema(&url).await.unwrap().schema;
        assert_eq!(before, Schema::none());
        if let Some(path) = url.strip_prefix("sqlite://") {
            assert!(!std::path::Path::new(path).exists(), "looking made the file");
        }
        let migrated = migrate_database(&url).await.unwrap().schema;
        assert_eq!((migrated.pending.len(), migrated.unknown.len()), (0, 0));
        let names: Vec<_> = migrated.applied.iter().map(|(name, _)| name.clone()).collect();
        assert_eq!(names, before.pending);
        assert_eq!(migrate_database(&url).await.unwrap().schema, migrated, "a second time changes nothing");
        Store::open(&url).await.unwrap();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_release_that_is_older_than_the_schema_starts_not_and_says_so() {
    on_both(async |url| {
        migrate_database(&url).await.unwrap();
        let database = Database::connect(&url).await.unwrap();
        let later = "m29990101_000001_later";
        let insert = format!("INSERT INTO seaql_migrations (version, applied_at) VALUES ('{later}', 0)");
        database.execute_unprepared(&insert).await.unwrap();
        let refused = Store::open(&url).await.unwrap_err();
        let said = refused.to_string();
        let OpenError::Migrate(LockError::Newer { unknown }) = refused else { panic!("{said}") };
        assert_eq!(unknown, [later]);
        assert!(said.contains(later) && said.contains(&Schema::newest_known()), "{said}");
        let shown = database_schema(&url).await.unwrap().schema;
        assert_eq!(shown.unknown, [later], "it can be looked at");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_schema_of_an_older_release_is_brought_up_to_date_from_where_it_is() {
    on_both(async |url| {
        let database = Database::connect(url.replace("grapnel.db", "grapnel.db?mode=rwc")).await.unwrap();
        Migrator::up(&database, Some(2)).await.unwrap();
        database.close().await.unwrap();
        let found = database_schema(&url).await.unwrap().schema;
        assert_eq!(found.applied.len(), 2);
        assert!(!found.pending.is_empty());
        Store::open(&url).await.unwrap();
        assert_eq!(database_schema(&url).await.unwrap().schema.pending, Vec::<String>::new());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_migration_that_was_interrupted_is_done_whole_by_who_comes_next() {
    let url = new_postgres_database().await;
    let database = Database::connect(&url).await.unwrap();
    Migrator::up(&database, Some(1)).await.unwrap();
    // It stops in its middle, and its process is killed there.
    let holder = database.begin().await.unwrap();
    holder.execute_unprepared("LOCK TABLE hook IN ACCESS EXCLUSIVE MODE").await.unwrap();
    let killed = tokio::spawn({
        let url = url.clone();
        async move { migrate_database(&url).await.map(drop) }
    });
    let waiting = "SELECT 1 FROM pg_locks WHERE NOT granted AND relation = 'hook'::regclass";
    let begun = Instant::now();
    while database
        .query_one_raw(sea_orm::Statement::from_string(sea_orm::DbBackend::Postgres, waiting))
        .await
        .unwrap()
        .is_none()
    {
        assert!(begun.elapsed() < Duration::from_secs(30), "it does not get that far");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    killed.abort();
    killed.await.unwrap_err();
    holder.rollback().await.unwrap();
    Store::open(&url).await.unwrap();
    assert_eq!(database_schema(&url).await.unwrap().schema.pending, Vec::<String>::new());
}
