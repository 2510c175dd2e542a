//! Hooks and what they were asked, for people.

use std::time::Duration;

use grapnel_proto::{
    convert::time::datetime,
    hooks::v1::{Hook, Trigger},
};

use super::{Printer, count};

impl Printer {
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
        self.table(
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
        self.fields(&fields)
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
                it.user_agent.chars().take(40).collect(),
                it.deployment_id.clone(),
                it.reason.clone(),
            ]
        });
        self.table(
            &["WHEN", "DECISION", "METHOD", "FROM", "AGENT", "DEPLOYMENT", "WHY"],
            rows,
            "nobody has requested a hook of this project yet",
        )
    }
}
