//! An open-loop schedule: evenly spaced times that depend on nothing that happens during the run,
//! so a slow server cannot slow the load that it is measured with (no coordinated omission).

/// The k-th event is due at `start + (offset + k·stride) / rate`. Computed from k each time: errors
/// do not add up.
#[derive(Clone, Debug)]
pub struct Schedule {
    start_ns: u64,
    first_ns: f64,
    period_ns: f64,
    taken: u64,
}

impl Schedule {
    /// `per_s` events a second, the first at `start_ns`; 0 means all of them at once.
    pub fn new(start_ns: u64, per_s: f64) -> Schedule {
        Schedule::interleaved(start_ns, per_s, 0, 1)
    }

    /// The share of member `index` when `members` take turns: together they make `per_s` a second,
    /// evenly spaced.
    pub fn interleaved(start_ns: u64, per_s: f64, index: usize, members: usize) -> Schedule {
        let turn_ns = if per_s > 0.0 { 1e9 / per_s } else { 0.0 };
        Schedule {
            start_ns,
            first_ns: turn_ns * index as f64,
            period_ns: turn_ns * members as f64,
            taken: 0,
        }
    }

    /// When the next event is due.
    pub fn next_ns(&self) -> u64 {
        self.start_ns + (self.first_ns + self.period_ns * self.taken as f64) as u64
    }

    /// Takes the next event if it is due, and returns its intended time. Call until `None`.
    pub fn take(&mut self, now_ns: u64) -> Option<u64> {
        let due_ns = self.next_ns();
        if due_ns > now_ns {
            return None;
        }
        self.taken += 1;
        Some(due_ns)
    }

    /// How many events have been taken.
    pub fn taken(&self) -> u64 {
        self.taken
    }

    /// How many events that are due before `end_ns` have not been taken.
    pub fn left_before(&self, end_ns: u64) -> u64 {
        let left_ns = end_ns.saturating_sub(self.next_ns()) as f64;
        if self.is_paced() {
            (left_ns / self.period_ns).ceil() as u64
        } else {
            0
        }
    }

    /// Whether the events have times of their own; without a rate everything is due at the start.
    pub fn is_paced(&self) -> bool {
        self.period_ns > 0.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_due_at_their_own_times_however_late_they_are_taken() {
        let mut schedule = Schedule::new(1_000, 1e6); // one a microsecond
        assert_eq!(schedule.take(999), None);
        assert_eq!(schedule.take(1_000), Some(1_000));
        assert_eq!(schedule.take(1_999), None);
        // A pause of 3 µs: the times stay those of the schedule.
        assert_eq!(schedule.take(5_000), Some(2_000));
        assert_eq!(schedule.take(5_000), Some(3_000));
        assert_eq!(schedule.take(5_000), Some(4_000));
        assert_eq!(schedule.take(5_000), Some(5_000));
        assert_eq!(schedule.take(5_000), None);
    }

    #[test]
    fn what_is_left_before_an_end_is_known() {
        let mut schedule = Schedule::new(1_000, 1e6);
        assert_eq!(schedule.left_before(1_000), 0);
        assert_eq!(schedule.left_before(1_001), 1);
        assert_eq!(schedule.left_before(4_000), 3);
        schedule.take(1_000);
        assert_eq!(schedule.left_before(4_000), 2);
        assert_eq!(schedule.left_before(0), 0);
    }

    #[test]
    fn a_schedule_without_a_rate_is_due_at_once() {
        let mut schedule = Schedule::new(10, 0.0);
        assert!(!schedule.is_paced());
        assert!((0..1000).all(|_| schedule.take(10) == Some(10)));
    }

    #[test]
    fn members_that_take_turns_make_the_whole_rate() {
        let mut times: Vec<u64> = (0..3)
            .flat_map(|index| {
                let mut schedule = Schedule::interleaved(0, 1e9 / 7.0, index, 3);
                std::iter::from_fn(move || schedule.take(7 * 29)).collect::<Vec<_>>()
            })
            .collect();
        times.sort_unstable();
        assert_eq!(times, (0..30).map(|k| k * 7).collect::<Vec<_>>());
    }

    #[test]
    fn the_millionth_event_is_where_arithmetic_puts_it() {
        let mut schedule = Schedule::new(0, 3.0);
        schedule.taken = 3_000_000;
        assert_eq!(schedule.next_ns(), 1_000_000_000_000_000);
    }
}
