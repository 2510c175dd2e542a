//! Requests that a program sends ahead of a person: prefetches of browsers, previews of chat clients.
//!
//! A hook is triggered by GET too, because some senders know nothing else. So a URL that is pasted into a chat would
//! deploy when the chat client looks at it; these are answered, and nothing is deployed.

use http::{HeaderMap, Method, header};

/// What previewers of links call themselves, in lower case. Each is from its vendor's own documentation of its crawler.
const PREVIEWERS: [&str; 18] = [
    "slackbot",
    "slack-imgproxy",
    "discordbot",
    "facebookexternalhit",
    "facebot",
    "twitterbot",
    "whatsapp",
    "telegrambot",
    "skypeuripreview",
    "microsoftpreview",
    "linkedinbot",
    "redditbot",
    "mattermost",
    "mastodon",
    "iframely",
    "embedly",
    "pinterestbot",
    "google-read-aloud",
];

/// Tells whether a request was sent ahead of a person. Only a GET can be.
pub fn is_ahead(method: &Method, headers: &HeaderMap) -> bool {
    let says = |name: &str, words: &[&str]| {
        let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
        values.map(str::to_ascii_lowercase).any(|value| words.iter().any(|word| value.contains(word)))
    };
    method == Method::GET
        && (says("sec-purpose", &["prefetch", "prerender"])
            || says("purpose", &["prefetch", "preview"])
            || says("x-purpose", &["prefetch", "preview"])
            || says("x-moz", &["prefetch"])
            || says(header::USER_AGENT.as_str(), &PREVIEWERS))
}

#[cfg(test)]
mod tests {
    use http::HeaderName;

    use super::*;

    #[test]
    fn prefetches_and_previews_are_told_from_people_and_programs() {
        let ahead = |name: &'static str, value: &str| {
            let headers = HeaderMap::from_iter([(HeaderName::from_static(name), value.parse().unwrap())]);
            assert!(!is_ahead(&Method::POST, &headers), "a POST is never sent ahead");
            is_ahead(&Method::GET, &headers)
        };
        assert!(ahead("sec-purpose", "prefetch;prerender"));
        assert!(ahead("purpose", "prefetch"));
        assert!(ahead("x-moz", "prefetch"));
        assert!(ahead("user-agent", "Slackbot-LinkExpanding 1.0 (+https://api.slack.com/robots)"));
        assert!(ahead("user-agent", "Mozilla/5.0 (compatible; Discordbot/2.0; +https://discordapp.com)"));
        assert!(!ahead("user-agent", "curl/8.5.0"));
        assert!(!ahead("user-agent", "Mozilla/5.0 (X11; Linux x86_64) Firefox/140.0"));
        assert!(!ahead("sec-fetch-mode", "navigate"));
    }
}
