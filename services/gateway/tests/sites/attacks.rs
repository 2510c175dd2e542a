//! Attacks on sites: docs/security.md.

use std::{fs, os::unix::fs::symlink};

use grapnel_artifacts::ArtifactError;

use crate::served::{SITE, Served};

const HOST: &str = "host: site.localhost:7380\r\n";
const SECRET: &str = "secret of another";

fn status(answer: &str) -> u16 {
    answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0)
}

/// A site with a neighbour that has a secret, and with what a careless build leaves.
async fn neighbours() -> Served {
    let served = Served::with(&[
        ("index.html", b"home"),
        ("docs/index.html", b"docs"),
        ("evil.example/index.html", b"evil"),
        ("\\evil.example/index.html", b"evil"),
        (".env", SECRET.as_bytes()),
        ("docs/.git/config", SECRET.as_bytes()),
        (".well-known/security.txt", b"mailto:"),
    ])
    .await;
    let other = served.publish(&[("index.html", b"other"), ("secret.txt", SECRET.as_bytes())]).await;
    served.say("other", Ok(other));
    served
}

#[tokio::test]
async fn s1_paths_lead_to_files_of_the_site_and_to_nothing_else() {
    let served = neighbours().await;
    let there = served.ask("/secret.txt", "host: other.localhost\r\n").await;
    assert!(there.contains(SECRET), "it is there for who asks for it");
    let many = "../".repeat(50);
    for path in [
        "/../secret.txt".into(),
        "/secret.txt".into(),
        "/../manifest.json".into(),
        "/manifest.json".into(),
        "/files/index.html".into(),
        "/..".into(),
        "/.".into(),
        "/./index.html".into(),
        "/docs/../index.html".into(),
        "/docs/..".into(),
        format!("/{many}etc/passwd"),
        format!("/docs/{many}etc/passwd"),
        "/%2e%2e/manifest.json".into(),
        "/%2E%2E%2Fmanifest.json".into(),
        "/..%2fmanifest.json".into(),
        "/.%2e/manifest.json".into(),
        "/%252e%252e/manifest.json".into(),
        "/docs%2findex.html".into(),
        "/%2fetc/passwd".into(),
        "//etc/passwd".into(),
        "/..\\manifest.json".into(),
        "/..%5cmanifest.json".into(),
        "/docs\\index.html".into(),
        "/docs%5Cindex.html".into(),
        "/%c0%ae%c0%ae/manifest.json".into(),
        "/%ff%fe".into(),
        "/index.html%00".into(),
        "/%00index.html".into(),
        "/index.html%00.txt".into(),
        "/index.html%0d%0aset-cookie:a=b".into(),
        "/index.html/".into(),
        "/index.html/.".into(),
        "/index.html;a=b".into(),
        "/proc/self/environ".into(),
        format!("/{}", "a/".repeat(10_000)),
        format!("/{}", "%2e%2e%2f".repeat(1_000)),
    ] {
        let answer = served.ask(&path, HOST).await;
        assert_eq!(status(&answer), 404, "{path}: {answer}");
        assert!(!answer.contains(SECRET) && !answer.contains("root:"), "{path}");
        assert!(!answer.to_lowercase().contains("set-cookie"), "{path}: {answer}");
    }
    for path in ["/a b", "/\0", "/index.html\0", "a", "\\", ""] {
        let answer = served.ask(path, HOST).await;
        assert!([0, 400, 404].contains(&status(&answer)), "{path:?}: {answer}");
    }
    assert!(served.ask("/", HOST).await.ends_with("home"), "and the site is as it was");
}

#[tokio::test]
async fn s1_names_with_a_dot_in_front_are_not_served() {
    let served = neighbours().await;
    for path in
        ["/.env", "/%2eenv", "/docs/.git/config", "/docs/%2Egit/config", "/.git/HEAD", "/.well-known/.env"]
    {
        let answer = served.ask(path, HOST).await;
        assert_eq!(status(&answer), 404, "{path}");
        assert!(!answer.contains(SECRET), "{path}");
    }
    assert!(served.ask("/.well-known/security.txt", HOST).await.ends_with("mailto:"));
}

#[tokio::test]
async fn s1_links_are_served_as_the_files_they_were_and_lead_nowhere() {
    let served = Served::start().await;
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("secret"), SECRET).unwrap();
    for target in [outside.path().join("secret"), "../secret".into(), "/proc/self/environ".into(), ".".into()]
    {
        let output = tempfile::tempdir().unwrap();
        fs::write(output.path().join("index.html"), "home").unwrap();
        symlink(&target, output.path().join("link")).unwrap();
        let refused = served.publish_tree(&output).await;
        assert!(matches!(refused, Err(ArtifactError::Refused(_))), "{target:?}: {refused:?}");
    }
    let output = tempfile::tempdir().unwrap();
    fs::write(output.path().join("index.html"), "home").unwrap();
    fs::write(output.path().join("later.txt"), SECRET).unwrap();
    symlink("index.html", output.path().join("link.html")).unwrap();
    let id = served.publish_tree(&output).await.unwrap();
    served.say(SITE, Ok(id));
    assert!(served.ask("/link", HOST).await.ends_with("home"));
    // Nor is one that somebody puts into the store, be it to the very same content.
    let later = served.files(id).join("later.txt");
    fs::remove_file(&later).unwrap();
    symlink(outside.path().join("secret"), &later).unwrap();
    let answer = served.ask("/later.txt", HOST).await;
    assert!(status(&answer) >= 500 && !answer.contains(SECRET), "{answer}");
}

#[tokio::test]
async fn s2_a_host_names_one_site_or_none() {
    let served = neighbours().await;
    for (target, headers, expected) in [
        ("/", "host: site.localhost\r\n", "home"),
        ("/", "host: site.localhost:7380\r\n", "home"),
        ("/", "host: SITE.LocalHost\r\n", "home"),
        ("/", "host: site.localhost.\r\n", "home"),
        ("/", "host: site.localhost.:7380\r\n", "home"),
        ("/", "host: other.localhost\r\n", "other"),
        // What the target says counts, and nothing else that names a host.
        ("http://site.localhost/", "host: other.localhost\r\n", "home"),
        ("HTTP://site.localhost:1/", "host: other.localhost\r\n", "home"),
        (
            "/",
            "host: site.localhost\r\nx-forwarded-host: other.localhost\r\nforwarded: host=other.localhost\r\n",
            "home",
        ),
    ] {
        let answer = served.ask(target, headers).await;
        assert_eq!(status(&answer), 200, "{target} {headers}: {answer}");
        assert!(answer.ends_with(expected), "{target} {headers}");
    }
    let asked = served.asked();
    for (target, headers, expected) in [
        ("/", "", 400),
        ("/", "host:\r\n", 400),
        ("/", "host: site.localhost\r\nhost: other.localhost\r\n", 400),
        ("/", "host: site.localhost, other.localhost\r\n", 400),
        ("/", "host: site.localhost@other.localhost\r\n", 400),
        ("/", "host: site.localhost/..\r\n", 400),
        ("/", "host: site.localhost:80:80\r\n", 400),
        ("/", "host: site.localhost:http\r\n", 400),
        ("/", "host: site%2elocalhost.x\r\n", 400),
        ("/", "host: <script>.localhost\r\n", 400),
        ("/", "host: \u{fffd}.localhost\r\n", 400),
        ("http://a@site.localhost/", "host: site.localhost\r\n", 400),
        ("/", "host: localhost\r\n", 404),
        ("/", "host: .localhost\r\n", 404),
        ("/", "host: site..localhost\r\n", 404),
        ("/", "host: 127.0.0.1:7380\r\n", 404),
        ("/", "host: 127.1\r\n", 404),
        ("/", "host: [::1]:7380\r\n", 404),
        ("http://127.0.0.1/", "host: site.localhost\r\n", 404),
    ] {
        let answer = served.ask(target, headers).await;
        assert_eq!(status(&answer), expected, "{target} {headers}: {answer}");
        assert!(
            !answer.contains("<script") && !answer.ends_with("home") && !answer.ends_with("other"),
            "{answer}"
        );
    }
    assert_eq!(served.asked(), asked, "what can be no site is not asked for");
    for host in [
        "nothing.localhost",
        "site--other.localhost",
        "a.site.localhost",
        "dpl_.localhost",
        "site-.localhost",
    ] {
        let answer = served.ask("/", &format!("host: {host}\r\n")).await;
        assert_eq!(status(&answer), 404, "{host}");
    }
    let without = served.raw(b"GET / HTTP/1.0\r\n\r\n").await;
    assert_eq!(status(&without), 400);
}

#[tokio::test]
async fn s5_a_site_sends_nobody_to_another_host() {
    let served = neighbours().await;
    for target in [
        "//evil.example",
        "///evil.example",
        "//evil.example/..",
        "/%2fevil.example",
        "/%5cevil.example",
        "/%5C%5Cevil.example",
        "/\\evil.example",
        "/evil.example",
        "/docs",
        "/docs?next=//evil.example",
        "/docs?%0d%0alocation:%20//evil.example",
        "/.//evil.example",
        "/docs//evil.example",
        "//docs",
        "http://site.localhost//evil.example",
        "http://site.localhost/docs",
    ] {
        let answer = served.ask(target, HOST).await;
        let lower = answer.to_lowercase();
        let to = lower.lines().find_map(|line| line.strip_prefix("location: "));
        match (status(&answer), to) {
            (308, Some(to)) => {
                let second = to.chars().nth(1);
                assert!(to.starts_with('/') && !matches!(second, Some('/' | '\\')), "{target} -> {to}");
            }
            (404, None) => {}
            other => panic!("{target}: {other:?}"),
        }
    }
}
