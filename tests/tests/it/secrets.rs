//! Where tokens and keys must not be: in anything that a process of ours writes, shows, or passes on.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use grapnel_e2e::{Grapnel, Repository, Setup};
use grapnel_proto::hooks::v1::{BuildSettings, CreateProjectRequest};

/// Finds every file below a directory that contains one of the secrets.
fn files_with(directory: &Path, secrets: &[String], found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).unwrap().flatten() {
        let path = entry.path();
        if path.is_symlink() {
            continue;
        }
        if path.is_dir() {
            files_with(&path, secrets, found);
        } else if let Ok(bytes) = fs::read(&path)
            && secrets.iter().any(|secret| contains(&bytes, secret))
        {
            found.push(path);
        }
    }
}

fn contains(bytes: &[u8], secret: &str) -> bool {
    bytes.windows(secret.len()).any(|window| window == secret.as_bytes())
}

fn printed(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().unwrap();
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// The environments and command lines of every process but this test's own and `others`.
fn of_processes(others: &[u32]) -> String {
    let mut text = String::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let number: Option<u32> = entry.file_name().to_str().and_then(|name| name.parse().ok());
        if number.is_some_and(|number| !others.contains(&number) && number != std::process::id()) {
            for name in ["environ", "cmdline"] {
                text += &String::from_utf8_lossy(&fs::read(entry.path().join(name)).unwrap_or_default());
            }
        }
    }
    text
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s0_tokens_and_keys_are_nowhere_but_where_they_were_given_out() {
    let grapnel = Grapnel::start(Setup::default().set("LOG_LEVEL", "trace")).await;
    let site = Repository::with(&grapnel.repositories().join("site"), &[("index.html", "hi")]);
    let settings = BuildSettings {
        build_command: Some("env; cat /proc/*/environ 2>/dev/null; echo waiting; sleep 4".into()),
        output_directory: Some(".".into()),
        ..Default::default()
    };
    let request = CreateProjectRequest {
        name: "site".into(),
        repository_url: site.path(),
        settings: Some(settings),
        ..Default::default()
    };
    let (_, url) = grapnel.project(request).await;
    let key = grapnel.key();
    let token = url.rsplit('/').next().unwrap().to_owned();
    // Another key, another token by rotation, and wrong ones that look right.
    let made: serde_json::Value = serde_json::from_slice(
        &grapnel.cli(&["key", "create", "ci", "--scopes", "deploy", "--output", "json"]).stdout,
    )
    .unwrap();
    let other_key = made["secret"].as_str().unwrap().to_owned();
    let hooks: serde_json::Value =
        serde_json::from_slice(&grapnel.cli(&["hook", "list", "site", "--output", "json"]).stdout).unwrap();
    let hook = hooks["hooks"][0]["id"].as_str().unwrap().to_owned();
    let rotated: serde_json::Value =
        serde_json::from_slice(&grapnel.cli(&["hook", "rotate", &hook, "--output", "json"]).stdout).unwrap();
    let new_url = rotated["url"].as_str().unwrap().to_owned();
    let new_token = new_url.rsplit('/').next().unwrap().to_owned();
    let client = grapnel_e2e::http_client();
    for request in [
        client.get(&url).header("Referer", &url),
        client.put(&url),
        client.post(format!("{url}?buildCache=maybe")),
        client.post(format!("{new_url}/more")),
        client.get(grapnel.url("/v1/deployments/dpl_x")).bearer_auth(&other_key),
    ] {
        let answer = request.send().await.unwrap();
        let text = format!("{:?} {}", answer.headers().clone(), answer.text().await.unwrap());
        assert!(!text.contains(&token) && !text.contains(&new_token) && !text.contains(&other_key), "{text}");
    }
    let id = grapnel.trigger(&new_url).await;
    let begun = std::time::Instant::now();
    while !printed("docker", &["ps", "--format", "{{.Names}}"]).contains(&id) {
        assert!(begun.elapsed().as_secs() < 30, "{}", grapnel.log());
    }
    let secrets = [key.clone(), token, other_key, new_token];
    let none_in = |what: &str, text: &str| {
        for secret in &secrets {
            // The middle of it is as bad as all of it.
            assert!(!text.contains(&secret[6..30]), "a secret is in {what}");
        }
    };
    let inspected = printed("docker", &["inspect", &format!("grapnel-{id}-1")]);
    assert!(inspected.contains("grapnel.deployment"), "the sandbox was there to be looked at: {inspected}");
    none_in("docker inspect", &inspected);
    none_in("other processes", &of_processes(&[grapnel.pid()]));
    grapnel.ready(&id).await;
    none_in("the log of the processes", &grapnel.log());
    assert!(grapnel.log().contains("TRACE") || grapnel.log().contains("DEBUG"), "the log says much");
    for arguments in [
        vec!["deployment", "logs", id.as_str()],
        vec!["deployment", "show", &id, "--output", "json"],
        vec!["hook", "list", "site", "--output", "json"],
        vec!["triggers", "site", "--output", "json"],
        vec!["key", "list", "--output", "json"],
        vec!["project", "list", "--output", "json"],
    ] {
        let output = grapnel.cli(&arguments);
        none_in(arguments[0], &String::from_utf8_lossy(&output.stdout));
        none_in(arguments[0], &String::from_utf8_lossy(&output.stderr));
    }
    for path in ["/metrics", "/healthz"] {
        let answer = client.get(grapnel.url(path)).send().await.unwrap();
        none_in(path, &answer.text().await.unwrap());
    }
    let mut found = Vec::new();
    files_with(&grapnel.data(), &secrets.map(|secret| secret[6..30].to_owned()), &mut found);
    assert_eq!(found, [grapnel.data().join("admin.key")], "only the file that was made for it");
    let mode = std::os::unix::fs::MetadataExt::mode(&found[0].metadata().unwrap());
    assert_eq!(mode & 0o777, 0o600);
}

/// A CMS that gives its content to whoever shows the token. It listens where Docker's containers reach the host.
async fn cms(token: &'static str) -> String {
    let bridge = printed("ip", &["-4", "-o", "addr", "show", "docker0"]);
    let host = bridge.split_whitespace().skip_while(|word| *word != "inet").nth(1).unwrap();
    let host = host.split('/').next().unwrap();
    let listener = tokio::net::TcpListener::bind(format!("{host}:0")).await.unwrap();
    let address = listener.local_addr().unwrap();
    let content = async move |headers: axum::http::HeaderMap| {
        let shown = headers.get("authorization").and_then(|shown| shown.to_str().ok());
        if shown != Some(&format!("Bearer {token}")) {
            return Err(axum::http::StatusCode::UNAUTHORIZED);
        }
        let post = serde_json::json!({ "title": "A storm", "date": "2026-11-25", "text": "It blew." });
        Ok(axum::Json(serde_json::json!({ "title": "From the CMS", "tagline": "Fresh", "posts": [post] })))
    };
    let router = axum::Router::new().route("/site.json", axum::routing::get(content));
    tokio::spawn(async move { axum::serve(listener, router).await });
    format!("http://{address}")
}

/// The processes of a container: the one that the engine started first.
fn of_container(name: &str) -> Vec<u32> {
    let first = printed("docker", &["inspect", "--format", "{{.State.Pid}}", name]);
    let all = printed("docker", &["top", name, "-eo", "pid"]);
    let all = all.lines().filter_map(|line| line.trim().parse().ok());
    std::iter::once(first.trim().parse().unwrap()).chain(all).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s0_a_secret_variable_is_nowhere_but_in_its_build() {
    const TOKEN: &str = "cms-4f9a1c7be2d84e0db6";
    let setup = Setup::default().set("LOG_LEVEL", "trace").set("EXECUTOR_NETWORK", "open");
    let grapnel = Grapnel::start(setup).await;
    let site = Repository::from_example(&grapnel.repositories().join("site"), "vite-site");
    // It reads its token as it should, and then does all that a build can do to spill it.
    let spill = "npm run build; code=$?; env; echo \"token: $CMS_TOKEN\"; printf 'cms-4f9a1c7' ; sleep 0.2; \
         printf 'be2d84e0db6\\n'; echo \"$CMS_TOKEN\" >&2; echo waiting; sleep 8; exit $code";
    let settings = BuildSettings { build_command: Some(spill.into()), ..Default::default() };
    let request = CreateProjectRequest {
        name: "site".into(),
        repository_url: site.path(),
        settings: Some(settings),
        ..Default::default()
    };
    let (_, url) = grapnel.project(request).await;
    let file = grapnel.repositories().join("token");
    fs::write(&file, format!("{TOKEN}\n")).unwrap();
    let cms = cms(TOKEN).await;
    let mut shown = vec![
        grapnel.cli(&["env", "set", "site", &format!("CMS_URL={cms}")]),
        grapnel.cli(&["env", "set", "site", "CMS_TOKEN", "--secret", "--value-file", file.to_str().unwrap()]),
    ];
    assert!(shown.iter().all(|output| output.status.success()), "{shown:?}");
    fs::remove_file(&file).unwrap();
    let none_in = |what: &str, text: &str| {
        // The middle of it is as bad as all of it.
        assert!(!text.contains(&TOKEN[4..18]), "the token is in {what}: {text}");
    };
    let none_on_disk = || {
        let mut found = Vec::new();
        files_with(&grapnel.data(), &[TOKEN[4..18].to_owned()], &mut found);
        assert_eq!(found, Vec::<PathBuf>::new());
    };
    let id = grapnel.trigger(&url).await;
    let begun = std::time::Instant::now();
    let logs = || printed_by(&grapnel.cli(&["deployment", "logs", &id]));
    // The log begins the step with its command: only a line that is the word says that the step is there, and that no other
    // process of it comes and goes while they are looked through.
    while !logs().lines().any(|line| line.trim_end().ends_with("waiting")) {
        assert!(begun.elapsed().as_secs() < 90, "{}\n{}", logs(), grapnel.log());
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    let container = format!("grapnel-{id}-1");
    let inspected = printed("docker", &["inspect", &container]);
    assert!(inspected.contains("grapnel.deployment"), "the sandbox was there to be looked at: {inspected}");
    none_in("docker inspect", &inspected);
    let own = of_container(&container);
    none_in("other processes", &of_processes(&own));
    let runner = format!("/proc/{}/environ", own[0]);
    none_in("the runner's environment", &String::from_utf8_lossy(&fs::read(runner).unwrap()));
    none_on_disk();

    grapnel.ready(&id).await;
    let page = grapnel.page("site", "/").await.text().await.unwrap();
    assert!(page.contains("From the CMS"), "the build had its token: {page}");
    let log = logs();
    assert!(log.contains("token: ***") && log.contains("CMS_TOKEN=***"), "{log}");
    assert_eq!(log.lines().filter(|line| line.trim_end().ends_with("***")).count(), 4, "{log}");
    for arguments in [
        vec!["deployment", "logs", id.as_str(), "--output", "json"],
        vec!["deployment", "show", &id, "--output", "json"],
        vec!["env", "list", "site"],
        vec!["env", "list", "site", "--output", "json"],
        vec!["project", "show", "site", "--output", "json"],
        vec!["triggers", "site", "--output", "json"],
    ] {
        shown.push(grapnel.cli(&arguments));
    }
    shown.iter().for_each(|output| none_in("what commands print", &printed_by(output)));
    let client = grapnel_e2e::http_client();
    for path in
        ["/metrics".to_owned(), format!("/v1/deployments/{id}/events"), format!("/v1/deployments/{id}")]
    {
        let answer = client.get(grapnel.url(&path)).bearer_auth(grapnel.key()).send().await.unwrap();
        assert!(answer.status().is_success(), "{path}");
        none_in(&path, &answer.text().await.unwrap());
    }
    none_in("the log of the processes", &grapnel.log());
    assert!(grapnel.log().contains("TRACE"), "the log says much");
    // Under another key too, and with nothing but a build to read it.
    let rotated = grapnel.cli(&["secrets", "rotate"]);
    assert!(printed_by(&rotated).contains("1 secrets are sealed under the key"), "{rotated:?}");
    none_on_disk();
    let mode = std::os::unix::fs::MetadataExt::mode(&grapnel.data().join("secret.key").metadata().unwrap());
    assert_eq!(mode & 0o777, 0o600);
    let again = grapnel.trigger(&url).await;
    grapnel.ready(&again).await;
}

fn printed_by(output: &std::process::Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}
