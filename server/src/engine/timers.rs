//! When marks have rested long enough: one heap a shard, earliest first.
//!
//! A timer is not taken out when what it was set for goes or gets another time; it is recognised as stale when it comes up, by who
//! set it. Stale ones are swept out when there are more of them than live ones.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Below so many, stale ones are not worth looking for.
const KEPT: usize = 64;

/// That a connection's mark of a topic is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Timer {
    /// Milliseconds on the monotonic clock.
    pub(super) due_ms: u64,
    pub(super) conn: u32,
    pub(super) topic: u32,
}

/// All timers of a shard.
#[derive(Debug, Default)]
pub(super) struct Timers(BinaryHeap<Reverse<Timer>>);

impl Timers {
    /// Sets a timer. `live` is how many there are that are not stale, and `is_live` tells them apart.
    pub(super) fn set(&mut self, timer: Timer, live: usize, is_live: impl Fn(&Timer) -> bool) {
        if self.0.len() >= KEPT.max(2 * live) {
            let mut timers = std::mem::take(&mut self.0).into_vec();
            timers.retain(|Reverse(timer)| is_live(timer));
            timers.sort_unstable();
            timers.dedup();
            self.0 = timers.into();
        }
        self.0.push(Reverse(timer));
    }

    /// When the first is due, milliseconds on the monotonic clock. It may be stale.
    pub(super) fn next_due_ms(&self) -> Option<u64> {
        self.0.peek().map(|Reverse(timer)| timer.due_ms)
    }

    /// Takes the first if it is due. It may be stale.
    pub(super) fn pop_due(&mut self, now_ms: u64) -> Option<Timer> {
        if self.next_due_ms()? > now_ms {
            return None;
        }
        self.0.pop().map(|Reverse(timer)| timer)
    }

    /// How many there are, stale ones included.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn used_bytes(&self) -> usize {
        self.0.len() * size_of::<Timer>()
    }

    pub(super) fn held_bytes(&self) -> usize {
        self.0.capacity() * size_of::<Timer>()
    }
}
