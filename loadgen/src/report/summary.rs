//! The table at the end of a run. Its last line is the verdict.

use super::Report;
use super::human::{bytes, count, time};
use super::sections::Handshakes;
use crate::counts::Counts;
use crate::latency::Quantiles;
use std::fmt::{self, Display, Formatter};

impl Display for Report {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Report {
            connections,
            subscriptions,
            publishing,
            deliveries,
            latency,
            generator,
            ..
        } = self;
        row(
            f,
            "connections",
            &[
                format!(
                    "{} of {} open",
                    count(connections.opened),
                    count(u64::from(connections.asked))
                ),
                format!("{} a second", count(connections.opened_per_s as u64)),
            ],
        )?;
        if let Some(Handshakes { full, resumed }) = connections.tls {
            let parts = [
                format!("{} full", count(full)),
                format!("{} resumed", count(resumed)),
            ];
            row(f, "TLS handshakes", &parts)?;
        }
        errors(f, "failed attempts", &connections.connect_errors)?;
        errors(f, "disconnects", &connections.disconnects)?;
        row(f, "handshake", &[p(&latency.handshake, false)])?;
        row(
            f,
            "subscriptions",
            &[
                format!("{} acknowledged", count(subscriptions.acked)),
                format!("{} topics", count(subscriptions.topics as u64)),
            ],
        )?;
        errors(f, "errors", &subscriptions.errors)?;
        row(f, "subscribe ack", &[p(&latency.subscribe, false)])?;
        if publishing.publishers > 0 {
            row(
                f,
                "published",
                &[
                    format!("{} acknowledged", count(publishing.acked)),
                    format!("{} a second asked for", publishing.rate_per_s),
                    format!("ack p99 {}", time(latency.publish_ack.p99_ns)),
                ],
            )?;
            errors(f, "refused", &publishing.refused)?;
            row(
                f,
                "schedule slip",
                &[
                    p(&generator.slip, false),
                    format!("{} held back", count(publishing.held_back)),
                ],
            )?;
        }
        row(
            f,
            "deliveries",
            &[
                count(deliveries.totals.delivered),
                format!("{} a second", count(deliveries.delivered_per_s as u64)),
                format!("{} skipped", count(deliveries.totals.skipped)),
                format!("{} in gaps", count(deliveries.totals.gaps)),
            ],
        )?;
        row(
            f,
            "delivery",
            &[
                p(&latency.delivery, true),
                format!("from the {}", from(latency.delivery_from)),
            ],
        )?;
        self.readers.rows(f)?;
        if latency.delivery.clock_faults > 0 {
            row(f, "clock faults", &[count(latency.delivery.clock_faults)])?;
        }
        row(f, "bytes in", &[bytes(deliveries.in_bytes)])?;
        row(
            f,
            "generator",
            &[
                format!(
                    "{:.2} s user, {:.2} s system CPU",
                    generator.cpu_user_s, generator.cpu_system_s
                ),
                format!(
                    "{:.0} % of {} cores while steady",
                    generator.steady_cpu_share * 100.0,
                    self.host.cores
                ),
                format!("{} workers", generator.workers),
                format!("{} resident", bytes(generator.resident_bytes_max)),
            ],
        )?;
        self.verdict(f)
    }
}

impl Report {
    fn verdict(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let totals = &self.deliveries.totals;
        self.verdict.reasons(f)?;
        if self.interrupted {
            writeln!(f, "interrupted: the figures are of the part that was run")?;
        }
        let word = self.verdict.word();
        writeln!(
            f,
            "{word}: {} deliveries to {} subscribers, {} lost, {} repeated, {} reordered",
            totals.delivered,
            self.subscriptions.subscribers,
            totals.lost,
            totals.repeated,
            totals.reordered
        )
    }
}

fn row(f: &mut Formatter<'_>, name: &str, cells: &[String]) -> fmt::Result {
    writeln!(f, "{name:<16}{}", cells.join(", "))
}

fn errors(f: &mut Formatter<'_>, name: &str, counts: &Counts) -> fmt::Result {
    let cells: Vec<String> = counts
        .iter()
        .map(|(kind, number)| format!("{} {kind}", count(number)))
        .collect();
    if cells.is_empty() {
        Ok(())
    } else {
        row(f, name, &cells)
    }
}

fn p(quantiles: &Quantiles, with_p999: bool) -> String {
    if quantiles.count == 0 {
        return "none".to_owned();
    }
    let Quantiles {
        p50_ns,
        p99_ns,
        p999_ns,
        max_ns,
        ..
    } = *quantiles;
    let p999 = if with_p999 {
        format!("p99.9 {}, ", time(p999_ns))
    } else {
        String::new()
    };
    format!(
        "p50 {}, p99 {}, {p999}max {}",
        time(p50_ns),
        time(p99_ns),
        time(max_ns)
    )
}

fn from(which: &str) -> &'static str {
    if which == "server" {
        "server's ts (wall clocks)"
    } else {
        "intended time of publication"
    }
}
