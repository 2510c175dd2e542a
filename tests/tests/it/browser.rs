//! The browser that tests drive, tried itself: pages that do what no page of Grapnel may do are found.

mod plain;
mod scale;
mod walk;

use axum::{
    Router,
    http::{StatusCode, Uri, header},
    response::{Html, IntoResponse, Redirect, Response},
};
use grapnel_e2e::Browser;
use serde_json::{Value, json};
use tokio::{net::TcpListener, task::JoinHandle};

/// A policy as strict as the dashboard's.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
                      require-trusted-types-for 'script'";

const STYLE: &str = ":root { color-scheme: light dark; color: CanvasText; background: Canvas } a { color: LinkText } \
                     a:focus-visible { outline: 2px solid }";

/// What `scenarios/visit.mjs` waits for stands in a page once its script ran.
const SCRIPT: &str = "document.body.append(Object.assign(document.createElement('i'), { id: 'settled' }))";

/// Pages of the test's own, at two origins. They end when dropped.
struct Pages {
    origin: String,
    other: String,
    serving: [JoinHandle<()>; 2],
}

impl Pages {
    async fn serve() -> Self {
        let [first, second] = [listener().await, listener().await];
        let [origin, other] = [&first, &second].map(|listener| {
            let address = listener.local_addr().unwrap();
            format!("http://{address}")
        });
        let serving = [(first, other.clone()), (second, origin.clone())].map(|(listener, elsewhere)| {
            let answer = move |uri: Uri| async move { answer(uri.path(), &elsewhere) };
            tokio::spawn(async move { axum::serve(listener, Router::new().fallback(answer)).await.unwrap() })
        });
        Self { origin, other, serving }
    }

    async fn visit(&self, path: &str) -> Result<Value, String> {
        let config = json!({ "url": self.origin, "path": path });
        Browser::allowed([&self.origin]).try_to_play("visit", config).await
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        self.serving.iter().for_each(JoinHandle::abort);
    }
}

async fn listener() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").await.unwrap()
}

/// Answers with a page, sound but for what its path says.
fn answer(path: &str, elsewhere: &str) -> Response {
    let fault = match path {
        "/style.css" => return ([(header::CONTENT_TYPE, "text/css")], STYLE).into_response(),
        "/script.js" => return ([(header::CONTENT_TYPE, "text/javascript")], SCRIPT).into_response(),
        // Browsers ask for it where a page names no icon.
        "/favicon.ico" => return StatusCode::NO_CONTENT.into_response(),
        "/away" => return Redirect::temporary(&format!("{elsewhere}/style.css")).into_response(),
        "/sound" => String::new(),
        "/name" => "<link rel=stylesheet href='http://elsewhere.example/style.css'>".to_owned(),
        "/port" => format!("<link rel=stylesheet href='{elsewhere}/style.css'>"),
        "/redirect" => "<link rel=stylesheet href='/away'>".to_owned(),
        "/inline" => "<script>document.title = 'changed'</script>".to_owned(),
        "/console" => "<script src='/lost.js'></script>".to_owned(),
        "/unnamed" => "<input>".to_owned(),
        "/wide" => "<pre style='width: 900px'>wide</pre>".to_owned(),
        _ => return (StatusCode::NOT_FOUND, "there is nothing").into_response(),
    };
    let page = format!(
        "<!doctype html><html lang=en><title>A page</title><meta name=viewport content='width=device-width'>\
         <link rel=stylesheet href='/style.css'><body><main><h1>A page</h1>\
         <a href='/'>Home</a>{fault}</main><script src='/script.js'></script>"
    );
    let page = Html(page);
    // Where it is the browser that has to find it, no policy may hold it back before.
    match path {
        "/sound" | "/inline" => ([(header::CONTENT_SECURITY_POLICY, POLICY)], page).into_response(),
        _ => page.into_response(),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sound_page_is_visited_under_a_strict_policy() {
    let pages = Pages::serve().await;
    let pictures = tempfile::tempdir().unwrap();
    let browser = Browser::allowed([&pages.origin]).pictures(pictures.path());
    let told = browser.play("visit", json!({ "url": pages.origin, "path": "/sound" })).await;
    assert_eq!(told, json!({ "heading": "A page", "missing": 404 }));
    let picture = std::fs::read(pictures.path().join("visit.png")).unwrap();
    assert!(picture.starts_with(b"\x89PNG"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_scenario_fails_on_a_request_elsewhere() {
    let pages = Pages::serve().await;
    for (path, asked) in [
        ("/name", "http://elsewhere.example/style.css".to_owned()),
        ("/port", format!("{}/style.css", pages.other)),
        ("/redirect", format!("{}/style.css", pages.other)),
    ] {
        let story = pages.visit(path).await.expect_err(path);
        assert!(story.contains(&format!("* a request elsewhere: {asked} (stylesheet)")), "{path}: {story}");
    }
    let both = Browser::allowed([&pages.origin, &pages.other]);
    both.play("visit", json!({ "url": pages.origin, "path": "/redirect" })).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_scenario_fails_on_what_the_browser_complains_of() {
    let pages = Pages::serve().await;
    for (path, complaint) in [
        ("/inline", "Content-Security-Policy: script-src-elem forbids inline"),
        ("/console", "* the console: Failed to load resource: the server responded with a status of 404"),
    ] {
        let story = pages.visit(path).await.expect_err(path);
        assert!(story.contains(complaint), "{path}: {story}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_that_not_everybody_can_use_is_found() {
    let pages = Pages::serve().await;
    for (path, found) in
        [("/unnamed", "light: label (Form elements must have labels)"), ("/wide", "does not fit 360 pixels")]
    {
        let story = pages.visit(path).await.expect_err(path);
        assert!(
            story.contains(found) && story.contains("It failed at “try the page in every way”"),
            "{story}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_scenario_that_expects_something_else_says_what_it_found() {
    let pages = Pages::serve().await;
    let config = json!({ "url": pages.origin, "path": "/sound", "heading": "Another page" });
    let story = Browser::allowed([&pages.origin]).try_to_play("visit", config).await.unwrap_err();
    assert!(story.contains("It failed at “read it with scripts off”"), "{story}");
    assert!(story.contains("'Another page'"), "{story}");
}
