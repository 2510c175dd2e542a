//! What a page says was done just before. The address holds only a name of the list below, never a text: an address that
//! somebody else made cannot put words into a page.

/// The parameter that names a notice.
pub const PARAMETER: &str = "did";

const NOTICES: &[(&str, &str)] = &[
    ("project-created", "The project is created. Deploy it, or give it a deploy hook."),
    ("deployment-begun", "It is asked for, and waits for its turn."),
    ("deployment-canceled", "It was asked to end."),
    ("deployment-promoted", "The branch's address serves this deployment now."),
    (
        "deployment-held",
        "The branch's address serves this deployment now, and stays with it until the newest one is promoted.",
    ),
    ("deployment-deleted", "The deployment is deleted."),
    ("signed-out", "You are signed out."),
    ("session-ended", "Your session has ended. Sign in again."),
];

/// Returns the text of a notice; `None` where there is no such notice.
pub fn text(name: &str) -> Option<&'static str> {
    NOTICES.iter().find(|(known, _)| *known == name).map(|(_, text)| *text)
}
