//! The command line, as people and programs use it.

mod following;
mod pipes;
mod refusals;
mod releases;
mod terminals;

use std::{
    io::Write as _,
    process::{Command, Output, Stdio},
};

use grapnel_e2e::{Grapnel, Repository, Setup, grapnel::binary};

fn said(output: &Output) -> String {
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let code = output.status.code().unwrap_or(-1);
    let exit = if code == 0 { String::new() } else { format!("[exit {code}]\n") };
    let lines = |text: &str| text.lines().map(|line| format!("{}\n", line.trim_end())).collect::<String>();
    format!("{}{}{exit}", lines(&out), lines(&err))
}

/// Puts a word in place of what differs from run to run.
fn steady(text: &str, grapnel: &Grapnel) -> String {
    let (executor, address) = grapnel.executor();
    let text = text
        .replace(&address, "http://executor")
        .replace(executor, "<executor>")
        .replace(&grapnel.repositories().display().to_string(), "<repositories>")
        .replace(&grapnel.url(""), "http://gateway");
    let mut steady = String::new();
    for line in text.lines() {
        let mut words: Vec<String> = line.split(' ').map(word).collect();
        for at in 1..words.len() {
            if words[at] == "ms)" {
                words[at - 1] = words[at - 1].replace(|c: char| c.is_ascii_digit(), "");
                words[at] = "<n> ms)".to_owned();
            }
        }
        steady += &words.join(" ");
        steady.push('\n');
    }
    steady
}

fn word(word: &str) -> String {
    for (prefix, name) in [
        ("prj_", "<project>"),
        ("hook_", "<hook>"),
        ("dpl_", "<deployment>"),
        ("key_", "<key>"),
        ("cred_", "<credential>"),
        ("grh_", "<token>"),
        ("gra_", "<secret>"),
    ] {
        if let Some(at) = word.find(prefix) {
            let id: String =
                word[at..].chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect();
            if id.len() > prefix.len() + 20 {
                return self::word(&word.replace(&id, name));
            }
        }
    }
    if word.starts_with("AAAAC3Nza") {
        return "<public key>".to_owned();
    }
    if word.starts_with("SHA256:") {
        return "SHA256:<fingerprint>".to_owned();
    }
    if word.len() == 8 && word.chars().all(|c| c.is_ascii_hexdigit()) {
        return "<sealing key>".to_owned();
    }
    if let Some(at) = word.find("localhost:") {
        let port: String = word[at + 10..].chars().take_while(char::is_ascii_digit).collect();
        return word.replace(&format!("localhost:{port}"), "localhost:<port>");
    }
    if word.starts_with('…') {
        return "…<last>".to_owned();
    }
    let shape: String = word.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
    match shape.as_str() {
        "0000-00-00" => return "<date>".to_owned(),
        "00:00:00" => return "<time>".to_owned(),
        "0000-00-00T00:00:00Z" => return "<when>".to_owned(),
        _ => {}
    }
    if word.len() == 12 && word.chars().all(|c| c.is_ascii_hexdigit()) {
        return "<commit>".to_owned();
    }
    word.to_owned()
}

/// Returns the id that a JSON answer has at a path.
fn at(output: &Output, path: &str) -> String {
    let answer: serde_json::Value =
        serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", said(output)));
    answer
        .pointer(path)
        .and_then(|value| value.as_str())
        .unwrap_or_else(|| panic!("{path} of {answer}"))
        .to_owned()
}

#[test]
fn help_says_what_there_is() {
    let help = |arguments: &[&str]| {
        let output = Command::new(binary()).args(arguments).arg("--help").output().unwrap();
        assert!(output.status.success());
        String::from_utf8(output.stdout).unwrap()
    };
    insta::assert_snapshot!("help", help(&[]));
    let commands: Vec<&[&str]> = vec![
        &["project", "create"],
        &["hook", "create"],
        &["hook", "rotate"],
        &["trigger"],
        &["deployment", "list"],
        &["deployment", "logs"],
        &["deployment", "redeploy"],
        &["deployment", "promote"],
        &["key", "create"],
        &["env", "set"],
        &["env", "import"],
        &["credential", "create"],
        &["credential", "trust-host"],
    ];
    let all: Vec<_> = commands.iter().map(|it| format!("# {}\n{}", it.join(" "), help(it))).collect();
    insta::assert_snapshot!("help_of_commands", all.join("\n"));
    let version = Command::new(binary()).arg("--version").output().unwrap();
    assert!(String::from_utf8(version.stdout).unwrap().starts_with("grapnel 0."));
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = Command::new(binary()).args(["completions", shell]).output().unwrap();
        assert!(String::from_utf8(script.stdout).unwrap().contains("grapnel"), "{shell}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_from_the_first_project_to_the_last() {
    let grapnel = Grapnel::start(Setup::default()).await;
    let site = Repository::with(&grapnel.repositories().join("site"), &[("index.html", "hi")]);
    let path = site.path();
    let mut transcript = String::new();
    let mut run = |arguments: &[&str]| {
        let output = grapnel.cli(arguments);
        transcript += &steady(&format!("$ grapnel {}\n{}\n", arguments.join(" "), said(&output)), &grapnel);
        output
    };
    run(&["project", "list"]);
    run(&["project", "create", "harbour", "--repo", &path]);
    run(&["project", "create", "harbour", "--repo", &path]);
    run(&["project", "list"]);
    run(&["project", "update", "harbour", "--build", "true", "--output-dir", "."]);
    run(&["project", "update", "harbour"]);
    run(&["project", "show", "harbour"]);
    run(&["hook", "list", "harbour"]);
    run(&["hook", "create", "harbour", "cms"]);
    let hook = at(&grapnel.cli(&["hook", "list", "harbour", "--output", "json"]), "/hooks/0/id");
    run(&["hook", "list", "harbour"]);
    run(&["hook", "pause", &hook]);
    run(&["trigger", &hook]);
    run(&["hook", "resume", &hook]);
    run(&["hook", "rotate", &hook, "--grace", "60"]);
    run(&["hook", "show", &hook]);
    run(&["limits", "harbour"]);
    run(&["trigger", &hook, "--wait"]);
    run(&["deploy", "harbour", "--branch", "nowhere", "--wait"]);
    let id = at(&grapnel.cli(&["deployment", "list", "harbour", "--output", "json"]), "/deployments/1/id");
    run(&["deployment", "list", "harbour"]);
    run(&["deployment", "list", "harbour", "--hook", "cms", "--limit", "1"]);
    run(&["deployment", "list", "harbour", "--hook", "cmd"]);
    run(&["deployment", "list", "harbour", "--state", "nonsense"]);
    run(&["deployment", "show", &id]);
    run(&["deployment", "logs", &id]);
    run(&["deployment", "redeploy", &id, "--no-cache", "--wait"]);
    run(&["deployment", "cancel", &id]);
    run(&["executor", "list"]);
    run(&["executor", "drain", "nobody"]);
    run(&["cache", "list", "harbour"]);
    run(&["cache", "purge", "harbour", "--branch", "no..where"]);
    run(&["hook", "revoke", &hook]);
    run(&["trigger", &hook]);
    run(&["triggers", "harbour"]);
    run(&["triggers", "harbour", "--decision", "paused"]);
    run(&["triggers", "harbour", "--decision", "nonsense"]);
    run(&["key", "create", "reader", "--scopes", "read,deploy"]);
    run(&["key", "create", "reader", "--scopes", "everything"]);
    run(&["key", "list"]);
    run(&["project", "delete", "harbour"]);
    run(&["project", "show", "harbour"]);
    run(&["deployment", "show", "dpl_nonsense"]);
    insta::assert_snapshot!("session", transcript);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_with_variables_credentials_and_hosts() {
    let grapnel = Grapnel::start(Setup::default()).await;
    let site = Repository::with(&grapnel.repositories().join("site"), &[("index.html", "hi")]);
    let mut transcript = String::new();
    let mut run = |arguments: &[&str], input: &str| {
        let mut child = Command::new(binary())
            .args(arguments)
            .env("GRAPNEL_URL", format!("http://{}", grapnel.grpc()))
            .env("GRAPNEL_KEY", grapnel.key())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        let given = if input.is_empty() { String::new() } else { format!(" < {input:?}") };
        let text = format!("$ grapnel {}{given}\n{}\n", arguments.join(" "), said(&output));
        transcript += &steady(&text, &grapnel);
        output
    };
    run(&["project", "create", "harbour", "--repo", &site.path()], "");
    run(&["env", "list", "harbour"], "");
    run(&["env", "set", "harbour", "API=https://cms.example.org", "DEBUG=1"], "");
    run(&["env", "set", "harbour", "TOKEN", "--secret"], "hunter2-hunter2\n");
    run(&["env", "set", "harbour", "TOKEN=hunter2", "--secret"], "");
    run(&["env", "set", "harbour", "PATH=/evil", "LD_PRELOAD=x", "GRAPNEL_KEY=x"], "");
    run(&["env", "set", "harbour", "PIN", "--secret"], "123");
    run(&["env", "set", "harbour", "API=https://preview.example.org", "--branch", "preview/*"], "");
    run(&["env", "import", "harbour", "-"], "# of a CMS\nSPACE=\"abc def\"\nPORT=80\n");
    run(&["env", "import", "harbour", "-", "--plain", "PORT"], "# of a CMS\nSPACE=\"abc def\"\nPORT=80\n");
    run(&["env", "import", "harbour", "-"], "SPACE\n");
    run(&["env", "list", "harbour"], "");
    run(&["env", "unset", "harbour", "API", "--branch", "preview/*"], "");
    run(&["env", "unset", "harbour", "API", "--branch", "preview/*"], "");
    run(&["credential", "create", "harbour"], "hunter2-hunter2");
    run(&["credential", "create", "harbour", "--origin", "https://git.example.org"], "hunter2-hunter2");
    run(&["credential", "create", "harbour", "--origin", "https://git.example.org"], "hunter2-hunter2");
    run(&["credential", "create", "--origin", "ssh://git.example.org", "--ssh-key"], "");
    let listed = grapnel.cli(&["credential", "list", "--output", "json"]);
    run(&["credential", "list"], "");
    run(&["credential", "delete", &at(&listed, "/credentials/0/id")], "");
    run(&["credential", "trust-host", "127.0.0.1:9"], "");
    run(&["credential", "distrust-host", "git.example.org"], "");
    run(&["credential", "hosts"], "");
    run(&["secrets", "rotate"], "");
    insta::assert_snapshot!("session_with_secrets", transcript);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn programs_get_documents_and_streams_of_them() {
    let grapnel = Grapnel::start(Setup::default()).await;
    let site = Repository::with(&grapnel.repositories().join("site"), &[("index.html", "hi")]);
    let json = |arguments: &[&str]| grapnel.cli(&[arguments, &["--output", "json"]].concat());
    let project = json(&["project", "create", "harbour", "--repo", &site.path()]);
    assert_eq!(at(&project, "/name"), "harbour");
    let url = at(&json(&["hook", "create", "harbour", "cms"]), "/url");
    assert!(url.contains("/v1/integrations/deploy/prj_"), "{url}");

    // The URL is a secret, so it can be read from standard input, where no process list shows it.
    let mut child = Command::new(binary())
        .args(["trigger", "-", "--wait", "--output", "json"])
        .env("GRAPNEL_URL", format!("http://{}", grapnel.grpc()))
        .env("GRAPNEL_KEY", grapnel.key())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(format!("{url}\n").as_bytes()).unwrap();
    let waited = child.wait_with_output().unwrap();
    assert!(waited.status.success(), "{}", said(&waited));
    for line in String::from_utf8(waited.stdout).unwrap().lines() {
        serde_json::from_str::<serde_json::Value>(line).unwrap_or_else(|_| panic!("no document: {line}"));
    }
    let listed = json(&["deployment", "list", "harbour"]);
    assert_eq!(at(&listed, "/deployments/0/state"), "DEPLOYMENT_STATE_READY");
    let id = at(&listed, "/deployments/0/id");
    let events = json(&["deployment", "logs", "--follow", &id]);
    let events = String::from_utf8(events.stdout).unwrap();
    let last: serde_json::Value = serde_json::from_str(events.lines().last().unwrap()).unwrap();
    assert_eq!(last.pointer("/stateChanged/state").unwrap(), "DEPLOYMENT_STATE_READY", "{last}");
    assert_eq!(json(&["deployment", "show", "dpl_nonsense"]).status.code(), Some(1));
    assert_eq!(json(&["project", "create", "x"]).status.code(), Some(2), "wrong use");
}

#[test]
fn doctor_says_of_every_failure_what_to_do() {
    let directory = tempfile::tempdir().unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let doctor = |settings: &[(&str, &str)]| {
        let mut command = Command::new(binary());
        command.args(["doctor", "--output", "json"]).env("GRAPNEL_DATA_DIR", directory.path().join("data"));
        for name in ["GATEWAY", "HOOKS", "EXECUTOR", "SITES"] {
            command.env(format!("GRAPNEL_{name}_LISTEN"), "127.0.0.1:0");
        }
        command
            .env_remove("GRAPNEL_TEST_CA_BUNDLE")
            .env_remove("GRAPNEL_TEST_GRPCURL")
            .env_remove("GRAPNEL_TEST_PRISM");
        let output = command.envs(settings.iter().copied()).output().unwrap();
        let findings: Vec<serde_json::Value> =
            serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", said(&output)));
        (output.status.code(), findings)
    };
    let (code, findings) = doctor(&[]);
    assert_eq!(code, Some(0), "{findings:#?}");
    let of = |findings: &[serde_json::Value], health: &str| -> Vec<serde_json::Value> {
        findings.iter().filter(|finding| finding["health"] == health).cloned().collect()
    };
    for (settings, check, says) in [
        (("GRAPNEL_EXECUTOR_DOCKER", "/nowhere.sock"), "docker", "/nowhere.sock"),
        (("GRAPNEL_DATA_DIR", "/proc/nothing"), "data directory", "/proc/nothing"),
        (("GRAPNEL_DATABASE_URL", "mysql://x/y"), "database", "mysql"),
        (("GRAPNEL_DATABASE_URL", "postgres://nobody@127.0.0.1:1/x"), "database", "127.0.0.1"),
        (("GRAPNEL_BUILDER_IMAGE", "no/such:image"), "builder image", "no/such:image"),
        (("GRAPNEL_CA_BUNDLE", "/nowhere.pem"), "ca_bundle", "/nowhere.pem"),
        (("GRAPNEL_PLAN", "gold"), "settings", "gold"),
    ] {
        let (code, findings) = doctor(&[settings]);
        assert_eq!(code, Some(1), "{settings:?}: {findings:#?}");
        let failures = of(&findings, "failure");
        assert!(
            failures.iter().any(|it| it.to_string().contains(says)),
            "{check} does not name {says}: {failures:#?}"
        );
        for failure in failures {
            assert!(!failure["advice"].as_str().unwrap().is_empty(), "{failure}");
        }
    }
    let (_, findings) = doctor(&[("PATH", "/nowhere")]);
    let ssh: Vec<_> = findings.iter().filter(|finding| finding["check"] == "ssh").collect();
    assert!(ssh.len() == 1 && ssh[0]["health"] == "warning", "{findings:#?}");
    assert!(ssh[0]["advice"].as_str().unwrap().contains("openssh-client"), "{ssh:?}");
    let (code, findings) = doctor(&[("GRAPNEL_GATEWAY_LISTEN", &address)]);
    assert_eq!(code, Some(0));
    assert!(of(&findings, "warning").iter().any(|it| it.to_string().contains(&address)), "{findings:#?}");
}
