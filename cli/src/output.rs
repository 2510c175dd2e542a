//! How answers are printed: tables for people, the JSON mapping of the messages for programs.

mod endpoints;

use std::{
    io::{IsTerminal as _, Write as _},
    time::Duration,
};

use chrono::{DateTime, Utc};
use comfy_table::{ContentArrangement, Table, presets};
use grapnel_proto::{
    convert::time::datetime,
    hooks::v1::{BuildCache, CommitStatus, Deployment, DeploymentState, Fault, Hook, Key, Project, Trigger},
    json::to_json,
};
use grapnel_runtime::Clock;
use prost::Message;

use crate::args::Format;

/// Prints answers in one format.
#[derive(Clone, Debug)]
pub struct Printer {
    format: Format,
    now: DateTime<Utc>,
}

impl Printer {
    /// Takes the format.
    pub fn new(format: Format) -> Self {
        Self { format, now: Clock::system().now() }
    }

    /// Prints one message: as JSON, or as `people` has it.
    pub fn message(&self, name: &str, message: &impl Message, people: impl FnOnce(&Self) -> String) {
        match self.format {
            Format::Json => line(&pretty(&to_json(name, message))),
            Format::Table => line(people(self).trim_end()),
        }
    }

    /// Prints one message of a stream.
    pub fn streamed(&self, name: &str, message: &impl Message, people: impl FnOnce(&Self)) {
        match self.format {
            Format::Json => line(&to_json(name, message).to_string()),
            Format::Table => people(self),
        }
    }

    /// Tells whether people are to read it.
    pub fn for_people(&self) -> bool {
        self.format == Format::Table
    }

    /// Says how long ago something was.
    pub fn ago(&self, at: Option<&prost_types::Timestamp>) -> String {
        let Some(at) = datetime(at) else {
            return String::new();
        };
        let seconds = (self.now - at).num_seconds();
        match seconds.abs() {
            0..60 => format!("{seconds} s ago"),
            60..3_600 => format!("{} min ago", seconds / 60),
            3_600..172_800 => format!("{} h ago", seconds / 3_600),
            _ => format!("{} d ago", seconds / 86_400),
        }
    }

    /// Shows projects.
    pub fn projects(&self, projects: &[Project]) -> String {
        let rows = projects.iter().map(|it| {
            vec![
                it.name.clone(),
                it.production_branch.clone(),
                it.repository_url.clone(),
                it.site_url.clone(),
            ]
        });
        table(
            &["NAME", "BRANCH", "REPOSITORY", "SITE"],
            rows,
            "no projects yet; `grapnel project create` makes one",
        )
    }

    /// Shows hooks.
    pub fn hooks(&self, hooks: &[Hook]) -> String {
        let rows = hooks.iter().map(|it| {
            let tokens: Vec<_> = it.tokens.iter().map(|token| format!("…{}", token.last_four)).collect();
            let state = if it.paused { "paused" } else { "active" };
            vec![
                it.id.clone(),
                it.name.clone(),
                it.branch.clone(),
                state.to_owned(),
                tokens.join(" "),
                self.ago(it.created_at.as_ref()),
            ]
        });
        table(
            &["ID", "NAME", "BRANCH", "STATE", "TOKENS", "CREATED"],
            rows,
            "no hooks yet; `grapnel hook create` makes one",
        )
    }

    /// Shows one hook, with who uses which of its tokens.
    pub fn hook(&self, it: &Hook) -> String {
        let waits = |ms: u32| humantime::format_duration(Duration::from_millis(ms.into())).to_string();
        let state = if it.paused { "paused" } else { "active" };
        let cache = if it.build_cache { "with" } else { "without" };
        let mut fields = vec![
            ("hook", it.id.clone()),
            ("name", it.name.clone()),
            ("branch", it.branch.clone()),
            ("state", state.to_owned()),
            ("builds", format!("{cache} a build cache")),
            ("takes", it.methods.join(", ")),
            (
                "waits",
                format!(
                    "{} for a further trigger, {} at most",
                    waits(it.quiet_period_ms),
                    waits(it.max_wait_ms)
                ),
            ),
            ("requested", self.uses(it.trigger_count, it.last_triggered_at.as_ref())),
        ];
        for token in &it.tokens {
            let until = match &token.expires_at {
                Some(at) => {
                    format!("; works until {}", datetime(Some(at)).unwrap_or_default().format("%F %T UTC"))
                }
                None => String::new(),
            };
            let uses = self.uses(token.use_count, token.last_used_at.as_ref());
            fields.push(("token", format!("…{}, used {uses}{until}", token.last_four)));
        }
        fields.push(("created", self.ago(it.created_at.as_ref())));
        fields_of(&fields)
    }

    fn uses(&self, times: u64, last: Option<&prost_types::Timestamp>) -> String {
        match times {
            0 => "never".to_owned(),
            times => format!("{}, last {}", count(times, "time"), self.ago(last)),
        }
    }

    /// Shows rows of the ledger.
    pub fn triggers(&self, triggers: &[Trigger]) -> String {
        let rows = triggers.iter().map(|it| {
            let decision = it.decision().as_str_name().trim_start_matches("TRIGGER_DECISION_").to_owned();
            vec![
                self.ago(it.at.as_ref()),
                decision,
                it.method.clone(),
                it.client_address.clone(),
                printable(&it.user_agent.chars().take(40).collect::<String>()),
                it.deployment_id.clone(),
                it.reason.clone(),
            ]
        });
        table(
            &["WHEN", "DECISION", "METHOD", "FROM", "AGENT", "DEPLOYMENT", "WHY"],
            rows,
            "nobody has requested a hook of this project yet",
        )
    }

    /// Shows build caches.
    pub fn caches(&self, caches: &[BuildCache]) -> String {
        let rows = caches.iter().map(|it| {
            vec![
                printable(&it.executor),
                printable(&it.branch),
                printable(&it.root_directory),
                printable(&it.builder_image),
                it.generation.to_string(),
                it.layers.to_string(),
                indicatif::BinaryBytes(it.bytes).to_string(),
                self.ago(it.made_at.as_ref()),
                self.ago(it.used_at.as_ref()),
            ]
        });
        table(
            &["EXECUTOR", "BRANCH", "ROOT", "IMAGE", "GENERATION", "LAYERS", "SIZE", "MADE", "USED"],
            rows,
            "no build of this project has left a cache yet",
        )
    }

    /// Shows keys.
    pub fn keys(&self, keys: &[Key]) -> String {
        let rows = keys.iter().map(|it| {
            vec![
                it.id.clone(),
                it.name.clone(),
                it.scopes.join(","),
                format!("…{}", it.last_four),
                self.ago(it.created_at.as_ref()),
            ]
        });
        table(&["ID", "NAME", "SCOPES", "KEY", "CREATED"], rows, "no keys")
    }

    /// Shows deployments.
    pub fn deployments(&self, deployments: &[Deployment]) -> String {
        let rows = deployments.iter().map(|it| {
            let commit = it.commit.get(..12).unwrap_or_default().to_owned();
            let by = if it.hook_name.is_empty() { "key".to_owned() } else { it.hook_name.clone() };
            vec![it.id.clone(), state(it), it.branch.clone(), commit, by, self.ago(it.created_at.as_ref())]
        });
        table(&["ID", "STATE", "BRANCH", "COMMIT", "BY", "CREATED"], rows, "no deployments yet")
    }

    /// Shows one deployment.
    pub fn deployment(&self, it: &Deployment) -> String {
        let mut fields = vec![
            ("deployment", it.id.clone()),
            ("state", state(it)),
            ("branch", it.branch.clone()),
            ("commit", format!("{} {}", it.commit.get(..12).unwrap_or_default(), it.commit_message)),
            ("created", self.ago(it.created_at.as_ref())),
        ];
        if !it.hook_name.is_empty() {
            fields.push(("hook", it.hook_name.clone()));
        }
        if !it.title.is_empty() {
            fields.push(("title", it.title.clone()));
        }
        if it.trigger_count > 1 {
            fields.push(("answers", count(it.trigger_count.into(), "trigger")));
        }
        if !it.executor.is_empty() {
            fields.push(("executor", printable(&it.executor)));
        }
        if let Some(by) = it.cancellation.as_ref().map(|it| &it.superseded_by).filter(|by| !by.is_empty()) {
            fields.push(("superseded by", by.clone()));
        }
        if let Some(failure) = &it.failure {
            let fault = if failure.fault() == Fault::User { "USER" } else { "INFRASTRUCTURE" };
            fields.push(("failure", format!("{} ({fault}): {}", failure.code, failure.message)));
        }
        if let Some(artifact) = &it.artifact {
            let size = format!("{}, {} bytes", count(artifact.files, "file"), artifact.bytes);
            match &it.artifact_removed_at {
                Some(at) => fields.push(("artifact", format!("{size}, removed {}", self.ago(Some(at))))),
                None => fields.extend([("artifact", size), ("site", it.site_url.clone())]),
            }
        }
        if let Some(at) = &it.log_removed_at {
            fields.push(("log", format!("removed {}", self.ago(Some(at)))));
        }
        if let Some(status) = &it.commit_status {
            fields.push(("status", commit_status(status)));
        }
        fields_of(&fields)
    }
}

/// Tells in one line what a git host is told of a deployment, and how far that has come.
fn commit_status(it: &CommitStatus) -> String {
    let state = it.state().as_str_name().trim_start_matches("COMMIT_STATE_").to_lowercase();
    let tries = count(it.tries.into(), "attempt");
    let how = if it.delivered {
        "told".to_owned()
    } else if it.overtaken {
        "a newer deployment of the commit speaks instead".to_owned()
    } else if it.gave_up {
        format!("given up: {}", printable(&it.last_error))
    } else if it.last_error.is_empty() {
        "not told yet".to_owned()
    } else {
        format!("not told after {tries}, tried again: {}", printable(&it.last_error))
    };
    format!("{} {state} \"{}\" ({how})", printable(&it.context), printable(&it.description))
}

/// Returns a state's short name, with what belongs to it.
pub fn state(deployment: &Deployment) -> String {
    let name = state_name(deployment.state());
    match (&deployment.failure, &deployment.cancellation) {
        (Some(failure), _) if deployment.state() == DeploymentState::Error => {
            format!("{name} {}", failure.code)
        }
        (_, Some(cancellation)) => format!("{name} {}", reason(cancellation.reason().as_str_name())),
        _ => name.to_owned(),
    }
}

/// Returns a state's short name.
pub fn state_name(state: DeploymentState) -> &'static str {
    state.as_str_name().trim_start_matches("DEPLOYMENT_STATE_")
}

fn reason(name: &str) -> &str {
    name.trim_start_matches("CANCEL_REASON_")
}

/// Prints names with their values.
pub fn fields_of(fields: &[(&str, String)]) -> String {
    fields.iter().map(|(name, value)| format!("{name:<13} {}\n", printable(value))).collect()
}

/// Returns text without what would steer a terminal.
pub fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{FFFD}' } else { c }).collect()
}

/// Returns a log line for a terminal: colours pass, everything else that steers it does not.
pub fn log_line(text: &str) -> String {
    let colours = std::io::stdout().is_terminal();
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(char::is_control) {
        shown.push_str(&rest[..at]);
        rest = &rest[at..];
        let sequence = colour_sequence(rest);
        match sequence {
            Some(length) => {
                if colours {
                    shown.push_str(&rest[..length]);
                }
                rest = &rest[length..];
            }
            None => {
                if rest.starts_with('\t') {
                    shown.push('\t');
                }
                rest = &rest[1..];
            }
        }
    }
    shown.push_str(rest);
    if colours && shown.contains('\u{1b}') {
        shown.push_str("\u{1b}[0m");
    }
    shown
}

/// Returns the length of the colour sequence (ECMA-48, SGR) that the text begins with.
fn colour_sequence(text: &str) -> Option<usize> {
    let parameters = text.strip_prefix("\u{1b}[")?;
    let end = parameters.find(|c: char| !(c.is_ascii_digit() || c == ';'))?;
    parameters[end..].starts_with('m').then_some(2 + end + 1)
}

/// Lays rows out below their heads; `empty` is said where there are none.
pub fn table(head: &[&str], rows: impl Iterator<Item = Vec<String>>, empty: &str) -> String {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_content_arrangement(ContentArrangement::Dynamic).set_header(head);
    let mut any = false;
    for row in rows {
        any = true;
        table.add_row(row.iter().map(|cell| printable(cell)));
    }
    if any { table.trim_fmt() } else { empty.to_owned() }
}

fn pretty(json: &serde_json::Value) -> String {
    serde_json::to_string_pretty(json).unwrap_or_default()
}

/// Prints a line; a reader that has gone away, as in `| head`, is no failure.
fn line(text: &str) {
    let _ = writeln!(std::io::stdout(), "{text}");
}

fn count(number: u64, what: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {what}{plural}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_steers_a_terminal_does_not_reach_it() {
        assert_eq!(log_line("a\u{1b}[2Jb\u{7}c\td"), "a[2Jbc\td");
        assert_eq!(log_line("\u{1b}]0;title\u{7}x"), "]0;titlex");
        assert_eq!(log_line("\u{1b}[32mok\u{1b}[0m"), "ok", "tests have no terminal, so no colours either");
        assert_eq!(colour_sequence("\u{1b}[1;32mx"), Some(7));
        assert_eq!(printable("a\nb"), "a\u{FFFD}b");
    }
}
