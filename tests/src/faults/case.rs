//! One case: what is done, to what, and how often.

use std::{fmt, ops::Range, time::Duration};

use rand::{RngExt as _, SeedableRng as _, rngs::StdRng, seq::IndexedRandom as _, seq::SliceRandom as _};
use rustix::process::Signal;
use tokio::time::Instant;

use super::{
    Row,
    installation::Installation,
    line::Quality,
    load::Load,
    parts::{Database, Extra, Part, Place, Shape},
    verdict,
};

/// How many hooks are requested at once, each of a project of its own, where nothing else is said.
const HOOKS: usize = 6;

/// How long everything is left alone before the next fault, and how long a fault lasts where nothing else is said, in seconds.
const ALONE: Range<f64> = 0.2..1.5;
const LASTS: Range<f64> = 0.0..1.0;

/// How often a full disk takes what has become free meanwhile.
const FILL_AGAIN: Duration = Duration::from_millis(20);

/// How far clocks are set, in seconds.
const LEAPS: [i64; 5] = [-3600, 3600, -86_400, 60, 0];

/// What is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A part is killed, and started again.
    Kill(Part),
    /// Any process of three of each kind is.
    KillAny,
    /// Everything is at once, and is started again in any order.
    KillAll,
    /// Any process of three of each kind is stopped where it is, and goes on.
    Freeze,
    /// Any process of three of each kind is told to stop, sometimes twice, and is started again when it has ended.
    Terminate,
    /// Any process can open nothing more: no file, no connection.
    NoFiles,
    /// The lines between hooks services and executors are made so.
    Line(Quality),
    /// A place has no room.
    Full(Place),
    /// A machine's clock is set: each process's own where there are three of each kind, else that of all.
    Clock,
}

/// A case, to be tried.
#[derive(Clone, Debug)]
pub struct Case {
    fault: Fault,
    database: Database,
    lasts: Range<f64>,
    hooks: usize,
    triggers: usize,
}

impl Case {
    /// Takes what is done, and over which database.
    pub fn new(fault: Fault, database: Database) -> Self {
        Self { fault, database, lasts: LASTS, hooks: HOOKS, triggers: 0 }
    }

    /// Has each fault last for some of these seconds.
    #[must_use]
    pub fn lasting(self, lasts: Range<f64>) -> Self {
        Self { lasts, ..self }
    }

    /// Has so many hooks be requested, until at least so many triggers were answered, with faults all the while.
    #[must_use]
    pub fn under(self, hooks: usize, triggers: usize) -> Self {
        Self { hooks, triggers, ..self }
    }

    fn shape(&self) -> Shape {
        let of_each = match (self.fault, self.database) {
            (Fault::KillAny | Fault::Freeze | Fault::Terminate, _) | (Fault::Clock, Database::Postgres) => 3,
            _ => 1,
        };
        let extras = match self.fault {
            Fault::Kill(Part::Engine) | Fault::KillAll => vec![Extra::OwnEngine],
            Fault::Line(_) => vec![Extra::Lines],
            Fault::Full(place) => vec![Extra::SmallDisk(place)],
            Fault::Clock => vec![Extra::Clocks],
            Fault::Kill(_) | Fault::KillAny | Fault::Freeze | Fault::Terminate | Fault::NoFiles => Vec::new(),
        };
        Shape { database: self.database, of_each, extras }
    }

    /// Does it so many times under a steady load of triggers, at moments that follow from the seed, and judges.
    ///
    /// # Panics
    /// The installation does not start, or does not answer any more when all of it is back.
    pub async fn run(&self, times: u32, seed: u64) -> Row {
        let mut random = StdRng::seed_from_u64(seed);
        let mut installation = Installation::start(self.shape()).await;
        let urls = installation.hooks(self.hooks).await;
        let load = Load::start(urls);
        let mut done = 0;
        while done < times || load.answered() < self.triggers {
            pause(random.random_range(ALONE)).await;
            self.strike(&mut installation, &mut random).await;
            done += 1;
        }
        if self.fault == Fault::Clock {
            // A store of artifacts takes no request that was signed at another time, so nothing is served until this.
            installation.processes().into_iter().for_each(|part| installation.set_clock(part, 0));
        }
        pause(ALONE.end).await;
        let answered = load.stop().await;
        let verdict = verdict::of(&installation, &answered).await;
        let logs = if verdict.holds() { String::new() } else { installation.logs() };
        Row { case: self.to_string(), times: done, verdict, logs }
    }

    async fn strike(&self, installation: &mut Installation, random: &mut StdRng) {
        let lasts = random.random_range(self.lasts.clone());
        match self.fault {
            Fault::Kill(part) => {
                installation.kill(part);
                pause(lasts).await;
                installation.start_again(part).await;
            }
            Fault::KillAny => {
                let part = any(&installation.processes(), random);
                installation.kill(part);
                pause(lasts).await;
                installation.start_again(part).await;
            }
            Fault::KillAll => {
                let mut parts = installation.parts();
                parts.iter().for_each(|part| installation.kill(*part));
                pause(lasts).await;
                parts.shuffle(random);
                for part in parts {
                    installation.start_again(part).await;
                }
            }
            Fault::Freeze => {
                let part = any(&installation.processes(), random);
                installation.signal(part, Signal::STOP);
                pause(lasts).await;
                installation.signal(part, Signal::CONT);
            }
            Fault::Terminate => {
                let part = any(&installation.processes(), random);
                installation.signal(part, Signal::TERM);
                pause(lasts).await;
                let again = random.random_bool(0.3);
                while installation.ended(part).is_none() {
                    if again {
                        installation.signal(part, Signal::TERM);
                    }
                    pause(0.1).await;
                }
                installation.start_again(part).await;
            }
            Fault::NoFiles => {
                let part = any(&installation.processes(), random);
                installation.limit_files(part, true);
                pause(lasts).await;
                installation.limit_files(part, false);
            }
            Fault::Line(quality) => {
                installation.make_lines(quality);
                pause(lasts).await;
                installation.make_lines(Quality::Good);
            }
            Fault::Full(_) => {
                let until = Instant::now() + Duration::from_secs_f64(lasts);
                while Instant::now() < until {
                    installation.disk().fill();
                    tokio::time::sleep(FILL_AGAIN).await;
                }
                installation.disk().free();
            }
            Fault::Clock => {
                let seconds = any(&LEAPS, random);
                let of = any(&installation.processes(), random);
                for part in installation.processes() {
                    if part == of || self.database == Database::Sqlite {
                        installation.set_clock(part, seconds);
                    }
                }
            }
        }
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.fault {
            Fault::Kill(part) => write!(f, "kill -9 of {part}"),
            Fault::KillAny => f.write_str("kill -9 of any of 3 of each"),
            Fault::KillAll => f.write_str("kill -9 of everything at once"),
            Fault::Freeze => f.write_str("SIGSTOP of any of 3 of each"),
            Fault::Terminate => f.write_str("SIGTERM of any of 3 of each"),
            Fault::NoFiles => f.write_str("no file descriptor left"),
            Fault::Line(quality) => write!(f, "line to the executor {quality}"),
            Fault::Full(place) => write!(f, "no room for {}", place.directory()),
            Fault::Clock => f.write_str("clock set"),
        }?;
        write!(f, " over {}", self.database)
    }
}

fn any<T: Copy>(of: &[T], random: &mut StdRng) -> T {
    *of.choose(random).expect("there are some")
}

async fn pause(seconds: f64) {
    tokio::time::sleep(Duration::from_secs_f64(seconds)).await;
}
