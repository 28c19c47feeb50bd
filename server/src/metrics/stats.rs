//! The JSON of `/v1/stats` and `$sys.stats`: what a person looks at, of all shards together and of each.

use std::collections::BTreeMap;

use serde::Serialize;

use super::rates::Rates;
use super::{Gathered, Histogram, Report, Slow};
use crate::ledger::{Ledger, Process};

/// Whose stats, and when.
#[derive(Clone, Copy, Debug)]
pub struct Heading<'h> {
    /// The epoch of this run.
    pub epoch: &'h str,
    /// Microseconds since 1970.
    pub time_us: i64,
    /// Microseconds since the server started.
    pub uptime_us: u64,
}

/// Writes the stats as one JSON object.
#[must_use]
pub fn page(gathered: &Gathered, heading: Heading<'_>) -> Vec<u8> {
    let total = gathered.total();
    let page = Page {
        version: env!("CARGO_PKG_VERSION"),
        epoch: heading.epoch,
        time: heading.time_us,
        uptime_s: heading.uptime_us as f64 / 1e6,
        connections: connections(&total),
        rates: PerSecond {
            last_second: rounded(total.last_second),
            last_ten_seconds: rounded(total.last_ten_seconds),
        },
        totals: totals(&total),
        lag_us: percentiles(&total.recent_lag),
        tick_us: percentiles(&total.recent_tick),
        waiting: waiting(&total),
        topics: topics(&total),
        slowest: total.slowest.iter().map(slowest).collect(),
        memory: Memory {
            accounted_bytes: total.ledger.accounted_bytes(),
            ledger: &total.ledger,
            process: &gathered.process,
        },
        shards: gathered.reports.iter().map(shard).collect(),
    };
    // Numbers, names and fixed keys: there is nothing in it that could fail to be written.
    serde_json::to_vec(&page).unwrap_or_default()
}

#[derive(Serialize)]
struct Page<'p> {
    version: &'static str,
    epoch: &'p str,
    time: i64,
    uptime_s: f64,
    connections: Connections,
    rates: PerSecond,
    totals: Totals,
    lag_us: Percentiles,
    tick_us: Percentiles,
    waiting: Waiting,
    topics: Topics,
    slowest: Vec<Slowest<'p>>,
    memory: Memory<'p>,
    shards: Vec<Shard>,
}

#[derive(Serialize)]
struct Connections {
    now: u64,
    limit: u64,
    by_kind: BTreeMap<&'static str, u64>,
}

#[derive(Serialize)]
struct PerSecond {
    last_second: Rates,
    last_ten_seconds: Rates,
}

#[derive(Serialize)]
struct Totals {
    accepts: u64,
    accepts_refused: u64,
    accepts_dropped: u64,
    handshakes: u64,
    requests: u64,
    streams: u64,
    messages_in: u64,
    updates_in: u64,
    deliveries: u64,
    bytes_in: u64,
    bytes_out: u64,
    skipped: BTreeMap<&'static str, u64>,
    slow_entered: u64,
    slow_left: u64,
    rate_limited: u64,
    mail_jams: u64,
    disconnects: BTreeMap<&'static str, u64>,
}

/// Of the last ten seconds. Each is at most a quarter too high.
#[derive(Serialize)]
struct Percentiles {
    count: u64,
    p50: u64,
    p90: u64,
    p99: u64,
    p999: u64,
    max: u64,
}

#[derive(Serialize)]
struct Waiting {
    connections: u64,
    slow_connections: u64,
    frames: u64,
    bytes: u64,
    marks: u64,
}

#[derive(Serialize)]
struct Topics {
    topics: u64,
    subscriptions: u64,
    filters: u64,
    history_updates: u64,
    kept_bytes: u64,
}

#[derive(Serialize)]
struct Slowest<'s> {
    conn: &'s str,
    kind: &'static str,
    waiting_bytes: u64,
    waiting_marks: u64,
    waited_ms: u64,
    subscriptions: u32,
}

#[derive(Serialize)]
struct Memory<'m> {
    accounted_bytes: u64,
    #[serde(flatten)]
    ledger: &'m Ledger,
    #[serde(flatten)]
    process: &'m Process,
}

#[derive(Serialize)]
struct Shard {
    shard: u16,
    connections: u64,
    subscriptions: u64,
    topics: u64,
    updates_in: f64,
    deliveries: f64,
    bytes_out: f64,
    lag_p99_us: u64,
    tick_p99_us: u64,
    waiting_bytes: u64,
    slow_connections: u64,
    jammed: bool,
    resting: bool,
    full: bool,
}

fn connections(total: &Report) -> Connections {
    let ending = [("ending", total.ending())];
    Connections {
        now: total.gauges.connections,
        limit: total.entrance.connections_max,
        by_kind: total.kinds.iter().copied().chain(ending).collect(),
    }
}

fn totals(total: &Report) -> Totals {
    let counters = &total.counters;
    let ends = total.reasons.iter().copied().zip(counters.disconnects);
    Totals {
        accepts: counters.opened,
        accepts_refused: counters.refused,
        accepts_dropped: total.entrance.dropped,
        handshakes: counters.upgraded,
        requests: counters.requests,
        streams: counters.streams,
        messages_in: counters.messages_in,
        updates_in: total.published,
        deliveries: counters.deliveries,
        bytes_in: counters.bytes_in,
        bytes_out: counters.bytes_out,
        skipped: BTreeMap::from([
            ("slow", counters.skipped_slow),
            ("rate", counters.skipped_rate),
            ("stale", counters.skipped_stale),
        ]),
        slow_entered: counters.slow_entered,
        slow_left: counters.slow_left,
        rate_limited: counters.rate_limited,
        mail_jams: counters.mail_jams,
        disconnects: ends.collect(),
    }
}

fn percentiles(durations: &Histogram) -> Percentiles {
    Percentiles {
        count: durations.count(),
        p50: durations.percentile_us(500),
        p90: durations.percentile_us(900),
        p99: durations.percentile_us(990),
        p999: durations.percentile_us(999),
        max: durations.percentile_us(1000),
    }
}

fn waiting(total: &Report) -> Waiting {
    Waiting {
        connections: total.gauges.waiting_connections,
        slow_connections: total.counters.slow_now(),
        frames: total.gauges.queue_frames,
        bytes: total.gauges.queue_bytes,
        marks: total.gauges.marks,
    }
}

fn topics(total: &Report) -> Topics {
    Topics {
        topics: total.gauges.topics,
        subscriptions: total.gauges.subscriptions,
        filters: total.gauges.filters,
        history_updates: total.gauges.history_updates,
        kept_bytes: total.gauges.kept_bytes,
    }
}

fn slowest(slow: &Slow) -> Slowest<'_> {
    Slowest {
        conn: &slow.conn,
        kind: slow.kind,
        waiting_bytes: slow.waiting_bytes,
        waiting_marks: slow.waiting_marks,
        waited_ms: slow.waited_ms,
        subscriptions: slow.subscriptions,
    }
}

fn shard(report: &Report) -> Shard {
    let rates = rounded(report.last_ten_seconds);
    Shard {
        shard: report.shard,
        connections: report.gauges.connections,
        subscriptions: report.gauges.subscriptions,
        topics: report.gauges.topics,
        updates_in: rates.updates_in,
        deliveries: rates.deliveries,
        bytes_out: rates.bytes_out,
        lag_p99_us: report.recent_lag.percentile_us(990),
        tick_p99_us: report.recent_tick.percentile_us(990),
        waiting_bytes: report.gauges.queue_bytes,
        slow_connections: report.counters.slow_now(),
        jammed: report.gauges.jammed > 0,
        resting: report.entrance.is_resting,
        full: report.entrance.is_full,
    }
}

/// To a tenth: what lies behind it says nothing.
fn rounded(rates: Rates) -> Rates {
    let round = |rate: f64| (rate * 10.0).round() / 10.0;
    Rates {
        messages_in: round(rates.messages_in),
        updates_in: round(rates.updates_in),
        deliveries: round(rates.deliveries),
        bytes_in: round(rates.bytes_in),
        bytes_out: round(rates.bytes_out),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    #[test]
    fn shards_add_up_and_keep_their_own_lines() {
        let report = |shard: u16, connections: u64| {
            let mut report = Report {
                shard,
                reasons: &["peer_closed"],
                kinds: vec![("ws", connections)],
                published: 5,
                ..Report::default()
            };
            report.gauges.connections = connections;
            report.last_ten_seconds.deliveries = 1.04;
            report.recent_lag.add_many(100, 10);
            report
        };
        let mut gathered = Gathered {
            reports: vec![report(1, 3), report(0, 4)],
            process: Process::default(),
        };
        gathered.sort();
        let heading = Heading {
            epoch: "e1",
            time_us: 17,
            uptime_us: 1_500_000,
        };
        let page: Value = serde_json::from_slice(&page(&gathered, heading)).unwrap();
        assert_eq!(page["connections"]["now"], 7);
        assert_eq!(page["connections"]["by_kind"]["ws"], 7);
        assert_eq!(page["totals"]["updates_in"], 10);
        assert_eq!(page["totals"]["disconnects"]["peer_closed"], 0);
        assert_eq!(page["rates"]["last_ten_seconds"]["deliveries"], 2.1);
        assert_eq!(page["lag_us"]["count"], 20);
        assert_eq!(page["shards"][0]["connections"], 4);
        assert_eq!(page["shards"][1]["deliveries"], 1.0);
        assert_eq!(
            (&page["epoch"], &page["uptime_s"]),
            (&"e1".into(), &1.5.into())
        );
    }
}
