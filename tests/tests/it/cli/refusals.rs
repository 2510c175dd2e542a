//! What is said where something is refused: what was probably meant, and what to type next.

use std::process::Output;

use grapnel_e2e::{Grapnel, Repository, Setup};

fn said(output: &Output) -> (Option<i32>, String) {
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slip_is_answered_with_what_was_meant() {
    let grapnel = Grapnel::start(Setup::default()).await;
    let site = Repository::with(&grapnel.repositories().join("site"), &[("index.html", "hi")]);
    assert!(grapnel.cli(&["project", "create", "harbour", "--repo", &site.path()]).status.success());
    assert!(grapnel.cli(&["hook", "create", "harbour", "cms"]).status.success());
    let hooks = grapnel.cli(&["hook", "list", "harbour", "--output", "json"]);
    let hooks: serde_json::Value = serde_json::from_slice(&hooks.stdout).unwrap();
    let hook = hooks["hooks"][0]["id"].as_str().unwrap();

    for (arguments, meant) in [
        (&["project", "show", "harbor"][..], "Did you mean `harbour`?"),
        (&["hook", "list", "harbuor"], "Did you mean `harbour`?"),
        (&["triggers", "harbour", "--hook", "cmd"], hook),
        (&["hook", "pause", "cms"], hook),
        (&["trigger", "CMS"], hook),
        (&["project", "show", "website"], "`grapnel project list` shows the projects"),
    ] {
        let (code, text) = said(&grapnel.cli(arguments));
        assert_eq!(code, Some(1), "{arguments:?}: {text}");
        assert!(text.contains(meant), "{arguments:?}: {text}");
    }
    let (_, text) = said(&grapnel.cli(&["project", "show", "website"]));
    assert!(!text.contains("Did you mean"), "{text}");

    let output = grapnel.cli(&["project", "show", "harbor", "--output", "json"]);
    let error: serde_json::Value = serde_json::from_slice(&output.stderr).unwrap();
    assert_eq!(error["error"]["code"], "PROJECT_NOT_FOUND");
    assert!(error["error"]["hint"].as_str().unwrap().contains("`harbour`"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_refusal_names_the_next_command_and_has_its_exit_code() {
    let grapnel = Grapnel::start(Setup::default()).await;
    let key = grapnel.cli(&["key", "create", "reader", "--scopes", "read", "--output", "json"]);
    let key: serde_json::Value = serde_json::from_slice(&key.stdout).unwrap();
    let reader = key["secret"].as_str().unwrap().to_owned();
    let generated = grapnel.cli(&["key", "generate"]);
    let other = String::from_utf8(generated.stdout).unwrap().trim().to_owned();
    for (name, value, arguments, expected, next) in [
        (
            "GRAPNEL_KEY",
            reader.as_str(),
            &["hook", "create", "x", "cms"][..],
            1,
            "`grapnel key create <name> --scopes write`",
        ),
        ("GRAPNEL_KEY", &other, &["project", "list"], 1, "GRAPNEL_KEY"),
        ("GRAPNEL_KEY", "nonsense", &["project", "list"], 1, "`grapnel key create`"),
        ("GRAPNEL_URL", "http://127.0.0.1:1", &["project", "list"], 3, "`grapnel up` starts it"),
        ("GRAPNEL_URL", "http://127.0.0.1:1", &["deployment", "logs", "-f", "dpl_x"], 3, "GRAPNEL_URL"),
        ("GRAPNEL_URL", "nonsense", &["project", "list"], 2, "nonsense"),
        ("X", "", &["deployment", "show", "dpl_x"], 1, "`grapnel deployment list`"),
        ("X", "", &["deployment", "list", "--hook", "cms"], 2, "no project is given"),
        ("X", "", &["deployment", "list", "--limit", "0"], 2, "--limit"),
        ("X", "", &["endpoint", "show", "ep_x"], 1, "`grapnel endpoint list`"),
    ] {
        let output = grapnel.command(arguments).env(name, value).output().unwrap();
        let (code, text) = said(&output);
        assert_eq!(code, Some(expected), "{arguments:?}: {text}");
        assert!(text.contains(next), "{arguments:?}: {text}");
        assert!(!text.contains(&reader) && !text.contains(&other), "a key is told: {text}");
    }
}
