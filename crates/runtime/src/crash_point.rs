//! Where a test can have a process end, as `kill -9` ends it: between every two things that outlive it.

/// Ends the process here, if a test has said so: `FAILPOINTS` names the point, as in `store.claimed=return`, or
/// `journal.event=5*off->return` for the sixth time that it is come to. Nothing is flushed, no destructor runs.
///
/// In release builds, and without the feature `failpoints`, this is nothing. ARCHITECTURE.md lists all points, and a test
/// ends a process at each.
#[inline]
pub fn crash_point(name: &'static str) {
    #[cfg(all(feature = "failpoints", debug_assertions))]
    fail::fail_point!(name, |_| std::process::abort());
    let _ = name;
}

/// Takes from the environment where this process is to end. Call it first, once.
pub fn arm_crash_points() {
    #[cfg(all(feature = "failpoints", debug_assertions))]
    std::mem::forget(fail::FailScenario::setup());
}
