//! The commands that run services.

mod up;

use std::process::ExitCode;

use grapnel_executor::{Executor, ExecutorConfig};
use grapnel_gateway::{Gateway, GatewayConfig};
use grapnel_hooks::{Hooks, HooksConfig, ServiceKeys};
use grapnel_runtime::{
    Clock, Setting, Settings, settings,
    settings::{SettingsError, Sources, shared},
    shutdown::{self, Shutdown},
    telemetry::{self, Metrics},
};

use crate::{
    args::{self, Cli, Command},
    exit::Failure,
};

const TABLES: [&[Setting]; 6] = [
    shared::SETTINGS,
    grapnel_artifacts::SETTINGS,
    grapnel_hooks::SETTINGS,
    grapnel_gateway::SETTINGS,
    grapnel_executor::SETTINGS,
    grapnel_executor::KUBERNETES_SETTINGS,
];

/// Threads of a service. Nothing here computes; what blocks runs elsewhere.
const THREADS: usize = 2;

/// Returns every setting of every service.
pub fn settings() -> Vec<Setting> {
    TABLES.iter().copied().flatten().copied().collect()
}

/// Returns the text of `.env.example`.
pub fn env_example() -> String {
    settings::env_example(&TABLES)
}

/// Reads the settings from everywhere.
pub fn load(cli: &Cli, matches: &clap::ArgMatches) -> Settings {
    let sources =
        Sources { flags: args::flags(matches), file: cli.config.clone(), ..Sources::from_process() };
    Settings::load(&TABLES, &sources)
}

/// Reads the settings as `grapnel up` does, and says all that is wrong with them.
pub fn validate(mut settings: Settings) -> Result<(), SettingsError> {
    shared::logs(&mut settings);
    up::Configs::read(&mut settings);
    settings.finish()
}

/// Runs a service until it is told to stop.
pub fn run(cli: &Cli, matches: &clap::ArgMatches) -> Result<ExitCode, Failure> {
    let mut settings = load(cli, matches);
    let (format, level) = shared::logs(&mut settings);
    if let Some(level) = &level {
        telemetry::init_logs(format, level);
    }
    let service = Service::read(cli, settings)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(THREADS).enable_all().build()?;
    runtime.block_on(async {
        let shutdown = shutdown::on_signal()?;
        service.run(shutdown).await?;
        Ok(ExitCode::SUCCESS)
    })
}

/// A service with its settings read and found good.
enum Service {
    Up(Box<up::Configs>),
    Hooks(Box<HooksConfig>),
    Gateway(Box<GatewayConfig>),
    Executor(Box<ExecutorConfig>),
}

impl Service {
    /// Reads the settings of the service that was asked for. All that is wrong is told at once.
    fn read(cli: &Cli, mut settings: Settings) -> Result<Self, Failure> {
        let service = match cli.command {
            Command::Hooks => {
                HooksConfig::read(&mut settings, ServiceKeys::default()).map(Box::new).map(Self::Hooks)
            }
            Command::Gateway => GatewayConfig::read(&mut settings, None).map(Box::new).map(Self::Gateway),
            Command::Executor { .. } => {
                ExecutorConfig::read(&mut settings, None).map(Box::new).map(Self::Executor)
            }
            _ => up::Configs::read(&mut settings).map(Box::new).map(Self::Up),
        };
        settings.finish().map_err(|error| Failure::usage(error.to_string()))?;
        service.ok_or_else(|| Failure::failed("the settings cannot be used"))
    }

    async fn run(self, shutdown: Shutdown) -> Result<(), Failure> {
        match self {
            Self::Up(configs) => up::run(*configs, shutdown).await,
            Self::Hooks(config) => {
                Ok(Hooks::bind(*config, Clock::system()).await?.run(shutdown.token().clone()).await?)
            }
            Self::Executor(config) => {
                Ok(Executor::bind(*config, Clock::system()).await?.run(shutdown).await?)
            }
            Self::Gateway(config) => {
                let metrics = metrics();
                Ok(Gateway::bind(*config).await?.run(metrics, shutdown.token().clone()).await?)
            }
        }
    }
}

/// Starts recording metrics.
fn metrics() -> Option<Metrics> {
    match Metrics::start() {
        Ok(metrics) => {
            tokio::spawn(metrics.clone().keep_up());
            Some(metrics)
        }
        Err(error) => {
            tracing::warn!(%error, "no metrics are recorded");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_example_of_an_environment_lists_every_setting() {
        let written = include_str!("../../../.env.example");
        assert_eq!(written, super::env_example(), "`grapnel settings > .env.example` writes it anew");
    }
}
