//! Whose turn it is to be written to: at the end of the tick, or, with a flush interval, when the interval is over.
//!
//! With an interval, updates wait until it has passed since the last ones were let go, so that a connection gets more of
//! them in one write. What a connection asked for itself waits for nothing, and takes along what lies before it.

/// So many that have been taken may still lie in the list.
const TAKEN_MAX: usize = 1024;

/// Connections with new output.
#[derive(Debug)]
pub(super) struct Turns {
    /// In the order they came; those before `at` have been taken. May name one twice if there is an interval.
    ready: Vec<u32>,
    at: usize,
    /// How many were taken before the first of `ready`.
    gone: u64,
    /// Those that wait for the end of the interval.
    held_back: Vec<u32>,
    /// 0: nothing is held back.
    interval_us: u64,
    /// When they are let go, microseconds on the monotonic clock.
    release_us: u64,
}

impl Turns {
    pub(super) fn new(interval_us: u32) -> Turns {
        Turns {
            ready: Vec::new(),
            at: 0,
            gone: 0,
            held_back: Vec::new(),
            interval_us: interval_us.into(),
            release_us: 0,
        }
    }

    /// This connection is to be written to at the end of the tick.
    #[inline]
    pub(super) fn add(&mut self, index: u32) {
        self.ready.push(index);
    }

    /// This one too, or when the interval is over.
    #[inline]
    pub(super) fn add_update(&mut self, index: u32) {
        if self.interval_us == 0 {
            self.ready.push(index);
        } else {
            self.held_back.push(index);
        }
    }

    /// Whether updates may be held back; then one that was added may have to be added again to be written at once.
    pub(super) fn has_interval(&self) -> bool {
        self.interval_us > 0
    }

    /// Whether anybody is held back now.
    pub(super) fn is_holding_back(&self) -> bool {
        !self.held_back.is_empty()
    }

    /// Takes the next.
    pub(super) fn next(&mut self) -> Option<u32> {
        let next = self.ready.get(self.at).copied();
        self.at += usize::from(next.is_some());
        // Under load there is always a next: what has been taken must go all the same.
        if self.at == self.ready.len() || (self.at >= TAKEN_MAX && self.at * 2 >= self.ready.len())
        {
            self.ready.drain(..self.at);
            self.gone += self.at as u64;
            self.at = 0;
        }
        next
    }

    /// How many have been taken since the start.
    pub(super) fn position(&self) -> u64 {
        self.gone + self.at as u64
    }

    /// The position when all who are ready now will have been taken.
    pub(super) fn end(&self) -> u64 {
        self.gone + self.ready.len() as u64
    }

    /// Whether there is a next.
    pub(super) fn has_next(&self) -> bool {
        self.at < self.ready.len()
    }

    /// When [`Turns::release`] is due, if anybody is held back.
    pub(super) fn release_us(&self) -> Option<u64> {
        (!self.held_back.is_empty()).then_some(self.release_us)
    }

    /// Lets those go who were held back, if the interval is over or `at_once`.
    pub(super) fn release(&mut self, now_us: u64, at_once: bool) {
        if self.held_back.is_empty() || (now_us < self.release_us && !at_once) {
            return;
        }
        self.ready.append(&mut self.held_back);
        self.release_us = now_us + self.interval_us;
    }

    /// The heap it holds, bytes.
    pub(super) fn held_bytes(&self) -> u64 {
        ((self.ready.capacity() + self.held_back.capacity()) * size_of::<u32>()) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(turns: &mut Turns) -> Vec<u32> {
        std::iter::from_fn(|| turns.next()).collect()
    }

    #[test]
    fn without_an_interval_everybody_is_next() {
        let mut turns = Turns::new(0);
        turns.add_update(1);
        turns.add(2);
        assert_eq!(taken(&mut turns), [1, 2]);
    }

    #[test]
    fn a_list_that_never_runs_empty_does_not_grow() {
        let mut turns = Turns::new(0);
        (0..5_000).for_each(|index| turns.add_update(index));
        for round in 0..100_000 {
            assert_eq!(turns.next(), Some(round % 5_000));
            turns.add_update(round % 5_000);
        }
        assert_eq!((turns.position(), turns.end()), (100_000, 105_000));
        assert!(
            turns.held_bytes() <= 4 * 4 * 5_000,
            "{}",
            turns.held_bytes()
        );
    }

    #[test]
    fn after_a_rest_updates_go_at_once_and_then_once_an_interval() {
        let mut turns = Turns::new(40_000);
        turns.add_update(1);
        turns.release(1_000_000, false);
        assert_eq!(taken(&mut turns), [1]);
        turns.add_update(1);
        turns.release(1_010_000, false);
        assert!(!turns.has_next());
        assert_eq!(turns.release_us(), Some(1_040_000));
        turns.add_update(2);
        turns.release(1_040_000, false);
        assert_eq!(taken(&mut turns), [1, 2]);
        assert_eq!(turns.release_us(), None);
    }

    #[test]
    fn what_was_asked_for_does_not_wait_and_pressure_ends_the_wait() {
        let mut turns = Turns::new(40_000);
        turns.add_update(1);
        turns.release(0, false);
        taken(&mut turns);
        turns.add_update(1);
        turns.add(2);
        assert_eq!(taken(&mut turns), [2]);
        turns.release(1, true);
        assert_eq!(taken(&mut turns), [1]);
    }
}
