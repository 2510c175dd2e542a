//! `grapnel credential` and `grapnel secrets`.

use std::process::ExitCode;

use grapnel_proto::hooks::v1::{
    CreateCredentialRequest, Credential, CredentialKind, DeleteCredentialRequest, DistrustHostRequest,
    HostKey, KnownHost, ListCredentialsRequest, ListTrustedHostsRequest, RotateSecretKeyRequest,
    ScanHostRequest, SshKeyCredential, TokenCredential, TrustHostRequest, create_credential_request::Secret,
};

use super::{Client, input};
use crate::{
    args::{CredentialCommand, Input, SecretsCommand},
    exit::Failure,
    out,
    output::Printer,
};

impl Client {
    pub(super) async fn credential(&mut self, command: CredentialCommand) -> Result<ExitCode, Failure> {
        match command {
            CredentialCommand::Create { project, origin, token_file, user, ssh_key, allow_clear_text } => {
                let secret = match ssh_key.as_deref() {
                    Some("") => Secret::SshKey(SshKeyCredential::default()),
                    Some(file) => {
                        let private_key = input::read(&Input::from(file))?;
                        Secret::SshKey(SshKeyCredential { private_key })
                    }
                    None => {
                        let token = input::secret(token_file.as_ref(), "The token")?;
                        Secret::Token(TokenCredential { user, token })
                    }
                };
                let request = CreateCredentialRequest {
                    project: project.unwrap_or_default(),
                    origin: origin.unwrap_or_default(),
                    secret: Some(secret),
                    allow_clear_text,
                };
                self.create_credential(request).await?;
            }
            CredentialCommand::List { project } => {
                let request = ListCredentialsRequest { project: project.unwrap_or_default() };
                let answer = self.answer(self.credentials.clone().list_credentials(request)).await?;
                self.printer.message("grapnel.hooks.v1.ListCredentialsResponse", &answer, |printer| {
                    listed(printer, &answer.credentials)
                })?;
            }
            CredentialCommand::Delete { credential } => {
                let request = DeleteCredentialRequest { credential_id: credential };
                let answer = self.answer(self.credentials.clone().delete_credential(request)).await?;
                self.printer.message("grapnel.hooks.v1.DeleteCredentialResponse", &answer, |_| {
                    "deleted".to_owned()
                })?;
            }
            CredentialCommand::TrustHost { host, fingerprint, yes } => {
                return self.trust_host(&host, fingerprint, yes).await;
            }
            CredentialCommand::Hosts => {
                let request = ListTrustedHostsRequest::default();
                let answer = self.answer(self.credentials.clone().list_trusted_hosts(request)).await?;
                self.printer.message("grapnel.hooks.v1.ListTrustedHostsResponse", &answer, |printer| {
                    hosts(printer, &answer.hosts)
                })?;
            }
            CredentialCommand::DistrustHost { host } => {
                let (host, port) = host_and_port(&host)?;
                let request = DistrustHostRequest { host, port };
                let answer = self.answer(self.credentials.clone().distrust_host(request)).await?;
                self.printer.message("grapnel.hooks.v1.DistrustHostResponse", &answer, |_| {
                    "it is trusted no longer".to_owned()
                })?;
            }
        }
        Ok(ExitCode::SUCCESS)
    }

    pub(super) async fn secrets(&mut self, command: SecretsCommand) -> Result<ExitCode, Failure> {
        let SecretsCommand::Rotate = command;
        let request = RotateSecretKeyRequest::default();
        let answer = self.answer(self.secrets.clone().rotate_secret_key(request)).await?;
        self.printer.message("grapnel.hooks.v1.RotateSecretKeyResponse", &answer, |_| {
            let mut said =
                format!("{} secrets are sealed under the key {} now.", answer.sealed, answer.key_id);
            if !answer.unused_key_ids.is_empty() {
                let unused = answer.unused_key_ids.join(", ");
                said +=
                    &format!("\nThese are in the secret key file still, and open nothing any more: {unused}");
            }
            said
        })?;
        Ok(ExitCode::SUCCESS)
    }

    async fn create_credential(&self, request: CreateCredentialRequest) -> Result<(), Failure> {
        let answer = self.answer(self.credentials.clone().create_credential(request)).await?;
        let created = answer.credential.clone().unwrap_or_default();
        let mut hint = String::new();
        if self.printer.for_people() && created.kind() == CredentialKind::SshKey {
            let request = ListTrustedHostsRequest::default();
            let hosts = self.answer(self.credentials.clone().list_trusted_hosts(request)).await?.hosts;
            let at = created.origin.trim_start_matches("ssh://").to_owned();
            if hosts.iter().all(|host| name_of(host) != at) {
                hint = format!("\nThe host is not trusted yet: grapnel credential trust-host {at}");
            }
        }
        self.printer.message("grapnel.hooks.v1.CreateCredentialResponse", &answer, |printer| {
            let key = created.public_key.clone();
            let key = if key.is_empty() {
                key
            } else {
                format!(
                    "\n{key}\n\nPut this public key into the repository as a deploy key; reading is enough."
                )
            };
            format!("{}{key}{hint}", one(printer, &created))
        })
    }

    async fn trust_host(
        &self,
        host: &str,
        fingerprint: Option<String>,
        yes: bool,
    ) -> Result<ExitCode, Failure> {
        let (host, port) = host_and_port(host)?;
        let request = ScanHostRequest { host: host.clone(), port };
        let answer = self.answer(self.credentials.clone().scan_host(request)).await?;
        let found = answer.found.unwrap_or_default();
        let mut keys = found.keys.clone();
        if let Some(wanted) = &fingerprint {
            keys.retain(|key| key.fingerprint == *wanted);
            if keys.is_empty() {
                return Err(Failure::failed(format!(
                    "{} shows no key with that fingerprint",
                    name_of(&found)
                ))
                .hint(format!("It shows these:\n{}", fingerprints(&found.keys))));
            }
        } else if !yes {
            let other =
                answer.trusted.is_some_and(|trusted| trusted.keys.iter().any(|key| !keys.contains(key)));
            let warning =
                if other { "It is trusted by other keys now, which these take the place of.\n" } else { "" };
            out::aside(&format!("{} shows these keys:\n{}\n{warning}", name_of(&found), fingerprints(&keys)));
            let question = "Are they what its operator publishes?";
            match input::confirmed(question)? {
                Some(true) => {}
                Some(false) => return Err(Failure::failed("nothing is trusted")),
                None => {
                    return Err(Failure::failed("nothing is trusted: there is nobody to ask here").hint(
                        "Give the published fingerprint by --fingerprint, or --yes to trust what is shown.",
                    ));
                }
            }
        }
        let request = TrustHostRequest { host, port, keys };
        let answer = self.answer(self.credentials.clone().trust_host(request)).await?;
        self.printer.message("grapnel.hooks.v1.TrustHostResponse", &answer, |printer| {
            let host = answer.host.clone().unwrap_or_default();
            hosts(printer, &[host])
        })?;
        Ok(ExitCode::SUCCESS)
    }
}

/// Reads `host`, `host:port`, `[address]:port` or a bare IPv6 address. 0 is the usual port.
fn host_and_port(text: &str) -> Result<(String, u32), Failure> {
    let wrong =
        || Failure::usage(format!("`{text}` must be a host, or a host and a port: git.example.org:2222"));
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !host.contains(':') || host.ends_with(']') => {
            (host, port.parse().map_err(|_| wrong())?)
        }
        _ => (text, 0),
    };
    let host = host.trim_matches(['[', ']']);
    if host.is_empty() { Err(wrong()) } else { Ok((host.to_owned(), port)) }
}

fn name_of(host: &KnownHost) -> String {
    let name = if host.host.contains(':') { format!("[{}]", host.host) } else { host.host.clone() };
    if matches!(host.port, 0 | 22) { name } else { format!("{name}:{}", host.port) }
}

fn fingerprints(keys: &[HostKey]) -> String {
    let lines: Vec<_> =
        keys.iter().map(|key| format!("  {:<20} {}", key.algorithm, key.fingerprint)).collect();
    lines.join("\n")
}

fn kind(it: &Credential) -> String {
    match it.kind() {
        CredentialKind::Token => format!("token of {}, …{}", it.user, it.last_four),
        CredentialKind::SshKey => format!("SSH key {}", it.fingerprint),
        CredentialKind::Unspecified => String::new(),
    }
}

fn whose(it: &Credential) -> String {
    if it.project_id.is_empty() { "(the team)".to_owned() } else { it.project_id.clone() }
}

fn one(printer: &Printer, it: &Credential) -> String {
    printer.fields(&[
        ("credential", it.id.clone()),
        ("for", whose(it)),
        ("shown at", it.origin.clone()),
        ("kind", kind(it)),
        ("created", printer.ago(it.created_at.as_ref())),
    ])
}

fn listed(printer: &Printer, credentials: &[Credential]) -> String {
    let rows = credentials.iter().map(|it| {
        vec![it.id.clone(), whose(it), it.origin.clone(), kind(it), printer.ago(it.created_at.as_ref())]
    });
    printer.table(
        &["ID", "FOR", "SHOWN AT", "KIND", "CREATED"],
        rows,
        "no credentials yet; `grapnel credential create` makes one",
    )
}

fn hosts(printer: &Printer, hosts: &[KnownHost]) -> String {
    let rows = hosts.iter().flat_map(|host| {
        let since =
            if host.well_known { "well known".to_owned() } else { printer.ago(host.created_at.as_ref()) };
        host.keys.iter().map(move |key| {
            vec![name_of(host), key.algorithm.clone(), key.fingerprint.clone(), since.clone()]
        })
    });
    printer.table(&["HOST", "KEY", "FINGERPRINT", "TRUSTED"], rows, "no host is trusted")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_named_with_or_without_its_port() {
        let read = |text| host_and_port(text).ok();
        assert_eq!(read("git.example.org"), Some(("git.example.org".into(), 0)));
        assert_eq!(read("git.example.org:2222"), Some(("git.example.org".into(), 2222)));
        assert_eq!(read("[::1]:2222"), Some(("::1".into(), 2222)));
        assert_eq!(read("::1"), Some(("::1".into(), 0)));
        for wrong in ["", ":22", "x:y", "[::1]:"] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }
}
