//! Classes of clients by how they read, and who belongs to which. Known to the plan, the workers and
//! the report; knows no sockets.

use serde::Serialize;
use std::ops::{Index, IndexMut};

/// How a client reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// As fast as it can.
    Healthy,
    /// So many bytes a second.
    Slow,
    /// Nothing, until it wakes up.
    Stalled,
    /// Its host is gone without a word: it acknowledges nothing and says nothing, ever again.
    HalfOpen,
}

impl Class {
    /// All of them.
    pub const ALL: [Class; 4] = [Class::Healthy, Class::Slow, Class::Stalled, Class::HalfOpen];

    /// Its name, as in the report.
    pub fn name(self) -> &'static str {
        match self {
            Class::Healthy => "healthy",
            Class::Slow => "slow",
            Class::Stalled => "stalled",
            Class::HalfOpen => "half-open",
        }
    }
}

/// Something for each class.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Classes<T> {
    /// Of those that read as fast as they can.
    pub healthy: T,
    /// Of those that read slowly.
    pub slow: T,
    /// Of those that read nothing for a while.
    pub stalled: T,
    /// Of those that are gone.
    pub half_open: T,
}

impl<T> Classes<T> {
    /// Class by class.
    pub fn iter(&self) -> impl Iterator<Item = (Class, &T)> {
        Class::ALL.into_iter().map(|class| (class, &self[class]))
    }

    /// Puts those of another worker together with these.
    pub fn merge(&mut self, other: Classes<T>, merge: impl Fn(&mut T, T)) {
        merge(&mut self.healthy, other.healthy);
        merge(&mut self.slow, other.slow);
        merge(&mut self.stalled, other.stalled);
        merge(&mut self.half_open, other.half_open);
    }
}

impl<T> Index<Class> for Classes<T> {
    type Output = T;

    fn index(&self, class: Class) -> &T {
        match class {
            Class::Healthy => &self.healthy,
            Class::Slow => &self.slow,
            Class::Stalled => &self.stalled,
            Class::HalfOpen => &self.half_open,
        }
    }
}

impl<T> IndexMut<Class> for Classes<T> {
    fn index_mut(&mut self, class: Class) -> &mut T {
        match class {
            Class::Healthy => &mut self.healthy,
            Class::Slow => &mut self.slow,
            Class::Stalled => &mut self.stalled,
            Class::HalfOpen => &mut self.half_open,
        }
    }
}

/// How many clients are of which class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mix {
    /// How many.
    pub counts: Classes<u32>,
}

impl Mix {
    /// These shares of `connections`, in percent; a share that is not zero is at least one client.
    /// `None` if together they are more than there are.
    pub fn new(connections: u32, shares: Classes<f64>) -> Option<Mix> {
        let count = |percent: f64| {
            let exact = f64::from(connections) * percent / 100.0;
            // Saturates; far above any number of connections it is refused below.
            (exact.round() as u32).max(u32::from(percent > 0.0))
        };
        let (slow, stalled) = (count(shares.slow), count(shares.stalled));
        let half_open = count(shares.half_open);
        let troubled = slow.checked_add(stalled)?.checked_add(half_open)?;
        let counts = Classes {
            healthy: connections.checked_sub(troubled)?,
            slow,
            stalled,
            half_open,
        };
        Some(Mix { counts })
    }

    /// The class of a connection, by its number in the run. Those that are not healthy are spread
    /// evenly over the numbers, but not at equal distances: else they would meet the turns in which
    /// topics and workers are given out.
    pub fn class_of(&self, number: u64) -> Class {
        let Classes {
            healthy,
            slow,
            stalled,
            half_open,
        } = self.counts.widened();
        let troubled = slow + stalled + half_open;
        let all = troubled + healthy;
        if troubled == 0 || number >= all {
            return Class::Healthy;
        }
        // One of each stretch is troubled.
        let stretch = number * troubled / all;
        let start = (stretch * all).div_ceil(troubled);
        let end = ((stretch + 1) * all).div_ceil(troubled);
        let chosen = fastrand::Rng::with_seed(stretch).u64(start..end);
        match stretch {
            _ if number != chosen => Class::Healthy,
            stretch if stretch < slow => Class::Slow,
            stretch if stretch < slow + stalled => Class::Stalled,
            _ => Class::HalfOpen,
        }
    }
}

impl Classes<u32> {
    fn widened(self) -> Classes<u64> {
        Classes {
            healthy: self.healthy.into(),
            slow: self.slow.into(),
            stalled: self.stalled.into(),
            half_open: self.half_open.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mix(connections: u32, slow: f64, stalled: f64, half_open: f64) -> Option<Mix> {
        let shares = Classes {
            healthy: 0.0,
            slow,
            stalled,
            half_open,
        };
        Mix::new(connections, shares)
    }

    #[test]
    fn exactly_as_many_as_asked_are_of_each_class() {
        for (connections, shares, expected) in [
            (10_000, [0.34, 0.33, 0.33], [9_900, 34, 33, 33]),
            (200, [0.0, 100.0, 0.0], [0, 0, 200, 0]),
            (10, [0.0, 0.0, 0.0], [10, 0, 0, 0]),
            (7, [14.3, 14.3, 28.6], [3, 1, 1, 2]),
            (3, [1.0, 0.0, 0.0], [2, 1, 0, 0]),
        ] {
            let mix = mix(connections, shares[0], shares[1], shares[2]).unwrap();
            let mut counts = Classes::<u32>::default();
            (0..u64::from(connections)).for_each(|number| counts[mix.class_of(number)] += 1);
            let got = Class::ALL.map(|class| counts[class]);
            assert_eq!((got, counts), (expected, mix.counts), "{shares:?}");
        }
    }

    #[test]
    fn more_than_all_is_refused() {
        assert_eq!(mix(10, 60.0, 50.0, 0.0), None);
        assert_eq!(mix(10, 1e9, 0.0, 1e9), None);
    }

    #[test]
    fn the_troubled_are_spread_over_the_numbers() {
        let mix = mix(1_000, 10.0, 0.0, 0.0).unwrap();
        for hundred in 0..10 {
            let numbers = hundred * 100..(hundred + 1) * 100;
            let slow = numbers.filter(|number| mix.class_of(*number) == Class::Slow);
            assert_eq!(slow.count(), 10, "{hundred}");
        }
        // Not all in the same place of their stretch.
        let places: std::collections::HashSet<u64> = (0..1_000)
            .filter(|number| mix.class_of(*number) == Class::Slow)
            .map(|number| number % 10)
            .collect();
        assert!(places.len() > 5, "{places:?}");
    }
}
