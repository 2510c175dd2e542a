//! The runner as a program, at the other end of a real socket.

#![expect(clippy::unwrap_used, reason = "all of it is tests, the helpers too")]

use std::{
    fs, io,
    os::unix::net::{UnixListener, UnixStream},
    path::{Path, PathBuf},
    process::{Child, Command},
    time::{Duration, Instant},
};

use grapnel_run::{
    frame::{Frame, Kind, MAX_OUTPUT},
    message::{StepExit, StepRequest},
};
use tempfile::TempDir;

/// How long anything may take before the test gives up.
const PATIENCE: Duration = Duration::from_secs(30);

/// A runner, and the executor's end of its line.
struct Line {
    runner: Child,
    listener: UnixListener,
    directory: TempDir,
}

impl Line {
    fn start() -> Self {
        Self::start_with(&[])
    }

    fn start_with(arguments: &[&str]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("socket");
        let listener = UnixListener::bind(&socket).unwrap();
        let runner =
            Command::new(env!("CARGO_BIN_EXE_grapnel-run")).arg(socket).args(arguments).spawn().unwrap();
        Self { runner, listener, directory }
    }

    /// Takes the runner's next connection and says what has arrived before.
    fn accept(&self, arrived: u64) -> UnixStream {
        let (mut stream, _) = self.listener.accept().unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let hello = Frame::read(&mut stream, MAX_OUTPUT).unwrap();
        assert_eq!((hello.kind, hello.number), (Kind::Hello, 0));
        acknowledge(&mut stream, arrived);
        stream
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn step(&self, number: u64, command: &str) -> Frame {
        let request = StepRequest {
            command: command.to_owned(),
            directory: self.directory.path().display().to_string(),
            environment: vec![("GREETING".to_owned(), "hello".to_owned())],
        };
        Frame { number, kind: Kind::Step, payload: request.encode() }
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        let _ = self.runner.kill();
        let _ = self.runner.wait();
    }
}

fn acknowledge(stream: &mut UnixStream, number: u64) {
    Frame { number, kind: Kind::Ack, payload: Vec::new() }.write(stream).unwrap();
}

/// What came of a step.
#[derive(Default)]
struct Ran {
    stdout: Vec<u8>,
    stderr: Vec<u8>,
    exit: Option<StepExit>,
    last: u64,
}

impl Ran {
    /// Takes frames to the end of the step, each exactly once and in order.
    fn until_it_ends(mut self, stream: &mut UnixStream) -> Self {
        while self.exit.is_none() {
            let frame = Frame::read(stream, MAX_OUTPUT).unwrap();
            self.take(&frame);
            acknowledge(stream, self.last);
        }
        self
    }

    fn take(&mut self, frame: &Frame) {
        assert_eq!(frame.number, self.last + 1, "a gap or a repeat");
        self.last = frame.number;
        match frame.kind {
            Kind::Stdout => self.stdout.extend_from_slice(&frame.payload),
            Kind::Stderr => self.stderr.extend_from_slice(&frame.payload),
            Kind::Exited => self.exit = Some(StepExit::decode(&frame.payload).unwrap()),
            other => panic!("a runner never sends {other:?}"),
        }
    }

    fn code(&self) -> i32 {
        self.exit.unwrap().code
    }
}

fn run(line: &Line, stream: &mut UnixStream, number: u64, after: u64, command: &str) -> Ran {
    line.step(number, command).write(stream).unwrap();
    Ran { last: after, ..Ran::default() }.until_it_ends(stream)
}

#[test]
fn a_step_tells_its_streams_apart_and_how_it_ended() {
    let line = Line::start();
    let mut stream = line.accept(0);
    let ran = run(&line, &mut stream, 1, 0, "echo $GREETING; echo bad >&2; pwd; exit 5");
    let directory = fs::canonicalize(line.directory.path()).unwrap();
    assert_eq!(String::from_utf8(ran.stdout.clone()).unwrap(), format!("hello\n{}\n", directory.display()));
    assert_eq!((ran.stderr.as_slice(), ran.code()), (b"bad\n".as_slice(), 5));

    let ran = run(&line, &mut stream, 2, ran.last, "kill -9 $$");
    assert_eq!((ran.code(), ran.exit.unwrap().signal), (137, 9));
    let ran = run(&line, &mut stream, 3, ran.last, "no-such-command");
    assert_eq!(ran.code(), 127);
    assert!(!ran.stderr.is_empty());
}

#[test]
fn steps_have_no_more_files_open_than_was_said_and_leave_none_of_their_memory() {
    let line = Line::start_with(&["--open-files=77"]);
    let mut stream = line.accept(0);
    let ran =
        run(&line, &mut stream, 1, 0, "ulimit -n; ulimit -Hn; ulimit -Hc; ulimit -n 78 || echo refused");
    assert_eq!(String::from_utf8(ran.stdout.clone()).unwrap(), "77\n77\n0\nrefused\n");
    let mut wrong = Line::start_with(&["--open-files=many"]);
    assert!(!wrong.runner.wait().unwrap().success(), "it runs without its limits");
}

#[test]
fn the_last_output_is_never_lost_however_short_before_the_exit_it_was_printed() {
    let line = Line::start();
    let mut stream = line.accept(0);
    let mut last = 0;
    for number in 1..=100 {
        let ran = run(&line, &mut stream, number, last, &format!("printf 'last words {number}'"));
        assert_eq!(String::from_utf8(ran.stdout.clone()).unwrap(), format!("last words {number}"));
        last = ran.last;
    }
}

#[test]
fn what_a_step_leaves_behind_ends_with_it_and_does_not_hold_its_output_open() {
    let line = Line::start();
    let mut stream = line.accept(0);
    let begun = Instant::now();
    let ran = run(&line, &mut stream, 1, 0, "(trap '' TERM HUP; echo $$ > daemon; sleep 60) & echo done");
    assert_eq!((ran.stdout.as_slice(), ran.code()), (b"done\n".as_slice(), 0));
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
}

#[test]
fn a_line_that_breaks_goes_on_with_no_gap_no_repeat_and_no_step_run_twice() {
    let line = Line::start();
    let command = "echo ran >> runs; i=0; while [ $i -lt 300 ]; do echo $i; i=$((i+1)); done; echo end >&2";
    let mut ran = Ran::default();
    // Cut after a frame that was read and not acknowledged, after none at all, and in the middle of one.
    for cut in 0..5_u64 {
        let mut stream = line.accept(ran.last);
        line.step(1, command).write(&mut stream).unwrap();
        if cut % 2 == 0 {
            ran.take(&Frame::read(&mut stream, MAX_OUTPUT).unwrap());
        } else {
            let mut half = [0; 5];
            io::Read::read_exact(&mut stream, &mut half).unwrap();
        }
        if ran.exit.is_some() {
            break;
        }
    }
    if ran.exit.is_none() {
        let mut stream = line.accept(ran.last);
        line.step(1, command).write(&mut stream).unwrap();
        ran = ran.until_it_ends(&mut stream);
    }
    let expected: String = (0..300).map(|i| format!("{i}\n")).collect();
    assert_eq!(String::from_utf8(ran.stdout.clone()).unwrap(), expected);
    assert_eq!((ran.stderr.as_slice(), ran.code()), (b"end\n".as_slice(), 0));
    assert_eq!(fs::read_to_string(line.path("runs")).unwrap(), "ran\n");
}

#[test]
fn what_comes_after_an_executor_went_away_waits_for_it_and_memory_stays_bounded() {
    let line = Line::start();
    let mut stream = line.accept(0);
    // By single bytes as well: a frame is not free because it carries little.
    let command = "head -c 30000000 /dev/zero; i=0; while [ $i -lt 2000 ]; do printf x; i=$((i+1)); done; echo > printed";
    line.step(1, command).write(&mut stream).unwrap();
    // Nothing is acknowledged: what the socket takes aside, the runner has to keep everything and then to wait.
    let memory = settles(line.runner.id());
    assert!(memory < 16 << 20, "the runner has {memory} bytes");
    assert!(!line.path("printed").exists(), "the build waits");
    drop(stream);
    let mut stream = line.accept(0);
    let ran = Ran::default().until_it_ends(&mut stream);
    assert_eq!((ran.stdout.len(), ran.code()), (30_002_000, 0));
    assert!(line.path("printed").exists());
}

#[test]
fn an_executor_that_speaks_nonsense_is_left_and_the_next_one_served() {
    let line = Line::start();
    for nonsense in [
        b"GET / HTTP/1.1\r\n\r\n".to_vec(),
        Frame { number: 1, kind: Kind::Stdout, payload: vec![1] }.encode(),
        Frame { number: 1, kind: Kind::Step, payload: vec![255; 20] }.encode(),
    ] {
        let mut stream = line.accept(0);
        io::Write::write_all(&mut stream, &nonsense).unwrap();
        let refused = Frame::read(&mut stream, MAX_OUTPUT);
        assert!(refused.is_err(), "{refused:?}");
    }
    let mut stream = line.accept(0);
    assert_eq!(run(&line, &mut stream, 2, 0, "true").code(), 0);
}

/// Waits until a process takes no more memory and returns how much it has.
fn settles(pid: u32) -> u64 {
    let begun = Instant::now();
    let (mut before, mut same) = (0, 0);
    while same < 10 {
        let now = resident(pid);
        same = if now == before { same + 1 } else { 0 };
        before = now;
        assert!(begun.elapsed() < PATIENCE, "it grows on and on");
        pause();
    }
    before
}

#[expect(clippy::disallowed_methods, reason = "a test of threads has nothing else to wait with")]
fn pause() {
    std::thread::sleep(Duration::from_millis(50));
}

fn resident(pid: u32) -> u64 {
    let status = fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}
