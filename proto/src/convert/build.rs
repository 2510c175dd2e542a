//! What hooks services tell executors.

use grapnel_domain::{
    BranchName, Error, RepositoryUrl,
    build::{AttemptId, BuildSpec, HookOrigin},
};

use super::{
    Violations, checked,
    project::{settings_from_wire, settings_to_wire},
    source::{access_from_wire, access_to_wire, build_variable_to_wire, build_variables_from_wire},
};
use crate::executor::v1 as wire;

/// Writes the request to run an attempt, or to go on with it after event `after_sequence`.
pub fn trigger_deploy_to_wire(spec: &BuildSpec, after_sequence: u64) -> wire::TriggerDeployRequest {
    let (hook_id, hook_name) =
        spec.hook.as_ref().map(|hook| (hook.id.to_string(), hook.name.to_string())).unwrap_or_default();
    wire::TriggerDeployRequest {
        deployment_id: spec.id.deployment.to_string(),
        attempt: spec.id.attempt,
        after_sequence,
        spec: Some(wire::BuildSpec {
            project_id: spec.project_id.to_string(),
            project_name: spec.project_name.to_string(),
            repository_url: spec.repository.to_string(),
            branch: spec.branch.to_string(),
            version: Some(wire::Version {
                commit: spec.commit.clone(),
                message: spec.commit_message.clone(),
            }),
            production: spec.production,
            hook_id,
            hook_name,
            trigger_count: spec.trigger_count,
            build_cache: spec.use_cache,
            settings: Some(settings_to_wire(&spec.settings)),
            title: spec.title.clone(),
            body: spec.body.clone(),
            variables: spec.variables.iter().map(build_variable_to_wire).collect(),
            access: Some(access_to_wire(&spec.access)),
        }),
    }
}

/// Reads the request to run an attempt: its specification, and the number of the last event the caller has.
///
/// # Errors
/// Fields are wrong; each is named.
pub fn trigger_deploy_from_wire(request: wire::TriggerDeployRequest) -> Result<(BuildSpec, u64), Error> {
    let mut violations = Violations::default();
    let id = attempt_id(&request.deployment_id, request.attempt, &mut violations);
    let spec = request.spec.unwrap_or_default();
    let version = spec.version.unwrap_or_default();
    let project_id = violations.check("spec.project_id", spec.project_id.parse());
    let project_name = violations.check("spec.project_name", spec.project_name.parse());
    let repository = violations.check("spec.repository_url", RepositoryUrl::parse(&spec.repository_url));
    let branch = violations.check("spec.branch", BranchName::parse(&spec.branch));
    let commit = violations.check("spec.version.commit", commit(version.commit));
    let hook = hook_origin(&spec.hook_id, &spec.hook_name, &mut violations);
    let settings = settings_from_wire("spec.settings", spec.settings, &mut violations);
    let variables = build_variables_from_wire("spec.variables", spec.variables, &mut violations);
    let access = access_from_wire("spec.access", spec.access, &mut violations);
    violations.finish()?;
    let spec = BuildSpec {
        id: checked(id)?,
        project_id: checked(project_id)?,
        project_name: checked(project_name)?,
        repository: checked(repository)?,
        branch: checked(branch)?,
        commit: checked(commit)?,
        commit_message: version.message,
        production: spec.production,
        hook,
        trigger_count: spec.trigger_count,
        title: spec.title,
        body: spec.body,
        use_cache: spec.build_cache,
        settings,
        variables,
        access,
    };
    Ok((spec, request.after_sequence))
}

/// Reads the id of an attempt.
pub fn attempt_id(deployment_id: &str, attempt: u32, violations: &mut Violations) -> Option<AttemptId> {
    if attempt == 0 {
        violations.add("attempt", "must be at least 1");
    }
    let deployment = violations.check("deployment_id", deployment_id.parse())?;
    (attempt > 0).then_some(AttemptId { deployment, attempt })
}

fn hook_origin(id: &str, name: &str, violations: &mut Violations) -> Option<HookOrigin> {
    if id.is_empty() {
        return None;
    }
    let id = violations.check("spec.hook_id", id.parse());
    let name = violations.check("spec.hook_name", name.parse());
    Some(HookOrigin { id: id?, name: name? })
}

/// Reads a commit: accepts a full SHA-1 or SHA-256 in lower-case hexadecimal and nothing that git could take for anything else.
pub fn commit(text: String) -> Result<String, &'static str> {
    let hexadecimal = text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    if hexadecimal && matches!(text.len(), 40 | 64) { Ok(text) } else { Err("must be a full commit hash") }
}

#[cfg(test)]
mod tests {
    use grapnel_domain::{
        SecretText,
        source::{CredentialSecret, SourceAccess, SourceCredential},
        variable::BuildVariable,
    };

    use super::*;

    fn spec() -> BuildSpec {
        BuildSpec {
            id: AttemptId { deployment: "dpl_01h455vb4pex5vsknk084sn02q".parse().unwrap(), attempt: 2 },
            project_id: "prj_01h455vb4pex5vsknk084sn02q".parse().unwrap(),
            project_name: "site".parse().unwrap(),
            repository: RepositoryUrl::parse("https://example.org/team/site.git").unwrap(),
            branch: BranchName::parse("main").unwrap(),
            commit: "0123456789abcdef0123456789abcdef01234567".into(),
            commit_message: "Say hello".into(),
            production: true,
            hook: Some(HookOrigin {
                id: "hook_01h455vb4pex5vsknk084sn02q".parse().unwrap(),
                name: "Contentful".parse().unwrap(),
            }),
            trigger_count: 3,
            title: "Second edition".into(),
            body: b"{}".to_vec(),
            use_cache: true,
            settings: grapnel_domain::project::BuildSettings::default(),
            variables: vec![BuildVariable {
                name: "API_TOKEN".parse().unwrap(),
                value: SecretText::new("hunter2"),
                secret: true,
            }],
            access: SourceAccess {
                owner: Some("team_01h455vb4pex5vsknk084sn02q".parse().unwrap()),
                credentials: vec![
                    SourceCredential {
                        origin: "https://example.org".parse().unwrap(),
                        secret: CredentialSecret::Token { user: "u".into(), token: SecretText::new("t") },
                    },
                    SourceCredential {
                        origin: "ssh://example.org:2222".parse().unwrap(),
                        secret: CredentialSecret::SshKey(SecretText::new("k")),
                    },
                ],
                known_hosts: grapnel_domain::source::well_known_hosts(),
            },
        }
    }

    #[test]
    fn a_specification_survives_the_wire() {
        let (read, after) = trigger_deploy_from_wire(trigger_deploy_to_wire(&spec(), 7)).unwrap();
        assert_eq!((read, after), (spec(), 7));
        let unhooked = BuildSpec { hook: None, ..spec() };
        assert_eq!(trigger_deploy_from_wire(trigger_deploy_to_wire(&unhooked, 0)).unwrap().0, unhooked);
    }

    #[test]
    fn an_empty_request_names_every_field_it_lacks() {
        let error = trigger_deploy_from_wire(wire::TriggerDeployRequest::default()).unwrap_err();
        let fields: Vec<_> = error.violations.iter().map(|violation| violation.field.as_str()).collect();
        assert_eq!(
            fields,
            [
                "attempt",
                "deployment_id",
                "spec.project_id",
                "spec.project_name",
                "spec.repository_url",
                "spec.branch",
                "spec.version.commit"
            ]
        );
    }

    #[test]
    fn a_commit_is_a_full_hash_and_no_option() {
        for wrong in ["", "main", "--upload-pack=x", "0123456789ABCDEF0123456789ABCDEF01234567", "0123"] {
            let mut request = trigger_deploy_to_wire(&spec(), 0);
            request.spec.as_mut().unwrap().version.as_mut().unwrap().commit = wrong.into();
            let error = trigger_deploy_from_wire(request).unwrap_err();
            assert_eq!(error.violations[0].field, "spec.version.commit", "{wrong:?}");
        }
    }
}
