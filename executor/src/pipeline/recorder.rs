//! What a build tells: events in order, log lines in small batches.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use grapnel_domain::event::{BuildEvent, LogLine, Step, Stream};
use grapnel_runtime::Clock;
use tokio::{
    sync::mpsc,
    task::JoinHandle,
    time::{Instant, timeout_at},
};

use super::mask::Mask;
use crate::link::Output;

/// How long lines are collected, from the first one on.
const COLLECT: Duration = Duration::from_millis(25);

/// How many bytes of lines one event carries.
const BATCH: usize = 32 * 1024;

/// How long one line may be; longer ones come in pieces.
const LINE: usize = 64 * 1024;

/// How many lines and events may wait to be taken.
const WAITING: usize = 256;

enum Told {
    Line(Step, LogLine),
    Event(BuildEvent),
}

/// Tells what happens in one attempt. Clones tell into the same order.
#[derive(Clone)]
pub struct Recorder {
    told: mpsc::Sender<Told>,
    clock: Clock,
    mask: Arc<Mask>,
    log_bytes: Arc<AtomicU64>,
    log_limit: u64,
}

impl Recorder {
    /// Starts a recorder whose events come out at `events`, with what `mask` knows hidden in them; the task ends when all
    /// recorders are dropped.
    pub fn start(
        clock: Clock,
        mask: Mask,
        log_limit: u64,
        events: mpsc::Sender<BuildEvent>,
    ) -> (Self, JoinHandle<()>) {
        let (told, waiting) = mpsc::channel(WAITING);
        let task = tokio::spawn(collect(waiting, events));
        (Self { told, clock, mask: Arc::new(mask), log_bytes: Arc::default(), log_limit }, task)
    }

    /// Tells that a step begins.
    pub async fn step_started(&self, step: Step) {
        self.tell(Told::Event(BuildEvent::StepStarted { step, at: self.clock.now() })).await;
    }

    /// Tells that a step ended.
    pub async fn step_finished(&self, step: Step, exit_code: Option<i32>) {
        self.tell(Told::Event(BuildEvent::StepFinished { step, at: self.clock.now(), exit_code })).await;
    }

    /// Tells any other event.
    pub async fn event(&self, event: BuildEvent) {
        self.tell(Told::Event(event)).await;
    }

    /// Writes a line of our own into the log of a step.
    pub async fn say(&self, step: Step, text: impl Into<String>) {
        let text = self.masked(&text.into());
        self.tell(Told::Line(step, self.line(Stream::System, text))).await;
    }

    /// Hides the build's secrets in a text.
    pub fn masked(&self, text: &str) -> String {
        self.mask.text(text)
    }

    /// Returns what takes the output of a step.
    pub fn output(&self, step: Step) -> StepOutput {
        StepOutput { recorder: self.clone(), step, held: Default::default() }
    }

    fn line(&self, stream: Stream, text: String) -> LogLine {
        LogLine { stream, at: self.clock.now(), text }
    }

    /// Tells a line of the build's, as long as its log is below the limit; what comes after that is counted and
    /// dropped, and the build goes on.
    async fn tell_output(&self, step: Step, stream: Stream, text: String) {
        let length = text.len() as u64 + 1;
        let before = self.log_bytes.fetch_add(length, Ordering::Relaxed);
        if before + length <= self.log_limit {
            self.tell(Told::Line(step, self.line(stream, text))).await;
        } else if before <= self.log_limit {
            let limit = self.log_limit;
            self.say(step, format!("the log is over its limit of {limit} bytes; what follows is not kept"))
                .await;
            // Whoever comes next is far enough over the limit not to say so again.
            self.log_bytes.fetch_add(limit.saturating_add(1).saturating_sub(before), Ordering::Relaxed);
        }
    }

    async fn tell(&self, told: Told) {
        // Nobody listens any more when the attempt is over; then nothing is worth telling.
        let _ = self.told.send(told).await;
    }
}

/// Cuts the output of a step into lines, with its secrets hidden.
pub struct StepOutput {
    recorder: Recorder,
    step: Step,
    /// Of standard output and standard error.
    held: [Held; 2],
}

/// What of a stream was not told yet: no whole line, or perhaps the beginning of a secret.
#[derive(Default)]
struct Held {
    bytes: Vec<u8>,
    /// How many of them belong to a secret whose beginning was told, hidden, already.
    begun: usize,
}

impl StepOutput {
    /// Tells what came without a line end. Call it when the step is over.
    pub async fn finish(&mut self) {
        for (index, stream) in [(0, Stream::Stdout), (1, Stream::Stderr)] {
            let mut held = std::mem::take(&mut self.held[index]);
            let length = held.bytes.len();
            self.tell_beginning(stream, &mut held, length).await;
        }
    }

    /// Tells the first bytes of what is held, cut into lines, long ones into pieces.
    async fn tell_beginning(&self, stream: Stream, held: &mut Held, length: usize) {
        if length == 0 {
            return;
        }
        let mask = &self.recorder.mask;
        let places = mask.places(&held.bytes, held.begun);
        let shown = mask.show(&held.bytes[..length], &places);
        held.begun =
            places.iter().map(|place| place.end).find(|end| *end > length).map_or(0, |end| end - length);
        held.bytes.drain(..length);
        for line in shown.strip_suffix(b"\n").unwrap_or(&shown).split(|byte| *byte == b'\n') {
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            let mut rest = line;
            while rest.len() > LINE {
                self.tell(stream, &rest[..LINE]).await;
                rest = &rest[LINE..];
            }
            self.tell(stream, rest).await;
        }
    }

    async fn tell(&self, stream: Stream, line: &[u8]) {
        let text = String::from_utf8_lossy(line).into_owned();
        self.recorder.tell_output(self.step, stream, text).await;
    }
}

impl Output for StepOutput {
    async fn take(&mut self, stream: Stream, bytes: &[u8]) {
        let index = usize::from(stream == Stream::Stderr);
        let mut held = std::mem::take(&mut self.held[index]);
        held.bytes.extend_from_slice(bytes);
        let ready = self.recorder.mask.ready(&held.bytes);
        self.tell_beginning(stream, &mut held, ready).await;
        // A secret that begins in a piece is seen whole before the piece is told.
        while held.bytes.len() > LINE + self.recorder.mask.longest() {
            self.tell_beginning(stream, &mut held, LINE).await;
        }
        self.held[index] = held;
    }
}

/// Puts lines of one step together for a short while, and passes everything else on at once and in order.
async fn collect(mut told: mpsc::Receiver<Told>, events: mpsc::Sender<BuildEvent>) {
    let mut next = told.recv().await;
    while let Some(item) = next.take() {
        let event = match item {
            Told::Event(event) => {
                next = told.recv().await;
                event
            }
            Told::Line(step, line) => {
                let (lines, after) = collect_lines(&mut told, step, line).await;
                next = after;
                if events.send(BuildEvent::Log { step, lines }).await.is_err() {
                    return;
                }
                if next.is_none() {
                    next = told.recv().await;
                }
                continue;
            }
        };
        if events.send(event).await.is_err() {
            return;
        }
    }
}

/// Collects lines of `step` until time or room is over, or something else comes, which is returned.
async fn collect_lines(
    told: &mut mpsc::Receiver<Told>,
    step: Step,
    first: LogLine,
) -> (Vec<LogLine>, Option<Told>) {
    let until = Instant::now() + COLLECT;
    let mut bytes = first.text.len();
    let mut lines = vec![first];
    while bytes < BATCH {
        match timeout_at(until, told.recv()).await {
            Ok(Some(Told::Line(same, line))) if same == step => {
                bytes += line.text.len();
                lines.push(line);
            }
            Ok(other) => return (lines, other),
            Err(_) => return (lines, None),
        }
    }
    (lines, None)
}

#[cfg(test)]
mod tests {
    use grapnel_domain::{SecretText, variable::BuildVariable};

    use super::*;

    async fn record(limit: u64, chunks: &[(Stream, &[u8])]) -> Vec<LogLine> {
        record_without(&[], limit, chunks).await
    }

    async fn record_without(secrets: &[&str], limit: u64, chunks: &[(Stream, &[u8])]) -> Vec<LogLine> {
        let variable = |secret: &&str| BuildVariable {
            name: "SECRET".parse().unwrap(),
            value: SecretText::new(*secret),
            secret: true,
        };
        let mask = Mask::of(&secrets.iter().map(variable).collect::<Vec<_>>());
        let (events, mut told) = mpsc::channel(WAITING);
        let (recorder, _task) = Recorder::start(Clock::system(), mask, limit, events);
        let mut output = recorder.output(Step::Build);
        for (stream, bytes) in chunks {
            output.take(*stream, bytes).await;
        }
        output.finish().await;
        drop((output, recorder));
        let mut lines = Vec::new();
        while let Some(event) = told.recv().await {
            if let BuildEvent::Log { lines: more, .. } = event {
                lines.extend(more);
            }
        }
        lines
    }

    fn texts(lines: &[LogLine]) -> Vec<&str> {
        lines.iter().map(|line| line.text.as_str()).collect()
    }

    #[tokio::test]
    async fn lines_are_put_together_across_chunks_and_streams_stay_apart() {
        let chunks: [(Stream, &[u8]); 4] = [
            (Stream::Stdout, b"one\ntw"),
            (Stream::Stderr, b"err"),
            (Stream::Stdout, b"o\r\n"),
            (Stream::Stdout, b"last"),
        ];
        let lines = record(1 << 20, &chunks).await;
        assert_eq!(texts(&lines), ["one", "two", "last", "err"]);
        assert_eq!(lines[3].stream, Stream::Stderr);
    }

    #[tokio::test]
    async fn a_line_over_64_kib_comes_in_pieces_and_bytes_that_are_no_text_are_replaced() {
        let long = vec![b'x'; 150_000];
        let lines = record(1 << 20, &[(Stream::Stdout, &long), (Stream::Stdout, b"\n\xff\xfe\n")]).await;
        let lengths: Vec<_> = lines.iter().map(|line| line.text.len()).collect();
        assert_eq!(lengths, [65_536, 65_536, 18_928, 6]);
    }

    #[tokio::test]
    async fn a_secret_is_hidden_wherever_its_output_was_cut_into_chunks() {
        let secrets = ["hunter2-hunter2", "first line\n2\nthird line"];
        let text = "token hunter2-hunter2\r\nfirst line\n2\nthird line!\n2\nfirst line\nand no more\nhunter2-hunter2";
        let whole = record_without(&secrets, 1 << 20, &[(Stream::Stdout, text.as_bytes())]).await;
        assert_eq!(texts(&whole), ["token ***", "***!", "2", "***", "and no more", "***"]);
        for size in 1..text.len() {
            let chunks: Vec<_> = text.as_bytes().chunks(size).map(|chunk| (Stream::Stdout, chunk)).collect();
            let lines = record_without(&secrets, 1 << 20, &chunks).await;
            assert_eq!(texts(&lines), texts(&whole), "in chunks of {size}");
        }
    }

    #[tokio::test]
    async fn a_secret_is_hidden_where_a_long_line_is_cut() {
        let secret = "s".repeat(1_000) + "!";
        for before in [LINE - 1_000, LINE - 500, LINE - 1, LINE, 2 * LINE - 3] {
            let text = format!("{}{secret}{}\n", "x".repeat(before), "y".repeat(100_000));
            for size in [text.len(), 32 * 1024, 999] {
                let chunks: Vec<_> =
                    text.as_bytes().chunks(size).map(|chunk| (Stream::Stderr, chunk)).collect();
                let lines = record_without(&[&secret], 1 << 20, &chunks).await;
                let joined: String = texts(&lines).concat();
                assert!(!joined.contains('s') && !joined.contains('!'), "{before} in chunks of {size}");
                assert_eq!(joined.matches(['x', 'y']).count(), before + 100_000);
            }
        }
    }

    #[tokio::test]
    async fn a_log_over_its_limit_is_cut_once_with_a_notice() {
        let lines = record(10, &[(Stream::Stdout, b"12345\n6789\n0\n1\n2\n")]).await;
        assert_eq!(lines.iter().filter(|line| line.stream == Stream::System).count(), 1, "{lines:?}");
        assert_eq!(lines[0].text, "12345");
        assert!(lines.last().unwrap().text.contains("over its limit of 10 bytes"));
    }
}
