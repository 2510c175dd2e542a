//! What readers of a site get.

use reqwest::{Method, StatusCode};

use crate::served::{SITE, Served, header};

const LOOK_AGAIN: &str = "public, max-age=0, must-revalidate";
const FOR_EVER: &str = "public, max-age=31536000, immutable";

/// Content that tells its places apart, longer than what is kept in memory.
fn large() -> Vec<u8> {
    (0..700_001_u32).map(|n| (n % 251) as u8).collect()
}

#[tokio::test]
async fn pages_have_clean_addresses_and_directories_end_with_a_slash() {
    let files: [(&str, &[u8]); 4] = [
        ("index.html", b"home"),
        ("about.html", b"about"),
        ("docs/index.html", b"docs"),
        ("docs/a guide.html", b"guide"),
    ];
    let served = Served::with(&files).await;
    for (path, content) in [
        ("/", "home"),
        ("/?a=b", "home"),
        ("/about", "about"),
        ("/about.html", "about"),
        ("/docs/", "docs"),
        ("/docs/index.html", "docs"),
        ("/docs/a%20guide", "guide"),
    ] {
        let answer = served.read(path).await;
        assert_eq!(answer.status(), StatusCode::OK, "{path}");
        assert_eq!(header(&answer, "content-type"), Some("text/html; charset=utf-8"), "{path}");
        assert_eq!(answer.text().await.unwrap(), content, "{path}");
    }
    for (path, to) in [
        ("/docs", "/docs/"),
        ("/docs?a=b&c=%2F", "/docs/?a=b&c=%2F"),
        ("/about/", "/about"),
        ("/about/?x", "/about?x"),
        ("/docs/a%20guide/", "/docs/a%20guide"),
    ] {
        let answer = served.read(path).await;
        assert_eq!(answer.status(), StatusCode::PERMANENT_REDIRECT, "{path}");
        assert_eq!(header(&answer, "location"), Some(to), "{path}");
        assert_eq!(header(&answer, "cache-control"), Some(LOOK_AGAIN), "the next deployment may differ");
    }
    assert_eq!(served.read("/docs/other").await.status(), StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_file_has_its_type_its_tag_and_how_long_it_may_be_kept() {
    let large = large();
    let files: [(&str, &[u8]); 5] = [
        ("index.html", b"home"),
        ("assets/index-DwXy3_a1.js", b"let a"),
        ("feed.rss", b"<rss/>"),
        ("empty.txt", b""),
        ("film.mp4", &large),
    ];
    let served = Served::with(&files).await;
    for (path, kind, keep) in [
        ("/", "text/html; charset=utf-8", LOOK_AGAIN),
        ("/assets/index-DwXy3_a1.js", "text/javascript; charset=utf-8", FOR_EVER),
        ("/feed.rss", "application/rss+xml; charset=utf-8", LOOK_AGAIN),
        ("/empty.txt", "text/plain; charset=utf-8", LOOK_AGAIN),
        ("/film.mp4", "video/mp4", LOOK_AGAIN),
    ] {
        let answer = served.read(path).await;
        let head = served.request_of(SITE, Method::HEAD, path).send().await.unwrap();
        for answer in [&answer, &head] {
            assert_eq!(answer.status(), StatusCode::OK, "{path}");
            assert_eq!(header(answer, "content-type"), Some(kind));
            assert_eq!(header(answer, "cache-control"), Some(keep));
            assert_eq!(header(answer, "accept-ranges"), Some("bytes"));
            assert_eq!(header(answer, "x-content-type-options"), Some("nosniff"));
            for none in ["set-cookie", "vary", "content-encoding", "last-modified", "location"] {
                assert_eq!(header(answer, none), None, "{path}");
            }
        }
        assert_eq!(header(&head, "etag"), header(&answer, "etag"));
        assert_eq!(header(&head, "content-length"), header(&answer, "content-length"));
        let length: usize = header(&answer, "content-length").unwrap().parse().unwrap();
        let tag = header(&answer, "etag").unwrap().to_owned();
        let content = answer.bytes().await.unwrap();
        assert_eq!(content.len(), length);
        assert_eq!(tag.len(), "\"\"".len() + 64, "{tag}");
        let name = path.trim_start_matches('/');
        let expected = files.iter().find(|file| file.0 == name).map_or(&b"home"[..], |file| file.1);
        assert!(content == expected, "{path}");
        assert!(head.bytes().await.unwrap().is_empty());
    }
}

#[tokio::test]
async fn what_the_reader_has_is_not_sent_again() {
    let served = Served::with(&[("index.html", b"home"), ("assets/a-DwXy3_a1.css", b"a{}")]).await;
    for (path, keep) in [("/", LOOK_AGAIN), ("/assets/a-DwXy3_a1.css", FOR_EVER)] {
        let tag = header(&served.read(path).await, "etag").unwrap().to_owned();
        for known in [tag.clone(), format!("W/{tag}"), format!("\"other\", {tag}"), "*".into()] {
            for method in [Method::GET, Method::HEAD] {
                let request = served.request_of(SITE, method, path).header("if-none-match", &known);
                let answer = request.send().await.unwrap();
                assert_eq!(answer.status(), StatusCode::NOT_MODIFIED, "{known}");
                assert_eq!(header(&answer, "etag"), Some(tag.as_str()));
                assert_eq!(header(&answer, "cache-control"), Some(keep));
            }
        }
        let other = served.get(path).header("if-none-match", "\"other\"").send().await.unwrap();
        assert_eq!(other.status(), StatusCode::OK);
        let failed = served.get(path).header("if-match", "\"other\"").send().await.unwrap();
        assert_eq!(failed.status(), StatusCode::PRECONDITION_FAILED);
        let held = served.get(path).header("if-match", &tag).send().await.unwrap();
        assert_eq!(held.status(), StatusCode::OK);
    }
    let missing = served.get("/nothing").header("if-none-match", "*").send().await.unwrap();
    assert_eq!(missing.status(), StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_part_is_sent_of_small_files_and_of_large_ones() {
    let large = large();
    let served = Served::with(&[("small.bin", b"0123456789"), ("large.bin", &large)]).await;
    for (path, content) in [("/small.bin", &b"0123456789"[..]), ("/large.bin", &large[..])] {
        let size = content.len();
        let tag = header(&served.read(path).await, "etag").unwrap().to_owned();
        for (range, from, to) in [
            ("bytes=0-0".to_owned(), 0, 1),
            ("bytes=3-6".into(), 3, 7),
            ("bytes=4-".into(), 4, size),
            ("bytes=-2".into(), size - 2, size),
            (format!("bytes=5-{}", size + 100), 5, size),
        ] {
            let answer =
                served.get(path).header("range", &range).header("if-range", &tag).send().await.unwrap();
            assert_eq!(answer.status(), StatusCode::PARTIAL_CONTENT, "{range}");
            let told = format!("bytes {from}-{}/{size}", to - 1);
            assert_eq!(header(&answer, "content-range"), Some(told.as_str()));
            assert_eq!(header(&answer, "content-length"), Some((to - from).to_string().as_str()));
            assert_eq!(header(&answer, "etag"), Some(tag.as_str()));
            assert!(answer.bytes().await.unwrap() == content[from..to], "{range}");
        }
        let beyond = format!("bytes={size}-");
        for range in [beyond.as_str(), "bytes=0-1,4-5", "bytes=x", "bytes=2-1", "bytes=-0"] {
            let answer = served.get(path).header("range", range).send().await.unwrap();
            assert_eq!(answer.status(), StatusCode::RANGE_NOT_SATISFIABLE, "{range}");
            assert_eq!(header(&answer, "content-range"), Some(format!("bytes */{size}").as_str()));
            assert_eq!(header(&answer, "cache-control"), Some(LOOK_AGAIN));
            assert!(answer.bytes().await.unwrap().is_empty());
        }
        // Another edition, another unit, another method: all of it.
        let other = served.get(path).header("range", "bytes=0-0").header("if-range", "\"other\"");
        let unit = served.get(path).header("range", "lines=0-0");
        for request in [other, unit] {
            let answer = request.send().await.unwrap();
            assert_eq!(answer.status(), StatusCode::OK);
            assert!(answer.bytes().await.unwrap() == *content);
        }
        let head = served.request_of(SITE, Method::HEAD, path).header("range", "bytes=0-0");
        let head = head.send().await.unwrap();
        assert_eq!(head.status(), StatusCode::OK);
        assert_eq!(header(&head, "content-length"), Some(size.to_string().as_str()));
    }
}

#[tokio::test]
async fn what_a_build_has_compressed_is_sent_to_whoever_takes_it() {
    let served = Served::with(&[
        ("app.js", b"the longest of all"),
        ("app.js.br", b"brotli"),
        ("app.js.gz", b"gzipped!"),
        ("app.js.zst", b"zstd..."),
        ("plain.js", b"plain"),
        ("404.html", b"not here"),
        ("404.html.gz", b"gz404"),
    ])
    .await;
    let mut tags = std::collections::BTreeSet::new();
    for (accept, coding, content) in [
        ("gzip, br, zstd", Some("br"), "brotli"),
        ("gzip, zstd", Some("zstd"), "zstd..."),
        ("gzip", Some("gzip"), "gzipped!"),
        ("br;q=0.1, gzip;q=0.2", Some("gzip"), "gzipped!"),
        ("identity", None, "the longest of all"),
        ("br;q=0", None, "the longest of all"),
    ] {
        let answer = served.get("/app.js").header("accept-encoding", accept).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
        assert_eq!(header(&answer, "content-encoding"), coding, "{accept}");
        assert_eq!(header(&answer, "vary"), Some("accept-encoding"));
        assert_eq!(header(&answer, "content-type"), Some("text/javascript; charset=utf-8"));
        assert_eq!(header(&answer, "content-length"), Some(content.len().to_string().as_str()));
        let tag = header(&answer, "etag").unwrap().to_owned();
        assert_eq!(tag.starts_with("W/"), coding.is_some());
        assert_eq!(answer.text().await.unwrap(), content);
        let request = served.get("/app.js").header("accept-encoding", accept);
        let known = request.header("if-none-match", &tag).send().await.unwrap();
        assert_eq!(known.status(), StatusCode::NOT_MODIFIED);
        assert_eq!(header(&known, "vary"), Some("accept-encoding"));
        assert_eq!(header(&known, "etag"), Some(tag.as_str()));
        tags.insert(tag);
    }
    assert_eq!(tags.len(), 4, "each has a tag of its own");
    for tag in &tags {
        let request = served.get("/app.js").header("if-none-match", tag);
        let is_known = request.send().await.unwrap().status() == StatusCode::NOT_MODIFIED;
        assert_eq!(is_known, !tag.starts_with("W/"), "who has another one is sent this one");
    }
    // A part is one of the file as it is.
    let request = served.get("/app.js").header("accept-encoding", "br").header("range", "bytes=4-10");
    let part = request.send().await.unwrap();
    assert_eq!((part.status(), header(&part, "content-encoding")), (StatusCode::PARTIAL_CONTENT, None));
    assert_eq!(part.text().await.unwrap(), "longest");

    let alone = served.get("/plain.js").header("accept-encoding", "br").send().await.unwrap();
    assert_eq!((header(&alone, "vary"), header(&alone, "content-encoding")), (None, None));
    let itself = served.get("/app.js.gz").header("accept-encoding", "gzip").send().await.unwrap();
    assert_eq!(header(&itself, "content-encoding"), None);
    assert_eq!(header(&itself, "content-type"), Some("application/gzip"));
    let missing = served.get("/nothing").header("accept-encoding", "gzip").send().await.unwrap();
    assert_eq!(
        (missing.status(), header(&missing, "content-encoding")),
        (StatusCode::NOT_FOUND, Some("gzip"))
    );
    assert_eq!(missing.text().await.unwrap(), "gz404");
}

#[tokio::test]
async fn a_site_has_its_own_page_for_what_is_not_there() {
    let served = Served::with(&[("404.html", b"nothing is moored here")]).await;
    for path in ["/", "/nothing", "/assets/a-DwXy3_a1.js", "/docs/"] {
        for method in [Method::GET, Method::HEAD] {
            let request = served.request_of(SITE, method.clone(), path).header("range", "bytes=0-0");
            let answer = request.send().await.unwrap();
            assert_eq!(answer.status(), StatusCode::NOT_FOUND, "{path}");
            assert_eq!(header(&answer, "content-type"), Some("text/html; charset=utf-8"));
            assert_eq!(header(&answer, "cache-control"), Some(LOOK_AGAIN), "it may come");
            assert_eq!((header(&answer, "etag"), header(&answer, "content-range")), (None, None));
            let expected = if method == Method::GET { "nothing is moored here" } else { "" };
            assert_eq!(answer.text().await.unwrap(), expected);
        }
    }
    assert_eq!(served.read("/404").await.status(), StatusCode::OK);
    let bare = Served::with(&[("a.txt", b"a")]).await;
    let answer = bare.read("/nothing").await;
    assert_eq!(answer.status(), StatusCode::NOT_FOUND);
    assert!(header(&answer, "content-security-policy").unwrap().contains("default-src 'none'"));
    assert!(answer.text().await.unwrap().contains("There is no such page"));
}

#[tokio::test]
async fn sites_are_only_read() {
    let served = Served::with(&[("index.html", b"home")]).await;
    for method in ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "PROPFIND", "get"] {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        let answer = served.request_of(SITE, method.clone(), "/").body("x").send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::METHOD_NOT_ALLOWED, "{method}");
        assert_eq!(header(&answer, "allow"), Some("GET, HEAD"));
        assert_eq!(header(&answer, "x-content-type-options"), Some("nosniff"));
        for none in ["access-control-allow-origin", "set-cookie"] {
            assert_eq!(header(&answer, none), None);
        }
    }
    for line in ["OPTIONS * HTTP/1.1", "CONNECT site.localhost:80 HTTP/1.1"] {
        let request = format!("{line}\r\nhost: site.localhost\r\nconnection: close\r\n\r\n");
        let answer = served.raw(request.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 405 "), "{line}: {answer}");
    }
    assert_eq!(served.read("/").await.text().await.unwrap(), "home");
}

#[tokio::test]
async fn a_reader_who_leaves_in_the_middle_of_a_large_file_harms_nobody() {
    let large = large();
    let served = Served::with(&[("large.bin", &large)]).await;
    for _ in 0..20 {
        let mut answer = served.read("/large.bin").await;
        assert!(answer.chunk().await.unwrap().is_some());
    }
    assert!(served.read("/large.bin").await.bytes().await.unwrap() == large);
}
