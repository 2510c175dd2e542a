//! Large files beside a git server: the batch interface of Git LFS with its basic transfer, and what may go wrong with it.
//! The form of both: the API documentation of github.com/git-lfs/git-lfs, `docs/api/batch.md` and `basic-transfers.md`.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use axum::{
    body::{Body, Bytes},
    http::{HeaderMap, Response, StatusCode},
};
use serde_json::{Value, json};

/// How a server answers for one object other than it should.
#[derive(Clone, Debug)]
pub enum LfsFault {
    /// It says that it does not have it.
    Missing,
    /// It sends these bytes in its place.
    Sends(Vec<u8>),
    /// It says that it is at this address.
    At(String),
    /// Its own address redirects to this one.
    RedirectsTo(String),
    /// It begins to send it, and never goes on.
    Stalls,
}

/// The large files of a server.
#[derive(Debug)]
pub struct LfsStore {
    origin: String,
    objects: Mutex<HashMap<String, Bytes>>,
    faults: Mutex<HashMap<String, LfsFault>>,
    downloads: Mutex<Vec<HeaderMap>>,
}

impl LfsStore {
    /// Where objects are. Who asks there shows the header that the batch named.
    pub const OBJECTS: &str = "/lfs-objects/";

    /// The header that the batch tells everybody to show where objects are.
    pub const TICKET: (&str, &str) = ("x-ticket", "ticket-of-the-batch");

    pub(crate) fn new(origin: String) -> Self {
        Self { origin, objects: Mutex::default(), faults: Mutex::default(), downloads: Mutex::default() }
    }

    /// Keeps an object, whatever its id says.
    pub fn put(&self, oid: &str, bytes: &[u8]) {
        self.objects().insert(oid.to_owned(), Bytes::copy_from_slice(bytes));
    }

    /// Returns the ids of all objects.
    pub fn oids(&self) -> Vec<String> {
        self.objects().keys().cloned().collect()
    }

    /// Lets the answer for an object be wrong.
    pub fn spoil(&self, oid: &str, fault: LfsFault) {
        self.faults.lock().unwrap_or_else(PoisonError::into_inner).insert(oid.to_owned(), fault);
    }

    /// Returns the headers of all downloads so far.
    pub fn downloads(&self) -> Vec<HeaderMap> {
        self.downloads.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) async fn answer(
        &self,
        method: &str,
        path: &str,
        headers: &HeaderMap,
        sent: &Bytes,
    ) -> Response<Body> {
        match (method, path.strip_prefix(Self::OBJECTS)) {
            ("POST", None) if path.ends_with("/objects/batch") => {
                self.batch(&serde_json::from_slice(sent).unwrap_or_default())
            }
            ("PUT", Some(oid)) => {
                self.put(oid, sent);
                response(StatusCode::OK, Body::empty())
            }
            ("GET", Some(oid)) => self.download(oid, headers),
            _ => response(StatusCode::NOT_FOUND, Body::from("{\"message\":\"no such thing\"}")),
        }
    }

    fn batch(&self, request: &Value) -> Response<Body> {
        let operation = request["operation"].as_str().unwrap_or("download").to_owned();
        let wanted = request["objects"].as_array().cloned().unwrap_or_default();
        let objects: Vec<_> = wanted.iter().map(|object| self.offer(&operation, object)).collect();
        let answer = json!({"transfer": "basic", "objects": objects});
        let mut response = response(StatusCode::OK, Body::from(answer.to_string()));
        let kind = axum::http::HeaderValue::from_static("application/vnd.git-lfs+json");
        response.headers_mut().insert("content-type", kind);
        response
    }

    fn offer(&self, operation: &str, object: &Value) -> Value {
        let oid = object["oid"].as_str().unwrap_or_default();
        let there = self.objects().contains_key(oid);
        let fault = self.fault(oid);
        if operation == "download" && (!there || matches!(fault, Some(LfsFault::Missing))) {
            let error = json!({"code": 404, "message": "the object does not exist"});
            return json!({"oid": oid, "size": object["size"], "error": error});
        }
        if operation == "upload" && there {
            return json!({"oid": oid, "size": object["size"]});
        }
        let href = match fault {
            Some(LfsFault::At(address)) => address,
            _ => format!("{}{}{oid}", self.origin, Self::OBJECTS),
        };
        let (name, value) = Self::TICKET;
        let action = json!({"href": href, "header": {name: value}});
        json!({"oid": oid, "size": object["size"], "authenticated": true, "actions": {operation: action}})
    }

    fn download(&self, oid: &str, headers: &HeaderMap) -> Response<Body> {
        self.downloads.lock().unwrap_or_else(PoisonError::into_inner).push(headers.clone());
        let Some(bytes) = self.objects().get(oid).cloned() else {
            return response(StatusCode::NOT_FOUND, Body::empty());
        };
        match self.fault(oid) {
            Some(LfsFault::Sends(other)) => response(StatusCode::OK, Body::from(other)),
            Some(LfsFault::RedirectsTo(address)) => {
                let mut response = response(StatusCode::FOUND, Body::empty());
                if let Ok(location) = address.parse() {
                    response.headers_mut().insert("location", location);
                }
                response
            }
            Some(LfsFault::Stalls) => {
                let (send, body) = tokio::sync::mpsc::channel::<Result<Bytes, std::io::Error>>(1);
                let _ = send.try_send(Ok(bytes.slice(..bytes.len().min(1))));
                let body = Body::from_stream(tokio_stream::wrappers::ReceiverStream::new(body));
                // Nobody drops the sender for as long as somebody listens.
                tokio::spawn(async move { send.closed().await });
                response(StatusCode::OK, body)
            }
            Some(LfsFault::Missing | LfsFault::At(_)) | None => response(StatusCode::OK, Body::from(bytes)),
        }
    }

    fn fault(&self, oid: &str) -> Option<LfsFault> {
        self.faults.lock().unwrap_or_else(PoisonError::into_inner).get(oid).cloned()
    }

    fn objects(&self) -> std::sync::MutexGuard<'_, HashMap<String, Bytes>> {
        self.objects.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn response(code: StatusCode, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = code;
    response
}
