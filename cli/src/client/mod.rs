//! The client commands. They see gRPC and nothing else.

mod addresses;
mod caches;
mod credentials;
mod deployments;
mod endpoints;
mod executors;
mod follow;
mod hooks;
mod input;
mod keys;
mod progress;
mod projects;
mod repositories;
mod sessions;
mod statuses;
mod suggestions;
mod triggers;
mod variables;

use std::process::ExitCode;

use grapnel_domain::{Reason, secret_token::ApiKey};
use grapnel_proto::{
    error::from_status,
    hooks::v1::{
        address_service_client::AddressServiceClient, credential_service_client::CredentialServiceClient,
        endpoint_service_client::EndpointServiceClient, fleet_service_client::FleetServiceClient,
        hook_service_client::HookServiceClient, key_service_client::KeyServiceClient,
        repository_service_client::RepositoryServiceClient, secret_service_client::SecretServiceClient,
        session_service_client::SessionServiceClient, status_service_client::StatusServiceClient,
        variable_service_client::VariableServiceClient,
    },
};
use grapnel_runtime::{
    grpc::{self, Bearer},
    settings::{Sources, shared},
};
use tonic::{Code, codegen::InterceptedService, transport::Channel};

use crate::{
    args::{self, ClientArgs, Command, Format},
    exit::Failure,
    out,
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
    addresses: AddressServiceClient<Authorised>,
    repositories: RepositoryServiceClient<Authorised>,
    sessions: SessionServiceClient<Authorised>,
    url: String,
    printer: Printer,
}

/// How many a service gives of a list at once.
const PAGE: u32 = 200;

/// Runs a client command.
pub fn run(
    args: &ClientArgs,
    format: Format,
    command: Command,
    matches: &clap::ArgMatches,
) -> Result<ExitCode, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut client = Client::connect(args, format)?;
        match client.run(command).await {
            Ok(code) => Ok(code),
            Err(failure) => {
                let (project, hook) = (args::given(matches, "project"), args::given(matches, "hook"));
                Err(client.suggest(failure, project, hook).await)
            }
        }
    })
}

/// Makes a key that services show each other.
pub fn generate_key() -> Result<ExitCode, Failure> {
    out::line(ApiKey::generate(&mut rand::rng()).expose())?;
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
            fleet: FleetServiceClient::with_interceptor(channel.clone(), bearer.clone()),
            addresses: AddressServiceClient::with_interceptor(channel.clone(), bearer.clone()),
            repositories: RepositoryServiceClient::with_interceptor(channel.clone(), bearer.clone()),
            sessions: SessionServiceClient::with_interceptor(channel, bearer),
            url: args.url.clone(),
            printer: Printer::new(format),
        })
    }

    async fn run(&mut self, command: Command) -> Result<ExitCode, Failure> {
        match command {
            Command::Project { command } => self.project(command).await,
            Command::Hook { command } => self.hook(command).await,
            Command::Trigger { hook, title, build } => {
                self.trigger(&hook, title.unwrap_or_default(), &build).await
            }
            Command::Triggers { project, hook, decision, since, limit } => {
                self.triggers(project, hook, decision, since, limit).await
            }
            Command::Deploy { project, branch, build } => self.deploy(project, branch, &build).await,
            Command::Deployment { command } => self.deployment(command).await,
            Command::Address { command } => self.address(command).await,
            Command::Endpoint { command } => self.endpoint(command).await,
            Command::Cache { command } => self.cache(command).await,
            Command::Executor { command: Some(command) } => self.executor(command).await,
            Command::Env { command } => self.env(command).await,
            Command::Credential { command } => self.credential(command).await,
            Command::Secrets { command } => self.secrets(command).await,
            Command::Limits { project } => self.limits(project).await,
            Command::Key { command } => self.key(command).await,
            Command::Whoami => self.whoami().await,
            Command::Status { command } => self.status(command).await,
            Command::Up
            | Command::Hooks
            | Command::Gateway
            | Command::Executor { command: None }
            | Command::Doctor
            | Command::Backup { .. }
            | Command::Restore { .. }
            | Command::Db { .. }
            | Command::Completions { .. }
            | Command::Man { .. }
            | Command::Settings => Err(Failure::usage("not a client command")),
        }
    }

    /// Waits for an answer, and reads a refusal.
    async fn answer<T>(
        &self,
        call: impl Future<Output = Result<tonic::Response<T>, tonic::Status>>,
    ) -> Result<T, Failure> {
        call.await.map(tonic::Response::into_inner).map_err(|status| self.refusal(&status))
    }

    fn refusal(&self, status: &tonic::Status) -> Failure {
        if status.code() == Code::Unimplemented {
            let message = format!("the service at {} does not know how to do this yet", self.url);
            return Failure::failed(message).hint(format!(
                "It is older than this command, which is {}: bring it up to date.",
                env!("CARGO_PKG_VERSION")
            ));
        }
        Failure::from_service(&from_status(status, Reason::HooksUnavailable), &self.url)
    }
}

/// Reads pages of a list until there are as many as are wanted, or no more; with the token of what would come next.
async fn paged<T>(
    limit: u32,
    mut ask: impl AsyncFnMut(i32, String) -> Result<(Vec<T>, String), Failure>,
) -> Result<(Vec<T>, String), Failure> {
    let mut all = Vec::new();
    let mut token = String::new();
    loop {
        let missing = limit.saturating_sub(u32::try_from(all.len()).unwrap_or(u32::MAX));
        let (page, next) = ask(missing.min(PAGE).cast_signed(), token).await?;
        let empty = page.is_empty();
        all.extend(page);
        if next.is_empty() || empty || all.len() >= limit as usize {
            return Ok((all, next));
        }
        token = next;
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
    ApiKey::parse(text.trim()).map_err(|error| {
        Failure::failed(format!("the API key {error}")).hint(
            "GRAPNEL_KEY is a key as `grapnel key create` shows it, GRAPNEL_KEY_FILE a file with nothing else in it.",
        )
    })
}
