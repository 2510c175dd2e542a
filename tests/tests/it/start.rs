//! Starts that cannot be: each says what is wrong, and what to do.

use std::process::{Command, Output};

use grapnel_e2e::{Grapnel, Repository, Setup, grapnel::binary};
use grapnel_proto::hooks::v1::{CreateProjectRequest, DeploymentState};

fn up(settings: &[(&str, &str)]) -> Output {
    let directory = tempfile::tempdir().unwrap();
    let listeners =
        ["GATEWAY", "HOOKS", "EXECUTOR", "SITES"].map(|it| (format!("GRAPNEL_{it}_LISTEN"), "127.0.0.1:0"));
    Command::new("timeout")
        .arg("20")
        .arg(binary())
        .arg("up")
        .env_remove("GRAPNEL_TEST_CA_BUNDLE")
        .env_remove("GRAPNEL_TEST_GRPCURL")
        .env_remove("GRAPNEL_TEST_PRISM")
        .env("GRAPNEL_DATA_DIR", directory.path())
        .envs(listeners)
        .envs(settings.iter().copied())
        .output()
        .unwrap()
}

#[test]
fn a_port_that_is_taken_is_named() {
    let held = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = held.local_addr().unwrap().to_string();
    let output = up(&[("GRAPNEL_GATEWAY_LISTEN", &address)]);
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains(&format!("cannot listen on {address}")), "{said}");
}

#[test]
fn a_data_directory_that_cannot_be_used_is_named() {
    let output = up(&[("GRAPNEL_DATA_DIR", "/proc/nothing")]);
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("the data directory /proc/nothing cannot be used"), "{said}");
}

#[test]
fn every_wrong_setting_is_named_at_once() {
    let output = up(&[
        ("GRAPNEL_PLAN", "gold"),
        ("GRAPNEL_BUILD_TIMEOUT", "soon"),
        ("GRAPNEL_EXECUTOR_SLOTS", "0"),
        ("GRAPNEL_EXECUTOR_SLOT", "1"),
        ("GRAPNEL_TLS_CERT", "/nowhere/cert.pem"),
    ]);
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8_lossy(&output.stderr);
    for named in [
        "GRAPNEL_PLAN = `gold`",
        "GRAPNEL_BUILD_TIMEOUT = `soon`",
        "at least 1",
        "did you mean GRAPNEL_EXECUTOR_SLOTS",
        "tls.key",
    ] {
        assert!(said.contains(named), "{named} is not named in: {said}");
    }
}

#[test]
fn a_client_without_a_service_says_where_it_looked_and_exits_3() {
    let key =
        String::from_utf8(Command::new(binary()).args(["key", "generate"]).output().unwrap().stdout).unwrap();
    let client = |arguments: &[&str], key: &str| {
        let mut command = Command::new(binary());
        command.args(arguments).env("GRAPNEL_URL", "http://127.0.0.1:1").env("GRAPNEL_KEY", key);
        command.output().unwrap()
    };
    let output = client(&["project", "list"], key.trim());
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(3), "{said}");
    assert!(said.contains("http://127.0.0.1:1") && said.contains("grapnel up"), "{said}");
    assert_eq!(client(&["project", "list"], "nonsense").status.code(), Some(1));
    assert_eq!(client(&["projct"], "x").status.code(), Some(2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_docker_the_service_goes_on_and_the_deployment_says_why() {
    let grapnel = Grapnel::start(Setup::default().set("EXECUTOR_DOCKER", "/nowhere/docker.sock")).await;
    let site = Repository::with(&grapnel.repositories().join("site"), &[("index.html", "hi")]);
    let request =
        CreateProjectRequest { name: "site".into(), repository_url: site.path(), ..Default::default() };
    let (_, url) = grapnel.project(request).await;
    let ended = grapnel.ended(&grapnel.trigger(&url).await).await;
    assert_eq!((ended.state(), ended.attempt), (DeploymentState::Error, 3));
    let failure = ended.failure.unwrap();
    assert_eq!(failure.code, "ENGINE_UNAVAILABLE");
    assert!(failure.message.contains("/nowhere/docker.sock"), "{}", failure.message);
}
