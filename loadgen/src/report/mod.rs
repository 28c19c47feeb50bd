//! What a run has shown: one structure for the JSON file, a table for people, raw histograms for
//! other tools.
//!
//! The keys of the JSON are stable: snake_case, units last. New keys may be added.

mod course;
pub(crate) mod human;
mod readers;
mod sections;
mod summary;
mod verdict;

pub(crate) use course::resident_bytes;
pub use course::{Course, Mark, PhaseRecord, Sample};
pub use readers::{ClassReport, Readers, Resumed};
pub use sections::{
    Connections, Deliveries, Generator, Handshakes, Latencies, Publishing, Subscriptions,
};
pub use verdict::{Verdict, judge};

use crate::cli::LatencyFrom;
use crate::counts::Counts;
use crate::latency::Latency;
use crate::phase::Phase;
use crate::plan::{Host, Plan};
use crate::publisher::PublisherReport;
use crate::worker::WorkerReport;
use anyhow::Context as _;
use serde::Serialize;
use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::Path;
use std::time::{Duration, SystemTime};
use verdict::Evidence;

/// The whole report.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Version of this program.
    pub version: &'static str,
    /// The command line.
    pub command: Vec<String>,
    /// When the run began, seconds since 1970.
    pub started_at_s: u64,
    /// How long it took.
    pub length_ms: u64,
    /// The operator ended it early.
    pub interrupted: bool,
    /// Whether it proves anything.
    pub verdict: Verdict,
    /// The host's limits.
    pub host: Host,
    /// Connections.
    pub connections: Connections,
    /// Subscriptions.
    pub subscriptions: Subscriptions,
    /// Updates published.
    pub publishing: Publishing,
    /// Updates delivered.
    pub deliveries: Deliveries,
    /// What clients got, by how they read.
    pub readers: Readers,
    /// Latencies.
    pub latency: Latencies,
    /// What the generator itself used.
    pub generator: Generator,
    /// The phases.
    pub phases: Vec<PhaseRecord>,
    /// A sample each 250 ms.
    pub curve: Vec<Sample>,
    #[serde(skip)]
    histograms: Histograms,
    #[serde(skip)]
    course: (SystemTime, Duration),
}

#[derive(Debug)]
struct Histograms {
    handshake: Latency,
    subscribe: Latency,
    delivery: Latency,
    publish_ack: Latency,
    slip: Latency,
}

impl Report {
    /// Adds everything up and judges it.
    pub fn new(
        plan: &Plan,
        course: Course,
        workers: WorkerReport,
        publishers: PublisherReport,
    ) -> Report {
        let length_ms = |phase| course.phase(phase).map_or(0, |record| record.length_ms);
        let per_s = |number: u64, ms: u64| {
            if ms == 0 {
                0.0
            } else {
                number as f64 * 1000.0 / ms as f64
            }
        };
        let steady = course.phase(Phase::Steady);
        let steady_cpu_ms = steady.map_or(0, |record| record.cpu_user_ms + record.cpu_system_ms);
        let steady_core_ms = length_ms(Phase::Steady).max(1) as f64 * plan.host.cores as f64;
        let cpu_share = steady_cpu_ms as f64 / steady_core_ms;
        let cpu_s =
            |ms: fn(&PhaseRecord) -> u64| course.phases.iter().map(ms).sum::<u64>() as f64 / 1000.0;
        // Those that were cut and came back have opened twice.
        let came_back = workers.join.quantiles().count;
        let opened = workers.figures.opened.saturating_sub(came_back);
        let subscribers = workers.figures.subscribed.saturating_sub(came_back);
        let evidence = Evidence {
            plan,
            course: &course,
            workers: &workers,
            publishers: &publishers,
            cpu_share,
        };
        Report {
            version: env!("CARGO_PKG_VERSION"),
            command: std::env::args().collect(),
            started_at_s: course
                .started_at
                .duration_since(SystemTime::UNIX_EPOCH)
                .unwrap_or_default()
                .as_secs(),
            length_ms: course.length.as_millis() as u64,
            interrupted: course.is_interrupted,
            verdict: evidence.verdict(),
            readers: Readers::new(plan, &workers),
            host: plan.host,
            connections: Connections {
                asked: plan.connections,
                opened,
                failed: workers.figures.failed,
                unfinished: workers.unfinished,
                disconnected: workers.figures.disconnected,
                opened_per_s: per_s(opened, length_ms(Phase::Connect)),
                tls: Handshakes::of(workers.tls),
                connect_lag_max_ns: workers.connect_lag_max_ns,
                disconnects: all_disconnects(&workers),
                connect_errors: workers.connect_errors,
                close_unanswered: workers.close_unanswered,
            },
            subscriptions: Subscriptions {
                per_connection: plan.subscriptions,
                topics: plan.topics.len(),
                acked: workers.acked,
                refused: workers.refused,
                unanswered: workers.unanswered,
                subscribers,
                errors: workers.errors,
            },
            publishing: Publishing {
                publishers: plan.publishers,
                rate_per_s: plan.publish_rate_per_s,
                payload_bytes: plan.payload_bytes,
                published: publishers.published,
                unpublished: publishers.unpublished,
                acked: publishers.acked,
                unanswered: publishers.unanswered,
                held_back: publishers.held_back,
                refused: publishers.refused,
                disconnects: publishers.disconnects,
                connect_errors: publishers.connect_errors,
            },
            deliveries: Deliveries {
                totals: workers.totals,
                delivered_per_s: per_s(
                    steady.map_or(0, |record| record.delivered),
                    length_ms(Phase::Steady),
                ),
                in_bytes: workers.figures.bytes_in,
                untimed: workers.untimed,
            },
            latency: Latencies {
                handshake: workers.handshake.quantiles(),
                subscribe: workers.subscribe.quantiles(),
                delivery: workers.delivery.healthy.quantiles(),
                delivery_from: match plan.latency_from {
                    LatencyFrom::Schedule => "schedule",
                    LatencyFrom::Server => "server",
                },
                publish_ack: publishers.ack.quantiles(),
            },
            generator: Generator {
                workers: plan.workers,
                source_addresses: plan.sources.len(),
                seed: plan.seed,
                cpu_user_s: cpu_s(|record| record.cpu_user_ms),
                cpu_system_s: cpu_s(|record| record.cpu_system_ms),
                steady_cpu_share: cpu_share,
                slip: publishers.slip.quantiles(),
                resident_bytes_max: course.resident_bytes_max,
                resident_bytes_per_connection: course.resident_bytes_max
                    / u64::from(plan.connections),
            },
            histograms: Histograms {
                handshake: workers.handshake,
                subscribe: workers.subscribe,
                delivery: workers.delivery.healthy,
                publish_ack: publishers.ack,
                slip: publishers.slip,
            },
            course: (course.started_at, course.length),
            phases: course.phases,
            curve: course.curve,
        }
    }

    /// Writes the report as JSON.
    pub fn write_json(&self, path: &Path) -> anyhow::Result<()> {
        write_json(path, self).context("--json")
    }

    /// Writes the raw histograms into a folder.
    pub fn write_histograms(&self, dir: &Path) -> anyhow::Result<()> {
        let Histograms {
            handshake,
            subscribe,
            delivery,
            publish_ack,
            slip,
        } = &self.histograms;
        for (name, latency) in [
            ("handshake", handshake),
            ("subscribe", subscribe),
            ("delivery", delivery),
            ("publish_ack", publish_ack),
            ("slip", slip),
        ] {
            latency
                .write_log(dir, name, self.course.0, self.course.1)
                .with_context(|| format!("--histograms {}", dir.display()))?;
        }
        Ok(())
    }
}

fn all_disconnects(workers: &WorkerReport) -> Counts {
    let mut all = Counts::default();
    for (_, part) in workers.disconnects.iter() {
        all.merge(part);
    }
    all
}

/// Writes a report as JSON, pretty, with a newline at the end.
pub(crate) fn write_json(path: &Path, report: &impl Serialize) -> anyhow::Result<()> {
    let write = || -> anyhow::Result<()> {
        let mut file = BufWriter::new(File::create(path)?);
        serde_json::to_writer_pretty(&mut file, report)?;
        file.write_all(b"\n")?;
        Ok(file.flush()?)
    };
    write().with_context(|| path.display().to_string())
}
