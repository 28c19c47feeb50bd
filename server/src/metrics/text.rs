//! The text of `/metrics`: OpenMetrics 1.0, which Prometheus asks for and every scraper of its kind reads.
//!
//! Names are part of the contract with dashboards: docs/OPERATIONS.md lists them, and tests hold list, dashboard and server together.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::{Registry, Unit};

use super::{Gathered, Histogram, Report};
use crate::ledger::{Ledger, Process};

/// What the text is (the OpenMetrics specification, "Content-Type").
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Writes all metrics of a server that has run for `uptime_us`.
#[must_use]
pub fn exposition(gathered: &Gathered, uptime_us: u64) -> String {
    let mut registry = Registry::with_prefix("fanfare");
    registry.register_collector(Box::new(Scrape {
        shards: gathered.reports.len() as u64,
        full: count(gathered, |report| report.entrance.is_full),
        resting: count(gathered, |report| report.entrance.is_resting),
        total: gathered.total(),
        process: gathered.process.clone(),
        uptime_us,
    }));
    let mut text = String::with_capacity(16 * 1024);
    // Writing to a string does not fail.
    let _ = encode(&mut text, &registry);
    text
}

fn count(gathered: &Gathered, is: impl Fn(&Report) -> bool) -> u64 {
    gathered.reports.iter().filter(|report| is(report)).count() as u64
}

/// The sum of all shards at the moment of a scrape.
#[derive(Debug)]
struct Scrape {
    total: Report,
    process: Process,
    shards: u64,
    full: u64,
    resting: u64,
    uptime_us: u64,
}

impl Collector for Scrape {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut page = Page { encoder };
        self.put_server(&mut page)?;
        self.put_connections(&mut page)?;
        self.put_traffic(&mut page)?;
        self.put_waiting(&mut page)?;
        self.put_topics(&mut page)?;
        self.put_memory(&mut page)
    }
}

impl Scrape {
    fn put_server(&self, page: &mut Page<'_>) -> fmt::Result {
        let version = [("version", env!("CARGO_PKG_VERSION"))];
        page.begin("build", "The version that runs", None, MetricType::Info)?
            .encode_info(&version)?;
        let uptime_s = self.uptime_us as f64 / 1e6;
        page.begin(
            "uptime",
            "Time since the server started",
            Some(&Unit::Seconds),
            MetricType::Gauge,
        )?
        .encode_gauge(&uptime_s)?;
        page.gauge("shards", "Threads that serve connections", self.shards)?;
        let help = "From waking up to going back to sleep, one turn of a shard's loop";
        page.histogram("tick", help, &self.total.tick)
    }

    fn put_connections(&self, page: &mut Page<'_>) -> fmt::Result {
        let Report {
            counters, entrance, ..
        } = &self.total;
        let ending = [("ending", self.total.ending())];
        let kinds = self.total.kinds.iter().copied().chain(ending);
        page.gauges(
            "connections",
            "Connections by what they came for",
            "kind",
            kinds,
        )?;
        page.gauge(
            "connections_limit",
            "Most connections of the server",
            entrance.connections_max,
        )?;
        page.counter("accepts", "Connections accepted", counters.opened)?;
        page.counter(
            "accepts_refused",
            "Connections that were told 503 because the server was full",
            counters.refused,
        )?;
        page.counter(
            "accepts_dropped",
            "Connections closed unheard, because there was no room even to refuse them",
            entrance.dropped,
        )?;
        let overflows = self.process.listen_overflows.unwrap_or_default();
        page.counter("listen_overflows", "Connections the kernel turned away because a listen queue was full, of all programs in the network namespace", overflows)?;
        page.counter(
            "open_files_exhausted",
            "Times that accepting had to rest because open files or memory ran out",
            entrance.exhausted,
        )?;
        page.gauge(
            "shards_resting",
            "Shards that accept nobody now because open files or memory ran out",
            self.resting,
        )?;
        page.gauge(
            "shards_full",
            "Shards that have stopped listening until connections leave",
            self.full,
        )?;
        page.counter("handshakes", "Upgrades to a WebSocket", counters.upgraded)?;
        let [full, resumed, failed] = entrance.tls;
        page.counter("tls_handshakes", "Full TLS handshakes", full)?;
        page.counter(
            "tls_resumptions",
            "TLS sessions resumed by a ticket",
            resumed,
        )?;
        page.counter(
            "tls_failures",
            "Connections that ended because of what came as TLS",
            failed,
        )?;
        page.counter(
            "http_requests",
            "HTTP requests answered, streams of events included",
            counters.requests,
        )?;
        page.counter(
            "event_streams",
            "Streams of Server-Sent Events begun",
            counters.streams,
        )?;
        let ends = (self.total.reasons.iter().copied()).zip(counters.disconnects);
        page.counters(
            "disconnects",
            "Ends of connections by their reason",
            "reason",
            ends,
        )
    }

    fn put_traffic(&self, page: &mut Page<'_>) -> fmt::Result {
        let Report { counters, .. } = &self.total;
        page.counter(
            "messages_received",
            "Messages from clients",
            counters.messages_in,
        )?;
        page.counter(
            "updates_published",
            "Updates that were numbered by their topics' owners",
            self.total.published,
        )?;
        page.counter(
            "updates_received",
            "Updates that came to shards with subscribers; one for three shards counts three times",
            counters.updates_in,
        )?;
        page.counter(
            "deliveries",
            "Updates queued or written to subscribers",
            counters.deliveries,
        )?;
        let skipped = [
            ("slow", counters.skipped_slow),
            ("rate", counters.skipped_rate),
            ("stale", counters.skipped_stale),
        ];
        page.counters(
            "updates_skipped",
            "Updates left out by conflation",
            "why",
            skipped.into_iter(),
        )?;
        page.counter_of(
            "received",
            "Read from sockets",
            Some(&Unit::Bytes),
            counters.bytes_in,
        )?;
        page.counter_of(
            "sent",
            "Taken by sockets",
            Some(&Unit::Bytes),
            counters.bytes_out,
        )?;
        page.counter(
            "rate_limited",
            "Commands and publishes that came too soon after others",
            counters.rate_limited,
        )?;
        page.counter(
            "refused_tokens",
            "Tokens and keys that were no good",
            counters.refused_tokens,
        )?;
        let help = "From an update's number to the end of the writes in which it was handed to sockets, once for each delivery";
        page.histogram("delivery_lag", help, &self.total.lag)
    }

    fn put_waiting(&self, page: &mut Page<'_>) -> fmt::Result {
        let Report {
            counters, gauges, ..
        } = &self.total;
        page.gauge(
            "queue_frames",
            "Different frames that wait in some queue",
            gauges.queue_frames,
        )?;
        page.gauge_of(
            "queue",
            "Queued for connections whose sockets take no more, as --max-outbox-bytes counts",
            Some(&Unit::Bytes),
            gauges.queue_bytes,
        )?;
        page.gauge(
            "connections_waiting",
            "Connections that have something waiting",
            gauges.waiting_connections,
        )?;
        page.gauge(
            "marks",
            "Updates that wait without their payload",
            gauges.marks,
        )?;
        page.gauge(
            "slow_connections",
            "Connections whose queue was full and is not empty yet",
            counters.slow_now(),
        )?;
        page.counter(
            "slow_entered",
            "Connections that became slow",
            counters.slow_entered,
        )?;
        page.counter(
            "slow_left",
            "Slow connections that have caught up",
            counters.slow_left,
        )?;
        page.counter(
            "mail_jams",
            "Times that a shard's mail was refused by another",
            counters.mail_jams,
        )?;
        page.gauge(
            "shards_jammed",
            "Shards whose mail is refused now",
            gauges.jammed,
        )
    }

    fn put_topics(&self, page: &mut Page<'_>) -> fmt::Result {
        let Report { gauges, .. } = &self.total;
        page.gauge("topics", "Topics", gauges.topics)?;
        page.gauge(
            "subscriptions",
            "Subscriptions to topics and filters",
            gauges.subscriptions,
        )?;
        page.gauge("filters", "Different filters of each shard", gauges.filters)?;
        page.gauge(
            "history_updates",
            "Updates kept behind last values",
            gauges.history_updates,
        )?;
        page.gauge_of(
            "kept",
            "Values kept, last values and history, as --max-kept-bytes counts",
            Some(&Unit::Bytes),
            gauges.kept_bytes,
        )
    }

    fn put_memory(&self, page: &mut Page<'_>) -> fmt::Result {
        let owners = owners(&self.total.ledger);
        page.gauges_of(
            "memory",
            "Accounted memory by owner",
            Some(&Unit::Bytes),
            "owner",
            owners.into_iter(),
        )?;
        let unit = Some(&Unit::Bytes);
        if let Some(rss_bytes) = self.process.rss_bytes {
            page.gauge_of(
                "resident_memory",
                "Resident set of the process",
                unit,
                rss_bytes,
            )?;
        }
        if let Some(bytes) = self.process.tcp_buffer_bytes {
            page.gauge_of(
                "tcp_buffer",
                "Data on its way in the kernel's TCP buffers, host-wide",
                unit,
                bytes,
            )?;
        }
        Ok(())
    }
}

/// The ledger's entries of bytes, by the names that `/v1/memory` has for them.
fn owners(ledger: &Ledger) -> [(&'static str, u64); 11] {
    [
        ("slab", ledger.slab_bytes),
        ("subscription", ledger.subscription_bytes),
        ("topic", ledger.topic_bytes),
        ("history", ledger.history_bytes),
        ("outbox", ledger.outbox_bytes),
        ("frame", ledger.frame_bytes),
        ("mark", ledger.mark_bytes),
        ("input", ledger.input_bytes),
        ("tls", ledger.tls_bytes),
        ("spare", ledger.spare_bytes),
        ("buffer", ledger.buffer_bytes),
    ]
}

/// The page as it is written, one family after the other.
struct Page<'e> {
    encoder: DescriptorEncoder<'e>,
}

impl Page<'_> {
    fn begin<'p>(
        &'p mut self,
        name: &'p str,
        help: &str,
        unit: Option<&'p Unit>,
        kind: MetricType,
    ) -> Result<MetricEncoder<'p>, fmt::Error> {
        self.encoder.encode_descriptor(name, help, unit, kind)
    }

    fn counter(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        self.counter_of(name, help, None, value)
    }

    fn counter_of(
        &mut self,
        name: &str,
        help: &str,
        unit: Option<&Unit>,
        value: u64,
    ) -> fmt::Result {
        put_counter(
            &mut self.begin(name, help, unit, MetricType::Counter)?,
            value,
        )
    }

    fn counters<'l>(
        &mut self,
        name: &str,
        help: &str,
        label: &'static str,
        values: impl Iterator<Item = (&'l str, u64)>,
    ) -> fmt::Result {
        let mut family = self.begin(name, help, None, MetricType::Counter)?;
        for (of, value) in values {
            put_counter(&mut family.encode_family(&[(label, of)])?, value)?;
        }
        Ok(())
    }

    fn gauge(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        self.gauge_of(name, help, None, value)
    }

    fn gauge_of(&mut self, name: &str, help: &str, unit: Option<&Unit>, value: u64) -> fmt::Result {
        self.begin(name, help, unit, MetricType::Gauge)?
            .encode_gauge(&value)
    }

    fn gauges<'l>(
        &mut self,
        name: &str,
        help: &str,
        label: &'static str,
        values: impl Iterator<Item = (&'l str, u64)>,
    ) -> fmt::Result {
        self.gauges_of(name, help, None, label, values)
    }

    fn gauges_of<'l>(
        &mut self,
        name: &str,
        help: &str,
        unit: Option<&Unit>,
        label: &'static str,
        values: impl Iterator<Item = (&'l str, u64)>,
    ) -> fmt::Result {
        let mut family = self.begin(name, help, unit, MetricType::Gauge)?;
        for (of, value) in values {
            family.encode_family(&[(label, of)])?.encode_gauge(&value)?;
        }
        Ok(())
    }

    /// A histogram of seconds.
    fn histogram(&mut self, name: &str, help: &str, durations: &Histogram) -> fmt::Result {
        let sum_s = durations.sum_us() as f64 / 1e6;
        let (count, buckets) = (durations.count(), durations.buckets());
        self.begin(name, help, Some(&Unit::Seconds), MetricType::Histogram)?
            .encode_histogram::<NoLabelSet>(sum_s, count, &buckets, None)
    }
}

fn put_counter(encoder: &mut MetricEncoder<'_>, value: u64) -> fmt::Result {
    encoder.encode_counter::<NoLabelSet, u64, u64>(&value, None)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(report: Report) -> String {
        let gathered = Gathered {
            reports: vec![report, Report::default()],
            process: Process::default(),
        };
        exposition(&gathered, 2_500_000)
    }

    #[test]
    fn names_have_the_suffixes_of_their_types_and_the_text_an_end() {
        let mut report = Report {
            reasons: &["peer_closed", "reset"],
            kinds: vec![("ws", 3)],
            published: 7,
            ..Report::default()
        };
        report.gauges.connections = 4;
        report.counters.disconnects[1] = 5;
        report.counters.bytes_in = 99;
        report.lag.add_many(20, 6);
        let text = page(report);
        for line in [
            "fanfare_build_info{version=\"0.1.0\"} 1",
            "fanfare_uptime_seconds 2.5",
            "fanfare_shards 2",
            "# TYPE fanfare_disconnects counter",
            "fanfare_disconnects_total{reason=\"peer_closed\"} 0",
            "fanfare_disconnects_total{reason=\"reset\"} 5",
            "fanfare_connections{kind=\"ws\"} 3",
            "fanfare_connections{kind=\"ending\"} 1",
            "fanfare_updates_published_total 7",
            "# UNIT fanfare_received_bytes bytes",
            "fanfare_received_bytes_total 99",
            "fanfare_delivery_lag_seconds_count 6",
            "fanfare_delivery_lag_seconds_bucket{le=\"0.000016\"} 0",
            "fanfare_delivery_lag_seconds_bucket{le=\"0.000032\"} 6",
            "fanfare_delivery_lag_seconds_bucket{le=\"+Inf\"} 6",
            "fanfare_memory_bytes{owner=\"slab\"} 0",
        ] {
            assert!(text.lines().any(|told| told == line), "{line}\n{text}");
        }
        assert!(text.ends_with("# EOF\n"));
    }

    #[test]
    fn what_the_system_does_not_tell_is_absent() {
        assert!(!page(Report::default()).contains("resident_memory"));
    }

    #[test]
    fn the_owners_of_memory_are_all_that_is_accounted_for() {
        let ledger = Ledger {
            slab_bytes: 1,
            subscription_bytes: 2,
            topic_bytes: 4,
            history_bytes: 8,
            outbox_bytes: 16,
            frame_bytes: 32,
            mark_bytes: 64,
            input_bytes: 128,
            spare_bytes: 256,
            buffer_bytes: 512,
            tls_bytes: 1024,
            ..Ledger::default()
        };
        let sum: u64 = owners(&ledger).iter().map(|(_, bytes)| bytes).sum();
        assert_eq!(sum, ledger.accounted_bytes());
    }
}
