//! How old updates are when they have been written: from the time their owner gave them to the end of the writes in which
//! they were handed to sockets.
//!
//! A fan-out notes one line, however many take it, and updates of one time share it; nothing is done for a delivery. The line
//! remembers which turns lay ahead when it was noted. When a tick's writes are over it is counted for as many of its
//! deliveries as turns have been taken since, which is exact when all are, and spreads them evenly when a tick was too short.
//! What is queued for a socket that takes no more is counted with the others: this is the server's lag, not the reader's.

use std::collections::VecDeque;

use super::turns::Turns;
use crate::metrics::Histogram;

/// Deliveries of updates of one time that are still to be written.
#[derive(Clone, Copy, Debug)]
struct Noted {
    ts_us: i64,
    deliveries: u64,
    /// The turns in which they are: from here, and before that. `None` while a flush interval holds them back.
    turns: Option<(u64, u64)>,
}

/// The lags of a shard's deliveries.
#[derive(Debug, Default)]
pub(super) struct Lags {
    pub(super) all: Histogram,
    /// The oldest first.
    noted: VecDeque<Noted>,
}

impl Lags {
    /// An update of `ts_us` was queued to so many.
    #[inline]
    pub(super) fn note(&mut self, ts_us: i64, deliveries: u64, turns: &Turns) {
        if deliveries == 0 {
            return;
        }
        let ahead = (!turns.is_holding_back()).then(|| (turns.position(), turns.end()));
        if let Some(last) = self.noted.back_mut()
            && last.ts_us == ts_us
            && last.turns.map(|turns| turns.0) == ahead.map(|turns| turns.0)
        {
            last.deliveries += deliveries;
            last.turns = ahead;
            return;
        }
        self.noted.push_back(Noted {
            ts_us,
            deliveries,
            turns: ahead,
        });
    }

    /// The writes of a tick are over, at `wall_us` microseconds since 1970.
    pub(super) fn settle(&mut self, wall_us: i64, turns: &Turns) {
        let taken = turns.position();
        let Lags { all, noted } = self;
        noted.retain_mut(|noted| {
            if noted.turns.is_none() && !turns.is_holding_back() {
                // They have been let go in this tick; those who were written to at once do not wait for the others.
                noted.turns = Some((taken, turns.end()));
            }
            let Some((from, to)) = noted.turns else {
                return true;
            };
            // The wall clock may have been set back.
            let lag_us = (wall_us - noted.ts_us).max(0) as u64;
            if taken >= to {
                all.add_many(lag_us, noted.deliveries);
                return false;
            }
            let written = noted.deliveries * (taken - from) / (to - from);
            all.add_many(lag_us, written);
            noted.deliveries -= written;
            noted.turns = Some((taken, to));
            true
        });
    }

    /// The heap it holds, bytes.
    pub(super) fn held_bytes(&self) -> u64 {
        (self.noted.capacity() * size_of::<Noted>()) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(turns: &mut Turns, count: usize) {
        (0..count).for_each(|_| assert!(turns.next().is_some()));
    }

    #[test]
    fn updates_of_one_time_share_a_line_and_are_counted_when_all_is_written() {
        let (mut lags, mut turns) = (Lags::default(), Turns::new(0));
        (0..4).for_each(|index| turns.add_update(index));
        for _ in 0..10 {
            lags.note(1_000, 4, &turns);
        }
        lags.note(1_500, 0, &turns);
        assert_eq!(lags.noted.len(), 1);
        take(&mut turns, 4);
        lags.settle(1_300, &turns);
        assert_eq!((lags.all.count(), lags.all.sum_us()), (40, 40 * 300));
        assert!(lags.noted.is_empty());
    }

    #[test]
    fn what_a_tick_did_not_come_to_is_counted_when_it_is_written() {
        let (mut lags, mut turns) = (Lags::default(), Turns::new(0));
        (0..100).for_each(|index| turns.add_update(index));
        lags.note(0, 100, &turns);
        take(&mut turns, 40);
        lags.settle(1_000, &turns);
        assert_eq!((lags.all.count(), lags.all.sum_us()), (40, 40_000));
        // More has come meanwhile, behind it.
        (0..40).for_each(|index| turns.add_update(index));
        lags.note(1_000, 40, &turns);
        take(&mut turns, 60);
        lags.settle(2_000, &turns);
        assert_eq!(lags.all.sum_us(), 40_000 + 60 * 2_000 + 24 * 1_000);
        take(&mut turns, 40);
        lags.settle(3_000, &turns);
        assert_eq!(lags.all.count(), 140);
        assert!(lags.noted.is_empty());
    }

    #[test]
    fn what_is_held_back_is_as_old_as_its_release() {
        let (mut lags, mut turns) = (Lags::default(), Turns::new(40_000));
        turns.release(1_000_000, false);
        turns.add_update(1);
        turns.release(1_000_000, false);
        take(&mut turns, 1);
        turns.add_update(1);
        lags.note(0, 1, &turns);
        lags.settle(5_000, &turns);
        assert_eq!(lags.all.count(), 0);
        turns.release(1_040_000, false);
        take(&mut turns, 1);
        lags.settle(40_000, &turns);
        assert_eq!(lags.all.sum_us(), 40_000);
    }

    #[test]
    fn a_clock_that_was_set_back_makes_no_lag() {
        let (mut lags, turns) = (Lags::default(), Turns::new(0));
        lags.note(9_000, 3, &turns);
        lags.settle(1_000, &turns);
        assert_eq!((lags.all.count(), lags.all.sum_us()), (3, 0));
    }
}
