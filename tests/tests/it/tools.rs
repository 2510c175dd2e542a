//! The builder image: every package manager by its lock file, and another Node.js where a repository asks for one.

use grapnel_e2e::{Grapnel, Repository, Setup};
use grapnel_proto::hooks::v1::CreateProjectRequest;

const MANIFEST: &str = r#"{
  "name": "site",
  "private": true,
  "scripts": { "build": "node build.js" },
  "dependencies": { "is-number": "7.0.0" }
}
"#;

/// Fails where the dependency is not there, and publishes which Node.js built it.
const BUILD: &str = "const { mkdirSync, writeFileSync } = require('node:fs');
if (!require('is-number')(1)) throw new Error('the dependency is not what it should be');
mkdirSync('dist', { recursive: true });
writeFileSync('dist/index.html', process.version);
";

/// One repository: a file that says how it is made, and what has to be seen of it.
struct Case {
    name: &'static str,
    file: (&'static str, &'static str),
    runs: &'static str,
    node: &'static str,
}

const CASES: [Case; 8] = [
    Case { name: "npm", file: ("README", ""), runs: "$ npm install", node: "v24." },
    Case {
        name: "pnpm",
        file: ("pnpm-lock.yaml", include_str!("../../data/pnpm-lock.yaml")),
        runs: "$ pnpm install --frozen-lockfile",
        node: "v24.",
    },
    Case {
        name: "yarn-classic",
        file: ("yarn.lock", include_str!("../../data/yarn-classic.lock")),
        runs: "$ yarn install --frozen-lockfile",
        node: "v24.",
    },
    Case {
        name: "yarn-modern",
        file: ("yarn.lock", include_str!("../../data/yarn-modern.lock")),
        runs: "$ yarn install --immutable",
        node: "v24.",
    },
    Case {
        name: "yarn-earlier",
        file: ("yarn.lock", include_str!("../../data/yarn-earlier.lock")),
        runs: "$ yarn install --immutable",
        node: "v24.",
    },
    Case {
        name: "bun",
        file: ("bun.lock", include_str!("../../data/bun.lock")),
        runs: "$ bun install --frozen-lockfile",
        node: "v24.",
    },
    Case { name: "nvmrc", file: (".nvmrc", "v22\n"), runs: "$ npm install", node: "v22." },
    Case { name: "node-version", file: (".node-version", "20.10.0\n"), runs: "$ npm install", node: "v20." },
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lock_files_choose_the_package_manager_and_version_files_the_node() {
    let grapnel = Grapnel::start(Setup::default()).await;
    let mut begun = Vec::new();
    for case in CASES {
        let repository = Repository::with(
            &grapnel.repositories().join(case.name),
            &[("package.json", MANIFEST), ("build.js", BUILD), case.file],
        );
        let request = CreateProjectRequest {
            name: case.name.into(),
            repository_url: repository.path(),
            ..Default::default()
        };
        let (_, url) = grapnel.project(request).await;
        begun.push((case, grapnel.trigger(&url).await));
    }
    for (case, id) in begun {
        grapnel.ready(&id).await;
        let log = String::from_utf8(grapnel.cli(&["deployment", "logs", &id]).stdout).unwrap();
        assert!(log.contains(case.runs), "{}: {log}", case.name);
        let page = grapnel.page(case.name, "/").await.text().await.unwrap();
        assert!(page.starts_with(case.node), "{} was built with {page}", case.name);
    }
    grapnel.nothing_is_left().await;
}
