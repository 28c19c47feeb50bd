//! Latencies in HDR histograms: nanoseconds, three significant digits, one set a worker, merged at
//! the end. A time that ends before it begins is counted as a clock fault, never recorded as zero.

use hdrhistogram::Histogram;
use hdrhistogram::serialization::V2DeflateSerializer;
use hdrhistogram::serialization::interval_log::IntervalLogWriterBuilder;
use serde::Serialize;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::time::{Duration, SystemTime};

/// Longer than any run: what exceeds it is recorded as this.
const LATENCY_NS_MAX: u64 = 3_600_000_000_000;
/// 0.1 % of error; the histogram's buckets take 200 KB at most, and grow only as far as the values
/// reach.
const SIGNIFICANT_DIGITS: u8 = 3;

/// Latencies of one kind.
#[derive(Clone, Debug)]
pub struct Latency {
    histogram: Histogram<u64>,
    clock_faults: u64,
}

impl Default for Latency {
    fn default() -> Latency {
        // Fails only for more than five digits.
        let mut histogram =
            Histogram::new(SIGNIFICANT_DIGITS).expect("three digits are a legal precision");
        histogram.auto(true);
        Latency {
            histogram,
            clock_faults: 0,
        }
    }
}

impl Latency {
    /// Records `elapsed_ns`; a negative one is a clock fault.
    pub fn record(&mut self, elapsed_ns: i64) {
        match u64::try_from(elapsed_ns) {
            Ok(ns) => {
                // The histogram grows by itself, and the value is bounded: it cannot be refused.
                let recorded = self.histogram.record(ns.min(LATENCY_NS_MAX));
                debug_assert!(recorded.is_ok());
            }
            Err(_) => self.clock_faults += 1,
        }
    }

    /// Records the time from one monotonic instant to another.
    pub fn record_between(&mut self, start_ns: u64, end_ns: u64) {
        self.record(end_ns as i64 - start_ns as i64);
    }

    /// Adds what another worker has recorded.
    pub fn merge(&mut self, other: &Latency) {
        // Fails only when a value does not fit, and an auto-resizing histogram makes room.
        let added = self.histogram.add(&other.histogram);
        debug_assert!(added.is_ok());
        self.clock_faults += other.clock_faults;
    }

    /// How many negative times were seen.
    pub fn clock_faults(&self) -> u64 {
        self.clock_faults
    }

    /// The figures that a report quotes.
    pub fn quantiles(&self) -> Quantiles {
        let at = |quantile| self.histogram.value_at_quantile(quantile);
        let is_empty = self.histogram.is_empty();
        Quantiles {
            count: self.histogram.len(),
            clock_faults: self.clock_faults,
            min_ns: if is_empty { 0 } else { self.histogram.min() },
            mean_ns: if is_empty {
                0
            } else {
                self.histogram.mean() as u64
            },
            p50_ns: at(0.5),
            p90_ns: at(0.9),
            p99_ns: at(0.99),
            p999_ns: at(0.999),
            max_ns: if is_empty { 0 } else { self.histogram.max() },
        }
    }

    /// Writes `<dir>/<name>.hlog`, an interval log with one interval, readable by every HDR
    /// histogram tool.
    pub fn write_log(
        &self,
        dir: &Path,
        name: &str,
        started: SystemTime,
        length: Duration,
    ) -> io::Result<()> {
        let mut file = BufWriter::new(File::create(dir.join(format!("{name}.hlog")))?);
        let mut serializer = V2DeflateSerializer::new();
        let start = started
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        let mut log = IntervalLogWriterBuilder::new()
            .add_comment("[fanfare-loadgen; values in nanoseconds]")
            .with_start_time(started)
            .begin_log_with(&mut file, &mut serializer)?;
        log.write_histogram(&self.histogram, start, length, None)
            .map_err(|error| io::Error::other(error.to_string()))?;
        file.flush()
    }
}

/// What a report says of a histogram. All times in nanoseconds; zeros when nothing was recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Quantiles {
    /// How many values were recorded.
    pub count: u64,
    /// How many were refused for being negative.
    pub clock_faults: u64,
    /// The least value.
    pub min_ns: u64,
    /// The mean.
    pub mean_ns: u64,
    /// The median.
    pub p50_ns: u64,
    /// 90 of 100 values are at most this.
    pub p90_ns: u64,
    /// 99 of 100 values are at most this.
    pub p99_ns: u64,
    /// 999 of 1000 values are at most this.
    pub p999_ns: u64,
    /// The greatest value.
    pub max_ns: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(got: u64, expected: u64) -> bool {
        got.abs_diff(expected) <= expected / 1000 + 1
    }

    #[test]
    fn merged_workers_give_the_quantiles_of_all_values() {
        let mut parts: [Latency; 3] = Default::default();
        for value in 1..=30_000_u64 {
            parts[(value % 3) as usize].record_between(0, value * 1_000);
        }
        let mut whole = Latency::default();
        parts.iter().for_each(|part| whole.merge(part));
        let got = whole.quantiles();
        assert_eq!(got.count, 30_000);
        assert!(near(got.p50_ns, 15_000_000), "{got:?}");
        assert!(near(got.p99_ns, 29_700_000), "{got:?}");
        assert!(near(got.max_ns, 30_000_000), "{got:?}");
        assert!(near(got.min_ns, 1_000), "{got:?}");
    }

    #[test]
    fn a_large_histogram_is_merged_into_an_empty_one() {
        let (mut small, mut large) = (Latency::default(), Latency::default());
        large.record_between(0, LATENCY_NS_MAX * 2);
        small.merge(&large);
        assert!(near(small.quantiles().max_ns, LATENCY_NS_MAX));
    }

    #[test]
    fn a_negative_time_is_a_clock_fault_and_zero_is_kept() {
        let mut latency = Latency::default();
        latency.record_between(10, 9);
        latency.record_between(10, 10);
        let got = latency.quantiles();
        assert_eq!((got.count, got.clock_faults, got.max_ns), (1, 1, 0));
    }

    #[test]
    fn an_empty_histogram_reports_zeros() {
        let got = Latency::default().quantiles();
        assert_eq!(
            (got.count, got.min_ns, got.p50_ns, got.max_ns),
            (0, 0, 0, 0)
        );
    }

    #[test]
    fn a_written_log_can_be_read_by_other_tools() {
        use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};
        let dir = std::env::temp_dir().join(format!("fanfare-hlog-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let mut latency = Latency::default();
        (0..100).for_each(|value| latency.record(value));
        latency
            .write_log(&dir, "test", SystemTime::now(), Duration::from_secs(1))
            .unwrap();
        let text = std::fs::read(dir.join("test.hlog")).unwrap();
        std::fs::remove_dir_all(&dir).unwrap();
        let entries = IntervalLogIterator::new(&text).map(|entry| entry.unwrap());
        let intervals = entries.filter(|entry| matches!(entry, LogEntry::Interval(_)));
        assert_eq!(intervals.count(), 1);
    }
}
