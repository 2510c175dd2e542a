//! The dashboard as people have it: real pages in a real browser, against real builds.

use grapnel_e2e::{Browser, Grapnel, Repository, Setup};
use serde_json::json;

const BUILD: &str = "\
import { mkdirSync, writeFileSync } from 'node:fs';
mkdirSync('dist', { recursive: true });
writeFileSync('dist/index.html', '<!doctype html><html lang=en><link rel=icon href=data:,><title>Harbour</title><h1>edition one</h1>');
console.log('this is edition one');
console.log('\\u001b[32mbuilt\\u001b[0m in no time');
for (let line = 1; line <= 50; line += 1) console.log(`boat ${line} of the edition`);
";

const PACKAGE: &str = r#"{ "name": "harbour", "private": true, "scripts": { "build": "node build.mjs" } }"#;

/// Makes a site whose build prints in colour.
pub fn site(grapnel: &Grapnel) -> Repository {
    let path = grapnel.repositories().join("harbour");
    Repository::with(&path, &[("package.json", PACKAGE), ("build.mjs", BUILD)])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_person_goes_from_signing_in_to_a_deployment_and_back() {
    let grapnel = Grapnel::start(Setup::default()).await;
    let repository = site(&grapnel);
    repository.git(&["branch", "next"]);
    let config = json!({
        "url": grapnel.url("/"),
        "key": grapnel.key(),
        "repository": repository.path(),
        "checkout": repository.path(),
        "sections": ["general", "variables", "credentials", "endpoints", "caches", "statuses"],
    });
    let told = Browser::of(&grapnel).play("walk", config).await;
    for id in told["ready"].as_array().unwrap() {
        let deployment = grapnel.ready(id.as_str().unwrap()).await;
        assert_eq!(deployment.hook_name, "cms");
    }
    grapnel.nothing_is_left().await;
}
