//! `grapnel backup` under load, and `grapnel restore` on a machine that has nothing else.

use std::{
    fs,
    process::{Command, Output},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use grapnel_e2e::{Grapnel, Repository, Setup, grapnel::binary, http_client};
use grapnel_proto::hooks::v1::{BuildSettings, CreateProjectRequest};

/// Runs a command of the operator's, who has the data directory.
fn operate(grapnel: &Grapnel, arguments: &[&str]) -> Output {
    let mut command = Command::new(binary());
    command.args(arguments).env("GRAPNEL_DATA_DIR", grapnel.data()).output().unwrap()
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

async fn site(grapnel: &Grapnel) -> String {
    let site = Repository::with(&grapnel.repositories().join("site"), &[("index.html", "hi")]);
    let request = CreateProjectRequest {
        name: "site".into(),
        repository_url: site.path(),
        settings: Some(BuildSettings { output_directory: Some(".".into()), ..Default::default() }),
        ..Default::default()
    };
    grapnel.project(request).await.1
}

/// Requests a hook again and again, and remembers what was answered.
async fn request(url: String, answered: Arc<Mutex<Vec<String>>>, enough: Arc<AtomicBool>) {
    let client = http_client();
    while !enough.load(Ordering::Relaxed) {
        let answer: serde_json::Value = client.post(&url).send().await.unwrap().json().await.unwrap();
        answered.lock().unwrap().push(answer["job"]["id"].as_str().unwrap().to_owned());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_under_load_has_everything_that_was_answered_before_it_began() {
    let setup =
        Setup::default().embedded().set("RATE_LIMIT_HOOK", "1000000").set("RATE_LIMIT_ADDRESS", "1000000");
    let mut grapnel = Grapnel::start(setup).await;
    let url = site(&grapnel).await;
    let built = grapnel.trigger(&url).await;
    grapnel.ready(&built).await;

    let (answered, enough) = (Arc::<Mutex<Vec<String>>>::default(), Arc::new(AtomicBool::new(false)));
    let load = [(); 4].map(|()| tokio::spawn(request(url.clone(), answered.clone(), enough.clone())));
    while answered.lock().unwrap().len() < 100 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let before = answered.lock().unwrap().clone();
    let file = grapnel.repositories().join("grapnel.backup").display().to_string();
    let taken = tokio::task::block_in_place(|| operate(&grapnel, &["backup", &file]));
    assert!(taken.status.success(), "{}", said(&taken));
    let meanwhile = answered.lock().unwrap().len() - before.len();
    assert!(meanwhile > 0, "triggers go on while it is taken");
    enough.store(true, Ordering::Relaxed);
    for requesting in load {
        requesting.await.unwrap();
    }
    for told in ["secret.key", "artifacts", "deployments"] {
        assert!(said(&taken).contains(told), "{}", said(&taken));
    }
    let refused = operate(&grapnel, &["restore", &file]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(said(&refused).contains("in use"), "{}", said(&refused));

    // A machine that has only the backup, and what is kept apart from it.
    grapnel.kill();
    let lost = grapnel.data().with_extension("lost");
    fs::rename(grapnel.data(), &lost).unwrap();
    fs::create_dir(grapnel.data()).unwrap();
    let without = operate(&grapnel, &["--output", "json", "restore", &file]);
    assert!(without.status.success(), "{}", said(&without));
    let told: serde_json::Value = serde_json::from_slice(&without.stdout).unwrap();
    assert_eq!((&told["projects"], &told["hooks"]), (&1.into(), &1.into()));
    for kept_apart in ["secret.key", "admin.key"] {
        fs::copy(lost.join(kept_apart), grapnel.data().join(kept_apart)).unwrap();
    }
    grapnel.start_again().await;
    for id in &before {
        grapnel.ended(id).await;
    }
    let page = grapnel.page(&built, "/").await;
    assert_eq!(page.status(), 404);
    assert!(page.text().await.unwrap().contains("missing, though it is READY"), "it is told honestly");
    let again = grapnel.trigger(&url).await;
    grapnel.ready(&again).await;
    grapnel.page_says("site", "/", "hi").await;
    grapnel.nothing_is_left().await;
}
