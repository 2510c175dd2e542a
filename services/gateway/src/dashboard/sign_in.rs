//! `/login` and `/logout`.

use askama::Template;
use axum::{
    Router,
    extract::State,
    response::{IntoResponse as _, Redirect, Response},
    routing::{get, post},
};
use grapnel_domain::{Error, ErrorCode, secret_token::ApiKey};
use grapnel_proto::{
    convert::time::datetime,
    hooks::v1::{CreateSessionRequest, CreateSessionResponse, DeleteSessionRequest, GetSessionRequest},
};
use http::{HeaderMap, HeaderValue, StatusCode, header};

use super::{
    forms::{Asked, Posted, Unsigned},
    links, notice,
    page::{self, Frame},
    page_error::PageError,
    session,
};
use crate::{error::status_of, hooks_client::answered_to_people as answered, server::Interface};

/// How long a browser keeps the cookie of a session whose end is not said, in seconds.
const A_DAY: i64 = 24 * 60 * 60;

/// The routes.
pub fn routes() -> Router<Interface> {
    Router::new().route("/login", get(show).post(sign_in)).route("/logout", post(sign_out))
}

#[derive(Template)]
#[template(path = "login.html")]
struct LoginPage {
    frame: Frame,
    /// Where to go on to.
    next: String,
    /// Why the key does not open anything; empty before one was typed.
    problem: String,
}

fn login_page(status: StatusCode, next: &str, notice: Option<&'static str>, problem: String) -> Response {
    let mut frame = Frame::signed_out("Sign in");
    frame.notice = notice;
    page::shown(status, &LoginPage { frame, next: next.to_owned(), problem })
}

/// `GET /login`
async fn show(State(interface): State<Interface>, headers: HeaderMap, Asked(asked): Asked) -> Response {
    let next = links::local(asked.get("next")).unwrap_or_default();
    if let Some(secret) = session::shown(&headers, session::is_secure(&interface)) {
        let caller = session::as_session(&interface, secret);
        if answered(caller.sessions().get_session(GetSessionRequest {})).await.is_ok() {
            return onwards(next);
        }
    }
    login_page(StatusCode::OK, next, notice::text(asked.get(notice::PARAMETER)), String::new())
}

/// `POST /login`: a key comes in, and the cookie of a session that was not there before goes out.
async fn sign_in(
    State(interface): State<Interface>,
    headers: HeaderMap,
    Unsigned(form): Unsigned,
) -> Response {
    let next = links::local(form.get("next")).unwrap_or_default();
    let opened = match ApiKey::parse(form.get("key")) {
        Ok(key) => open(&interface, &key).await,
        Err(_) => {
            let problem =
                "This is not a key. A key begins with gra_ and has 42 characters; check that it is whole.";
            return login_page(StatusCode::UNPROCESSABLE_ENTITY, next, None, problem.to_owned());
        }
    };
    let opened = match opened {
        Ok(opened) => opened,
        Err(error) if error.code() == ErrorCode::Unauthenticated => {
            let problem =
                "No team has this key. It may have been revoked; ask whoever gave it to you for another.";
            return login_page(StatusCode::UNAUTHORIZED, next, None, problem.to_owned());
        }
        Err(error) if error.code() == ErrorCode::Unavailable => {
            let problem = "Nobody can sign in at the moment: the hooks service does not answer. Try again in a few seconds.";
            return login_page(status_of(error.reason), next, None, problem.to_owned());
        }
        Err(error) => return PageError::from(error).into_response(),
    };
    let secure = session::is_secure(&interface);
    // What this browser was before is over: a session is of one person's one sign-in.
    if let Some(before) = session::shown(&headers, secure) {
        end(&interface, before).await;
    }
    with_cookie(onwards(next), kept(&interface, &opened))
}

async fn open(interface: &Interface, key: &ApiKey) -> Result<CreateSessionResponse, Error> {
    let mut shown = HeaderValue::try_from(format!("Bearer {}", key.expose())).map_err(Error::internal)?;
    shown.set_sensitive(true);
    let caller = interface.hooks.as_caller(Some(&shown));
    let opened = answered(caller.sessions().create_session(CreateSessionRequest {})).await?;
    let usable = session::is_secret(&opened.secret);
    if usable {
        Ok(opened)
    } else {
        Err(Error::internal("the hooks service opened a session without a secret"))
    }
}

/// Returns the cookie of a session, kept as long as the session lives.
fn kept(interface: &Interface, opened: &CreateSessionResponse) -> Option<HeaderValue> {
    let ends = opened.session.as_ref().and_then(|session| datetime(session.expires_at.as_ref()));
    let seconds = ends.map_or(A_DAY, |at| (at - interface.clock.now()).num_seconds().max(1));
    session::cookie(session::is_secure(interface), &opened.secret, seconds)
}

/// `POST /logout`: the session is over, whoever has its cookie.
async fn sign_out(State(interface): State<Interface>, posted: Posted) -> Result<Response, PageError> {
    answered(posted.signed_in.caller.sessions().delete_session(DeleteSessionRequest {})).await?;
    let signed_out = links::with_query(&links::login(), &[(notice::PARAMETER, "signed-out")]);
    let forgotten = session::forgotten(session::is_secure(&interface));
    Ok(with_cookie(Redirect::to(&signed_out).into_response(), Some(forgotten)))
}

async fn end(interface: &Interface, secret: &str) {
    let caller = session::as_session(interface, secret);
    // One that is over already is no matter; one that cannot be reached ends by itself.
    if let Err(error) = answered(caller.sessions().delete_session(DeleteSessionRequest {})).await {
        tracing::debug!(reason = %error.reason, "an earlier session is not ended");
    }
}

fn onwards(next: &str) -> Response {
    let home = links::projects();
    Redirect::to(if next.is_empty() { &home } else { next }).into_response()
}

fn with_cookie(mut response: Response, cookie: Option<HeaderValue>) -> Response {
    if let Some(cookie) = cookie {
        response.headers_mut().insert(header::SET_COOKIE, cookie);
    }
    response
}
