//! The calls of `grapnel.hooks.v1.CredentialService`.

use grapnel_domain::{
    Error, Reason, SecretText,
    scope::Scope,
    source::{HostKey as Key, well_known_hosts},
};
use grapnel_proto::{
    convert::{
        Violations, checked,
        source::{host_from_wire, host_key_from_wire, known_host_to_wire},
        time::timestamp,
    },
    hooks::v1::{credential_service_server::CredentialService, *},
};
use tonic::Request;

use super::{Answer, auth::Auth, convert::project_ref};
use crate::{
    app::{App, NewCredential, NewSecret},
    model,
};

/// The longest user and token, in bytes.
const LONGEST_USER: usize = 128;
const LONGEST_TOKEN: usize = 4096;

/// The fewest characters of a token.
const SHORTEST_TOKEN: usize = 4;

/// The longest private key, in bytes. One of 16,384 bits for RSA has about 12 KiB.
const LONGEST_KEY: usize = 32 * 1024;

/// The handlers.
pub struct CredentialHandlers {
    /// The use cases.
    pub app: App,
    /// Who may.
    pub auth: Auth,
}

#[tonic::async_trait]
impl CredentialService for CredentialHandlers {
    async fn create_credential(
        &self,
        request: Request<CreateCredentialRequest>,
    ) -> Answer<CreateCredentialResponse> {
        answer!({
            let team = self.auth.team(&request, scope_for(&request.get_ref().project)).await?;
            let new = new_credential(request.into_inner())?;
            let created = self.app.create_credential(team, new).await?;
            Ok(CreateCredentialResponse { credential: Some(credential(&created)) })
        })
    }

    async fn list_credentials(
        &self,
        request: Request<ListCredentialsRequest>,
    ) -> Answer<ListCredentialsResponse> {
        answer!({
            let team = self.auth.team(&request, Scope::Read).await?;
            let project = match request.into_inner().project.as_str() {
                "" => None,
                project => Some(project_ref(project)?),
            };
            let found = self.app.list_credentials(team, project.as_ref()).await?;
            Ok(ListCredentialsResponse { credentials: found.iter().map(credential).collect() })
        })
    }

    async fn delete_credential(
        &self,
        request: Request<DeleteCredentialRequest>,
    ) -> Answer<DeleteCredentialResponse> {
        answer!({
            let team = self.auth.team(&request, Scope::Write).await?;
            let id = request.get_ref().credential_id.parse();
            let id = id.map_err(|_| Error::new(Reason::CredentialNotFound, "there is no such credential"))?;
            if self.app.credential(team, id).await?.project_id.is_none() {
                self.auth.team(&request, Scope::Admin).await?;
            }
            self.app.delete_credential(team, id).await?;
            Ok(DeleteCredentialResponse {})
        })
    }

    async fn scan_host(&self, request: Request<ScanHostRequest>) -> Answer<ScanHostResponse> {
        answer!({
            let team = self.auth.team(&request, Scope::Write).await?;
            let request = request.into_inner();
            let (host, port) = host(&request.host, request.port)?;
            let scanned = self.app.scan_host(team, &host, port).await?;
            Ok(ScanHostResponse {
                found: Some(known_host_to_wire(&scanned.found)),
                trusted: scanned.trusted.as_ref().map(known_host_to_wire),
            })
        })
    }

    async fn trust_host(&self, request: Request<TrustHostRequest>) -> Answer<TrustHostResponse> {
        answer!({
            let team = self.auth.team(&request, Scope::Admin).await?;
            let request = request.into_inner();
            let (host, port) = host(&request.host, request.port)?;
            let keys = keys(&request.keys)?;
            let trusted = self.app.trust_host(team, host, port, keys).await?;
            Ok(TrustHostResponse { host: Some(trusted_host(&trusted)) })
        })
    }

    async fn list_trusted_hosts(
        &self,
        request: Request<ListTrustedHostsRequest>,
    ) -> Answer<ListTrustedHostsResponse> {
        answer!({
            let team = self.auth.team(&request, Scope::Read).await?;
            let trusted = self.app.hosts(team).await?;
            let is_replaced = |host: &grapnel_domain::source::KnownHost| {
                trusted.iter().any(|it| it.host.host == host.host && it.host.port == host.port)
            };
            let well_known = well_known_hosts().into_iter().filter(|host| !is_replaced(host));
            let well_known = well_known.map(|it| KnownHost { well_known: true, ..known_host_to_wire(&it) });
            let hosts = trusted.iter().map(trusted_host).chain(well_known).collect();
            Ok(ListTrustedHostsResponse { hosts })
        })
    }

    async fn distrust_host(&self, request: Request<DistrustHostRequest>) -> Answer<DistrustHostResponse> {
        answer!({
            let team = self.auth.team(&request, Scope::Admin).await?;
            let request = request.into_inner();
            let (host, port) = host(&request.host, request.port)?;
            self.app.distrust_host(team, &host, port).await?;
            Ok(DistrustHostResponse {})
        })
    }
}

/// What is for a whole team is for those who may do everything.
fn scope_for(project: &str) -> Scope {
    if project.is_empty() { Scope::Admin } else { Scope::Write }
}

fn new_credential(request: CreateCredentialRequest) -> Result<NewCredential, Error> {
    use create_credential_request::Secret;
    let mut violations = Violations::default();
    let project = match request.project.as_str() {
        "" => None,
        project => Some(project_ref(project)?),
    };
    let origin = match request.origin.as_str() {
        "" => None,
        origin => violations.check("origin", origin.parse()),
    };
    let secret = match request.secret {
        Some(Secret::Token(token)) => Some(new_token(token, &mut violations)),
        Some(Secret::SshKey(key)) if key.private_key.len() > LONGEST_KEY => {
            violations.add("ssh_key.private_key", format!("must have at most {LONGEST_KEY} bytes"));
            None
        }
        Some(Secret::SshKey(key)) => {
            let given = Some(key.private_key).filter(|key| !key.trim().is_empty());
            Some(NewSecret::SshKey(given.map(SecretText::new)))
        }
        None => {
            violations.add("secret", "must be a token or an SSH key");
            None
        }
    };
    violations.finish()?;
    Ok(NewCredential { project, origin, secret: checked(secret)?, in_clear: request.allow_clear_text })
}

fn new_token(token: TokenCredential, violations: &mut Violations) -> NewSecret {
    let user = if token.user.is_empty() { "git".to_owned() } else { token.user };
    // A line ending at its end is what a file has.
    let text = token.token.trim().to_owned();
    if user.len() > LONGEST_USER || user.chars().any(char::is_control) {
        violations
            .add("token.user", format!("must have at most {LONGEST_USER} bytes, and no control characters"));
    }
    let length = text.chars().count();
    if length < SHORTEST_TOKEN || text.len() > LONGEST_TOKEN || text.chars().any(char::is_control) {
        let limits = format!(
            "must have from {SHORTEST_TOKEN} to {LONGEST_TOKEN} characters, and no control characters"
        );
        violations.add("token.token", limits);
    }
    NewSecret::Token { user, token: SecretText::new(text) }
}

fn host(host: &str, port: u32) -> Result<(String, u16), Error> {
    let mut violations = Violations::default();
    let read = host_from_wire("host", host, port, &mut violations);
    violations.finish()?;
    checked(read)
}

fn keys(keys: &[HostKey]) -> Result<Vec<Key>, Error> {
    let mut violations = Violations::default();
    if keys.is_empty() || keys.len() > 16 {
        violations.add("keys", "must be from 1 to 16");
    }
    let read = keys.iter().filter_map(|key| host_key_from_wire("keys", key, &mut violations)).collect();
    violations.finish()?;
    Ok(read)
}

fn credential(it: &model::Credential) -> Credential {
    let base = Credential {
        id: it.id.to_string(),
        project_id: it.project_id.map(|id| id.to_string()).unwrap_or_default(),
        origin: it.origin.to_string(),
        created_at: Some(timestamp(it.created_at)),
        ..Credential::default()
    };
    match &it.kind {
        model::CredentialKind::Token { user, last_four } => Credential {
            kind: CredentialKind::Token.into(),
            user: user.clone(),
            last_four: last_four.clone(),
            ..base
        },
        model::CredentialKind::SshKey { public_key } => Credential {
            kind: CredentialKind::SshKey.into(),
            public_key: public_key.clone(),
            fingerprint: public_key.parse().map(|key: Key| key.fingerprint()).unwrap_or_default(),
            ..base
        },
    }
}

fn trusted_host(it: &model::TrustedHost) -> KnownHost {
    KnownHost { created_at: Some(timestamp(it.trusted_at)), ..known_host_to_wire(&it.host) }
}
