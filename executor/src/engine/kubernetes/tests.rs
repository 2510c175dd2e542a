use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};

use super::*;
use crate::engine::SandboxLimits;

/// What an API server answers to one request; nothing is a line that breaks after it has heard all.
type Answer = Option<(u16, &'static str)>;

/// Starts what answers requests with what is listed, one after the other, and counts them.
async fn server(answers: &'static [Answer]) -> (SocketAddr, &'static AtomicUsize) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let heard: &'static AtomicUsize = Box::leak(Box::default());
    tokio::spawn(async move {
        for answer in answers {
            let (mut stream, _) = listener.accept().await.unwrap();
            let (mut request, mut buffer) = (Vec::new(), [0; 4096]);
            while !is_whole(&request) {
                let length = stream.read(&mut buffer).await.unwrap();
                request.extend_from_slice(&buffer[..length]);
            }
            heard.fetch_add(1, Ordering::Relaxed);
            let Some((code, reason)) = answer else { continue };
            let body = serde_json::json!({
                "kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": reason,
                "message": reason,
            });
            let body = body.to_string();
            let head = format!(
                "HTTP/1.1 {code} {reason}\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
                body.len()
            );
            stream.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
        }
    });
    (address, heard)
}

fn is_whole(request: &[u8]) -> bool {
    let text = String::from_utf8_lossy(request);
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length =
        head.lines().find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok());
    body.len() >= length.unwrap_or(0)
}

fn engine(directory: &std::path::Path, server: SocketAddr) -> KubernetesEngine {
    let config = KubernetesConfig { directory: directory.to_owned(), ..pod::tests::config() };
    let client = Client::try_from(Config::new(format!("http://{server}").parse().unwrap())).unwrap();
    KubernetesEngine { client: OnceCell::new_with(Some(client)), ..KubernetesEngine::new(config) }
}

fn sandbox() -> Sandbox {
    Sandbox {
        name: "grapnel-dpl_1-1".to_owned(),
        image: "builder".to_owned(),
        command: vec!["true".to_owned()],
        env: BTreeMap::new(),
        working_dir: "/".to_owned(),
        user: (10_001, 10_001),
        mounts: Vec::new(),
        network: NetworkAccess::None,
        limits: SandboxLimits { memory_bytes: 1 << 20, milli_cpus: 100, processes: 1, open_files: 16 },
        deadline: Duration::from_secs(60),
        runtime: None,
        seccomp: None,
        labels: BTreeMap::new(),
    }
}

#[tokio::test]
async fn a_pod_that_was_made_and_not_answered_for_is_the_one_that_is_asked_for_again() {
    let directory = tempfile::tempdir().unwrap();
    let (address, heard) = server(&[None, Some((409, "AlreadyExists"))]).await;
    let engine = engine(directory.path(), address);
    let first = engine.start(&sandbox()).await.unwrap_err();
    assert!(matches!(first, EngineError::NoPlace(_)), "{first}");
    assert_eq!(engine.start(&sandbox()).await.unwrap().0, "grapnel-dpl-1-1");
    assert_eq!(heard.load(Ordering::Relaxed), 2);
}

#[tokio::test]
async fn a_pod_of_that_name_that_nobody_here_has_asked_for_is_anothers() {
    let directory = tempfile::tempdir().unwrap();
    let (address, _) =
        server(&[Some((409, "AlreadyExists")), Some((422, "Invalid")), Some((409, "AlreadyExists"))]).await;
    let engine = engine(directory.path(), address);
    for _ in 0..3 {
        let refused = engine.start(&sandbox()).await.unwrap_err();
        assert!(matches!(refused, EngineError::Refused(_)), "{refused}");
    }
}
