//! Artifacts in a bucket: executor and gateway share no disk.

use std::{fs, path::PathBuf, process::Command};

use grapnel_e2e::{S3Fault, S3Server, grapnel::binary};
use reqwest::{Method, StatusCode};

use crate::processes::{Manner, Processes};

const FILES: [(&str, &str); 4] = [
    ("index.html", "from a bucket"),
    ("404.html", "nothing is moored here"),
    ("assets/site.css", "body{}"),
    ("docs/index.html", "the handbook"),
];

async fn start(server: &S3Server, more: &[(&str, &str)]) -> Processes {
    let more = more.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    let settings = server.settings().into_iter().chain(more).collect();
    Processes::start(Manner { apart: true, settings, ..Manner::default() }).await
}

fn kept(processes: &Processes) -> Vec<PathBuf> {
    let cache = processes.data("gateway").join("sites-cache");
    fs::read_dir(cache).unwrap().map(|entry| entry.unwrap().path()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_processes_that_share_no_disk_deploy_a_site_and_serve_it_as_from_a_disk() {
    let server = S3Server::start().await;
    let mut processes = start(&server, &[]).await;
    processes.deploy(&FILES).await;
    assert!(!processes.data("gateway").join("artifacts").exists());
    assert!(!processes.data("executor").join("artifacts").exists());
    assert_eq!(fs::read_dir(processes.data("executor").join("uploads")).unwrap().count(), 0);

    let page = processes.page("/").send().await.unwrap();
    assert_eq!(page.headers()["content-type"], "text/html; charset=utf-8");
    let tag = page.headers()["etag"].clone();
    assert_eq!(page.text().await.unwrap(), "from a bucket");
    let known = processes.page("/").header("if-none-match", &tag).send().await.unwrap();
    assert_eq!(known.status(), StatusCode::NOT_MODIFIED);
    let part = processes.page("/").header("range", "bytes=5-8").send().await.unwrap();
    assert_eq!((part.status(), &part.headers()["etag"]), (StatusCode::PARTIAL_CONTENT, &tag));
    assert_eq!(part.headers()["content-range"], "bytes 5-8/13");
    assert_eq!(part.text().await.unwrap(), "a bu");
    let beyond = processes.page("/").header("range", "bytes=99-").send().await.unwrap();
    assert_eq!(beyond.status(), StatusCode::RANGE_NOT_SATISFIABLE);
    let missing = processes.page("/nowhere").send().await.unwrap();
    assert_eq!(missing.status(), StatusCode::NOT_FOUND);
    assert_eq!(missing.text().await.unwrap(), "nothing is moored here");
    assert_eq!(processes.page("/docs/").send().await.unwrap().text().await.unwrap(), "the handbook");
    assert_eq!(server.asked(&Method::GET, "/blobs/"), 3, "each file came once");

    // Warm: it has the files. Cold: it fetches them again.
    processes.kill("gateway");
    processes.start_gateway().await;
    assert_eq!(processes.page("/").send().await.unwrap().text().await.unwrap(), "from a bucket");
    assert_eq!(server.asked(&Method::GET, "/blobs/"), 3);
    processes.kill("gateway");
    fs::remove_dir_all(processes.data("gateway")).unwrap();
    processes.start_gateway().await;
    assert_eq!(processes.page("/").send().await.unwrap().text().await.unwrap(), "from a bucket");
    assert_eq!(server.asked(&Method::GET, "/blobs/"), 4);
    assert!(!processes.logs().contains(S3Server::SECRET_ACCESS_KEY));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_the_bucket_is_away_a_gateway_serves_what_it_has_and_says_when_to_come_back() {
    let server = S3Server::start().await;
    let processes = start(&server, &[]).await;
    processes.deploy(&FILES).await;
    assert_eq!(processes.page("/").send().await.unwrap().status(), StatusCode::OK);
    server.spoil(Method::GET, "", S3Fault::Refuses);
    assert_eq!(processes.page("/").send().await.unwrap().status(), StatusCode::OK);
    let away = processes.page("/assets/site.css").send().await.unwrap();
    assert_eq!(
        (away.status(), &away.headers()["retry-after"]),
        (StatusCode::SERVICE_UNAVAILABLE, &"5".parse().unwrap())
    );
    assert!(away.text().await.unwrap().contains("Try again in a moment"));
    server.spoil(Method::GET, "", S3Fault::Garbles);
    let garbled = processes.page("/assets/site.css").send().await.unwrap();
    assert_eq!(garbled.status(), StatusCode::SERVICE_UNAVAILABLE);
    server.heal();
    let back = processes.page("/assets/site.css").send().await.unwrap();
    assert_eq!((back.status(), back.text().await.unwrap().as_str()), (StatusCode::OK, "body{}"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_keeps_no_more_than_it_was_told_to() {
    let server = S3Server::start().await;
    let processes = start(&server, &[("SITES_CACHE_BYTES", "3KiB")]).await;
    processes.deploy(&FILES).await;
    for _ in 0..2 {
        for (path, content) in [
            ("/", FILES[0].1),
            ("/assets/site.css", FILES[2].1),
            ("/docs/", FILES[3].1),
            ("/404", FILES[1].1),
        ] {
            assert_eq!(processes.page(path).send().await.unwrap().text().await.unwrap(), content);
            assert!(kept(&processes).len() <= 3, "{:?}", kept(&processes));
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_doctor_tries_the_bucket() {
    let server = S3Server::start().await;
    let directory = tempfile::tempdir().unwrap();
    let ask = || {
        let mut doctor = Command::new(binary());
        doctor.args(["doctor", "--output", "json"]).env("GRAPNEL_DATA_DIR", directory.path());
        for name in ["CA_BUNDLE", "GRPCURL", "PRISM"] {
            doctor.env_remove(format!("GRAPNEL_TEST_{name}"));
        }
        for (name, value) in server.settings() {
            doctor.env(format!("GRAPNEL_{name}"), value);
        }
        let found: serde_json::Value = serde_json::from_slice(&doctor.output().unwrap().stdout).unwrap();
        let finding = found.as_array().unwrap().iter().find(|finding| finding["check"] == "artifacts");
        finding.unwrap().clone()
    };
    let (finding, asked) = tokio::task::block_in_place(|| (ask(), server.keys("sites")));
    assert_eq!(finding["health"], "ok", "{finding}");
    assert_eq!(asked, Vec::<String>::new(), "it leaves nothing");
    server.spoil(Method::PUT, "/probes/", S3Fault::Refuses);
    let finding = tokio::task::block_in_place(ask);
    assert_eq!(finding["health"], "failure", "{finding}");
    assert!(finding["found"].as_str().unwrap().contains("does not allow what we asked it for"), "{finding}");
    assert!(!finding.to_string().contains(S3Server::SECRET_ACCESS_KEY));
}
