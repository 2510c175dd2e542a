//! Going back and forward, looking before something is made, and who asks.

use std::process::Output;

use grapnel_e2e::{Grapnel, Repository, Setup};

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn json(grapnel: &Grapnel, arguments: &[&str]) -> serde_json::Value {
    let output = grapnel.cli(&[arguments, &["--output", "json"]].concat());
    assert!(output.status.success(), "{arguments:?}: {}", text(&output));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Deploys the production branch to READY and returns the deployment's id.
fn deployed(grapnel: &Grapnel) -> String {
    let output = grapnel.cli(&["deploy", "harbour", "--wait"]);
    assert!(output.status.success(), "{}", text(&output));
    String::from_utf8(output.stdout).unwrap().lines().next().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn somebody_goes_back_by_command_and_forward_again() {
    let grapnel = Grapnel::start(Setup::default()).await;
    let site = Repository::with(&grapnel.repositories().join("site"), &[("index.html", "one")]);
    assert!(grapnel.cli(&["project", "create", "harbour", "--repo", &site.path()]).status.success());
    assert!(text(&grapnel.cli(&["address", "list", "harbour"])).contains("nothing is served yet"));
    let one = deployed(&grapnel);
    site.write("index.html", "two");
    site.commit("Say two");
    let two = deployed(&grapnel);
    let served = |grapnel: &Grapnel| json(grapnel, &["address", "list", "harbour"])["addresses"][0].clone();
    assert_eq!(served(&grapnel)["deploymentId"], two.as_str());

    let back = grapnel.cli(&["deployment", "promote", &one]);
    assert!(back.status.success(), "{}", text(&back));
    assert!(
        text(&back).contains(&format!("`grapnel deployment promote {two}` goes back")),
        "{}",
        text(&back)
    );
    let address = served(&grapnel);
    assert_eq!((&address["deploymentId"], &address["held"]), (&one.as_str().into(), &true.into()));
    assert!(text(&grapnel.cli(&["address", "list", "harbour", "--branch", "main"])).contains("held"));

    let refused = grapnel.cli(&["deployment", "delete", &one]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(text(&refused).contains("`grapnel address list <project>`"), "{}", text(&refused));
    assert!(grapnel.cli(&["deployment", "promote", &two]).status.success());
    assert_eq!(served(&grapnel)["held"], false);
    assert!(grapnel.cli(&["deployment", "delete", &one]).status.success());
    assert_eq!(grapnel.cli(&["deployment", "show", &one]).status.code(), Some(1));

    let failed = grapnel.cli(&["deploy", "harbour", "--branch", "nowhere", "--wait", "--output", "json"]);
    assert_eq!(failed.status.code(), Some(1), "a document a line, and the result");
    let errors = json(&grapnel, &["deployment", "list", "--state", "error", "--branch", "nowhere"]);
    assert_eq!(errors["deployments"].as_array().unwrap().len(), 1, "{errors}");
    let failed = errors["deployments"][0]["id"].as_str().unwrap();
    let refused = grapnel.cli(&["deployment", "promote", failed]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(text(&refused).contains("--state READY"), "{}", text(&refused));
    let all = text(&grapnel.cli(&["deployment", "list"]));
    assert!(all.contains("PROJECT") && all.contains("harbour") && all.contains(&two), "{all}");

    let watched = grapnel.cli(&["deployment", "watch", &two]);
    assert!(watched.status.success());
    assert!(text(&watched).contains("output ") && text(&watched).contains("[READY]"), "{}", text(&watched));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repository_is_looked_at_before_it_becomes_a_project() {
    let grapnel = Grapnel::start(Setup::default()).await;
    let site = Repository::with(&grapnel.repositories().join("site"), &[("index.html", "hi")]);
    site.git(&["branch", "preview"]);
    let path = site.path();
    let branches = text(&grapnel.cli(&["project", "branches", &path]));
    assert!(branches.contains("main") && branches.contains("preview"), "{branches}");

    let create = |branch: &[&str]| {
        let arguments = [&["project", "create", "harbour", "--repo", &path, "--check"], branch].concat();
        grapnel.cli(&arguments)
    };
    let refused = create(&["--branch", "preveiw"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(text(&refused).contains("Did you mean `preview`?"), "{}", text(&refused));
    assert!(json(&grapnel, &["project", "list"])["projects"].as_array().unwrap().is_empty());
    let created = create(&[]);
    assert!(created.status.success(), "{}", text(&created));
    assert_eq!(json(&grapnel, &["project", "show", "harbour"])["productionBranch"], "main");
    assert_eq!(json(&grapnel, &["project", "branches", "harbour"])["defaultBranch"], "main");

    let nowhere = grapnel.repositories().join("nowhere").display().to_string();
    let refused = grapnel.cli(&["project", "create", "other", "--repo", &nowhere, "--check"]);
    assert_eq!(refused.status.code(), Some(1), "{}", text(&refused));
    assert!(text(&refused).contains("docs/sources.md"), "{}", text(&refused));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_asks_is_told_who_that_is() {
    let grapnel = Grapnel::start(Setup::default()).await;
    let key = json(&grapnel, &["key", "create", "reader", "--scopes", "read,deploy"]);
    let secret = key["secret"].as_str().unwrap();
    let output = grapnel.command(&["whoami"]).env("GRAPNEL_KEY", secret).output().unwrap();
    let told = text(&output);
    for part in ["reader", "read, deploy", "hobby", &secret[secret.len() - 4..]] {
        assert!(told.contains(part), "{part}: {told}");
    }
    assert!(!told.contains(secret), "{told}");
    assert_eq!(json(&grapnel, &["whoami"])["scopes"], serde_json::json!(["admin"]));
}
