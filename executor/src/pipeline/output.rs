//! What a command prints, cut into lines, with the build's secrets hidden.

use grapnel_domain::event::{LogLine, Step, Stream};
use tokio::sync::watch;

use super::{
    collect::{By, Told},
    position::{Arrivals, Position, index},
    recorder::Recorder,
};
use crate::link::Output;

/// How long one line may be; longer ones come in pieces.
const LINE: usize = 64 * 1024;

/// How many bytes are looked at together: the lines among them are told by one event.
const SLICE: usize = 8 * 1024;

/// How many frames, without a line of them, are acknowledged together.
const FRAMES: u64 = 16;

const STREAMS: [Stream; 2] = [Stream::Stdout, Stream::Stderr];

/// Takes the output of a step.
pub struct StepOutput {
    recorder: Recorder,
    step: Step,
    /// Of standard output and standard error.
    held: [Held; 2],
    arrivals: Arrivals,
    /// The frame up to which it was told that all is told.
    acknowledged: u64,
    /// Lines that are to be told before anything else.
    first: Vec<LogLine>,
}

/// What of a stream was not told yet: no whole line, or perhaps the beginning of a secret.
#[derive(Default)]
struct Held {
    bytes: Vec<u8>,
    /// How many of them belong to a secret whose beginning was told, hidden, already.
    begun: usize,
    /// Where the beginning of a line is lost: how many bytes are passed over at least, and then the rest of a line. They
    /// may be the end of a secret that nobody would know again.
    lost: Option<usize>,
}

impl Held {
    fn beginning(position: Position, stream: usize, longest: usize) -> Self {
        let lost = (position.untold[stream] > 0).then_some(longest);
        let begun = usize::try_from(position.begun[stream]).unwrap_or(usize::MAX);
        Self { bytes: Vec::new(), begun: if lost.is_some() { 0 } else { begun }, lost }
    }

    /// Returns how many of the bytes that come are passed over.
    fn pass_over(&mut self, bytes: &[u8]) -> usize {
        let Some(least) = self.lost else { return 0 };
        let Some(rest) = bytes.get(least..) else {
            self.lost = Some(least - bytes.len());
            return bytes.len();
        };
        match rest.iter().position(|byte| *byte == b'\n') {
            Some(at) => {
                self.lost = None;
                least + at + 1
            }
            None => {
                self.lost = Some(0);
                bytes.len()
            }
        }
    }
}

impl StepOutput {
    /// Goes on from a position.
    pub fn new(recorder: Recorder, step: Step, position: Position) -> Self {
        let longest = recorder.mask().longest();
        let held = [0, 1].map(|stream| Held::beginning(position, stream, longest));
        let lost = position.untold.iter().sum::<u64>();
        let first = if lost == 0 {
            Vec::new()
        } else {
            let said = format!(
                "{lost} bytes of a line that had no end yet, and the rest of it, were lost when the executor ended"
            );
            vec![recorder.line(Stream::System, said)]
        };
        Self {
            recorder,
            step,
            held,
            arrivals: Arrivals::after(position),
            acknowledged: position.frame,
            first,
        }
    }

    /// Tells what came without a line end. Call it when the step is over.
    pub async fn finish(&mut self) {
        for stream in [0, 1] {
            let length = self.held[stream].bytes.len();
            let lines = self.tell_beginning(stream, length);
            self.tell(lines).await;
        }
    }

    /// Cuts the first bytes of what is held into lines, long ones into pieces. They count as told from here on.
    fn tell_beginning(&mut self, stream: usize, length: usize) -> Vec<LogLine> {
        if length == 0 {
            return Vec::new();
        }
        let (mask, held) = (self.recorder.mask(), &mut self.held[stream]);
        let places = mask.places(&held.bytes, held.begun);
        let shown = mask.show(&held.bytes[..length], &places);
        let goes_on = places.iter().map(|place| place.end).find(|end| *end > length).unwrap_or(length);
        held.begun = (goes_on - length).max(held.begun.saturating_sub(length));
        held.bytes.drain(..length);
        let begun = held.begun;
        self.arrivals.told(stream, length, begun);
        let mut lines = Vec::new();
        for line in shown.strip_suffix(b"\n").unwrap_or(&shown).split(|byte| *byte == b'\n') {
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            let mut rest = line;
            while rest.len() > LINE {
                lines.extend(self.admit(stream, &rest[..LINE]));
                rest = &rest[LINE..];
            }
            lines.extend(self.admit(stream, rest));
        }
        lines
    }

    fn admit(&self, stream: usize, line: &[u8]) -> Option<LogLine> {
        self.recorder.admit(STREAMS[stream], String::from_utf8_lossy(line).into_owned())
    }

    /// Takes a few bytes of one stream, and returns the lines that are whole with them.
    fn take_slice(&mut self, stream: usize, bytes: &[u8]) -> Vec<LogLine> {
        let passed = self.held[stream].pass_over(bytes);
        if passed > 0 {
            self.arrivals.told(stream, passed, 0);
        }
        if self.held[stream].lost.is_none() {
            self.arrivals.found(stream);
        }
        let held = &mut self.held[stream];
        held.bytes.extend_from_slice(&bytes[passed..]);
        let ready = self.recorder.mask().ready(&held.bytes);
        let mut lines = self.tell_beginning(stream, ready);
        // A secret that begins in a piece is seen whole before the piece is told.
        while self.held[stream].bytes.len() > LINE + self.recorder.mask().longest() {
            lines.extend(self.tell_beginning(stream, LINE));
        }
        lines
    }

    /// Tells lines with how far the output is told by them; without lines that only now and then.
    async fn tell(&mut self, mut lines: Vec<LogLine>) {
        let moved = self.arrivals.position().frame - self.acknowledged;
        if lines.is_empty() && self.first.is_empty() && moved < FRAMES {
            return;
        }
        let Some(room) = self.recorder.room().await else { return };
        let position = self.arrivals.position();
        self.acknowledged = position.frame;
        lines.splice(0..0, self.first.drain(..));
        let by = By::Output { position, log_bytes: self.recorder.log_bytes() };
        room.send(Told::Lines { step: self.step, lines, by });
    }
}

impl Output for StepOutput {
    async fn take(&mut self, frame: u64, stream: Stream, bytes: &[u8]) {
        let stream = index(stream);
        let again = self.arrivals.came(frame, stream, bytes.len());
        for slice in bytes[again..].chunks(SLICE) {
            let lines = self.take_slice(stream, slice);
            self.tell(lines).await;
        }
        self.tell(Vec::new()).await;
    }

    fn kept(&self) -> watch::Receiver<u64> {
        self.recorder.kept()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use grapnel_domain::{SecretText, event::BuildEvent, variable::BuildVariable};
    use grapnel_runtime::Clock;
    use tokio::sync::mpsc;

    use super::*;
    use crate::pipeline::{
        mask::Mask,
        recorder::{Progress, What},
    };

    async fn record(limit: u64, chunks: &[(Stream, &[u8])]) -> Vec<LogLine> {
        record_without(&[], limit, chunks).await
    }

    async fn record_without(secrets: &[&str], limit: u64, chunks: &[(Stream, &[u8])]) -> Vec<LogLine> {
        cut(secrets, limit, chunks, None).await
    }

    /// Runs one process after the other: each dies after a few frames, and the next one goes on from what was written down.
    async fn cut(
        secrets: &[&str],
        limit: u64,
        chunks: &[(Stream, &[u8])],
        dies_after: Option<usize>,
    ) -> Vec<LogLine> {
        let variable = |secret: &&str| BuildVariable {
            name: "SECRET".parse().unwrap(),
            value: SecretText::new(*secret),
            secret: true,
        };
        let mask = Arc::new(Mask::of(&secrets.iter().map(variable).collect::<Vec<_>>()));
        let (mut lines, mut progress) = (Vec::new(), Progress::default());
        let mut lives = dies_after.unwrap_or(chunks.len());
        loop {
            let from = usize::try_from(progress.position.frame).unwrap();
            let to = chunks.len().min(from + lives);
            let (records, mut told) = mpsc::channel(100_000);
            let (recorder, _kept, task) =
                Recorder::start(Clock::system(), mask.clone(), limit, progress.clone(), records);
            let mut output = recorder.output(Step::Build, progress.position);
            for (number, (stream, bytes)) in chunks.iter().enumerate().take(to).skip(from) {
                output.take(number as u64 + 1, *stream, bytes).await;
            }
            let last = to == chunks.len();
            if last {
                output.finish().await;
            }
            drop((output, recorder));
            task.await.unwrap();
            let before = progress.clone();
            while let Ok(record) = told.try_recv() {
                if let What::Event(BuildEvent::Log { lines: more, .. }) = record.what {
                    lines.extend(more);
                }
                progress = record.progress;
            }
            if last {
                return lines;
            }
            // A line may be longer than what this process has lived to see.
            let moved = progress.position.frame > before.position.frame;
            lives = if moved { dies_after.unwrap_or(1) } else { lives + 1 };
        }
    }

    /// Returns what was told of one stream.
    fn of(stream: Stream, lines: &[LogLine]) -> Vec<&str> {
        lines.iter().filter(|line| line.stream == stream).map(|line| line.text.as_str()).collect()
    }

    #[tokio::test]
    async fn who_goes_on_with_a_build_tells_each_line_once_and_hides_what_was_cut() {
        let secret = "s".repeat(1_000) + "!";
        let secrets = ["hunter2-hunter2", "first line\n2\nthird line", &secret];
        let long = format!("{}{secret}{}\nhunter2-hunter2\nlast", "x".repeat(LINE - 500), "y".repeat(70_000));
        let text = format!("one\nhunter2-hunter2 two\nfirst line\n2\nthird line!\n{long}");
        for size in [7, 64, 8_000, 40_000] {
            let pieces = text.as_bytes().chunks(size);
            let chunks: Vec<_> = pieces
                .flat_map(|piece| [(Stream::Stdout, piece), (Stream::Stderr, &b"hunter2-hunter2\n"[..])])
                .collect();
            let chunks = &chunks[..chunks.len().min(120)];
            let whole = record_without(&secrets, 1 << 20, chunks).await;
            for dies_after in [1, 3] {
                let lines = cut(&secrets, 1 << 20, chunks, Some(dies_after)).await;
                for stream in STREAMS {
                    assert_eq!(of(stream, &lines), of(stream, &whole), "{size} {dies_after} {stream:?}");
                }
            }
        }
    }

    #[tokio::test]
    async fn a_line_that_was_acknowledged_before_its_end_is_lost_with_its_process_and_the_log_says_so() {
        let flood = vec![b'x'; 32 * 1024 - 1];
        let flood = [&flood[..], b"\n"].concat();
        let mut chunks: Vec<(Stream, &[u8])> = vec![(Stream::Stdout, b"told\nbeginning hunter2-")];
        chunks.extend((0..80).map(|_| (Stream::Stderr, flood.as_slice())));
        let dies_at = chunks.len();
        chunks.extend([(Stream::Stdout, &b"hunter2 end\nnext\n"[..]), (Stream::Stdout, b"line\n")]);
        let whole = record_without(&["hunter2-hunter2"], 1 << 23, &chunks).await;
        assert_eq!(of(Stream::Stdout, &whole), ["told", "beginning *** end", "next", "line"]);
        let lines = cut(&["hunter2-hunter2"], 1 << 23, &chunks, Some(dies_at)).await;
        assert_eq!(of(Stream::Stdout, &lines), ["told", "line"]);
        assert_eq!(of(Stream::Stderr, &lines).len(), 80);
        let [said] = of(Stream::System, &lines)[..] else { panic!("{lines:?}") };
        assert!(said.starts_with("18 bytes of a line that had no end yet"), "{said}");
    }

    #[tokio::test]
    async fn the_limit_of_a_log_goes_on_counting() {
        let chunks: Vec<(Stream, &[u8])> = (0..10).map(|_| (Stream::Stdout, &b"1234\n"[..])).collect();
        let lines = cut(&[], 17, &chunks, Some(1)).await;
        assert_eq!(of(Stream::Stdout, &lines).len(), 3);
        assert_eq!(of(Stream::System, &lines).len(), 1);
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
