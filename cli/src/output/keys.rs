//! Keys, and whose they are, for people.

use grapnel_proto::hooks::v1::{Key, Session};

use super::Printer;

impl Printer {
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
        self.table(&["ID", "NAME", "SCOPES", "KEY", "CREATED"], rows, "no keys")
    }

    /// Shows for whom a key stands; `url` is where it was asked.
    pub fn session(&self, it: &Session, url: &str) -> String {
        let mut fields = vec![
            ("team", it.team_name.clone()),
            ("id", it.team_id.clone()),
            ("plan", it.plan.clone()),
            ("key", format!("{} …{}", it.key_name, it.key_last_four)),
            ("key id", it.key_id.clone()),
            ("scopes", it.scopes.join(", ")),
        ];
        if it.expires_at.is_some() {
            fields.push(("signed in", self.ago(it.created_at.as_ref())));
            fields.push(("until", self.ago(it.expires_at.as_ref())));
        }
        fields.push(("at", url.to_owned()));
        self.fields(&fields)
    }
}
