//! The line to a runner, with somebody hostile at the other end.

use std::time::Duration;

use grapnel_domain::event::Stream;
use grapnel_executor::link::{Link, LinkError, Output, SOCKET};
use grapnel_run::{
    frame::{Frame, Kind, MAX_OUTPUT},
    message::{StepExit, StepRequest},
};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::UnixStream,
    sync::watch,
};

#[derive(Default)]
struct Printed(String, watch::Sender<u64>);

impl Output for Printed {
    async fn take(&mut self, frame: u64, stream: Stream, bytes: &[u8]) {
        let stream = if stream == Stream::Stderr { "!" } else { "" };
        self.0.push_str(&format!("{stream}{}", String::from_utf8_lossy(bytes)));
        self.1.send_replace(frame);
    }

    fn kept(&self) -> watch::Receiver<u64> {
        self.1.subscribe()
    }
}

fn link() -> (TempDir, Link) {
    let directory = tempfile::tempdir().unwrap();
    let link = Link::listen(directory.path()).unwrap();
    (directory, link)
}

async fn connect(directory: &TempDir) -> UnixStream {
    UnixStream::connect(directory.path().join(SOCKET)).await.unwrap()
}

fn frame(number: u64, kind: Kind, payload: &[u8]) -> Vec<u8> {
    Frame { number, kind, payload: payload.to_owned() }.encode()
}

fn exited(number: u64, code: i32) -> Vec<u8> {
    frame(number, Kind::Exited, &StepExit { code, ..StepExit::default() }.encode())
}

fn step() -> StepRequest {
    StepRequest { command: "true".into(), directory: "/".into(), environment: Vec::new() }
}

/// Lets `parts` come over one connection after the other, each cut at its end, and returns what the link makes of it.
async fn told(parts: Vec<Vec<u8>>) -> (Result<StepExit, LinkError>, String) {
    let (directory, mut link) = link();
    let peer = async {
        let mut connections = Vec::new();
        let last = parts.len() - 1;
        for (index, part) in parts.into_iter().enumerate() {
            let mut stream = connect(&directory).await;
            let _ = stream.write_all(&part).await;
            if index < last {
                stream.shutdown().await.unwrap();
                let mut rest = Vec::new();
                let _ = stream.read_to_end(&mut rest).await;
            }
            connections.push(stream);
        }
        std::future::pending::<()>().await;
        drop(connections);
    };
    let mut printed = Printed::default();
    let step = step();
    let result = tokio::select! {
        result = link.run_step(&step, &mut printed) => result,
        () = peer => unreachable!(),
    };
    (result, printed.0)
}

fn hello() -> Vec<u8> {
    frame(0, Kind::Hello, &1_u32.to_le_bytes())
}

#[tokio::test]
async fn frames_come_in_order_and_streams_stay_apart() {
    let all = [hello(), frame(1, Kind::Stdout, b"a"), frame(2, Kind::Stderr, b"b"), exited(3, 4)].concat();
    let (exit, printed) = told(vec![all]).await;
    assert_eq!((exit.unwrap().code, printed.as_str()), (4, "a!b"));
}

#[tokio::test]
async fn a_broken_line_goes_on_and_frames_that_came_already_are_passed_over() {
    let first = [hello(), frame(1, Kind::Stdout, b"a"), frame(2, Kind::Stdout, b"b")].concat();
    let mut torn = [hello(), frame(2, Kind::Stdout, b"b"), frame(3, Kind::Stdout, b"c")].concat();
    torn.truncate(torn.len() - 1);
    let last = [hello(), frame(1, Kind::Stdout, b"a"), frame(3, Kind::Stdout, b"c"), exited(4, 0)].concat();
    let (exit, printed) = told(vec![first, torn, last]).await;
    assert_eq!((exit.unwrap().code, printed.as_str()), (0, "abc"));
}

#[tokio::test]
async fn what_no_runner_sends_ends_the_step_and_nothing_else() {
    let huge = [1_u64.to_le_bytes().as_slice(), &[Kind::Stdout as u8], &u32::MAX.to_le_bytes()].concat();
    let too_long = [1_u64.to_le_bytes().as_slice(), &[17], &(MAX_OUTPUT as u32 + 1).to_le_bytes()].concat();
    let hostile: Vec<(&str, Vec<u8>)> = vec![
        ("no greeting", frame(1, Kind::Stdout, b"a")),
        ("bytes that are no frame", vec![0xff; 64]),
        ("a frame of 4 GiB", [hello(), huge].concat()),
        ("a frame one byte too long", [hello(), too_long].concat()),
        ("a gap", [hello(), frame(2, Kind::Stdout, b"a")].concat()),
        ("a second greeting", [hello(), frame(1, Kind::Hello, b"")].concat()),
        ("a step", [hello(), frame(1, Kind::Step, b"")].concat()),
        ("an acknowledgement", [hello(), frame(1, Kind::Ack, b"")].concat()),
        ("an exit that is cut", [hello(), frame(1, Kind::Exited, b"abc")].concat()),
        ("the largest number", [hello(), frame(u64::MAX, Kind::Stdout, b"a")].concat()),
    ];
    for (what, bytes) in hostile {
        let (exit, _) = told(vec![bytes]).await;
        assert!(matches!(exit, Err(LinkError::Nonsense(_))), "{what}: {exit:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_runner_that_never_comes_and_one_that_never_speaks_are_given_up() {
    let (_directory, mut nobody) = link();
    assert!(matches!(nobody.connected().await, Err(LinkError::NotConnected)));
    let (directory, mut silent) = link();
    let _connection = connect(&directory).await;
    assert!(matches!(silent.connected().await, Err(LinkError::NotConnected)));
}

#[tokio::test]
async fn a_thousand_other_connections_are_not_heard() {
    let (directory, mut link) = link();
    let mut runner = connect(&directory).await;
    runner.write_all(&hello()).await.unwrap();
    link.connected().await.unwrap();
    let mut others = Vec::new();
    for _ in 0..1_000 {
        // The backlog fills, and whoever comes then waits or is refused.
        let connecting = UnixStream::connect(directory.path().join(SOCKET));
        let Ok(Ok(mut other)) = tokio::time::timeout(Duration::from_millis(1), connecting).await else {
            continue;
        };
        let _ = other.write_all(&[hello(), frame(1, Kind::Stdout, b"forged"), exited(2, 0)].concat()).await;
        others.push(other);
    }
    assert!(!others.is_empty());
    runner.write_all(&[frame(1, Kind::Stdout, b"true"), exited(2, 3)].concat()).await.unwrap();
    let mut printed = Printed::default();
    let exit = link.run_step(&step(), &mut printed).await.unwrap();
    assert_eq!((exit.code, printed.0.as_str()), (3, "true"));
}
