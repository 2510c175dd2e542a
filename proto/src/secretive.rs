//! How messages with secrets print themselves: without them. The list stands in build.rs.

use std::fmt;

use crate::{executor::v1::BuildVariable, hooks::v1 as hooks};

impl fmt::Debug for hooks::VariableValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VariableValue").field("name", &self.name).finish_non_exhaustive()
    }
}

impl fmt::Debug for hooks::CreateSessionResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CreateSessionResponse").field("session", &self.session).finish_non_exhaustive()
    }
}

impl fmt::Debug for hooks::TokenCredential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenCredential").field("user", &self.user).finish_non_exhaustive()
    }
}

impl fmt::Debug for hooks::SshKeyCredential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SshKeyCredential").finish_non_exhaustive()
    }
}

impl fmt::Debug for hooks::SetCommitStatusesRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SetCommitStatusesRequest").field("project", &self.project).finish_non_exhaustive()
    }
}

impl fmt::Debug for BuildVariable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BuildVariable").field("name", &self.name).finish_non_exhaustive()
    }
}

impl fmt::Debug for hooks::CreateEndpointRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CreateEndpointRequest").field("url", &self.url).finish_non_exhaustive()
    }
}

impl fmt::Debug for hooks::CreateEndpointResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CreateEndpointResponse").field("endpoint", &self.endpoint).finish_non_exhaustive()
    }
}

impl fmt::Debug for hooks::RotateEndpointSecretRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RotateEndpointSecretRequest")
            .field("endpoint_id", &self.endpoint_id)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for hooks::RotateEndpointSecretResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RotateEndpointSecretResponse")
            .field("endpoint", &self.endpoint)
            .finish_non_exhaustive()
    }
}
