//! What one shard tells of itself, and the sum of all.

use super::rates::Rates;
use super::{Counters, Histogram};
use crate::ledger::{Ledger, Process};

/// Slow connections that are named, of all shards together.
const SLOWEST_MAX: usize = 20;

/// One shard at one moment.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Its number.
    pub shard: u16,
    /// When, microseconds on the monotonic clock.
    pub at_us: u64,
    /// What it has done since it started.
    pub counters: Counters,
    /// Updates that it numbered as their owner.
    pub published: u64,
    /// The names of [`Counters::disconnects`].
    pub reasons: &'static [&'static str],
    /// How things stand.
    pub gauges: Gauges,
    /// Connections by what they came for; those that are ending are none of them.
    pub kinds: Vec<(&'static str, u64)>,
    /// What came and was not let in.
    pub entrance: Entrance,
    /// How long ticks took, since the start.
    pub tick: Histogram,
    /// How old updates were when they had been written, weighted by deliveries, since the start.
    pub lag: Histogram,
    /// Tick times of the last ten seconds.
    pub recent_tick: Histogram,
    /// Lags of the last ten seconds.
    pub recent_lag: Histogram,
    /// What happens a second, over the last one.
    pub last_second: Rates,
    /// The same over the last ten.
    pub last_ten_seconds: Rates,
    /// Those that others would wait for, if others waited: the one with most waiting first.
    pub slowest: Vec<Slow>,
    /// Where its memory is; counted less often than the rest.
    pub ledger: Ledger,
}

/// How things stand on a shard.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Gauges {
    /// Connections in any stage.
    pub connections: u64,
    /// Subscriptions of all of them.
    pub subscriptions: u64,
    /// Topics that the shard owns.
    pub topics: u64,
    /// Different filters of its connections.
    pub filters: u64,
    /// Superseded updates that it keeps.
    pub history_updates: u64,
    /// What it keeps, last values included, as `--max-kept-bytes` counts.
    pub kept_bytes: u64,
    /// Connections whose socket took less than it was offered, or that marks wait for.
    pub waiting_connections: u64,
    /// What is queued for them, bytes, as `--max-outbox-bytes` counts.
    pub queue_bytes: u64,
    /// Different frames that wait in some queue.
    pub queue_frames: u64,
    /// Updates that wait without their payload.
    pub marks: u64,
    /// Whether mail of this shard is refused.
    pub jammed: u64,
}

/// A shard's listeners, as far as they matter to an operator.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Entrance {
    /// Most connections of the whole server.
    pub connections_max: u64,
    /// Connections that were closed as they came: there was not even room to say no.
    pub dropped: u64,
    /// How often accepting had to rest because the system had no open files or memory left.
    pub exhausted: u64,
    /// TLS of the whole server: full handshakes, resumed sessions, and connections that broke it.
    pub tls: [u64; 3],
    /// Whether it rests now.
    pub is_resting: bool,
    /// Whether it has stopped listening until some leave.
    pub is_full: bool,
}

/// A connection that takes less than it is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slow {
    /// Its name in the hello.
    pub conn: String,
    /// What it came for.
    pub kind: &'static str,
    /// What is queued for it, bytes.
    pub waiting_bytes: u64,
    /// Updates that wait without their payload.
    pub waiting_marks: u64,
    /// How long the oldest has waited, milliseconds.
    pub waited_ms: u64,
    /// Its subscriptions.
    pub subscriptions: u32,
}

/// Adds to the connections of a kind.
pub fn add_kind(kinds: &mut Vec<(&'static str, u64)>, kind: &'static str, count: u64) {
    match kinds.iter_mut().find(|(known, _)| *known == kind) {
        Some((_, sum)) => *sum += count,
        None => kinds.push((kind, count)),
    }
}

/// Puts the slowest first and forgets those that are not among them.
pub fn keep_slowest(slowest: &mut Vec<Slow>) {
    slowest.sort_by_key(|slow| std::cmp::Reverse((slow.waiting_bytes, slow.waited_ms)));
    slowest.truncate(SLOWEST_MAX);
}

impl Report {
    /// Adds another shard's.
    pub fn add(&mut self, other: &Report) {
        self.at_us = self.at_us.max(other.at_us);
        self.counters.add(&other.counters);
        self.published += other.published;
        // All shards have the same names.
        if self.reasons.is_empty() {
            self.reasons = other.reasons;
        }
        self.gauges.add(&other.gauges);
        for &(kind, count) in &other.kinds {
            add_kind(&mut self.kinds, kind, count);
        }
        self.entrance.add(&other.entrance);
        self.tick.add(&other.tick);
        self.lag.add(&other.lag);
        self.recent_tick.add(&other.recent_tick);
        self.recent_lag.add(&other.recent_lag);
        self.last_second.add(&other.last_second);
        self.last_ten_seconds.add(&other.last_ten_seconds);
        self.slowest.extend(other.slowest.iter().cloned());
        keep_slowest(&mut self.slowest);
        self.ledger.add(&other.ledger);
    }

    /// Nothing has been heard of the shard for a while: what it told of the last seconds is no longer so.
    pub fn cool_down(&mut self) {
        self.recent_tick = Histogram::default();
        self.recent_lag = Histogram::default();
        self.last_second = Rates::default();
        self.last_ten_seconds = Rates::default();
    }

    /// Connections that are ending: answered or closed, and not yet gone.
    #[must_use]
    pub fn ending(&self) -> u64 {
        let living: u64 = self.kinds.iter().map(|(_, count)| count).sum();
        self.gauges.connections.saturating_sub(living)
    }
}

impl Gauges {
    fn add(&mut self, other: &Gauges) {
        self.connections += other.connections;
        self.subscriptions += other.subscriptions;
        self.topics += other.topics;
        self.filters += other.filters;
        self.history_updates += other.history_updates;
        self.kept_bytes += other.kept_bytes;
        self.waiting_connections += other.waiting_connections;
        self.queue_bytes += other.queue_bytes;
        self.queue_frames += other.queue_frames;
        self.marks += other.marks;
        self.jammed += other.jammed;
    }
}

impl Entrance {
    fn add(&mut self, other: &Entrance) {
        self.connections_max = self.connections_max.max(other.connections_max);
        self.dropped += other.dropped;
        self.exhausted += other.exhausted;
        for (sum, other) in self.tls.iter_mut().zip(other.tls) {
            *sum = other.max(*sum);
        }
        self.is_resting |= other.is_resting;
        self.is_full |= other.is_full;
    }
}

/// The reports of all shards, and what the process holds.
#[derive(Clone, Debug, Default)]
pub struct Gathered {
    /// In the order of the shards' numbers, once [sorted](Gathered::sort).
    pub reports: Vec<Report>,
    /// The process's memory, as far as the system tells.
    pub process: Process,
}

impl Gathered {
    /// Puts the reports in the order of the shards.
    pub fn sort(&mut self) {
        self.reports.sort_by_key(|report| report.shard);
    }

    /// All shards together.
    #[must_use]
    pub fn total(&self) -> Report {
        let mut total = Report::default();
        for report in &self.reports {
            total.add(report);
        }
        total
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slow(conn: &str, waiting_bytes: u64, waited_ms: u64) -> Slow {
        Slow {
            conn: conn.into(),
            kind: "ws",
            waiting_bytes,
            waiting_marks: 0,
            waited_ms,
            subscriptions: 1,
        }
    }

    #[test]
    fn the_sum_names_the_slowest_of_all_shards_and_no_more_than_twenty() {
        let shard = |number: u16| Report {
            shard: number,
            kinds: vec![("http", 1), ("ws", 2)],
            gauges: Gauges {
                connections: 4,
                ..Gauges::default()
            },
            slowest: (0..15)
                .map(|n| slow(&format!("{number}-{n}"), n, number.into()))
                .collect(),
            ..Report::default()
        };
        let gathered = Gathered {
            reports: vec![shard(0), shard(1)],
            process: Process::default(),
        };
        let total = gathered.total();
        assert_eq!(total.slowest.len(), SLOWEST_MAX);
        let names: Vec<&str> = total.slowest.iter().map(|slow| &*slow.conn).collect();
        assert_eq!(names[..3], ["1-14", "0-14", "1-13"]);
        assert_eq!(total.kinds, [("http", 2), ("ws", 4)]);
        assert_eq!(total.ending(), 2);
    }
}
