//! Finds the rate at which the server's process uses a given share of a core: first what it uses while nothing is
//! published, then a few trials, each at the rate that all before suggest.
//!
//! What is learned from a trial is the cost of a delivery, not of an update: with topics of different popularity one
//! update may cost a thousand times what another does.

use super::file::Calibration;
use super::lead::Lead;
use super::steps::during;
use crate::phase::{Load, Outcome};
use serde::Serialize;
use std::time::Duration;

/// Trials of a calibration, the silent one included.
const TRIALS: u32 = 5;
/// How much a trial may ask more, or less, than the one before: far from the target the share says
/// little, and a server must not be run over by a guess.
const STEP_MAX: f64 = 4.0;
/// `/proc` counts CPU time in hundredths of a second.
const CPU_S_MIN: f64 = 0.01;
/// As fast as one thread is asked to publish.
const RATE_MAX_PER_S: f64 = 200_000.0;

/// One trial.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Trial {
    /// Updates a second.
    pub rate_per_s: f64,
    /// Deliveries that came of them.
    pub deliveries: u64,
    /// Share of one core that the server used.
    pub server_cpu_cores: f64,
    /// What all trials so far suggest.
    pub next_per_s: f64,
}

/// What trials have told so far.
#[derive(Clone, Copy, Debug)]
struct Costs {
    target_cores: f64,
    /// Deliveries an update leads to on average, over all topics.
    fan_out: f64,
    /// What the server uses while nothing is published.
    idle_cores: f64,
    deliveries: f64,
    cpu_s: f64,
}

impl Costs {
    /// Takes a trial of `length_s` into account and says what to try next.
    fn learn(&mut self, rate_per_s: f64, deliveries: u64, cpu_s: f64, length_s: f64) -> Trial {
        self.deliveries += deliveries as f64;
        self.cpu_s += cpu_s - self.idle_cores * length_s;
        let for_each_s = self.cpu_s.max(CPU_S_MIN) / self.deliveries.max(1.0);
        let spare_cores = (self.target_cores - self.idle_cores).max(0.0);
        let next_per_s = spare_cores / for_each_s / self.fan_out.max(1.0);
        let next_per_s = next_per_s.clamp(rate_per_s / STEP_MAX, rate_per_s * STEP_MAX);
        Trial {
            rate_per_s,
            deliveries,
            server_cpu_cores: cpu_s / length_s,
            next_per_s: next_per_s.clamp(1.0, RATE_MAX_PER_S),
        }
    }
}

impl Lead<'_> {
    /// Carries out the trials; the last one tells the rate. An update has `fan_out` subscribers on average.
    pub(super) fn calibrate(
        &mut self,
        calibration: &Calibration,
        load: &Load,
        fan_out: f64,
    ) -> anyhow::Result<(Outcome, Vec<Trial>)> {
        let length = calibration.length / TRIALS;
        let length_s = length.as_secs_f64();
        let (mut outcome, idle_s, _) = self.trial(None, length)?;
        let mut costs = Costs {
            target_cores: calibration.target_server_cpu,
            fan_out,
            idle_cores: idle_s / length_s,
            deliveries: 0.0,
            cpu_s: 0.0,
        };
        let mut per_s = load.per_s;
        let mut trials = Vec::new();
        while outcome == Outcome::Done && trials.len() + 1 < TRIALS as usize {
            let used_s;
            let deliveries;
            (outcome, used_s, deliveries) =
                self.trial(Some(&during(load, per_s, length)), length)?;
            let trial = costs.learn(per_s, deliveries, used_s, length_s);
            per_s = trial.next_per_s;
            trials.push(trial);
        }
        Ok((outcome, trials))
    }

    /// One trial: how it went, the seconds of CPU the server used, and the deliveries.
    fn trial(
        &mut self,
        load: Option<&Load>,
        length: Duration,
    ) -> anyhow::Result<(Outcome, f64, u64)> {
        let look = |lead: &mut Self| {
            let cpu_s = lead.notebook.watch.look().unwrap_or_default().cpu_s();
            (cpu_s, lead.crew.figures().delivered)
        };
        let before = look(self);
        if let Some(load) = load {
            self.publish(load.clone())?;
        }
        let mut outcome = self.rest(length)?;
        // What is queued by now belongs to the trial, too.
        outcome = outcome.and(self.quiet()?);
        let after = look(self);
        Ok((outcome, after.0 - before.0, after.1 - before.1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LENGTH_S: f64 = 3.0;

    fn costs(idle_cores: f64) -> Costs {
        Costs {
            target_cores: 0.7,
            fan_out: 300.0,
            idle_cores,
            deliveries: 0.0,
            cpu_s: 0.0,
        }
    }

    #[test]
    fn trials_converge_on_the_target_whatever_topics_they_met_and_never_leap() {
        // A server that uses a third of a core anyhow, and 10 µs a delivery.
        let (mut costs, mut rate) = (costs(0.33), 10.0);
        for luck in [0.2, 3.0, 0.7, 1.1] {
            let deliveries = rate * LENGTH_S * 300.0 * luck;
            let cpu_s = 0.33 * LENGTH_S + deliveries * 10e-6;
            let trial = costs.learn(rate, deliveries as u64, cpu_s, LENGTH_S);
            assert!(trial.next_per_s <= rate * STEP_MAX);
            rate = trial.next_per_s;
        }
        let cores = 0.33 + rate * 300.0 * 10e-6;
        assert!((cores - 0.7).abs() < 0.02, "{rate}");
    }

    #[test]
    fn a_server_that_shows_no_use_at_all_is_asked_for_more() {
        assert_eq!(
            costs(0.0).learn(100.0, 100_000, 0.0, LENGTH_S).next_per_s,
            400.0
        );
        let capped = costs(0.0).learn(1e6, 1_000_000_000, 0.0, LENGTH_S);
        assert_eq!(capped.next_per_s, RATE_MAX_PER_S);
    }

    #[test]
    fn a_server_that_is_busy_with_nothing_is_asked_for_as_little_as_may_be() {
        let trial = costs(0.9).learn(100.0, 90_000, 3.6, LENGTH_S);
        assert_eq!(trial.next_per_s, 25.0);
    }
}
