//! What can go wrong with the store.

use grapnel_domain::{
    Error, Reason,
    deployment::{IllegalTransition, State},
    variable::{VALUES_LIMIT, VARIABLES_LIMIT},
};
use sea_orm::{DbErr, RuntimeErr, SqlErr};

/// Why the store did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database does not answer, or does not do what it is asked for now. Another try may succeed.
    #[error("{}", trouble(.0))]
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
    /// The token that was to be replaced is not the hook's newest one that works.
    #[error("another token is the current one")]
    TokenReplaced,
    /// The deployment's artifact was removed.
    #[error("the artifact was removed")]
    ArtifactRemoved,
    /// The deployment is in a state in which no address serves it.
    #[error("the deployment is {0}")]
    NotReady(State),
    /// An address serves the deployment.
    #[error("an address serves the deployment")]
    Served,
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

/// What an operator can do something about, where a database does not do what it should. Another try may succeed in each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trouble {
    Silent,
    Slow,
    ReadOnly,
    NoConnections,
    Full,
    /// It has ended one of two transactions that waited for each other.
    Conflict,
}

impl Trouble {
    /// Reads what a database says by its codes: SQLite's numbers, and PostgreSQL's classes
    /// (<https://www.postgresql.org/docs/current/errcodes-appendix.html>). `None` is a statement of ours that is wrong.
    fn of(error: &DbErr) -> Option<Self> {
        let cause = match error {
            DbErr::ConnectionAcquire(_) => return Some(Self::Silent),
            DbErr::Conn(RuntimeErr::SqlxError(cause))
            | DbErr::Exec(RuntimeErr::SqlxError(cause))
            | DbErr::Query(RuntimeErr::SqlxError(cause)) => cause,
            DbErr::Conn(_) => return Some(Self::Silent),
            _ => return None,
        };
        let Some(told) = cause.as_database_error() else {
            return Some(Self::Silent);
        };
        let code = told.code()?;
        match &*code {
            "40001" | "40P01" => Some(Self::Conflict),
            "25006" | "8" | "264" | "520" | "776" | "1032" => Some(Self::ReadOnly),
            "53300" => Some(Self::NoConnections),
            "53100" | "13" => Some(Self::Full),
            "55P03" | "57014" | "25P03" | "5" | "6" | "261" | "517" => Some(Self::Slow),
            code if ["08", "53", "57P", "58"].iter().any(|class| code.starts_with(class)) => {
                Some(Self::Silent)
            }
            _ if matches!(error, DbErr::Conn(_)) => Some(Self::Silent),
            _ => None,
        }
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::Silent => "the database does not answer",
            Self::Slow => "the database takes too long",
            Self::ReadOnly => "the database can only be read",
            Self::NoConnections => "the database has no connection free",
            Self::Full => "the database has no room left on its disk",
            Self::Conflict => "the database has ended this in favour of something else",
        }
    }
}

fn trouble(error: &DbErr) -> &'static str {
    Trouble::of(error).unwrap_or(Trouble::Silent).as_str()
}

impl From<DbErr> for StoreError {
    fn from(error: DbErr) -> Self {
        if Trouble::of(&error).is_some() { Self::Unavailable(error) } else { Self::Database(error) }
    }
}

impl StoreError {
    /// Tells whether the database has ended a transaction in favour of another one. Run again it may come through.
    pub(super) fn is_conflict(&self) -> bool {
        matches!(self, Self::Unavailable(error) if Trouble::of(error) == Some(Trouble::Conflict))
    }

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
                "the artifact of this deployment was removed: it was older than the installation keeps artifacts, or it or its project was deleted",
            ),
            Self::NotReady(state) => Error::new(
                Reason::DeploymentNotReady,
                format!("only a READY deployment can be promoted; this one is {state}"),
            )
            .with_fact("state", state),
            Self::Served => Error::new(
                Reason::DeploymentServed,
                "its branch's address serves this deployment: promote another one first",
            ),
            Self::TokenReplaced => Error::new(
                Reason::TokenReplaced,
                "the token that was to be replaced is not the current one: somebody was faster, and nothing is changed",
            ),
            Self::StaleKey => Error::new(
                Reason::SecretKeyMissing,
                "the installation's secrets are sealed under a key that is not in this process's secret key file: bring the file up to date",
            ),
            Self::Unavailable(_) => {
                Error::new(Reason::StoreUnavailable, format!("{self}; try again later")).because(self)
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
        Reason::KeyInvalid => "the key is not known, or was revoked",
        Reason::VariableNotFound => "the project has no such variable for these branches",
        Reason::CredentialNotFound => "there is no such credential",
        Reason::HostNotTrusted => "the team does not trust this host",
        Reason::EndpointNotFound => "there is no such endpoint",
        Reason::EventNotFound => "there is no such event in the ledger",
        Reason::SiteNotFound => "no site is served at this address",
        _ => "there is no such thing",
    }
}
