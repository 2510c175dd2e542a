//! What a trigger comes to, seen from outside: over HTTP, in the ledger, in the build, and at the status address.

use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use grapnel_e2e::{Grapnel, Repository, Setup, http, http_client};
use grapnel_proto::hooks::v1::{
    BuildSettings, CancelReason, CreateHookRequest, CreateProjectRequest, DeploymentState,
    ListDeploymentsRequest, ListTriggersRequest, Project, Trigger,
};
use reqwest::RequestBuilder;
use serde_json::Value;

/// A site that nothing has to be installed for, with these settings.
async fn project(grapnel: &Grapnel, name: &str, settings: BuildSettings) -> (Project, String) {
    let site = Repository::with(&grapnel.repositories().join(name), &[("index.html", "hi")]);
    let settings = Some(BuildSettings { output_directory: Some(".".into()), ..settings });
    let request = CreateProjectRequest {
        name: name.into(),
        repository_url: site.path(),
        settings,
        ..Default::default()
    };
    grapnel.project(request).await
}

async fn ledger(grapnel: &Grapnel, project: &str) -> Vec<Trigger> {
    let request = ListTriggersRequest { project: project.into(), page_size: 200, ..Default::default() };
    grapnel.client().list_triggers(request).await.unwrap().into_inner().triggers
}

async fn ask(request: RequestBuilder) -> (u16, Value) {
    let answer = request.send().await.unwrap();
    let status = answer.status().as_u16();
    (status, serde_json::from_str(&answer.text().await.unwrap()).unwrap_or_default())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_decision_has_its_answer_and_its_row_in_the_ledger() {
    let setup = Setup::default().set("RATE_LIMIT_HOOK", "3").set("GATEWAY_TRUSTED_PROXIES", "127.0.0.0/8");
    let grapnel = Grapnel::start(setup).await;
    let (project, url) = project(&grapnel, "site", BuildSettings::default()).await;
    let hook = ledger_hook(&grapnel).await;
    let (base, token) = url.rsplit_once('/').unwrap();
    let client = http().user_agent("curl/8.5.0").build().unwrap();
    // Whatever is accepted waits, so that what follows is told the same in every run.
    assert!(grapnel.cli(&["hook", "update", &hook, "--quiet-period", "10m"]).status.success());
    let (mut seen, mut last) = (Vec::new(), String::new());
    let mut row = async |what: &str, request: RequestBuilder| {
        let (status, body) = ask(request).await;
        let said =
            ["/error/code", "/ignored/code", "/job/state"].iter().find_map(|at| body.pointer(at)?.as_str());
        let entry = ledger(&grapnel, "site").await.into_iter().next();
        let entry = entry.filter(|it| std::mem::replace(&mut last, it.id.clone()) != it.id);
        let entry = entry.map_or_else(
            || "no row".to_owned(),
            |it| {
                let decision = it.decision().as_str_name().trim_start_matches("TRIGGER_DECISION_").to_owned();
                format!("{decision:<17} {}", it.reason)
            },
        );
        assert!(!body.to_string().contains(token), "{what}: the token is repeated");
        seen.push(format!("{what:<32} {status} {:<18} {entry}", said.unwrap_or("-")).trim_end().to_owned());
        (status, body)
    };
    let post = |url: &str| client.post(url);
    row("POST", post(&url)).await;
    row("a repeated key, first", post(&url).header("idempotency-key", "k")).await;
    row("a repeated key, again", post(&url).header("webhook-id", "k")).await;
    row("a GET", client.get(&url)).await;
    row("a prefetch", client.get(&url).header("sec-purpose", "prefetch")).await;
    row("a link preview", client.get(&url).header("user-agent", "Slackbot-LinkExpanding 1.0")).await;
    row("buildCache=maybe", post(&format!("{url}?buildCache=maybe"))).await;
    row("a wait that is too long", post(&format!("{url}?wait=301"))).await;
    let other = token.chars().rev().collect::<String>();
    row("a token that cannot be one", post(&format!("{base}/{other}"))).await;
    let unknown = grapnel_domain::secret_token::HookToken::generate(&mut rand::rng());
    row("an unknown token", post(&format!("{base}/{}", unknown.expose()))).await;
    let elsewhere = url.replace(&project.id, "prj_01h455vb4pex5vsknk084sn02q");
    row("an unknown project", post(&elsewhere)).await;
    assert!(grapnel.cli(&["hook", "update", &hook, "--methods", "POST"]).status.success());
    row("a GET where only POST is taken", client.get(&url)).await;
    assert!(grapnel.cli(&["hook", "pause", &hook]).status.success());
    row("paused", post(&url)).await;
    assert!(grapnel.cli(&["hook", "resume", &hook]).status.success());
    let (_, merged) = row("over the limit, one waits", post(&url)).await;
    let id = merged["job"]["id"].as_str().unwrap().to_owned();
    assert!(grapnel.cli(&["deployment", "cancel", &id]).status.success());
    row("over the limit, nothing waits", post(&url)).await;
    let answer = post(&url).send().await.unwrap();
    let header = |name: &str| answer.headers()[name].to_str().unwrap().to_owned();
    assert_eq!((header("ratelimit-limit"), header("ratelimit-remaining")), ("3".into(), "0".into()));
    assert_eq!(header("retry-after"), header("ratelimit-reset"));
    assert!((1..=21).contains(&header("retry-after").parse::<u32>().unwrap()));
    assert!(grapnel.cli(&["hook", "rotate", &hook, "--grace", "0"]).status.success());
    row("a token that was replaced", post(&url)).await;
    insta::assert_snapshot!(seen.join("\n"));

    let forwarded = post(&elsewhere).header("x-forwarded-for", "203.0.113.9");
    ask(forwarded).await;
    ask(post(&format!("{base}/{}", unknown.expose())).header("forwarded", "for=203.0.113.9")).await;
    assert_eq!(ledger(&grapnel, "site").await[0].client_address, "203.0.113.9", "the proxy is believed");
    assert!(!grapnel.log().contains(&token[4..20]), "a token reached the log");
}

async fn ledger_hook(grapnel: &Grapnel) -> String {
    let output = grapnel.cli(&["hook", "list", "site", "--output", "json"]);
    let hooks: Value = serde_json::from_slice(&output.stdout).unwrap();
    hooks["hooks"][0]["id"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn title_and_body_reach_the_build_and_nothing_else_does() {
    let grapnel = Grapnel::start(Setup::default()).await;
    let show = r#"exec 2>/dev/null
        echo "= $INCOMING_HOOK_TITLE, $DEPLOY_HOOK_NAME, $DEPLOY_TRIGGER_COUNT, $DEPLOY_CACHE"
        echo "= $(wc -c < "$DEPLOY_HOOK_BODY_FILE") $(head -c 12 "$DEPLOY_HOOK_BODY_FILE")"
        echo "= $(echo "$INCOMING_HOOK_BODY" | head -c 8)"
        (echo x > "$DEPLOY_HOOK_BODY_FILE") || echo "= read-only""#;
    let settings = BuildSettings { build_command: Some(show.into()), ..Default::default() };
    let (_, url) = project(&grapnel, "site", settings).await;
    let client = http_client();
    let built = async |request: RequestBuilder| {
        let (status, body) = ask(request).await;
        assert_eq!(status, 200);
        let id = body["job"]["id"].as_str().unwrap().to_owned();
        grapnel.ready(&id).await;
        let log = String::from_utf8(grapnel.cli(&["deployment", "logs", &id]).stdout).unwrap();
        log.lines().filter_map(|line| line.strip_prefix("= ")).map(str::to_owned).collect::<Vec<_>>()
    };
    let query = "title=Second%20edition&clear_cache=true";
    let printed = built(client.post(format!("{url}?{query}")).body(r#"{"id":"1234567"}"#)).await;
    assert_eq!(printed, ["Second edition, cms, 1, off", "16 {\"id\":\"12345", "{\"id\":\"1", "read-only"]);
    let printed = built(client.post(&url).body(vec![b'x'; 200_000])).await;
    assert_eq!(
        printed[1..3],
        ["65536 xxxxxxxxxxxx", ""],
        "64 KiB are kept, and 32 KiB at most are a variable"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_triggered_can_follow_the_job_without_a_key() {
    let grapnel = Grapnel::start(Setup::default()).await;
    let settings = BuildSettings { build_command: Some("sleep 1".into()), ..Default::default() };
    let (_, url) = project(&grapnel, "site", settings).await;
    let client = http_client();
    let (_, body) = ask(client.post(&url)).await;
    let status_url = body["statusUrl"].as_str().unwrap().to_owned();
    let id = body["job"]["id"].as_str().unwrap();
    assert!(status_url.starts_with(&grapnel.url(&format!("/v1/status/{id}/"))), "{status_url}");

    let (status, waiting) = ask(client.get(&status_url)).await;
    assert_eq!((status, &waiting["id"]), (200, &body["job"]["id"]));
    let begun = Instant::now();
    let (_, ended) = ask(client.get(format!("{status_url}?wait=30"))).await;
    assert!(begun.elapsed() < Duration::from_secs(20));
    assert_eq!(ended["state"], "READY");
    assert!(ended["siteUrl"].as_str().unwrap().contains(id) && ended["finishedAt"].is_i64(), "{ended}");
    let keys: Vec<_> = ended.as_object().unwrap().keys().cloned().collect();
    assert_eq!(
        keys,
        ["buildingAt", "createdAt", "finishedAt", "id", "queuedAt", "reason", "siteUrl", "state"],
        "the state and nothing else"
    );
    let badge = client.get(format!("{status_url}/badge.svg")).send().await.unwrap();
    assert_eq!(badge.headers()["content-type"], "image/svg+xml");
    assert!(badge.text().await.unwrap().contains("deploy: ready"));

    let wrong = format!("{}0", &status_url[..status_url.len() - 1]);
    let wrong = if wrong == status_url { format!("{}1", &status_url[..status_url.len() - 1]) } else { wrong };
    assert_eq!(ask(client.get(wrong)).await.0, 404);
    let other = status_url.replace(id, "dpl_01h455vb4pex5vsknk084sn02q");
    assert_eq!(ask(client.get(other)).await.0, 404);

    let begun = Instant::now();
    let (_, held) = ask(client.post(format!("{url}?wait=60"))).await;
    assert_eq!(held["job"]["state"], "READY", "the answer was held until the end");
    assert!(begun.elapsed() > Duration::from_secs(1));
    let (_, short) = ask(client.post(format!("{url}?wait=0"))).await;
    assert_ne!(short["job"]["state"], "READY");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_burst_of_a_thousand_requests_is_few_builds_and_the_last_begins_after_it() {
    let grapnel = Grapnel::start(Setup::default()).await;
    let settings = BuildSettings { build_command: Some("sleep 1".into()), ..Default::default() };
    let (project, _) = project(&grapnel, "site", settings).await;
    let hook = CreateHookRequest {
        project: project.id.clone(),
        name: "burst".into(),
        quiet_period_ms: 2_000,
        ..Default::default()
    };
    let url = grapnel.client().create_hook(hook).await.unwrap().into_inner().url;
    let client = http_client();
    let mut every_ten_ms = tokio::time::interval(Duration::from_millis(10));
    let mut asking = Vec::new();
    for _ in 0..1_000 {
        every_ten_ms.tick().await;
        asking.push(tokio::spawn(ask(client.post(&url))));
    }
    let mut last = String::new();
    for asked in asking {
        let (status, body) = asked.await.unwrap();
        assert_eq!(status, 200, "{body}");
        last = body["job"]["id"].as_str().unwrap().to_owned();
    }
    let deployment = grapnel.ready(&last).await;
    let asked = ledger(&grapnel, "site").await[0].at.unwrap();
    let built = deployment.building_at.unwrap();
    assert!(
        (built.seconds, built.nanos) > (asked.seconds, asked.nanos),
        "the last publish is in the last build"
    );

    let request = ListDeploymentsRequest { project: project.id, page_size: 200, ..Default::default() };
    let listed = grapnel.client().list_deployments(request).await.unwrap().into_inner().deployments;
    let ran = listed.iter().filter(|it| it.building_at.is_some()).count();
    let answered: u32 = listed.iter().filter(|it| it.building_at.is_some()).map(|it| it.trigger_count).sum();
    println!(
        "1000 requests in 10 s: {} deployments were stored, {ran} built; {answered} triggers answered",
        listed.len()
    );
    assert_eq!(answered, 1_000, "every trigger is answered by a build");
    assert!(ran <= 5, "{ran} builds ran");
    for superseded in listed.iter().filter(|it| it.state() == DeploymentState::Canceled) {
        let why = superseded.cancellation.as_ref().unwrap();
        assert_eq!(why.reason(), CancelReason::Superseded);
        // Two requests at once may be stored in another order than their ids were made.
        assert_ne!(why.superseded_by, superseded.id);
        assert!(listed.iter().any(|it| it.id == why.superseded_by), "it names its successor");
    }
    grapnel.nothing_is_left().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_superseded_build_is_gone_within_two_seconds() {
    let grapnel = Grapnel::start(Setup::default()).await;
    let settings =
        BuildSettings { build_command: Some("trap '' TERM; sleep 60".into()), ..Default::default() };
    let (_, url) = project(&grapnel, "site", settings).await;
    let first = grapnel.trigger(&url).await;
    grapnel.until(&first, |it| it.state() == DeploymentState::Building).await;
    let second = grapnel.trigger(&url).await;
    grapnel.until(&second, |it| it.queued_at.is_some()).await;
    let begun = Instant::now();
    let ended = grapnel.ended(&first).await;
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    let why = ended.cancellation.unwrap();
    assert_eq!((why.reason(), why.superseded_by), (CancelReason::Superseded, second.clone()));
    let shown = String::from_utf8(grapnel.cli(&["deployment", "show", &first]).stdout).unwrap();
    assert!(shown.contains(&second), "{shown}");
    grapnel.cli(&["deployment", "cancel", &second]);
    grapnel.ended(&second).await;
    grapnel.nothing_is_left().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repository_that_switches_itself_off_says_so_in_the_deployment() {
    let grapnel = Grapnel::start(Setup::default()).await;
    let (_, url) = project(&grapnel, "site", BuildSettings::default()).await;
    let site = Repository::with(&grapnel.repositories().join("off"), &[("index.html", "hi")]);
    site.write("vercel.json", r#"{"github":{"enabled":false}}"#);
    site.commit("Switch off");
    assert!(grapnel.cli(&["project", "update", "site", "--repo", &site.path()]).status.success());
    let ended = grapnel.ended(&grapnel.trigger(&url).await).await;
    assert_eq!(ended.cancellation.unwrap().reason(), CancelReason::DisabledByConfig);
    assert!(!ended.commit.is_empty() && ended.building_at.is_none());
    site.write("vercel.json", r#"{"ignoreCommand":"test -z \"$DEPLOY_HOOK_ID\""}"#);
    site.commit("Ignore what no hook asked for");
    grapnel.ready(&grapnel.trigger(&url).await).await;
    let output = grapnel.cli(&["deploy", "site", "--wait"]);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(said.contains("IGNORED_BY_COMMAND"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_wrong_tokens_from_one_address_do_not_shut_others_out() {
    let setup = Setup::default().set("RATE_LIMIT_ADDRESS", "50").set("GATEWAY_TRUSTED_PROXIES", "127.0.0.1");
    let grapnel = Grapnel::start(setup).await;
    let (_, url) = project(&grapnel, "site", BuildSettings::default()).await;
    let base = url.rsplit_once('/').unwrap().0;
    let client = http_client();
    let guesses = futures_util::stream::iter(0..10_000).map(|_| {
        let wrong = grapnel_domain::secret_token::HookToken::generate(&mut rand::rng());
        let guess = client.post(format!("{base}/{}", wrong.expose()));
        ask(guess.header("x-forwarded-for", "198.51.100.66"))
    });
    let mut guesses = guesses.buffer_unordered(32);
    let mut answers = std::collections::BTreeMap::new();
    while let Some((status, _)) = guesses.next().await {
        *answers.entry(status).or_insert(0) += 1;
    }
    assert!(answers[&404] >= 50 && answers[&429] >= 9_000 && answers.len() == 2, "{answers:?}");
    let right = client.post(&url).header("x-forwarded-for", "198.51.100.7");
    assert_eq!(ask(right).await.0, 200, "the right one still works from elsewhere");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_is_deployed_only_where_the_hooks_branch_has_it() {
    let grapnel = Grapnel::start(Setup::default()).await;
    let (_, url) = project(&grapnel, "site", BuildSettings::default()).await;
    let site = Repository::with(&grapnel.repositories().join("history"), &[("index.html", "one")]);
    assert!(grapnel.cli(&["project", "update", "site", "--repo", &site.path()]).status.success());
    let first = grapnel.ready(&grapnel.trigger(&url).await).await.commit;
    site.write("index.html", "two");
    site.commit("Two");
    site.git(&["tag", "--annotate", "--message", "v1", "v1"]);
    let second = grapnel.ready(&grapnel.trigger(&url).await).await.commit;
    assert_ne!(first, second);

    let back = grapnel.trigger(&format!("{url}?ref={first}")).await;
    let back = grapnel.ready(&back).await;
    assert_eq!(
        (&back.commit, back.promoted),
        (&first, true),
        "the newest deployment is served, of an older commit"
    );
    assert_eq!(grapnel.page(&back.id, "/").await.text().await.unwrap(), "one");
    let client = http_client();
    let nowhere = "0123456789012345678901234567890123456789";
    for wrong in [nowhere, &first[..12], "main", "v1", "HEAD", "--upload-pack=x", "../../x", "%00"] {
        let (status, body) = ask(client.post(format!("{url}?ref={wrong}"))).await;
        assert_eq!(
            (status, body["error"]["code"].as_str()),
            (400, Some("invalid_request")),
            "{wrong}: {body}"
        );
        let row = ledger(&grapnel, "site").await.remove(0);
        assert_eq!(row.decision().as_str_name(), "TRIGGER_DECISION_REFUSED", "{wrong}");
        assert!(row.reason.contains("commit"), "{wrong}: {}", row.reason);
    }
}
