//! `grapnel-run <socket> [--open-files=<number>]`: the first process of a sandbox. (`grapnel-run --try <address>…` tries a
//! sandbox's network.)
//!
//! It connects out to the executor's socket, runs the steps that come, one after the other, and sends what they
//! print and how they end. It holds no secret longer than a step, and the build cannot look into it: it is not
//! dumpable, so that its memory and `/proc/1/environ` are closed to processes of the same user.

mod outbox;
mod step;
mod trial;

use std::{io, os::unix::net::UnixStream, process::ExitCode, sync::Arc, thread, time::Duration};

use grapnel_run::{
    frame::{Frame, Kind, MAX_INPUT},
    message::StepRequest,
};
use outbox::Outbox;
use rustix::process::{DumpableBehavior, Resource, Rlimit, getrlimit, set_dumpable_behavior, setrlimit};

/// The version of what both ends say to each other.
const PROTOCOL: u16 = 1;

/// How often, and how many times, the executor is looked for again: an executor that restarts is back within a
/// minute, and a sandbox that nobody wants ends by itself.
const RETRY: Duration = Duration::from_millis(50);
const RETRIES: u32 = 1_200;

fn main() -> ExitCode {
    let Some(socket) = std::env::args_os().nth(1) else {
        eprintln!("usage: grapnel-run <socket> [--open-files=<number>] | --try <address>…");
        return ExitCode::from(2);
    };
    if socket == "--try" {
        return trial::run(std::env::args().skip(2));
    }
    if let Err(error) = set_dumpable_behavior(DumpableBehavior::NotDumpable) {
        eprintln!("grapnel-run: the process cannot be closed to the build: {error}");
        return ExitCode::FAILURE;
    }
    let open_files = std::env::args().nth(2);
    let limited = open_files.as_deref().map(|it| limit(it.strip_prefix("--open-files=").unwrap_or_default()));
    if let Some(Err(error)) = limited {
        eprintln!("grapnel-run: the sandbox's limits cannot be set: {error}");
        return ExitCode::FAILURE;
    }
    let outbox = Arc::new(Outbox::default());
    let mut last_step = 0;
    let mut misses = 0;
    while misses < RETRIES {
        match UnixStream::connect(&socket) {
            Ok(stream) => {
                misses = 0;
                // An executor that closes the connection comes back, or the sandbox is ended from outside.
                let _ = serve(&stream, &outbox, &mut last_step);
                let _ = stream.shutdown(std::net::Shutdown::Both);
            }
            Err(_) => misses += 1,
        }
        step::pause(RETRY);
    }
    eprintln!("grapnel-run: the executor is gone");
    ExitCode::FAILURE
}

/// Limits how many files a process may have open, and lets none leave its memory in a file: not all engines can.
fn limit(open_files: &str) -> io::Result<()> {
    let wanted: u64 = open_files.parse().map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    let at_most = |resource, wanted: u64| {
        let most = Some(getrlimit(resource).maximum.map_or(wanted, |most| most.min(wanted)));
        setrlimit(resource, Rlimit { current: most, maximum: most })
    };
    at_most(Resource::Nofile, wanted)?;
    Ok(at_most(Resource::Core, 0)?)
}

/// Serves one connection until it ends.
fn serve(stream: &UnixStream, outbox: &Arc<Outbox>, last_step: &mut u64) -> io::Result<()> {
    let mut reader = stream;
    let mut writer = stream.try_clone()?;
    Frame { number: 0, kind: Kind::Hello, payload: PROTOCOL.to_le_bytes().to_vec() }.write(&mut writer)?;
    let first = Frame::read(&mut reader, MAX_INPUT)?;
    if first.kind != Kind::Ack {
        return Err(io::ErrorKind::InvalidData.into());
    }
    outbox.acknowledge(first.number);
    let connection = outbox.connect();
    let sending = outbox.clone();
    thread::spawn(move || {
        let mut sent = first.number;
        while let Some(frame) = sending.next_after(sent, connection) {
            sent = frame.number;
            if frame.write(&mut writer).is_err() {
                return;
            }
        }
    });
    loop {
        let frame = Frame::read(&mut reader, MAX_INPUT)?;
        match frame.kind {
            Kind::Ack => outbox.acknowledge(frame.number),
            Kind::Step if frame.number > *last_step => {
                *last_step = frame.number;
                let request = StepRequest::decode(&frame.payload)?;
                let outbox = outbox.clone();
                thread::spawn(move || step::run(request, &outbox));
            }
            Kind::Step => {}
            Kind::Hello | Kind::Stdout | Kind::Stderr | Kind::Exited => {
                return Err(io::ErrorKind::InvalidData.into());
            }
        }
    }
}
