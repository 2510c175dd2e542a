//! The fields of forms: label, hint and problem belong to each, so that everybody hears what is asked.

use askama::{Template, filters::HtmlSafe};

/// A field. Templates write it with `{{ }}`.
#[derive(Template, Clone, Debug)]
#[template(path = "settings/input.html")]
pub struct Input {
    id: String,
    name: &'static str,
    label: &'static str,
    value: String,
    hint: String,
    problem: String,
    kind: Kind,
    choices: Vec<(String, String)>,
    known: Vec<String>,
    checked: bool,
    required: bool,
    limit: usize,
}

impl HtmlSafe for Input {}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Text,
    Number,
    Secret,
    Area,
    Choice,
    Check,
}

impl Input {
    pub(super) fn new(form: &str, name: &'static str, label: &'static str, problem: &str) -> Self {
        let id = if form.is_empty() { name.to_owned() } else { format!("{form}-{name}") };
        Self {
            id: id.replace(['.', '_'], "-"),
            name,
            label,
            value: String::new(),
            hint: String::new(),
            problem: problem.to_owned(),
            kind: Kind::Text,
            choices: Vec::new(),
            known: Vec::new(),
            checked: false,
            required: false,
            limit: 0,
        }
    }

    pub(super) fn with_id(mut self, more: &str) -> Self {
        self.id = format!("{}-{more}", self.id);
        self
    }

    pub(super) fn text(self, value: String) -> Self {
        Self { value, kind: Kind::Text, ..self }
    }

    pub(super) fn area(self, value: String) -> Self {
        Self { value, kind: Kind::Area, ..self }
    }

    pub(super) fn number(self, value: String) -> Self {
        Self { value, kind: Kind::Number, ..self }
    }

    pub(super) fn secret(self) -> Self {
        Self { kind: Kind::Secret, ..self }
    }

    pub(super) fn choice(self, value: String, choices: Vec<(String, String)>) -> Self {
        Self { value, choices, kind: Kind::Choice, ..self }
    }

    pub(super) fn check(self, value: String, checked: bool) -> Self {
        Self { value, checked, kind: Kind::Check, ..self }
    }

    /// Says what to type.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = hint.into();
        self
    }

    /// Says that it may not stay empty.
    #[must_use]
    pub fn required(mut self) -> Self {
        self.required = true;
        self
    }

    /// Says how many characters it takes.
    #[must_use]
    pub fn limit(mut self, limit: usize) -> Self {
        self.limit = limit;
        self
    }

    /// Adds what may be typed.
    #[must_use]
    pub fn known(mut self, known: Vec<String>) -> Self {
        self.known = known;
        self
    }

    /// The ids of what describes it.
    fn described(&self) -> String {
        let parts = [(&self.hint, "hint"), (&self.problem, "problem")];
        let said = parts.iter().filter(|(text, _)| !text.is_empty());
        said.map(|(_, part)| format!("{}-{part}", self.id)).collect::<Vec<_>>().join(" ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_of_any_kind_escapes_what_it_is_given() {
        let evil = "\"></textarea></select><script>alert(1)</script>";
        let new = || Input::new("", "name", "Name", evil).hint(evil).known(vec![evil.into()]);
        for input in [
            new().text(evil.into()),
            new().area(evil.into()),
            new().number(evil.into()),
            new().secret(),
            new().choice(evil.into(), vec![(evil.into(), evil.into())]),
            new().check(evil.into(), true),
        ] {
            let page = input.render().unwrap();
            assert!(!page.contains("<script") && page.contains("&#60;script"), "{page}");
            assert!(page.contains("aria-invalid=\"true\"") && page.contains("name-problem"), "{page}");
        }
    }
}
