//! What a scenario has shown: `summary.json`, and a table for people. The keys are stable:
//! snake_case, units last. New keys may be added.

use super::calibrate::Trial;
use super::server::ServerUsage;
use crate::latency::Latency;
use crate::phase::Outcome;
use crate::plan::Host;
use crate::report::Verdict;
use crate::report::human::{bytes, count, time};
use crate::verify::Totals;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt::{self, Display, Formatter};

/// The whole summary.
#[derive(Debug, Serialize)]
pub struct Summary {
    /// Version of this program.
    pub version: &'static str,
    /// The command line.
    pub command: Vec<String>,
    /// When the scenario began, seconds since 1970.
    pub started_at_s: u64,
    /// How long it took.
    pub duration_s: f64,
    /// Connections asked for.
    pub connections: u32,
    /// Threads that held them.
    pub workers: u32,
    /// Seed of every random choice.
    pub seed: u64,
    /// The operator ended it early.
    pub interrupted: bool,
    /// Whether everything was verified and no phase failed.
    pub verdict: Verdict,
    /// The host's limits.
    pub host: Host,
    /// Sums over all subscriptions and all phases.
    pub totals: Totals,
    /// The phases, in order.
    pub phases: Vec<PhaseSummary>,
}

/// A phase.
#[derive(Debug, Serialize)]
pub struct PhaseSummary {
    /// Its label.
    pub name: String,
    /// Its kind.
    pub kind: &'static str,
    /// How it ended.
    pub outcome: Outcome,
    /// When it began, counted from the scenario's start.
    pub started_s: f64,
    /// How long it took.
    pub duration_s: f64,
    /// Connections open when it ended.
    pub connections_open: u64,
    /// Updates delivered meanwhile.
    pub deliveries: u64,
    /// Updates published meanwhile.
    pub published: u64,
    /// Updates that nothing accounts for, since the scenario's start.
    pub lost: u64,
    /// Updates that came again, since the scenario's start.
    pub repeated: u64,
    /// Updates that came after a later one, since the scenario's start.
    pub reordered: u64,
    /// Attempts to connect that failed meanwhile; each was made again.
    pub connect_errors: u64,
    /// Those of them that found no free local port.
    pub connect_errors_no_port: u64,
    /// Connections that were given up meanwhile.
    pub connect_failures: u64,
    /// Connections that the server ended meanwhile.
    pub disconnects: u64,
    /// Connections that left meanwhile, with or without a word.
    pub left: u64,
    /// Connections that were opened meanwhile.
    pub opened: u64,
    /// Subscriptions that should be acknowledged when it ended, and were not.
    pub lost_subscriptions: u64,
    /// What only some kinds tell.
    #[serde(flatten)]
    pub detail: Detail,
    /// Latencies in microseconds, by what was measured.
    pub latency_us: BTreeMap<&'static str, Percentiles>,
    /// What the server used, if it was watched.
    pub server: Option<ServerUsage>,
    /// What the server said of its memory when the phase had ended (`GET /v1/memory`).
    pub server_memory: Option<serde_json::Value>,
    /// What this program used.
    pub generator: GeneratorUsage,
}

/// What only some kinds of phases tell.
#[derive(Debug, Default, Serialize)]
pub struct Detail {
    /// Connect: handshakes a second while each tenth of the population was opened.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub handshakes_per_s_by_tenth: Option<Vec<f64>>,
    /// Connect: handshakes a second over all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub handshakes_per_s: Option<f64>,
    /// Idle: CPU time of the server.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server_cpu_us_per_s_and_connection: Option<f64>,
    /// Broadcast: until the last subscriber had each update.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub times_to_last_us: Option<Vec<f64>>,
    /// Publish: the rate that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate_per_s: Option<f64>,
    /// Publish: cores that the server used.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server_cpu_cores: Option<f64>,
    /// Publish: how the rate was found.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub calibration: Option<Vec<Trial>>,
    /// Storm: from the cut until the last one was back with all its subscriptions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time_to_last_back_us: Option<f64>,
    /// Verify: subscriptions that have reached their final seq with balanced books.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verified_subscriptions: Option<u64>,
}

/// What this program used in a phase.
#[derive(Debug, Serialize)]
pub struct GeneratorUsage {
    /// CPU time in user mode.
    pub cpu_user_s: f64,
    /// CPU time in the kernel.
    pub cpu_system_s: f64,
    /// Resident memory when it ended.
    pub rss_bytes: u64,
    /// How late updates were queued by its own fault; 0 if nothing was published.
    pub schedule_slip_p99_us: f64,
}

/// Percentiles of one kind of latency, in microseconds.
#[derive(Clone, Copy, Debug, Serialize)]
#[expect(missing_docs, reason = "the names say it")]
pub struct Percentiles {
    pub p50: f64,
    pub p90: f64,
    pub p99: f64,
    pub p99_9: f64,
    pub max: f64,
    pub count: u64,
}

impl Percentiles {
    /// Of these values; `None` if there are none.
    pub fn of(latency: &Latency) -> Option<Percentiles> {
        let quantiles = latency.quantiles();
        let us = |ns: u64| ns as f64 / 1000.0;
        (quantiles.count > 0).then(|| Percentiles {
            p50: us(quantiles.p50_ns),
            p90: us(quantiles.p90_ns),
            p99: us(quantiles.p99_ns),
            p99_9: us(quantiles.p999_ns),
            max: us(quantiles.max_ns),
            count: quantiles.count,
        })
    }
}

impl PhaseSummary {
    /// What is wrong with it, a sentence each.
    pub(super) fn failures(&self) -> Vec<String> {
        let mut failures = Vec::from_iter(self.outcome.failure(&self.name));
        if self.lost_subscriptions > 0 && self.outcome != Outcome::Interrupted {
            failures.push(format!(
                "{} subscriptions are missing after the {} phase",
                self.lost_subscriptions, self.name
            ));
        }
        failures
    }
}

impl Display for Summary {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:<16}{:>9}{:>11}{:>13}{:>11}{:>11}{:>10}{:>11}  notes",
            "phase", "time", "open", "deliveries", "p50", "p99", "srv cpu", "srv rss"
        )?;
        self.phases.iter().try_for_each(|phase| phase.row(f))?;
        self.verdict.reasons(f)?;
        if self.interrupted {
            writeln!(f, "interrupted: the figures are of the part that was run")?;
        }
        let word = self.verdict.word();
        let Totals {
            delivered,
            lost,
            repeated,
            reordered,
            ..
        } = self.totals;
        writeln!(
            f,
            "{word}: {delivered} deliveries, {lost} lost, {repeated} repeated, {reordered} reordered"
        )
    }
}

impl PhaseSummary {
    fn row(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let us = |us: f64| time((us * 1000.0) as u64);
        let none = || "-".to_owned();
        let delivery = self.latency_us.get("delivery");
        let server = self.server.as_ref();
        writeln!(
            f,
            "{:<16}{:>9}{:>11}{:>13}{:>11}{:>11}{:>10}{:>11}  {}",
            self.name,
            format!("{:.1} s", self.duration_s),
            count(self.connections_open),
            count(self.deliveries),
            delivery.map_or_else(none, |delivery| us(delivery.p50)),
            delivery.map_or_else(none, |delivery| us(delivery.p99)),
            server.map_or_else(none, |server| {
                format!("{:.2} s", server.cpu_user_s + server.cpu_system_s)
            }),
            server.map_or_else(none, |server| bytes(server.rss_end_bytes)),
            self.notes().join(", ")
        )
    }

    fn notes(&self) -> Vec<String> {
        let us = |us: f64| time((us * 1000.0) as u64);
        let detail = &self.detail;
        let mut notes = Vec::new();
        if self.outcome != Outcome::Done {
            notes.push(format!("{:?}", self.outcome).to_lowercase());
        }
        let told = [
            detail
                .handshakes_per_s
                .map(|per_s| format!("{} handshakes/s", count(per_s as u64))),
            detail
                .server_cpu_us_per_s_and_connection
                .map(|us| format!("{us:.3} µs CPU/s and connection")),
            detail
                .rate_per_s
                .map(|per_s| format!("{} updates/s", count(per_s as u64))),
            detail
                .server_cpu_cores
                .map(|cores| format!("{cores:.2} cores")),
            detail
                .time_to_last_back_us
                .map(|back| format!("last one back after {}", us(back))),
            detail
                .verified_subscriptions
                .map(|number| format!("{} subscriptions verified", count(number))),
        ];
        notes.extend(told.into_iter().flatten());
        for what in ["time_to_last", "reconnect"] {
            if let Some(percentiles) = self.latency_us.get(what) {
                let what = what.replace('_', " ");
                notes.push(format!(
                    "{what} p50 {}, max {}",
                    us(percentiles.p50),
                    us(percentiles.max)
                ));
            }
        }
        for (number, what) in [
            (self.connect_errors, "attempts failed"),
            (self.lost_subscriptions, "subscriptions missing"),
        ] {
            if number > 0 {
                notes.push(format!("{} {what}", count(number)));
            }
        }
        notes
    }
}
