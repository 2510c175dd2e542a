//! How much of what a sandbox has sent has been told.
//!
//! Frames are acknowledged to the runner only when all of them has been told and written down. A line that has no end yet
//! is not told; so its frame, and all that came after it, are sent again to the process that goes on with the build. What of
//! them has been told already is passed over then: no gap, no repeat.

use std::collections::VecDeque;

use grapnel_domain::event::Stream;
use serde::{Deserialize, Serialize};

/// How many bytes may wait to be acknowledged. Well below what the runner keeps, so that a line without an end never stops
/// a build. What is over it is acknowledged untold.
const LIMIT: u64 = 2 << 20;

/// What a frame costs a runner beside its bytes.
const OVERHEAD: u64 = 64;

/// How far the output of a sandbox has been told. The pairs are of standard output and standard error.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// The frame up to which it may be acknowledged.
    pub frame: u64,
    /// How many bytes of either stream have been told of later frames.
    pub ahead: [u64; 2],
    /// How many bytes that come next belong to a secret whose beginning was told, hidden, already.
    pub begun: [u64; 2],
    /// How many bytes, up to that frame, have not been told: nobody can send them again.
    pub untold: [u64; 2],
}

impl Position {
    /// Returns the position at which all is told up to a frame.
    pub fn at(frame: u64) -> Self {
        Self { frame, ..Self::default() }
    }
}

/// The place of a stream in pairs.
pub fn index(stream: Stream) -> usize {
    usize::from(stream == Stream::Stderr)
}

/// The frames that have come and have not been told whole.
#[derive(Debug, Default)]
pub struct Arrivals {
    position: Position,
    last: u64,
    streams: [Arrived; 2],
    cost: u64,
    /// How many bytes another process has left untold, as long as what follows them is not known to begin a line.
    lost: [u64; 2],
}

#[derive(Debug, Default)]
struct Arrived {
    /// Numbers and lengths.
    frames: VecDeque<(u64, u64)>,
    /// How many of them have been told whole, and how many bytes of the next one.
    whole: usize,
    inside: u64,
    /// How many of the bytes that come have been told by another process.
    again: u64,
}

impl Arrived {
    fn told(&mut self, bytes: u64) {
        self.inside += bytes;
        while let Some((_, length)) = self.frames.get(self.whole).filter(|(_, length)| *length <= self.inside)
        {
            self.inside -= length;
            self.whole += 1;
        }
    }

    fn first_untold(&self) -> Option<u64> {
        self.frames.get(self.whole).map(|(frame, _)| *frame)
    }

    fn untold(&self) -> u64 {
        let lengths = self.frames.iter().skip(self.whole).map(|(_, length)| length);
        lengths.sum::<u64>().saturating_sub(self.inside)
    }
}

impl Arrivals {
    /// Goes on from a position: what it has not acknowledged comes again.
    pub fn after(position: Position) -> Self {
        let lost = position.untold;
        let mut this = Self { position, last: position.frame, lost, ..Self::default() };
        this.position.untold = [0, 0];
        for (stream, again) in this.streams.iter_mut().zip(position.ahead) {
            stream.again = again;
        }
        this
    }

    /// Returns how far it has been told.
    pub fn position(&self) -> Position {
        let [out, err] = self.position.untold;
        Position { untold: [out + self.lost[0], err + self.lost[1]], ..self.position }
    }

    /// Notes that what comes of a stream begins a line again.
    pub fn found(&mut self, stream: usize) {
        self.lost[stream] = 0;
    }

    /// Notes a frame, and returns how many of its first bytes have been told already.
    pub fn came(&mut self, frame: u64, stream: usize, length: usize) -> usize {
        let bytes = length as u64;
        let arrived = &mut self.streams[stream];
        arrived.frames.push_back((frame, bytes));
        let again = arrived.again.min(bytes);
        arrived.again -= again;
        arrived.told(again);
        self.last = frame;
        self.cost += bytes + OVERHEAD;
        self.settle();
        if self.cost > LIMIT {
            self.give_up();
        }
        usize::try_from(again).unwrap_or(length)
    }

    /// Notes that the next bytes of a stream have been told; `begun` that follow belong to a secret that was begun.
    pub fn told(&mut self, stream: usize, bytes: usize, begun: usize) {
        let untold = &mut self.position.untold[stream];
        let known = bytes as u64 - (*untold).min(bytes as u64);
        *untold = untold.saturating_sub(bytes as u64);
        self.position.ahead[stream] += known;
        self.position.begun[stream] = begun as u64;
        self.streams[stream].told(known);
        self.settle();
    }

    /// Moves the position on to the last frame before which all is told.
    fn settle(&mut self) {
        let first = self.streams.iter().filter_map(Arrived::first_untold).min();
        self.position.frame = first.map_or(self.last, |frame| frame - 1);
        for (stream, arrived) in self.streams.iter_mut().enumerate() {
            while let Some((_, length)) =
                arrived.frames.front().filter(|(frame, _)| *frame <= self.position.frame)
            {
                self.cost -= length + OVERHEAD;
                self.position.ahead[stream] -= length;
                arrived.frames.pop_front();
                arrived.whole -= 1;
            }
        }
    }

    /// Takes all that came as told, so that the runner goes on.
    fn give_up(&mut self) {
        for (stream, arrived) in self.streams.iter_mut().enumerate() {
            self.position.untold[stream] += arrived.untold();
            self.position.ahead[stream] = arrived.again;
            *arrived = Arrived { again: arrived.again, ..Arrived::default() };
        }
        self.position.frame = self.last;
        self.cost = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OUT: usize = 0;
    const ERR: usize = 1;

    #[test]
    fn a_frame_is_told_when_all_before_it_is() {
        let mut arrivals = Arrivals::default();
        assert_eq!(arrivals.came(1, OUT, 10), 0);
        arrivals.told(OUT, 6, 0);
        arrivals.came(2, ERR, 5);
        arrivals.came(3, ERR, 5);
        arrivals.told(ERR, 7, 3);
        let position = Position { frame: 0, ahead: [6, 7], begun: [0, 3], untold: [0, 0] };
        assert_eq!(arrivals.position(), position);
        arrivals.told(OUT, 4, 0);
        assert_eq!(arrivals.position(), Position { frame: 2, ahead: [0, 2], ..position });
        arrivals.told(ERR, 3, 0);
        assert_eq!(arrivals.position(), Position::at(3));
    }

    #[test]
    fn what_comes_again_is_passed_over_as_far_as_it_was_told_however_often_it_is_cut() {
        let position = Position { frame: 4, ahead: [6, 7], ..Position::default() };
        let mut arrivals = Arrivals::after(position);
        assert_eq!(arrivals.came(5, OUT, 4), 4);
        assert_eq!(arrivals.position(), Position { frame: 5, ahead: [2, 7], ..position });
        assert_eq!(arrivals.came(6, ERR, 5), 5);
        // Cut once more: the same as if the first process had come this far.
        assert_eq!(arrivals.position(), Position { frame: 6, ahead: [2, 2], ..position });
        let mut arrivals = Arrivals::after(arrivals.position());
        assert_eq!((arrivals.came(7, ERR, 5), arrivals.came(8, OUT, 4)), (2, 2));
        arrivals.told(OUT, 2, 0);
        arrivals.told(ERR, 3, 0);
        assert_eq!(arrivals.position(), Position::at(8));
    }

    #[test]
    fn a_line_without_an_end_does_not_hold_a_runner_up() {
        let mut arrivals = Arrivals::default();
        arrivals.came(1, OUT, 10);
        arrivals.told(OUT, 3, 0);
        let mut frame = 1;
        while arrivals.position().frame == 0 {
            frame += 1;
            arrivals.came(frame, ERR, 1 << 15);
            arrivals.told(ERR, 1 << 15, 0);
            assert!(frame < 100);
        }
        assert_eq!(arrivals.position(), Position { frame, untold: [7, 0], ..Position::default() });
        arrivals.came(frame + 1, OUT, 10);
        arrivals.told(OUT, 12, 0);
        assert_eq!(arrivals.position(), Position { frame, ahead: [5, 0], ..Position::default() });
        arrivals.told(OUT, 5, 0);
        assert_eq!(arrivals.position(), Position::at(frame + 1));
    }

    #[test]
    fn what_is_lost_stays_lost_until_a_line_begins() {
        let position = Position { frame: 9, untold: [7, 0], ..Position::default() };
        let mut arrivals = Arrivals::after(position);
        arrivals.came(10, OUT, 4);
        arrivals.told(OUT, 4, 0);
        assert_eq!(arrivals.position(), Position { frame: 10, ..position });
        arrivals.found(OUT);
        assert_eq!(arrivals.position(), Position::at(10));
    }

    #[test]
    fn frames_without_bytes_are_told_by_coming() {
        let mut arrivals = Arrivals::default();
        for frame in 1..1_000 {
            arrivals.came(frame, OUT, 0);
        }
        assert_eq!(arrivals.position(), Position::at(999));
    }
}
