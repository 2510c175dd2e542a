//! A form as it is shown: fresh, or again, with what was typed and what was wrong with it.

use askama::{Template, filters::HtmlSafe};
use grapnel_domain::{Error, ErrorCode, Reason};
use http::StatusCode;

use super::input::Input;
use crate::{
    dashboard::{
        forms::{Fields, Problems},
        page_error::PageError,
    },
    error::status_of,
};

/// One form. The default is one that nobody has filled in yet.
#[derive(Debug, Default)]
pub struct Form {
    typed: Option<Fields>,
    problems: Problems,
    status: StatusCode,
    id: &'static str,
}

impl Form {
    /// Takes a form that was refused. Its fields are called as the service calls them.
    ///
    /// # Errors
    /// The error, as a page, where whoever filled in the form can do nothing about it there.
    pub fn refused(typed: Fields, error: Error) -> Result<Self, PageError> {
        if !is_for_the_form(&error) {
            return Err(error.into());
        }
        let problems = beside(&typed, &error);
        Ok(Self { typed: Some(typed), problems, status: status_of(error.reason), id: "" })
    }

    /// Takes a form with a field that is wrong before anybody else is asked.
    pub fn wrong(typed: Fields, field: &str, what: &str) -> Self {
        let problems = Problems::default().with(field, what);
        Self { typed: Some(typed), problems, status: StatusCode::BAD_REQUEST, id: "" }
    }

    /// Tells it from other forms of its page, which have fields of the same names.
    #[must_use]
    pub fn called(self, id: &'static str) -> Self {
        Self { id, ..self }
    }

    /// Returns the status of a page that shows it.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// Tells whether it is shown again.
    pub fn is_refused(&self) -> bool {
        self.typed.is_some()
    }

    /// Returns what is wrong and concerns no single field.
    pub fn alert(&self) -> Alert {
        Alert { text: self.problems.general.clone() }
    }

    /// Makes a field: what was typed in it, or else what is stored.
    pub fn text(&self, name: &'static str, label: &'static str, stored: &str) -> Input {
        Input::text(self.input(name, label), self.value(name, stored))
    }

    /// Makes a field of several lines.
    pub fn area(&self, name: &'static str, label: &'static str, stored: &str) -> Input {
        Input::area(self.input(name, label), self.value(name, stored))
    }

    /// Makes a field of a whole number.
    pub fn number(&self, name: &'static str, label: &'static str, stored: &str) -> Input {
        Input::number(self.input(name, label), self.value(name, stored))
    }

    /// Makes a field of what nobody sees again: what was typed is forgotten.
    pub fn secret(&self, name: &'static str, label: &'static str) -> Input {
        Input::secret(self.input(name, label))
    }

    /// Makes a field of several lines that nobody sees again.
    pub fn secret_area(&self, name: &'static str, label: &'static str) -> Input {
        Input::area(self.input(name, label), String::new())
    }

    /// Makes a choice of values, each with what it is called.
    pub fn choice(
        &self,
        name: &'static str,
        label: &'static str,
        stored: &str,
        choices: Vec<(String, String)>,
    ) -> Input {
        Input::choice(self.input(name, label), self.value(name, stored), choices)
    }

    /// Makes a box to check.
    pub fn check(&self, name: &'static str, label: &'static str, stored: bool) -> Input {
        let checked = self.typed.as_ref().map_or(stored, |typed| typed.checked(name));
        Input::check(self.input(name, label), "1".to_owned(), checked)
    }

    /// Makes one of several boxes of a name.
    pub fn check_of(&self, name: &'static str, value: &str, label: &'static str, stored: bool) -> Input {
        let checked = match &self.typed {
            Some(typed) => typed.all(name).any(|it| it == value),
            None => stored,
        };
        // What is wrong with all of them is said once, by whatever groups them.
        Input::check(Input::new(self.id, name, label, "").with_id(value), value.to_owned(), checked)
    }

    /// Tells whether a box was checked in what was refused.
    pub fn was_checked(&self, name: &str) -> bool {
        self.typed.as_ref().is_some_and(|typed| typed.checked(name))
    }

    /// Returns what is wrong with a field.
    pub fn problem(&self, name: &str) -> &str {
        self.problems.of(name)
    }

    fn input(&self, name: &'static str, label: &'static str) -> Input {
        Input::new(self.id, name, label, self.problems.of(name))
    }

    fn value(&self, name: &str, stored: &str) -> String {
        self.typed.as_ref().map_or(stored, |typed| typed.exact(name)).to_owned()
    }
}

/// What is wrong with a form as a whole; nothing where nothing is.
#[derive(Template, Clone, Debug)]
#[template(
    source = "{% if !text.is_empty() %}<div class=\"alert\" role=\"alert\"><p><bdi>{{ text }}</bdi></p></div>{% endif %}",
    ext = "html"
)]
pub struct Alert {
    text: String,
}

impl HtmlSafe for Alert {}

/// Tells whether an error is something that whoever fills in the form can do something about.
fn is_for_the_form(error: &Error) -> bool {
    match error.reason.code() {
        ErrorCode::InvalidArgument => error.reason != Reason::InvalidPageToken,
        ErrorCode::AlreadyExists
        | ErrorCode::LimitReached
        | ErrorCode::FailedPrecondition
        | ErrorCode::ResourceExhausted
        | ErrorCode::Unavailable => true,
        _ => false,
    }
}

/// Puts what is wrong beside the fields that the form has; what concerns none of them is said of the whole.
fn beside(typed: &Fields, error: &Error) -> Problems {
    let has = |field: &str| typed.all(field).next().is_some();
    if let Some(field) = concerned(error.reason).filter(|field| has(field)) {
        return Problems::default().with(field, &error.message);
    }
    let mut problems = Problems::default();
    let mut others = Vec::new();
    for violation in &error.violations {
        let field = as_form_names_it(&violation.field);
        if has(field) {
            problems = problems.with(field, &violation.description);
        } else {
            others.push(format!("`{field}` {}", violation.description));
        }
    }
    let whole = if error.violations.is_empty() { error.message.clone() } else { others.join("; ") };
    problems.general = crate::dashboard::page_error::sentence(&whole);
    problems
}

/// Returns the field that a reason is about.
fn concerned(reason: Reason) -> Option<&'static str> {
    match reason {
        Reason::HookNameTaken | Reason::ProjectNameTaken => Some("name"),
        Reason::CredentialExists => Some("origin"),
        Reason::HostUnreachable => Some("host"),
        _ => None,
    }
}

/// Requests put fields into parts of theirs: `changes.name`, `variables[0].name`. A form has one of each.
fn as_form_names_it(field: &str) -> &str {
    let field = field.strip_prefix("changes.").unwrap_or(field);
    match field.strip_prefix("variables[").and_then(|rest| rest.split_once("].")) {
        Some((_, part)) => part,
        None => field,
    }
}

#[cfg(test)]
mod tests {
    use grapnel_domain::FieldViolation;

    use super::*;

    fn violation(field: &str) -> FieldViolation {
        FieldViolation { field: field.into(), description: "must be right".into() }
    }

    #[test]
    fn what_is_wrong_stands_beside_its_field_and_the_rest_above() {
        let typed = Fields::parse(b"name=x&value=secret");
        let error = Error::invalid(vec![
            violation("changes.name"),
            violation("variables[12].value"),
            violation("update_mask"),
        ]);
        let form = Form::refused(typed, error).unwrap();
        assert_eq!((form.problem("name"), form.problem("value")), ("Must be right.", "Must be right."));
        assert_eq!(form.alert().text, "`update_mask` must be right.");
        assert_eq!(form.status(), StatusCode::BAD_REQUEST);
    }

    #[test]
    fn what_no_form_can_mend_is_a_page_of_its_own() {
        for reason in [Reason::ScopeMissing, Reason::HookNotFound, Reason::Internal, Reason::InvalidPageToken]
        {
            assert!(Form::refused(Fields::default(), Error::new(reason, "no")).is_err(), "{reason}");
        }
    }
}
