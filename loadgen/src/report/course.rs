//! What the coordinator notes down while the run goes on: its phases, the connect curve, and where
//! the topics stood.

use crate::crew::Crew;
use crate::phase::{Outcome, Phase};
use crate::sys;
use crate::tally::Figures;
use serde::Serialize;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

/// The course of a run.
#[derive(Debug)]
pub struct Course {
    /// When it began.
    pub started: Instant,
    /// The same by the wall clock.
    pub started_at: SystemTime,
    /// How long it took.
    pub length: Duration,
    /// Its phases, in order.
    pub phases: Vec<PhaseRecord>,
    /// A sample each 250 ms.
    pub curve: Vec<Sample>,
    /// Where each topic stood before the run.
    pub seqs_before: Vec<u64>,
    /// Where each topic stood when publishing had ended; `None` if the server did not say.
    pub finals: Option<Arc<[u64]>>,
    /// Why it did not say.
    pub check_error: Option<String>,
    /// The operator has ended the run early.
    pub is_interrupted: bool,
    /// Resident memory of this process when all had subscribed, or later: the most that was seen.
    pub resident_bytes_max: u64,
}

/// A phase, as it went.
#[derive(Debug, Serialize)]
pub struct PhaseRecord {
    /// Which.
    pub phase: Phase,
    /// How it ended.
    pub outcome: Outcome,
    /// When it began, counted from the run's start.
    pub started_ms: u64,
    /// How long it took.
    pub length_ms: u64,
    /// CPU time of this process in user mode meanwhile.
    pub cpu_user_ms: u64,
    /// CPU time of this process in the kernel meanwhile.
    pub cpu_system_ms: u64,
    /// Updates delivered meanwhile.
    pub delivered: u64,
    /// Bytes received meanwhile.
    pub in_bytes: u64,
}

/// Running figures at one moment.
#[derive(Debug, Serialize)]
pub struct Sample {
    /// When, counted from the run's start.
    pub at_ms: u64,
    /// Handshakes completed.
    pub opened: u64,
    /// Connections that wait for an answer.
    pub in_flight: u64,
    /// Connections given up.
    pub failed: u64,
    /// Connections that the server ended.
    pub disconnected: u64,
    /// Connections whose subscriptions are answered.
    pub subscribed: u64,
    /// Updates published.
    pub published: u64,
    /// Updates delivered.
    pub delivered: u64,
}

/// Everything that is counted, at one moment: a phase is the difference of two.
#[derive(Debug)]
pub struct Mark {
    at: Instant,
    cpu: (Duration, Duration),
    figures: Figures,
}

impl Mark {
    /// Now.
    pub fn now(crew: &Crew) -> io::Result<Mark> {
        Ok(Mark {
            at: Instant::now(),
            cpu: sys::cpu_time()?,
            figures: crew.figures(),
        })
    }
}

impl Course {
    /// A run that begins now.
    pub fn new(seqs_before: Vec<u64>) -> Course {
        Course {
            started: Instant::now(),
            started_at: SystemTime::now(),
            length: Duration::ZERO,
            phases: Vec::new(),
            curve: Vec::new(),
            seqs_before,
            finals: None,
            check_error: None,
            is_interrupted: false,
            resident_bytes_max: 0,
        }
    }

    /// Notes a phase down.
    pub fn add_phase(&mut self, phase: Phase, outcome: Outcome, before: &Mark, after: &Mark) {
        self.resident_bytes_max = self.resident_bytes_max.max(resident_bytes());
        self.length = after.at - self.started;
        self.phases.push(PhaseRecord {
            phase,
            outcome,
            started_ms: ms(before.at - self.started),
            length_ms: ms(after.at - before.at),
            cpu_user_ms: ms(after.cpu.0 - before.cpu.0),
            cpu_system_ms: ms(after.cpu.1 - before.cpu.1),
            delivered: after.figures.delivered - before.figures.delivered,
            in_bytes: after.figures.bytes_in - before.figures.bytes_in,
        });
    }

    /// Adds a point to the curve.
    pub fn sample(&mut self, figures: &Figures) {
        self.curve.push(Sample {
            at_ms: ms(self.started.elapsed()),
            opened: figures.opened,
            in_flight: figures.in_flight,
            failed: figures.failed,
            disconnected: figures.disconnected,
            subscribed: figures.subscribed,
            published: figures.published,
            delivered: figures.delivered,
        });
    }

    /// The record of a phase, if the run came to it.
    pub fn phase(&self, phase: Phase) -> Option<&PhaseRecord> {
        self.phases.iter().find(|record| record.phase == phase)
    }
}

fn ms(duration: Duration) -> u64 {
    duration.as_millis() as u64
}

/// Resident memory of this process; 0 where `/proc` does not tell.
pub(crate) fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kb = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    kb.unwrap_or(0) * 1024
}
