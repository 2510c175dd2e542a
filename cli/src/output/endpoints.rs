//! Endpoints, events and tries, for people.

use grapnel_proto::{
    convert::time::datetime,
    hooks::v1::{Delivery, Endpoint, Event},
};
use prost_types::Timestamp;

use super::Printer;

impl Printer {
    /// Shows endpoints.
    pub fn endpoints(&self, endpoints: &[Endpoint]) -> String {
        let rows = endpoints.iter().map(|it| {
            let of = if it.project_id.is_empty() { "(all projects)" } else { &it.project_id };
            vec![
                it.id.clone(),
                it.url.clone(),
                of.to_owned(),
                types(it),
                standing(it),
                self.ago(it.created_at.as_ref()),
            ]
        });
        self.table(
            &["ID", "URL", "PROJECT", "EVENTS", "STATE", "CREATED"],
            rows,
            "no endpoints yet; `grapnel endpoint create` makes one",
        )
    }

    /// Shows one endpoint, with what is known of its secrets.
    pub fn endpoint(&self, it: &Endpoint) -> String {
        let mut fields = vec![("endpoint", it.id.clone()), ("url", it.url.clone())];
        let of = if it.project_id.is_empty() { "(all projects)" } else { &it.project_id };
        fields.push(("project", of.to_owned()));
        fields.push(("events", types(it)));
        if !it.description.is_empty() {
            fields.push(("for", it.description.clone()));
        }
        fields.push(("state", standing(it)));
        if it.disabled_at.is_some() {
            fields.push(("disabled", self.ago(it.disabled_at.as_ref())));
        }
        if it.failing_since.is_some() {
            fields.push(("failing", format!("since {}", time(it.failing_since.as_ref()))));
        }
        for secret in &it.secrets {
            let until = match &secret.expires_at {
                Some(at) => format!("; signs until {}", time(Some(at))),
                None => String::new(),
            };
            fields.push(("secret", format!("…{}{until}", secret.last_four)));
        }
        fields.push(("created", self.ago(it.created_at.as_ref())));
        self.fields(&fields)
    }

    /// Shows events.
    pub fn events(&self, events: &[Event]) -> String {
        let rows = events.iter().map(|it| {
            vec![
                it.id.clone(),
                it.r#type.clone(),
                it.deployment_id.clone(),
                event_state(it),
                it.tries.to_string(),
                time(it.next_try_at.as_ref()),
                self.ago(it.created_at.as_ref()),
            ]
        });
        self.table(
            &["ID", "TYPE", "DEPLOYMENT", "STATE", "TRIES", "NEXT TRY", "HAPPENED"],
            rows,
            "nothing was to be sent yet",
        )
    }

    /// Shows one event.
    pub fn event(&self, it: &Event) -> String {
        let mut fields = vec![
            ("event", it.id.clone()),
            ("type", it.r#type.clone()),
            ("endpoint", it.endpoint_id.clone()),
            ("state", event_state(it)),
            ("tries", it.tries.to_string()),
        ];
        if !it.deployment_id.is_empty() {
            fields.push(("deployment", it.deployment_id.clone()));
        }
        fields.push(("happened", self.ago(it.created_at.as_ref())));
        self.fields(&fields)
    }

    /// Shows tries.
    pub fn deliveries(&self, deliveries: &[Delivery]) -> String {
        let rows = deliveries.iter().map(|it| {
            let outcome = it.outcome().as_str_name().trim_start_matches("DELIVERY_OUTCOME_").to_owned();
            let status = if it.status == 0 { String::new() } else { it.status.to_string() };
            vec![
                self.ago(it.at.as_ref()),
                it.event_id.clone(),
                outcome,
                status,
                format!("{} ms", it.took_ms),
                it.error.clone(),
                it.answer.chars().take(60).collect(),
            ]
        });
        self.table(
            &["WHEN", "EVENT", "OUTCOME", "STATUS", "TOOK", "WHY", "ANSWER"],
            rows,
            "nothing was tried yet",
        )
    }
}

fn types(endpoint: &Endpoint) -> String {
    if endpoint.types.is_empty() { "all".to_owned() } else { endpoint.types.join(",") }
}

fn standing(endpoint: &Endpoint) -> String {
    if endpoint.disabled_at.is_none() {
        return if endpoint.failing_since.is_some() { "failing" } else { "active" }.to_owned();
    }
    let reason = endpoint.disabled_reason().as_str_name();
    format!("disabled ({})", reason.trim_start_matches("ENDPOINT_DISABLED_REASON_").to_lowercase())
}

fn event_state(event: &Event) -> String {
    event.state().as_str_name().trim_start_matches("EVENT_STATE_").to_owned()
}

fn time(at: Option<&Timestamp>) -> String {
    datetime(at).map(|at| at.format("%F %T UTC").to_string()).unwrap_or_default()
}
