//! Marks that rest: their subscriber asked for an interval between updates, and a timer says when it is over.

use super::{Mark, MarkId, Marks, NONE, WaitId};
use crate::engine::timers::Timer;
use crate::hub::broken::{self, Break};
use crate::hub::topics::TopicId;

impl Marks {
    /// The value of a ready mark was sent. With an interval, the next may go when it has passed.
    pub(in crate::engine) fn served(
        &mut self,
        wait: WaitId,
        id: MarkId,
        now_us: u64,
        min_interval_ms: u32,
    ) {
        if min_interval_ms == 0 {
            return self.remove(wait, id);
        }
        self.unlink(wait, id);
        // Rounded up: an interval may be a millisecond longer, never shorter.
        let due_ms = now_us.div_ceil(1000) + u64::from(min_interval_ms);
        let due_ms = due_ms - 3 * u64::from(broken::is(Break::IntervalEarly));
        let due_ms = due_ms + 3 * u64::from(broken::is(Break::IntervalLate));
        let mark = &mut self.marks[id.0 as usize];
        (mark.first, mark.at_ms, mark.is_resting) = (0, due_ms, true);
        let (conn, topic) = (mark.conn, mark.topic.0);
        let wait = &mut self.waits[wait.0 as usize];
        let old_head = std::mem::replace(&mut wait.resting_head, id.0);
        self.join(NONE, id.0);
        self.join(id.0, old_head);
        self.resting += 1;
        self.set_timer(Timer {
            due_ms,
            conn,
            topic,
        });
    }

    /// When the next mark has rested long enough, milliseconds on the monotonic clock.
    pub(in crate::engine) fn next_due_ms(&self) -> Option<u64> {
        self.timers.next_due_ms()
    }

    /// Takes the next mark that has rested long enough; [`Marks::end_rest`] it.
    pub(in crate::engine) fn pop_due(&mut self, now_ms: u64) -> Option<MarkId> {
        while let Some(timer) = self.timers.pop_due(now_ms) {
            if let Some(id) = self.find(timer.conn, TopicId(timer.topic))
                && is_of(&timer, self.get(id))
            {
                return Some(id);
            }
        }
        None
    }

    /// A mark rests no longer: it becomes ready, or goes if it holds nothing. True: it is ready.
    pub(in crate::engine) fn end_rest(&mut self, wait: WaitId, id: MarkId, now_ms: u64) -> bool {
        if self.get(id).first == 0 || broken::is(Break::NewestForgotten) {
            self.remove(wait, id);
            return false;
        }
        self.unlink(wait, id);
        let mark = &mut self.marks[id.0 as usize];
        (mark.is_resting, mark.at_ms) = (false, now_ms);
        self.link_ready(wait, id.0);
        true
    }

    /// The interval of a mark's subscription has changed. True: the mark rests no longer, and is ready.
    pub(in crate::engine) fn retune(
        &mut self,
        wait: WaitId,
        id: MarkId,
        (old_ms, new_ms): (u32, u32),
        now_ms: u64,
    ) -> bool {
        let mark = &mut self.marks[id.0 as usize];
        if !mark.is_resting {
            return false;
        }
        let due_ms = (mark.at_ms + u64::from(new_ms)).saturating_sub(u64::from(old_ms));
        if new_ms == 0 || due_ms <= now_ms {
            return self.end_rest(wait, id, now_ms);
        }
        mark.at_ms = due_ms;
        let (conn, topic) = (mark.conn, mark.topic.0);
        self.set_timer(Timer {
            due_ms,
            conn,
            topic,
        });
        false
    }

    fn set_timer(&mut self, timer: Timer) {
        let mut timers = std::mem::take(&mut self.timers);
        timers.set(timer, self.resting, |timer| {
            self.find(timer.conn, TopicId(timer.topic))
                .is_some_and(|id| is_of(timer, self.get(id)))
        });
        self.timers = timers;
    }
}

fn is_of(timer: &Timer, mark: &Mark) -> bool {
    mark.is_resting && mark.at_ms == timer.due_ms
}
