//! The wall clock of a case's processes, which can be set without touching the machine's.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// Where Debian has the library that tells a process another time; between these is the machine's architecture.
const LIBRARY: (&str, &str) = ("/usr/lib", "faketime/libfaketimeMT.so.1");

/// A clock that is ahead of the machine's, or behind it. What counts time without telling it, such as a timer, goes on as ever.
#[derive(Debug)]
pub struct Clock {
    file: PathBuf,
    library: PathBuf,
}

impl Clock {
    /// Starts one that is right, and is kept in a file.
    ///
    /// # Panics
    /// The library is not installed.
    pub fn kept_in(file: PathBuf) -> Self {
        let below = fs::read_dir(LIBRARY.0).into_iter().flatten().flatten();
        let library = below.map(|entry| entry.path().join(LIBRARY.1)).find(|path| path.is_file());
        let library = library.expect("faketime is installed; `make setup` does that");
        let clock = Self { file, library };
        clock.set(0);
        clock
    }

    /// Sets it so many seconds ahead.
    ///
    /// # Panics
    /// The file cannot be written.
    pub fn set(&self, seconds: i64) {
        let next = self.file.with_extension("next");
        fs::write(&next, format!("{seconds:+}")).expect("the clock can be set");
        fs::rename(next, &self.file).expect("the clock can be set");
    }

    /// Returns the variables of processes that go by it.
    pub fn variables(&self) -> [(&'static str, &Path); 4] {
        [
            ("LD_PRELOAD", &self.library),
            ("FAKETIME_TIMESTAMP_FILE", &self.file),
            ("FAKETIME_NO_CACHE", Path::new("1")),
            ("FAKETIME_DONT_FAKE_MONOTONIC", Path::new("1")),
        ]
    }
}
