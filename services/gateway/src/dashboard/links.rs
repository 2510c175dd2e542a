//! The addresses of pages. Templates and handlers take them from here, so that a route has one spelling.

use grapnel_proto::hooks::v1::Project;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// What may stand in a part of a path as it is (RFC 3986, section 2.3).
const PART: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Names of projects that are parts of other addresses. Such a project is called by its id.
const TAKEN: [&str; 2] = ["new", "events"];

fn part(text: &str) -> impl std::fmt::Display + '_ {
    utf8_percent_encode(text, PART)
}

/// Returns what a project is called in addresses: its name, or its id where the name leads elsewhere.
pub fn key_of(project: &Project) -> &str {
    if TAKEN.contains(&project.name.as_str()) { &project.id } else { &project.name }
}

/// The page to sign in at.
pub fn login() -> String {
    "/login".to_owned()
}

/// The page to sign in at, which leads on to `next`.
pub fn login_then(next: &str) -> String {
    with_query("/login", &[("next", next)])
}

/// Where the form to sign out leads.
pub fn logout() -> String {
    "/logout".to_owned()
}

/// The team's projects.
pub fn projects() -> String {
    "/projects".to_owned()
}

/// A new project.
pub fn new_project() -> String {
    "/projects/new".to_owned()
}

/// Where the form that makes a project leads.
pub fn create_project() -> String {
    "/projects/new/create".to_owned()
}

/// What changes in the projects that a page of the list shows.
pub fn project_list_events(query: &[(&str, &str)]) -> String {
    with_query("/projects/events", query)
}

/// A project: its deployments. `project` is a name or an id, as [`key_of`] returns it.
pub fn project(project: &str) -> String {
    format!("/projects/{}", part(project))
}

/// One deployment.
pub fn deployment(project: &str, id: &str) -> String {
    format!("/projects/{}/deployments/{}", part(project), part(id))
}

/// What changes in a project's list of deployments.
pub fn project_events(project: &str) -> String {
    format!("/projects/{}/events", part(project))
}

/// Where the form that deploys a branch leads.
pub fn deploy(project: &str) -> String {
    format!("/projects/{}/deploy", part(project))
}

/// What happens to a deployment after a page was made that tells its story up to `shown`.
pub fn deployment_stream(project: &str, id: &str, shown: u64) -> String {
    format!("{}/stream?shown={shown}", deployment(project, id))
}

/// A deployment's log as a file.
pub fn deployment_log(project: &str, id: &str) -> String {
    format!("{}/log.txt", deployment(project, id))
}

/// Where a form leads that does something about a deployment.
pub fn deployment_action(project: &str, id: &str, action: &str) -> String {
    format!("{}/{action}", deployment(project, id))
}

/// A project's settings.
pub fn settings(project: &str) -> String {
    format!("/projects/{}/settings", part(project))
}

/// One section of a project's settings, such as `hooks`.
pub fn settings_section(project: &str, section: &str) -> String {
    format!("/projects/{}/settings/{}", part(project), part(section))
}

/// One thing of a section of a project's settings, such as a hook by its id.
pub fn settings_item(project: &str, section: &str, item: &str) -> String {
    format!("{}/{}", settings_section(project, section), part(item))
}

/// Where a form leads that does something to one thing of a section.
pub fn settings_action(project: &str, section: &str, item: &str, action: &str) -> String {
    format!("{}/{}", settings_item(project, section, item), part(action))
}

/// The team's API keys.
pub fn keys() -> String {
    "/keys".to_owned()
}

/// Where the form that revokes a key leads.
pub fn revoke_key() -> String {
    "/keys/revoke".to_owned()
}

/// Adds a query to an address; what is empty is left out.
pub fn with_query(address: &str, query: &[(&str, &str)]) -> String {
    let mut pairs = form_urlencoded::Serializer::new(String::new());
    for (name, value) in query.iter().filter(|(_, value)| !value.is_empty()) {
        pairs.append_pair(name, value);
    }
    let pairs = pairs.finish();
    if pairs.is_empty() { address.to_owned() } else { format!("{address}?{pairs}") }
}

/// Returns the address if it is one of ours and may be led to after signing in: a path from the root, in one spelling
/// that no browser takes for another host.
pub fn local(next: &str) -> Option<&str> {
    let plain = next.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\');
    let lower = next.to_ascii_lowercase();
    let disguised = ["//", "%2f", "%5c", "%2e", "%00"].iter().any(|odd| lower.contains(odd));
    let path = next.split(['?', '#']).next().unwrap_or_default();
    let dots = path.split('/').any(|part| part == "." || part == "..");
    let fits = next.len() <= 2_000 && next.starts_with('/') && plain && !disguised && !dots;
    let signs = [login(), logout()].iter().any(|address| path == address);
    (fits && !signs).then_some(next)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s5_only_an_address_of_our_own_is_led_to() {
        for good in [
            "/",
            "/projects",
            "/projects/site?state=READY&page=x",
            "/projects/site/settings/hooks",
            "/a.b/..c",
        ] {
            assert_eq!(local(good), Some(good));
        }
        for bad in [
            "",
            "projects",
            "http://evil.example/",
            "https:evil.example",
            "//evil.example",
            "///evil.example",
            "/\\evil.example",
            "\\\\evil.example",
            "/%5cevil.example",
            "/%2fevil.example",
            "/%2F%2Fevil.example",
            "/projects//evil.example",
            "/./x",
            "/../x",
            "/projects/..",
            "/%2e%2e/x",
            "/\tevil.example",
            "/\n/evil.example",
            " /projects",
            "/ projects",
            "javascript:alert(1)",
            "/projects?next=//evil.example",
            "/\u{ff0f}evil.example",
            "/%00",
            "/login",
            "/login?next=/x",
            "/logout",
            "@evil.example",
            ".evil.example",
        ] {
            assert_eq!(local(bad), None, "{bad:?}");
        }
        assert_eq!(local(&format!("/{}", "x".repeat(2_000))), None);
    }

    #[test]
    fn what_stands_in_an_address_cannot_leave_its_part() {
        assert_eq!(deployment("a/../b", "x?y#z"), "/projects/a%2F..%2Fb/deployments/x%3Fy%23z");
        assert_eq!(with_query("/x", &[("a", ""), ("b", "1&c=\"<")]), "/x?b=1%26c%3D%22%3C");
    }

    #[test]
    fn a_project_whose_name_leads_elsewhere_is_called_by_its_id() {
        let named = |name: &str| Project { id: "prj_1".into(), name: name.into(), ..Default::default() };
        assert_eq!(key_of(&named("site")), "site");
        assert_eq!(TAKEN.map(|name| key_of(&named(name)).to_owned()), ["prj_1", "prj_1"]);
    }
}
