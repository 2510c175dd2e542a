//! The client commands. They see gRPC and nothing else.

mod caches;
mod credentials;
mod deployments;
mod endpoints;
mod executors;
mod hooks;
mod input;
mod keys;
mod projects;
mod statuses;
mod triggers;
mod variables;

use std::process::ExitCode;

use grapnel_domain::{Reason, secret_token::ApiKey};
use grapnel_proto::{
    error::from_status,
    hooks::v1::{
        credential_service_client::CredentialServiceClient, endpoint_service_client::EndpointServiceClient,
        fleet_service_client::FleetServiceClient, hook_service_client::HookServiceClient,
        key_service_client::KeyServiceClient, secret_service_client::SecretServiceClient,
        status_service_client::StatusServiceClient, variable_service_client::VariableServiceClient,
    },
};
use grapnel_runtime::{
    grpc::{self, Bearer},
    settings::{Sources, shared},
};
use tonic::{codegen::InterceptedService, transport::Channel};

use crate::{
    args::{ClientArgs, Command, Format},
    exit::Failure,
    output::Printer,
};

type Authorised = InterceptedService<Channel, Bearer>;

/// A connection to the hooks service, and how to print what it answers.
pub struct Client {
    hooks: HookServiceClient<Authorised>,
    keys: KeyServiceClient<Authorised>,
    credentials: CredentialServiceClient<Authorised>,
    secrets: SecretServiceClient<Authorised>,
    variables: VariableServiceClient<Authorised>,
    statuses: StatusServiceClient<Authorised>,
    endpoints: EndpointServiceClient<Authorised>,
    fleet: FleetServiceClient<Authorised>,
    url: String,
    printer: Printer,
}

/// Runs a client command.
pub fn run(args: &ClientArgs, format: Format, command: Command) -> Result<ExitCode, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut client = Client::connect(args, format)?;
        match command {
            Command::Project { command } => client.project(command).await,
            Command::Hook { command } => client.hook(command).await,
            Command::Trigger { hook, title, build } => {
                client.trigger(&hook, title.unwrap_or_default(), &build).await
            }
            Command::Triggers { project, hook, decision, since, limit } => {
                client.triggers(project, hook, decision, since, limit).await
            }
            Command::Deploy { project, branch, build } => client.deploy(project, branch, &build).await,
            Command::Deployment { command } => client.deployment(command).await,
            Command::Endpoint { command } => client.endpoint(command).await,
            Command::Cache { command } => client.cache(command).await,
            Command::Executor { command: Some(command) } => client.executor(command).await,
            Command::Env { command } => client.env(command).await,
            Command::Credential { command } => client.credential(command).await,
            Command::Secrets { command } => client.secrets(command).await,
            Command::Limits { project } => client.limits(project).await,
            Command::Key { command } => client.key(command).await,
            Command::Status { command } => client.status(command).await,
            Command::Up
            | Command::Hooks
            | Command::Gateway
            | Command::Executor { command: None }
            | Command::Doctor
            | Command::Backup { .. }
            | Command::Restore { .. }
            | Command::Db { .. }
            | Command::Completions { .. }
            | Command::Settings => Err(Failure::usage("not a client command")),
        }
    })
}

/// Makes a key that services show each other.
pub fn generate_key() -> Result<ExitCode, Failure> {
    println!("{}", ApiKey::generate(&mut rand::rng()).expose());
    Ok(ExitCode::SUCCESS)
}

impl Client {
    fn connect(args: &ClientArgs, format: Format) -> Result<Self, Failure> {
        let ca = authority()?;
        let channel = grpc::client_channel(&args.url, ca.as_deref());
        let channel = channel.map_err(|error| Failure::usage(error.to_string()))?;
        let bearer = Bearer::new(&key(args)?);
        Ok(Self {
            hooks: HookServiceClient::with_interceptor(channel.clone(), bearer.clone()),
            keys: KeyServiceClient::with_interceptor(channel.clone(), bearer.clone()),
            credentials: CredentialServiceClient::with_interceptor(channel.clone(), bearer.clone()),
            secrets: SecretServiceClient::with_interceptor(channel.clone(), bearer.clone()),
            variables: VariableServiceClient::with_interceptor(channel.clone(), bearer.clone()),
            statuses: StatusServiceClient::with_interceptor(channel.clone(), bearer.clone()),
            endpoints: EndpointServiceClient::with_interceptor(channel.clone(), bearer.clone()),
            fleet: FleetServiceClient::with_interceptor(channel, bearer),
            url: args.url.clone(),
            printer: Printer::new(format),
        })
    }

    /// Waits for an answer, and reads a refusal.
    async fn answer<T>(
        &self,
        call: impl Future<Output = Result<tonic::Response<T>, tonic::Status>>,
    ) -> Result<T, Failure> {
        let answer = call.await.map(tonic::Response::into_inner);
        answer.map_err(|status| {
            Failure::from_service(&from_status(&status, Reason::HooksUnavailable), &self.url)
        })
    }
}

/// Reads the authority that the service's certificate comes from, where one is named.
fn authority() -> Result<Option<Vec<u8>>, Failure> {
    let env = Sources::from_process().env;
    let Some(file) = env.get("GRAPNEL_TLS_CA") else {
        return Ok(None);
    };
    let read = std::fs::read(file).map(Some);
    read.map_err(|error| Failure::failed(format!("GRAPNEL_TLS_CA: {file} cannot be read: {error}")))
}

/// Finds the key: the environment, a file, or what a local `grapnel up` has left.
fn key(args: &ClientArgs) -> Result<ApiKey, Failure> {
    let env = Sources::from_process().env;
    let text = match (env.get("GRAPNEL_KEY"), &args.key_file) {
        (Some(key), _) => key.clone(),
        (None, Some(file)) => std::fs::read_to_string(file).map_err(|error| {
            Failure::failed(format!("the key file {} cannot be read: {error}", file.display()))
        })?,
        (None, None) => {
            let data_dir = env.get("GRAPNEL_DATA_DIR").map_or_else(shared::default_data_dir, Into::into);
            let file = data_dir.join("admin.key");
            std::fs::read_to_string(&file).map_err(|_| {
                Failure::failed("no API key is set").hint(format!(
                    "Set GRAPNEL_KEY or GRAPNEL_KEY_FILE. A local `grapnel up` leaves its admin key at {}.",
                    file.display()
                ))
            })?
        }
    };
    ApiKey::parse(text.trim()).map_err(|error| Failure::failed(format!("the API key {error}")))
}
