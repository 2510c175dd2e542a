//! What is secret, from its way in to the builds that need it, on SQLite and on PostgreSQL.

use grapnel_domain::{
    BranchName, Reason, RepositoryUrl, SecretText,
    failure::FailureCode,
    id::TeamId,
    source::CredentialSecret,
    variable::{BranchPattern, Variable as NewVariable},
};
use grapnel_hooks::{
    app::{App, NewCredential, NewProject, NewSecret},
    inputs::InputError,
    model::{CredentialKind, Kept},
    sealing::Sealer,
    store::{StoreError, projects::ProjectRef},
};
use sea_orm::{ConnectionTrait as _, Database};

use crate::support::{app, on_both, secret_key_file};

fn variable(name: &str, value: &str, secret: bool, branches: &str) -> NewVariable {
    NewVariable {
        name: name.parse().unwrap(),
        value: SecretText::new(value),
        secret,
        branches: BranchPattern::parse(branches).unwrap(),
    }
}

fn token(value: &str) -> NewSecret {
    NewSecret::Token { user: "deploy".into(), token: SecretText::new(value) }
}

fn credential(project: Option<&ProjectRef>, origin: &str, secret: NewSecret) -> NewCredential {
    let origin = (!origin.is_empty()).then(|| origin.parse().unwrap());
    NewCredential { project: project.cloned(), origin, secret, in_clear: false }
}

/// What a build of a branch is given, as `NAME=value`, secrets with a `*`.
async fn given(app: &App, team: TeamId, project: &ProjectRef, branch: &str) -> Vec<String> {
    let project = app.project(team, project).await.unwrap().id;
    let branch = BranchName::parse(branch).unwrap();
    let given = app.inputs().variables(team, project, &branch).await.unwrap();
    let line = |it: grapnel_domain::variable::BuildVariable| {
        format!("{}={}{}", it.name, it.value.expose(), if it.secret { "*" } else { "" })
    };
    given.into_iter().map(line).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_build_gets_its_branchs_variables_and_nobody_else_gets_a_secret() {
    on_both(async |url| {
        let (app, team, project) = app(&url).await;
        let set = [
            variable("API", "plain", false, ""),
            variable("API", "https://preview", false, "preview/*"),
            variable("TOKEN", "hunter2-hunter2", true, ""),
        ];
        app.set_variables(team.id, &project, set.to_vec()).await.unwrap();
        assert_eq!(given(&app, team.id, &project, "main").await, ["API=plain", "TOKEN=hunter2-hunter2*"]);
        let preview = given(&app, team.id, &project, "preview/x").await;
        assert_eq!(preview, ["API=https://preview", "TOKEN=hunter2-hunter2*"]);

        let before = app.list_variables(team.id, &project).await.unwrap();
        assert!(!format!("{before:?}").contains("hunter2"));
        assert!(matches!(&before[2].value, Kept::Sealed(sealed) if !sealed.text.contains("hunter2")));
        app.set_variables(team.id, &project, vec![variable("TOKEN", "now plain", false, "")]).await.unwrap();
        let after = app.list_variables(team.id, &project).await.unwrap();
        assert_eq!((after.len(), after[2].id), (3, before[2].id), "it is the same variable");
        assert_eq!(after[2].value, Kept::Plain("now plain".into()));
        assert_eq!(
            app.store.sealing_keys_in_use().await.unwrap(),
            Vec::<String>::new(),
            "the secret is gone"
        );

        let all = BranchPattern::default();
        app.delete_variable(team.id, &project, &"TOKEN".parse().unwrap(), &all).await.unwrap();
        let twice = app.delete_variable(team.id, &project, &"TOKEN".parse().unwrap(), &all).await;
        assert_eq!(twice.unwrap_err().reason, Reason::VariableNotFound);
        assert_eq!(given(&app, team.id, &project, "main").await, ["API=plain"]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn too_many_variables_or_too_long_ones_change_nothing() {
    on_both(async |url| {
        let (app, team, project) = app(&url).await;
        let many = (0..256).map(|n| variable(&format!("V{n}"), "x", false, "")).collect::<Vec<_>>();
        app.set_variables(team.id, &project, many).await.unwrap();
        let more = vec![variable("V0", "changed", false, ""), variable("ONE_MORE", "x", false, "")];
        let refused = app.set_variables(team.id, &project, more).await.unwrap_err();
        assert_eq!(refused.reason, Reason::VariableLimitReached, "{refused}");
        let long = (0..9).map(|n| variable(&format!("V{n}"), &"x".repeat(60_000), n % 2 == 0, "")).collect();
        let refused = app.set_variables(team.id, &project, long).await.unwrap_err();
        assert!(refused.to_string().contains("524288 bytes"), "{refused}");
        assert!(given(&app, team.id, &project, "main").await.iter().all(|line| line.ends_with("=x")));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_credential_is_the_projects_own_or_the_teams_and_one_for_an_origin() {
    on_both(async |url| {
        let (app, team, project) = app(&url).await;
        let id = app.project(team.id, &project).await.unwrap().id;
        let teams =
            app.create_credential(team.id, credential(None, "https://example.org", token("teams-token")));
        teams.await.unwrap();
        let access = app.inputs().access(team.id, id).await.unwrap();
        let url = RepositoryUrl::parse("https://example.org/site.git").unwrap();
        let shown = |access: &grapnel_domain::source::SourceAccess| match access.credential_for(&url) {
            Some(CredentialSecret::Token { token, .. }) => token.expose().to_owned(),
            other => panic!("{other:?}"),
        };
        assert_eq!((shown(&access), access.owner), ("teams-token".into(), Some(team.id)));
        // The origin is that of the project's repository where none is named.
        let own = app.create_credential(team.id, credential(Some(&project), "", token("own-token-1234")));
        let own = own.await.unwrap();
        assert_eq!(own.kind, CredentialKind::Token { user: "deploy".into(), last_four: "1234".into() });
        assert_eq!(shown(&app.inputs().access(team.id, id).await.unwrap()), "own-token-1234");
        let again =
            app.create_credential(team.id, credential(Some(&project), "https://example.org", token("x-y-z")));
        assert_eq!(again.await.unwrap_err().reason, Reason::CredentialExists);
        app.delete_credential(team.id, own.id).await.unwrap();
        assert_eq!(shown(&app.inputs().access(team.id, id).await.unwrap()), "teams-token");
        let gone = app.delete_credential(team.id, own.id).await.unwrap_err();
        assert_eq!(gone.reason, Reason::CredentialNotFound);
    })
    .await;
}

#[tokio::test]
async fn what_is_of_no_use_or_unsafe_is_refused_with_what_to_do() {
    let directory = tempfile::tempdir().unwrap();
    let (app, team, project) = app(&format!("sqlite://{}/grapnel.db", directory.path().display())).await;
    let pem = "-----BEGIN RSA PRIVATE KEY-----\nAAAA\n-----END RSA PRIVATE KEY-----";
    let given = |key: &str| NewSecret::SshKey(Some(SecretText::new(key)));
    for (origin, secret, says) in [
        ("ssh://example.org", token("hunter2"), "an SSH host takes an SSH key"),
        ("http://example.org", token("hunter2"), "everybody on the way reads the token"),
        ("https://example.org", NewSecret::SshKey(None), "it takes a user and a token"),
        ("ssh://example.org", given(pem), "in the form of OpenSSH"),
        ("ssh://example.org", given(WITH_PASSPHRASE), "no passphrase"),
    ] {
        let refused =
            app.create_credential(team.id, credential(Some(&project), origin, secret)).await.unwrap_err();
        assert_eq!(refused.reason, Reason::InvalidRequest, "{refused}");
        assert!(refused.to_string().contains(says) && !refused.to_string().contains("hunter2"), "{refused}");
    }
    let nowhere = app.create_credential(team.id, credential(None, "", token("hunter2"))).await.unwrap_err();
    assert!(nowhere.to_string().contains("`origin` must be named"), "{nowhere}");
}

/// A key that nobody uses, made by ssh-keygen(1) with a passphrase.
const WITH_PASSPHRASE: &str = include_str!("data/with_passphrase");

#[tokio::test]
async fn a_key_that_is_made_shows_its_public_half_and_opens_as_a_private_one() {
    let directory = tempfile::tempdir().unwrap();
    let (app, team, project) = app(&format!("sqlite://{}/grapnel.db", directory.path().display())).await;
    let made = credential(Some(&project), "ssh://git.example.org", NewSecret::SshKey(None));
    let made = app.create_credential(team.id, made).await.unwrap();
    let CredentialKind::SshKey { public_key } = made.kind else { panic!("{made:?}") };
    assert!(public_key.starts_with("ssh-ed25519 AAAA") && public_key.ends_with(" grapnel"), "{public_key}");
    let id = app.project(team.id, &project).await.unwrap().id;
    let access = app.inputs().access(team.id, id).await.unwrap();
    let CredentialSecret::SshKey(private) = &access.credentials[0].secret else { panic!("{access:?}") };
    // ssh-keygen(1) itself reads it, and finds the same public half in it.
    let file = directory.path().join("key");
    std::fs::write(&file, private.expose()).unwrap();
    std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let found = std::process::Command::new("ssh-keygen").arg("-y").arg("-f").arg(&file).output().unwrap();
    assert_eq!(String::from_utf8(found.stdout).unwrap().trim(), public_key);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn secrets_of_a_deleted_project_are_gone() {
    on_both(async |url| {
        let (app, team, project) = app(&url).await;
        app.set_variables(team.id, &project, vec![variable("TOKEN", "hunter2", true, "")]).await.unwrap();
        app.create_credential(team.id, credential(Some(&project), "", token("hunter2"))).await.unwrap();
        app.delete_project(team.id, &project).await.unwrap();
        assert_eq!(app.store.sealing_keys_in_use().await.unwrap(), Vec::<String>::new());
        assert_eq!(app.list_credentials(team.id, None).await.unwrap(), []);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rotation_seals_everything_anew_also_beside_a_process_that_has_not_heard_of_it() {
    on_both(async |url| {
        let (app, team, project) = app(&url).await;
        let many = (0..150).map(|n| variable(&format!("V{n}"), &format!("secret-{n}"), true, "")).collect();
        app.set_variables(team.id, &project, many).await.unwrap();
        let old = app.sealer.current();
        let file = secret_key_file(&url);
        let other = App { sealer: Sealer::open(file.clone(), false).unwrap(), ..app.clone() };
        let rotated = app.rotate_secret_key().await.unwrap();
        assert_eq!((rotated.sealed, rotated.unused.len()), (150, 0));
        assert_eq!(app.store.sealing_keys_in_use().await.unwrap(), [rotated.key.as_str()]);
        assert_eq!(
            Sealer::open(file, false).unwrap().key_ids(),
            [rotated.key.as_str()],
            "the old key is gone"
        );
        // The other one has the old key alone, and knows it for stale when it stores.
        assert_eq!(other.sealer.key_ids(), [old.as_str()]);
        other.set_variables(team.id, &project, vec![variable("NEW", "secret-new", true, "")]).await.unwrap();
        assert_eq!(app.store.sealing_keys_in_use().await.unwrap(), [rotated.key.as_str()]);
        assert_eq!(given(&app, team.id, &project, "main").await.len(), 151);
        assert_eq!(given(&other, team.id, &project, "main").await.len(), 151);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_an_operator_puts_above_the_others_seals_and_theirs_to_remove_are_the_rest() {
    on_both(async |url| {
        let (app, team, project) = app(&url).await;
        app.set_variables(team.id, &project, vec![variable("TOKEN", "hunter2", true, "")]).await.unwrap();
        let (file, old) = (secret_key_file(&url), app.sealer.current());
        let keys = std::fs::read_to_string(&file).unwrap();
        std::fs::write(&file, format!("{}\n{keys}", "A".repeat(43) + "=")).unwrap();
        let rotated = app.rotate_secret_key().await.unwrap();
        assert_eq!((rotated.sealed, rotated.unused), (1, vec![old]));
        assert_eq!(given(&app, team.id, &project, "main").await, ["TOKEN=hunter2*"]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_key_is_named_by_builds_and_rotations_and_nothing_is_given_without() {
    on_both(async |url| {
        let (app, team, project) = app(&url).await;
        app.set_variables(team.id, &project, vec![variable("TOKEN", "hunter2", true, "")]).await.unwrap();
        let (file, old) = (secret_key_file(&url), app.sealer.current());
        std::fs::write(&file, "A".repeat(43) + "=").unwrap();
        let lost = App { sealer: Sealer::open(file, false).unwrap(), ..app.clone() };
        let id = lost.project(team.id, &project).await.unwrap().id;
        let refused = lost.inputs().variables(team.id, id, &BranchName::parse("main").unwrap()).await;
        let failure = refused.unwrap_err().failure().unwrap();
        assert_eq!(failure.code, FailureCode::SecretUnreadable);
        assert!(failure.message.contains("the variable TOKEN"), "{failure}");
        let refused = lost.rotate_secret_key().await.unwrap_err();
        assert_eq!((refused.reason, refused.facts["key"].as_str()), (Reason::SecretKeyMissing, old.as_str()));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sealed_value_that_is_put_below_another_row_does_not_open_there() {
    on_both(async |url| {
        let (app, team, project) = app(&url).await;
        let set = vec![variable("ONE", "secret-1", true, ""), variable("TWO", "secret-2", true, "")];
        app.set_variables(team.id, &project, set).await.unwrap();
        let database = Database::connect(&url).await.unwrap();
        let same = "UPDATE sealed_value SET sealed = (SELECT MIN(sealed) FROM sealed_value)";
        database.execute_unprepared(same).await.unwrap();
        let id = app.project(team.id, &project).await.unwrap().id;
        let refused =
            app.inputs().variables(team.id, id, &BranchName::parse("main").unwrap()).await.unwrap_err();
        assert!(matches!(refused, InputError::Sealed { .. }), "{refused:?}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hosts_are_trusted_by_a_team_for_itself_and_by_one_set_of_keys() {
    on_both(async |url| {
        let (app, team, _) = app(&url).await;
        let scanned = app.scan_host(team.id, "git.example.org", 22).await.unwrap();
        assert_eq!(scanned.trusted, None);
        let keys = scanned.found.keys;
        app.trust_host(team.id, "git.example.org".into(), 22, keys.clone()).await.unwrap();
        app.trust_host(team.id, "git.example.org".into(), 22, keys.clone()).await.unwrap();
        assert_eq!(app.hosts(team.id).await.unwrap().len(), 1);
        assert!(app.scan_host(team.id, "git.example.org", 22).await.unwrap().trusted.is_some());
        assert!(
            app.scan_host(team.id, "github.com", 22).await.unwrap().trusted.is_some(),
            "everybody knows it"
        );
        let new = NewProject {
            name: "other".parse().unwrap(),
            repository: RepositoryUrl::parse("git@git.example.org:x.git").unwrap(),
            production_branch: BranchName::parse("main").unwrap(),
            settings: Default::default(),
        };
        let project = app.create_project(team.id, new).await.unwrap().id;
        let access = app.inputs().access(team.id, project).await.unwrap();
        assert_eq!((access.known_hosts.len(), access.owner), (1, None));
        app.distrust_host(team.id, "git.example.org", 22).await.unwrap();
        let again = app.distrust_host(team.id, "git.example.org", 22).await.unwrap_err();
        assert_eq!(again.reason, Reason::HostNotTrusted);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_sealed_under_a_key_that_seals_no_more_is_not_stored() {
    on_both(async |url| {
        let (app, team, project) = app(&url).await;
        app.store.seal_under("another1").await.unwrap();
        let new = variable("TOKEN", "hunter2", true, "");
        let refused = app.set_variables(team.id, &project, vec![new]).await.unwrap_err();
        assert_eq!(refused.reason, Reason::SecretKeyMissing, "{refused}");
        assert_eq!(app.list_variables(team.id, &project).await.unwrap(), []);
        let stale = StoreError::StaleKey.into_error(Reason::Internal);
        assert!(stale.to_string().contains("bring the file up to date"));
    })
    .await;
}
