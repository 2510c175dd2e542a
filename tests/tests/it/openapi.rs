//! The interface for other tools against its description: who may ask for what, and what schemathesis makes of it.

use std::{
    collections::BTreeSet,
    fs,
    process::{Command, Stdio},
};

use grapnel_domain::secret_token::ApiKey;
use grapnel_e2e::{Grapnel, Repository, Setup, http_client, root, told};
use grapnel_proto::hooks::v1::CreateProjectRequest;
use reqwest::{Method, RequestBuilder, Response};
use serde_json::{Value, json};

/// A route: what it needs beside any key, what is sent to it, and what it answers then.
struct Route {
    method: &'static str,
    path: &'static str,
    scopes: &'static [&'static str],
    body: fn(&Things) -> Value,
    answers: u16,
}

const fn route(
    method: &'static str,
    path: &'static str,
    scopes: &'static [&'static str],
    answers: u16,
) -> Route {
    Route { method, path, scopes, body: |_| Value::Null, answers }
}

/// Every route, those that take something away last.
const ROUTES: [Route; 19] = [
    route("GET", "/v2/user", &[], 200),
    route("GET", "/v2/teams", &[], 200),
    route("GET", "/v2/teams/{team}", &[], 200),
    route("GET", "/v9/projects", &["read"], 200),
    route("GET", "/v9/projects/{project}", &["read"], 200),
    route("GET", "/v6/deployments", &["read"], 200),
    route("GET", "/v13/deployments/{deployment}", &["read"], 200),
    route("GET", "/v11/deployments/{deployment}/builds", &["read"], 200),
    route("GET", "/v2/deployments/{deployment}/aliases", &["read"], 200),
    route("GET", "/v3/deployments/{deployment}/events", &["read"], 200),
    Route {
        body: |things| json!({ "name": "second", "gitRepository": { "type": "git", "repo": things.repository } }),
        ..route("POST", "/v9/projects", &["read", "write"], 201)
    },
    Route {
        body: |_| json!({ "name": "second", "ref": "main" }),
        ..route("POST", "/v2/projects/{project}/deploy-hooks", &["read", "write"], 201)
    },
    route("POST", "/v10/projects/{project}/promote/{deployment}", &["read", "deploy"], 201),
    route("POST", "/v9/projects/{project}/rollback/{deployment}", &["read", "deploy"], 201),
    // Of what has ended nothing more can end, and asking is no error.
    route("PATCH", "/v12/deployments/{deployment}/cancel", &["read", "deploy"], 200),
    // An address serves it.
    route("DELETE", "/v13/deployments/{deployment}", &["write"], 409),
    Route {
        body: |things| json!({ "deploymentId": things.deployment }),
        ..route("POST", "/v13/deployments", &["read", "deploy"], 200)
    },
    route("DELETE", "/v2/projects/{project}/deploy-hooks/{hook}", &["read", "write"], 200),
    route("DELETE", "/v9/projects/{project}", &["write"], 204),
];

const SCOPES: [&str; 3] = ["read", "write", "deploy"];

/// What is there to be asked for.
struct Things {
    grapnel: Grapnel,
    repository: String,
    team: String,
    project: String,
    hook: String,
    deployment: String,
}

impl Things {
    async fn new() -> Self {
        let grapnel = Grapnel::start(Setup::default().embedded()).await;
        let site = Repository::with(&grapnel.repositories().join("site"), &[("index.html", "hi")]);
        let request =
            CreateProjectRequest { name: "site".into(), repository_url: site.path(), ..Default::default() };
        let (project, url) = grapnel.project(request).await;
        let deployment = grapnel.trigger(&url).await;
        grapnel.ready(&deployment).await;
        let mut things = Self {
            repository: site.path(),
            team: String::new(),
            project: project.id,
            hook: String::new(),
            deployment,
            grapnel,
        };
        let key = things.grapnel.key();
        let user = things.read("/v2/user", &key).await;
        things.team = user["user"]["defaultTeamId"].as_str().unwrap().to_owned();
        let project = things.read("/v9/projects/site", &key).await;
        things.hook = project["link"]["deployHooks"][0]["id"].as_str().unwrap().to_owned();
        things
    }

    async fn read(&self, path: &str, key: &str) -> Value {
        let answer = http_client().get(self.grapnel.url(path)).bearer_auth(key).send().await.unwrap();
        assert_eq!(answer.status(), 200, "{path}");
        answer.json().await.unwrap()
    }

    fn request(&self, route: &Route) -> RequestBuilder {
        self.request_with(route, "")
    }

    fn request_with(&self, route: &Route, query: &str) -> RequestBuilder {
        let path = route
            .path
            .replace("{team}", &self.team)
            .replace("{project}", &self.project)
            .replace("{hook}", &self.hook)
            .replace("{deployment}", &self.deployment);
        let method = Method::from_bytes(route.method.as_bytes()).unwrap();
        let request = http_client().request(method, self.grapnel.url(&(path + query)));
        match (route.body)(self) {
            Value::Null => request,
            body => request.json(&body),
        }
    }

    async fn ask(&self, route: &Route, key: &str) -> Response {
        self.request(route).bearer_auth(key).send().await.unwrap()
    }

    fn key(&self, scopes: &[&str]) -> String {
        let scopes = scopes.join(",");
        let output = self.grapnel.cli(&["--output", "json", "key", "create", "test", "--scopes", &scopes]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
        answer["secret"].as_str().unwrap().to_owned()
    }

    /// Makes another team with a key that may everything there. Nothing of Grapnel makes teams yet.
    fn key_of_another_team(&self) -> String {
        let key = ApiKey::generate(&mut rand::rng());
        let make = "import sqlite3, sys
database = sqlite3.connect(sys.argv[1], timeout=30)
with database:
    database.execute(\"insert into team select 'team_01h455vb4pex5vsknk084sn02q', 'other', plan, created_at from team limit 1\")
    database.execute(\"insert into api_key (id, team_id, name, hash, last_four, scopes, created_at) \"
                     \"select 'key_01h455vb4pex5vsknk084sn02q', 'team_01h455vb4pex5vsknk084sn02q', 'other', ?, 'abcd', scopes, created_at \"
                     \"from api_key limit 1\", (sys.argv[2],))
";
        let database = fs::read_dir(self.grapnel.data()).unwrap().flatten().map(|entry| entry.path());
        let database =
            database.into_iter().find(|path| path.extension().is_some_and(|it| it == "db")).unwrap();
        let made = Command::new("python3").args(["-c", make]).arg(database).arg(key.hash().as_str()).output();
        let made = made.unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        key.expose().to_owned()
    }
}

async fn is_refused(answer: Response, status: u16, what: &str) {
    assert_eq!(answer.status(), status, "{what}");
    assert!(answer.headers().get("set-cookie").is_none(), "{what}");
    assert!(answer.headers().get("access-control-allow-origin").is_none(), "{what}");
    assert_eq!(answer.headers().contains_key("www-authenticate"), status == 401, "{what}");
    let text = answer.text().await.unwrap();
    let body: Value = serde_json::from_str(&text).unwrap_or_else(|_| panic!("{what}: {text}"));
    let has = |name: &str| body["error"][name].as_str().is_some_and(|text| !text.is_empty());
    assert!(has("code") && has("message") && body.as_object().unwrap().len() == 1, "{what}: {text}");
    let secrets = ["gra_", "grh_", "grs_"].into_iter().flat_map(|prefix| text.split(prefix).skip(1));
    assert!(
        !secrets.into_iter().any(|rest| rest.starts_with(|c: char| c.is_ascii_alphanumeric())),
        "{what}: {text}"
    );
}

#[test]
fn the_table_of_routes_is_that_of_the_description() {
    let description: Value =
        serde_json::from_str(&fs::read_to_string(root().join("docs/openapi.json")).unwrap()).unwrap();
    let mut described = BTreeSet::new();
    for (path, item) in description["paths"].as_object().unwrap() {
        for method in item.as_object().unwrap().keys().filter(|key| *key != "parameters") {
            described.insert(format!("{} {path}", method.to_uppercase()));
        }
    }
    let listed: BTreeSet<_> = ROUTES.iter().map(|route| format!("{} {}", route.method, route.path)).collect();
    assert_eq!(listed, described);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn g1_every_route_opens_to_its_scopes_and_to_nobody_else() {
    let things = Things::new().await;
    let (admin, stranger) = (things.grapnel.key(), things.key_of_another_team());
    let unknown = ApiKey::generate(&mut rand::rng());
    for route in &ROUTES {
        let what = format!("{} {}", route.method, route.path);
        is_refused(things.request(route).send().await.unwrap(), 401, &what).await;
        for key in ["", "gra_", "x", unknown.expose()] {
            is_refused(things.ask(route, key).await, 401, &what).await;
        }
        let basic = things.request(route).basic_auth("user", Some(&admin));
        is_refused(basic.send().await.unwrap(), 401, &what).await;
        for lacking in route.scopes {
            let others: Vec<_> = SCOPES.into_iter().filter(|scope| scope != lacking).collect();
            is_refused(things.ask(route, &things.key(&others)).await, 403, &what).await;
        }
        // What names nothing answers with what is the stranger's own, and a project that is added is theirs.
        if route.path.contains('{') || route.path == "/v13/deployments" {
            is_refused(things.ask(route, &stranger).await, 404, &what).await;
        } else if route.method == "GET" {
            let text = things.ask(route, &stranger).await.text().await.unwrap();
            let ours = [&things.team, &things.project, &things.hook, &things.deployment];
            assert!(!ours.into_iter().any(|id| text.contains(id.as_str())), "{what}: {text}");
        }
        let of_another = things.request_with(route, "?teamId=team_01h455vb4pex5vsknk084sn02q");
        is_refused(of_another.bearer_auth(&admin).send().await.unwrap(), 404, &what).await;
    }
    for route in &ROUTES {
        let scopes = if route.scopes.is_empty() { &["deploy"] } else { route.scopes };
        let answer = things.ask(route, &things.key(scopes)).await;
        let (status, text) = (answer.status(), answer.text().await.unwrap());
        assert_eq!(status, route.answers, "{} {}: {text}", route.method, route.path);
    }
    things.grapnel.nothing_is_left().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s3_the_interface_takes_no_cookie_and_lets_no_other_page_ask() {
    let things = Things::new().await;
    let admin = things.grapnel.key();
    for route in &ROUTES {
        let what = format!("{} {}", route.method, route.path);
        let cookies = ["session", "grapnel_session", "__Host-session", "__Host-grapnel", "authorization"]
            .map(|name| format!("{name}={admin}"));
        let from_a_page = things
            .request(route)
            .header("cookie", cookies.join("; "))
            .header("origin", "http://site.localhost:7380");
        is_refused(from_a_page.send().await.unwrap(), 401, &what).await;
        let asked_before = things.request(&Route { method: "OPTIONS", ..*route });
        let asked_before = asked_before
            .header("origin", "http://site.localhost:7380")
            .header("access-control-request-method", route.method)
            .header("access-control-request-headers", "authorization");
        let answer = asked_before.send().await.unwrap();
        assert!(answer.headers().keys().all(|name| !name.as_str().starts_with("access-control-")), "{what}");
    }
    // What a form sends is no body of ours, whoever sends it.
    let form = http_client().post(things.grapnel.url("/v9/projects")).bearer_auth(&admin);
    let form = form.header("content-type", "text/plain").body(r#"{"name":"https://example.org/a"}"#);
    is_refused(form.send().await.unwrap(), 415, "a form").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn g2_g4_ids_and_bodies_that_are_none_are_refused_by_name_and_break_nothing() {
    let things = Things::new().await;
    let key = things.grapnel.key();
    let odd = ["0", "' or 1=1 --", "%00", "..%2f..", "%ff%fe", "a%2Fb", "dpl_%20", &"x".repeat(30_000)];
    for id in odd {
        for path in [
            format!("/v9/projects/{id}"),
            format!("/v2/teams/{id}"),
            format!("/v13/deployments/{id}"),
            format!("/v13/deployments/{id}.localhost"),
            format!("/v3/deployments/{id}/events"),
            // Ids of other types.
            format!("/v13/deployments/{}", things.project),
            format!("/v9/projects/{}", things.deployment),
        ] {
            let path = path.replace(' ', "%20");
            let answer = http_client().get(things.grapnel.url(&path)).bearer_auth(&key).send().await.unwrap();
            is_refused(answer, 404, &path[..path.len().min(80)]).await;
        }
    }
    for (query, named) in [
        ("limit=0", "limit"),
        ("limit=101", "limit"),
        ("limit=many", "limit"),
        ("limit=1&limit=2", "limit"),
        ("until=-1", "until"),
        ("since=99999999999999999999", "since"),
        ("state=DONE", "state"),
        ("target=moon", "target"),
        ("projectId=", "projectId"),
    ] {
        let answer = http_client().get(things.grapnel.url(&format!("/v6/deployments?{query}")));
        let answer = answer.bearer_auth(&key).send().await.unwrap();
        assert_eq!(answer.status(), 400, "{query}");
        assert!(answer.text().await.unwrap().contains(named), "{query}");
    }
    let hooks = format!("/v2/projects/{}/deploy-hooks", things.project);
    let too_large = json!({ "name": "x".repeat(70_000), "ref": "main" }).to_string();
    for (path, body, status, named) in [
        (hooks.as_str(), "", 400, "body"),
        (&hooks, "{", 400, "body"),
        (&hooks, "[]", 400, "body"),
        (&hooks, r#"{"name":7,"ref":"main"}"#, 400, "name"),
        (&hooks, r#"{"name":"cms2"}"#, 400, "ref"),
        (&hooks, r#"{"name":"cms2","ref":"--upload-pack=x"}"#, 400, "ref"),
        (&hooks, r#"{"name":"a\u0000b","ref":"main"}"#, 400, "name"),
        (&hooks, r#"{"name":"cms","ref":"main"}"#, 409, "cms"),
        (&hooks, &too_large, 413, "64 KiB"),
        ("/v9/projects", r#"{"name":"nothing"}"#, 400, "gitRepository"),
        ("/v9/projects", r#"{"name":"ext::sh -c id@x"}"#, 400, "gitRepository"),
        ("/v13/deployments", r#"{"name":"site","files":[]}"#, 400, "files"),
        ("/v13/deployments", r#"{"deploymentId":"dpl_nothing"}"#, 404, "deployment"),
    ] {
        let request = http_client().post(things.grapnel.url(path)).bearer_auth(&key);
        let answer =
            request.header("content-type", "application/json").body(body.to_owned()).send().await.unwrap();
        let (answered, text) = (answer.status(), answer.text().await.unwrap());
        let shown = &body[..body.len().min(80)];
        assert_eq!(answered, status, "{path} {shown}: {text}");
        assert!(text.contains(named) && text.len() < 1_000, "{path} {shown}: {text}");
    }
    for name in 1..=4 {
        let body = json!({ "name": format!("more {name}"), "ref": "main" });
        let request = http_client().post(things.grapnel.url(&hooks)).bearer_auth(&key).json(&body);
        assert_eq!(request.send().await.unwrap().status(), 201);
    }
    let one_more = http_client().post(things.grapnel.url(&hooks)).bearer_auth(&key);
    let answer = one_more.json(&json!({ "name": "one more", "ref": "main" })).send().await.unwrap();
    assert_eq!(answer.status(), 409);
    assert_eq!(answer.json::<Value>().await.unwrap()["error"]["code"], "limit_reached");
}

/// What schemathesis is to ask for beside what it makes up: things that are there.
const KNOWN: &str = r#"
[[operations]]
include-method = "GET"
parameters = { "path.project" = "site", "path.deployment" = "DEPLOYMENT", "path.team" = "TEAM" }
"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn schemathesis_finds_nothing_that_the_description_does_not_say() {
    let things = Things::new().await;
    let served = http_client().get(things.grapnel.url("/openapi.json")).send().await.unwrap();
    let served: Value = served.json().await.unwrap();
    let kept: Value =
        serde_json::from_str(&fs::read_to_string(root().join("docs/openapi.json")).unwrap()).unwrap();
    assert_eq!(served, kept, "the description that is served is another than docs/openapi.json");

    let directory = things.grapnel.data();
    let known = KNOWN.replace("DEPLOYMENT", &things.deployment).replace("TEAM", &things.team);
    let config = directory.join("schemathesis.toml");
    fs::write(&config, known).unwrap();
    let mut command = tokio::process::Command::new(told("GRAPNEL_TEST_SCHEMATHESIS"));
    command
        .arg("--config-file")
        .arg(&config)
        .args(["run", &things.grapnel.url("/openapi.json")])
        .args(["--header", &format!("Authorization: Bearer {}", things.grapnel.key())])
        // The same cases each time, and few enough for a slow machine.
        .args(["--seed", "1", "--max-examples", "10", "--generation-database", "none"])
        .args(["--warnings", "off", "--no-color"])
        .current_dir(&directory)
        .stdin(Stdio::null());
    let output = command.output().await.unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "{told}\n{}\n{}",
        String::from_utf8_lossy(&output.stderr),
        things.grapnel.log()
    );
}
