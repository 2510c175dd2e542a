//! The arrows between crates and between the rooms of a crate. What is not listed here may not be.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use grapnel_e2e::root;

/// Which of our crates each of our crates may depend on.
const CRATES: [(&str, &[&str]); 12] = [
    (
        "grapnel-bench",
        &[
            "grapnel-domain",
            "grapnel-e2e",
            "grapnel-executor",
            "grapnel-hooks",
            "grapnel-proto",
            "grapnel-runtime",
        ],
    ),
    ("grapnel-domain", &[]),
    ("grapnel-artifacts", &["grapnel-domain", "grapnel-runtime"]),
    ("grapnel-runtime", &["grapnel-domain"]),
    ("grapnel-proto", &["grapnel-domain"]),
    ("grapnel-migrations", &[]),
    ("grapnel-run", &[]),
    ("grapnel-hooks", &["grapnel-domain", "grapnel-migrations", "grapnel-proto", "grapnel-runtime"]),
    ("grapnel-gateway", &["grapnel-artifacts", "grapnel-domain", "grapnel-proto", "grapnel-runtime"]),
    (
        "grapnel-executor",
        &["grapnel-artifacts", "grapnel-domain", "grapnel-proto", "grapnel-run", "grapnel-runtime"],
    ),
    (
        "grapnel",
        &[
            "grapnel-artifacts",
            "grapnel-domain",
            "grapnel-executor",
            "grapnel-gateway",
            "grapnel-hooks",
            "grapnel-proto",
            "grapnel-runtime",
        ],
    ),
    ("grapnel-e2e", &["grapnel-domain", "grapnel-proto", "grapnel-runtime"]),
];

/// Words that may stand only below these places.
const ONLY_BELOW: [(&str, &[&str]); 8] = [
    ("object_store::", &["crates/artifacts/src"]),
    ("bollard::", &["executor/src/engine/docker"]),
    ("kube::", &["executor/src/engine/kubernetes"]),
    ("k8s_openapi::", &["executor/src/engine/kubernetes"]),
    (
        "sea_orm::",
        &["services/hooks/src/store", "services/hooks/tests", "migrations/src", "bench/src/bin/fill.rs"],
    ),
    ("SystemTime::now", &[]),
    ("Utc::now", &["crates/runtime/src/clock.rs"]),
    (
        "Command::new",
        &[
            "executor/src/source/program.rs",
            "executor/src/engine/fake.rs",
            "executor/src/engine/docker/firewall.rs",
            "executor/build.rs",
            "executor/runner",
            "executor/tests",
            "services/hooks/tests",
            "cli/src/doctor",
            "bench",
            "tests",
        ],
    ),
];

/// Words that may not stand below these places.
const NEVER_BELOW: [(&str, &[&str]); 13] = [
    ("crates/domain/src", &["tokio", "tonic", "sea_orm", "Utc::now", "std::env", "std::fs", "std::net::Tcp"]),
    (
        "services/hooks/src/app",
        &["tonic", "grapnel_proto", "sea_orm", "crate::grpc", "crate::dispatch", "crate::outbound"],
    ),
    ("services/hooks/src/outbound", &["tonic", "grapnel_proto", "sea_orm", "crate::grpc", "crate::dispatch"]),
    (
        "services/hooks/src/store",
        &["tonic", "grapnel_proto", "crate::app", "crate::grpc", "crate::dispatch", "crate::outbound"],
    ),
    ("services/hooks/src/dispatch", &["crate::grpc", "crate::app", "sea_orm"]),
    ("services/hooks/src/grpc", &["crate::dispatch", "sea_orm"]),
    ("executor/src/pipeline", &["crate::server", "tonic", "grapnel_proto", "bollard"]),
    (
        "executor/src/cache",
        &["crate::pipeline", "crate::server", "crate::source", "crate::link", "tonic", "grapnel_proto"],
    ),
    (
        "executor/src/engine",
        &[
            "crate::pipeline",
            "crate::server",
            "crate::source",
            "crate::link",
            "crate::cache",
            "tonic",
            "grapnel_proto",
        ],
    ),
    ("executor/src/source", &["crate::pipeline", "crate::server", "crate::engine", "tonic", "grapnel_proto"]),
    (
        "executor/src/link.rs",
        &["crate::pipeline", "crate::server", "crate::engine", "tonic", "grapnel_proto"],
    ),
    ("services/gateway/src", &["grapnel_hooks", "sea_orm", "bollard"]),
    ("cli/src/client", &["grapnel_hooks", "grapnel_executor", "grapnel_gateway", "sea_orm"]),
];

#[test]
fn crates_depend_only_downwards() {
    let metadata =
        cargo_metadata::MetadataCommand::new().manifest_path(root().join("Cargo.toml")).no_deps().exec();
    let metadata = metadata.unwrap();
    let allowed: BTreeMap<&str, &[&str]> = CRATES.into_iter().collect();
    assert_eq!(metadata.packages.len(), allowed.len(), "every crate of the workspace stands in the table");
    let mut wrong = Vec::new();
    for package in &metadata.packages {
        let may = allowed[package.name.as_str()];
        for dependency in &package.dependencies {
            let ours = dependency.name.starts_with("grapnel");
            if ours
                && dependency.kind == cargo_metadata::DependencyKind::Normal
                && !may.contains(&dependency.name.as_str())
            {
                wrong.push(format!("{} -> {}", package.name, dependency.name));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:?}");
}

/// `cargo deny` says the same, where it is installed.
#[test]
fn no_second_tls_comes_in_with_a_dependency() {
    let lock = fs::read_to_string(root().join("Cargo.lock")).unwrap();
    assert!(lock.contains("name = \"ring\""), "the file is read as it is written");
    for other in ["aws-lc-rs", "aws-lc-sys", "openssl-sys", "native-tls"] {
        assert!(!lock.contains(&format!("name = \"{other}\"")), "{other} came in");
    }
}

#[test]
fn rooms_import_only_what_they_may() {
    let sources = sources();
    assert!(sources.len() > 60, "the sources were found");
    let wrong = wrong_arrows(&sources);
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn a_wrong_arrow_is_found() {
    let planted = BTreeMap::from([
        (PathBuf::from("crates/domain/src/plan.rs"), "use tokio::sync::mpsc;".to_owned()),
        (PathBuf::from("executor/src/pipeline/story.rs"), "let x = bollard::Docker::new();".to_owned()),
        (PathBuf::from("executor/src/engine/docker/mod.rs"), "use bollard::Docker;".to_owned()),
    ]);
    let wrong = wrong_arrows(&planted);
    let places: BTreeSet<_> = wrong.iter().map(|line| line.split(' ').next().unwrap()).collect();
    assert_eq!(places, BTreeSet::from(["crates/domain/src/plan.rs", "executor/src/pipeline/story.rs"]));
}

#[test]
fn no_file_is_too_large_to_live_in() {
    let large: Vec<_> = sources()
        .iter()
        .map(|(path, text)| (path.clone(), text.lines().count()))
        .filter(|(_, lines)| *lines > 500)
        .collect();
    assert!(large.is_empty(), "{large:?}");
}

#[test]
fn every_reason_and_failure_is_explained() {
    let text = fs::read_to_string(root().join("docs/errors.md")).unwrap();
    let reasons = grapnel_domain::Reason::ALL.iter().map(|reason| reason.as_str());
    let failures = grapnel_domain::failure::FailureCode::ALL.iter().map(|code| code.as_str());
    let missing: Vec<_> =
        reasons.chain(failures).filter(|name| !text.contains(&format!("`{name}`"))).collect();
    assert!(missing.is_empty(), "docs/errors.md says nothing of {missing:?}");
}

/// Returns every arrow that may not be, as "file: word".
fn wrong_arrows(sources: &BTreeMap<PathBuf, String>) -> Vec<String> {
    let mut wrong = Vec::new();
    for (path, text) in sources {
        let code = without_tests_and_comments(text);
        for (word, places) in ONLY_BELOW {
            let at_home = places.iter().any(|place| path.starts_with(place));
            if !at_home && code.contains(word) {
                wrong.push(format!("{} may not use {word}", path.display()));
            }
        }
        for (place, words) in NEVER_BELOW {
            for word in words.iter().filter(|word| path.starts_with(place) && code.contains(**word)) {
                wrong.push(format!("{} may not use {word}", path.display()));
            }
        }
    }
    wrong
}

fn without_tests_and_comments(text: &str) -> String {
    let code = text.split("#[cfg(test)]").next().unwrap_or_default();
    let lines = code.lines().filter(|line| !line.trim_start().starts_with("//"));
    lines.collect::<Vec<_>>().join("\n")
}

fn sources() -> BTreeMap<PathBuf, String> {
    let root = root();
    let mut found = BTreeMap::new();
    for top in ["proto", "crates", "migrations", "services", "executor", "cli", "tests"] {
        collect(&root, &root.join(top), &mut found);
    }
    found
}

fn collect(root: &Path, directory: &Path, found: &mut BTreeMap<PathBuf, String>) {
    for entry in fs::read_dir(directory).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            collect(root, &path, found);
        } else if path.extension().is_some_and(|ending| ending == "rs") && !path.ends_with("it/layers.rs") {
            found.insert(path.strip_prefix(root).unwrap().to_owned(), fs::read_to_string(&path).unwrap());
        }
    }
}
