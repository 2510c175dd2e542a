//! Who is asking: a key, or somebody who has signed in with one.

use chrono::{DateTime, Utc};
use grapnel_domain::{
    id::{KeyId, SessionId, TeamId},
    plan::Plan,
};

use super::Key;

/// A session that is open, without its secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// Its id.
    pub id: SessionId,
    /// The team of its key.
    pub team_id: TeamId,
    /// The key that it was opened with, and ends with.
    pub key_id: KeyId,
    /// When it was opened.
    pub created_at: DateTime<Utc>,
    /// When it ends by itself.
    pub expires_at: DateTime<Utc>,
}

/// Who is asking.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asker {
    /// The key, whose scopes say what may be asked.
    pub key: Key,
    /// The session that was shown in its place.
    pub session: Option<Session>,
}

/// A team, as people see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TeamProfile {
    /// Its id.
    pub id: TeamId,
    /// What it is called.
    pub name: String,
    /// Its plan.
    pub plan: Plan,
    /// When it was made.
    pub created_at: DateTime<Utc>,
}
