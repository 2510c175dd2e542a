//! What every route answers where it refuses.

use serde::Serialize;
use utoipa::{IntoResponses, ToSchema};

/// What went wrong: the one envelope of all errors.
#[derive(Serialize, ToSchema)]
pub struct ErrorAnswer {
    /// What it is.
    pub error: ErrorDetail,
}

/// What went wrong.
#[derive(Serialize, ToSchema)]
pub struct ErrorDetail {
    /// What programs look at, such as `not_found`.
    pub code: String,
    /// What is wrong and what to do, for people. A wrong field is named.
    pub message: String,
}

/// What any route may refuse with.
#[derive(IntoResponses)]
#[expect(dead_code, reason = "it says what the description of the interface says; nothing is made of it")]
pub enum Refused {
    /// Something that was sent is wrong; it is named.
    #[response(status = 400)]
    Invalid(ErrorAnswer),
    /// No key was shown, or one that does not work.
    #[response(status = 401)]
    Unauthorized(ErrorAnswer),
    /// The key lacks the scope that this needs.
    #[response(status = 403)]
    Forbidden(ErrorAnswer),
    /// There is no such thing, or it is another team's.
    #[response(status = 404)]
    NotFound(ErrorAnswer),
    /// A fault of Grapnel's own; its log says more.
    #[response(status = 500)]
    Internal(ErrorAnswer),
    /// Something that is needed does not answer; `Retry-After` says when to come back.
    #[response(status = 503)]
    Unavailable(ErrorAnswer),
}

/// What a route that changes something may refuse with beside that.
#[derive(IntoResponses)]
#[expect(dead_code, reason = "it says what the description of the interface says; nothing is made of it")]
pub enum Conflicts {
    /// It cannot be, as things are: the name is taken, a limit is reached, the deployment is not ready.
    #[response(status = 409)]
    Conflict(ErrorAnswer),
    /// There was such a thing, and there never will be again.
    #[response(status = 410)]
    Gone(ErrorAnswer),
}

/// What a route that takes a body may refuse with beside that.
#[derive(IntoResponses)]
#[expect(dead_code, reason = "it says what the description of the interface says; nothing is made of it")]
pub enum BodyRefused {
    /// The body is larger than 64 KiB.
    #[response(status = 413)]
    TooLarge(ErrorAnswer),
    /// The body is not JSON by its content type.
    #[response(status = 415)]
    NotJson(ErrorAnswer),
}
