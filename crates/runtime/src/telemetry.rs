//! Logs and metrics of a process.

use std::{str::FromStr, time::Duration};

use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use tracing_subscriber::{EnvFilter, fmt, layer::SubscriberExt as _, util::SubscriberInitExt as _};

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// For programs: one JSON object a line.
    Json,
}

impl FromStr for LogFormat {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            _ => Err("must be `text` or `json`".to_owned()),
        }
    }
}

/// Crates that write secrets or far too much below this level, whatever level is asked for. (The Docker client
/// writes whole request bodies at `debug`.)
const QUIETED: [&str; 8] = [
    "bollard=info",
    "h2=info",
    "hyper=info",
    "hyper_util=info",
    // It tells of every request that fails, and whoever made it does, too.
    "kube_client=off",
    "tower=info",
    "sqlx=warn",
    "sea_orm=warn",
];

/// A level or a list of `target=level`, as `RUST_LOG` has it.
#[derive(Clone, Debug)]
pub struct LogLevel(String);

impl FromStr for LogLevel {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        EnvFilter::try_new(text).map_err(|error| format!("is no log level: {error}"))?;
        Ok(Self(text.to_owned()))
    }
}

impl LogLevel {
    fn filter(&self) -> EnvFilter {
        QUIETED.iter().fold(EnvFilter::new(&self.0), |filter, directive| match directive.parse() {
            Ok(directive) => filter.add_directive(directive),
            Err(_) => filter,
        })
    }
}

/// Starts writing log lines to standard error. A process that has done so already is left as it is.
pub fn init_logs(format: LogFormat, level: &LogLevel) {
    let lines = fmt::layer().with_writer(std::io::stderr).with_target(false);
    let registry = tracing_subscriber::registry().with(level.filter());
    let done = match format {
        LogFormat::Text => {
            registry.with(lines.with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))).try_init()
        }
        LogFormat::Json => registry.with(lines.json()).try_init(),
    };
    if done.is_err() {
        tracing::debug!("logs are written already");
    }
}

/// The metrics of a process, to be shown to Prometheus.
#[derive(Clone, Debug)]
pub struct Metrics(PrometheusHandle);

impl Metrics {
    /// Starts recording.
    ///
    /// # Errors
    /// The process records already.
    pub fn start() -> Result<Self, metrics_exporter_prometheus::BuildError> {
        PrometheusBuilder::new().install_recorder().map(Self)
    }

    /// Returns the metrics in Prometheus' text form.
    pub fn render(&self) -> String {
        self.0.render()
    }

    /// Folds what was recorded, for as long as it is polled: histograms would grow without it.
    pub async fn keep_up(self) {
        let mut ticks = tokio::time::interval(Duration::from_secs(5));
        loop {
            ticks.tick().await;
            self.0.run_upkeep();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_for_all_is_still_not_debug_for_crates_that_write_secrets() {
        let filter = "debug".parse::<LogLevel>().unwrap().filter().to_string();
        assert!(filter.contains("bollard=info") && filter.contains("debug"), "{filter}");
    }

    #[test]
    fn a_wrong_level_is_refused() {
        assert!("grapnel=loud".parse::<LogLevel>().is_err());
        assert!("grapnel_hooks=trace,info".parse::<LogLevel>().is_ok());
    }
}
