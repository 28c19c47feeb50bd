//! Time as the shards see it: read once a tick by the reactor, passed in everywhere else.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// One reading of both clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// Microseconds since the process began; never runs backwards.
    pub mono_us: u64,
    /// Microseconds since 1970, for the `ts` of updates.
    pub wall_us: i64,
}

impl Now {
    /// Milliseconds since the process began, wrapping after 49 days: what a connection's record has room for.
    #[must_use]
    pub fn ms(self) -> Ms {
        Ms((self.mono_us / 1000) as u32)
    }
}

/// A wrapping millisecond count. Only differences of less than 24 days mean anything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ms(pub u32);

impl Ms {
    /// Milliseconds from `earlier` to `self`; 0 when `earlier` is later.
    #[must_use]
    pub fn since(self, earlier: Ms) -> u32 {
        let gap = self.0.wrapping_sub(earlier.0);
        if gap > u32::MAX / 2 { 0 } else { gap }
    }
}

/// The operating system's clocks, counted from one start.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    start: Instant,
}

impl Clock {
    /// Starts counting now.
    #[must_use]
    pub fn start() -> Clock {
        Clock {
            start: Instant::now(),
        }
    }

    /// Reads both clocks.
    #[must_use]
    pub fn now(&self) -> Now {
        let wall = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or(Duration::ZERO);
        Now {
            mono_us: self.start.elapsed().as_micros() as u64,
            wall_us: wall.as_micros() as i64,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_survive_the_wrap() {
        assert_eq!(Ms(5).since(Ms(u32::MAX - 4)), 10);
        assert_eq!(Ms(5).since(Ms(10)), 0);
    }
}
