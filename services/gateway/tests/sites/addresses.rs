//! Which deployment an address serves, and what is said where it serves none.

use std::{fs, time::Duration};

use futures_util::future::join_all;
use grapnel_domain::Reason;
use reqwest::{Method, Response, StatusCode};

use crate::served::{SITE, Served, header};

/// How long anything may take on a machine that has a lot to do.
const PATIENCE: Duration = Duration::from_secs(60);

/// Reads a path until the answer is the one that is waited for.
async fn until(served: &Served, label: &str, path: &str, is_it: impl Fn(&Response) -> bool) -> Response {
    let waiting = async {
        loop {
            let answer = served.request_of(label, Method::GET, path).send().await.unwrap();
            if is_it(&answer) {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.expect("the answer comes")
}

#[tokio::test]
async fn an_address_follows_promotion_and_rollback_and_deployments_keep_their_own() {
    let served = Served::start().await;
    let (one, two) =
        (served.publish(&[("index.html", b"one")]).await, served.publish(&[("index.html", b"two")]).await);
    for (label, id) in [(SITE, one), ("site--main", one), ("site--next", two)] {
        served.say(label, Ok(id));
    }
    for id in [one, two] {
        served.say(&id.to_string(), Ok(id));
    }
    let text = async |label: &str| {
        served.request_of(label, Method::GET, "/").send().await.unwrap().text().await.unwrap()
    };
    assert_eq!([text(SITE).await, text("site--main").await, text("site--next").await], ["one", "one", "two"]);
    let tags = [one, two].map(async |id| {
        let answer = served.request_of(&id.to_string(), Method::GET, "/").send().await.unwrap();
        header(&answer, "etag").unwrap().to_owned()
    });
    let [first, second] = tags;
    let (first, second) = (first.await, second.await);
    for (id, tag) in [(two, second), (one, first)] {
        served.say(SITE, Ok(id));
        until(&served, SITE, "/", |answer| header(answer, "etag") == Some(&tag)).await;
    }
    assert_eq!([text(&one.to_string()).await, text(&two.to_string()).await], ["one", "two"]);
}

#[tokio::test]
async fn a_removed_deployment_is_gone_even_where_its_files_are_kept_in_memory() {
    let served = Served::start().await;
    let id = served.publish(&[("index.html", b"home")]).await;
    let label = id.to_string();
    served.say(&label, Ok(id));
    let read = served.request_of(&label, Method::GET, "/").send().await.unwrap();
    assert_eq!(read.text().await.unwrap(), "home");
    served.say(&label, Err(Reason::ArtifactRemoved));
    let gone = until(&served, &label, "/", |answer| answer.status() == StatusCode::GONE).await;
    assert_eq!(header(&gone, "cache-control"), Some("no-store"));
    assert!(gone.text().await.unwrap().contains("were removed"));
    // A path of it that never was there is gone just so.
    let other = served.request_of(&label, Method::GET, "/other").send().await.unwrap();
    assert_eq!(other.status(), StatusCode::GONE);
}

#[tokio::test]
async fn many_readers_at_once_ask_once() {
    let served = Served::with(&[("index.html", b"home")]).await;
    let readers = (0..200).map(|_| served.read("/"));
    for answer in join_all(readers).await {
        assert_eq!(answer.text().await.unwrap(), "home");
    }
    // Once a second at most, however long it took.
    assert!(served.asked() < 100, "{} questions", served.asked());
}

#[tokio::test]
async fn what_cannot_be_served_is_said_on_a_page() {
    let served = Served::start().await;
    let lost = served.publish(&[("index.html", b"lost")]).await;
    fs::remove_dir_all(served.files(lost).parent().unwrap()).unwrap();
    served.say("lost", Ok(lost));
    served.say("away", Err(Reason::HooksUnavailable));
    served.say("broken", Err(Reason::Internal));
    for (label, status, says, retry) in [
        ("nothing", 404, "No site is served at nothing.localhost.", None),
        ("lost", 404, "missing, though it is READY", None),
        ("away", 503, "Try again in a moment", Some("5")),
        ("broken", 500, "not your fault", None),
    ] {
        let answer = served.request_of(label, Method::GET, "/").send().await.unwrap();
        assert_eq!(answer.status().as_u16(), status, "{label}");
        assert_eq!(header(&answer, "retry-after"), retry);
        assert_eq!(header(&answer, "content-type"), Some("text/html; charset=utf-8"));
        assert_eq!(header(&answer, "cache-control"), Some("no-store"), "it may be otherwise in a moment");
        assert!(header(&answer, "content-security-policy").unwrap().contains("frame-ancestors 'none'"));
        let page = answer.text().await.unwrap();
        assert!(page.contains(says), "{page}");
        let head = served.request_of(label, Method::HEAD, "/").send().await.unwrap();
        assert_eq!(head.status().as_u16(), status);
        assert!(head.text().await.unwrap().is_empty());
    }
}

#[tokio::test]
async fn a_file_that_is_not_what_was_published_is_not_served() {
    let large = vec![1; 300 << 10];
    let served = Served::start().await;
    let files: [(&str, &[u8]); 4] =
        [("a.txt", b"abc"), ("b.txt", b"bcd"), ("gone.txt", b"gone"), ("large.bin", &large)];
    let id = served.publish(&files).await;
    served.say(SITE, Ok(id));
    let at = served.files(id);
    fs::write(at.join("a.txt"), "xyz").unwrap();
    fs::write(at.join("large.bin"), "short").unwrap();
    fs::remove_file(at.join("gone.txt")).unwrap();
    assert_eq!(served.read("/a.txt").await.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(served.read("/large.bin").await.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(served.read("/gone.txt").await.status(), StatusCode::GONE);
    assert_eq!(served.read("/b.txt").await.text().await.unwrap(), "bcd");
}
