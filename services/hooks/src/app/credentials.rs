//! What is shown to git hosts, and the SSH hosts that a team trusts.

use grapnel_domain::{
    Error, Reason, SecretText,
    id::{CredentialId, TeamId},
    repository_url::Transport,
    source::{HostKey, KnownHost, Origin, well_known_hosts},
};
use rand::RngExt as _;
use ssh_key::{
    Algorithm, LineEnding, PrivateKey,
    private::{Ed25519Keypair, KeypairData},
};

use super::App;
use crate::{
    model::{Credential, CredentialKind, TrustedHost},
    store::{StoreError, projects::ProjectRef},
};

/// A credential to be made.
#[derive(Clone, Debug)]
pub struct NewCredential {
    /// The project that it is for; none is for all of the team's.
    pub project: Option<ProjectRef>,
    /// Where it is shown; none is where the project's repository is.
    pub origin: Option<Origin>,
    /// What it is.
    pub secret: NewSecret,
    /// Whether it may be shown where it can be read on the way.
    pub in_clear: bool,
}

/// What is secret in a new credential.
#[derive(Clone, Debug)]
pub enum NewSecret {
    /// A user and a token.
    Token {
        /// The user.
        user: String,
        /// The token.
        token: SecretText,
    },
    /// An SSH key; none is made.
    SshKey(Option<SecretText>),
}

/// What an SSH host shows, and what it is trusted by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scanned {
    /// What it shows now.
    pub found: KnownHost,
    /// What it is trusted by.
    pub trusted: Option<KnownHost>,
}

impl App {
    /// Makes a credential.
    ///
    /// # Errors
    /// `INVALID_REQUEST`, `PROJECT_NOT_FOUND`, `CREDENTIAL_EXISTS`, `CREDENTIAL_LIMIT_REACHED`, `SECRET_KEY_MISSING`.
    pub async fn create_credential(&self, team: TeamId, new: NewCredential) -> Result<Credential, Error> {
        let project = match &new.project {
            Some(project) => Some(self.project(team, project).await?),
            None => None,
        };
        let origin = new.origin.or_else(|| project.as_ref().and_then(|it| Origin::of(&it.repository)));
        let origin = origin.ok_or_else(|| {
            Error::invalid_field("origin", "must be named: there is no repository whose origin it could be")
        })?;
        let (kind, secret) = kind_and_secret(new.secret, &origin, new.in_clear)?;
        let credential = Credential {
            id: self.clock.new_id(),
            team_id: team,
            project_id: project.map(|project| project.id),
            origin,
            kind,
            created_at: self.clock.now(),
        };
        let owner = credential.id.to_string();
        let seal = || self.sealer.seal(&owner, &secret);
        let mut stored = self.store.create_credential(&credential, &seal()).await;
        if self.has_a_new_key(&stored) {
            stored = self.store.create_credential(&credential, &seal()).await;
        }
        stored.map_err(|error| refused(error, &credential))?;
        tracing::info!(credential.id = owner, origin = %credential.origin, "a credential was created");
        Ok(credential)
    }

    /// Lists a team's credentials; for a project, those that its sources are fetched with.
    ///
    /// # Errors
    /// `PROJECT_NOT_FOUND`.
    pub async fn list_credentials(
        &self,
        team: TeamId,
        project: Option<&ProjectRef>,
    ) -> Result<Vec<Credential>, Error> {
        let project = match project {
            Some(project) => Some(self.project(team, project).await?.id),
            None => None,
        };
        let found = self.store.credentials(team, project).await;
        found.map_err(|error| error.into_error(Reason::CredentialNotFound))
    }

    /// Reads a credential.
    ///
    /// # Errors
    /// `CREDENTIAL_NOT_FOUND`.
    pub async fn credential(&self, team: TeamId, id: CredentialId) -> Result<Credential, Error> {
        let found = self.store.credential(team, id).await;
        found.map_err(|error| error.into_error(Reason::CredentialNotFound))
    }

    /// Removes a credential.
    ///
    /// # Errors
    /// `CREDENTIAL_NOT_FOUND`.
    pub async fn delete_credential(&self, team: TeamId, id: CredentialId) -> Result<(), Error> {
        let deleted = self.store.delete_credential(team, id).await;
        deleted.map_err(|error| error.into_error(Reason::CredentialNotFound))?;
        tracing::info!(credential.id = %id, "a credential was removed");
        Ok(())
    }

    /// Asks an SSH host for its keys. Nothing is trusted by this.
    ///
    /// # Errors
    /// `HOST_UNREACHABLE`, `EXECUTOR_UNAVAILABLE`.
    pub async fn scan_host(&self, team: TeamId, host: &str, port: u16) -> Result<Scanned, Error> {
        let keys = self.executors.scan_host(host, port).await?;
        let trusted = self.hosts(team).await?;
        let known = trusted.into_iter().map(|it| it.host).chain(well_known_hosts());
        let trusted = known.into_iter().find(|it| it.host == host && it.port == port);
        Ok(Scanned { found: KnownHost { host: host.to_owned(), port, keys }, trusted })
    }

    /// Lets a team trust an SSH host by its keys, in the place of those by which it did.
    ///
    /// # Errors
    /// `STORE_UNAVAILABLE`.
    pub async fn trust_host(
        &self,
        team: TeamId,
        host: String,
        port: u16,
        keys: Vec<HostKey>,
    ) -> Result<TrustedHost, Error> {
        let trusted = TrustedHost { host: KnownHost { host, port, keys }, trusted_at: self.clock.now() };
        let stored = self.store.trust_host(team, &trusted).await;
        stored.map_err(|error| error.into_error(Reason::HostNotTrusted))?;
        tracing::info!(host = trusted.host.host, port, "a host is trusted");
        Ok(trusted)
    }

    /// Lists the hosts that a team trusts.
    ///
    /// # Errors
    /// `STORE_UNAVAILABLE`.
    pub async fn hosts(&self, team: TeamId) -> Result<Vec<TrustedHost>, Error> {
        let found = self.store.trusted_hosts(team).await;
        found.map_err(|error| error.into_error(Reason::HostNotTrusted))
    }

    /// Lets a team trust a host no longer.
    ///
    /// # Errors
    /// `HOST_NOT_TRUSTED`.
    pub async fn distrust_host(&self, team: TeamId, host: &str, port: u16) -> Result<(), Error> {
        let done = self.store.distrust_host(team, host, port).await;
        done.map_err(|error| error.into_error(Reason::HostNotTrusted))?;
        tracing::info!(host, port, "a host is trusted no longer");
        Ok(())
    }
}

/// Looks at what is secret, and takes out of it what may be seen.
fn kind_and_secret(
    new: NewSecret,
    origin: &Origin,
    in_clear: bool,
) -> Result<(CredentialKind, SecretText), Error> {
    match new {
        NewSecret::Token { .. } if origin.transport == Transport::Ssh => Err(Error::invalid_field(
            "token",
            format!("is of no use at {origin}: an SSH host takes an SSH key"),
        )),
        NewSecret::Token { .. } if origin.is_in_clear() && !in_clear => Err(Error::invalid_field(
            "origin",
            "must be https: over http everybody on the way reads the token. `allow_clear_text` allows it all the same",
        )),
        NewSecret::Token { user, token } => {
            let characters: Vec<char> = token.expose().chars().collect();
            let last_four = characters[characters.len().saturating_sub(4)..].iter().collect();
            Ok((CredentialKind::Token { user, last_four }, token))
        }
        NewSecret::SshKey(_) if origin.transport != Transport::Ssh => Err(Error::invalid_field(
            "ssh_key",
            format!("is of no use at {origin}: it takes a user and a token"),
        )),
        NewSecret::SshKey(given) => {
            let key = match given {
                Some(given) => read_key(&given)?,
                None => make_key()?,
            };
            let public_key = key.public_key().to_openssh().map_err(Error::internal)?;
            let private = key.to_openssh(LineEnding::LF).map_err(Error::internal)?;
            Ok((CredentialKind::SshKey { public_key }, SecretText::new(private.as_str())))
        }
    }
}

fn make_key() -> Result<PrivateKey, Error> {
    let seed: [u8; 32] = rand::rng().random();
    let pair = KeypairData::from(Ed25519Keypair::from_seed(&seed));
    PrivateKey::new(pair, "grapnel").map_err(Error::internal)
}

fn read_key(text: &SecretText) -> Result<PrivateKey, Error> {
    let wrong = |what: &str| Error::invalid_field("ssh_key.private_key", what);
    // The line ending at its end is what is lost first when a key is copied.
    let key = PrivateKey::from_openssh(format!("{}\n", text.expose().trim())).map_err(|_| {
        wrong(
            "must be a private key in the form of OpenSSH, which begins with `-----BEGIN OPENSSH PRIVATE KEY-----`; `ssh-keygen -p -f <file>` writes an older one in that form",
        )
    })?;
    if key.is_encrypted() {
        return Err(wrong(
            "must have no passphrase, since nobody could type it; `ssh-keygen -p -f <file>` takes it away",
        ));
    }
    match key.algorithm() {
        Algorithm::Ed25519 | Algorithm::Ecdsa { .. } | Algorithm::Rsa { .. } => Ok(key),
        _ => Err(wrong("must be an ed25519, ECDSA or RSA key")),
    }
}

fn refused(error: StoreError, credential: &Credential) -> Error {
    match error {
        StoreError::NameTaken => {
            let whose = if credential.project_id.is_some() { "the project" } else { "the team" };
            let message =
                format!("{whose} has a credential for {}; delete that one first", credential.origin);
            Error::new(Reason::CredentialExists, message)
        }
        StoreError::TooManyCredentials => Error::new(Reason::CredentialLimitReached, error.to_string()),
        other => other.into_error(Reason::ProjectNotFound),
    }
}
