//! Sites of READY deployments, on a listener of their own.
//!
//! The first label of the host names the deployment or the project. Files are found by the artifact's manifest alone,
//! so that no path reaches anything else.

use std::{sync::Arc, time::Duration};

use axum::{
    body::Body,
    extract::{Request, State},
    response::{IntoResponse, Response},
};
use grapnel_artifacts::{ArtifactError, FileEntry, FileError, Manifest, SiteFiles};
use grapnel_domain::{Error, Reason, id::DeploymentId};
use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use moka::future::Cache;
use tower::ServiceExt as _;
use tower_http::services::ServeFile;

use crate::{error::RETRY_AFTER, hooks_client::HooksClient};

/// How many artifacts' manifests are kept.
const ARTIFACTS: u64 = 200;

/// How long an answer about a project's address is believed.
const ADDRESS: Duration = Duration::from_secs(1);

/// How long one about a deployment's is: always the same one, until its artifact is removed.
const IMMUTABLE: Duration = Duration::from_secs(60);

/// How many addresses are kept.
const ADDRESSES: u64 = 10_000;

/// What serves sites. Clones share everything.
#[derive(Clone)]
pub struct Sites {
    hooks: HooksClient,
    files: SiteFiles,
    /// What changes once at most: when an artifact is removed.
    deployments: Cache<String, DeploymentId>,
    /// What can change at any time.
    projects: Cache<String, DeploymentId>,
    artifacts: Cache<DeploymentId, Arc<Artifact>>,
}

impl Sites {
    /// Serves the artifacts whose files these are.
    pub fn new(hooks: HooksClient, files: SiteFiles) -> Self {
        Self {
            hooks,
            files,
            deployments: Cache::builder().max_capacity(ADDRESSES).time_to_live(IMMUTABLE).build(),
            projects: Cache::builder().max_capacity(ADDRESSES).time_to_live(ADDRESS).build(),
            artifacts: Cache::builder().max_capacity(ARTIFACTS).time_to_live(IMMUTABLE).build(),
        }
    }

    async fn artifact(&self, headers: &HeaderMap, uri: &Uri) -> Result<Arc<Artifact>, Error> {
        let label = label(headers, uri).ok_or_else(no_site)?;
        let deployment = self.deployment(&label).await?;
        let open = async {
            let manifest = self.files.manifest(deployment).await?;
            Ok(Arc::new(Artifact { deployment, manifest }))
        };
        let opened = self.artifacts.try_get_with(deployment, open).await;
        opened.map_err(|error| no_artifact(deployment, error))
    }

    async fn deployment(&self, label: &str) -> Result<DeploymentId, Error> {
        if let Some(known) = self.deployments.get(label).await {
            return Ok(known);
        }
        if let Some(known) = self.projects.get(label).await {
            return Ok(known);
        }
        let found = self.hooks.resolve_site(label.to_owned()).await?;
        let id: DeploymentId =
            found.deployment_id.parse().map_err(|_| Error::internal("an id that is none"))?;
        let known = if found.immutable { &self.deployments } else { &self.projects };
        known.insert(label.to_owned(), id).await;
        Ok(id)
    }
}

/// One artifact.
struct Artifact {
    deployment: DeploymentId,
    manifest: Manifest,
}

impl Artifact {
    fn file(&self, path: &str) -> Option<&FileEntry> {
        self.manifest.file(path)
    }
}

/// Answers a request for a site.
pub async fn serve(State(sites): State<Sites>, request: Request) -> Response {
    let mut response = match *request.method() {
        Method::GET | Method::HEAD => match sites.artifact(request.headers(), request.uri()).await {
            Ok(artifact) => file(&sites.files, &artifact, request).await,
            Err(error) => page(&error),
        },
        _ => (StatusCode::METHOD_NOT_ALLOWED, [(header::ALLOW, "GET, HEAD")], "sites are only read\n")
            .into_response(),
    };
    response.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// Returns the first label of the host that the request is for.
fn label(headers: &HeaderMap, uri: &Uri) -> Option<String> {
    let host = uri.host().or_else(|| headers.get(header::HOST)?.to_str().ok())?;
    let (label, rest) = host.split_once('.')?;
    (!label.is_empty() && !rest.is_empty()).then(|| label.to_ascii_lowercase())
}

async fn file(files: &SiteFiles, artifact: &Artifact, request: Request) -> Response {
    let path = decoded(request.uri().path());
    let Some(path) = path else {
        return not_found(files, artifact).await;
    };
    match find(artifact, &path) {
        Some(Found::File(entry)) => send(files, artifact, entry, request, StatusCode::OK).await,
        Some(Found::Directory) => {
            // Only the path is told, so that nobody is ever sent to another host.
            let location = format!("/{}/", request.uri().path().trim_matches('/'));
            match HeaderValue::try_from(location) {
                Ok(location) => {
                    (StatusCode::PERMANENT_REDIRECT, [(header::LOCATION, location)]).into_response()
                }
                Err(_) => not_found(files, artifact).await,
            }
        }
        None => not_found(files, artifact).await,
    }
}

enum Found<'a> {
    File(&'a FileEntry),
    Directory,
}

/// Finds what a path means: the file itself, a directory's index, or the page behind a clean address.
fn find<'a>(artifact: &'a Artifact, path: &str) -> Option<Found<'a>> {
    let path = path.strip_prefix('/').unwrap_or(path);
    if path.is_empty() || path.ends_with('/') {
        return artifact.file(&format!("{path}index.html")).map(Found::File);
    }
    let exact = artifact.file(path).or_else(|| artifact.file(&format!("{path}.html")));
    match exact {
        Some(entry) => Some(Found::File(entry)),
        None => artifact.file(&format!("{path}/index.html")).map(|_| Found::Directory),
    }
}

fn decoded(path: &str) -> Option<String> {
    let text = percent_encoding::percent_decode_str(path).decode_utf8().ok()?;
    (!text.contains('\0')).then(|| text.into_owned())
}

async fn not_found(files: &SiteFiles, artifact: &Artifact) -> Response {
    match artifact.file("404.html") {
        Some(entry) => send(files, artifact, entry, Request::new(Body::empty()), StatusCode::NOT_FOUND).await,
        None => (StatusCode::NOT_FOUND, "there is no such page\n").into_response(),
    }
}

/// Sends a file, or the part of it that was asked for; nothing where the reader has it already.
async fn send(
    files: &SiteFiles,
    artifact: &Artifact,
    entry: &FileEntry,
    request: Request,
    status: StatusCode,
) -> Response {
    let tag = format!("\"{}\"", entry.digest);
    let known = request.headers().get(header::IF_NONE_MATCH).and_then(|value| value.to_str().ok());
    if status == StatusCode::OK && known.is_some_and(|known| known.split(',').any(|one| one.trim() == tag)) {
        return (StatusCode::NOT_MODIFIED, [(header::ETAG, tag)]).into_response();
    }
    // Kept until the answer has the file open.
    let local = match files.file(artifact.deployment, entry).await {
        Ok(local) => local,
        Err(error) => return page(&no_file(artifact.deployment, error)),
    };
    let Ok(served) = ServeFile::new(local.path()).oneshot(request).await;
    if served.status() == StatusCode::NOT_FOUND {
        // The manifest has it: all of it was removed since that was read.
        return page(&removed());
    }
    let mut response = served.map(Body::new);
    if status != StatusCode::OK {
        *response.status_mut() = status;
    }
    let headers = response.headers_mut();
    // The time of a file says nothing about its content; the digest does.
    headers.remove(header::LAST_MODIFIED);
    if let Ok(tag) = HeaderValue::try_from(tag) {
        headers.insert(header::ETAG, tag);
    }
    if let Ok(kind) = HeaderValue::try_from(&entry.content_type) {
        headers.insert(header::CONTENT_TYPE, kind);
    }
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("public, max-age=0, must-revalidate"));
    response
}

/// Says on a page why there is no site.
fn page(error: &Error) -> Response {
    let (status, text) = match error.reason {
        Reason::SiteNotFound => (
            StatusCode::NOT_FOUND,
            "No site is served at this address. A project's site appears with the first READY deployment of its production branch.\n",
        ),
        Reason::ArtifactRemoved => (
            StatusCode::GONE,
            "The files of this deployment were removed: it is older than this installation keeps them, or its project was deleted. Deploying again brings the site back, at a new address.\n",
        ),
        Reason::ArtifactMissing => {
            tracing::warn!(%error, "a site cannot be served");
            (
                StatusCode::NOT_FOUND,
                "The files of this deployment are missing, though it is READY: they were not restored together with the database, or are kept where this gateway does not see them.\n",
            )
        }
        Reason::HooksUnavailable | Reason::StoreUnavailable => {
            tracing::warn!(%error, cause = ?std::error::Error::source(error), "a site cannot be served now");
            (StatusCode::SERVICE_UNAVAILABLE, "The site cannot be looked up now. Try again in a moment.\n")
        }
        _ => {
            tracing::error!(%error, cause = ?std::error::Error::source(error), "a site cannot be served");
            (StatusCode::INTERNAL_SERVER_ERROR, "The site cannot be served now.\n")
        }
    };
    let mut response = (status, text).into_response();
    if status == StatusCode::SERVICE_UNAVAILABLE {
        response.headers_mut().insert(header::RETRY_AFTER, RETRY_AFTER);
    }
    response
}

fn missing(deployment: DeploymentId) -> Error {
    Error::new(
        Reason::ArtifactMissing,
        format!("the artifact of {deployment} is not where this gateway looks for it"),
    )
}

/// A store that is away comes back; whatever else is wrong with an artifact stays wrong.
fn no_artifact(deployment: DeploymentId, error: Arc<ArtifactError>) -> Error {
    match &*error {
        ArtifactError::NotFound(_) => missing(deployment),
        ArtifactError::Bucket(_) | ArtifactError::Corrupt(_) => {
            Error::new(Reason::StoreUnavailable, error.to_string()).because(error)
        }
        other => Error::internal(other.to_string()),
    }
}

/// The manifest has the file: where the store has it no more, all of the artifact was removed since that was read.
fn no_file(deployment: DeploymentId, error: FileError) -> Error {
    match error {
        FileError::Store(error) if matches!(&*error, ArtifactError::NotFound(_)) => removed(),
        FileError::Store(error) => no_artifact(deployment, error),
        FileError::StillFetching => Error::new(Reason::StoreUnavailable, error.to_string()),
    }
}

fn removed() -> Error {
    Error::new(Reason::ArtifactRemoved, "the artifact was removed while it was served")
}

fn no_site() -> Error {
    Error::new(Reason::SiteNotFound, "no site is served at this address")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_label_of_the_host_names_the_site() {
        let of = |host: &str| {
            label(&HeaderMap::from_iter([(header::HOST, host.parse().unwrap())]), &Uri::from_static("/"))
        };
        assert_eq!(of("My-Site.localhost:7380").as_deref(), Some("my-site"));
        assert_eq!(of("dpl_x.localhost.").as_deref(), Some("dpl_x"));
        assert_eq!([of("localhost"), of(".localhost"), of("a.")], [None, None, None]);
    }
}
