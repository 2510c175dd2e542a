//! The pure rules of Grapnel: identifiers, names, tokens, limits, deployment states.
//!
//! Nothing here knows a clock, an environment, a network or a database: functions take `now` and a source of
//! randomness, and say what follows. Whatever two processes have to agree on in meaning stands here; how it
//! looks on the wire stands in `grapnel-proto`.

pub mod address;
pub mod branch;
pub mod build;
pub mod commit_status;
pub mod deployment;
pub mod ending;
pub mod endpoint;
pub mod error;
pub mod event;
pub mod failure;
pub mod hook;
pub mod id;
pub mod name;
pub mod plan;
pub mod project;
pub mod repository_url;
pub mod scope;
pub mod secret_text;
pub mod secret_token;
pub mod site;
pub mod source;
pub mod trigger;
pub mod variable;

pub use branch::BranchName;
pub use error::{Error, ErrorCode, FieldViolation, Reason};
pub use repository_url::RepositoryUrl;
pub use secret_text::SecretText;
