//! What frames carry.

use std::io;

use crate::frame::invalid;

/// A step to run: a command line for `sh -c`, in a directory, with these variables on top of the image's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StepRequest {
    /// The command line.
    pub command: String,
    /// The directory to run it in.
    pub directory: String,
    /// Names and values.
    pub environment: Vec<(String, String)>,
}

/// How a step ended, and what it used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StepExit {
    /// The exit code; 128 + signal where a signal ended it, as shells say it.
    pub code: i32,
    /// The signal that ended it, or 0.
    pub signal: i32,
    /// CPU time of the step and all it waited for, in milliseconds.
    pub cpu_ms: u64,
    /// The most memory that the sandbox used so far, in bytes; 0 where the kernel does not say.
    pub peak_memory: u64,
}

impl StepRequest {
    /// Writes the request: each text as its length (4 bytes) and its bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        put(&mut bytes, &self.command);
        put(&mut bytes, &self.directory);
        for (name, value) in &self.environment {
            put(&mut bytes, name);
            put(&mut bytes, value);
        }
        bytes
    }

    /// Reads a request.
    ///
    /// # Errors
    /// The bytes are no request.
    pub fn decode(mut bytes: &[u8]) -> io::Result<Self> {
        let command = take(&mut bytes)?;
        let directory = take(&mut bytes)?;
        let mut environment = Vec::new();
        while !bytes.is_empty() {
            environment.push((take(&mut bytes)?, take(&mut bytes)?));
        }
        Ok(Self { command, directory, environment })
    }
}

impl StepExit {
    /// Writes the exit.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(24);
        bytes.extend_from_slice(&self.code.to_le_bytes());
        bytes.extend_from_slice(&self.signal.to_le_bytes());
        bytes.extend_from_slice(&self.cpu_ms.to_le_bytes());
        bytes.extend_from_slice(&self.peak_memory.to_le_bytes());
        bytes
    }

    /// Reads an exit.
    ///
    /// # Errors
    /// The bytes are no exit.
    pub fn decode(bytes: &[u8]) -> io::Result<Self> {
        let bytes: &[u8; 24] = bytes.try_into().map_err(|_| invalid("an exit of another length"))?;
        let (numbers, long) = bytes.split_at(8);
        let four = |at: usize| numbers[at..at + 4].try_into().map(i32::from_le_bytes);
        let eight = |at: usize| long[at..at + 8].try_into().map(u64::from_le_bytes);
        let broken = |_| invalid("an exit that is cut");
        Ok(Self {
            code: four(0).map_err(broken)?,
            signal: four(4).map_err(broken)?,
            cpu_ms: eight(0).map_err(broken)?,
            peak_memory: eight(8).map_err(broken)?,
        })
    }
}

fn put(bytes: &mut Vec<u8>, text: &str) {
    bytes.extend_from_slice(&u32::try_from(text.len()).unwrap_or(u32::MAX).to_le_bytes());
    bytes.extend_from_slice(text.as_bytes());
}

fn take(bytes: &mut &[u8]) -> io::Result<String> {
    let (length, rest) = bytes.split_first_chunk::<4>().ok_or_else(|| invalid("a text that is cut"))?;
    let length = u32::from_le_bytes(*length) as usize;
    let (text, rest) = rest.split_at_checked(length).ok_or_else(|| invalid("a text that is cut"))?;
    *bytes = rest;
    String::from_utf8(text.to_vec()).map_err(|_| invalid("a text that is not UTF-8"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_step_reads_back(command: String, directory: String, environment: Vec<(String, String)>) {
            let request = StepRequest { command, directory, environment };
            prop_assert_eq!(StepRequest::decode(&request.encode()).unwrap(), request);
        }

        #[test]
        fn an_exit_reads_back(code: i32, signal: i32, cpu_ms: u64, peak_memory: u64) {
            let exit = StepExit { code, signal, cpu_ms, peak_memory };
            prop_assert_eq!(StepExit::decode(&exit.encode()).unwrap(), exit);
        }

        #[test]
        fn any_bytes_are_a_message_or_an_error(bytes: Vec<u8>) {
            let _ = (StepRequest::decode(&bytes), StepExit::decode(&bytes));
        }
    }
}
