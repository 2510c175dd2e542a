//! Backups, and what is no backup.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use chrono::{DateTime, Utc};
use grapnel_domain::id::DeploymentId;
use grapnel_hooks::backup::{BackupError, backup, restore};
use grapnel_runtime::Clock;
use sea_orm::{ConnectionTrait as _, Database};

use crate::support::{app, app_at, new_postgres_database};

fn now() -> DateTime<Utc> {
    "2026-03-01T10:00:00Z".parse().unwrap()
}

/// A directory with a database that nobody has open, and a deployment in it.
struct House {
    directory: tempfile::TempDir,
    url: String,
}

impl House {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}/grapnel.db", directory.path().display());
        Self { directory, url }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Stores a deployment and returns how many there are.
    async fn deploy(&self) -> (DeploymentId, usize) {
        let first = !self.path("grapnel.db").exists();
        let (app, team, project) = match first {
            true => app_at(&self.url, Clock::system()).await,
            false => reopened(&self.url).await,
        };
        let id = app.trigger_deployment(team.id, &project, None, true).await.unwrap().id;
        let count = app.list_deployments(team.id, &project, Default::default(), None, 100).await.unwrap();
        app.store.close().await.unwrap();
        (id, count.items.len())
    }

    async fn backup(&self, name: &str, overwrite: bool) -> Result<i64, BackupError> {
        backup(&self.url, &self.path(name), overwrite, now()).await.map(|contents| contents.deployments)
    }

    /// Lists what stands in the directory, but for what every database has beside it.
    fn files(&self) -> Vec<String> {
        let entries = fs::read_dir(self.directory.path()).unwrap().flatten();
        let names = entries.map(|entry| entry.file_name().into_string().unwrap());
        let mut names: Vec<_> = names
            .filter(|name| !matches!(name.as_str(), "secret.key" | "grapnel.lock" | "grapnel.in-use"))
            .collect();
        names.sort();
        names
    }
}

/// Opens a database that has its team and project already.
async fn reopened(
    url: &str,
) -> (grapnel_hooks::app::App, grapnel_hooks::model::Team, grapnel_hooks::store::projects::ProjectRef) {
    let store = grapnel_hooks::store::Store::open(url).await.unwrap();
    let clock = Clock::system();
    let team =
        store.first_team(clock.new_id(), grapnel_domain::plan::Plan::Hobby, clock.now()).await.unwrap();
    let other = House::new();
    let (app, ..) = app_at(&other.url, clock).await;
    let project = grapnel_hooks::store::projects::ProjectRef::Name("site".parse().unwrap());
    (grapnel_hooks::app::App { store, ..app }, team, project)
}

#[tokio::test]
async fn a_backup_is_one_whole_file_that_only_its_owner_reads() {
    let house = House::new();
    assert!(matches!(house.backup("copy", false).await, Err(BackupError::NoDatabase(_))));
    house.deploy().await;
    // One that has the database open all the while, with what it writes in the write-ahead log.
    let (open, team, project) = reopened(&house.url).await;
    open.trigger_deployment(team.id, &project, None, true).await.unwrap();
    assert_eq!(house.backup("copy", false).await.unwrap(), 2);
    let mode = fs::metadata(house.path("copy")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert!(matches!(house.backup("copy", false).await, Err(BackupError::Exists(_))));
    open.trigger_deployment(team.id, &project, None, true).await.unwrap();
    assert_eq!(house.backup("copy", true).await.unwrap(), 3, "it takes the place of the old one");
    let beside: Vec<_> = house.files().into_iter().filter(|name| !name.starts_with("grapnel.db")).collect();
    assert_eq!(beside, ["copy"], "nothing is left beside it");
    let itself = backup(&house.url, &house.path("./grapnel.db"), true, now()).await;
    assert!(matches!(itself, Err(BackupError::Itself(_))), "{itself:?}");
    let postgres = backup("postgres://nobody@127.0.0.1:1/x", &house.path("other"), false, now()).await;
    assert!(matches!(postgres, Err(BackupError::NotEmbedded)));
}

#[tokio::test]
async fn a_backup_is_put_back_and_what_was_there_is_kept() {
    let house = House::new();
    let (first, _) = house.deploy().await;
    house.backup("copy", false).await.unwrap();
    house.deploy().await;
    let restored = restore(&house.path("copy"), &house.url, now()).await.unwrap();
    assert_eq!((restored.contents.deployments, restored.contents.projects), (1, 1));
    assert_eq!(restored.contents.taken_at.as_deref(), Some("2026-03-01T10:00:00+00:00"));
    let kept = restored.kept.unwrap();
    assert_eq!(kept, house.path("grapnel.db.before-restore-20260301T100000Z"));
    assert_eq!(house.files(), ["copy", "grapnel.db", "grapnel.db.before-restore-20260301T100000Z"]);

    let (app, team, project) = reopened(&house.url).await;
    let there = app.list_deployments(team.id, &project, Default::default(), None, 10).await.unwrap().items;
    assert_eq!(there.iter().map(|it| it.id).collect::<Vec<_>>(), [first]);
    let refused = restore(&house.path("copy"), &house.url, now()).await;
    assert!(matches!(refused, Err(BackupError::InUse(_))), "while somebody has it open: {refused:?}");
    app.store.close().await.unwrap();
    // Somebody who knows nothing of the lock, such as an earlier release.
    let raw = Database::connect(&house.url).await.unwrap();
    raw.execute_unprepared("PRAGMA journal_mode = WAL").await.unwrap();
    raw.execute_unprepared("SELECT COUNT(*) FROM deployment").await.unwrap();
    let refused = restore(&house.path("copy"), &house.url, now()).await;
    assert!(matches!(refused, Err(BackupError::InUse(_))), "{refused:?}");
    raw.close().await.unwrap();
    let back = restore(&kept, &house.url, "2026-03-02T10:00:00Z".parse().unwrap()).await.unwrap();
    assert_eq!(back.contents.deployments, 2, "what was kept can be put back as well");
}

#[tokio::test]
async fn a_new_place_is_made_for_a_backup() {
    let house = House::new();
    house.deploy().await;
    house.backup("copy", false).await.unwrap();
    let url = format!("sqlite://{}/deep/below/grapnel.db", house.directory.path().display());
    fs::create_dir_all(house.path("deep/below")).unwrap();
    fs::write(house.path("deep/below/grapnel.db-wal"), "the log of one that was deleted").unwrap();
    let restored = restore(&house.path("copy"), &url, now()).await.unwrap();
    assert!(!house.path("deep/below/grapnel.db-wal").exists(), "it is no log of what is put back");
    assert_eq!((restored.kept, restored.contents.unfinished), (None, 1));
}

#[tokio::test]
async fn what_is_no_backup_is_refused_and_nothing_is_changed() {
    let house = House::new();
    house.deploy().await;
    house.backup("good", false).await.unwrap();
    let good = fs::read(house.path("good")).unwrap();
    let before = fs::read(house.path("grapnel.db")).unwrap();
    let change = async |name: &str, sql: &str| {
        fs::write(house.path(name), &good).unwrap();
        let database = Database::connect(format!("sqlite://{}", house.path(name).display())).await.unwrap();
        database.execute_unprepared(sql).await.unwrap();
        database.close().await.unwrap();
    };
    let newer = "INSERT INTO seaql_migrations (version, applied_at) VALUES ('m20990101_000001_later', 1)";
    change("newer", newer).await;
    change("foreign", "DROP TABLE seaql_migrations").await;
    fs::write(house.path("text"), "Grapnel").unwrap();
    fs::write(house.path("empty"), "").unwrap();
    fs::write(house.path("cut"), &good[..good.len() / 2]).unwrap();
    let mut scratched = good.clone();
    scratched[8_192..12_288].fill(0xff);
    fs::write(house.path("scratched"), scratched).unwrap();
    for (name, says) in [
        ("newer", "later release"),
        ("foreign", "no database of Grapnel's"),
        ("text", "no database of Grapnel's"),
        ("empty", "no database of Grapnel's"),
        ("cut", ""),
        ("scratched", ""),
        ("nowhere", "No such file"),
    ] {
        let refused = restore(&house.path(name), &house.url, now()).await.unwrap_err().to_string();
        assert!(refused.contains(says) && refused.contains(name), "{name}: {refused}");
    }
    assert_eq!(fs::read(house.path("grapnel.db")).unwrap(), before);
    let beside = house.files().into_iter().filter(|name| name.contains("grapnel"));
    assert_eq!(beside.collect::<Vec<_>>(), ["grapnel.db"], "and nothing is left of the tries");
}

#[tokio::test]
async fn a_broken_database_is_kept_as_it_is_and_a_backup_takes_its_place() {
    let house = House::new();
    house.deploy().await;
    house.backup("copy", false).await.unwrap();
    fs::write(house.path("grapnel.db"), vec![0xff; 40_000]).unwrap();
    fs::write(house.path("grapnel.db-wal"), "the log of the broken one").unwrap();
    let kept = restore(&house.path("copy"), &house.url, now()).await.unwrap().kept.unwrap();
    assert_eq!(fs::metadata(&kept).unwrap().len(), 40_000);
    assert!(!house.path("grapnel.db-wal").exists(), "no log of another database lies below it");
    assert_eq!(house.deploy().await.1, 2);
}

fn postgres(program: &str, arguments: &[&str]) {
    let done = Command::new(program).args(arguments).output().unwrap();
    assert!(done.status.success(), "{program}: {}", String::from_utf8_lossy(&done.stderr));
}

#[tokio::test]
async fn postgresql_is_backed_up_and_restored_by_its_own_programs_as_documented() {
    let (from, to) = (new_postgres_database().await, new_postgres_database().await);
    let directory = tempfile::tempdir().unwrap();
    let file: &Path = &directory.path().join("grapnel.dump");
    let (source, team, project) = app(&from).await;
    let id = source.trigger_deployment(team.id, &project, None, true).await.unwrap().id;
    let path = file.to_str().unwrap();
    postgres("pg_dump", &["--format=custom", "--file", path, &from]);
    let documented = ["--no-owner", "--exit-on-error", "--single-transaction", "--dbname", &to, path];
    postgres("pg_restore", &documented);
    let store = grapnel_hooks::store::Store::open(&to).await.unwrap();
    assert_eq!(
        store.deployment(team.id, id).await.unwrap().project_id.to_string(),
        match project {
            grapnel_hooks::store::projects::ProjectRef::Id(id) => id.to_string(),
            other => panic!("{other:?}"),
        }
    );
    for url in [&from, &to] {
        let _ = fs::remove_file(crate::support::secret_key_file(url));
    }
}
