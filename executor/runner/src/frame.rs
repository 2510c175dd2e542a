//! Frames: a number, a kind, a length, bytes. All integers are little-endian.

use std::io::{self, Read, Write};

/// Bytes of a frame's head: number (8), kind (1), length (4).
pub const HEAD: usize = 13;

/// The most bytes that a frame carries from the sandbox.
pub const MAX_OUTPUT: usize = 64 * 1024;

/// The most bytes that a frame carries into the sandbox: a step with its whole environment.
pub const MAX_INPUT: usize = 4 * 1024 * 1024;

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// Into the sandbox: run a step. The number is the step's; a step that ran already is not run again.
    Step = 1,
    /// Into the sandbox: everything up to this number has arrived. The first frame of every connection.
    Ack = 2,
    /// Out of it: the runner is there. The first frame of every connection; its number is 0.
    Hello = 16,
    /// Out of it: standard output of the running step.
    Stdout = 17,
    /// Out of it: standard error of the running step.
    Stderr = 18,
    /// Out of it: the running step has ended.
    Exited = 19,
}

impl Kind {
    fn from_byte(byte: u8) -> Option<Self> {
        [Self::Step, Self::Ack, Self::Hello, Self::Stdout, Self::Stderr, Self::Exited]
            .into_iter()
            .find(|kind| *kind as u8 == byte)
    }
}

/// One frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Its number; see [`Kind`].
    pub number: u64,
    /// What it is.
    pub kind: Kind,
    /// What it carries.
    pub payload: Vec<u8>,
}

/// The head of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// The frame's number.
    pub number: u64,
    /// What it is.
    pub kind: Kind,
    /// How many bytes follow.
    pub length: usize,
}

impl Head {
    /// Reads a head. `limit` is the most bytes that may follow.
    ///
    /// # Errors
    /// The kind is none, or more bytes are announced than may follow.
    pub fn decode(bytes: &[u8; HEAD], limit: usize) -> io::Result<Self> {
        let [n0, n1, n2, n3, n4, n5, n6, n7, kind, l0, l1, l2, l3] = *bytes;
        let number = u64::from_le_bytes([n0, n1, n2, n3, n4, n5, n6, n7]);
        let length = u32::from_le_bytes([l0, l1, l2, l3]) as usize;
        let kind = Kind::from_byte(kind).ok_or_else(|| invalid("a frame of no known kind"))?;
        if length > limit {
            return Err(invalid("a frame longer than allowed"));
        }
        Ok(Self { number, kind, length })
    }
}

impl Frame {
    /// Writes the frame as bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEAD + self.payload.len());
        bytes.extend_from_slice(&self.number.to_le_bytes());
        bytes.push(self.kind as u8);
        let length = u32::try_from(self.payload.len()).unwrap_or(u32::MAX);
        bytes.extend_from_slice(&length.to_le_bytes());
        bytes.extend_from_slice(&self.payload);
        bytes
    }

    /// Reads one frame, waiting for it.
    ///
    /// # Errors
    /// The connection ended or broke, or what came is no frame.
    pub fn read(from: &mut impl Read, limit: usize) -> io::Result<Self> {
        let mut head = [0; HEAD];
        from.read_exact(&mut head)?;
        let head = Head::decode(&head, limit)?;
        let mut payload = vec![0; head.length];
        from.read_exact(&mut payload)?;
        Ok(Self { number: head.number, kind: head.kind, payload })
    }

    /// Sends the frame.
    ///
    /// # Errors
    /// The connection broke.
    pub fn write(&self, to: &mut impl Write) -> io::Result<()> {
        to.write_all(&self.encode())
    }
}

pub(crate) fn invalid(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.to_owned())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_frame_reads_back(number: u64, payload in proptest::collection::vec(any::<u8>(), 0..2000)) {
            let frame = Frame { number, kind: Kind::Stdout, payload };
            prop_assert_eq!(Frame::read(&mut frame.encode().as_slice(), MAX_OUTPUT).unwrap(), frame);
        }

        #[test]
        fn any_bytes_are_a_frame_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = Frame::read(&mut bytes.as_slice(), MAX_OUTPUT);
        }
    }

    #[test]
    fn a_length_over_the_limit_is_refused_before_anything_is_reserved() {
        let mut bytes = [0; HEAD];
        bytes[8] = Kind::Stdout as u8;
        bytes[9..].copy_from_slice(&u32::MAX.to_le_bytes());
        assert!(Head::decode(&bytes, MAX_OUTPUT).is_err());
    }
}
