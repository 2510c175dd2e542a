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
    // Settings.
    ("project-saved", "The project is changed. Deployments that run are not touched."),
    ("project-deleted", "The project is deleted, with its hooks."),
    ("hook-saved", "The hook is changed."),
    ("hook-paused", "The hook is paused: requests are refused until it is resumed."),
    ("hook-resumed", "The hook is resumed."),
    ("hook-revoked", "The hook is revoked: its URL answers 410 from now on."),
    ("variable-set", "The variables are set. The next build has them."),
    ("variable-deleted", "The variable is removed. The next build is without it."),
    ("credential-created", "The credential is stored."),
    ("credential-deleted", "The credential is removed."),
    ("host-trusted", "The host is trusted by these keys."),
    ("host-distrusted", "The host is not trusted any more."),
    ("endpoint-saved", "The endpoint is changed."),
    ("endpoint-enabled", "The endpoint is enabled."),
    ("endpoint-disabled", "The endpoint is disabled: what waited for it is dropped."),
    ("endpoint-deleted", "The endpoint is deleted."),
    ("endpoint-tested", "A test is on its way to the endpoint. Load the page again to see what came of it."),
    ("event-redelivered", "The event is sent again. Load the page again to see what came of it."),
    ("caches-purged", "The build caches are dropped. The next build starts without one."),
    ("statuses-saved", "What the git host is told is changed."),
    ("key-revoked", "The key is revoked. Sessions that were opened with it have ended."),
];

/// Returns the text of a notice; `None` where there is no such notice.
pub fn text(name: &str) -> Option<&'static str> {
    NOTICES.iter().find(|(known, _)| *known == name).map(|(_, text)| *text)
}
