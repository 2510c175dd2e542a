//! What git needs beside an address, and what steps are given.

use grapnel_domain::{
    SecretText,
    source::{CredentialSecret, HostKey, KnownHost, SourceAccess, SourceCredential},
    variable::BuildVariable,
};

use super::Violations;
use crate::{executor::v1 as wire, hooks::v1 as hooks};

/// Writes what git needs.
pub fn access_to_wire(access: &SourceAccess) -> wire::SourceAccess {
    wire::SourceAccess {
        owner: access.owner.map(|owner| owner.to_string()).unwrap_or_default(),
        credentials: access.credentials.iter().map(credential_to_wire).collect(),
        known_hosts: access.known_hosts.iter().map(known_host_to_wire).collect(),
    }
}

/// Reads what git needs.
pub fn access_from_wire(
    field: &str,
    access: Option<wire::SourceAccess>,
    violations: &mut Violations,
) -> SourceAccess {
    let access = access.unwrap_or_default();
    let owner = match access.owner.as_str() {
        "" => None,
        owner => violations.check(&format!("{field}.owner"), owner.parse()),
    };
    let credential = format!("{field}.credentials");
    let credentials = access.credentials.into_iter();
    let credentials =
        credentials.filter_map(|it| credential_from_wire(&credential, it, violations)).collect();
    let host = format!("{field}.known_hosts");
    let known_hosts = access.known_hosts.into_iter();
    let known_hosts = known_hosts.filter_map(|it| known_host_from_wire(&host, &it, violations)).collect();
    SourceAccess { owner, credentials, known_hosts }
}

fn credential_to_wire(credential: &SourceCredential) -> wire::SourceCredential {
    use wire::source_credential::Secret;
    let secret = match &credential.secret {
        CredentialSecret::Token { user, token } => {
            Secret::Token(hooks::TokenCredential { user: user.clone(), token: token.expose().to_owned() })
        }
        CredentialSecret::SshKey(key) => {
            Secret::SshKey(hooks::SshKeyCredential { private_key: key.expose().to_owned() })
        }
    };
    wire::SourceCredential { origin: credential.origin.to_string(), secret: Some(secret) }
}

fn credential_from_wire(
    field: &str,
    credential: wire::SourceCredential,
    violations: &mut Violations,
) -> Option<SourceCredential> {
    use wire::source_credential::Secret;
    let origin = violations.check(&format!("{field}.origin"), credential.origin.parse())?;
    let secret = match credential.secret {
        Some(Secret::Token(token)) => {
            CredentialSecret::Token { user: token.user, token: SecretText::new(token.token) }
        }
        Some(Secret::SshKey(key)) => CredentialSecret::SshKey(SecretText::new(key.private_key)),
        None => {
            violations.add(&format!("{field}.secret"), "must be given");
            return None;
        }
    };
    Some(SourceCredential { origin, secret })
}

/// Writes the key of a host.
pub fn host_key_to_wire(key: &HostKey) -> hooks::HostKey {
    hooks::HostKey { algorithm: key.algorithm.clone(), key: key.key.clone(), fingerprint: key.fingerprint() }
}

/// Reads the key of a host.
pub fn host_key_from_wire(field: &str, key: &hooks::HostKey, violations: &mut Violations) -> Option<HostKey> {
    violations.check(field, format!("{} {}", key.algorithm, key.key).parse())
}

/// Writes a host with its keys.
pub fn known_host_to_wire(host: &KnownHost) -> hooks::KnownHost {
    hooks::KnownHost {
        host: host.host.clone(),
        port: host.port.into(),
        keys: host.keys.iter().map(host_key_to_wire).collect(),
        ..Default::default()
    }
}

fn known_host_from_wire(
    field: &str,
    host: &hooks::KnownHost,
    violations: &mut Violations,
) -> Option<KnownHost> {
    let (name, port) = host_from_wire(field, &host.host, host.port, violations)?;
    let keys = host.keys.iter().filter_map(|key| host_key_from_wire(field, key, violations)).collect();
    Some(KnownHost { host: name, port, keys })
}

/// Reads the name and the port of an SSH host; 0 is 22.
pub fn host_from_wire(
    field: &str,
    host: &str,
    port: u32,
    violations: &mut Violations,
) -> Option<(String, u16)> {
    let bracketed = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
    let port = if port == 0 { 22 } else { port };
    match format!("ssh://{bracketed}:{port}").parse::<grapnel_domain::source::Origin>() {
        Ok(origin) => Some((origin.host, origin.port)),
        Err(_) => {
            violations.add(field, "must be the name or the address of a host, and a port of 1 to 65535");
            None
        }
    }
}

/// Writes a variable of a build.
pub fn build_variable_to_wire(variable: &BuildVariable) -> wire::BuildVariable {
    wire::BuildVariable {
        name: variable.name.to_string(),
        value: variable.value.expose().to_owned(),
        secret: variable.secret,
    }
}

/// Reads the variables of a build.
pub fn build_variables_from_wire(
    field: &str,
    variables: Vec<wire::BuildVariable>,
    violations: &mut Violations,
) -> Vec<BuildVariable> {
    let read = variables.into_iter().filter_map(|it| {
        let name = violations.check(&format!("{field}.name"), it.name.parse())?;
        Some(BuildVariable { name, value: SecretText::new(it.value), secret: it.secret })
    });
    read.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_with_an_access_is_named() {
        let mut violations = Violations::default();
        let access = wire::SourceAccess {
            owner: "prj_x".into(),
            credentials: vec![
                wire::SourceCredential { origin: "x".into(), secret: None },
                wire::SourceCredential { origin: "https://a.org".into(), secret: None },
            ],
            known_hosts: vec![
                hooks::KnownHost { host: "-oProxyCommand=x".into(), ..Default::default() },
                hooks::KnownHost { host: "a.org".into(), port: 70_000, ..Default::default() },
                hooks::KnownHost {
                    host: "a.org".into(),
                    keys: vec![hooks::HostKey::default()],
                    ..Default::default()
                },
            ],
        };
        access_from_wire("access", Some(access), &mut violations);
        let error = violations.finish().unwrap_err();
        let fields: Vec<_> = error.violations.iter().map(|violation| violation.field.as_str()).collect();
        assert_eq!(
            fields,
            [
                "access.owner",
                "access.credentials.origin",
                "access.credentials.secret",
                "access.known_hosts",
                "access.known_hosts",
                "access.known_hosts",
            ]
        );
    }

    #[test]
    fn messages_with_secrets_do_not_print_them() {
        let variable = wire::BuildVariable { name: "TOKEN".into(), value: "hunter2".into(), secret: true };
        let token = hooks::TokenCredential { user: "u".into(), token: "hunter2".into() };
        let key = hooks::SshKeyCredential { private_key: "hunter2".into() };
        let value = hooks::VariableValue { name: "X".into(), value: "hunter2".into(), ..Default::default() };
        let spec = wire::BuildSpec { variables: vec![variable], ..Default::default() };
        let request = hooks::SetVariablesRequest { project: "p".into(), variables: vec![value] };
        let credential = hooks::CreateCredentialRequest {
            secret: Some(hooks::create_credential_request::Secret::Token(token)),
            ..Default::default()
        };
        let printed = format!("{spec:?} {request:?} {credential:?} {key:?}");
        assert!(printed.contains("TOKEN") && !printed.contains("hunter2"), "{printed}");
    }
}
