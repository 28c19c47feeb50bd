//! Whether a run proves what it was meant to prove. Two questions, kept apart: did the server do
//! what it promises (else the run has failed), and was it the server that was measured (else the
//! figures are invalid).

use super::course::Course;
use crate::phase::Phase;
use crate::plan::Plan;
use crate::publisher::PublisherReport;
use crate::worker::WorkerReport;
use serde::Serialize;
use std::fmt::{self, Formatter};
use std::time::Duration;

/// A share of all cores beyond which the generator is what limits the run.
const CPU_SHARE_MAX: f64 = 0.9;
/// Phases shorter than this say nothing about the CPU.
const CPU_PHASE_MS_MIN: u64 = 500;

/// The verdict.
#[derive(Debug, Serialize)]
pub struct Verdict {
    /// Nothing is wrong with what the server did.
    pub passed: bool,
    /// The generator was not what limited the run.
    pub valid: bool,
    /// What is wrong with what the server did, a sentence each.
    pub failures: Vec<String>,
    /// Why the figures are not to be used, a sentence each.
    pub invalid_because: Vec<String>,
    /// The first faults in words.
    pub examples: Vec<String>,
}

impl Verdict {
    /// Writes what led to it, a line each.
    pub(crate) fn reasons(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for example in &self.examples {
            writeln!(f, "  e.g. {example}")?;
        }
        for failure in &self.failures {
            writeln!(f, "FAILED: {failure}")?;
        }
        for reason in &self.invalid_because {
            writeln!(f, "INVALID (generator saturated): {reason}")?;
        }
        Ok(())
    }

    /// The verdict in a word or two.
    pub(crate) fn word(&self) -> &'static str {
        if self.passed {
            "verified"
        } else {
            "not verified"
        }
    }
}

/// Judges what members and coordinator have noted down, apart from how long anything took.
pub fn judge(
    plan: &Plan,
    course: &Course,
    workers: &WorkerReport,
    publishers: &PublisherReport,
) -> Verdict {
    let evidence = Evidence {
        plan,
        course,
        workers,
        publishers,
        cpu_share: 0.0,
    };
    evidence.verdict()
}

/// Everything that a verdict is made of.
pub(super) struct Evidence<'a> {
    pub(super) plan: &'a Plan,
    pub(super) course: &'a Course,
    pub(super) workers: &'a WorkerReport,
    pub(super) publishers: &'a PublisherReport,
    /// CPU seconds that all cores together could have given in the steady phase, as a share that
    /// was used.
    pub(super) cpu_share: f64,
}

impl Evidence<'_> {
    pub(super) fn verdict(&self) -> Verdict {
        let failures = self.failures();
        let invalid_because = self.saturation();
        let examples = self
            .workers
            .examples
            .iter()
            .chain(self.publishers.examples.iter());
        Verdict {
            passed: failures.is_empty(),
            valid: invalid_because.is_empty(),
            failures,
            invalid_because,
            examples: examples.map(str::to_owned).collect(),
        }
    }

    fn failures(&self) -> Vec<String> {
        let mut failures = Vec::new();
        let mut count = |number: u64, what: &str| {
            if number > 0 {
                failures.push(format!("{number} {what}"));
            }
        };
        let WorkerReport {
            totals, figures, ..
        } = self.workers;
        count(totals.lost, "updates lost");
        count(totals.repeated, "updates repeated");
        count(totals.reordered, "updates reordered");
        count(totals.broken, "frames that break the protocol's promises");
        count(totals.strays, "frames of topics that were never subscribed");
        count(
            totals.behind,
            "subscriptions ended before their topic's final seq",
        );
        count(
            totals.unbalanced,
            "subscriptions whose books do not balance (a fault of this program)",
        );
        for (class, part) in self.workers.by_class.iter() {
            count(
                u64::from(!part.balance()),
                &format!(
                    "sum of the {} clients' deliveries, skips, gaps and losses is not what was published (a fault of this program)",
                    class.name()
                ),
            );
        }
        count(
            totals.unrecovered,
            "subscriptions were cut off and did not recover what they had missed",
        );
        count(figures.failed, "connections could not be opened");
        count(self.workers.refused, "subscriptions refused");
        count(
            self.publishers.connect_errors.total(),
            "publishing connections could not be opened",
        );
        count(self.publishers.refused.total(), "publishes refused");
        count(
            self.publishers.odd_answers,
            "answers to publishes that nobody waited for",
        );
        count(
            self.publishers.unpublished,
            "updates that no publisher could hand over",
        );
        count(self.publishers.unanswered, "publishes never answered");
        if !self.course.is_interrupted {
            count(self.workers.unfinished, "connections were not open in time");
            count(self.workers.unanswered, "subscriptions never answered");
        }
        if !self.plan.allow_disconnects {
            // Those that do not read may be.
            count(self.workers.cut_off(), "connections cut off by the server");
            count(
                self.publishers.disconnects.total(),
                "publishing connections cut off by the server",
            );
        }
        failures.extend(self.phase_failures());
        failures.extend(self.publish_failures());
        failures
    }

    fn phase_failures(&self) -> impl Iterator<Item = String> {
        let finals = self.course.check_error.as_ref();
        let unknown = finals.map(|error| format!("the topics' final seqs are unknown: {error}"));
        // Closing is courtesy: who does not answer is cut off.
        let phases = self.course.phases.iter();
        let ended = phases
            .filter(|record| record.phase != Phase::Close)
            .filter_map(|record| record.outcome.failure(record.phase.name()));
        unknown.into_iter().chain(ended)
    }

    /// Holds the answers to publishes against where the topics stood before and after.
    fn publish_failures(&self) -> Option<String> {
        let finals = self.course.finals.as_ref()?;
        let stood = self.course.seqs_before.iter().zip(finals.iter());
        self.publishers.acks.iter().zip(stood).enumerate().find_map(
            |(topic, (acks, (before, end)))| {
                let fault = acks.fault(*before, *end)?;
                Some(format!(
                    "topic {}: {fault}",
                    self.plan.topics.name(topic as u32)
                ))
            },
        )
    }

    fn saturation(&self) -> Vec<String> {
        let mut reasons = Vec::new();
        let slip = self.publishers.slip.quantiles();
        if Duration::from_nanos(slip.p99_ns) > self.plan.slip_limit {
            reasons.push(format!(
                "the publishing schedule slipped by {} at its 99th percentile, more than {:?}",
                super::human::time(slip.p99_ns),
                self.plan.slip_limit
            ));
        }
        let steady_ms = self
            .course
            .phase(Phase::Steady)
            .map_or(0, |record| record.length_ms);
        if steady_ms >= CPU_PHASE_MS_MIN && self.cpu_share > CPU_SHARE_MAX {
            let percent = self.cpu_share * 100.0;
            reasons.push(format!(
                "the generator used {percent:.0} % of all cores while it measured"
            ));
        }
        reasons
    }
}
