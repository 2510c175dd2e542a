//! Addresses of any version. Callers put a version in front of an address, each its own, and some leave it out or write
//! `/now` after it; the shapes are the same for us. Each route has one address, and this leads the others to it.

use axum::{Router, extract::Request};
use http::{Method, Uri, uri::PathAndQuery};
use tower::{Layer as _, util::MapRequestLayer};

/// Leads addresses of any version to the routes.
pub fn any_version(routes: Router) -> Router {
    let lead = MapRequestLayer::new(|mut request: Request| {
        if let Some(address) = canonical(request.method(), request.uri()) {
            *request.uri_mut() = address;
        }
        request
    });
    Router::new().fallback_service(lead.layer(routes))
}

/// Returns the one address of what an address names; `None` where it is that already, or no such thing.
fn canonical(method: &Method, uri: &Uri) -> Option<Uri> {
    let (asked, rest) = version(uri.path());
    let now = rest.strip_prefix("/now").filter(|rest| rest.starts_with('/'));
    let rest = now.unwrap_or(rest);
    let segments: Vec<_> = rest.split('/').skip(1).collect();
    // Without a version most addresses are those of pages.
    let is_page = asked.is_none() && now.is_none() && !is_unversioned(method, &segments);
    // The first version of these is our own, and older.
    let is_own =
        asked == Some("1") && matches!(segments[..], ["deployments", _] | ["deployments", _, "events"]);
    // Each of these two is an address of its own, for reading or for writing.
    let is_itself = matches!(segments[..], ["deployments"]) && matches!(asked, Some("6" | "13"));
    if is_page || is_own || is_itself {
        return None;
    }
    let address = format!("/v{}{rest}", version_of(method, &segments)?);
    if address == uri.path() {
        return None;
    }
    let with_query = uri.query().map_or_else(|| address.clone(), |query| format!("{address}?{query}"));
    with_query.parse::<PathAndQuery>().ok().map(Uri::from)
}

/// Splits a path into the number of its version and what follows.
fn version(path: &str) -> (Option<&str>, &str) {
    let Some(rest) = path.strip_prefix("/v") else { return (None, path) };
    let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
    match rest.split_at(digits) {
        (number, rest) if (1..=3).contains(&digits) && rest.starts_with('/') => (Some(number), rest),
        _ => (None, path),
    }
}

/// What the `vercel` command asks without any version.
fn is_unversioned(method: &Method, segments: &[&str]) -> bool {
    match segments {
        ["teams", ..] => true,
        ["projects", _] => method == Method::DELETE,
        _ => false,
    }
}

/// The version under which the routes have an address.
fn version_of(method: &Method, segments: &[&str]) -> Option<u32> {
    Some(match segments {
        ["user"] | ["teams"] | ["teams", _] => 2,
        ["projects"] | ["projects", _] | ["projects", _, "rollback", _] => 9,
        ["projects", _, "deploy-hooks"] | ["projects", _, "deploy-hooks", _] => 2,
        ["projects", _, "promote", _] => 10,
        ["deployments"] if method == Method::POST => 13,
        ["deployments"] => 6,
        ["deployments", _] => 13,
        ["deployments", _, "events"] => 3,
        ["deployments", _, "builds"] => 11,
        ["deployments", _, "aliases"] => 2,
        ["deployments", _, "cancel"] => 12,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn led(method: &Method, address: &str) -> String {
        let uri: Uri = address.parse().unwrap();
        canonical(method, &uri).unwrap_or(uri).to_string()
    }

    #[test]
    fn any_version_leads_to_the_one_address() {
        for (method, asked, expected) in [
            (Method::POST, "/v1/projects?teamId=team_1", "/v9/projects?teamId=team_1"),
            (Method::DELETE, "/v2/projects/site", "/v9/projects/site"),
            (Method::DELETE, "/projects/prj_1", "/v9/projects/prj_1"),
            (Method::GET, "/v10/projects/site", "/v9/projects/site"),
            (Method::GET, "/teams/team_1", "/v2/teams/team_1"),
            (Method::GET, "/v1/teams", "/v2/teams"),
            (Method::GET, "/v3/now/deployments/dpl_1/events?follow=", "/v3/deployments/dpl_1/events?follow="),
            (Method::GET, "/now/deployments/dpl_1/aliases", "/v2/deployments/dpl_1/aliases"),
            (Method::DELETE, "/now/deployments/dpl_1?hard=0", "/v13/deployments/dpl_1?hard=0"),
            (Method::GET, "/v7/deployments", "/v6/deployments"),
            (Method::POST, "/v12/deployments", "/v13/deployments"),
            (Method::GET, "/v9/projects/a%2Fb", "/v9/projects/a%2Fb"),
        ] {
            assert_eq!(led(&method, asked), expected, "{method} {asked}");
        }
    }

    #[test]
    fn pages_and_our_own_first_version_stay_what_they_are() {
        for address in [
            "/projects/site",
            "/projects",
            "/v13/deployments",
            "/v1/deployments/dpl_1",
            "/v1/deployments/dpl_1/events",
            "/v1/integrations/deploy/prj_1/grh_1",
            "/v/projects",
            "/v99999/projects",
            "/v9projects",
            "/now",
            "/",
        ] {
            assert_eq!(led(&Method::GET, address), address);
        }
    }
}
