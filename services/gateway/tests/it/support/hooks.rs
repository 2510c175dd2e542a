//! A hooks service that says what a test tells it to. It has keys and sessions by itself.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    response::{IntoResponse as _, Response},
};
use futures_util::{FutureExt as _, future::BoxFuture, stream::BoxStream};
use grapnel_domain::{Error, Reason, secret_token::ApiKey};
use grapnel_proto::{
    error::to_status,
    hooks::v1::{
        CreateSessionRequest, CreateSessionResponse, DeleteSessionRequest, DeleteSessionResponse,
        GetSessionRequest, GetSessionResponse, Session,
    },
};
use http::{HeaderMap, header};
use prost_types::Timestamp;
use tokio::net::TcpListener;
use tonic::{Status, server::Grpc};
use tonic_prost::ProstCodec;

/// When sessions of the fake end: far from now.
const END: i64 = 4_102_444_800;

type Answer = Arc<dyn Fn(Request) -> BoxFuture<'static, Response> + Send + Sync>;
type Answers = Arc<Mutex<HashMap<String, Answer>>>;

/// The service. Clones are the same one.
#[derive(Clone)]
pub struct FakeHooks {
    /// Where it is.
    pub url: String,
    answers: Answers,
    people: Arc<Mutex<People>>,
    asked: Arc<Mutex<Vec<(String, String)>>>,
}

/// Keys by their text, and the keys of sessions by the sessions' secrets.
#[derive(Default)]
struct People {
    keys: HashMap<String, Session>,
    sessions: HashMap<String, String>,
}

impl FakeHooks {
    /// Starts it.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let fake = Self { url, answers: Arc::default(), people: Arc::default(), asked: Arc::default() };
        fake.answer_sessions();
        let router = Router::new().fallback(dispatched).with_state(fake.clone());
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        fake
    }

    /// Answers a method, such as `HookService/ListProjects`, from now on.
    pub fn answer<Q, A>(&self, method: &str, with: impl Fn(Q) -> Result<A, Error> + Send + Sync + 'static)
    where
        Q: prost::Message + Default + Send + 'static,
        A: prost::Message + Send + Sync + Default + 'static,
    {
        self.answer_whom(method, move |request, _| with(request));
    }

    /// As [`FakeHooks::answer`]; `with` gets what was shown, too.
    pub fn answer_whom<Q, A>(
        &self,
        method: &str,
        with: impl Fn(Q, &str) -> Result<A, Error> + Send + Sync + 'static,
    ) where
        Q: prost::Message + Default + Send + 'static,
        A: prost::Message + Send + Sync + Default + 'static,
    {
        let with = Arc::new(with);
        let answer: Answer = Arc::new(move |request| {
            let with = with.clone();
            async move {
                let shown = shown(request.headers());
                let service = tower::service_fn(move |asked: tonic::Request<Q>| {
                    let answered = with(asked.into_inner(), &shown);
                    std::future::ready(answered.map(tonic::Response::new).map_err(|error| to_status(&error)))
                });
                Grpc::new(ProstCodec::<A, Q>::default()).unary(service, request).await.map(Body::new)
            }
            .boxed()
        });
        self.answers.lock().unwrap().insert(method.to_owned(), answer);
    }

    /// Answers a method that streams, from now on.
    pub fn stream<Q, A>(
        &self,
        method: &str,
        with: impl Fn(Q) -> Result<BoxStream<'static, Result<A, Status>>, Error> + Send + Sync + 'static,
    ) where
        Q: prost::Message + Default + Send + 'static,
        A: prost::Message + Send + Sync + Default + 'static,
    {
        let with = Arc::new(with);
        let answer: Answer = Arc::new(move |request| {
            let with = with.clone();
            async move {
                let service = tower::service_fn(move |asked: tonic::Request<Q>| {
                    let answered = with(asked.into_inner());
                    std::future::ready(answered.map(tonic::Response::new).map_err(|error| to_status(&error)))
                });
                Grpc::new(ProstCodec::<A, Q>::default())
                    .server_streaming(service, request)
                    .await
                    .map(Body::new)
            }
            .boxed()
        });
        self.answers.lock().unwrap().insert(method.to_owned(), answer);
    }

    /// Makes a key of the team.
    pub fn key(&self, scopes: &[&str]) -> String {
        let key = ApiKey::generate(&mut rand::rng());
        let session = Session {
            team_id: "team_01h455vb4pex5vsknk084sn02q".into(),
            team_name: "Harbour".into(),
            plan: "hobby".into(),
            key_name: "desk".into(),
            key_last_four: key.last_four().into(),
            scopes: scopes.iter().map(ToString::to_string).collect(),
            expires_at: Some(Timestamp { seconds: END, nanos: 0 }),
            ..Default::default()
        };
        self.people.lock().unwrap().keys.insert(key.expose().to_owned(), session);
        key.expose().to_owned()
    }

    /// Changes what is said of whoever shows a key.
    pub fn describe(&self, key: &str, change: impl FnOnce(&mut Session)) {
        change(self.people.lock().unwrap().keys.get_mut(key).unwrap());
    }

    /// Revokes every key: the sessions end with them.
    pub fn revoke_all(&self) {
        self.people.lock().unwrap().keys.clear();
    }

    /// Returns how many sessions are open.
    pub fn sessions(&self) -> usize {
        self.people.lock().unwrap().sessions.len()
    }

    /// Returns the methods that were asked for.
    pub fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().iter().map(|(method, _)| method.clone()).collect()
    }

    /// Returns the methods that were asked for without a key or a session.
    pub fn asked_as_nobody(&self) -> Vec<String> {
        let asked = self.asked.lock().unwrap();
        asked.iter().filter(|(_, shown)| shown.is_empty()).map(|(method, _)| method.clone()).collect()
    }

    fn answer_sessions(&self) {
        let people = self.people.clone();
        self.answer_whom("SessionService/CreateSession", move |_: CreateSessionRequest, shown| {
            let mut people = people.lock().unwrap();
            let session = people.keys.get(shown).cloned().ok_or_else(unknown)?;
            let secret =
                format!("grs_{}", ApiKey::generate(&mut rand::rng()).expose().trim_start_matches("gra_"));
            people.sessions.insert(secret.clone(), shown.to_owned());
            Ok(CreateSessionResponse { session: Some(session), secret })
        });
        let people = self.people.clone();
        self.answer_whom("SessionService/GetSession", move |_: GetSessionRequest, shown| {
            let people = people.lock().unwrap();
            let key = people.sessions.get(shown).ok_or_else(unknown)?;
            Ok(GetSessionResponse { session: Some(people.keys.get(key).cloned().ok_or_else(unknown)?) })
        });
        let people = self.people.clone();
        self.answer_whom("SessionService/DeleteSession", move |_: DeleteSessionRequest, shown| {
            let ended = people.lock().unwrap().sessions.remove(shown);
            ended.map(|_| DeleteSessionResponse {}).ok_or_else(unknown)
        });
    }
}

async fn dispatched(State(fake): State<FakeHooks>, request: Request) -> Response {
    let method = request.uri().path().trim_start_matches("/grapnel.hooks.v1.").to_owned();
    fake.asked.lock().unwrap().push((method.clone(), shown(request.headers())));
    let answer = fake.answers.lock().unwrap().get(&method).cloned();
    match answer {
        Some(answer) => answer(request).await,
        None => Status::unimplemented(format!("the test says nothing of {method}"))
            .into_http::<Body>()
            .into_response(),
    }
}

fn shown(headers: &HeaderMap) -> String {
    let shown = headers.get(header::AUTHORIZATION).map(|value| value.to_str().unwrap().to_owned());
    shown.unwrap_or_default().trim_start_matches("Bearer ").to_owned()
}

fn unknown() -> Error {
    Error::new(Reason::KeyInvalid, "the key is unknown or revoked")
}
