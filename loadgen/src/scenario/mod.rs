//! A population of subscribers, held through the phases of a file: connected once, and checked
//! throughout. Every phase gets its own figures; one verdict is over all of them.
//!
//! | module | holds |
//! |---|---|
//! | [`mod@file`], [`script`] | the phase file, and what it means on this host |
//! | `lead`, `steps`, `calibrate` | orders and waits; what each kind of phase does with them |
//! | [`curve`], [`server`] | the population and the server, sampled each 250 ms |
//! | [`summary`] | the output |

mod calibrate;
pub mod curve;
pub mod file;
mod keys;
mod lead;
pub mod script;
pub mod server;
mod steps;
pub mod summary;

pub use script::Script;
pub use summary::Summary;

use crate::phase::{Note, Outcome};
use crate::publisher::PublisherReport;
use crate::report::{Course, judge, resident_bytes, write_json};
use crate::sys;
use crate::worker::WorkerReport;
use anyhow::Context as _;
use file::{Step, Task};
use lead::{Lead, Measured};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::mpsc::{Receiver, Sender};
use std::time::{Duration, Instant, SystemTime};
use steps::Done;
use summary::{GeneratorUsage, Percentiles, PhaseSummary};

/// Carries out a script and writes its output. `notes` is a channel whose sender the caller may use
/// for [`Note::Interrupt`].
pub fn run(script: &Script, notes: (Sender<Note>, Receiver<Note>)) -> anyhow::Result<Summary> {
    let started_at = SystemTime::now();
    let (lead, seqs_before) = lead::start(script, notes)?;
    let mut stage = Stage {
        baseline: Baseline::now()?,
        lead,
        phases: Vec::new(),
        course: Course::new(seqs_before),
        batches: 0,
    };
    stage.carry_out_all()?;
    stage.finish(started_at)
}

/// The scenario under way.
struct Stage<'a> {
    lead: Lead<'a>,
    baseline: Baseline,
    phases: Vec<PhaseSummary>,
    /// Where the topics stand, for the verdict.
    course: Course,
    /// Batches of topics that everybody has subscribed to.
    batches: usize,
}

/// Where everything that is counted stood when a phase began.
#[derive(Debug)]
struct Baseline {
    at: Instant,
    cpu: (Duration, Duration),
    workers: WorkerReport,
    publishers: PublisherReport,
}

impl Baseline {
    fn now() -> anyhow::Result<Baseline> {
        Ok(Baseline {
            at: Instant::now(),
            cpu: sys::cpu_time()?,
            workers: WorkerReport::default(),
            publishers: PublisherReport::default(),
        })
    }
}

impl Stage<'_> {
    /// The phases of the script, as far as they succeed, and a last verification.
    fn carry_out_all(&mut self) -> anyhow::Result<()> {
        for step in &self.lead.notebook.script.steps {
            // After a failure more load would prove nothing.
            let is_well = self
                .phases
                .iter()
                .all(|phase| phase.outcome == Outcome::Done);
            if !is_well || self.lead.must_end().is_some() {
                break;
            }
            self.carry_out(step)?;
        }
        self.lead.is_ending = true;
        if self
            .phases
            .last()
            .is_none_or(|phase| phase.kind != "verify")
        {
            self.carry_out(&Step {
                name: "verify".to_owned(),
                task: Task::Verify,
            })?;
        }
        Ok(())
    }

    fn carry_out(&mut self, step: &Step) -> anyhow::Result<()> {
        self.lead.label.clone_from(&step.name);
        self.lead.notebook.watch.begin();
        self.lead.notebook.measured = Measured::default();
        (self.baseline.at, self.baseline.cpu) = (Instant::now(), sys::cpu_time()?);
        let started_s = self.lead.started.elapsed().as_secs_f64();
        let mut done = self.lead.carry_out(step, &mut self.batches)?;
        if let Some(begun) = self.lead.notebook.begun_again.take() {
            self.baseline = begun;
        }
        let length = self.baseline.at.elapsed();
        let cpu = sys::cpu_time()?;
        let server = self.lead.notebook.watch.usage();
        self.course.is_interrupted |= done.outcome == Outcome::Interrupted;
        match done.finals.take() {
            Some(Ok(finals)) => self.course.finals = Some(finals),
            Some(Err(error)) => self.course.check_error = Some(error),
            None => {}
        }
        let (workers, publishers, _) = self.lead.add_up(true)?;
        let open = workers.figures.open();
        self.add_detail(step, &mut done, &workers, length, open);
        let before = &self.baseline.workers;
        let no_port = |report: &WorkerReport| {
            let errors = report.connect_errors.iter();
            let no_port = errors.filter(|(kind, _)| *kind == crate::link::NO_PORT);
            no_port.map(|(_, number)| number).sum::<u64>()
        };
        let latencies = self.latencies(&step.task);
        self.write_histograms(step, &latencies, length)?;
        let latency_us = latencies
            .iter()
            .filter_map(|(what, latency)| Some((*what, Percentiles::of(latency)?)))
            .collect();
        let slip = self.lead.notebook.measured.slip.quantiles();
        let phase = PhaseSummary {
            name: step.name.clone(),
            kind: step.task.kind(),
            outcome: done.outcome,
            started_s,
            duration_s: length.as_secs_f64(),
            connections_open: open,
            deliveries: workers.totals.delivered - before.totals.delivered,
            published: publishers.published - self.baseline.publishers.published,
            lost: workers.totals.lost,
            repeated: workers.totals.repeated,
            reordered: workers.totals.reordered,
            connect_errors: workers.connect_errors.total() - before.connect_errors.total(),
            connect_errors_no_port: no_port(&workers) - no_port(before),
            connect_failures: workers.figures.failed - before.figures.failed,
            disconnects: workers.figures.disconnected - before.figures.disconnected,
            left: workers.figures.left - before.figures.left,
            opened: workers.figures.opened - before.figures.opened,
            lost_subscriptions: workers.missing,
            detail: done.detail,
            latency_us,
            server,
            server_memory: server::memory(&self.lead.plan.targets[0]),
            generator: GeneratorUsage {
                cpu_user_s: (cpu.0 - self.baseline.cpu.0).as_secs_f64(),
                cpu_system_s: (cpu.1 - self.baseline.cpu.1).as_secs_f64(),
                rss_bytes: resident_bytes(),
                schedule_slip_p99_us: slip.p99_ns as f64 / 1000.0,
            },
        };
        self.phases.push(phase);
        (self.baseline.workers, self.baseline.publishers) = (workers, publishers);
        Ok(())
    }

    fn add_detail(
        &self,
        step: &Step,
        done: &mut Done,
        workers: &WorkerReport,
        length: Duration,
        open: u64,
    ) {
        let length_s = length.as_secs_f64().max(0.001);
        let detail = &mut done.detail;
        match &step.task {
            Task::Connect { .. } => {
                detail.handshakes_per_s = Some(workers.figures.opened as f64 / length_s);
            }
            Task::Idle { .. } => {
                let server = self.lead.notebook.watch.last_usage();
                detail.server_cpu_us_per_s_and_connection = server.map(|server| {
                    let cpu_us = (server.cpu_user_s + server.cpu_system_s) * 1e6;
                    cpu_us / length_s / open.max(1) as f64
                });
            }
            Task::Storm { .. } if done.outcome == Outcome::Done => {
                let join = self.lead.notebook.measured.join.quantiles();
                detail.time_to_last_back_us = Some(join.max_ns as f64 / 1000.0);
            }
            Task::Verify => detail.verified_subscriptions = Some(workers.verified),
            _ => {}
        }
    }

    /// The latencies that a kind of phase is about.
    fn latencies(&self, task: &Task) -> BTreeMap<&'static str, &crate::latency::Latency> {
        let measured = &self.lead.notebook.measured;
        let mut latencies = BTreeMap::from([
            ("handshake", &measured.handshake),
            ("subscribe", &measured.subscribe),
            ("delivery", &measured.delivery),
            ("time_to_last", &measured.time_to_last),
        ]);
        if !matches!(task, Task::Connect { .. }) {
            latencies.insert("reconnect", &measured.join);
        }
        latencies.retain(|_, latency| latency.quantiles().count > 0);
        latencies
    }

    fn write_histograms(
        &self,
        step: &Step,
        latencies: &BTreeMap<&'static str, &crate::latency::Latency>,
        length: Duration,
    ) -> anyhow::Result<()> {
        let dir = self.lead.notebook.script.out.join("histograms");
        let number = self.phases.len() + 1;
        for (what, latency) in latencies {
            let name = format!("{number}-{}-{what}", step.name);
            latency
                .write_log(&dir, &name, SystemTime::now() - length, length)
                .with_context(|| dir.display().to_string())?;
        }
        Ok(())
    }

    /// Ends the threads, judges, and writes.
    fn finish(self, started_at: SystemTime) -> anyhow::Result<Summary> {
        let Stage {
            lead,
            phases,
            course,
            ..
        } = self;
        lead.progress.clear();
        let duration_s = lead.started.elapsed().as_secs_f64();
        let (script, out) = (lead.notebook.script, lead.notebook.script.out.as_path());
        write_curve(&lead, out)?;
        lead.control.close();
        let (workers, publishers) = lead.crew.finish()?;
        let plan = &script.plan;
        let mut verdict = judge(plan, &course, &workers, &publishers);
        verdict
            .failures
            .extend(phases.iter().flat_map(PhaseSummary::failures));
        verdict.passed = verdict.failures.is_empty();
        let summary = Summary {
            version: env!("CARGO_PKG_VERSION"),
            command: std::env::args().collect(),
            started_at_s: started_at
                .duration_since(SystemTime::UNIX_EPOCH)
                .unwrap_or_default()
                .as_secs(),
            duration_s,
            connections: plan.connections,
            workers: plan.workers,
            seed: plan.seed,
            interrupted: course.is_interrupted,
            verdict,
            host: plan.host,
            totals: workers.totals,
            phases,
        };
        write_json(&out.join("summary.json"), &summary)?;
        Ok(summary)
    }
}

fn write_curve(lead: &Lead<'_>, out: &Path) -> anyhow::Result<()> {
    let path = out.join("curve.csv");
    curve::write(&lead.notebook.points, &path).with_context(|| path.display().to_string())
}
