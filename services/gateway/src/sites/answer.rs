//! A file as an answer: all of it, a part of it, only its head, or that the reader has it already.

use axum::{
    body::Body,
    response::{IntoResponse, Response},
};
use grapnel_artifacts::{FileEntry, SiteFiles};
use grapnel_domain::Error;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header, request::Parts};
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _};
use tokio_util::io::ReaderStream;

use super::{
    artifacts::{Artifact, not_read},
    caching::{self, Condition, Tag},
    encodings::{self, Variant},
    page,
    ranges::{self, Wanted},
};

/// How much of a large file is read at once.
const PIECE: usize = 256 * 1024;

/// Sends somebody to another path of the site. Which one it is may change with the next deployment, so it is not remembered.
pub fn redirect(path: &str, query: Option<&str>) -> Response {
    let location = query.map_or_else(|| path.to_owned(), |query| format!("{path}?{query}"));
    // What a query holds that no header can is left out.
    match HeaderValue::try_from(location).or_else(|_| HeaderValue::try_from(path)) {
        Ok(location) => {
            let headers = [(header::LOCATION, location), (header::CACHE_CONTROL, caching::LOOK_AGAIN)];
            (StatusCode::PERMANENT_REDIRECT, headers).into_response()
        }
        Err(_) => page::no_such_page(),
    }
}

/// What an answer is made of.
pub struct Answer<'a> {
    /// Where files are.
    pub files: &'a SiteFiles,
    /// Whose file it is.
    pub artifact: &'a Artifact,
    /// What was asked.
    pub request: &'a Parts,
}

impl Answer<'_> {
    /// Answers with a file. Only where that is what was asked for are conditions and ranges about it.
    ///
    /// # Errors
    /// `ARTIFACT_REMOVED`, `STORE_UNAVAILABLE`.
    pub async fn with(&self, file: &FileEntry, status: StatusCode) -> Result<Response, Error> {
        let is_asked_for = status == StatusCode::OK;
        let wanted = if is_asked_for { self.wanted(file) } else { Wanted::Whole };
        let variant = self.variant(file, wanted);
        let tag = Tag::of(&variant.file.digest, variant.coding.is_some());
        let condition = if is_asked_for { self.condition(tag) } else { Condition::Holds };
        let (status, part) = match (condition, wanted) {
            (Condition::Failed, _) => (StatusCode::PRECONDITION_FAILED, None),
            (Condition::NotModified, _) => (StatusCode::NOT_MODIFIED, None),
            (Condition::Holds, Wanted::Impossible) => (StatusCode::RANGE_NOT_SATISFIABLE, None),
            (Condition::Holds, Wanted::Whole) => (status, Some((0, variant.file.size))),
            (Condition::Holds, Wanted::Part { first, length }) => {
                (StatusCode::PARTIAL_CONTENT, Some((first, length)))
            }
        };
        let body = match part {
            Some((first, length)) if self.request.method == Method::GET && length > 0 => {
                self.content(variant.file, first, length).await?
            }
            _ => Body::empty(),
        };
        let mut response = Response::new(body);
        *response.status_mut() = status;
        let headers = response.headers_mut();
        self.describe(headers, file, &variant, status);
        if is_asked_for {
            headers.extend(HeaderValue::try_from(tag.to_string()).map(|tag| (header::ETAG, tag)));
        }
        if let Some((first, length)) = part {
            headers.insert(header::CONTENT_LENGTH, length.into());
            if status == StatusCode::PARTIAL_CONTENT {
                range(headers, &format!("bytes {first}-{}/{}", first + length - 1, file.size));
            }
        } else if status == StatusCode::RANGE_NOT_SATISFIABLE {
            range(headers, &format!("bytes */{}", file.size));
        }
        Ok(response)
    }

    /// Returns what part is wanted. There are parts of what is read only, and of a file as it is.
    fn wanted(&self, file: &FileEntry) -> Wanted {
        if self.request.method == Method::GET {
            ranges::wanted(&self.request.headers, file.size, Tag::of(&file.digest, false))
        } else {
            Wanted::Whole
        }
    }

    fn variant<'b>(&'b self, file: &'b FileEntry, wanted: Wanted) -> Variant<'b> {
        if !self.artifact.has_compressed {
            return Variant::plain(file);
        }
        let chosen = encodings::choose(&self.artifact.manifest, file, &self.request.headers);
        if wanted == Wanted::Whole {
            chosen
        } else {
            Variant { varies: chosen.varies, ..Variant::plain(file) }
        }
    }

    fn condition(&self, tag: Tag<'_>) -> Condition {
        caching::condition(&self.request.headers, tag)
    }

    /// Says what a file is and what may be done with it.
    fn describe(&self, headers: &mut HeaderMap, file: &FileEntry, variant: &Variant<'_>, status: StatusCode) {
        if variant.varies {
            headers.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
        }
        // What is no answer to the question is not kept in the file's place.
        let is_it = matches!(status, StatusCode::OK | StatusCode::PARTIAL_CONTENT | StatusCode::NOT_MODIFIED);
        let control = if is_it { caching::control(&file.path) } else { caching::LOOK_AGAIN };
        headers.insert(header::CACHE_CONTROL, control);
        if !matches!(status, StatusCode::OK | StatusCode::PARTIAL_CONTENT | StatusCode::NOT_FOUND) {
            return;
        }
        if variant.coding.is_none() && status != StatusCode::NOT_FOUND {
            headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
        }
        if let Some(coding) = variant.coding {
            headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static(coding));
        }
        if let Ok(kind) = HeaderValue::try_from(&file.content_type) {
            headers.insert(header::CONTENT_TYPE, kind);
        }
    }

    /// Returns a part of a file: from memory where it is small, and else as it is read from the disk.
    async fn content(&self, file: &FileEntry, first: u64, length: u64) -> Result<Body, Error> {
        let (deployment, files) = (self.artifact.deployment, self.files);
        if file.size <= SiteFiles::SMALL {
            let content =
                files.content(deployment, file).await.map_err(|error| not_read(deployment, error))?;
            // It has the size of its entry, and so it has the part.
            return Ok(Body::from(content.slice(first as usize..(first + length) as usize)));
        }
        let opened = files.open_file(deployment, file).await;
        let mut opened = opened.map_err(|error| not_read(deployment, error))?;
        if first > 0 {
            let sought = opened.seek(std::io::SeekFrom::Start(first)).await;
            sought.map_err(|error| Error::internal("a file of a site cannot be read").because(error))?;
        }
        let piece = usize::try_from(length).map_or(PIECE, |length| length.min(PIECE));
        Ok(Body::from_stream(ReaderStream::with_capacity(opened.take(length), piece)))
    }
}

fn range(headers: &mut HeaderMap, range: &str) {
    headers.extend(HeaderValue::try_from(range).map(|range| (header::CONTENT_RANGE, range)));
}
