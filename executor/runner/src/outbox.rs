//! Frames that the executor has not acknowledged yet.

use std::{
    collections::VecDeque,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
};

use grapnel_run::frame::{Frame, Kind};

/// How many bytes are kept. When they are reached, whoever adds waits, and with it the build's pipe.
const CAPACITY: usize = 4 * 1024 * 1024;

/// What a frame costs beside its bytes, so that a million frames of one byte are not a million for free.
const OVERHEAD: usize = 64;

/// A bounded queue that forgets only what was acknowledged.
#[derive(Default)]
pub struct Outbox {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    frames: VecDeque<Frame>,
    bytes: usize,
    last: u64,
    /// Which connection may take frames. An older connection's writer finds another number here and ends.
    connection: u64,
}

impl Outbox {
    /// Adds a frame under the next number; waits while the outbox is full.
    pub fn push(&self, kind: Kind, payload: Vec<u8>) {
        let mut state = self.lock();
        let cost = payload.len() + OVERHEAD;
        while state.bytes > 0 && state.bytes + cost > CAPACITY {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.last += 1;
        state.bytes += cost;
        let number = state.last;
        state.frames.push_back(Frame { number, kind, payload });
        self.changed.notify_all();
    }

    /// Forgets everything up to `number`.
    pub fn acknowledge(&self, number: u64) {
        let mut state = self.lock();
        while state.frames.front().is_some_and(|frame| frame.number <= number) {
            let frame = state.frames.pop_front();
            state.bytes -= frame.map_or(0, |frame| frame.payload.len() + OVERHEAD);
        }
        self.changed.notify_all();
    }

    /// Makes a new connection the one that takes frames and returns its number.
    pub fn connect(&self) -> u64 {
        let mut state = self.lock();
        state.connection += 1;
        self.changed.notify_all();
        state.connection
    }

    /// Waits for the first frame after `number`; `None` once another connection has taken over.
    pub fn next_after(&self, number: u64, connection: u64) -> Option<Frame> {
        let mut state = self.lock();
        loop {
            if state.connection != connection {
                return None;
            }
            // Numbers have no gaps: the wanted frame's place follows from the first one's.
            let first = state.frames.front().map_or(0, |frame| frame.number);
            let place = usize::try_from((number + 1).saturating_sub(first)).unwrap_or(usize::MAX);
            if let Some(frame) = state.frames.get(place) {
                return Some(frame.clone());
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
