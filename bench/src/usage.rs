//! What a process uses, as the kernel counts it.

use std::{fs, time::Duration};

use anyhow::{Context as _, Result};

/// What a process uses at one moment.
#[derive(Clone, Copy, Debug)]
pub struct Usage {
    /// Resident memory, in MiB.
    pub resident_mib: f64,
    /// The processor's time that it has used since it started.
    pub cpu: Duration,
    /// Open files.
    pub open_files: usize,
}

impl Usage {
    /// Looks at a process.
    ///
    /// # Errors
    /// It is gone.
    pub fn of(pid: u32) -> Result<Self> {
        let process =
            rustix::process::Pid::from_raw(i32::try_from(pid)?).context("no process has this id")?;
        let directory = format!("/proc/{}", process.as_raw_nonzero());
        let status = fs::read_to_string(format!("{directory}/status"))?;
        let kib = status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB"));
        let resident: f64 = kib.context("the kernel does not say")?.parse()?;
        let stat = fs::read_to_string(format!("{directory}/stat"))?;
        // The name may have spaces in it; times are the 12th and 13th field behind it.
        let fields: Vec<_> = stat.rsplit_once(')').context("it is no stat")?.1.split_whitespace().collect();
        let ticks = |at: usize| fields.get(at).and_then(|it| it.parse::<u64>().ok()).context("no times");
        let ticks = ticks(11)? + ticks(12)?;
        let a_second = rustix::param::clock_ticks_per_second();
        Ok(Self {
            resident_mib: resident / 1024.0,
            cpu: Duration::from_secs_f64(ticks as f64 / a_second as f64),
            open_files: fs::read_dir(format!("{directory}/fd"))?.count(),
        })
    }
}
