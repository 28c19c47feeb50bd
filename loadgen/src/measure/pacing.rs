//! Which load, and when the next update of it may be published. Knows times and counts, no sockets.

use crate::cli::MeasureArgs;
use crate::schedule::Schedule;
use serde::Serialize;

/// The shape of a load.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Shape {
    /// Nothing: connections are made and held.
    Hold,
    /// No updates: the oldest connection is cut and comes again, as many at a time as may connect.
    Rejoin,
    /// The next update when all subscribers have the oldest of so many.
    InFlight(u32),
    /// So many updates a second, whatever the server does.
    Rate(f64),
    /// So many at once, the next ones when all subscribers have them.
    Burst(u32),
    /// No updates: each connection has a message of so many bytes under way, there and back.
    Echo(usize),
}

impl Shape {
    /// From the arguments, of which at most one is given.
    pub fn new(args: &MeasureArgs) -> Shape {
        let in_flight = args.in_flight.map(Shape::InFlight);
        let rate = args.rate.map(Shape::Rate);
        let burst = args.burst.map(Shape::Burst);
        let echo = args.echo.map(Shape::Echo);
        let rejoin = args.rejoin.then_some(Shape::Rejoin);
        let updates = in_flight.or(rate).or(burst);
        updates.or(echo).or(rejoin).unwrap_or(Shape::Hold)
    }
}

/// Says when an update may be published.
#[derive(Debug)]
pub(super) enum Pacing {
    /// Never.
    Paused,
    /// While fewer than so many are under way.
    InFlight(u32),
    /// On schedule.
    Rate(Schedule),
    /// So many at once when none is under way; so many of them are left.
    Burst(u32, u32),
    /// So many at once, and no more.
    Once(u32),
}

impl Pacing {
    /// A load that begins now.
    pub(super) fn begin(shape: Shape, now_ns: u64) -> Pacing {
        match shape {
            Shape::Hold | Shape::Rejoin | Shape::Echo(_) => Pacing::Paused,
            Shape::InFlight(count) => Pacing::InFlight(count),
            Shape::Rate(per_s) => Pacing::Rate(Schedule::new(now_ns, per_s)),
            Shape::Burst(size) => Pacing::Burst(size, 0),
        }
    }

    /// Takes the next update if it may be published, and returns its intended time. Call until
    /// `None`, with how many updates are under way each time.
    pub(super) fn take(&mut self, now_ns: u64, under_way: usize) -> Option<u64> {
        match self {
            Pacing::Paused => None,
            Pacing::InFlight(count) => (under_way < *count as usize).then_some(now_ns),
            Pacing::Rate(schedule) => schedule.take(now_ns),
            Pacing::Burst(size, left) => {
                if under_way == 0 {
                    *left = *size;
                }
                *left = left.checked_sub(1)?;
                Some(now_ns)
            }
            Pacing::Once(left) => {
                *left = left.checked_sub(1)?;
                Some(now_ns)
            }
        }
    }

    /// When the schedule has the next one, if there is a schedule.
    pub(super) fn next_ns(&self) -> Option<u64> {
        match self {
            Pacing::Rate(schedule) => Some(schedule.next_ns()),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes what may be taken at once, each of them being under way then.
    fn taken(pacing: &mut Pacing, now_ns: u64, mut under_way: usize) -> usize {
        let before = under_way;
        while pacing.take(now_ns, under_way).is_some() {
            under_way += 1;
        }
        under_way - before
    }

    #[test]
    fn a_closed_loop_keeps_so_many_under_way() {
        let mut pacing = Pacing::begin(Shape::InFlight(3), 0);
        for (under_way, expected) in [(0, 3), (3, 0), (2, 1)] {
            assert_eq!(taken(&mut pacing, 5, under_way), expected, "{under_way}");
        }
    }

    #[test]
    fn a_burst_comes_whole_and_the_next_one_when_nothing_is_under_way() {
        let mut pacing = Pacing::begin(Shape::Burst(4), 0);
        for (under_way, expected) in [(0, 4), (4, 0), (1, 0), (0, 4)] {
            assert_eq!(taken(&mut pacing, 5, under_way), expected, "{under_way}");
        }
    }

    #[test]
    fn a_schedule_does_not_care_what_is_under_way() {
        let mut pacing = Pacing::begin(Shape::Rate(1e9), 100);
        assert_eq!(taken(&mut pacing, 99, 0), 0);
        assert_eq!(taken(&mut pacing, 104, 1_000_000), 5);
        assert_eq!(pacing.next_ns(), Some(105));
    }

    #[test]
    fn once_is_once() {
        let mut pacing = Pacing::Once(2);
        assert_eq!(taken(&mut pacing, 0, 0), 2);
        assert_eq!(taken(&mut pacing, 9, 0), 0);
    }
}
