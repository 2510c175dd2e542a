//! What is shown once: the URL of a hook, a key, an endpoint's secret. It stands in the answer to the form that made it, and
//! at no address.

use askama::Template;
use axum::response::Response;
use http::StatusCode;

use super::section::{Nav, Opened};
use crate::dashboard::{
    components::Copyable,
    forms::Fields,
    page::{self, Frame},
    session::SignedIn,
};

/// What was made, and what belongs to it.
pub struct Once {
    /// What happened: `The hook “cms” is created`.
    pub title: String,
    /// What the secret is: `the URL of the hook`.
    pub what: &'static str,
    /// The secret.
    pub secret: String,
    /// What to do with it, in sentences.
    pub text: Vec<String>,
    /// A command that uses it, and what that does.
    pub example: Option<(String, &'static str)>,
    /// Where to go on, and what that is called.
    pub on: (String, &'static str),
}

#[derive(Template)]
#[template(path = "settings/once.html")]
struct OncePage {
    frame: Frame,
    nav: Nav,
    title: String,
    secret: Copyable,
    text: Vec<String>,
    example: Option<(Copyable, &'static str)>,
    on: (String, &'static str),
}

/// The same outside of any project: a key of the team.
#[derive(Template)]
#[template(path = "settings/once_team.html")]
struct TeamOncePage {
    frame: Frame,
    title: String,
    secret: Copyable,
    text: Vec<String>,
    example: Option<(Copyable, &'static str)>,
    on: (String, &'static str),
}

/// Shows it in a project's section.
pub fn shown(opened: &Opened, once: Once) -> Response {
    let Once { title, what, secret, text, example, on } = once;
    let page = OncePage {
        frame: opened.frame_titled(title.clone(), &Fields::default()).with_script("copy.js"),
        nav: opened.nav(),
        title,
        secret: Copyable { text: secret, what },
        text,
        example: example.map(|(text, says)| (Copyable { text, what: "the command" }, says)),
        on,
    };
    page::shown(StatusCode::OK, &page)
}

/// Shows it outside of any project.
pub fn shown_to_team(signed_in: &SignedIn, once: Once) -> Response {
    let Once { title, what, secret, text, example, on } = once;
    let page = TeamOncePage {
        frame: Frame::of(signed_in, title.clone()).of_keys().with_script("copy.js"),
        title,
        secret: Copyable { text: secret, what },
        text,
        example: example.map(|(text, says)| (Copyable { text, what: "the command" }, says)),
        on,
    };
    page::shown(StatusCode::OK, &page)
}
