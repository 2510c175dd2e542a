//! What projects' sources and builds need, from rows to records and back.

use grapnel_domain::{source::KnownHost, variable::BranchPattern};

use super::{number, parse};
use crate::{
    model::{Credential, CredentialKind, Kept, TrustedHost, Variable},
    sealing::Sealed,
    store::{StoreError, entity::*},
};

pub fn variable(row: variable::Model, sealed: Option<Sealed>) -> Result<Variable, StoreError> {
    const TABLE: &str = "variable";
    let broken = |what: String| StoreError::Row { table: TABLE, what };
    let value = match (row.value, sealed) {
        (Some(value), _) => Kept::Plain(value),
        (None, Some(sealed)) => Kept::Sealed(sealed),
        (None, None) => return Err(broken(format!("{} has no value", row.id))),
    };
    Ok(Variable {
        id: parse(TABLE, &row.id)?,
        name: parse(TABLE, &row.name)?,
        branches: BranchPattern::parse(&row.branches).map_err(|error| broken(error.to_string()))?,
        value,
        created_at: row.created_at,
        updated_at: row.updated_at,
    })
}

const TOKEN: &str = "TOKEN";
const SSH_KEY: &str = "SSH_KEY";

pub fn credential(row: credential::Model) -> Result<Credential, StoreError> {
    const TABLE: &str = "credential";
    let kind = match row.kind.as_str() {
        TOKEN => CredentialKind::Token { user: row.user_name, last_four: row.last_four },
        SSH_KEY => CredentialKind::SshKey { public_key: row.public_key },
        other => return Err(StoreError::Row { table: TABLE, what: format!("`{other}` is no kind") }),
    };
    Ok(Credential {
        id: parse(TABLE, &row.id)?,
        team_id: parse(TABLE, &row.team_id)?,
        project_id: row.project_id.map(|id| parse(TABLE, &id)).transpose()?,
        origin: parse(TABLE, &row.origin)?,
        kind,
        created_at: row.created_at,
    })
}

pub fn credential_row(credential: &Credential) -> credential::Model {
    let (kind, user_name, last_four, public_key) = match credential.kind.clone() {
        CredentialKind::Token { user, last_four } => (TOKEN, user, last_four, String::new()),
        CredentialKind::SshKey { public_key } => (SSH_KEY, String::new(), String::new(), public_key),
    };
    credential::Model {
        id: credential.id.to_string(),
        team_id: credential.team_id.to_string(),
        project_id: credential.project_id.map(|id| id.to_string()),
        origin: credential.origin.to_string(),
        kind: kind.to_owned(),
        user_name,
        last_four,
        public_key,
        created_at: credential.created_at,
    }
}

pub fn trusted_host(row: trusted_host::Model) -> Result<TrustedHost, StoreError> {
    const TABLE: &str = "trusted_host";
    let keys: Result<_, _> = row.host_keys.lines().map(|line| parse(TABLE, line)).collect();
    let host = KnownHost { host: row.host, port: number(TABLE, row.port.into())?, keys: keys? };
    Ok(TrustedHost { host, trusted_at: row.created_at })
}
