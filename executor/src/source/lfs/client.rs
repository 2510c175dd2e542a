//! The batch interface of Git LFS with its basic transfer. The form: `docs/api/batch.md`, `basic-transfers.md` and
//! `authentication.md` of github.com/git-lfs/git-lfs.
//!
//! Every connection goes by a way out of ours, as git's do. A credential is shown to the repository's own origin; where the
//! server leads elsewhere, only what the server itself named is shown, and after a redirect not even that.

use std::{collections::HashMap, path::Path, time::Duration};

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use grapnel_runtime::https;
use reqwest::{
    Response,
    header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, LOCATION},
    redirect,
};
use serde::Deserialize;
use serde_json::json;
use url::Url;

use super::{
    pointer::Pointer,
    store::{LargeFiles, Wrong},
};
use crate::source::way_out::{Trouble, WayOut};

/// How many objects one request asks for.
const BATCH: usize = 100;

/// How many are fetched at once.
const AT_ONCE: usize = 4;

/// How many bytes the answer to a request may have.
const ANSWER: usize = 4 << 20;

/// How long a connection may take to stand, and how long a server may stay silent.
const PATIENCE: Duration = Duration::from_secs(30);

/// How often a server may send us on.
const REDIRECTS: usize = 3;

const KIND: HeaderValue = HeaderValue::from_static("application/vnd.git-lfs+json");

/// Where a repository's large files are asked for, and what is shown there.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// The address, to which `/objects/batch` is added.
    pub url: Url,
    /// What is shown, and is shown to its origin only.
    pub headers: HeaderMap,
}

/// Why a large file is not had.
#[derive(Debug)]
pub enum LfsError {
    /// A connection was not made.
    Trouble(Trouble),
    /// The server wants a credential, or another one.
    Denied,
    /// The large file itself, or what is said of it.
    File(Pointer, String),
    /// The server as a whole.
    Server(String),
    /// It cannot be kept.
    Io(std::io::Error),
}

/// A client for one call.
#[derive(Debug)]
pub struct Client {
    client: reqwest::Client,
    way_out: WayOut,
}

#[derive(Debug, Deserialize)]
struct Batch {
    #[serde(default)]
    objects: Vec<Object>,
}

#[derive(Debug, Deserialize)]
struct Object {
    oid: String,
    #[serde(default)]
    actions: HashMap<String, Action>,
    error: Option<ObjectError>,
}

/// Where something is, and what is shown there.
#[derive(Clone, Debug, Deserialize)]
pub struct Action {
    /// The address.
    pub href: String,
    /// What is shown.
    #[serde(default)]
    pub header: HashMap<String, String>,
}

#[derive(Debug, Deserialize)]
struct ObjectError {
    code: u16,
}

impl Client {
    /// Makes a client that connects by a way out, and trusts the system's authorities and those of `ca_bundle`.
    ///
    /// # Errors
    /// A description of what is wrong.
    pub fn new(way_out: WayOut, ca_bundle: Option<&Path>) -> Result<Self, String> {
        let tls = https::client_config(ca_bundle).map_err(|error| error.to_string())?;
        // The `h` lets the way out resolve names.
        let proxy = reqwest::Proxy::all(format!("socks5h://127.0.0.1:{}", way_out.port()));
        let client = reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            .no_proxy()
            .proxy(proxy.map_err(|error| error.to_string())?)
            .redirect(redirect::Policy::none())
            .referer(false)
            .user_agent(concat!("Grapnel/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(PATIENCE)
            .read_timeout(PATIENCE)
            .build()
            .map_err(|error| error.to_string())?;
        Ok(Self { client, way_out })
    }

    /// Fetches large files, each verified before it is kept.
    ///
    /// # Errors
    /// See [`LfsError`].
    pub async fn fetch(
        &self,
        endpoint: &Endpoint,
        reference: Option<&str>,
        wanted: &[Pointer],
        files: &LargeFiles,
    ) -> Result<(), LfsError> {
        for some in wanted.chunks(BATCH) {
            let offered = self.ask(endpoint, reference, some).await?;
            let downloads = stream::iter(offered)
                .map(|(pointer, action)| self.download(endpoint, pointer, action, files));
            downloads.buffer_unordered(AT_ONCE).try_collect::<()>().await?;
        }
        Ok(())
    }

    /// Asks where large files are.
    async fn ask(
        &self,
        endpoint: &Endpoint,
        reference: Option<&str>,
        wanted: &[Pointer],
    ) -> Result<Vec<(Pointer, Action)>, LfsError> {
        let url: Url = format!("{}/objects/batch", endpoint.url.as_str().trim_end_matches('/'))
            .parse()
            .map_err(|_| LfsError::Server("its address is none".to_owned()))?;
        let objects: Vec<_> =
            wanted.iter().map(|pointer| json!({"oid": pointer.oid, "size": pointer.size})).collect();
        let mut request = json!({
            "operation": "download",
            "transfers": ["basic"],
            "objects": objects,
            "hash_algo": "sha256",
        });
        if let Some(name) = reference {
            request["ref"] = json!({"name": name});
        }
        let mut headers = endpoint.headers.clone();
        headers.insert(ACCEPT, KIND);
        headers.insert(CONTENT_TYPE, KIND);
        let sent = self.client.post(url).headers(headers).body(request.to_string()).send().await;
        let mut response = sent.map_err(|error| self.trouble(&error))?;
        match response.status().as_u16() {
            200..=299 => {}
            401 | 403 => return Err(LfsError::Denied),
            404 | 410 | 501 => {
                return Err(LfsError::Server("it has no large files for this repository".to_owned()));
            }
            status @ (300..=399) => {
                return Err(LfsError::Server(format!(
                    "it redirects (status {status}), which is not followed"
                )));
            }
            status => return Err(self.server_trouble(status)),
        }
        let mut text = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| self.trouble(&error))? {
            if text.len() + chunk.len() > ANSWER {
                return Err(LfsError::Server("it answers too much".to_owned()));
            }
            text.extend_from_slice(&chunk);
        }
        let batch: Batch = serde_json::from_slice(&text)
            .map_err(|_| LfsError::Server("it answers what is no answer of Git LFS".to_owned()))?;
        offered(wanted, batch)
    }

    async fn download(
        &self,
        endpoint: &Endpoint,
        pointer: Pointer,
        action: Action,
        files: &LargeFiles,
    ) -> Result<(), LfsError> {
        let wrong = |why: &str| LfsError::File(pointer.clone(), why.to_owned());
        let mut url: Url =
            action.href.parse().map_err(|_| wrong("the server names an address that is none"))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(wrong("the server names an address that is none of the web's"));
        }
        let mut headers = named(&action.header);
        if url.origin() == endpoint.url.origin() && !headers.contains_key("authorization") {
            headers.extend(endpoint.headers.clone());
        }
        let mut response = self.get(&url, headers.clone()).await?;
        for _ in 0..REDIRECTS {
            let location = response.headers().get(LOCATION).and_then(|value| value.to_str().ok());
            let Some(location) = location.filter(|_| response.status().is_redirection()) else { break };
            let next = url.join(location).map_err(|_| wrong("the server redirects to no address"))?;
            if next.origin() != url.origin() {
                headers.clear();
            }
            if url.scheme() == "https" && next.scheme() != "https" {
                return Err(wrong("the server redirects to where everybody can listen"));
            }
            url = next;
            response = self.get(&url, headers.clone()).await?;
        }
        match response.status().as_u16() {
            200..=299 => {}
            401 | 403 => return Err(wrong("the server does not give it out")),
            404 | 410 => return Err(wrong("the server does not have it")),
            status => return Err(self.server_trouble(status)),
        }
        let mut incoming = files.begin(&pointer).map_err(LfsError::Io)?;
        let kept = |ended: Result<(), Wrong>| {
            ended.map_err(|error| match error {
                Wrong::Content(why) => wrong(why),
                Wrong::Io(error) => LfsError::Io(error),
            })
        };
        while let Some(chunk) = response.chunk().await.map_err(|error| self.trouble(&error))? {
            kept(incoming.take(&chunk))?;
        }
        kept(incoming.keep())
    }

    async fn get(&self, url: &Url, headers: HeaderMap) -> Result<Response, LfsError> {
        let sent = self.client.get(url.clone()).headers(headers).send().await;
        sent.map_err(|error| self.trouble(&error))
    }

    fn trouble(&self, error: &reqwest::Error) -> LfsError {
        let cause = if error.is_timeout() { "it stays silent" } else { "the connection breaks" };
        let unreachable = || Trouble::Unreachable(format!("its large files: {cause}"));
        LfsError::Trouble(self.way_out.trouble().unwrap_or_else(unreachable))
    }

    fn server_trouble(&self, status: u16) -> LfsError {
        match status {
            429 | 500..=599 => {
                LfsError::Trouble(Trouble::Unreachable(format!("its large files: status {status}")))
            }
            status => LfsError::Server(format!("it answers with status {status}")),
        }
    }
}

/// Reads what a server offers of what was wanted, in that order.
fn offered(wanted: &[Pointer], batch: Batch) -> Result<Vec<(Pointer, Action)>, LfsError> {
    let mut objects: HashMap<String, Object> =
        batch.objects.into_iter().map(|object| (object.oid.clone(), object)).collect();
    let mut offered = Vec::new();
    for pointer in wanted {
        let wrong = |why: String| LfsError::File(pointer.clone(), why);
        let missing = || wrong("the server does not have it".to_owned());
        let mut object = objects.remove(&pointer.oid).ok_or_else(missing)?;
        match object.error {
            Some(ObjectError { code: 404 | 410 }) => return Err(missing()),
            Some(ObjectError { code }) => {
                return Err(wrong(format!("the server does not give it out (code {code})")));
            }
            None => {}
        }
        offered.push((pointer.clone(), object.actions.remove("download").ok_or_else(missing)?));
    }
    Ok(offered)
}

/// Reads the headers that a server wants to be shown; those that are the connection's own are not its to name.
pub fn named(headers: &HashMap<String, String>) -> HeaderMap {
    let of_connection = ["host", "connection", "content-length", "transfer-encoding", "upgrade"];
    let named = headers.iter().filter_map(|(name, value)| {
        let mut value: HeaderValue = value.parse().ok()?;
        value.set_sensitive(true);
        Some((name.parse::<HeaderName>().ok()?, value))
    });
    named.filter(|(name, _)| !of_connection.contains(&name.as_str())).collect()
}
