//! The run of the machine that this process is a part of, and its clock, which nobody sets: what one process notes of
//! them, another understands as long as the machine runs.

use std::{fs, time::Duration};

/// Returns what names this run of the machine; empty where the system does not say.
pub fn id() -> String {
    let id = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    id.trim().to_owned()
}

/// Returns how long the machine runs already, sleep included; see proc_uptime(5).
pub fn uptime() -> Duration {
    let text = fs::read_to_string("/proc/uptime").unwrap_or_default();
    let seconds = text.split_whitespace().next().and_then(|seconds| seconds.parse().ok());
    Duration::try_from_secs_f64(seconds.unwrap_or_default()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_machine_runs_and_has_a_name_for_that() {
        assert!(!super::id().is_empty());
        assert!(!super::uptime().is_zero());
    }
}
