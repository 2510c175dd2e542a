//! Who may open and end sessions.

use tonic::Code;

use super::{Anybody, Key, Method, Session};

/// Lists the methods about sessions, the one that destroys last. None of them asks for anything.
pub(super) fn of_sessions() -> Vec<Method> {
    let method = |path, needs, stranger| Method { path, needs, request: Vec::new(), stranger };
    vec![
        method("SessionService/CreateSession", Key, Code::Ok),
        method("SessionService/GetSession", Anybody, Code::Ok),
        method("SessionService/DeleteSession", Session, Code::Unauthenticated),
    ]
}
