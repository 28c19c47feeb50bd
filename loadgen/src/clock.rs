//! The two clocks of a run. Durations and intended times use the monotonic one, which every process
//! of a host shares; the wall clock only meets the `ts` that a server writes into its frames.

use std::time::{SystemTime, UNIX_EPOCH};

pub use crate::sys::monotonic_ns;

/// The wall clock in nanoseconds since 1970.
pub fn wall_ns() -> i64 {
    match SystemTime::now().duration_since(UNIX_EPOCH) {
        Ok(since) => i64::try_from(since.as_nanos()).unwrap_or(i64::MAX),
        Err(before) => i64::try_from(before.duration().as_nanos()).map_or(i64::MIN, |ns| -ns),
    }
}

/// What must be added to a monotonic time to get the wall clock's, in nanoseconds, as of now.
pub fn wall_offset_ns() -> i64 {
    wall_ns() - monotonic_ns() as i64
}
