//! Pieces that many pages have. Each is a type: templates write it with `{{ }}`, and escape everything else.

use askama::{Template, filters::HtmlSafe};
use chrono::{DateTime, Utc};
use grapnel_domain::deployment::State;
use grapnel_proto::{convert::deployment::state_from_wire, convert::time::datetime, hooks::v1::Deployment};
use prost_types::Timestamp;

/// A deployment's state: a word and a shape, and a colour for those who see it.
#[derive(Template, Clone, Copy, Debug)]
#[template(path = "components/state.html")]
pub struct StateBadge {
    state: State,
}

impl HtmlSafe for StateBadge {}

impl StateBadge {
    /// Takes a deployment's state.
    pub fn of(deployment: &Deployment) -> Self {
        Self { state: state_of(deployment) }
    }

    fn word(self) -> &'static str {
        match self.state {
            State::Pending => "Pending",
            State::Queued => "Queued",
            State::Building => "Building",
            State::Ready => "Ready",
            State::Error => "Failed",
            State::Canceled => "Canceled",
        }
    }

    fn kind(self) -> String {
        self.state.as_str().to_ascii_lowercase()
    }
}

/// Returns a deployment's state; one of a later release counts as not begun.
pub fn state_of(deployment: &Deployment) -> State {
    state_from_wire(deployment.state).ok().flatten().unwrap_or(State::Pending)
}

/// A point in time as people say it: how long ago, and exactly when on a closer look.
#[derive(Template, Clone, Debug)]
#[template(
    source = "<time datetime=\"{{ exact }}\" title=\"{{ title }}\" data-ago>{{ ago }}</time>",
    ext = "html"
)]
pub struct Moment {
    exact: String,
    title: String,
    ago: String,
}

impl HtmlSafe for Moment {}

impl Moment {
    /// Takes a time of an answer; `None` where there is none.
    pub fn of(at: Option<&Timestamp>, now: DateTime<Utc>) -> Option<Self> {
        let at = datetime(at)?;
        Some(Self {
            exact: at.format("%Y-%m-%dT%H:%M:%SZ").to_string(),
            title: at.format("%Y-%m-%d %H:%M:%S UTC").to_string(),
            ago: ago((now - at).num_seconds()),
        })
    }
}

/// Says how long ago something was, or how soon it will be.
fn ago(seconds: i64) -> String {
    let span = span(seconds.abs());
    match seconds {
        -5..=5 => "just now".to_owned(),
        6.. => format!("{span} ago"),
        _ => format!("in {span}"),
    }
}

fn span(seconds: i64) -> String {
    let (count, unit) = match seconds {
        0..60 => (seconds, "second"),
        60..3_600 => (seconds / 60, "minute"),
        3_600..86_400 => (seconds / 3_600, "hour"),
        86_400..2_592_000 => (seconds / 86_400, "day"),
        2_592_000..31_536_000 => (seconds / 2_592_000, "month"),
        _ => (seconds / 31_536_000, "year"),
    };
    format!("{count} {unit}{}", if count == 1 { "" } else { "s" })
}

/// A list, or a part of a page, that has nothing in it yet: what that means, and what to do.
#[derive(Template, Clone, Debug)]
#[template(path = "components/empty.html")]
pub struct Empty {
    /// What is not there, in a few words.
    pub title: &'static str,
    /// What to do, or why that is well.
    pub text: String,
    /// Where to do it, and what that is called.
    pub action: Option<(String, &'static str)>,
}

impl HtmlSafe for Empty {}

/// The ways to the other pages of a list.
#[derive(Template, Clone, Debug, Default)]
#[template(path = "components/pager.html")]
pub struct Pager {
    /// The list's first page, where this is another one.
    pub first: Option<String>,
    /// The next page, where there is one.
    pub next: Option<String>,
}

impl HtmlSafe for Pager {}

/// A form with nothing to fill in: one button that does one thing. With a question it asks first, by what the page has of
/// itself, so that it asks without scripts too.
#[derive(Template, Clone, Debug)]
#[template(path = "components/action.html")]
pub struct Action {
    /// Where it leads.
    pub to: String,
    /// What each form carries.
    pub csrf: String,
    /// What the button is called.
    pub label: &'static str,
    /// What it does, to those who hear it alone: `Revoke the hook "cms"`.
    pub title: String,
    /// Hidden fields.
    pub fields: Vec<(&'static str, String)>,
    /// What is said and asked before it is done; empty where it is done at once.
    pub question: String,
    /// Whether it destroys something.
    pub grave: bool,
}

impl HtmlSafe for Action {}

/// A text with a button that copies it, where scripts run.
#[derive(Template, Clone, Debug)]
#[template(path = "components/copyable.html")]
pub struct Copyable {
    /// What is copied.
    pub text: String,
    /// What it is: `the hook's URL`.
    pub what: &'static str,
}

impl HtmlSafe for Copyable {}

/// Returns an address that a page may link to: what is no web address is none.
pub fn web_address(url: &str) -> Option<&str> {
    (url.starts_with("https://") || url.starts_with("http://")).then_some(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_told_in_its_largest_unit() {
        for (seconds, told) in [
            (0, "just now"),
            (-4, "just now"),
            (42, "42 seconds ago"),
            (60, "1 minute ago"),
            (3_599, "59 minutes ago"),
            (3_600, "1 hour ago"),
            (172_800, "2 days ago"),
            (40 * 86_400, "1 month ago"),
            (800 * 86_400, "2 years ago"),
            (-7_200, "in 2 hours"),
        ] {
            assert_eq!(ago(seconds), told);
        }
    }

    #[test]
    fn only_web_addresses_are_linked_to() {
        assert!(web_address("https://site.example/").is_some());
        for other in ["javascript:alert(1)", "data:text/html,x", "", "//evil.example", " https://x"] {
            assert_eq!(web_address(other), None);
        }
    }

    #[test]
    fn no_template_switches_escaping_off() {
        let mut directories = vec![std::path::PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("templates")];
        let mut looked_at = 0;
        while let Some(directory) = directories.pop() {
            for entry in std::fs::read_dir(directory).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    directories.push(path);
                    continue;
                }
                let text = std::fs::read_to_string(&path).unwrap();
                let off = ["safe", "escape", "e("].map(|word| format!("|{word}"));
                let plain: String = text.split_whitespace().collect();
                assert!(!off.iter().any(|word| plain.contains(word)), "{}", path.display());
                assert_eq!(
                    path.extension().unwrap(),
                    "html",
                    "only HTML is escaped as HTML: {}",
                    path.display()
                );
                looked_at += 1;
            }
        }
        assert!(looked_at > 5);
    }

    #[test]
    fn pieces_escape_what_they_are_given() {
        let evil = "\"><script>alert(1)</script>";
        let action = Action {
            to: evil.into(),
            csrf: evil.into(),
            label: "Revoke",
            title: evil.into(),
            fields: vec![("id", evil.into())],
            question: evil.into(),
            grave: true,
        };
        let empty = Empty { title: "None", text: evil.into(), action: Some((evil.into(), "Go")) };
        let copyable = Copyable { text: evil.into(), what: "it" };
        let pager = Pager { first: Some(evil.into()), next: Some(evil.into()) };
        for page in [action.render(), empty.render(), copyable.render(), pager.render()] {
            let page = page.unwrap();
            assert!(
                !page.contains("<script") && !page.contains("\">alert") && page.contains("&#60;script"),
                "{page}"
            );
        }
    }
}
