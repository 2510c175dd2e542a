//! Who may do what with variables, credentials, trusted hosts, the keys of secrets, and what git hosts are told.

use grapnel_proto::hooks::v1::*;
use prost::Message;
use tonic::Code;

use super::{ADMIN, Method, READ, Things, WRITE};

impl Things {
    /// Lists the methods about what builds and sources need.
    pub(super) fn of_sources(&self) -> Vec<Method> {
        let method = |path, needs, request: Vec<u8>, stranger| Method { path, needs, request, stranger };
        let project = || self.project.clone();
        let value = VariableValue { name: "TOKEN".into(), value: "hunter2".into(), ..Default::default() };
        let set_variables = SetVariablesRequest { project: project(), variables: vec![value] };
        let delete_variable =
            DeleteVariableRequest { project: project(), name: "TOKEN".into(), ..Default::default() };
        let new_credential = CreateCredentialRequest {
            project: project(),
            origin: "ssh://git.example.org".into(),
            secret: Some(create_credential_request::Secret::SshKey(SshKeyCredential::default())),
            ..Default::default()
        };
        let delete_credential = DeleteCredentialRequest { credential_id: self.credential.clone() };
        let scan_host = ScanHostRequest { host: "git.example.org".into(), port: 0 };
        let host_key = HostKey {
            algorithm: "ssh-ed25519".into(),
            key: "AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl".into(),
            ..Default::default()
        };
        let trust_host = TrustHostRequest { host: "git.example.org".into(), port: 0, keys: vec![host_key] };
        let distrust_host = DistrustHostRequest { host: "git.example.org".into(), port: 0 };
        let inspect = InspectRepositoryRequest { project: project(), ..Default::default() };
        let none = Code::NotFound;
        vec![
            method("VariableService/SetVariables", WRITE, set_variables.encode_to_vec(), none),
            method(
                "VariableService/ListVariables",
                READ,
                ListVariablesRequest { project: project() }.encode_to_vec(),
                none,
            ),
            method("VariableService/DeleteVariable", WRITE, delete_variable.encode_to_vec(), none),
            method("CredentialService/CreateCredential", WRITE, new_credential.encode_to_vec(), none),
            method(
                "CredentialService/ListCredentials",
                READ,
                ListCredentialsRequest { project: project() }.encode_to_vec(),
                none,
            ),
            method("CredentialService/DeleteCredential", WRITE, delete_credential.encode_to_vec(), none),
            method("CredentialService/ScanHost", WRITE, scan_host.encode_to_vec(), Code::Ok),
            method("RepositoryService/InspectRepository", WRITE, inspect.encode_to_vec(), none),
            // The hosts that a stranger trusts are the stranger's.
            method("CredentialService/TrustHost", ADMIN, trust_host.encode_to_vec(), Code::Ok),
            method(
                "CredentialService/ListTrustedHosts",
                READ,
                ListTrustedHostsRequest::default().encode_to_vec(),
                Code::Ok,
            ),
            method("CredentialService/DistrustHost", ADMIN, distrust_host.encode_to_vec(), Code::Ok),
            // So are the executors.
            method(
                "FleetService/ListExecutors",
                ADMIN,
                ListExecutorsRequest::default().encode_to_vec(),
                Code::Ok,
            ),
            method(
                "FleetService/DrainExecutor",
                ADMIN,
                DrainExecutorRequest { name: "east".into() }.encode_to_vec(),
                Code::Ok,
            ),
            // The keys of secrets are the installation's, as its administrators are.
            method(
                "SecretService/RotateSecretKey",
                ADMIN,
                RotateSecretKeyRequest::default().encode_to_vec(),
                Code::Ok,
            ),
            method(
                "StatusService/SetCommitStatuses",
                WRITE,
                SetCommitStatusesRequest {
                    project: project(),
                    mode: CommitStatusMode::Off.into(),
                    ..Default::default()
                }
                .encode_to_vec(),
                none,
            ),
            method(
                "StatusService/GetCommitStatuses",
                READ,
                GetCommitStatusesRequest { project: project() }.encode_to_vec(),
                none,
            ),
        ]
    }
}
