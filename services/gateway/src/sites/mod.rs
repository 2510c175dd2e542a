//! Sites of READY deployments, on a listener of their own.
//!
//! The first label of the host names the deployment, the project or the branch. Files are found by the artifact's
//! manifest alone, so that no path reaches anything else. No cookie is ever set or read.

mod addresses;
mod answer;
mod artifacts;
mod caching;
mod encodings;
mod files;
mod names;
mod page;
mod ranges;

use axum::{
    extract::{Request, State},
    response::Response,
};
use grapnel_artifacts::SiteFiles;
use grapnel_domain::{Error, Reason};
use http::{HeaderValue, Method, StatusCode, header, request::Parts};

use self::{addresses::Addresses, answer::Answer, artifacts::Artifacts, files::Found};
use crate::hooks_client::HooksClient;

/// What serves sites. Clones share everything.
#[derive(Clone)]
pub struct Sites {
    addresses: Addresses,
    artifacts: Artifacts,
}

impl Sites {
    /// Serves the artifacts whose files these are.
    pub fn new(hooks: HooksClient, files: SiteFiles) -> Self {
        Self { addresses: Addresses::new(hooks), artifacts: Artifacts::new(files) }
    }

    /// Answers with what the path means on the host's site.
    async fn read(&self, request: &Parts) -> Result<Response, Error> {
        let Ok(host) = addresses::host(&request.headers, &request.uri) else {
            return Ok(page::not_a_host());
        };
        let Some(label) = addresses::label(&host) else {
            return Ok(page::no_site(&host));
        };
        let deployment = match self.addresses.deployment(label).await {
            Err(error) if error.reason == Reason::SiteNotFound => return Ok(page::no_site(&host)),
            found => found?,
        };
        let artifact = self.artifacts.open(deployment).await?;
        let answer = Answer { files: self.artifacts.files(), artifact: &artifact, request };
        match files::find(&artifact.manifest, request.uri.path()) {
            Found::File(file) => answer.with(file, StatusCode::OK).await,
            Found::Elsewhere(path) => Ok(answer::redirect(&path, request.uri.query())),
            Found::Nothing => match artifact.manifest.file("404.html") {
                Some(file) => answer.with(file, StatusCode::NOT_FOUND).await,
                None => Ok(page::no_such_page()),
            },
        }
    }
}

/// Answers a request for a site.
pub async fn serve(State(sites): State<Sites>, request: Request) -> Response {
    let (request, _) = request.into_parts();
    let mut response = match request.method {
        Method::GET | Method::HEAD => {
            sites.read(&request).await.unwrap_or_else(|error| page::instead(&error))
        }
        _ => page::only_read(),
    };
    response.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}
