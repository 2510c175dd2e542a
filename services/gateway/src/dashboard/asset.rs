//! Style, scripts and pictures: files of ours that are part of the program.

use std::sync::LazyLock;

use axum::{
    extract::{Path, RawQuery},
    response::{IntoResponse as _, Response},
};
use http::{HeaderName, HeaderValue, header};
use sha2::{Digest as _, Sha256};

use super::{guard, page_error::PageError};

const SCRIPT: &str = "text/javascript; charset=utf-8";

/// All files: name, kind, text.
const FILES: &[(&str, &str, &str)] = &[
    ("dashboard.css", "text/css; charset=utf-8", include_str!("../../assets/dashboard.css")),
    ("icon.svg", "image/svg+xml", include_str!("../../assets/icon.svg")),
    ("copy.js", SCRIPT, include_str!("../../assets/copy.js")),
    ("log.js", SCRIPT, include_str!("../../assets/log.js")),
    ("live.js", SCRIPT, include_str!("../../assets/live.js")),
    ("times.js", SCRIPT, include_str!("../../assets/times.js")),
];

/// One file, with what says which version of it this is.
struct Asset {
    name: &'static str,
    kind: &'static str,
    text: &'static str,
    version: String,
}

static ASSETS: LazyLock<Vec<Asset>> = LazyLock::new(|| {
    let read = |&(name, kind, text): &(&'static str, &'static str, &'static str)| {
        let version = hex::encode(&Sha256::digest(text)[..6]);
        Asset { name, kind, text, version }
    };
    FILES.iter().map(read).collect()
});

/// Returns the address of a file, which changes with it.
pub fn url(name: &str) -> String {
    let version = ASSETS.iter().find(|asset| asset.name == name).map(|asset| asset.version.as_str());
    format!("/assets/{name}?v={}", version.unwrap_or_default())
}

/// `GET /assets/{name}?v={version}`: kept for good by whoever asks for this version, and for no time by others.
pub async fn serve(Path(name): Path<String>, RawQuery(query): RawQuery) -> Response {
    let Some(asset) = ASSETS.iter().find(|asset| asset.name == name) else {
        return guard::secured(PageError::not_found().into_response());
    };
    let current = query.as_deref().and_then(|query| query.strip_prefix("v=")) == Some(asset.version.as_str());
    let kept = if current { "public, max-age=31536000, immutable" } else { "no-cache" };
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static(asset.kind)),
        (header::CACHE_CONTROL, HeaderValue::from_static(kept)),
        (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        (header::CONTENT_SECURITY_POLICY, HeaderValue::from_static("default-src 'none'")),
        (HeaderName::from_static("cross-origin-resource-policy"), HeaderValue::from_static("same-origin")),
    ];
    (headers, asset.text).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_file_is_kept_for_good_by_the_address_of_its_version_only() {
        let kept = async |query: Option<&str>| {
            let answer = serve(Path("dashboard.css".into()), RawQuery(query.map(str::to_owned))).await;
            answer.headers()[header::CACHE_CONTROL].to_str().unwrap().to_owned()
        };
        let address = url("dashboard.css");
        let (_, version) = address.split_once('?').unwrap();
        assert!(kept(Some(version)).await.contains("immutable"));
        for other in [None, Some("v="), Some("v=000000000000")] {
            assert_eq!(kept(other).await, "no-cache", "{other:?}");
        }
        assert_eq!(serve(Path("../Cargo.toml".into()), RawQuery(None)).await.status(), 404);
    }

    #[test]
    fn nothing_of_ours_asks_another_host() {
        for (name, _, text) in FILES {
            let addresses = text.replace("http://www.w3.org/2000/svg", "");
            assert!(!addresses.contains("http://") && !addresses.contains("https://"), "{name}");
        }
    }
}
