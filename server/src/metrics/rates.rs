//! How much happens in a second, and how long it takes: from samples of what has happened since the start.

use std::collections::VecDeque;

use serde::Serialize;

use super::{Counters, Histogram};

/// Samples are taken once a second; so many reach back over ten.
const SAMPLES_MAX: usize = 12;
const SECOND_US: u64 = 1_000_000;

/// What had happened at one moment.
#[derive(Clone, Debug, Default)]
pub struct Sample {
    /// When, microseconds on the monotonic clock.
    pub at_us: u64,
    counts: Counts,
    /// How long ticks took.
    pub tick: Histogram,
    /// How old updates were when they had been written.
    pub lag: Histogram,
}

/// What rates are told of: since the start, or a second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Rates {
    /// Messages read from clients.
    pub messages_in: f64,
    /// Updates that owners numbered.
    pub updates_in: f64,
    /// Updates delivered to subscribers.
    pub deliveries: f64,
    /// Bytes read from sockets.
    pub bytes_in: f64,
    /// Bytes that sockets took.
    pub bytes_out: f64,
}

type Counts = [u64; 5];

impl Sample {
    /// What had happened by `at_us`; `published` updates had been numbered.
    #[must_use]
    pub fn new(
        at_us: u64,
        counters: &Counters,
        published: u64,
        tick: &Histogram,
        lag: &Histogram,
    ) -> Sample {
        Sample {
            at_us,
            counts: [
                counters.messages_in,
                published,
                counters.deliveries,
                counters.bytes_in,
                counters.bytes_out,
            ],
            tick: tick.clone(),
            lag: lag.clone(),
        }
    }
}

impl Rates {
    fn from_array([messages_in, updates_in, deliveries, bytes_in, bytes_out]: [f64; 5]) -> Rates {
        Rates {
            messages_in,
            updates_in,
            deliveries,
            bytes_in,
            bytes_out,
        }
    }

    /// Adds another shard's.
    pub fn add(&mut self, other: &Rates) {
        self.messages_in += other.messages_in;
        self.updates_in += other.updates_in;
        self.deliveries += other.deliveries;
        self.bytes_in += other.bytes_in;
        self.bytes_out += other.bytes_out;
    }
}

/// The samples of the last seconds.
#[derive(Debug, Default)]
pub struct Past {
    /// The oldest first.
    samples: VecDeque<Sample>,
}

impl Past {
    /// Takes a sample in; they come in the order of time.
    pub fn keep(&mut self, sample: Sample) {
        if self.samples.len() == SAMPLES_MAX {
            self.samples.pop_front();
        }
        self.samples.push_back(sample);
    }

    /// What happened a second, on average over the last `seconds` before `now`. A shard that sleeps takes no samples, and while it
    /// sleeps nothing happens.
    #[must_use]
    pub fn rates(&self, now: &Sample, seconds: u64) -> Rates {
        let window_us = (seconds * SECOND_US).min(now.at_us);
        if window_us == 0 {
            return Rates::default();
        }
        let from_us = now.at_us - window_us;
        let zero = Sample::default();
        let later = self.samples.iter().find(|sample| sample.at_us > from_us);
        let (before, after) = (self.before(from_us).unwrap_or(&zero), later.unwrap_or(now));
        let gap_us = (after.at_us - before.at_us).max(1) as f64;
        let part = (from_us - before.at_us) as f64 / gap_us;
        let mut rates = [0.0; 5];
        for (place, rate) in rates.iter_mut().enumerate() {
            let (low, high) = (before.counts[place] as f64, after.counts[place] as f64);
            let from = low + (high - low) * part;
            *rate = (now.counts[place] as f64 - from) / (window_us as f64 / SECOND_US as f64);
        }
        Rates::from_array(rates)
    }

    /// Tick times and lags of the last `seconds` and a little before.
    #[must_use]
    pub fn durations(&self, now: &Sample, seconds: u64) -> (Histogram, Histogram) {
        let from_us = now.at_us.saturating_sub(seconds * SECOND_US);
        match self.before(from_us) {
            Some(before) => (now.tick.since(&before.tick), now.lag.since(&before.lag)),
            None => (now.tick.clone(), now.lag.clone()),
        }
    }

    /// The last sample that was not taken after `at_us`.
    fn before(&self, at_us: u64) -> Option<&Sample> {
        self.samples
            .iter()
            .rev()
            .find(|sample| sample.at_us <= at_us)
    }

    /// The heap it holds, bytes.
    #[must_use]
    pub fn held_bytes(&self) -> u64 {
        (self.samples.capacity() * size_of::<Sample>()) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(at_ms: u64, deliveries: u64) -> Sample {
        let counters = Counters {
            deliveries,
            ..Counters::default()
        };
        let mut lag = Histogram::default();
        lag.add_many(100, deliveries);
        Sample::new(at_ms * 1000, &counters, 0, &Histogram::default(), &lag)
    }

    fn past(samples: &[(u64, u64)]) -> Past {
        let mut past = Past::default();
        for &(at_ms, deliveries) in samples {
            past.keep(sample(at_ms, deliveries));
        }
        past
    }

    #[test]
    fn a_steady_rate_is_told_whenever_it_is_asked_for() {
        let samples: Vec<(u64, u64)> = (1..40)
            .map(|second| (second * 1000, second * 500))
            .collect();
        let past = past(&samples);
        for (at_ms, deliveries) in [(39_000, 19_500), (39_400, 19_700), (39_999, 19_999)] {
            for seconds in [1, 10] {
                let rate = past.rates(&sample(at_ms, deliveries), seconds).deliveries;
                assert!((rate - 500.0).abs() < 2.0, "{at_ms} {seconds}: {rate}");
            }
        }
    }

    #[test]
    fn a_burst_after_a_long_sleep_belongs_to_the_last_second() {
        let past = past(&[(1_000, 10), (3_600_000, 10)]);
        let now = sample(3_600_500, 1010);
        assert_eq!(past.rates(&now, 1).deliveries.round(), 1000.0);
        assert_eq!(past.rates(&now, 10).deliveries.round(), 100.0);
    }

    #[test]
    fn a_server_that_has_just_started_divides_by_its_age() {
        let past = Past::default();
        assert_eq!(past.rates(&sample(500, 50), 10).deliveries, 100.0);
        assert_eq!(past.rates(&sample(0, 50), 10), Rates::default());
    }

    #[test]
    fn durations_are_those_of_the_window() {
        let samples: Vec<(u64, u64)> = (1..30).map(|second| (second * 1000, second * 10)).collect();
        let past = past(&samples);
        assert_eq!(past.durations(&sample(29_500, 295), 10).1.count(), 105);
        assert_eq!(past.samples.len(), SAMPLES_MAX);
        let none = Past::default();
        assert_eq!(none.durations(&sample(100, 7), 10).1.count(), 7);
    }
}
