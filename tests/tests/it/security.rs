//! docs/security.md and docs/faults.md against the code: each attack is one test, each fault happens in some, and each is
//! listed.

use std::{collections::BTreeSet, fs, path::Path};

use grapnel_e2e::root;

/// The names of all tests below a directory.
fn tests_below(directory: &Path, found: &mut BTreeSet<String>) {
    for entry in fs::read_dir(directory).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            tests_below(&path, found);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            let text = fs::read_to_string(&path).unwrap();
            let mut is_test = false;
            for line in text.lines().map(str::trim) {
                is_test |= line.starts_with("#[test]") || line.starts_with("#[tokio::test");
                let name =
                    line.trim_start_matches("async ").strip_prefix("fn ").and_then(|it| it.split('(').next());
                if let (true, Some(name)) = (is_test, name) {
                    found.insert(name.to_owned());
                    is_test = false;
                }
            }
        }
    }
}

fn tests() -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for top in ["crates", "executor", "services", "tests", "proto", "cli"] {
        tests_below(&root().join(top), &mut found);
    }
    found
}

/// The names of the catalogue, in its order.
fn listed() -> Vec<String> {
    let page = fs::read_to_string(root().join("docs/security.md")).unwrap();
    let name =
        |line: &str| Some(line.strip_prefix("| ")?.split('|').nth(1)?.trim().trim_matches('`').to_owned());
    page.lines().filter_map(name).filter(|name| name.contains('_')).collect()
}

#[test]
fn every_attack_of_the_catalogue_is_a_test() {
    let (tests, listed) = (tests(), listed());
    let missing: Vec<_> = listed.iter().filter(|name| !tests.contains(*name)).collect();
    assert!(missing.is_empty(), "docs/security.md lists what is no test: {missing:#?}");
    let once: BTreeSet<_> = listed.iter().collect();
    assert_eq!(once.len(), listed.len(), "each stands there once");
    assert!(listed.len() > 60, "{}", listed.len());
}

#[test]
fn every_numbered_attack_is_in_the_catalogue() {
    let listed: BTreeSet<_> = listed().into_iter().collect();
    let is_numbered = |name: &str| {
        let (kind, rest) = name.split_at(1);
        let number: String = rest.chars().take_while(char::is_ascii_digit).collect();
        "brsp".contains(kind) && !number.is_empty() && rest[number.len()..].starts_with('_')
    };
    let unlisted: Vec<_> =
        tests().into_iter().filter(|name| is_numbered(name) && !listed.contains(name)).collect();
    assert!(unlisted.is_empty(), "docs/security.md does not list {unlisted:#?}");
}

#[test]
fn every_fault_of_the_catalogue_is_tried_by_tests() {
    let page = fs::read_to_string(root().join("docs/faults.md")).unwrap();
    let rows: Vec<_> = page.lines().filter(|line| line.starts_with("| F")).collect();
    assert!(rows.len() > 20, "{rows:#?}");
    let (tests, mut listed) = (tests(), BTreeSet::new());
    for row in rows {
        let named: Vec<_> = row.split('`').skip(1).step_by(2).collect();
        assert!(!named.is_empty(), "nothing tries {row}");
        for name in named {
            assert!(tests.contains(name), "docs/faults.md lists what is no test: {name}");
            listed.insert(name.to_owned());
        }
    }
    let is_numbered = |name: &str| {
        let number = name.strip_prefix('f').map(|rest| rest.trim_start_matches(|c: char| c.is_ascii_digit()));
        number.is_some_and(|rest| rest.starts_with('_') && rest.len() + 1 < name.len())
    };
    let unlisted: Vec<_> = tests.iter().filter(|name| is_numbered(name) && !listed.contains(*name)).collect();
    assert!(unlisted.is_empty(), "docs/faults.md does not list {unlisted:#?}");
}
