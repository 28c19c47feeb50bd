//! Durations by size, from a microsecond to a minute, four steps to each doubling.
//!
//! A step's upper bound is at most a quarter above its lower one, so a percentile read from it is at most a quarter too high.
//! Recording is a shift and two additions.

/// Steps of a microsecond up to 4, then four a doubling up to [`LONGEST_US`].
const STEPS: usize = 4 + 4 * 24;
/// Durations beyond it are all in the last step.
const LONGEST_US: u64 = 1 << 26;
/// The doublings that scrapes are told of: from 16 µs to 34 s. What is longer stands under `+Inf` alone.
const TOLD: std::ops::RangeInclusive<u32> = 4..=25;

/// How often durations of each size were seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Histogram {
    counts: [u64; STEPS],
    sum_us: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Histogram {
            counts: [0; STEPS],
            sum_us: 0,
        }
    }
}

impl Histogram {
    /// Notes that `count` things took `us` microseconds each.
    pub fn add_many(&mut self, us: u64, count: u64) {
        self.counts[step_of(us)] += count;
        self.sum_us += us.saturating_mul(count);
    }

    /// Notes that one did.
    pub fn add_one(&mut self, us: u64) {
        self.add_many(us, 1);
    }

    /// Adds another shard's.
    pub fn add(&mut self, other: &Histogram) {
        for (sum, count) in self.counts.iter_mut().zip(other.counts) {
            *sum += count;
        }
        self.sum_us += other.sum_us;
    }

    /// What has come since `earlier`, an earlier state of the same.
    #[must_use]
    pub fn since(&self, earlier: &Histogram) -> Histogram {
        let mut since = self.clone();
        for (count, before) in since.counts.iter_mut().zip(earlier.counts) {
            *count -= before;
        }
        since.sum_us -= earlier.sum_us;
        since
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// All durations together, microseconds.
    #[must_use]
    pub fn sum_us(&self) -> u64 {
        self.sum_us
    }

    /// What `per_mille` of a thousand take at most, microseconds, as the upper bound of a step; 0 when there are none.
    #[must_use]
    pub fn percentile_us(&self, per_mille: u64) -> u64 {
        let rank = (self.count() * per_mille).div_ceil(1000).max(1);
        let mut seen = 0;
        for (step, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= rank {
                return bound_us(step);
            }
        }
        0
    }

    /// Upper bounds in seconds, and how many lie between each and the one before it; the last bound is infinite.
    #[must_use]
    pub fn buckets(&self) -> Vec<(f64, u64)> {
        let mut buckets = Vec::with_capacity(TOLD.count() + 1);
        let mut step = 0;
        for doubling in TOLD {
            let most_us = 1 << doubling;
            let mut count = 0;
            while bound_us(step) <= most_us {
                count += self.counts[step];
                step += 1;
            }
            buckets.push((most_us as f64 / 1e6, count));
        }
        buckets.push((f64::INFINITY, self.counts[step..].iter().sum()));
        buckets
    }
}

/// The step of a duration. Upper bounds belong to their step, so what is looked at is the microsecond before.
fn step_of(us: u64) -> usize {
    let before = us.saturating_sub(1).min(LONGEST_US - 1);
    if before < 4 {
        return before as usize;
    }
    let doubling = before.ilog2();
    4 * (doubling as usize - 1) + (before >> (doubling - 2) & 3) as usize
}

/// The longest duration of a step.
fn bound_us(step: usize) -> u64 {
    if step < 4 {
        return step as u64 + 1;
    }
    (5 + step as u64 % 4) << (step / 4 - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_duration_lies_in_the_step_whose_bound_is_the_next_one() {
        for us in (0..5_000).chain([65_535, 65_536, 65_537, 1 << 25, LONGEST_US]) {
            let step = step_of(us);
            assert!(us <= bound_us(step), "{us}");
            assert!(step == 0 || us > bound_us(step - 1), "{us}");
        }
        assert_eq!(step_of(u64::MAX), STEPS - 1);
        assert_eq!(bound_us(STEPS - 1), LONGEST_US);
    }

    #[test]
    fn a_percentile_is_at_most_a_quarter_too_high() {
        let mut histogram = Histogram::default();
        (1..=1000).for_each(|us| histogram.add_one(us));
        for (per_mille, exact) in [(500, 500), (900, 900), (990, 990), (1000, 1000)] {
            let told = histogram.percentile_us(per_mille);
            assert!(
                (exact..=exact * 5 / 4).contains(&told),
                "{per_mille}: {told}"
            );
        }
        assert_eq!(Histogram::default().percentile_us(990), 0);
    }

    #[test]
    fn weights_count_as_so_many() {
        let mut histogram = Histogram::default();
        histogram.add_many(100, 99);
        histogram.add_one(1_000_000);
        assert_eq!((histogram.count(), histogram.sum_us()), (100, 1_009_900));
        assert!((100..=125).contains(&histogram.percentile_us(990)));
        assert!(histogram.percentile_us(1000) >= 1_000_000);
    }

    #[test]
    fn buckets_hold_what_is_not_above_their_bound_and_all_of_it_together() {
        let mut histogram = Histogram::default();
        for us in [
            0,
            16,
            17,
            32,
            33,
            1 << 25,
            (1 << 25) + 1,
            u64::from(u32::MAX),
        ] {
            histogram.add_one(us);
        }
        let buckets = histogram.buckets();
        let of = |bound_us: u64| {
            let bound = bound_us as f64 / 1e6;
            buckets
                .iter()
                .find(|(told, _)| *told == bound)
                .map(|(_, count)| *count)
        };
        assert_eq!(
            (of(16), of(32), of(64), of(1 << 25)),
            (Some(2), Some(2), Some(1), Some(1))
        );
        assert_eq!(buckets.last(), Some(&(f64::INFINITY, 2)));
        assert_eq!(buckets.iter().map(|(_, count)| count).sum::<u64>(), 8);
    }

    #[test]
    fn what_came_since_is_the_difference() {
        let mut histogram = Histogram::default();
        histogram.add_one(10);
        let before = histogram.clone();
        histogram.add_many(50, 3);
        let since = histogram.since(&before);
        assert_eq!((since.count(), since.sum_us()), (3, 150));
        let mut sum = before;
        sum.add(&since);
        assert_eq!(sum, histogram);
    }
}
