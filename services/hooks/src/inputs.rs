//! What a build is given that is not stored with its deployment: its variables, and what git needs.
//!
//! Secrets are opened here, when they are needed, and held for no longer than the call that hands them to an executor.

use grapnel_domain::{
    BranchName, SecretText,
    failure::{Failure, FailureCode},
    id::{ProjectId, TeamId},
    source::{CredentialSecret, SourceAccess, SourceCredential},
    variable::{BuildVariable, Variable as ForBranches, variables_of},
};

use crate::{
    model::{Credential, CredentialKind, Kept, Variable},
    sealing::{OpenError, Sealed, Sealer},
    store::{Store, StoreError},
};

/// Finds what builds are given. Clones share everything.
#[derive(Clone, Debug)]
pub struct Inputs {
    store: Store,
    sealer: Sealer,
}

/// Why a build cannot be given what it needs.
#[derive(Debug, thiserror::Error)]
pub enum InputError {
    /// The database fails.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A secret does not open.
    #[error("{what} cannot be opened: {cause}")]
    Sealed {
        /// What was sealed, as people know it.
        what: String,
        /// Why it does not open.
        cause: OpenError,
    },
}

impl InputError {
    /// Says it in the words of a deployment; `None` where the database has to be asked again.
    pub fn failure(&self) -> Option<Failure> {
        match self {
            Self::Store(_) => None,
            Self::Sealed { .. } => Some(Failure::new(FailureCode::SecretUnreadable, self.to_string())),
        }
    }

    /// Tells whether the key may have been dropped since the secret was read: read anew, it is sealed under another.
    fn may_be_rotated(&self) -> bool {
        matches!(self, Self::Sealed { cause: OpenError::UnknownKey, .. })
    }
}

impl Inputs {
    /// Takes where secrets are kept, and what opens them.
    pub fn new(store: Store, sealer: Sealer) -> Self {
        Self { store, sealer }
    }

    /// Returns the variables of a project's builds of a branch.
    ///
    /// # Errors
    /// The database fails, or a secret does not open. None of them is left out silently.
    pub async fn variables(
        &self,
        team: TeamId,
        project: ProjectId,
        branch: &BranchName,
    ) -> Result<Vec<BuildVariable>, InputError> {
        let variables = match self.open_all(self.store.variables(team, project).await?) {
            Err(error) if error.may_be_rotated() => {
                self.open_all(self.store.variables(team, project).await?)?
            }
            opened => opened?,
        };
        Ok(variables_of(variables, branch))
    }

    /// Returns what git needs for a project's sources.
    ///
    /// # Errors
    /// As [`Inputs::variables`].
    pub async fn access(&self, team: TeamId, project: ProjectId) -> Result<SourceAccess, InputError> {
        self.access_of(team, Some(project)).await
    }

    /// Returns what git needs for a repository that is no project's yet: what is the team's itself.
    ///
    /// # Errors
    /// As [`Inputs::variables`].
    pub async fn access_of_team(&self, team: TeamId) -> Result<SourceAccess, InputError> {
        self.access_of(team, None).await
    }

    async fn access_of(&self, team: TeamId, project: Option<ProjectId>) -> Result<SourceAccess, InputError> {
        let credentials = match self.open_credentials(self.store.sealed_credentials(team, project).await?) {
            Err(error) if error.may_be_rotated() => {
                self.open_credentials(self.store.sealed_credentials(team, project).await?)?
            }
            opened => opened?,
        };
        let trusted = self.store.trusted_hosts(team).await?;
        Ok(SourceAccess {
            owner: (!credentials.is_empty()).then_some(team),
            credentials,
            known_hosts: trusted.into_iter().map(|trusted| trusted.host).collect(),
        })
    }

    fn open_all(&self, kept: Vec<Variable>) -> Result<Vec<ForBranches>, InputError> {
        let open = |variable: Variable| {
            let Variable { id, name, branches, value, .. } = variable;
            let (value, secret) = match value {
                Kept::Plain(value) => (SecretText::new(value), false),
                Kept::Sealed(sealed) => (self.unseal(&id, &sealed, || format!("the variable {name}"))?, true),
            };
            Ok(ForBranches { name, value, secret, branches })
        };
        kept.into_iter().map(open).collect()
    }

    fn open_credentials(&self, kept: Vec<(Credential, Sealed)>) -> Result<Vec<SourceCredential>, InputError> {
        let open = |(credential, sealed): (Credential, Sealed)| {
            let Credential { id, origin, kind, .. } = credential;
            let secret = self.unseal(&id, &sealed, || format!("the credential {id} for {origin}"))?;
            let secret = match kind {
                CredentialKind::Token { user, .. } => CredentialSecret::Token { user, token: secret },
                CredentialKind::SshKey { .. } => CredentialSecret::SshKey(secret),
            };
            Ok(SourceCredential { origin, secret })
        };
        kept.into_iter().map(open).collect()
    }

    fn unseal(
        &self,
        owner: &impl ToString,
        sealed: &Sealed,
        what: impl FnOnce() -> String,
    ) -> Result<SecretText, InputError> {
        let opened = self.sealer.unseal(&owner.to_string(), sealed);
        opened.map_err(|cause| InputError::Sealed { what: what(), cause })
    }
}
