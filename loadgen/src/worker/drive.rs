//! Doing one thing on every connection, paced: an open-loop schedule says when the next one begins,
//! a bound says how many may wait for an answer, and those that wait too long are handed back.
//! Knows slots and times, no sockets.

use crate::phase::Pace;
use crate::schedule::Schedule;
use std::collections::VecDeque;

/// How long after a failure a connection is tried again.
const RETRY_AFTER_NS: u64 = 250_000_000;

/// What is being done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Job {
    /// Opening connections.
    Connect,
    /// Subscribing.
    Subscribe,
    /// Closing connections.
    Close,
    /// Opening connections, and subscribing as soon as one is open.
    Join,
    /// Closing connections that may come back.
    Leave,
    /// Closing connections, and opening each again.
    Churn,
}

/// Something that waits for its answer. It is out of date if the slot has meanwhile begun something
/// else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flight {
    /// The slot.
    pub slot: u32,
    /// When it began; with the slot, its identity.
    pub since_ns: u64,
}

/// One job over some slots.
///
/// Each slot that [`Drive::due`] hands out must end in exactly one of [`Drive::settle`] or
/// [`Drive::retry`]; if it was [`Drive::launch`]ed in between, [`Drive::land`] comes first.
#[derive(Debug)]
pub struct Drive {
    /// What is being done.
    pub job: Job,
    schedule: Schedule,
    /// In their order; four bytes a connection, while the job lasts.
    slots: Vec<u32>,
    /// How many are to be done; the slots go round until then.
    count: u32,
    next: u32,
    /// Slots whose next part is due at once.
    follow: Vec<u32>,
    /// Slots to be tried again, and when; in the order of their times.
    again: VecDeque<(u64, u32)>,
    /// Oldest first. Those that have landed stay until they reach the front.
    flights: VecDeque<Flight>,
    in_flight: u32,
    in_flight_max: u32,
    answer_timeout_ns: u64,
    unsettled: u32,
    /// How far the schedule was behind at worst.
    lag_max_ns: u64,
}

impl Drive {
    /// `index` of `members` that share the pace's rate.
    pub fn new(job: Job, slots: Vec<u32>, pace: &Pace, index: usize, members: usize) -> Drive {
        let count = slots.len() as u32;
        Drive {
            job,
            schedule: Schedule::interleaved(pace.start_ns, pace.per_s, index, members),
            slots,
            count,
            next: 0,
            follow: Vec::new(),
            again: VecDeque::new(),
            flights: VecDeque::new(),
            in_flight: 0,
            in_flight_max: pace.in_flight_max.max(1),
            answer_timeout_ns: pace.answer_timeout_ns,
            unsettled: count,
            lag_max_ns: 0,
        }
    }

    /// Goes round the slots for as long as the schedule has something due before `end_ns`.
    pub fn until(mut self, end_ns: u64) -> Drive {
        if !self.slots.is_empty() {
            self.count = self.schedule.left_before(end_ns) as u32;
            self.unsettled = self.count;
        }
        self
    }

    /// The next slot to begin, if one is due and may be in flight. Call until `None`.
    pub fn due(&mut self, now_ns: u64) -> Option<u32> {
        if self.in_flight >= self.in_flight_max {
            return None;
        }
        if let Some(slot) = self.follow.pop() {
            return Some(slot);
        }
        if let Some((_, slot)) = self.again.pop_front_if(|(at_ns, _)| *at_ns <= now_ns) {
            return Some(slot);
        }
        if self.next == self.count {
            return None;
        }
        let intended_ns = self.schedule.take(now_ns)?;
        if self.schedule.is_paced() {
            self.lag_max_ns = self.lag_max_ns.max(now_ns - intended_ns);
        }
        self.next += 1;
        Some(self.slots[(self.next - 1) as usize % self.slots.len()])
    }

    /// The slot waits for an answer from now on.
    pub fn launch(&mut self, flight: Flight) {
        self.in_flight += 1;
        self.flights.push_back(flight);
    }

    /// Its waiting is over, whatever came of it.
    pub fn land(&mut self) {
        debug_assert!(self.in_flight > 0, "only what was launched can land");
        self.in_flight -= 1;
    }

    /// The slot is done with.
    pub fn settle(&mut self) {
        debug_assert!(self.unsettled > 0, "a slot settles once");
        self.unsettled -= 1;
    }

    /// The slot shall be tried again a little later.
    pub fn retry(&mut self, slot: u32, now_ns: u64) {
        self.again.push_back((now_ns + RETRY_AFTER_NS, slot));
    }

    /// The slot has done the first part of its job; the next one is due.
    pub fn follow(&mut self, slot: u32) {
        self.follow.push(slot);
    }

    /// The oldest flight that has waited too long. `is_current` tells whether a flight is still in
    /// the air: those that are not are forgotten on the way. Call until `None`.
    pub fn overdue(&mut self, now_ns: u64, is_current: impl Fn(&Flight) -> bool) -> Option<Flight> {
        while let Some(oldest) = self.flights.front() {
            let current = is_current(oldest);
            if current && now_ns.saturating_sub(oldest.since_ns) < self.answer_timeout_ns {
                return None;
            }
            let oldest = *oldest;
            self.flights.pop_front();
            if current {
                return Some(oldest);
            }
        }
        None
    }

    /// Whether every slot is done with.
    pub fn is_done(&self) -> bool {
        self.unsettled == 0
    }

    /// How many wait for an answer.
    pub fn in_flight(&self) -> u32 {
        self.in_flight
    }

    /// Slots that have never begun.
    pub fn not_begun(&self) -> u32 {
        self.count - self.next
    }

    /// How far the schedule was behind at worst, nanoseconds.
    pub fn lag_max_ns(&self) -> u64 {
        self.lag_max_ns
    }

    /// When something is to be done next, if no answer comes before.
    pub fn next_ns(&self) -> Option<u64> {
        let expiry = self
            .flights
            .front()
            .map(|flight| flight.since_ns + self.answer_timeout_ns);
        if self.in_flight >= self.in_flight_max {
            return expiry;
        }
        if !self.follow.is_empty() {
            return Some(0);
        }
        let again = self.again.front().map(|(at_ns, _)| *at_ns);
        let next = (self.next < self.count).then(|| self.schedule.next_ns());
        [expiry, again, next].into_iter().flatten().min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drive(slots: u32, per_s: f64, in_flight_max: u32) -> Drive {
        let pace = Pace {
            start_ns: 0,
            per_s,
            in_flight_max,
            answer_timeout_ns: 1_000,
        };
        Drive::new(Job::Connect, (0..slots).collect(), &pace, 0, 1)
    }

    #[test]
    fn no_more_are_begun_than_may_be_in_flight() {
        let mut drive = drive(10, 0.0, 3);
        for slot in 0..3 {
            assert_eq!(drive.due(0), Some(slot));
            drive.launch(Flight { slot, since_ns: 0 });
        }
        assert_eq!(drive.due(0), None);
        drive.land();
        drive.settle();
        assert_eq!(drive.due(0), Some(3));
    }

    #[test]
    fn a_churn_goes_round_its_slots_evenly_until_its_end() {
        let mut drive = drive(3, 1e9 / 100.0, 100).until(500); // one in 100 ns
        assert_eq!(drive.not_begun(), 5);
        let begun: Vec<_> = (0..=6).map(|turn| drive.due(turn * 100)).collect();
        let expected = [Some(0), Some(1), Some(2), Some(0), Some(1), None, None];
        assert_eq!(begun, expected);
        // A slot that has left is due again at once, for coming back.
        drive.follow(1);
        assert_eq!((drive.next_ns(), drive.due(700)), (Some(0), Some(1)));
        (0..5).for_each(|_| drive.settle());
        assert!(drive.is_done());
    }

    #[test]
    fn the_schedule_holds_the_rate() {
        let mut drive = drive(10, 1e9 / 100.0, 100); // one in 100 ns
        assert_eq!((drive.due(0), drive.due(0)), (Some(0), None));
        assert_eq!(drive.next_ns(), Some(100));
        assert_eq!(
            (drive.due(250), drive.due(250), drive.due(250)),
            (Some(1), Some(2), None)
        );
        assert_eq!(drive.lag_max_ns(), 150);
    }

    #[test]
    fn what_waits_too_long_is_handed_back_and_what_has_landed_is_not() {
        let mut drive = drive(2, 0.0, 2);
        let flights = [0, 1].map(|slot| Flight {
            slot,
            since_ns: u64::from(slot) * 10,
        });
        for flight in flights {
            drive.due(0);
            drive.launch(flight);
        }
        assert_eq!(drive.overdue(999, |_| true), None);
        assert_eq!(drive.next_ns(), Some(1_000));
        // The first has been answered meanwhile.
        assert_eq!(
            drive.overdue(1_010, |flight| flight.slot != 0),
            Some(flights[1])
        );
        assert_eq!(drive.overdue(9_999, |_| true), None);
    }

    #[test]
    fn a_failed_slot_comes_again_later_and_before_new_ones() {
        let mut drive = drive(2, 0.0, 1);
        assert_eq!(drive.due(5), Some(0));
        drive.retry(0, 5);
        assert_eq!(drive.due(5), Some(1));
        drive.settle();
        assert_eq!(drive.due(5), None);
        assert_eq!(drive.due(5 + RETRY_AFTER_NS), Some(0));
        drive.settle();
        assert!(drive.is_done());
        assert_eq!((drive.next_ns(), drive.not_begun()), (None, 0));
    }
}
