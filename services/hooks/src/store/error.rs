//! What can go wrong with the store.

use grapnel_domain::{
    Error, Reason,
    deployment::IllegalTransition,
    variable::{VALUES_LIMIT, VARIABLES_LIMIT},
};
use sea_orm::{DbErr, RuntimeErr, SqlErr};

/// Why the store did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database does not answer, or is too busy. Another try may succeed.
    #[error("the database does not answer")]
    Unavailable(#[source] DbErr),
    /// The database answers something that should not be.
    #[error("the database refuses")]
    Database(#[source] DbErr),
    /// A row holds what the domain does not know.
    #[error("a row of {table} cannot be read: {what}")]
    Row {
        /// The table.
        table: &'static str,
        /// What is wrong.
        what: String,
    },
    /// Something with that name is there already.
    #[error("the name is taken")]
    NameTaken,
    /// A project has as many hooks as it may have.
    #[error("the limit of {limit} hooks is reached")]
    HookLimit {
        /// Hooks allowed.
        limit: u32,
        /// Hooks there are.
        used: u32,
    },
    /// A project has as many variables as it may have.
    #[error("a project has at most {VARIABLES_LIMIT} variables")]
    TooManyVariables,
    /// The values of a project's variables are too long together.
    #[error("the values of a project's variables have at most {VALUES_LIMIT} bytes together")]
    ValuesTooLong,
    /// A team has as many credentials as it may have.
    #[error("a team has at most {} credentials", super::credentials::CREDENTIALS_LIMIT)]
    TooManyCredentials,
    /// The installation's secrets are sealed under another key by now.
    #[error("secrets are sealed under another key by now")]
    StaleKey,
    /// A project, or a team, has as many endpoints as it may have.
    #[error("the limit of {limit} endpoints is reached")]
    EndpointLimit {
        /// Endpoints allowed.
        limit: u32,
        /// Endpoints there are.
        used: u32,
    },
    /// The endpoint is disabled.
    #[error("the endpoint is disabled")]
    EndpointDisabled,
    /// It is not there, or not this team's.
    #[error("there is no such row")]
    NotFound,
    /// The deployment's artifact was removed.
    #[error("the artifact was removed")]
    ArtifactRemoved,
    /// The last key that can make keys.
    #[error("it is the last admin key")]
    LastAdminKey,
    /// Somebody else holds the lease, or has changed the row.
    #[error("the deployment is in other hands")]
    Fenced,
    /// The transition table does not have that transition.
    #[error(transparent)]
    Illegal(#[from] IllegalTransition),
}

impl From<DbErr> for StoreError {
    fn from(error: DbErr) -> Self {
        let unavailable = match &error {
            DbErr::ConnectionAcquire(_) | DbErr::Conn(_) => true,
            DbErr::Exec(RuntimeErr::SqlxError(cause)) | DbErr::Query(RuntimeErr::SqlxError(cause)) => {
                // SQLite's BUSY and its kin, PostgreSQL's classes of lost connections and shutdowns.
                let code = cause.as_database_error().and_then(sea_orm::sqlx::error::DatabaseError::code);
                cause.as_database_error().is_none()
                    || code.is_some_and(|code| {
                        matches!(&*code, "5" | "6" | "13" | "261" | "517")
                            || code.starts_with("08")
                            || code.starts_with("57P")
                    })
            }
            _ => false,
        };
        if unavailable { Self::Unavailable(error) } else { Self::Database(error) }
    }
}

impl StoreError {
    /// Reads a violated unique index as a name that is taken. Only for statements where no other index can be.
    pub(super) fn name_taken(error: DbErr) -> Self {
        match error.sql_err() {
            Some(SqlErr::UniqueConstraintViolation(_)) => Self::NameTaken,
            _ => error.into(),
        }
    }

    /// Turns it into what a caller is told. `missing` is the reason for something that is not there.
    pub fn into_error(self, missing: Reason) -> Error {
        match self {
            Self::NotFound => Error::new(missing, not_there(missing)),
            Self::ArtifactRemoved => Error::new(
                Reason::ArtifactRemoved,
                "the artifact of this deployment was removed: it was older than the installation keeps artifacts, or its project was deleted",
            ),
            Self::StaleKey => Error::new(
                Reason::SecretKeyMissing,
                "the installation's secrets are sealed under a key that is not in this process's secret key file: bring the file up to date",
            ),
            Self::Unavailable(_) => {
                Error::new(Reason::StoreUnavailable, "the database does not answer; try again later")
                    .because(self)
            }
            other => Error::internal(other),
        }
    }
}

/// Says what is not there. What is another team's is not there either.
fn not_there(missing: Reason) -> &'static str {
    match missing {
        Reason::ProjectNotFound => "there is no such project",
        Reason::HookNotFound => "there is no such hook",
        Reason::DeploymentNotFound => "there is no such deployment",
        Reason::KeyNotFound => "there is no such key",
        Reason::VariableNotFound => "the project has no such variable for these branches",
        Reason::CredentialNotFound => "there is no such credential",
        Reason::HostNotTrusted => "the team does not trust this host",
        Reason::EndpointNotFound => "there is no such endpoint",
        Reason::EventNotFound => "there is no such event in the ledger",
        Reason::SiteNotFound => "no site is served at this address",
        _ => "there is no such thing",
    }
}
